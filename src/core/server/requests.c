/* How often one peer may ask for what costs the store something, and fill the audit with refusals. Buckets lie in a
 * fixed table that the keyed hash of the peer's name points into, as those of Binding do; of who joins, and has no
 * name yet, that of where it comes from. */
#include "core/server/state.h"

enum {
    BURST_S = 10,
    REFUSALS_PER_S = 1,
    REFUSALS_BURST =
        BK_SERVER_WATCHES_MAX, /* a revocation may end as many calls of a device at once */
};

void bk_server_set_requests(struct bk_server *s, uint32_t per_s)
{
    s->config.requests_per_s = per_s;
}

static uint64_t hash_of(const struct bk_server *s, const struct bk_server_stream *t)
{
    switch (t->peer.role) {
    case BK_ROLE_NONE:
        return bk_hash_u64(s->seed, bk_addr_rate_key(&t->from));
    case BK_ROLE_DEVICE:
        return bk_hash_u64(s->seed, t->peer.equipment_id);
    case BK_ROLE_USER:
    case BK_ROLE_SERVER:
    default:
        return bk_hash_bytes(s->seed, bk_slice_text(t->peer.name));
    }
}

static struct bk_server_asker *asker_of(struct bk_server *s, uint32_t stream)
{
    return &s->askers[hash_of(s, &s->streams[stream]) % BK_SERVER_ASKERS];
}

bool bk_server_may_ask(struct bk_server *s, bk_time now, uint32_t stream, uint32_t cost)
{
    uint32_t rate = s->config.requests_per_s;
    if (rate == 0) {
        return true;
    }
    uint32_t burst = rate > UINT32_MAX / BURST_S ? UINT32_MAX : rate * BURST_S;
    if (cost > burst / 2) {
        cost = burst / 2; /* who renews in passing shall be able to call thereafter */
    }
    return bk_bucket_take_n(&asker_of(s, stream)->requests, now, rate, burst, cost);
}

bool bk_server_may_write(struct bk_server *s, bk_time now, uint32_t stream, uint32_t *left_out)
{
    struct bk_server_asker *asker = asker_of(s, stream);
    if (!bk_bucket_take(&asker->refusals, now, REFUSALS_PER_S, REFUSALS_BURST)) {
        asker->left_out += asker->left_out < UINT32_MAX;
        return false;
    }
    *left_out = asker->left_out;
    asker->left_out = 0;
    return true;
}
