/* REGISTER. What bk_register_read yields is not yet believed: its MAC is checked by whoever knows
 * the key. No response is larger than its request: at most 88 bytes against 88. */
#include "wire/register.h"

#include <string.h>

enum bk_err bk_register_read(const struct bk_stun *m, struct bk_register *out)
{
    static const uint16_t known[] = {BK_ATTR_EQUIPMENT_ID, BK_ATTR_REGISTRATION, BK_ATTR_TAG,
                                     BK_ATTR_NONCE};
    memset(out, 0, sizeof *out);
    struct bk_register got = {.quiet = m->cls == BK_STUN_INDICATION};
    enum bk_err err =
        bk_message_expect(m, BK_METHOD_REGISTER, got.quiet ? BK_STUN_INDICATION : BK_STUN_REQUEST,
                          known, sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_registration_ref ref;
    struct bk_slice tag;
    if (bk_attr_need_equipment_id(m, &got.equipment_id) != BK_OK ||
        bk_attr_need_registration(m, &ref) != BK_OK ||
        ref.interval_s > BK_REGISTER_INTERVAL_MAX_S || !bk_stun_find(m, BK_ATTR_TAG, &tag) ||
        bk_attr_read_tag(tag, &got.tag) != BK_OK) {
        return BK_E_MALFORMED;
    }
    got.generation = ref.generation;
    got.epoch = ref.epoch;
    got.interval_s = ref.interval_s;
    if (bk_stun_find(m, BK_ATTR_NONCE, &got.nonce) &&
        (got.quiet || got.nonce.n != BK_NONCE_BYTES)) {
        return BK_E_MALFORMED;
    }
    *out = got;
    return BK_OK;
}

enum bk_err bk_register_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                              const struct bk_register *in, const struct bk_mac_ops *mac,
                              struct bk_slice key, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_REGISTER,
                                            in->quiet ? BK_STUN_INDICATION : BK_STUN_REQUEST, txid);
    const struct bk_registration_ref ref = {in->generation, in->epoch, in->interval_s};
    if (!bk_equipment_id_valid(in->equipment_id) || in->interval_s > BK_REGISTER_INTERVAL_MAX_S ||
        (in->nonce.n != 0 && (in->quiet || in->nonce.n != BK_NONCE_BYTES))) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, in->equipment_id);
    bk_attr_put_registration(&s, &ref);
    bk_attr_put_tag(&s, &in->tag);
    if (in->nonce.n > 0) {
        bk_stun_put(&s, BK_ATTR_NONCE, in->nonce);
    }
    return bk_datagram_end(&s, mac, key, out);
}

static enum bk_err read_success(const struct bk_stun *m, struct bk_register_answer *got)
{
    static const uint16_t known[] = {BK_ATTR_XOR_MAPPED_ADDRESS, BK_ATTR_TIME};
    struct bk_slice mapped;
    struct bk_slice time;
    struct bk_slice renew;
    if (!bk_stun_understood(m, known, sizeof known / sizeof known[0])) {
        return BK_E_UNKNOWN_ATTR;
    }
    if (!bk_stun_find(m, BK_ATTR_XOR_MAPPED_ADDRESS, &mapped) ||
        bk_stun_xor_address(m, mapped, &got->mapped) != BK_OK ||
        !bk_stun_find(m, BK_ATTR_TIME, &time) || bk_attr_read_u64(time, &got->unix_s) != BK_OK) {
        return BK_E_MALFORMED;
    }
    got->renew = bk_stun_find(m, BK_ATTR_RENEW, &renew);
    return renew.n == 0 ? BK_OK : BK_E_MALFORMED;
}

static enum bk_err read_error(const struct bk_stun *m, struct bk_register_answer *got)
{
    static const uint16_t known[] = {BK_ATTR_ERROR_CODE, BK_ATTR_NONCE};
    if (!bk_stun_understood(m, known, sizeof known / sizeof known[0])) {
        return BK_E_UNKNOWN_ATTR;
    }
    enum bk_err err = bk_error_read(m, &got->code);
    if (err == BK_OK && got->code == BK_CODE_STALE_NONCE) {
        err = bk_attr_need(m, BK_ATTR_NONCE, BK_NONCE_BYTES, BK_NONCE_BYTES, &got->nonce);
    }
    return err;
}

enum bk_err bk_register_answer_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                    struct bk_slice key, struct bk_register_answer *out)
{
    memset(out, 0, sizeof *out);
    if (m->method != BK_METHOD_REGISTER || (m->cls != BK_STUN_SUCCESS && m->cls != BK_STUN_ERROR)) {
        return BK_E_MALFORMED;
    }
    struct bk_register_answer got;
    memset(&got, 0, sizeof got);
    enum bk_err err = bk_datagram_check(m, mac, key);
    if (err == BK_OK) {
        err = m->cls == BK_STUN_SUCCESS ? read_success(m, &got) : read_error(m, &got);
    }
    if (err == BK_OK) {
        *out = got;
    }
    return err;
}

enum bk_err bk_register_answer_write(uint8_t *buf, size_t cap,
                                     const uint8_t txid[BK_STUN_TXID_BYTES],
                                     const struct bk_register_answer *in,
                                     const struct bk_mac_ops *mac, struct bk_slice key,
                                     struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_REGISTER,
                                            in->code == 0 ? BK_STUN_SUCCESS : BK_STUN_ERROR, txid);
    if (in->code == 0) {
        bk_stun_put_xor_address(&s, BK_ATTR_XOR_MAPPED_ADDRESS, &in->mapped);
        bk_stun_put_u64(&s, BK_ATTR_TIME, in->unix_s);
        if (in->renew) {
            bk_stun_put(&s, BK_ATTR_RENEW, BK_SLICE_EMPTY);
        }
    } else {
        bk_stun_put_error(&s, in->code, BK_SLICE_EMPTY);
    }
    if (in->code == BK_CODE_STALE_NONCE) {
        if (in->nonce.n != BK_NONCE_BYTES) {
            bk_writer_fail(&s.w, BK_E_RANGE);
        }
        bk_stun_put(&s, BK_ATTR_NONCE, in->nonce);
    }
    return bk_datagram_end(&s, mac, key, out);
}

enum bk_err bk_register_challenge_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                       struct bk_slice key, struct bk_slice *nonce)
{
    static const uint16_t known[] = {BK_ATTR_NONCE};
    *nonce = BK_SLICE_EMPTY;
    if (m->method != BK_METHOD_REGISTER || m->cls != BK_STUN_INDICATION) {
        return BK_E_MALFORMED;
    }
    enum bk_err err = bk_datagram_check(m, mac, key);
    if (err == BK_OK && !bk_stun_understood(m, known, sizeof known / sizeof known[0])) {
        err = BK_E_UNKNOWN_ATTR;
    }
    struct bk_slice got = BK_SLICE_EMPTY;
    if (err == BK_OK) {
        err = bk_attr_need(m, BK_ATTR_NONCE, BK_NONCE_BYTES, BK_NONCE_BYTES, &got);
    }
    if (err == BK_OK) {
        *nonce = got;
    }
    return err;
}

enum bk_err bk_register_challenge_write(uint8_t *buf, size_t cap,
                                        const uint8_t txid[BK_STUN_TXID_BYTES],
                                        struct bk_slice nonce, const struct bk_mac_ops *mac,
                                        struct bk_slice key, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_REGISTER, BK_STUN_INDICATION, txid);
    if (nonce.n != BK_NONCE_BYTES) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put(&s, BK_ATTR_NONCE, nonce);
    return bk_datagram_end(&s, mac, key, out);
}
