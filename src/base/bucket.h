/* A token bucket: `rate` tokens a second, at most `burst` saved up. */
#ifndef BK_BASE_BUCKET_H
#define BK_BASE_BUCKET_H

#include <stdbool.h>

#include "base/clock.h"

struct bk_bucket {
    bk_time full_at; /* when the bucket is full again; at start 0: full */
};

/* Takes one token if there is one. rate > 0, burst > 0. */
bool bk_bucket_take(struct bk_bucket *b, bk_time now, uint32_t rate, uint32_t burst);
/* Takes `n` tokens, 1 to `burst`, or none. */
bool bk_bucket_take_n(struct bk_bucket *b, bk_time now, uint32_t rate, uint32_t burst, uint32_t n);

#endif
