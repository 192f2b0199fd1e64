/* REGISTER, packet 201, as request and as quiet keepalive. Nothing changes, and nothing is kept, before the MAC is
 * right; nothing but a plain keepalive is applied before the sender has returned a nonce from the address it claims.
 * Invariant: no answer is larger than the message that it answers. */
#include <string.h>

#include "core/registrar/nonce.h"
#include "core/registrar/state.h"
#include "seal/seal.h"
#include "wire/register_quick.h"

_Static_assert((int)BK_REGISTRAR_REPLY_BYTES >= (int)BK_REGISTER_QUICK_MAX_BYTES,
               "room for an answer");

/* What bk_row.mark holds. The serial is raised by every nonce used, so that each works once even where it changes
 * nothing else of the row. Four bits suffice: it would have to go round within the life of a nonce, while sixteen
 * messages under the device's own key, each with a nonce of its own and all with one tag, leave the row as it was. */
enum {
    MARK_EPOCH = 0x03,
    MARK_SERIAL = 0xF0,
    MARK_STEP = 0x10,
};

/* One REGISTER whose MAC was right. */
struct proven {
    const struct bk_registrar_asking *a;
    const uint8_t *txid;
    const struct bk_mac_key *key;
    struct bk_row *row; /* live or not; NULL: none */
    bool live;
};

static bool answer(const struct bk_registrar *r, const struct proven *p,
                   const struct bk_register_answer *a, struct bk_registrar_reply *out)
{
    out->n = bk_register_quick_answer(out->bytes, p->txid, a, &r->config.mac, p->key);
    return out->n <= p->a->in->bytes.n;
}

static void facts_of(const struct proven *p, struct bk_nonce_facts *facts)
{
    *facts = (struct bk_nonce_facts){
        .equipment_id = p->a->r.equipment_id,
        .generation = p->a->r.generation,
        .from = p->a->in->from,
        .local = p->a->in->local,
        .row = p->live ? p->row : NULL,
    };
}

/* 438, or to a quiet keepalive the indication that stands for it: ask, with this nonce. */
static bool challenge(const struct bk_registrar *r, const struct proven *p,
                      struct bk_registrar_reply *out)
{
    struct bk_nonce_facts facts;
    char nonce[BK_NONCE_BYTES + 1];
    facts_of(p, &facts);
    bk_nonce_make(&r->config.mac, &r->nonce_key, r->now_s, &facts, nonce);
    if (!p->a->r.quiet) {
        struct bk_register_answer a = {.code = BK_CODE_STALE_NONCE,
                                       .nonce = bk_slice(nonce, BK_NONCE_BYTES)};
        return answer(r, p, &a, out);
    }
    out->n = bk_register_quick_challenge(out->bytes, p->txid, (const uint8_t *)nonce,
                                         &r->config.mac, p->key);
    return out->n <= p->a->in->bytes.n;
}

static bool same_address(const struct bk_row *row, const struct bk_arrival *in)
{
    return row->local == in->local && row->port == in->from.port &&
           memcmp(row->ip, in->from.ip, sizeof row->ip) == 0;
}

/* A plain keepalive: from where the row says, by the same run of the same agent, and newer. */
static bool fits(const struct bk_row *row, const struct bk_arrival *in, const struct bk_register *r)
{
    return same_address(row, in) && row->generation == r->generation &&
           (row->mark & MARK_EPOCH) == bk_registrar_epoch_slot(r->epoch) &&
           row->tag_random == r->tag.random && r->tag.counter > row->tag_counter;
}

/* Whether what is about to change is what calls may wait to hear of. An expired row counts as none. */
static bool is_move(const struct proven *p)
{
    return !p->live || !same_address(p->row, p->a->in) || p->row->tag_random != p->a->r.tag.random;
}

