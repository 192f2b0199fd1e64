/* A token bucket held as one time (the generic cell rate algorithm): each token taken moves the
 * moment at which the bucket is full again by one token's interval, and a token is there as long as
 * that moment lies no further ahead than the whole burst. */
#include "base/bucket.h"

#include <assert.h>

bool bk_bucket_take(struct bk_bucket *b, bk_time now, uint32_t rate, uint32_t burst)
{
    return bk_bucket_take_n(b, now, rate, burst, 1);
}

bool bk_bucket_take_n(struct bk_bucket *b, bk_time now, uint32_t rate, uint32_t burst, uint32_t n)
{
    assert(rate > 0 && n > 0 && n <= burst);
    uint64_t interval = BK_SECOND / rate; /* rate < 2^32 but may exceed 10^9 */
    if (interval == 0) {
        interval = 1;
    }
    bk_time full = bk_time_add(b->full_at > now ? b->full_at : now, interval * n);
    if (full - now > interval * burst) { /* at most 10^9 * 2^32: no overflow */
        return false;
    }
    b->full_at = full;
    return true;
}
