/* RESULT. The box stays closed here. */
#include "wire/result.h"

#include <string.h>

#include "wire/connect.h"

enum bk_err bk_result_read(const struct bk_stun *m, struct bk_result *out)
{
    static const uint16_t known[] = {BK_ATTR_CALL_ID, BK_ATTR_BOX};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_RESULT, BK_STUN_INDICATION, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_result got;
    memset(&got, 0, sizeof got);
    if (bk_attr_need_call_id(m, got.call_id) != BK_OK ||
        bk_attr_need(m, BK_ATTR_BOX, 1, BK_BOX_MAX_BYTES, &got.box) != BK_OK) {
        return BK_E_MALFORMED;
    }
    *out = got;
    return BK_OK;
}

enum bk_err bk_result_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                            const struct bk_result *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_RESULT, BK_STUN_INDICATION, txid);
    if (in->box.n == 0 || in->box.n > BK_BOX_MAX_BYTES) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(in->call_id));
    bk_stun_put(&s, BK_ATTR_BOX, in->box);
    return bk_stun_end(&s, out);
}

enum bk_err bk_result_datagram_read(const struct bk_stun *m, struct bk_result_datagram *out)
{
    static const uint16_t known[] = {BK_ATTR_EQUIPMENT_ID, BK_ATTR_REGISTRATION, BK_ATTR_CALL_ID,
                                     BK_ATTR_BOX};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_RESULT, BK_STUN_REQUEST, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_result_datagram got;
    struct bk_registration_ref ref;
    memset(&got, 0, sizeof got);
    if (bk_attr_need_equipment_id(m, &got.equipment_id) != BK_OK ||
        bk_attr_need_registration(m, &ref) != BK_OK || ref.interval_s != 0 ||
        bk_attr_need_call_id(m, got.result.call_id) != BK_OK ||
        bk_attr_need(m, BK_ATTR_BOX, 1, BK_BOX_MAX_BYTES, &got.result.box) != BK_OK) {
        return BK_E_MALFORMED;
    }
    got.generation = ref.generation;
    got.epoch = ref.epoch;
    *out = got;
    return BK_OK;
}

enum bk_err bk_result_datagram_write(uint8_t *buf, size_t cap,
                                     const uint8_t txid[BK_STUN_TXID_BYTES],
                                     const struct bk_result_datagram *in,
                                     const struct bk_mac_ops *mac, struct bk_slice key,
                                     struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_RESULT, BK_STUN_REQUEST, txid);
    const struct bk_registration_ref ref = {in->generation, in->epoch, 0};
    if (!bk_equipment_id_valid(in->equipment_id) || in->result.box.n == 0 ||
        in->result.box.n > BK_BOX_MAX_BYTES) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, in->equipment_id);
    bk_attr_put_registration(&s, &ref);
    bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(in->result.call_id));
    bk_stun_put(&s, BK_ATTR_BOX, in->result.box);
    return bk_datagram_end(&s, mac, key, out);
}

enum bk_err bk_result_answer_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                  struct bk_slice key)
{
    if (m->method != BK_METHOD_RESULT || m->cls != BK_STUN_SUCCESS) {
        return BK_E_MALFORMED;
    }
    enum bk_err err = bk_datagram_check(m, mac, key);
    if (err == BK_OK && !bk_stun_understood(m, NULL, 0)) {
        err = BK_E_UNKNOWN_ATTR;
    }
    return err;
}

enum bk_err bk_result_answer_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                   const struct bk_mac_ops *mac, struct bk_slice key,
                                   struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_RESULT, BK_STUN_SUCCESS, txid);
    return bk_datagram_end(&s, mac, key, out);
}
