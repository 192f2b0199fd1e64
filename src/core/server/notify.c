/* NOTIFY, packet 205: goes to where the device's row points at that moment, from the socket that its
 * mapping belongs to or on the stream that it came by, again and again until answered. An answer counts only from where the newest one
 * went, with the call's transaction ID and under the device's key. */
#include "wire/notify.h"

#include <assert.h>

#include "base/reader.h"
#include "core/server/state.h"
#include "seal/seal.h"

static const uint32_t due_ms[] = {0, 250, 500, 1000, 2000, 4000, 6000};
enum {
    TIMES = sizeof due_ms / sizeof due_ms[0],
};

static uint64_t txid_key(const uint8_t txid[BK_STUN_TXID_BYTES])
{
    struct bk_reader r = bk_reader(bk_slice(txid, 8));
    return bk_read_u64(&r);
}

static void send_one(struct bk_server *s, struct bk_server_call *c, const struct bk_row *row,
                     struct bk_server_out *out)
{
    uint8_t key[BK_KEY_BYTES];
    if (!bk_server_row_epoch(s, row, &c->notify_epoch) ||
        !bk_server_device_key(s, c->notify_epoch, c->equipment_id, row->generation, key)) {
        return; /* a live row's key is there */
    }
    c->notify_to = bk_server_row_addr(row);
    c->notify_local = row->local;
    c->notify_generation = row->generation;
    struct bk_tag tag = {.random = row->tag_random, .counter = row->tag_counter};
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    enum bk_err err =
        bk_notify_write(buf, cap, c->notify_txid, &tag, &s->config.mac, BK_SLICE_OF(key), &bytes);
    bk_wipe(key, sizeof key);
    if (err != BK_OK) {
        return;
    }
    bk_server_send_to_row(s, row, bytes, out);
}

void bk_server_notify(struct bk_server *s, bk_time now, struct bk_server_call *c,
                      struct bk_server_out *out)
{
    bk_time next = c->deadline;
    const struct bk_row *row = bk_server_live_row(s, c->equipment_id);
    if (row && !c->notify_answered) {
        if (c->notify_sent == 0) {
            c->notify_from = now;
        }
        if (c->notify_sent < TIMES &&
            now >= bk_time_add(c->notify_from, due_ms[c->notify_sent] * BK_MS)) {
            send_one(s, c, row, out);
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

void bk_server_on_notify_answer(struct bk_server *s, const struct bk_datagram *d)
{
    const struct bk_stun *m = &d->message;
    if (m->cls != BK_STUN_SUCCESS) {
        return;
    }
    uint32_t call = (uint32_t)bk_map_get(&s->notify_txids, txid_key(m->txid));
    struct bk_server_call *c = &s->calls[call];
    if (call == 0 || c->state != BK_SERVER_CALL_WAITING || c->notify_sent == 0 ||
        c->notify_local != d->local || !bk_addr_equal(&c->notify_to, &d->from) ||
        !bk_slice_equal(BK_SLICE_OF(c->notify_txid), BK_SLICE_OF(m->txid))) {
        return;
    }
    uint8_t key[BK_KEY_BYTES];
    if (bk_server_device_key(s, c->notify_epoch, c->equipment_id, c->notify_generation, key) &&
        bk_notify_answer_read(m, &s->config.mac, BK_SLICE_OF(key)) == BK_OK) {
        c->notify_answered = true;
        bk_server_set_timer(s, c, c->deadline);
    }
    bk_wipe(key, sizeof key);
}

void bk_server_notify_begin(struct bk_server *s, uint32_t call)
{
    struct bk_server_call *c = &s->calls[call];
    s->config.rng.fill(s->config.rng.ctx, c->notify_txid, sizeof c->notify_txid);
    enum bk_err err = bk_map_put(&s->notify_txids, txid_key(c->notify_txid), call);
    assert(err == BK_OK); /* the map has room for every call */
    (void)err;
}

void bk_server_notify_forget(struct bk_server *s, uint32_t call)
{
    (void)bk_map_remove(&s->notify_txids, txid_key(s->calls[call].notify_txid));
}
