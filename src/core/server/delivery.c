/* The device's side of a call: the queue of calls that wait for a device, 226 on the stream that it
 * opens, its answer, and RESULT on the way back. A stream is given one call and may speak of no other.
 * Invariant: a call is in its device's queue exactly while it is WAITING. */
#include <assert.h>
#include <string.h>

#include "core/server/state.h"
#include "wire/result.h"

enum {
    ANSWER_MS = 1000, /* a device that opened its stream late still has so long to answer 226 */
};

static void must_put(struct bk_map *m, uint64_t key, uint32_t value)
{
    enum bk_err err = bk_map_put(m, key, value);
    assert(err == BK_OK); /* the map has room for every call */
    (void)err;
}

void bk_server_wait(struct bk_server *s, uint32_t call)
{
    struct bk_server_call *c = &s->calls[call];
    c->state = BK_SERVER_CALL_WAITING;
    bk_server_notify_begin(s, call);
    uint32_t last = (uint32_t)bk_map_get(&s->waiting_last, c->equipment_id);
    c->prev_of_device = last;
    if (last != 0) {
        s->calls[last].next_of_device = call;
    } else {
        must_put(&s->waiting_first, c->equipment_id, call);
    }
    must_put(&s->waiting_last, c->equipment_id, call);
}

void bk_server_stop_waiting(struct bk_server *s, uint32_t call)
{
    struct bk_server_call *c = &s->calls[call];
    if (c->state != BK_SERVER_CALL_WAITING) {
        return;
    }
    bk_server_notify_forget(s, call);
    uint32_t prev = c->prev_of_device;
    uint32_t next = c->next_of_device;
    if (prev != 0) {
        s->calls[prev].next_of_device = next;
    } else if (next != 0) {
        must_put(&s->waiting_first, c->equipment_id, next);
    } else {
        (void)bk_map_remove(&s->waiting_first, c->equipment_id);
    }
    if (next != 0) {
        s->calls[next].prev_of_device = prev;
    } else if (prev != 0) {
        must_put(&s->waiting_last, c->equipment_id, prev);
    } else {
        (void)bk_map_remove(&s->waiting_last, c->equipment_id);
    }
    c->prev_of_device = 0;
    c->next_of_device = 0;
}

void bk_server_row_changed(struct bk_server *s, bk_time now, uint64_t equipment_id)
{
    uint32_t call = (uint32_t)bk_map_get(&s->waiting_first, equipment_id);
    for (; call != 0; call = s->calls[call].next_of_device) {
        s->calls[call].notify_sent = 0;
        s->calls[call].notify_answered = false; /* perhaps by a run of the agent that is no more */
        bk_server_set_timer(s, &s->calls[call], now);
    }
}

bool bk_server_offer(struct bk_server *s, bk_time now, uint32_t stream, struct bk_server_out *out)
{
    struct bk_server_stream *t = &s->streams[stream];
    uint32_t call = (uint32_t)bk_map_get(&s->waiting_first, t->peer.equipment_id);
    if (call == 0) {
        return false;
    }
    struct bk_server_call *c = &s->calls[call];
    s->config.rng.fill(s->config.rng.ctx, c->offer_txid, sizeof c->offer_txid);
    struct bk_connect offer = {
        .equipment_id = c->equipment_id,
        .box = bk_slice(c->box, c->box_n),
        .user = bk_slice_text(s->streams[c->requester].peer.name),
        .has_observed = true,
        .observed = t->from,
    };
    if (!bk_name_valid(offer.user)) {
        offer.user = BK_SLICE_EMPTY; /* a note only, and no reason to hold the call back */
    }
    memcpy(offer.call_id, c->call_id, sizeof offer.call_id);
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (bk_connect_write(buf, cap, c->offer_txid, &offer, &bytes) != BK_OK) {
        return false;
    }
    bk_server_stop_waiting(s, call);
    c->state = BK_SERVER_CALL_OFFERED;
    c->device = stream;
    t->serves = call;
    bk_out_message(out, t->number, bytes);
    bk_time at_least = bk_time_add(now, ANSWER_MS * BK_MS);
    bk_server_set_timer(s, c, c->deadline > at_least ? c->deadline : at_least);
    return true;
}

static bool is_answer(const struct bk_server_call *c, const struct bk_stun *m)
{
    return m->method == BK_METHOD_CONNECT && c->state == BK_SERVER_CALL_OFFERED &&
           memcmp(m->txid, c->offer_txid, sizeof c->offer_txid) == 0;
}

static enum bk_err on_result(struct bk_server *s, struct bk_server_call *c, const struct bk_stun *m,
                             struct bk_server_out *out)
{
    struct bk_result in;
    enum bk_err err = bk_result_read(m, &in);
    if (err != BK_OK) {
        return err;
    }
    if (memcmp(in.call_id, c->call_id, sizeof in.call_id) != 0 ||
        c->results == BK_SERVER_RESULTS_MAX) {
        return BK_E_STATE;
    }
    c->results++;
    const struct bk_server_stream *to = &s->streams[c->requester];
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (!to->closing && bk_result_write(buf, cap, m->txid, &in, &bytes) == BK_OK) {
        bk_out_message(out, to->number, bytes);
    }
    return BK_OK;
}

enum bk_err bk_server_on_device_message(struct bk_server *s, const struct bk_now *now,
                                        uint32_t stream, const struct bk_stun *m,
                                        struct bk_server_out *out)
{
    uint32_t call = s->streams[stream].serves;
    if (call == 0) {
        return BK_E_STATE;
    }
    struct bk_server_call *c = &s->calls[call];
    if (m->cls == BK_STUN_SUCCESS && is_answer(c, m)) {
        bk_server_call_delivered(s, now->mono, call, out);
        return BK_OK;
    }
    if (m->cls == BK_STUN_ERROR && is_answer(c, m)) {
        bk_server_call_end(s, now->mono, call, BK_CODE_OFFLINE, BK_AUDIT_OFFLINE, out);
        return BK_OK;
    }
    if (m->cls == BK_STUN_INDICATION && m->method == BK_METHOD_RESULT &&
        c->state == BK_SERVER_CALL_DELIVERED) {
        return on_result(s, c, m, out);
    }
    return BK_E_STATE;
}
