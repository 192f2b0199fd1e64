/* Arithmetic on times. Reads no clock; saturates instead of wrapping, so that a sum of a time and a
 * duration is never earlier than the time. */
#include "base/clock.h"

bk_time bk_time_add(bk_time t, uint64_t ns)
{
    return ns > BK_TIME_NEVER - t ? BK_TIME_NEVER : t + ns;
}

uint64_t bk_time_left(bk_time now, bk_time until)
{
    if (until == BK_TIME_NEVER) {
        return BK_TIME_NEVER;
    }
    return until > now ? until - now : 0;
}

bk_time bk_time_min(bk_time a, bk_time b)
{
    return a < b ? a : b;
}

bool bk_clock_off(uint64_t unix_s, uint64_t other_s)
{
    uint64_t apart_s = unix_s > other_s ? unix_s - other_s : other_s - unix_s;
    return unix_s == 0 || apart_s > BK_CLOCK_OFF_S;
}
