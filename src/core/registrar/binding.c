/* Plain Binding (RFC 8489, section 3): tells anyone his address. Keeps no row per sender: buckets lie
 * in a fixed table that the keyed hash of the sender's prefix points into, so an attacker neither fills
 * it nor finds a neighbour to starve. The only reply larger than its request, by 12 or 24 bytes; with
 * CHANGE-REQUEST (RFC 5780), which asks for an answer from another port or address of ours, by 4 or 16. */
#include "wire/binding.h"

#include "base/reader.h"
#include "core/registrar/state.h"

/* What CHANGE-REQUEST asks for; 0 without one. False: it asks for what there is not. */
static bool changes(const struct bk_registrar *r, const struct bk_stun *m, uint8_t *change)
{
    static const uint16_t known[] = {BK_ATTR_CHANGE_REQUEST};
    struct bk_slice value;
    *change = 0;
    if (r->config.changes == 0 || !bk_stun_find(m, BK_ATTR_CHANGE_REQUEST, &value)) {
        return bk_stun_understood(m, NULL, 0);
    }
    struct bk_reader from = bk_reader(value);
    uint32_t asked = bk_read_u32(&from);
    *change = (uint8_t)asked;
    return value.n == sizeof asked && (asked & ~(uint32_t)r->config.changes) == 0 &&
           bk_stun_understood(m, known, 1);
}

bool bk_registrar_on_binding(struct bk_registrar *r, const struct bk_now *now,
                             const struct bk_arrival *in, const struct bk_stun *m,
                             struct bk_registrar_reply *out)
{
    if (m->cls != BK_STUN_REQUEST || !r->config.answer_binding) {
        return false;
    }
    /* Most clients send no FINGERPRINT; a wrong one is not a STUN message. */
    enum bk_err err = bk_stun_check_fingerprint(m);
    if (err != BK_OK && err != BK_E_NOTFOUND) {
        return false;
    }
    uint64_t h = bk_hash_u64(r->seed, bk_addr_rate_key(&in->from));
    struct bk_bucket *bucket = &r->binding[h % BK_REGISTRAR_BUCKETS];
    if (!bk_bucket_take(bucket, now->mono, r->config.binding_per_s, r->config.binding_per_s)) {
        return false;
    }
    uint8_t change = 0;
    struct bk_slice answer;
    if (!changes(r, m, &change) || bk_binding_response_write(out->bytes, sizeof out->bytes, m->txid,
                                                             &in->from, &answer) != BK_OK) {
        return false;
    }
    out->n = answer.n;
    out->second = in->second != ((change & BK_CHANGE_PORT) != 0);
    out->change = change & BK_CHANGE_IP;
    return true;
}
