/* A limit on log lines of one kind that a stranger can bring about: the first few, then one a minute with the number
 * of those left out before it. */
#ifndef BK_LIB_LOG_LIMIT_H
#define BK_LIB_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

enum {
    BK_LOG_LIMIT_FIRST = 20,
    BK_LOG_LIMIT_EVERY_S = 60,
};

/* All zero: nothing was said yet. */
struct bk_log_limit {
    unsigned said;
    uint64_t left_out; /* since the last line */
    bk_time next;      /* from here on, one more */
};

/* May a line be said now? If so, `left_out` is how many before it were not; else it counts as one of them. */
bool bk_log_limit_pass(struct bk_log_limit *l, bk_time now, uint64_t *left_out);

#endif
