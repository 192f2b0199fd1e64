/* The record of one call for people: its phases, and what became of every address by which the two might have met. Only
 * notes; decides nothing. */
#ifndef BK_LIB_OUTGOING_RECORD_H
#define BK_LIB_OUTGOING_RECORD_H

#include "beckon/beckon.h"
#include "wire/call_request.h"

enum {
    BK_RECORD_LINE_BYTES = 400,
    BK_RECORD_WHY_BYTES = 320,
};

struct bk_record {
    struct beckon_report report;
    struct beckon_candidate spare; /* takes what does not fit */
};

/* The kinds are the same numbers. */
enum beckon_path bk_path_of(enum bk_candidate_kind kind);

/* The row of that address; added, and begun at `now_us`, if there is none. `addr` NULL: the row that says why there is no
 * such address; it becomes the first one's that is found after all. Never NULL. */
struct beckon_candidate *bk_record_row(struct bk_record *r, bool ours, enum bk_candidate_kind kind,
                                       const struct bk_addr *addr, uint64_t now_us);
/* NULL: there is none. */
struct beckon_candidate *bk_record_find(struct bk_record *r, bool ours, enum bk_candidate_kind kind,
                                        const struct bk_addr *addr);
/* Something came of it now; `reason` may be "". */
void bk_record_ended(struct beckon_candidate *row, enum beckon_outcome outcome, const char *reason,
                     uint64_t now_us);
/* What is said of it, as the report stands: what came of nothing is given its reason. */
void bk_record_report(const struct bk_record *r, struct beckon_report *out);
/* One row in a line. */
void bk_record_line(const struct beckon_candidate *row, char *out, size_t cap);
/* Why no path came about, in short: what could not be had of ours. Empty: nothing to say. */
void bk_record_why(const struct bk_record *r, char *out, size_t cap);

#endif
