/* The one place below the shells that reads a clock. Keeps nothing. */
#include "net/clock.h"

#include <time.h>

bk_time bk_clock_mono(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
    return (bk_time)ts.tv_sec * BK_SECOND + (bk_time)ts.tv_nsec;
}

struct timeval bk_timeval_ms(uint64_t ms)
{
    return (struct timeval){.tv_sec = (time_t)(ms / 1000),
                            .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}
