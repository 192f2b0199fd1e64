/* LOOKUP. Certificate and box key are handed on as bytes: who may be believed is not judged here. */
#include "wire/lookup.h"

#include <string.h>

enum bk_err bk_lookup_read(const struct bk_stun *m, struct bk_lookup *out)
{
    static const uint16_t known[] = {BK_ATTR_EQUIPMENT_ID, BK_ATTR_DEVICE_NAME};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_LOOKUP, BK_STUN_REQUEST, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_slice id;
    struct bk_slice name;
    bool by_id = bk_stun_find(m, BK_ATTR_EQUIPMENT_ID, &id);
    bool by_name = bk_stun_find(m, BK_ATTR_DEVICE_NAME, &name);
    if (by_id == by_name || (by_name && !bk_name_valid(name))) {
        return BK_E_MALFORMED;
    }
    struct bk_lookup got = {0, name};
    if (by_id && bk_attr_read_equipment_id(id, &got.equipment_id) != BK_OK) {
        return BK_E_MALFORMED;
    }
    *out = got;
    return BK_OK;
}

enum bk_err bk_lookup_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                            const struct bk_lookup *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
    if ((in->equipment_id == 0) == (in->name.n == 0) || in->equipment_id > BK_EQUIPMENT_ID_MAX ||
        (in->name.n > 0 && !bk_name_valid(in->name))) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    if (in->name.n > 0) {
        bk_stun_put(&s, BK_ATTR_DEVICE_NAME, in->name);
    } else {
        bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, in->equipment_id);
    }
    return bk_stun_end(&s, out);
}

enum bk_err bk_lookup_answer_read(const struct bk_stun *m, struct bk_lookup_answer *out)
{
    static const uint16_t known[] = {BK_ATTR_EQUIPMENT_ID, BK_ATTR_CERTIFICATE, BK_ATTR_BOX_KEY,
                                     BK_ATTR_OBSERVED_ADDRESS, BK_ATTR_TAG};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_LOOKUP, BK_STUN_SUCCESS, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_lookup_answer got;
    memset(&got, 0, sizeof got);
    if (bk_attr_need_equipment_id(m, &got.equipment_id) != BK_OK ||
        bk_attr_need(m, BK_ATTR_CERTIFICATE, 1, SIZE_MAX, &got.certificate) != BK_OK ||
        bk_attr_need(m, BK_ATTR_BOX_KEY, 1, SIZE_MAX, &got.box_key) != BK_OK) {
        return BK_E_MALFORMED;
    }
    struct bk_slice observed;
    struct bk_slice tag;
    got.registered = bk_stun_find(m, BK_ATTR_OBSERVED_ADDRESS, &observed);
    if (bk_stun_find(m, BK_ATTR_TAG, &tag) != got.registered) {
        return BK_E_MALFORMED; /* both or neither */
    }
    if (got.registered && (bk_stun_xor_address(m, observed, &got.observed) != BK_OK ||
                           bk_attr_read_tag(tag, &got.tag) != BK_OK)) {
        return BK_E_MALFORMED;
    }
    *out = got;
    return BK_OK;
}

enum bk_err bk_lookup_answer_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                   const struct bk_lookup_answer *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_LOOKUP, BK_STUN_SUCCESS, txid);
    if (!bk_equipment_id_valid(in->equipment_id) || in->certificate.n == 0 || in->box_key.n == 0) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, in->equipment_id);
    bk_stun_put(&s, BK_ATTR_CERTIFICATE, in->certificate);
    bk_stun_put(&s, BK_ATTR_BOX_KEY, in->box_key);
    if (in->registered) {
        bk_stun_put_xor_address(&s, BK_ATTR_OBSERVED_ADDRESS, &in->observed);
        bk_attr_put_tag(&s, &in->tag);
    }
    return bk_stun_end(&s, out);
}
