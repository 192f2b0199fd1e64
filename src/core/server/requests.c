/* How often one peer may ask for what costs the store something. Buckets lie in a fixed table that the
 * keyed hash of the peer's name points into, as those of Binding do; of who joins, and has no name yet, that of
 * where it comes from. */
#include "core/server/state.h"

enum { BURST_S = 10 };

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

bool bk_server_may_ask(struct bk_server *s, bk_time now, uint32_t stream)
{
    uint32_t rate = s->config.requests_per_s;
    if (rate == 0) {
        return true;
    }
    uint32_t burst = rate > UINT32_MAX / BURST_S ? UINT32_MAX : rate * BURST_S;
    uint64_t h = hash_of(s, &s->streams[stream]);
    return bk_bucket_take(&s->requests[h % BK_SERVER_REQUEST_BUCKETS], now, rate, burst);
}
