/* What `beckon ping` found, in words with bars, and as JSON. */
#include <cjson/cJSON.h>
#include <string.h>

#include "bin/beckon/ping.h"

enum {
    BAR_COLUMNS = 40,
};

void ping_phases(const struct beckon_phases *p, struct ping_phase out[PING_PHASES])
{
    const struct ping_phase rows[PING_PHASES] = {
        {"server", "connected to the server", 0, p->server_us},
        {"found", "device found and verified", 0, p->found_us},
        {"requested", "sealed request sent", 0, p->requested_us},
        {"delivered", "device has the request", 0, p->delivered_us},
        {"accepted", "device accepted", 0, p->accepted_us},
        {"up", "end-to-end session stands", 0, p->up_us},
    };
    uint64_t before = 0;

    for (size_t i = 0; i < PING_PHASES; i++) {
        out[i] = rows[i];
        if (rows[i].ended_us != 0) {
            out[i].begun_us = before < rows[i].ended_us ? before : rows[i].ended_us;
            before = rows[i].ended_us;
        }
    }
}

uint64_t ping_span_us(const struct beckon_report *report)
{
    struct ping_phase phases[PING_PHASES];
    uint64_t up = report->phases.up_us, span = up == 0 ? report->ended_us : 0;
    uint64_t most =
        up == 0 ? UINT64_MAX : up + up / 5; /* what came later runs out of the drawing */

    ping_phases(&report->phases, phases);
    for (size_t i = 0; i < PING_PHASES; i++) {
        span = phases[i].ended_us > span ? phases[i].ended_us : span;
    }
    for (size_t i = 0; i < report->n_candidates; i++) {
        const struct beckon_candidate *c = &report->candidates[i];

        span = c->ended_us > span ? c->ended_us : span;
        span = c->known_us > span ? c->known_us : span;
    }
    span = span < most ? span : most;
    return span > 0 ? span : 1;
}

/* "|    ====      |" */
static void bar(uint64_t from_us, uint64_t to_us, uint64_t span_us, char out[BAR_COLUMNS + 3])
{
    size_t from = (size_t)(from_us * BAR_COLUMNS / span_us);
    size_t to = (size_t)((to_us * BAR_COLUMNS + span_us - 1) / span_us);

    from = from < BAR_COLUMNS ? from : BAR_COLUMNS - 1;
    to = to > from ? to : from + 1;
    to = to < BAR_COLUMNS ? to : BAR_COLUMNS;
    memset(out, ' ', BAR_COLUMNS + 2);
    out[0] = out[BAR_COLUMNS + 1] = '|';
    out[BAR_COLUMNS + 2] = '\0';
    memset(out + 1 + from, '=', to - from);
}

static void print_candidate(const struct beckon_candidate *c, uint64_t span)
{
    uint64_t end = c->ended_us != 0 ? c->ended_us : c->known_us;
    char bars[BAR_COLUMNS + 3];

    bar(c->begun_us, end, span, bars);
    printf("  %-6s  %-7s  %-22s  %-13s  %s", c->ours ? "ours" : "device", beckon_path_name(c->kind),
           c->address[0] != '\0' ? c->address : "-", beckon_outcome_name(c->outcome), bars);
    printf("  %.1f to %.1f ms", (double)c->begun_us / 1000, (double)end / 1000);
    if (c->reason[0] != '\0') {
        printf("  %s", c->reason);
    }
    printf("\n");
}

void ping_text(const struct ping_result *result)
{
    const struct beckon_report *report = result->report;
    struct ping_phase phases[PING_PHASES];
    char bars[BAR_COLUMNS + 3];
    uint64_t span = ping_span_us(report);

    ping_phases(&report->phases, phases);
    if (report->phases.path[0] != '\0') {
        printf("path: %s\n", report->phases.path);
    }
    for (size_t i = 0; i < PING_PHASES; i++) {
        if (phases[i].ended_us != 0) {
            bar(phases[i].begun_us, phases[i].ended_us, span, bars);
            printf("%9.1f ms  %-26s %s\n", (double)phases[i].ended_us / 1000, phases[i].text, bars);
        }
    }
    if (report->n_candidates > 0) {
        printf("candidates:\n");
    }
    for (size_t i = 0; i < report->n_candidates; i++) {
        print_candidate(&report->candidates[i], span);
    }
}

static void add_ms(cJSON *to, const char *key, uint64_t us)
{
    cJSON_AddNumberToObject(to, key, (double)us / 1000);
}

static cJSON *candidates_of(const struct beckon_report *report)
{
    cJSON *list = cJSON_CreateArray();

    for (size_t i = 0; i < report->n_candidates; i++) {
        const struct beckon_candidate *c = &report->candidates[i];
        cJSON *row = cJSON_CreateObject();

        cJSON_AddStringToObject(row, "side", c->ours ? "ours" : "device");
        cJSON_AddStringToObject(row, "kind", beckon_path_name(c->kind));
        if (c->address[0] != '\0') {
            cJSON_AddStringToObject(row, "address", c->address);
        }
        cJSON_AddStringToObject(row, "outcome", beckon_outcome_name(c->outcome));
        if (c->reason[0] != '\0') {
            cJSON_AddStringToObject(row, "reason", c->reason);
        }
        add_ms(row, "begun_ms", c->begun_us);
        if (c->known_us != 0) {
            add_ms(row, "known_ms", c->known_us);
        }
        if (c->ended_us != 0) {
            add_ms(row, "ended_ms", c->ended_us);
        }
        cJSON_AddItemToArray(list, row);
    }
    return list;
}

static void add_round_trips(cJSON *root, const struct ping_result *result)
{
    cJSON *list = cJSON_AddArrayToObject(root, "round_trips_ms");

    for (size_t i = 0; i < result->n_round_trips; i++) {
        cJSON_AddItemToArray(list, cJSON_CreateNumber(result->round_trips_ms[i]));
    }
}

bool ping_json(const struct ping_result *result)
{
    struct ping_phase phases[PING_PHASES];
    cJSON *root = cJSON_CreateObject();
    cJSON *times = cJSON_AddObjectToObject(root, "phases_ms");
    char *text;

    ping_phases(&result->report->phases, phases);
    for (size_t i = 0; i < PING_PHASES; i++) {
        if (phases[i].ended_us != 0) {
            add_ms(times, phases[i].key, phases[i].ended_us);
        }
    }
    if (result->report->phases.path[0] != '\0') {
        cJSON_AddStringToObject(root, "path", result->report->phases.path);
    }
    add_round_trips(root, result);
    cJSON_AddItemToObject(root, "candidates", candidates_of(result->report));
    if (result->error != NULL) {
        cJSON_AddStringToObject(root, "status", beckon_status_name(result->error->status));
        cJSON_AddStringToObject(root, "error", result->error->text);
    }
    text = cJSON_Print(root);
    if (text != NULL) {
        puts(text);
    }
    cJSON_free(text);
    cJSON_Delete(root);
    return text != NULL;
}
