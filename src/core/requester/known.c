/* Calling in hope: by what an earlier call has learnt of the device, without asking the server; or, if it was asked, without
 * waiting for a relay where none will be needed.
 *
 * Nothing of it is trusted for lying in a file: the certificate is read, held against the pin, and the box key's signature
 * checked as if the server had just said it. It may be out of date: then the device cannot open the request, or what it
 * comes to is not ours any more, and nothing is heard. So: only at the address to which it came before, only with a box
 * key that a device would still hold, and once nothing more comes of it the server is asked, and where that may help the
 * call made as any other. Invariant: it is made anew once, and given up no later than any other. */
#include <string.h>

#include "core/requester/state.h"

/* By our clock, which may be wrong by a day. A server that goes on offering a box key for ever would have
 * requests sealed to one that the device has destroyed, or that somebody has got hold of since. */
bool bk_requester_box_key_timely(const struct bk_box_key *key, uint64_t unix_s)
{
    return unix_s == 0 || ((unix_s < key->until_s || unix_s - key->until_s < BK_REQUESTER_SKEW_S) &&
                           (key->made_s <= unix_s || key->made_s - unix_s <= BK_REQUESTER_SKEW_S));
}

static bool young(const struct bk_box_key *key, uint64_t unix_s)
{
    return unix_s != 0 && unix_s < key->until_s &&
           (key->made_s > unix_s || unix_s - key->made_s < BK_REQUESTER_KNOWN_S) &&
           bk_requester_box_key_timely(key, unix_s);
}

void bk_requester_try_known(struct bk_requester *r, const struct bk_now *now)
{
    const struct bk_requester_known *known = &r->config.known;
    struct bk_slice certificate = bk_slice(known->certificate, known->certificate_n);
    struct bk_identity device;
    uint8_t pin[BK_PIN_BYTES];
    if (!r->config.have_pin || r->config.equipment_id == 0 || certificate.n == 0 ||
        r->config.certs.read(r->config.certs.ctx, certificate, now->unix_s, &device) != BK_OK ||
        device.role != BK_ROLE_DEVICE || device.equipment_id != r->config.equipment_id) {
        return;
    }
    bk_pin_of_key(device.key, pin);
    if (!bk_equal_const_time(pin, r->config.pin, BK_PIN_BYTES) ||
        bk_box_key_check(bk_slice(known->box_key, BK_BOX_KEY_BYTES), device.key, &r->box_key) !=
            BK_OK ||
        !young(&r->box_key, now->unix_s)) {
        return;
    }
    r->equipment_id = device.equipment_id;
    memcpy(r->pin, pin, sizeof r->pin);
    r->quick = r->by_known = r->found = r->pin_accepted = true;
}

/* Global ones: a private network looks like any other. */
bool bk_requester_same_place(const struct bk_requester *r)
{
    const struct bk_addr *was = &r->config.known.came_to;
    for (size_t i = 0; i < r->n_pool; i++) {
        const struct bk_candidate *c = &r->pool[i].candidate;
        if ((c->kind == BK_CANDIDATE_HOST || c->kind == BK_CANDIDATE_MAPPED) &&
            bk_addr_scope(was) == BK_SCOPE_GLOBAL && bk_addr_same_ip(&c->addr, was)) {
            return true;
        }
    }
    return false;
}

/* Nothing translates our address: the server sees us at one of our own, and the device has one of that family. Firewalls
 * may still be in the way; then a relay's address is had a little later. */
bool bk_requester_plain_way(const struct bk_requester *r)
{
    if (r->asked_anew || !r->has_relays || r->relay_asked || !r->info_done || !r->has_reflexive ||
        !r->done[BK_SOURCE_HOST] || !r->has_device_addr ||
        bk_addr_is_v4(&r->device_addr) != bk_addr_is_v4(&r->reflexive)) {
        return false;
    }
    for (size_t i = 0; i < r->n_pool; i++) {
        const struct bk_candidate *c = &r->pool[i].candidate;
        if (c->kind == BK_CANDIDATE_HOST && bk_addr_scope(&c->addr) == BK_SCOPE_GLOBAL &&
            bk_addr_same_ip(&c->addr, &r->reflexive)) {
            return true;
        }
    }
    return false;
}

void bk_requester_remember(struct bk_requester *r, const struct bk_lookup_answer *answer,
                           struct bk_requester_out *out)
{
    struct bk_requester_known *known = &r->config.known;
    memset(known, 0, sizeof *known);
    if (answer->certificate.n == 0 || answer->certificate.n > sizeof known->certificate ||
        answer->box_key.n != sizeof known->box_key) {
        return;
    }
    memcpy(known->certificate, answer->certificate.p, answer->certificate.n);
    known->certificate_n = answer->certificate.n;
    memcpy(known->box_key, answer->box_key.p, answer->box_key.n);
    bk_requester_add(out, BK_REQUESTER_REMEMBER)->known = known;
}

void bk_requester_ask_anew(struct bk_requester *r, const struct bk_now *now,
                           struct bk_requester_out *out)
{
    r->quick = r->by_known = r->found = false;
    r->asked_anew = true;
    r->state = STATE_PREPARING;
    r->accepted = r->heard_accepted = r->delivered = false;
    r->lookup.waiting = r->info.waiting = r->connect.waiting = false;
    if (r->server == SERVER_OPEN) {
        bk_requester_ask(r, now, out);
    } else {
        bk_requester_ask_server(r, now, out);
    }
}

/* A device that is slow to check a password says nothing for as long as one that cannot open the request, and would have
 * two of them to check: so the server is asked first whether the key is still the same. */
void bk_requester_hope(struct bk_requester *r, const struct bk_now *now)
{
    bool doubtful = r->quick && (r->heard_accepted || (r->delivered && r->by_known));
    r->doubt_until =
        doubtful ? bk_time_add(now->mono, BK_REQUESTER_DOUBT_MS * BK_MS) : BK_TIME_NEVER;
}

void bk_requester_doubt(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out)
{
    if (r->heard_accepted || r->lookup.waiting || r->server != SERVER_OPEN) {
        bk_requester_ask_anew(r, now, out);
    } else {
        bk_requester_send_lookup(r, out);
        bk_requester_hope(r, now);
    }
}

void bk_requester_compare(struct bk_requester *r, const struct bk_now *now,
                          const struct bk_lookup_answer *answer, struct bk_requester_out *out)
{
    const struct bk_requester_known *known = &r->config.known;
    if (bk_slice_equal(answer->box_key, bk_slice(known->box_key, sizeof known->box_key))) {
        r->by_known = false; /* it takes its time */
        bk_requester_hope(r, now);
    } else if (!r->heard_accepted && !r->early && !bk_requester_has_held(r)) {
        bk_requester_ask_anew(r, now, out);
    }
}
