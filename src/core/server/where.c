/* What the core asks of the shards of the location table: each question enters the device's shard, copies out what it
 * needs, and leaves. Invariant: no pointer into a shard outlives its lock, and nothing of the core changes inside. */
#include <string.h>

#include "core/server/state.h"
#include "seal/seal.h"

static uint32_t enter(const struct bk_server *s, uint64_t equipment_id)
{
    uint32_t shard = bk_shard_of(equipment_id, s->n_shards);
    bk_server_enter(s, shard);
    return shard;
}

bool bk_server_where(const struct bk_server *s, uint64_t equipment_id, struct bk_location *out)
{
    uint32_t shard = enter(s, equipment_id);
    bool found = bk_registrar_find(s->shards[shard], &s->now, equipment_id, out);
    bk_server_leave(s, shard);
    return found;
}

bool bk_server_look(const struct bk_server *s, uint64_t equipment_id, struct bk_location *out)
{
    uint32_t shard = enter(s, equipment_id);
    bk_registrar_heard(s->shards[shard], equipment_id);
    bool found = bk_registrar_find(s->shards[shard], &s->now, equipment_id, out);
    bk_server_leave(s, shard);
    return found;
}

enum bk_standing bk_server_standing(const struct bk_server *s, uint64_t equipment_id,
                                    uint32_t generation)
{
    uint32_t shard = enter(s, equipment_id);
    enum bk_standing standing = bk_registrar_standing(s->shards[shard], equipment_id, generation);
    bk_server_leave(s, shard);
    return standing;
}

enum bk_standing bk_server_device_standing(const struct bk_server *s, uint64_t equipment_id)
{
    return bk_server_standing(s, equipment_id, UINT32_MAX);
}

bool bk_server_except(struct bk_server *s, uint64_t equipment_id, uint32_t lowest_generation,
                      bool revoked)
{
    uint32_t shard = enter(s, equipment_id);
    bool news =
        bk_registrar_set_exception(s->shards[shard], equipment_id, lowest_generation, revoked);
    bk_server_leave(s, shard);
    return news;
}

bool bk_server_raise(struct bk_server *s, uint64_t equipment_id, uint32_t generation)
{
    uint32_t shard = enter(s, equipment_id);
    bool news = bk_registrar_raise(s->shards[shard], equipment_id, generation);
    bk_server_leave(s, shard);
    return news;
}

bool bk_server_await(struct bk_server *s, uint64_t equipment_id)
{
    uint32_t shard = enter(s, equipment_id);
    enum bk_err err = bk_registrar_await(s->shards[shard], equipment_id);
    bk_server_leave(s, shard);
    return err == BK_OK;
}

void bk_server_await_no_more(struct bk_server *s, uint64_t equipment_id)
{
    uint32_t shard = enter(s, equipment_id);
    bk_registrar_await_no_more(s->shards[shard], equipment_id);
    bk_server_leave(s, shard);
}

bool bk_server_expect_result(struct bk_server *s, const struct bk_server_call *c)
{
    uint32_t shard = enter(s, c->equipment_id);
    enum bk_err err = bk_registrar_expect(s->shards[shard], c->call_id);
    bk_server_leave(s, shard);
    return err == BK_OK;
}

void bk_server_expect_no_result(struct bk_server *s, const struct bk_server_call *c)
{
    uint32_t shard = enter(s, c->equipment_id);
    bk_registrar_expect_no_more(s->shards[shard], c->call_id);
    bk_server_leave(s, shard);
}

void bk_server_drop_stream_row(struct bk_server *s, uint64_t equipment_id)
{
    uint32_t shard = enter(s, equipment_id);
    bk_registrar_stream_ended(s->shards[shard], equipment_id);
    bk_server_leave(s, shard);
}

bool bk_server_device_key(const struct bk_server *s, uint16_t epoch, uint64_t equipment_id,
                          uint32_t generation, uint8_t key[BK_KEY_BYTES])
{
    for (size_t i = 0; i < s->config.n_master; i++) {
        if (s->config.master[i].epoch == epoch) {
            bk_registration_key(&s->config.mac, s->config.master[i].key, equipment_id, generation,
                                key);
            return true;
        }
    }
    return false;
}

enum bk_err bk_server_register_by_stream(struct bk_server *s, const struct bk_now *now,
                                         uint32_t stream, const struct bk_stun *m,
                                         struct bk_server_out *out)
{
    const struct bk_server_stream *t = &s->streams[stream];
    struct bk_registrar_reply reply;
    uint32_t shard = enter(s, t->peer.equipment_id);
    enum bk_err err = bk_registrar_stream_message(s->shards[shard], now, t->peer.equipment_id,
                                                  &t->from, m, &reply);
    bk_server_leave(s, shard);
    if (err == BK_OK && reply.n > 0) {
        struct bk_server_action *a = bk_out_add(out, BK_SERVER_SEND_MESSAGE);
        a->message.stream = t->number;
        a->message.bytes = bk_out_copy(out, bk_slice(reply.bytes, reply.n));
    }
    if (reply.news) {
        bk_server_row_changed(s, now->mono, reply.equipment_id);
    }
    return err;
}

/* What the registrar let pass is from a device of ours, or answers something of ours. */
static void on_passed(struct bk_server *s, const struct bk_now *now,
                      const struct bk_server_event *event, struct bk_server_out *out)
{
    struct bk_datagram d = {
        .local = event->datagram.local,
        .shard = event->datagram.shard,
        .from = event->datagram.from,
    };
    if (bk_stun_read(event->datagram.bytes, &d.message) != BK_OK) {
        return;
    }
    if (d.message.method == BK_METHOD_NOTIFY) {
        bk_server_on_notify_answer(s, now->mono, &d, out);
    } else if (d.message.method == BK_METHOD_RESULT) {
        bk_server_on_result_datagram(s, now->mono, &d, out);
    }
}

static void send_reply(const struct bk_server_event *event, const struct bk_registrar_reply *reply,
                       struct bk_server_out *out)
{
    struct bk_addr to = event->datagram.from;
    to.port = reply->port;
    struct bk_slice bytes = bk_out_copy(out, bk_slice(reply->bytes, reply->n));
    struct bk_server_action *a = bk_out_add(out, BK_SERVER_SEND_DATAGRAM);
    a->datagram.shard = event->datagram.shard;
    a->datagram.local = event->datagram.local;
    a->datagram.second = reply->second;
    a->datagram.change = reply->change;
    a->datagram.to = to;
    a->datagram.bytes = bytes;
}

void bk_server_on_datagram(struct bk_server *s, const struct bk_now *now,
                           const struct bk_server_event *event, struct bk_server_out *out)
{
    struct bk_arrival in = {
        .from = event->datagram.from,
        .bytes = event->datagram.bytes,
        .local = event->datagram.local,
        .second = event->datagram.second,
    };
    struct bk_registrar_reply reply;
    uint32_t shard = bk_shard_of_datagram(in.bytes, s->n_shards);
    bk_server_enter(s, shard);
    enum bk_registrar_verdict verdict = bk_registrar_datagram(s->shards[shard], now, &in, &reply);
    bk_server_leave(s, shard);
    if (verdict == BK_REGISTRAR_REPLY) {
        send_reply(event, &reply, out);
    } else if (verdict == BK_REGISTRAR_PASS) {
        on_passed(s, now, event, out);
    }
    if (reply.news) {
        bk_server_row_changed(s, now->mono, reply.equipment_id);
    }
}