/* Writes the row; makes it where there is none. BK_E_NOSPACE, BK_E_NOMEM. */
static enum bk_err apply(struct bk_registrar *r, const struct proven *p, bool by_nonce,
                         struct bk_registrar_reply *out)
{
    const struct bk_register *in = &p->a->r;
    const struct bk_arrival *from = p->a->in;
    struct bk_row *row = p->row;
    bool move = r->awaited.len > 0 && is_move(p);
    if (!row) {
        enum bk_err err = bk_table_insert(&r->table, in->equipment_id, &row);
        if (err != BK_OK) {
            return err;
        }
    }
    memcpy(row->ip, from->from.ip, sizeof row->ip);
    row->port = from->from.port;
    row->local = from->local;
    row->tag_random = in->tag.random;
    row->tag_counter = in->tag.counter;
    row->generation = in->generation;
    uint8_t slot = bk_registrar_epoch_slot(in->epoch);
    row->seen_s = bk_registrar_seen_now(r, slot);
    unsigned serial = (row->mark + (by_nonce ? MARK_STEP : 0u)) & MARK_SERIAL;
    row->mark = (uint8_t)(serial | bk_registrar_mark_of_interval(in->interval_s) | slot);
    out->news = move && bk_registrar_tell(r, in->equipment_id);
    out->equipment_id = in->equipment_id;
    return BK_OK;
}

static bool by_its_nonce(const struct bk_registrar *r, const struct proven *p)
{
    struct bk_nonce_facts facts;
    facts_of(p, &facts);
    return bk_nonce_check(&r->config.mac, &r->nonce_key, r->now_s, &facts, p->a->r.nonce);
}

static bool on_proven(struct bk_registrar *r, const struct bk_now *now, struct proven *p,
                      struct bk_registrar_reply *out)
{
    const struct bk_register *in = &p->a->r;
    p->row = bk_table_find(&r->table, in->equipment_id);
    p->live = p->row && bk_registrar_is_live(r, p->row, r->now_s);
    bool plain = p->live && fits(p->row, p->a->in, in);
    /* An older message of the same run is late or repeated, whatever it brings. */
    bool late =
        p->live && p->row->tag_random == in->tag.random && in->tag.counter < p->row->tag_counter;
    bool by_nonce = !plain && !late && in->nonce.n > 0 && by_its_nonce(r, p);
    if (!plain && !by_nonce) {
        return challenge(r, p, out);
    }
    if (apply(r, p, by_nonce, out) != BK_OK) {
        return false; /* the device asks again */
    }
    bool renew = in->epoch != r->master[0].epoch;
    if (!in->quiet) {
        struct bk_register_answer a = {
            .mapped = p->a->in->from, .unix_s = now->unix_s, .renew = renew};
        return answer(r, p, &a, out);
    }
    return renew && challenge(r, p, out); /* so that its device asks, and hears of it */
}

static bool on_revoked(const struct bk_registrar *r, const struct proven *p,
                       struct bk_registrar_reply *out)
{
    if (p->a->r.quiet) {
        return challenge(r, p, out); /* it asks, and hears 403 */
    }
    struct bk_register_answer a = {.code = BK_CODE_FORBIDDEN};
    return answer(r, p, &a, out);
}

static bool is_keyed(const struct bk_registrar *r, const struct bk_registrar_asking *a,
                     const struct bk_device_key *key)
{
    return a->m ? bk_stun_check_sha256(a->m, &r->config.mac, BK_SLICE_OF(key->raw),
                                       BK_STUN_SHORT_MAC_BYTES) == BK_OK
                : bk_register_quick_integrity(a->in->bytes, &r->config.mac, &key->key);
}

bool bk_registrar_on_register(struct bk_registrar *r, const struct bk_now *now,
                              const struct bk_registrar_asking *a, struct bk_registrar_reply *out)
{
    const struct bk_register *in = &a->r;
    enum bk_standing standing =
        bk_exceptions_check(&r->exceptions, in->equipment_id, in->generation);
    if (standing == BK_STANDING_UNKNOWN) {
        return false;
    }
    struct bk_device_key key;
    bool sent = false;
    if (bk_registrar_device_key(r, in->epoch, in->equipment_id, in->generation, &key) &&
        is_keyed(r, a, &key)) {
        struct proven p = {.a = a,
                           .txid = a->in->bytes.p + BK_STUN_HEADER_BYTES - BK_STUN_TXID_BYTES,
                           .key = &key.key};
        sent =
            standing == BK_STANDING_REVOKED ? on_revoked(r, &p, out) : on_proven(r, now, &p, out);
    }
    bk_wipe(&key, sizeof key);
    return sent;
}
