/* Registration over a stream, of a device that UDP does not carry: the same messages under the same rules, and the
 * stream in place of the mapping. Invariant: a row that points at a stream is there only while that one is its
 * device's registering stream, so that NOTIFY always has a way. */
#include "core/server/state.h"

bool bk_server_registering_open(struct bk_server *s, uint32_t stream)
{
    uint64_t id = s->streams[stream].peer.equipment_id;
    uint32_t older = (uint32_t)bk_map_get(&s->registering, id);
    if (older != 0) {
        bk_server_close(s, older);
    }
    return bk_map_put(&s->registering, id, stream) == BK_OK;
}

void bk_server_registering_ended(struct bk_server *s, uint32_t stream)
{
    const struct bk_server_stream *t = &s->streams[stream];
    uint64_t id = t->peer.equipment_id;
    if (t->purpose != BK_STREAM_REGISTER || bk_map_get(&s->registering, id) != stream) {
        return;
    }
    (void)bk_map_remove(&s->registering, id);
    bk_server_drop_stream_row(s, id);
}

enum bk_err bk_server_on_registering(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                                     const struct bk_stun *m, struct bk_server_out *out)
{
    if (m->method == BK_METHOD_NOTIFY && m->cls == BK_STUN_SUCCESS) {
        struct bk_datagram d = {
            .local = BK_LOCAL_STREAM,
            .from = s->streams[stream].from,
            .message = *m,
        };
        bk_server_on_notify_answer(s, now->mono, &d, out);
        return BK_OK;
    }
    if (m->method != BK_METHOD_REGISTER ||
        (m->cls != BK_STUN_REQUEST && m->cls != BK_STUN_INDICATION)) {
        return BK_E_STATE;
    }
    return bk_server_register_by_stream(s, now, stream, m, out);
}

void bk_server_send_to(struct bk_server *s, const struct bk_location *where, struct bk_slice bytes,
                       struct bk_server_out *out)
{
    if (where->local != BK_LOCAL_STREAM) {
        uint8_t shard = (uint8_t)bk_shard_of(where->equipment_id, s->n_shards);
        (void)bk_out_datagram(out, shard, where->local, &where->addr, bytes);
        return;
    }
    uint32_t stream = (uint32_t)bk_map_get(&s->registering, where->equipment_id);
    if (stream != 0) { /* it is, by the invariant */
        bk_out_message(out, s->streams[stream].number, bytes);
    }
}
