/* Attribute values and checks that several messages share. */
#include "wire/attrs.h"

#include <string.h>

bool bk_name_valid(struct bk_slice name)
{
    if (name.n == 0 || name.n > BK_NAME_MAX_BYTES) {
        return false;
    }
    bool only_digits = true;
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        bool digit = c >= '0' && c <= '9';
        bool letter = c >= 'a' && c <= 'z';
        bool mark = c == '.' || c == '_' || c == '-';
        if (!digit && !letter && !(mark && i > 0)) {
            return false;
        }
        only_digits = only_digits && digit;
    }
    return !only_digits; /* those are equipment IDs */
}

BK_NODISCARD enum bk_err bk_attr_read_u16(struct bk_slice value, uint16_t *out)
{
    struct bk_reader r = bk_reader(value);
    *out = bk_read_u16(&r);
    return bk_reader_end(&r) == BK_OK ? BK_OK : BK_E_MALFORMED;
}

BK_NODISCARD enum bk_err bk_attr_read_u64(struct bk_slice value, uint64_t *out)
{
    struct bk_reader r = bk_reader(value);
    *out = bk_read_u64(&r);
    return bk_reader_end(&r) == BK_OK ? BK_OK : BK_E_MALFORMED;
}

BK_NODISCARD enum bk_err bk_attr_read_tag(struct bk_slice value, struct bk_tag *out)
{
    struct bk_reader r = bk_reader(value);
    out->random = bk_read_u64(&r);
    out->counter = bk_read_u32(&r);
    return bk_reader_end(&r) == BK_OK ? BK_OK : BK_E_MALFORMED;
}

void bk_attr_put_tag(struct bk_stun_writer *s, const struct bk_tag *tag)
{
    uint8_t value[12];
    struct bk_writer w = bk_writer(value, sizeof value);
    bk_write_u64(&w, tag->random);
    bk_write_u32(&w, tag->counter);
    bk_stun_put(s, BK_ATTR_TAG, bk_writer_bytes(&w));
}

BK_NODISCARD enum bk_err bk_attr_read_equipment_id(struct bk_slice value, uint64_t *out)
{
    enum bk_err err = bk_attr_read_u64(value, out);
    return err == BK_OK && (*out == 0 || *out > BK_EQUIPMENT_ID_MAX) ? BK_E_MALFORMED : err;
}

static enum bk_err read_registration(struct bk_slice value, uint32_t *generation, uint16_t *epoch)
{
    struct bk_reader r = bk_reader(value);
    *generation = bk_read_u32(&r);
    *epoch = bk_read_u16(&r);
    uint16_t zero = bk_read_u16(&r);
    return bk_reader_end(&r) == BK_OK && zero == 0 ? BK_OK : BK_E_MALFORMED;
}

BK_NODISCARD enum bk_err bk_attr_need_registration(const struct bk_stun *m, uint32_t *generation,
                                                   uint16_t *epoch)
{
    struct bk_slice value;
    return bk_stun_find(m, BK_ATTR_REGISTRATION, &value)
               ? read_registration(value, generation, epoch)
               : BK_E_MALFORMED;
}

void bk_attr_put_registration(struct bk_stun_writer *s, uint32_t generation, uint16_t epoch)
{
    uint8_t value[8];
    struct bk_writer w = bk_writer(value, sizeof value);
    bk_write_u32(&w, generation);
    bk_write_u16(&w, epoch);
    bk_write_u16(&w, 0);
    bk_stun_put(s, BK_ATTR_REGISTRATION, bk_writer_bytes(&w));
}

BK_NODISCARD enum bk_err bk_attr_need(const struct bk_stun *m, uint16_t type, size_t min_bytes,
                                      size_t max_bytes, struct bk_slice *value)
{
    bool found = bk_stun_find(m, type, value);
    return found && value->n >= min_bytes && value->n <= max_bytes ? BK_OK : BK_E_MALFORMED;
}

BK_NODISCARD enum bk_err bk_attr_need_equipment_id(const struct bk_stun *m, uint64_t *out)
{
    struct bk_slice value;
    *out = 0;
    return bk_stun_find(m, BK_ATTR_EQUIPMENT_ID, &value) ? bk_attr_read_equipment_id(value, out)
                                                         : BK_E_MALFORMED;
}

BK_NODISCARD enum bk_err bk_attr_need_call_id(const struct bk_stun *m,
                                              uint8_t out[BK_CALL_ID_BYTES])
{
    struct bk_slice value;
    enum bk_err err = bk_attr_need(m, BK_ATTR_CALL_ID, BK_CALL_ID_BYTES, BK_CALL_ID_BYTES, &value);
    if (err == BK_OK) {
        memcpy(out, value.p, BK_CALL_ID_BYTES);
    }
    return err;
}

BK_NODISCARD enum bk_err bk_datagram_check(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                           struct bk_slice key)
{
    enum bk_err err = bk_stun_check_fingerprint(m); /* cheap before dear */
    if (err == BK_OK) {
        err = bk_stun_check_sha256(m, mac, key, BK_STUN_SHORT_MAC_BYTES);
    }
    return err == BK_E_NOTFOUND ? BK_E_MALFORMED : err;
}

BK_NODISCARD enum bk_err bk_datagram_end(struct bk_stun_writer *s, const struct bk_mac_ops *mac,
                                         struct bk_slice key, struct bk_slice *out)
{
    bk_stun_put_sha256(s, mac, key, BK_STUN_SHORT_MAC_BYTES);
    bk_stun_put_fingerprint(s);
    return bk_stun_end(s, out);
}

BK_NODISCARD enum bk_err bk_message_expect(const struct bk_stun *m, uint16_t method,
                                           enum bk_stun_class cls, const uint16_t *known,
                                           size_t n_known)
{
    if (m->method != method || m->cls != cls) {
        return BK_E_MALFORMED;
    }
    return bk_stun_understood(m, known, n_known) ? BK_OK : BK_E_UNKNOWN_ATTR;
}

BK_NODISCARD enum bk_err bk_success_write(uint8_t *buf, size_t cap, uint16_t method,
                                          const uint8_t txid[BK_STUN_TXID_BYTES],
                                          struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, method, BK_STUN_SUCCESS, txid);
    return bk_stun_end(&s, out);
}

BK_NODISCARD enum bk_err bk_error_write(uint8_t *buf, size_t cap, uint16_t method,
                                        const uint8_t txid[BK_STUN_TXID_BYTES], uint16_t code,
                                        const char *reason, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, method, BK_STUN_ERROR, txid);
    bk_stun_put_error(&s, code, bk_slice_text(reason));
    return bk_stun_end(&s, out);
}

BK_NODISCARD enum bk_err bk_error_read(const struct bk_stun *m, uint16_t *code)
{
    struct bk_slice value;
    struct bk_slice reason;
    *code = 0;
    if (m->cls != BK_STUN_ERROR || !bk_stun_find(m, BK_ATTR_ERROR_CODE, &value)) {
        return BK_E_MALFORMED;
    }
    return bk_stun_error_code(value, code, &reason);
}
