/* REGISTER, packet 201, as request and as quiet keepalive. Nothing changes, and nothing is kept, before the MAC is
 * right; nothing but a plain keepalive is applied before the sender has returned a nonce from the address it claims.
 * Invariant: no answer is larger than the message that it answers. */
#include "wire/register.h"

#include <string.h>

#include "core/server/nonce.h"
#include "core/server/state.h"
#include "seal/seal.h"

/* What bk_row.mark holds. The serial is raised by every nonce used, so that each works once even where it changes
 * nothing else of the row. Four bits suffice: it would have to go round within the life of a nonce, while sixteen
 * messages under the device's own key, each with a nonce of its own and all with one tag, leave the row as it was. */
enum {
    MARK_EPOCH = 0x03,
    MARK_SERIAL = 0xF0,
    MARK_STEP = 0x10,
};

static void reply(struct bk_server *s, const struct bk_datagram *d, struct bk_slice bytes,
                  struct bk_server_out *out)
{
    if (bytes.n > d->message.raw.n) {
        return;
    }
    if (d->stream != 0) {
        bk_out_message(out, s->streams[d->stream].number, bytes);
    } else {
        (void)bk_out_datagram(out, d->local, &d->from, bytes);
    }
}

static void answer(struct bk_server *s, const struct bk_datagram *d, struct bk_slice key,
                   const struct bk_register_answer *a, struct bk_server_out *out)
{
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (bk_register_answer_write(buf, cap, d->message.txid, a, &s->config.mac, key, &bytes) ==
        BK_OK) {
        reply(s, d, bytes, out);
    }
}

static void nonce_for(const struct bk_server *s, const struct bk_datagram *d,
                      const struct bk_register *r, struct bk_nonce_facts *facts)
{
    *facts = (struct bk_nonce_facts){
        .equipment_id = r->equipment_id,
        .generation = r->generation,
        .from = d->from,
        .local = d->local,
        .row = bk_server_live_row(s, r->equipment_id),
    };
}

/* 438, or to a quiet keepalive the indication that stands for it: ask, with this nonce. */
static void challenge(struct bk_server *s, const struct bk_datagram *d, const struct bk_register *r,
                      struct bk_slice key, struct bk_server_out *out)
{
    struct bk_nonce_facts facts;
    char nonce[BK_NONCE_BYTES + 1];
    nonce_for(s, d, r, &facts);
    bk_nonce_make(&s->config.mac, s->nonce_key, s->now_s, &facts, nonce);
    if (!r->quiet) {
        struct bk_register_answer a = {.code = BK_CODE_STALE_NONCE,
                                       .nonce = bk_slice(nonce, BK_NONCE_BYTES)};
        answer(s, d, key, &a, out);
        return;
    }
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (bk_register_challenge_write(buf, cap, d->message.txid, bk_slice(nonce, BK_NONCE_BYTES),
                                    &s->config.mac, key, &bytes) == BK_OK) {
        reply(s, d, bytes, out);
    }
}

static bool same_address(const struct bk_row *row, const struct bk_datagram *d)
{
    return row->local == d->local && row->port == d->from.port &&
           memcmp(row->ip, d->from.ip, sizeof row->ip) == 0;
}

/* A plain keepalive: from where the row says, by the same run of the same agent, and newer. */
static bool fits(const struct bk_row *row, const struct bk_datagram *d, const struct bk_register *r)
{
    return same_address(row, d) && row->generation == r->generation &&
           (row->mark & MARK_EPOCH) == bk_server_epoch_slot(r->epoch) &&
           row->tag_random == r->tag.random && r->tag.counter > row->tag_counter;
}

