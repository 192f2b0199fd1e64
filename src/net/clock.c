/* The one place below the shells that reads a clock. Keeps nothing. */
#include "net/clock.h"

#include <time.h>

bk_time bk_clock_mono(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
    return (bk_time)ts.tv_sec * BK_SECOND + (bk_time)ts.tv_nsec;
}

uint64_t bk_clock_unix_s(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts); /* nor for this one */
    return ts.tv_sec < 0 ? 0 : (uint64_t)ts.tv_sec;
}

struct bk_now bk_clock_now(void)
{
    return (struct bk_now){.mono = bk_clock_mono(), .unix_s = bk_clock_unix_s()};
}

struct timeval bk_timeval_ms(uint64_t ms)
{
    return (struct timeval){.tv_sec = (time_t)(ms / 1000),
                            .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}
