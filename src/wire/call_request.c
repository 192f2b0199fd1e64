/* The inside of a request's box. It comes from an anonymous sender: each field is checked for form
 * here, and each may stand once only, so that no two readers can see two different requests. */
#include "wire/call_request.h"

#include <assert.h>
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
    SEEN_ALWAYS = ((1 << 8) - 1) & ~SEEN_TAG,
    SEEN_PASSWORD = 1 << 8,
    SEEN_CALLER_KEY = 1 << 9,
    SEEN_SIGNATURE = 1 << 10,
    SEEN_ROUND_TRIP = 1 << 11,
    SIGNATURE_ATTR_BYTES = 4 + BK_SIGNATURE_BYTES,
};

struct reading {
    struct bk_call_request *got;
    size_t n_present; /* candidates, those included that are not understood */
};

bool bk_candidate_kind_known(unsigned kind)
{
    return kind >= BK_CANDIDATE_HOST && kind <= BK_CANDIDATE_RELAYED;
}

void bk_candidate_put(struct bk_stun_writer *s, const struct bk_candidate *c)
{
    bk_attr_put_address(s, BK_ATTR_CANDIDATE, (uint8_t)c->kind, bk_addr_is_v4(&c->addr), &c->addr);
}

enum bk_err bk_candidate_take(struct bk_slice value, struct bk_candidate *list, size_t *n)
{
    struct bk_candidate c;
    uint8_t kind;
    if (*n == BK_CANDIDATES_MAX || value.n == 0) {
        return BK_E_MALFORMED;
    }
    if (!bk_candidate_kind_known(value.p[0])) {
        return BK_OK;
    }
    enum bk_err err = bk_attr_read_address(value, &kind, &c.addr);
    if (err == BK_OK) {
        c.kind = (enum bk_candidate_kind)kind;
        list[(*n)++] = c;
    }
    return err;
}

static enum bk_err read_candidate(struct bk_slice value, struct reading *reading)
{
    if (reading->n_present == BK_CANDIDATES_MAX) {
        return BK_E_MALFORMED;
    }
    reading->n_present++;
    return bk_candidate_take(value, reading->got->candidates, &reading->got->n_candidates);
}

/* One of the three by which the caller shows who is calling. */
static enum bk_err read_caller(const struct bk_stun_attr *a, struct bk_call_request *got,
                               unsigned *bit)
{
    if (a->type == BK_ATTR_PASSWORD) {
        *bit = SEEN_PASSWORD;
        got->password = a->value;
        return a->value.n <= BK_PASSWORD_MAX_BYTES ? BK_OK : BK_E_MALFORMED;
    }
    if (a->type == BK_ATTR_CALLER_KEY) {
        *bit = SEEN_CALLER_KEY;
        return bk_attr_read_bytes(a->value, got->caller_key, sizeof got->caller_key);
    }
    *bit = SEEN_SIGNATURE;
    got->has_signature = true;
    return bk_attr_read_bytes(a->value, got->signature, sizeof got->signature);
}

/* Reads one attribute's value into its field. */
static enum bk_err read_field(const struct bk_stun_attr *a, void *into, unsigned *bit)
{
    struct reading *reading = into;
    struct bk_call_request *got = reading->got;
    if (got->has_signature) {
        return BK_E_MALFORMED; /* what stands behind it is not signed */
    }
    switch (a->type) {
    case BK_ATTR_CALL_ID:
        *bit = SEEN_CALL_ID;
        return bk_attr_read_bytes(a->value, got->call_id, sizeof got->call_id);
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
        return read_candidate(a->value, reading);
    case BK_ATTR_ROUND_TRIP:
        *bit = SEEN_ROUND_TRIP;
        return bk_attr_read_u16(a->value, &got->server_ms);
    case BK_ATTR_CALL_KEY:
        *bit = SEEN_CALL_KEY;
        return bk_attr_read_bytes(a->value, got->call_key, sizeof got->call_key);
    case BK_ATTR_REPLY_KEY:
        *bit = SEEN_REPLY_KEY;
        return bk_attr_read_bytes(a->value, got->reply_key, sizeof got->reply_key);
    case BK_ATTR_PASSWORD:
    case BK_ATTR_CALLER_KEY:
    case BK_ATTR_SIGNATURE:
        return read_caller(a, got, bit);
    default:
        return a->type < 0x8000 ? BK_E_UNKNOWN_ATTR : BK_OK;
    }
}

enum bk_err bk_call_request_read(struct bk_slice plain, struct bk_call_request *out)
{
    struct reading reading = {out, 0};
    unsigned seen;
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_attr_list_read(plain, read_field, &reading, SEEN_CANDIDATE, &seen);
    const unsigned by_password = SEEN_ALWAYS | SEEN_PASSWORD;
    const unsigned by_key = SEEN_ALWAYS | SEEN_CALLER_KEY | SEEN_SIGNATURE;
    seen &= ~(unsigned)(SEEN_TAG | SEEN_ROUND_TRIP);
    if (err == BK_OK && ((seen != by_password && seen != by_key) || out->n_candidates == 0)) {
        err = BK_E_MALFORMED;
    }
    if (err != BK_OK) {
        memset(out, 0, sizeof *out);
    } else if (out->has_signature) {
        out->signed_text = bk_call_request_to_sign(plain); /* it is the last */
    }
    return err;
}

static bool writable(const struct bk_call_request *in)
{
    for (size_t i = 0; i < in->n_candidates && i < BK_CANDIDATES_MAX; i++) {
        if (!bk_candidate_kind_known(in->candidates[i].kind)) {
            return false;
        }
    }
    return bk_equipment_id_valid(in->equipment_id) &&
           (in->service.n == 0 || bk_name_valid(in->service)) && in->n_candidates >= 1 &&
           in->n_candidates <= BK_CANDIDATES_MAX &&
           in->password.n <= (in->has_signature ? 0 : BK_PASSWORD_MAX_BYTES);
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
        bk_candidate_put(&s, &in->candidates[i]);
    }
    if (in->server_ms != 0) {
        bk_stun_put_u16(&s, BK_ATTR_ROUND_TRIP, in->server_ms);
    }
    bk_stun_put(&s, BK_ATTR_CALL_KEY, BK_SLICE_OF(in->call_key));
    bk_stun_put(&s, BK_ATTR_REPLY_KEY, BK_SLICE_OF(in->reply_key));
    if (in->has_signature) {
        bk_stun_put(&s, BK_ATTR_CALLER_KEY, BK_SLICE_OF(in->caller_key));
        bk_stun_put(&s, BK_ATTR_SIGNATURE, BK_SLICE_OF(in->signature));
    } else {
        bk_stun_put(&s, BK_ATTR_PASSWORD, in->password);
    }
    *out = bk_writer_bytes(&s.w);
    return s.w.err;
}

struct bk_slice bk_call_request_to_sign(struct bk_slice text)
{
    assert(text.n >= SIGNATURE_ATTR_BYTES);
    return bk_slice(text.p, text.n - SIGNATURE_ATTR_BYTES);
}

void bk_call_request_set_signature(uint8_t *buf, struct bk_slice text,
                                   const uint8_t signature[BK_SIGNATURE_BYTES])
{
    assert(text.p == buf && text.n >= SIGNATURE_ATTR_BYTES);
    memcpy(buf + text.n - BK_SIGNATURE_BYTES, signature, BK_SIGNATURE_BYTES);
}