/* Writes the row; makes it where there is none. BK_E_NOSPACE, BK_E_NOMEM. */
static enum bk_err apply(struct bk_server *s, const struct bk_now *now, const struct bk_datagram *d,
                         const struct bk_register *r, bool by_nonce)
{
    struct bk_row *row = bk_table_find(&s->table, r->equipment_id);
    /* An expired row counts as none: a call may be waiting for it to come back to life. */
    bool news = !bk_server_live_row(s, r->equipment_id) || !same_address(row, d) ||
                row->tag_random != r->tag.random;
    if (!row) {
        enum bk_err err = bk_table_insert(&s->table, r->equipment_id, &row);
        if (err != BK_OK) {
            return err;
        }
    }
    memcpy(row->ip, d->from.ip, sizeof row->ip);
    row->port = d->from.port;
    row->local = d->local;
    row->tag_random = r->tag.random;
    row->tag_counter = r->tag.counter;
    row->generation = r->generation;
    uint8_t slot = bk_server_epoch_slot(r->epoch);
    row->seen_s = bk_server_seen_now(s, slot);
    unsigned serial = (row->mark + (by_nonce ? MARK_STEP : 0u)) & MARK_SERIAL;
    row->mark = (uint8_t)(serial | bk_server_mark_of_interval(r->interval_s) | slot);
    if (news) {
        bk_server_row_changed(s, now->mono, r->equipment_id);
    }
    return BK_OK;
}

/* The MAC was right. */
static void proven(struct bk_server *s, const struct bk_now *now, const struct bk_datagram *d,
                   const struct bk_register *r, struct bk_slice key, struct bk_server_out *out)
{
    struct bk_nonce_facts facts;
    nonce_for(s, d, r, &facts);
    const struct bk_row *row = facts.row;
    bool plain = row && fits(row, d, r);
    /* An older message of the same run is late or repeated, whatever it brings. */
    bool late = row && row->tag_random == r->tag.random && r->tag.counter < row->tag_counter;
    bool by_nonce = !plain && !late && r->nonce.n > 0 &&
                    bk_nonce_check(&s->config.mac, s->nonce_key, s->now_s, &facts, r->nonce);
    if (!plain && !by_nonce) {
        challenge(s, d, r, key, out);
        return;
    }
    if (apply(s, now, d, r, by_nonce) != BK_OK) {
        return; /* the device asks again */
    }
    bool renew = r->epoch != s->config.master[0].epoch;
    if (!r->quiet) {
        struct bk_register_answer a = {.mapped = d->from, .unix_s = now->unix_s, .renew = renew};
        answer(s, d, key, &a, out);
    } else if (renew) {
        challenge(s, d, r, key, out); /* so that its device asks, and hears of it */
    }
}

static void revoked(struct bk_server *s, const struct bk_datagram *d, const struct bk_register *r,
                    struct bk_slice key, struct bk_server_out *out)
{
    if (r->quiet) {
        challenge(s, d, r, key, out); /* it asks, and hears 403 */
    } else {
        struct bk_register_answer a = {.code = BK_CODE_FORBIDDEN};
        answer(s, d, key, &a, out);
    }
}

enum bk_err bk_server_on_register(struct bk_server *s, const struct bk_now *now,
                                  const struct bk_datagram *d, struct bk_server_out *out)
{
    struct bk_register r;
    enum bk_err err = bk_stun_check_fingerprint(&d->message);
    if (err == BK_OK) {
        err = bk_register_read(&d->message, &r);
    }
    if (err != BK_OK) {
        return err;
    }
    if (d->stream != 0 && s->streams[d->stream].peer.equipment_id != r.equipment_id) {
        return BK_E_STATE;
    }
    enum bk_standing standing = bk_exceptions_check(&s->exceptions, r.equipment_id, r.generation);
    if (standing == BK_STANDING_UNKNOWN) {
        return BK_OK;
    }
    uint8_t key[BK_KEY_BYTES];
    if (bk_server_device_key(s, r.epoch, r.equipment_id, r.generation, key) &&
        bk_stun_check_sha256(&d->message, &s->config.mac, BK_SLICE_OF(key),
                             BK_STUN_SHORT_MAC_BYTES) == BK_OK) {
        if (standing == BK_STANDING_REVOKED) {
            revoked(s, d, &r, BK_SLICE_OF(key), out);
        } else {
            proven(s, now, d, &r, BK_SLICE_OF(key), out);
        }
    }
    bk_wipe(key, sizeof key);
    return BK_OK;
}
