/* Plain Binding (RFC 8489, section 3): tells anyone his address. Keeps no row per sender: buckets lie
 * in a fixed table that the keyed hash of the sender's prefix points into, so an attacker neither fills
 * it nor finds a neighbour to starve. The only reply larger than its request, by 12 or 24 bytes; with
 * CHANGE-REQUEST (RFC 5780), which asks for an answer from another port or address of ours, by 4 or 16. */
#include "wire/binding.h"

#include "base/reader.h"
#include "core/server/state.h"

/* What CHANGE-REQUEST asks for; 0 without one. False: it asks for what there is not. */
static bool changes(const struct bk_server *s, const struct bk_stun *m, uint8_t *change)
{
    static const uint16_t known[] = {BK_ATTR_CHANGE_REQUEST};
    struct bk_slice value;
    *change = 0;
    if (s->config.changes == 0 || !bk_stun_find(m, BK_ATTR_CHANGE_REQUEST, &value)) {
        return bk_stun_understood(m, NULL, 0);
    }
    struct bk_reader r = bk_reader(value);
    uint32_t asked = bk_read_u32(&r);
    *change = (uint8_t)asked;
    return value.n == sizeof asked && (asked & ~(uint32_t)s->config.changes) == 0 &&
           bk_stun_understood(m, known, 1);
}

void bk_server_on_binding(struct bk_server *s, const struct bk_now *now,
                          const struct bk_datagram *d, struct bk_server_out *out)
{
    const struct bk_stun *m = &d->message;
    if (m->cls != BK_STUN_REQUEST || !s->config.answer_binding) {
        return;
    }
    /* Most clients send no FINGERPRINT; a wrong one is not a STUN message. */
    enum bk_err err = bk_stun_check_fingerprint(m);
    if (err != BK_OK && err != BK_E_NOTFOUND) {
        return;
    }
    uint64_t h = bk_hash_u64(s->seed, bk_addr_rate_key(&d->from));
    struct bk_bucket *bucket = &s->binding[h % BK_SERVER_BINDING_BUCKETS];
    if (!bk_bucket_take(bucket, now->mono, s->config.binding_per_s, s->config.binding_per_s)) {
        return;
    }
    uint8_t change = 0;
    if (!changes(s, m, &change)) {
        return;
    }
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice answer;
    if (bk_binding_response_write(buf, cap, m->txid, &d->from, &answer) == BK_OK) {
        struct bk_server_action *a = bk_out_datagram(out, d->local, &d->from, answer);
        a->datagram.second = d->second != ((change & BK_CHANGE_PORT) != 0);
        a->datagram.change = change & BK_CHANGE_IP;
    }
}
