/* The inside of a result's box: four attributes, each exactly once. */
#include "wire/call_result.h"

#include <string.h>

enum {
    SEEN_CALL_ID = 1 << 0,
    SEEN_STATUS = 1 << 1,
    SEEN_TAG = 1 << 2,
    SEEN_TIME = 1 << 3,
    SEEN_ALL = (1 << 4) - 1,
};

static enum bk_err read_field(const struct bk_stun_attr *a, void *into, unsigned *bit)
{
    struct bk_call_result *got = into;
    uint16_t status;
    enum bk_err err;
    switch (a->type) {
    case BK_ATTR_CALL_ID:
        *bit = SEEN_CALL_ID;
        return bk_attr_read_bytes(a->value, got->call_id, sizeof got->call_id);
    case BK_ATTR_STATUS:
        *bit = SEEN_STATUS;
        err = bk_attr_read_u16(a->value, &status);
        if (err != BK_OK || status > BK_CALL_BUSY) {
            return BK_E_MALFORMED;
        }
        got->status = (enum bk_call_status)status;
        return BK_OK;
    case BK_ATTR_TAG:
        *bit = SEEN_TAG;
        return bk_attr_read_tag(a->value, &got->tag);
    case BK_ATTR_TIME:
        *bit = SEEN_TIME;
        return bk_attr_read_u64(a->value, &got->unix_s);
    default:
        return a->type < 0x8000 ? BK_E_UNKNOWN_ATTR : BK_OK;
    }
}

enum bk_err bk_call_result_read(struct bk_slice plain, struct bk_call_result *out)
{
    unsigned seen;
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_attr_list_read(plain, read_field, out, 0, &seen);
    if (err == BK_OK && seen != SEEN_ALL) {
        err = BK_E_MALFORMED;
    }
    if (err != BK_OK) {
        memset(out, 0, sizeof *out);
    }
    return err;
}

enum bk_err bk_call_result_write(uint8_t *buf, size_t cap, const struct bk_call_result *in,
                                 struct bk_slice *out)
{
    *out = BK_SLICE_EMPTY;
    if (in->status > BK_CALL_BUSY) {
        return BK_E_RANGE;
    }
    struct bk_stun_writer s = {bk_writer(buf, cap)}; /* no header: attributes alone */
    bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(in->call_id));
    bk_stun_put_u16(&s, BK_ATTR_STATUS, (uint16_t)in->status);
    bk_attr_put_tag(&s, &in->tag);
    bk_stun_put_u64(&s, BK_ATTR_TIME, in->unix_s);
    *out = bk_writer_bytes(&s.w);
    return s.w.err;
}
