/* NOTIFY: someone calls. Answered each time, acted on once, and in one form; and the tags of late, which calls must
 * bear. */
#include <assert.h>
#include <string.h>

#include "core/agent/admission.h"
#include "core/agent/registration_private.h"
#include "wire/notify.h"

enum {
    NOTIFY_TAG_INTERVALS = 4, /* a NOTIFY may go to a registration so many intervals old */
    SEEN_NOT = BK_AGENT_SEEN_MAX,
};

void bk_registration_raise_counter(struct bk_registration *r, bk_time now)
{
    if (r->tag.counter == UINT32_MAX) {
        bk_registration_draw_tag(r); /* as if restarted: the server asks for one proof */
    }
    r->tag.counter++;
    size_t slots = sizeof r->sent / sizeof r->sent[0];
    r->sent[r->sent_next % slots].counter = r->tag.counter;
    r->sent[r->sent_next % slots].at = now;
    r->sent_next++;
}

static bool sent_within(const struct bk_registration *r, bk_time now, const struct bk_tag *tag,
                        uint64_t window)
{
    size_t slots = sizeof r->sent / sizeof r->sent[0];
    size_t used = r->sent_next < slots ? r->sent_next : slots;
    if (tag->random != r->tag.random) {
        return false;
    }
    for (size_t i = 0; i < used; i++) {
        if (r->sent[i].counter == tag->counter) {
            return now - r->sent[i].at <= window;
        }
    }
    return false;
}

/* The longest time between two REGISTER by either way. */
static uint64_t longest_interval(const struct bk_registration *r)
{
    uint64_t s = r->by_tunnel && r->interval_s < BK_AGENT_TUNNEL_INTERVAL_S
                     ? BK_AGENT_TUNNEL_INTERVAL_S
                     : r->interval_s;
    return s * BK_SECOND;
}

/* The caller may know a tag that is too old by now, and asks again with the newest one: it must be of now. */
static void freshen(struct bk_registration *r, bk_time now)
{
    if (r->state == BK_REGISTRATION_UP && !sent_within(r, now, &r->tag, BK_FRESH_S * BK_SECOND)) {
        struct bk_registration_exchange *x = r->by_tunnel ? &r->tunnel : &r->udp;
        r->quiet_run = UINT32_MAX; /* not a quiet one */
        if (!x->waiting) {
            x->due = now;
        }
    }
}

static size_t n_seen(const struct bk_registration *r)
{
    return r->seen_next < BK_AGENT_SEEN_MAX ? r->seen_next : BK_AGENT_SEEN_MAX;
}

/* Where in `seen` it stands, or SEEN_NOT. */
static size_t find_transaction(const struct bk_registration *r,
                               const uint8_t txid[BK_STUN_TXID_BYTES])
{
    for (size_t i = 0; i < n_seen(r); i++) {
        if (memcmp(r->seen[i].txid, txid, BK_STUN_TXID_BYTES) == 0) {
            return i;
        }
    }
    return SEEN_NOT;
}

/* Likewise, a call that was taken in the fast form. */
static size_t find_taken(const struct bk_registration *r, const uint8_t call_id[BK_CALL_ID_BYTES])
{
    for (size_t i = 0; i < n_seen(r); i++) {
        if (r->seen[i].taken && memcmp(r->seen[i].call_id, call_id, BK_CALL_ID_BYTES) == 0) {
            return i;
        }
    }
    return SEEN_NOT;
}

static void remember(struct bk_registration *r, const uint8_t txid[BK_STUN_TXID_BYTES],
                     const struct bk_notify_answer *said)
{
    size_t i = r->seen_next++ % BK_AGENT_SEEN_MAX;
    memcpy(r->seen[i].txid, txid, BK_STUN_TXID_BYTES);
    r->seen[i].taken = said->taken;
    memcpy(r->seen[i].call_id, said->call_id, BK_CALL_ID_BYTES);
}

static void answer(const struct bk_registration *r, const struct bk_stun *m,
                   const struct bk_notify_answer *said, const struct bk_addr *to,
                   struct bk_registration_out *out)
{
    struct bk_slice bytes;
    enum bk_err err =
        bk_notify_answer_write(bk_registration_room(out), BK_AGENT_DATAGRAM_BYTES, m->txid, said,
                               &r->config.mac, bk_registration_key_of(r), &bytes);
    assert(err == BK_OK);
    (void)err;
    bk_registration_add_send(to, bytes, out);
}

/* What is new: by the tunnel in the first form, whatever came, since RESULT has no way back through it. */
static void act(const struct bk_notify *in, const struct bk_addr *from, uint8_t index,
                struct bk_registration_out *out)
{
    struct bk_registration_action *call = bk_registration_add(out, BK_REGISTRATION_CALL);
    call->index = index;
    if (from != NULL) {
        call->addr = *from;
        call->fast = in->fast;
    }
    if (call->fast) {
        memcpy(call->call_id, in->call_id, sizeof call->call_id);
        call->bytes = in->box;
        call->user = bk_slice(bk_registration_room(out), in->user.n);
        memcpy(bk_registration_room(out), in->user.p, in->user.n);
        out->used += in->user.n;
    }
}

void bk_registration_notified(struct bk_registration *r, bk_time now, const struct bk_stun *m,
                              const struct bk_addr *from, uint8_t index, bool full,
                              struct bk_registration_out *out)
{
    struct bk_notify in;
    uint64_t window = NOTIFY_TAG_INTERVALS * longest_interval(r);
    if (window < BK_FRESH_S * BK_SECOND) {
        window = BK_FRESH_S * BK_SECOND;
    }
    if (bk_notify_read(m, &r->config.mac, bk_registration_key_of(r), &in) != BK_OK ||
        !sent_within(r, now, &in.tag, window)) {
        return;
    }
    size_t before = find_transaction(r, m->txid);
    bool again = before != SEEN_NOT;
    if (!again && in.fast) {
        before = find_taken(r, in.call_id);
    }
    struct bk_notify_answer said = {.taken = in.fast && from != NULL};
    if (before != SEEN_NOT) {
        said.taken = r->seen[before].taken;
        memcpy(said.call_id, r->seen[before].call_id, sizeof said.call_id);
    } else if (full) { /* unanswered it comes again, and there may be room by then */
        bk_registration_add(out, BK_REGISTRATION_FULL)->index = index;
        return;
    } else if (said.taken) {
        memcpy(said.call_id, in.call_id, sizeof said.call_id);
    }
    answer(r, m, &said, from, out);
    if (!again) {
        remember(r, m->txid, &said);
    }
    if (before == SEEN_NOT) {
        act(&in, from, index, out);
        freshen(r, now);
    }
}

bool bk_registration_sent_lately(const struct bk_registration *r, const struct bk_now *now,
                                 const struct bk_tag *tag)
{
    /* What admission.c remembers, it does for longer than either. */
    uint64_t times = 2 * longest_interval(r) > BK_FRESH_S * BK_SECOND ? 2 : 1;
    return sent_within(r, now->mono, tag, times * BK_FRESH_S * BK_SECOND);
}
