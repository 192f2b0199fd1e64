/* Durations on the command line: "90s", "30m", "24h", "7d". */
#ifndef BK_BECKOND_DURATION_H
#define BK_BECKOND_DURATION_H

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_DURATION_MAX_S = 366 * 24 * 3600,
};

/* Seconds, 1 to BK_DURATION_MAX_S. BK_E_MALFORMED, BK_E_RANGE. */
BK_NODISCARD enum bk_err bk_duration_parse(struct bk_slice text, uint64_t *seconds);

#endif
