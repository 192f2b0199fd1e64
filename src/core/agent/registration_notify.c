/* NOTIFY: someone calls. Answered each time, acted on once; and the tags of late, which calls must bear. */
#include <assert.h>
#include <string.h>

#include "core/agent/admission.h"
#include "core/agent/registration_private.h"
#include "wire/notify.h"

enum {
    NOTIFY_TAG_INTERVALS = 4, /* a NOTIFY may go to a registration so many intervals old */
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

static bool seen_before(const struct bk_registration *r, const uint8_t txid[BK_STUN_TXID_BYTES])
{
    size_t used = r->seen_next < BK_AGENT_SEEN_MAX ? r->seen_next : BK_AGENT_SEEN_MAX;
    for (size_t i = 0; i < used; i++) {
        if (memcmp(r->seen[i], txid, BK_STUN_TXID_BYTES) == 0) {
            return true;
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

void bk_registration_notified(struct bk_registration *r, bk_time now, const struct bk_stun *m,
                              const struct bk_addr *from, uint8_t index, bool full,
                              struct bk_registration_out *out)
{
    struct bk_tag tag;
    uint64_t window = NOTIFY_TAG_INTERVALS * longest_interval(r);
    if (window < BK_FRESH_S * BK_SECOND) {
        window = BK_FRESH_S * BK_SECOND;
    }
    if (bk_notify_read(m, &r->config.mac, bk_registration_key_of(r), &tag) != BK_OK ||
        !sent_within(r, now, &tag, window)) {
        return;
    }
    bool again = seen_before(r, m->txid);
    if (full && !again) { /* unanswered it comes again, and there may be room by then */
        bk_registration_add(out, BK_REGISTRATION_FULL)->index = index;
        return;
    }
    struct bk_slice bytes;
    enum bk_err err =
        bk_notify_answer_write(bk_registration_room(out), BK_AGENT_DATAGRAM_BYTES, m->txid,
                               &r->config.mac, bk_registration_key_of(r), &bytes);
    assert(err == BK_OK);
    (void)err;
    bk_registration_add_send(from, bytes, out);
    if (!again) {
        memcpy(r->seen[r->seen_next % BK_AGENT_SEEN_MAX], m->txid, BK_STUN_TXID_BYTES);
        r->seen_next++;
        struct bk_registration_action *call = bk_registration_add(out, BK_REGISTRATION_CALL);
        call->index = index;
        if (from != NULL) {
            call->addr = *from;
        }
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
