/* CONNECTION-REQUEST. The box stays closed here. */
#include "wire/connect.h"

#include <string.h>

enum bk_err bk_connect_read(const struct bk_stun *m, struct bk_connect *out)
{
    static const uint16_t known[] = {BK_ATTR_EQUIPMENT_ID, BK_ATTR_CALL_ID, BK_ATTR_BOX,
                                     BK_ATTR_USER_NAME, BK_ATTR_OBSERVED_ADDRESS};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_CONNECT, BK_STUN_REQUEST, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_connect got;
    memset(&got, 0, sizeof got);
    if (bk_attr_need_equipment_id(m, &got.equipment_id) != BK_OK ||
        bk_attr_need_call_id(m, got.call_id) != BK_OK ||
        bk_attr_need(m, BK_ATTR_BOX, 1, BK_BOX_MAX_BYTES, &got.box) != BK_OK) {
        return BK_E_MALFORMED;
    }
    if (bk_stun_find(m, BK_ATTR_USER_NAME, &got.user) && !bk_name_valid(got.user)) {
        return BK_E_MALFORMED;
    }
    struct bk_slice observed;
    got.has_observed = bk_stun_find(m, BK_ATTR_OBSERVED_ADDRESS, &observed);
    if (got.has_observed && bk_stun_xor_address(m, observed, &got.observed) != BK_OK) {
        return BK_E_MALFORMED;
    }
    *out = got;
    return BK_OK;
}

enum bk_err bk_connect_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                             const struct bk_connect *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_CONNECT, BK_STUN_REQUEST, txid);
    if (!bk_equipment_id_valid(in->equipment_id) || in->box.n == 0 ||
        in->box.n > BK_BOX_MAX_BYTES || (in->user.n > 0 && !bk_name_valid(in->user))) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, in->equipment_id);
    bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(in->call_id));
    bk_stun_put(&s, BK_ATTR_BOX, in->box);
    if (in->user.n > 0) {
        bk_stun_put(&s, BK_ATTR_USER_NAME, in->user);
    }
    if (in->has_observed) {
        bk_stun_put_xor_address(&s, BK_ATTR_OBSERVED_ADDRESS, &in->observed);
    }
    return bk_stun_end(&s, out);
}
