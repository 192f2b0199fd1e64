/* The inside of a result's box: four attributes, each exactly once; where the device can be reached besides, with
 * ACCEPTED only. */
#include "wire/call_result.h"

#include <string.h>

enum {
    SEEN_CALL_ID = 1 << 0,
    SEEN_STATUS = 1 << 1,
    SEEN_TAG = 1 << 2,
    SEEN_TIME = 1 << 3,
    SEEN_ALWAYS = (1 << 4) - 1,
    SEEN_CANDIDATE = 1 << 4,
    SEEN_ROUND_TRIP = 1 << 5,
};

struct reading {
    struct bk_call_result *got;
    size_t n_present; /* candidates, those included that are not understood */
};

static enum bk_err read_status(struct bk_slice value, enum bk_call_status *out)
{
    uint16_t status;
    if (bk_attr_read_u16(value, &status) != BK_OK || status > BK_CALL_BUSY) {
        return BK_E_MALFORMED;
    }
    *out = (enum bk_call_status)status;
    return BK_OK;
}

static enum bk_err read_field(const struct bk_stun_attr *a, void *into, unsigned *bit)
{
    struct reading *reading = into;
    struct bk_call_result *got = reading->got;
    switch (a->type) {
    case BK_ATTR_CALL_ID:
        *bit = SEEN_CALL_ID;
        return bk_attr_read_bytes(a->value, got->call_id, sizeof got->call_id);
    case BK_ATTR_STATUS:
        *bit = SEEN_STATUS;
        return read_status(a->value, &got->status);
    case BK_ATTR_TAG:
        *bit = SEEN_TAG;
        return bk_attr_read_tag(a->value, &got->tag);
    case BK_ATTR_TIME:
        *bit = SEEN_TIME;
        return bk_attr_read_u64(a->value, &got->unix_s);
    case BK_ATTR_CANDIDATE:
        *bit = SEEN_CANDIDATE;
        return ++reading->n_present > BK_CANDIDATES_MAX
                   ? BK_E_MALFORMED
                   : bk_candidate_take(a->value, got->candidates, &got->n_candidates);
    case BK_ATTR_ROUND_TRIP:
        *bit = SEEN_ROUND_TRIP;
        return bk_attr_read_u16(a->value, &got->server_ms);
    default:
        return a->type < 0x8000 ? BK_E_UNKNOWN_ATTR : BK_OK;
    }
}

enum bk_err bk_call_result_read(struct bk_slice plain, struct bk_call_result *out)
{
    struct reading reading = {out, 0};
    unsigned seen;
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_attr_list_read(plain, read_field, &reading, SEEN_CANDIDATE, &seen);
    if (err == BK_OK &&
        ((seen & SEEN_ALWAYS) != SEEN_ALWAYS ||
         (out->status != BK_CALL_ACCEPTED && (seen & ~(unsigned)SEEN_ALWAYS) != 0))) {
        err = BK_E_MALFORMED;
    }
    if (err != BK_OK) {
        memset(out, 0, sizeof *out);
    }
    return err;
}

static bool writable(const struct bk_call_result *in)
{
    if (in->status > BK_CALL_BUSY || in->n_candidates > BK_CANDIDATES_MAX ||
        (in->status != BK_CALL_ACCEPTED && (in->n_candidates != 0 || in->server_ms != 0))) {
        return false;
    }
    for (size_t i = 0; i < in->n_candidates; i++) {
        if (!bk_candidate_kind_known(in->candidates[i].kind)) {
            return false;
        }
    }
    return true;
}

enum bk_err bk_call_result_write(uint8_t *buf, size_t cap, const struct bk_call_result *in,
                                 struct bk_slice *out)
{
    *out = BK_SLICE_EMPTY;
    if (!writable(in)) {
        return BK_E_RANGE;
    }
    struct bk_stun_writer s = {bk_writer(buf, cap)}; /* no header: attributes alone */
    bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(in->call_id));
    bk_stun_put_u16(&s, BK_ATTR_STATUS, (uint16_t)in->status);
    bk_attr_put_tag(&s, &in->tag);
    bk_stun_put_u64(&s, BK_ATTR_TIME, in->unix_s);
    for (size_t i = 0; i < in->n_candidates; i++) {
        bk_candidate_put(&s, &in->candidates[i]);
    }
    if (in->server_ms != 0) {
        bk_stun_put_u16(&s, BK_ATTR_ROUND_TRIP, in->server_ms);
    }
    *out = bk_writer_bytes(&s.w);
    return s.w.err;
}
