/* The clocks, and durations as libevent takes them. Without OpenSSL. */
#ifndef BK_NET_CLOCK_H
#define BK_NET_CLOCK_H

#include <sys/time.h>

#include "base/clock.h"

bk_time bk_clock_mono(void);

/* Seconds since 1970-01-01 UTC; 0 before it. Not time(): Linux's runs up to a tick behind this one, so that of two
 * instants read from both, the later can seem to be the earlier. */
uint64_t bk_clock_unix_s(void);

/* Both. */
struct bk_now bk_clock_now(void);

struct timeval bk_timeval_ms(uint64_t ms);

#endif
