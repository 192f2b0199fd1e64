/* Time as the cores see it: sampled once per wake-up by the shell and handed down, never read here. */
#ifndef BK_BASE_CLOCK_H
#define BK_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Monotonic nanoseconds from an arbitrary origin. */
typedef uint64_t bk_time;

#define BK_TIME_NEVER UINT64_MAX
#define BK_MS UINT64_C(1000000)
#define BK_SECOND (1000 * BK_MS)

/* One sample of both clocks. */
struct bk_now {
    bk_time mono;    /* monotonic; orders events and carries deadlines */
    uint64_t unix_s; /* seconds since 1970-01-01 UTC; 0 where there is no clock to trust */
};

enum {
    BK_CLOCK_OFF_S = 86400, /* clocks that are further apart than this: one of them was never set */
};

/* Whether a clock says nothing (0) beside one that says `other_s`, or lies further than BK_CLOCK_OFF_S from it. */
bool bk_clock_off(uint64_t unix_s, uint64_t other_s);

/* t + ns, stopping at BK_TIME_NEVER. */
bk_time bk_time_add(bk_time t, uint64_t ns);

/* until - now, or 0 if that is past. BK_TIME_NEVER stays BK_TIME_NEVER. */
uint64_t bk_time_left(bk_time now, bk_time until);

bk_time bk_time_min(bk_time a, bk_time b);

#endif
