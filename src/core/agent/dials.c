/* Counts dials. Two buckets must each have a token, or neither is touched.
 *
 * Invariant: a place in the table is given away only when its bucket is full again, so that forgetting a
 * target never lets more dials reach it. */
#include "core/agent/dials.h"

#include <string.h>

void bk_dials_init(struct bk_dials *d, const struct bk_now *now)
{
    (void)now; /* buckets begin full */
    memset(d, 0, sizeof *d);
}

/* One host is one target however it is spelt: by its IPv4 address where there is one inside. */
static uint64_t key_of(const struct bk_addr *target)
{
    struct bk_addr inner;
    return bk_addr_rate_key(bk_addr_inner_v4(target, &inner) ? &inner : target);
}

/* The target's place, or one to be had; BK_DIALS_TARGETS_MAX: none. */
static size_t place_of(const struct bk_dials *d, bk_time now, uint64_t key)
{
    size_t place = BK_DIALS_TARGETS_MAX;
    for (size_t i = 0; i < BK_DIALS_TARGETS_MAX; i++) {
        if (d->targets[i].key == key) {
            return i;
        }
        if (d->targets[i].bucket.full_at <= now) {
            place = i;
        }
    }
    return place;
}

bool bk_dials_permit(struct bk_dials *d, const struct bk_now *now, const struct bk_addr *target)
{
    uint64_t key = key_of(target);
    size_t place = place_of(d, now->mono, key);
    if (key == 0 || place == BK_DIALS_TARGETS_MAX) { /* no host is at 0 */
        return false;
    }
    struct bk_bucket total = d->total;
    struct bk_bucket own = {0};
    if (d->targets[place].key == key) {
        own = d->targets[place].bucket;
    }
    if (!bk_bucket_take(&own, now->mono, BK_DIALS_TARGET_PER_S, BK_DIALS_TARGET_BURST) ||
        !bk_bucket_take(&total, now->mono, BK_DIALS_TOTAL_PER_S, BK_DIALS_TOTAL_BURST)) {
        return false;
    }
    d->total = total;
    d->targets[place].key = key;
    d->targets[place].bucket = own;
    return true;
}
