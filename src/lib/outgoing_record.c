/* Notes of a call: rows are found by side, kind and address, so that a later round goes on in the same row. */
#include "lib/outgoing_record.h"

#include <stdio.h>
#include <string.h>

const char *beckon_path_name(enum beckon_path path)
{
    static const char *const names[] = {
        [BECKON_PATH_HOST] = "host",
        [BECKON_PATH_MAPPED] = "mapped",
        [BECKON_PATH_PUNCHED] = "punched",
        [BECKON_PATH_RELAYED] = "relayed",
    };

    return (size_t)path < sizeof names / sizeof names[0] && names[path] != NULL ? names[path]
                                                                                : "unknown";
}

const char *beckon_outcome_name(enum beckon_outcome outcome)
{
    static const char *const names[] = {
        [BECKON_OUTCOME_PENDING] = "pending",
        [BECKON_OUTCOME_WON] = "won",
        [BECKON_OUTCOME_NOT_NEEDED] = "not needed",
        [BECKON_OUTCOME_NO_CONNECTION] = "no connection",
        [BECKON_OUTCOME_FAILED] = "failed",
        [BECKON_OUTCOME_NOT_GATHERED] = "not gathered",
        [BECKON_OUTCOME_NOT_TRIED] = "not tried",
    };

    return (size_t)outcome < sizeof names / sizeof names[0] ? names[outcome] : "unknown";
}

enum beckon_path bk_path_of(enum bk_candidate_kind kind)
{
    return (enum beckon_path)kind;
}

struct beckon_candidate *bk_record_find(struct bk_record *r, bool ours, enum bk_candidate_kind kind,
                                        const struct bk_addr *addr)
{
    char text[BK_ADDR_TEXT_BYTES] = "";

    if (addr != NULL) {
        bk_addr_format(addr, text);
    }
    for (size_t i = 0; i < r->report.n_candidates; i++) {
        struct beckon_candidate *row = &r->report.candidates[i];

        if ((row->ours != 0) == ours && row->kind == bk_path_of(kind) &&
            strcmp(row->address, text) == 0) {
            return row;
        }
    }
    return NULL;
}

struct beckon_candidate *bk_record_row(struct bk_record *r, bool ours, enum bk_candidate_kind kind,
                                       const struct bk_addr *addr, uint64_t now_us)
{
    struct beckon_candidate *row = bk_record_find(r, ours, kind, addr);

    if (row != NULL) {
        return row;
    }
    row = addr == NULL ? NULL : bk_record_find(r, ours, kind, NULL);
    if (row == NULL) {
        row = r->report.n_candidates < BECKON_CANDIDATES_MAX
                  ? &r->report.candidates[r->report.n_candidates++]
                  : &r->spare;
        *row =
            (struct beckon_candidate){.ours = ours, .kind = bk_path_of(kind), .begun_us = now_us};
    }
    if (addr != NULL) {
        row->outcome = BECKON_OUTCOME_PENDING;
        row->reason[0] = '\0';
        row->ended_us = 0;
        row->known_us = now_us;
        bk_addr_format(addr, row->address);
    }
    return row;
}

void bk_record_ended(struct beckon_candidate *row, enum beckon_outcome outcome, const char *reason,
                     uint64_t now_us)
{
    row->outcome = outcome;
    row->ended_us = now_us;
    (void)snprintf(row->reason, sizeof row->reason, "%s", reason);
}

/* Nothing came of it while the call looked for a path. */
static void give_reason(struct beckon_candidate *row, const struct beckon_report *report)
{
    bool up = report->phases.up_us != 0;
    const char *reason = up ? "none until another was up" : "none came";

    row->ended_us = up ? report->phases.up_us : report->ended_us;
    if (row->ended_us < row->begun_us) { /* of a later round */
        row->ended_us = report->ended_us;
    }
    if (row->address[0] == '\0') {
        row->outcome = BECKON_OUTCOME_NOT_GATHERED;
        reason = "no answer in time";
    } else if (row->ours && report->phases.accepted_us == 0 && !up) {
        row->outcome = BECKON_OUTCOME_NOT_TRIED;
        reason = "the call ended before";
    } else {
        row->outcome = BECKON_OUTCOME_NO_CONNECTION;
    }
    (void)snprintf(row->reason, sizeof row->reason, "%s", reason);
}

void bk_record_report(const struct bk_record *r, struct beckon_report *out)
{
    *out = r->report;
    if (out->phases.up_us == 0 && out->ended_us == 0) {
        return;
    }
    for (size_t i = 0; i < out->n_candidates; i++) {
        if (out->candidates[i].outcome == BECKON_OUTCOME_PENDING) {
            give_reason(&out->candidates[i], out);
        }
    }
}

void bk_record_line(const struct beckon_candidate *row, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%s %s%s%s: %s%s%s%s (%.1f to %.1f ms)",
                   row->ours ? "ours," : "the device's,", beckon_path_name(row->kind),
                   row->address[0] != '\0' ? " " : "", row->address,
                   beckon_outcome_name(row->outcome), row->reason[0] != '\0' ? " (" : "",
                   row->reason, row->reason[0] != '\0' ? ")" : "", (double)row->begun_us / 1000,
                   (double)(row->ended_us != 0 ? row->ended_us : row->known_us) / 1000);
}

void bk_record_why(const struct bk_record *r, char *out, size_t cap)
{
    static const enum beckon_path kinds[] = {BECKON_PATH_RELAYED, BECKON_PATH_MAPPED};
    size_t used = 0;

    out[0] = '\0';
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (size_t i = 0; i < r->report.n_candidates; i++) {
            const struct beckon_candidate *row = &r->report.candidates[i];
            int n;

            if (!row->ours || row->kind != kinds[k] || row->reason[0] == '\0' ||
                (row->outcome != BECKON_OUTCOME_NOT_GATHERED &&
                 row->outcome != BECKON_OUTCOME_FAILED)) {
                continue;
            }
            n = snprintf(out + used, cap - used, "%s%s", used > 0 ? "; " : "", row->reason);
            if (n < 0 || (size_t)n >= cap - used) {
                return; /* cut */
            }
            used += (size_t)n;
        }
    }
}
