/* LOOKUP, and the store's answer about a device, for LOOKUP, CONNECT and WATCH. Grants are the store's: what a
 * user may not see it does not find. */
#include "wire/lookup.h"

#include "core/server/state.h"

void bk_server_ask_device(struct bk_server *s, uint32_t query, struct bk_slice user,
                          struct bk_slice name, struct bk_server_out *out)
{
    const struct bk_server_query *q = &s->queries[query];
    struct bk_server_action *a = bk_out_add(out, BK_SERVER_FIND_DEVICE);
    a->find.query = q->number;
    a->find.user = bk_out_copy(out, user);
    a->find.equipment_id = q->equipment_id;
    a->find.name = bk_out_copy(out, name);
}

enum bk_err bk_server_on_lookup(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                                const struct bk_stun *m, struct bk_server_out *out)
{
    struct bk_lookup in;
    enum bk_err err = bk_lookup_read(m, &in);
    if (err != BK_OK) {
        return err;
    }
    uint32_t query = bk_server_may_ask(s, now->mono, stream, BK_SERVER_COST_PLAIN)
                         ? bk_server_query_start(s, BK_QUERY_LOOKUP, stream, m->txid)
                         : 0;
    if (query == 0) {
        bk_server_send_error(s, stream, BK_METHOD_LOOKUP, m->txid, BK_CODE_OVERLOADED, out);
        return BK_OK;
    }
    s->queries[query].equipment_id = in.equipment_id;
    bk_server_ask_device(s, query, bk_slice_text(s->streams[stream].peer.name), in.name, out);
    return BK_OK;
}

/* What to say about a device that the store found, or not. */
static uint16_t verdict(const struct bk_server *s, const struct bk_server_query *q,
                        const struct bk_server_event *event)
{
    if (event->device.code != 0) {
        return event->device.code;
    }
    if (q->equipment_id != 0 && event->device.equipment_id != q->equipment_id) {
        return BK_CODE_NOT_FOUND;
    }
    switch (bk_server_device_standing(s, event->device.equipment_id)) {
    case BK_STANDING_GOOD:
        return 0;
    case BK_STANDING_REVOKED:
        return BK_CODE_REVOKED;
    case BK_STANDING_UNKNOWN:
    default:
        return BK_CODE_OVERLOADED;
    }
}

static void answer(struct bk_server *s, uint32_t stream, const struct bk_server_query *q,
                   const struct bk_server_event *event, struct bk_server_out *out)
{
    struct bk_lookup_answer a = {
        .equipment_id = event->device.equipment_id,
        .certificate = event->device.certificate,
        .box_key = event->device.box_key,
    };
    struct bk_location where;
    if (bk_server_where(s, a.equipment_id, &where)) {
        a.registered = true;
        a.observed = where.addr;
        a.tag = where.tag;
    }
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (s->streams[stream].closing) {
        return;
    }
    if (bk_lookup_answer_write(buf, cap < BK_STUN_STREAM_MAX_BYTES ? cap : BK_STUN_STREAM_MAX_BYTES,
                               q->txid, &a, &bytes) == BK_OK) {
        bk_out_message(out, s->streams[stream].number, bytes);
    } else {
        bk_server_send_error(s, stream, BK_METHOD_LOOKUP, q->txid, BK_CODE_OVERLOADED, out);
    }
}

void bk_server_on_device(struct bk_server *s, const struct bk_now *now,
                         const struct bk_server_event *event, struct bk_server_out *out)
{
    struct bk_server_query q;
    if (!bk_server_query_end(s, event->device.query, &q)) {
        return;
    }
    uint16_t code = verdict(s, &q, event);
    uint32_t stream = bk_server_stream(s, q.stream);
    if (q.kind == BK_QUERY_CONNECT) {
        if (q.call != 0) {
            bk_server_call_found(s, now, q.call, code, out);
        }
    } else if (stream == 0) {
        return;
    } else if (q.kind == BK_QUERY_WATCH) {
        bk_server_watch_found(s, now, stream, &q, code, out);
    } else if (q.kind != BK_QUERY_LOOKUP) {
        return;
    } else if (code != 0) {
        bk_server_send_error(s, stream, BK_METHOD_LOOKUP, q.txid, code, out);
    } else {
        answer(s, stream, &q, event, out);
    }
}
