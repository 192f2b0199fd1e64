/* The inside of a request's box. It comes from an anonymous sender: each field is checked for form
 * here, and each may stand once only, so that no two readers can see two different requests. */
#include "wire/call_request.h"

#include <string.h>

enum {
    SEEN_CALL_ID = 1 << 0,
    SEEN_EQUIPMENT_ID = 1 << 1,
    SEEN_TIME = 1 << 2,
    SEEN_TAG = 1 << 3,
    SEEN_SERVICE = 1 << 4,
    SEEN_CANDIDATE = 1 << 5,
    SEEN_CALL_KEY = 1 << 6,
    SEEN_REPLY_KEY = 1 << 7,
    SEEN_PASSWORD = 1 << 8,
    SEEN_ALL = (1 << 9) - 1,
};

static enum bk_err read_candidate(struct bk_slice value, struct bk_call_request *got)
{
    if (got->n_candidates == BK_CANDIDATES_MAX) {
        return BK_E_MALFORMED;
    }
    struct bk_candidate *c = &got->candidates[got->n_candidates];
    uint8_t kind;
    enum bk_err err = bk_attr_read_address(value, &kind, &c->addr);
    if (err != BK_OK || (kind != BK_CANDIDATE_HOST && kind != BK_CANDIDATE_MAPPED)) {
        return BK_E_MALFORMED;
    }
    c->kind = (enum bk_candidate_kind)kind;
    got->n_candidates++;
    return BK_OK;
}

static enum bk_err copy_exactly(struct bk_slice value, uint8_t *out, size_t n)
{
    if (value.n != n) {
        return BK_E_MALFORMED;
    }
    memcpy(out, value.p, n);
    return BK_OK;
}

/* Reads one attribute's value into its field; `bit` says which field it was, 0 for none. */
static enum bk_err read_field(const struct bk_stun_attr *a, struct bk_call_request *got,
                              unsigned *bit)
{
    *bit = 0;
    switch (a->type) {
    case BK_ATTR_CALL_ID:
        *bit = SEEN_CALL_ID;
        return copy_exactly(a->value, got->call_id, sizeof got->call_id);
    case BK_ATTR_EQUIPMENT_ID:
        *bit = SEEN_EQUIPMENT_ID;
        return bk_attr_read_equipment_id(a->value, &got->equipment_id);
    case BK_ATTR_TIME:
        *bit = SEEN_TIME;
        return bk_attr_read_u64(a->value, &got->unix_s);
    case BK_ATTR_TAG:
        *bit = SEEN_TAG;
        got->has_tag = true;
        return bk_attr_read_tag(a->value, &got->tag);
    case BK_ATTR_SERVICE:
        *bit = SEEN_SERVICE;
        got->service = a->value;
        return a->value.n == 0 || bk_name_valid(a->value) ? BK_OK : BK_E_MALFORMED;
    case BK_ATTR_CANDIDATE:
        *bit = SEEN_CANDIDATE;
        return read_candidate(a->value, got);
    case BK_ATTR_CALL_KEY:
        *bit = SEEN_CALL_KEY;
        return copy_exactly(a->value, got->call_key, sizeof got->call_key);
    case BK_ATTR_REPLY_KEY:
        *bit = SEEN_REPLY_KEY;
        return copy_exactly(a->value, got->reply_key, sizeof got->reply_key);
    case BK_ATTR_PASSWORD:
        *bit = SEEN_PASSWORD;
        got->password = a->value;
        return a->value.n <= BK_PASSWORD_MAX_BYTES ? BK_OK : BK_E_MALFORMED;
    default:
        return a->type < 0x8000 ? BK_E_UNKNOWN_ATTR : BK_OK;
    }
}

enum bk_err bk_call_request_read(struct bk_slice plain, struct bk_call_request *out)
{
    struct bk_reader r = bk_reader(plain);
    struct bk_stun_attr attr;
    unsigned seen = 0;
    memset(out, 0, sizeof *out);
    while (bk_attr_next(&r, &attr)) {
        unsigned bit;
        bk_reader_fail(&r, read_field(&attr, out, &bit));
        if (bit != SEEN_CANDIDATE && (seen & bit) != 0) {
            bk_reader_fail(&r, BK_E_MALFORMED);
        }
        seen |= bit;
    }
    if ((seen | SEEN_TAG) != SEEN_ALL) {
        bk_reader_fail(&r, BK_E_MALFORMED);
    }
    if (r.err != BK_OK) {
        memset(out, 0, sizeof *out);
    }
    return r.err;
}

static bool writable(const struct bk_call_request *in)
{
    for (size_t i = 0; i < in->n_candidates && i < BK_CANDIDATES_MAX; i++) {
        if (in->candidates[i].kind != BK_CANDIDATE_HOST &&
            in->candidates[i].kind != BK_CANDIDATE_MAPPED) {
            return false;
        }
    }
    return bk_equipment_id_valid(in->equipment_id) &&
           (in->service.n == 0 || bk_name_valid(in->service)) && in->n_candidates >= 1 &&
           in->n_candidates <= BK_CANDIDATES_MAX && in->password.n <= BK_PASSWORD_MAX_BYTES;
}

enum bk_err bk_call_request_write(uint8_t *buf, size_t cap, const struct bk_call_request *in,
                                  struct bk_slice *out)
{
    *out = BK_SLICE_EMPTY;
    if (!writable(in)) {
        return BK_E_RANGE;
    }
    struct bk_stun_writer s = {bk_writer(buf, cap)}; /* no header: attributes alone */
    bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(in->call_id));
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, in->equipment_id);
    bk_stun_put_u64(&s, BK_ATTR_TIME, in->unix_s);
    if (in->has_tag) {
        bk_attr_put_tag(&s, &in->tag);
    }
    bk_stun_put(&s, BK_ATTR_SERVICE, in->service);
    for (size_t i = 0; i < in->n_candidates; i++) {
        const struct bk_candidate *c = &in->candidates[i];
        bk_attr_put_address(&s, BK_ATTR_CANDIDATE, (uint8_t)c->kind, bk_addr_is_v4(&c->addr),
                            &c->addr);
    }
    bk_stun_put(&s, BK_ATTR_CALL_KEY, BK_SLICE_OF(in->call_key));
    bk_stun_put(&s, BK_ATTR_REPLY_KEY, BK_SLICE_OF(in->reply_key));
    bk_stun_put(&s, BK_ATTR_PASSWORD, in->password);
    *out = bk_writer_bytes(&s.w);
    return s.w.err;
}
