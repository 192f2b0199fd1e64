/* The monotonic clock, and durations as libevent takes them. Without OpenSSL. */
#ifndef BK_NET_CLOCK_H
#define BK_NET_CLOCK_H

#include <sys/time.h>

#include "base/clock.h"

bk_time bk_clock_mono(void);

struct timeval bk_timeval_ms(uint64_t ms);

#endif
