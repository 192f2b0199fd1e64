/* NOTIFY, packet 205: goes to where the device's row points at that moment, from the socket that its
 * mapping belongs to or on the stream that it came by, again and again until answered. By UDP the first ones bring the
 * request with them (fast form), the later ones say only that there is one: a network that loses what is large, or a
 * device that cannot take it, gets the first form. An answer counts only from where the newest one went, with the call's
 * transaction ID and under the device's key. */
#include "wire/notify.h"

#include <assert.h>
#include <string.h>

#include "base/reader.h"
#include "core/server/state.h"
#include "seal/seal.h"

static const uint32_t due_ms[] = {0, 250, 500, 1000, 2000, 4000, 6000};
enum {
    TIMES = sizeof due_ms / sizeof due_ms[0],
    TIMES_WITH_BOX = 2,
    DRAWS = 8, /* of a transaction ID */
};

static uint64_t txid_key(const uint8_t txid[BK_STUN_TXID_BYTES])
{
    struct bk_reader r = bk_reader(bk_slice(txid, 8));
    return bk_read_u64(&r);
}

struct bk_slice bk_server_caller_name(const struct bk_server *s, const struct bk_server_call *c)
{
    struct bk_slice name = bk_slice_text(s->streams[c->requester].peer.name);
    return bk_name_valid(name) ? name : BK_SLICE_EMPTY;
}

static struct bk_notify next_one(struct bk_server *s, struct bk_server_call *c,
                                 const struct bk_location *at)
{
    struct bk_notify n = {.tag = at->tag};
    if (s->config.fast_form && at->local != BK_LOCAL_STREAM && c->notify_sent < TIMES_WITH_BOX &&
        (c->notify_boxed || bk_server_expect_result(s, c))) {
        c->notify_boxed = true;
        n.fast = true;
        memcpy(n.call_id, c->call_id, sizeof n.call_id);
        n.box = bk_slice(c->box, c->box_n);
        n.user = bk_server_caller_name(s, c);
    }
    return n;
}

static void send_one(struct bk_server *s, struct bk_server_call *c, const struct bk_location *at,
                     struct bk_server_out *out)
{
    uint8_t key[BK_KEY_BYTES];
    if (!bk_server_device_key(s, at->epoch, c->equipment_id, at->generation, key)) {
        return; /* a live row's key is there */
    }
    c->notify_to = at->addr;
    c->notify_local = at->local;
    c->notify_epoch = at->epoch;
    c->notify_generation = at->generation;
    struct bk_notify n = next_one(s, c, at);
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    enum bk_err err =
        bk_notify_write(buf, cap, c->notify_txid, &n, &s->config.mac, BK_SLICE_OF(key), &bytes);
    bk_wipe(key, sizeof key);
    if (err != BK_OK) {
        return;
    }
    bk_server_send_to(s, at, bytes, out);
}

void bk_server_notify(struct bk_server *s, bk_time now, struct bk_server_call *c,
                      struct bk_server_out *out)
{
    bk_time next = c->deadline;
    struct bk_location at;
    if (!c->notify_answered && bk_server_look(s, c->equipment_id, &at)) {
        if (c->notify_sent == 0) {
            c->notify_from = now;
            c->notify_rounds++;
        }
        if (c->notify_sent < TIMES &&
            now >= bk_time_add(c->notify_from, due_ms[c->notify_sent] * BK_MS)) {
            send_one(s, c, &at, out);
            /* Late timers do not make up for what they missed. */
            do {
                c->notify_sent++;
            } while (c->notify_sent < TIMES &&
                     now >= bk_time_add(c->notify_from, due_ms[c->notify_sent] * BK_MS));
        }
        if (c->notify_sent < TIMES) {
            next = bk_time_min(next, bk_time_add(c->notify_from, due_ms[c->notify_sent] * BK_MS));
        }
    }
    bk_server_set_timer(s, c, next);
}

static bool read_answer(const struct bk_server *s, const struct bk_server_call *c,
                        const struct bk_stun *m, struct bk_notify_answer *out)
{
    uint8_t key[BK_KEY_BYTES];
    bool good =
        bk_server_device_key(s, c->notify_epoch, c->equipment_id, c->notify_generation, key) &&
        bk_notify_answer_read(m, &s->config.mac, BK_SLICE_OF(key), out) == BK_OK;
    bk_wipe(key, sizeof key);
    return good;
}

void bk_server_on_notify_answer(struct bk_server *s, bk_time now, const struct bk_datagram *d,
                                struct bk_server_out *out)
{
    const struct bk_stun *m = &d->message;
    if (m->cls != BK_STUN_SUCCESS) {
        return;
    }
    uint32_t call = (uint32_t)bk_map_get(&s->notify_txids, txid_key(m->txid));
    struct bk_server_call *c = &s->calls[call];
    struct bk_notify_answer said;
    if (call == 0 || c->state != BK_SERVER_CALL_WAITING || c->notify_sent == 0 ||
        c->notify_local != d->local || !bk_addr_equal(&c->notify_to, &d->from) ||
        !bk_slice_equal(BK_SLICE_OF(c->notify_txid), BK_SLICE_OF(m->txid)) ||
        !read_answer(s, c, m, &said)) {
        return;
    }
    if (!said.taken) {
        c->notify_answered = true;
        bk_server_set_timer(s, c, c->deadline);
    } else if (c->notify_boxed && memcmp(said.call_id, c->call_id, sizeof said.call_id) == 0) {
        bk_server_taken(s, now, call, out);
    }
}

static bool txid_in_use(const struct bk_server *s, const uint8_t txid[BK_STUN_TXID_BYTES])
{
    return bk_map_get(&s->notify_txids, txid_key(txid)) != 0;
}

void bk_server_notify_begin(struct bk_server *s, uint32_t call)
{
    struct bk_server_call *c = &s->calls[call];
    uint8_t drawn[4];
    /* So few random bytes meet their like now and then. */
    for (size_t i = 0; i < DRAWS && (i == 0 || txid_in_use(s, c->notify_txid)); i++) {
        s->config.rng.fill(s->config.rng.ctx, drawn, sizeof drawn);
        bk_notify_txid_make(&s->config.mac, s->notify_key, drawn, c->notify_txid);
    }
    enum bk_err err = bk_map_put(&s->notify_txids, txid_key(c->notify_txid), call);
    assert(err == BK_OK); /* the map has room for every call */
    (void)err;
}

void bk_server_notify_forget(struct bk_server *s, uint32_t call)
{
    uint64_t key = txid_key(s->calls[call].notify_txid);
    if (bk_map_get(&s->notify_txids, key) == call) {
        (void)bk_map_remove(&s->notify_txids, key);
    }
}
