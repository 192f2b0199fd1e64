/* The device's side of a call: the queue of calls that a device has yet to speak of, 226 on the stream that it opens and its
 * answer, RESULT on the way back by stream or datagram. A stream is given one call and may speak of no other; what came
 * with NOTIFY (fast form) is spoken of by call ID.
 *
 * Invariant: a call is in its device's queue exactly while it is WAITING or TAKEN, and so long its row's news are asked for. */
#include <assert.h>
#include <string.h>

#include "core/server/state.h"
#include "seal/seal.h"
#include "wire/result.h"

enum {
    ANSWER_MS = 1000, /* a device that opened its stream late still has so long to answer 226 */
    /* A device that moves is told anew of all its calls: so often of each at once, then so long after the last time. It
     * must not have others pay for every datagram of its own. */
    ROUNDS_AT_ONCE = 4,
    ROUND_MS = 1000,
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
    c->awaits = bk_server_await(s, c->equipment_id); /* else NOTIFY goes to where it is now only */
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
    if (c->state != BK_SERVER_CALL_WAITING && c->state != BK_SERVER_CALL_TAKEN) {
        return;
    }
    if (c->awaits) {
        bk_server_await_no_more(s, c->equipment_id);
        c->awaits = false;
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

/* When the next round of NOTIFY may begin. */
static bk_time next_round(const struct bk_server_call *c, bk_time now)
{
    bk_time earliest = bk_time_add(c->notify_from, ROUND_MS * BK_MS);
    return c->notify_rounds < ROUNDS_AT_ONCE || earliest <= now
               ? now
               : bk_time_min(earliest, c->deadline);
}

/* Perhaps to a run of the agent that knows nothing of them. */
void bk_server_row_changed(struct bk_server *s, bk_time now, uint64_t equipment_id)
{
    uint32_t call = (uint32_t)bk_map_get(&s->waiting_first, equipment_id);
    for (; call != 0; call = s->calls[call].next_of_device) {
        struct bk_server_call *c = &s->calls[call];
        c->state = BK_SERVER_CALL_WAITING;
        c->notify_sent = 0;
        c->notify_answered = false;
        bk_server_set_timer(s, c, next_round(c, now));
    }
}

void bk_server_taken(struct bk_server *s, bk_time now, uint32_t call, struct bk_server_out *out)
{
    s->calls[call].fast = true;
    bk_server_call_delivered(s, now, call, BK_SERVER_CALL_TAKEN, out);
}

/* The oldest that waits for a stream; of those that were taken once, and are notified anew, only if there is no other. */
static uint32_t next_to_offer(const struct bk_server *s, uint64_t equipment_id)
{
    uint32_t again = 0;
    uint32_t call = (uint32_t)bk_map_get(&s->waiting_first, equipment_id);
    for (; call != 0; call = s->calls[call].next_of_device) {
        const struct bk_server_call *c = &s->calls[call];
        if (c->state == BK_SERVER_CALL_WAITING && !c->audited) {
            return call;
        }
        if (c->state == BK_SERVER_CALL_WAITING && again == 0) {
            again = call;
        }
    }
    return again;
}

bool bk_server_offer(struct bk_server *s, bk_time now, uint32_t stream, struct bk_server_out *out)
{
    struct bk_server_stream *t = &s->streams[stream];
    uint32_t call = next_to_offer(s, t->peer.equipment_id);
    if (call == 0) {
        return false;
    }
    struct bk_server_call *c = &s->calls[call];
    s->config.rng.fill(s->config.rng.ctx, c->offer_txid, sizeof c->offer_txid);
    struct bk_connect offer = {
        .equipment_id = c->equipment_id,
        .box = bk_slice(c->box, c->box_n),
        .user = bk_server_caller_name(s, c),
        .has_observed = true,
        .observed = t->from,
    };
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

/* To the requester. */
static void pass_on(struct bk_server *s, struct bk_server_call *c,
                    const uint8_t txid[BK_STUN_TXID_BYTES], const struct bk_result *in,
                    struct bk_server_out *out)
{
    c->said[c->results++] = bk_hash_bytes(s->seed, in->box);
    const struct bk_server_stream *to = &s->streams[c->requester];
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (!to->closing && bk_result_write(buf, cap, txid, in, &bytes) == BK_OK) {
        bk_out_message(out, to->number, bytes);
    }
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
    pass_on(s, c, m->txid, &in, out);
    return BK_OK;
}

/* ---- RESULT of a call that came with NOTIFY ---- */

/* The one that the device may have by that way. 0: none. */
static uint32_t notified_call(const struct bk_server *s, uint64_t equipment_id,
                              const uint8_t call_id[BK_CALL_ID_BYTES])
{
    uint32_t call = (uint32_t)bk_map_get(
        &s->call_ids, bk_hash_bytes(s->seed, bk_slice(call_id, BK_CALL_ID_BYTES)));
    const struct bk_server_call *c = &s->calls[call];
    return call != 0 && c->equipment_id == equipment_id && c->notify_boxed &&
                   c->state != BK_SERVER_CALL_ENDING &&
                   memcmp(c->call_id, call_id, BK_CALL_ID_BYTES) == 0
               ? call
               : 0;
}

/* Its answer was lost, or that this one went on: the same box is the same RESULT. */
static bool was_said(const struct bk_server *s, const struct bk_server_call *c, struct bk_slice box)
{
    uint64_t hash = bk_hash_bytes(s->seed, box);
    for (uint32_t i = 0; i < c->results; i++) {
        if (c->said[i] == hash) {
            return true;
        }
    }
    return false;
}

static void take_result(struct bk_server *s, bk_time now, uint64_t equipment_id,
                        const uint8_t txid[BK_STUN_TXID_BYTES], const struct bk_result *in,
                        struct bk_server_out *out)
{
    uint32_t call = notified_call(s, equipment_id, in->call_id);
    struct bk_server_call *c = &s->calls[call];
    if (call == 0 || c->results == BK_SERVER_RESULTS_MAX || was_said(s, c, in->box)) {
        return;
    }
    if (c->state == BK_SERVER_CALL_WAITING || c->state == BK_SERVER_CALL_TAKEN) {
        /* Its answer to NOTIFY may have got lost: this says the same, and more. */
        bk_server_stop_waiting(s, call);
        c->fast = c->fast || !c->audited;
        bk_server_call_delivered(s, now, call, BK_SERVER_CALL_DELIVERED, out);
    }
    pass_on(s, c, txid, in, out);
}

void bk_server_on_result_datagram(struct bk_server *s, bk_time now, const struct bk_datagram *d,
                                  struct bk_server_out *out)
{
    struct bk_result_datagram in;
    uint8_t key[BK_KEY_BYTES];
    if (bk_result_datagram_read(&d->message, &in) != BK_OK ||
        !bk_server_device_key(s, in.epoch, in.equipment_id, in.generation, key)) {
        return;
    }
    take_result(s, now, in.equipment_id, d->message.txid, &in.result, out);
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (bk_result_answer_write(buf, cap, d->message.txid, &s->config.mac, BK_SLICE_OF(key),
                               &bytes) == BK_OK) {
        (void)bk_out_datagram(out, d->shard, d->local, &d->from, bytes);
    }
    bk_wipe(key, sizeof key);
}

enum bk_err bk_server_on_result_by_stream(struct bk_server *s, const struct bk_now *now,
                                          uint32_t stream, const struct bk_stun *m,
                                          struct bk_server_out *out)
{
    struct bk_result in;
    uint64_t equipment_id = s->streams[stream].peer.equipment_id;
    enum bk_err err = bk_result_read(m, &in);
    if (err == BK_OK && bk_server_device_standing(s, equipment_id) != BK_STANDING_GOOD) {
        err = BK_E_STATE;
    }
    if (err == BK_OK) {
        take_result(s, now->mono, equipment_id, m->txid, &in, out);
    }
    return err;
}

/* ---- on the stream that was given a call ---- */

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
        bk_server_call_delivered(s, now->mono, call, BK_SERVER_CALL_DELIVERED, out);
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
