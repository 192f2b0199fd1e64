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

enum bk_err bk_attr_read_u16(struct bk_slice value, uint16_t *out)
{
    struct bk_reader r = bk_reader(value);
    *out = bk_read_u16(&r);
    return bk_reader_end(&r) == BK_OK ? BK_OK : BK_E_MALFORMED;
}

enum bk_err bk_attr_read_u64(struct bk_slice value, uint64_t *out)
{
    struct bk_reader r = bk_reader(value);
    *out = bk_read_u64(&r);
    return bk_reader_end(&r) == BK_OK ? BK_OK : BK_E_MALFORMED;
}

enum bk_err bk_attr_read_bytes(struct bk_slice value, uint8_t *out, size_t n)
{
    if (value.n != n) {
        return BK_E_MALFORMED;
    }
    memcpy(out, value.p, n);
    return BK_OK;
}

enum bk_err bk_attr_read_tag(struct bk_slice value, struct bk_tag *out)
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

enum bk_err bk_attr_read_equipment_id(struct bk_slice value, uint64_t *out)
{
    enum bk_err err = bk_attr_read_u64(value, out);
    return err == BK_OK && !bk_equipment_id_valid(*out) ? BK_E_MALFORMED : err;
}

static enum bk_err read_registration(struct bk_slice value, struct bk_registration_ref *out)
{
    struct bk_reader r = bk_reader(value);
    out->generation = bk_read_u32(&r);
    out->epoch = bk_read_u16(&r);
    out->interval_s = bk_read_u16(&r);
    return bk_reader_end(&r) == BK_OK ? BK_OK : BK_E_MALFORMED;
}

enum bk_err bk_attr_need_registration(const struct bk_stun *m, struct bk_registration_ref *out)
{
    struct bk_slice value;
    *out = (struct bk_registration_ref){0};
    return bk_stun_find(m, BK_ATTR_REGISTRATION, &value) ? read_registration(value, out)
                                                         : BK_E_MALFORMED;
}

void bk_attr_put_registration(struct bk_stun_writer *s, const struct bk_registration_ref *ref)
{
    uint8_t value[8];
    struct bk_writer w = bk_writer(value, sizeof value);
    bk_write_u32(&w, ref->generation);
    bk_write_u16(&w, ref->epoch);
    bk_write_u16(&w, ref->interval_s);
    bk_stun_put(s, BK_ATTR_REGISTRATION, bk_writer_bytes(&w));
}

enum bk_err bk_attr_need(const struct bk_stun *m, uint16_t type, size_t min_bytes, size_t max_bytes,
                         struct bk_slice *value)
{
    bool found = bk_stun_find(m, type, value);
    return found && value->n >= min_bytes && value->n <= max_bytes ? BK_OK : BK_E_MALFORMED;
}

enum bk_err bk_attr_need_equipment_id(const struct bk_stun *m, uint64_t *out)
{
    struct bk_slice value;
    *out = 0;
    return bk_stun_find(m, BK_ATTR_EQUIPMENT_ID, &value) ? bk_attr_read_equipment_id(value, out)
                                                         : BK_E_MALFORMED;
}

enum bk_err bk_attr_need_call_id(const struct bk_stun *m, uint8_t out[BK_CALL_ID_BYTES])
{
    struct bk_slice value;
    enum bk_err err = bk_attr_need(m, BK_ATTR_CALL_ID, BK_CALL_ID_BYTES, BK_CALL_ID_BYTES, &value);
    if (err == BK_OK) {
        memcpy(out, value.p, BK_CALL_ID_BYTES);
    }
    return err;
}

bool bk_attr_next(struct bk_reader *r, struct bk_stun_attr *out)
{
    *out = (struct bk_stun_attr){0, BK_SLICE_EMPTY};
    if (r->err != BK_OK || r->left.n == 0) {
        return false;
    }
    uint16_t type = bk_read_u16(r);
    size_t n = bk_read_u16(r);
    struct bk_slice value = bk_read_bytes(r, n);
    (void)bk_read_bytes(r, (4 - n % 4) % 4); /* padding may be any bytes (RFC 8489, section 14) */
    if (r->err != BK_OK) {
        return false;
    }
    *out = (struct bk_stun_attr){type, value};
    return true;
}

enum bk_err bk_attr_list_read(struct bk_slice list, bk_attr_field *field, void *got,
                              unsigned repeated, unsigned *seen)
{
    struct bk_reader r = bk_reader(list);
    struct bk_stun_attr attr;
    *seen = 0;
    while (bk_attr_next(&r, &attr)) {
        unsigned bit = 0;
        bk_reader_fail(&r, field(&attr, got, &bit));
        if ((*seen & bit & ~repeated) != 0) {
            bk_reader_fail(&r, BK_E_MALFORMED);
        }
        *seen |= bit;
    }
    return r.err;
}

enum bk_err bk_attr_read_address(struct bk_slice value, uint8_t *first, struct bk_addr *out)
{
    struct bk_addr addr = bk_addr_v4(0, 0, 0, 0, 0);
    struct bk_reader r = bk_reader(value);
    *out = addr;
    *first = bk_read_u8(&r);
    uint8_t family = bk_read_u8(&r);
    addr.port = bk_read_u16(&r);
    if (family == BK_FAMILY_IPV4) {
        bk_read_copy(&r, addr.ip + 12, 4);
    } else if (family == BK_FAMILY_IPV6) {
        bk_read_copy(&r, addr.ip, 16);
    } else {
        return BK_E_MALFORMED;
    }
    if (bk_reader_end(&r) != BK_OK) {
        return BK_E_MALFORMED;
    }
    *out = addr;
    return BK_OK;
}

void bk_attr_put_address(struct bk_stun_writer *s, uint16_t type, uint8_t first, bool v4,
                         const struct bk_addr *a)
{
    uint8_t value[4 + 16] = {first, v4 ? BK_FAMILY_IPV4 : BK_FAMILY_IPV6, (uint8_t)(a->port >> 8),
                             (uint8_t)a->port};
    memcpy(value + 4, v4 ? a->ip + 12 : a->ip, v4 ? 4 : 16);
    bk_stun_put(s, type, bk_slice(value, v4 ? 8 : 20));
}

void bk_attr_xor_address(struct bk_addr *a, bool v4, const uint8_t txid[BK_STUN_TXID_BYTES])
{
    static const uint8_t cookie[4] = {0x21, 0x12, 0xA4, 0x42};
    a->port = (uint16_t)(a->port ^ BK_STUN_COOKIE >> 16);
    uint8_t *p = v4 ? a->ip + 12 : a->ip;
    for (size_t i = 0; i < 4; i++) {
        p[i] ^= cookie[i];
    }
    for (size_t i = 0; !v4 && i < BK_STUN_TXID_BYTES; i++) {
        p[4 + i] ^= txid[i];
    }
}

enum bk_err bk_datagram_check(const struct bk_stun *m, const struct bk_mac_ops *mac,
                              struct bk_slice key)
{
    enum bk_err err = bk_stun_check_fingerprint(m); /* cheap before dear */
    if (err == BK_OK) {
        err = bk_stun_check_sha256(m, mac, key, BK_STUN_SHORT_MAC_BYTES);
    }
    return err == BK_E_NOTFOUND ? BK_E_MALFORMED : err;
}

enum bk_err bk_datagram_end(struct bk_stun_writer *s, const struct bk_mac_ops *mac,
                            struct bk_slice key, struct bk_slice *out)
{
    bk_stun_put_sha256(s, mac, key, BK_STUN_SHORT_MAC_BYTES);
    bk_stun_put_fingerprint(s);
    return bk_stun_end(s, out);
}

enum bk_err bk_message_expect(const struct bk_stun *m, uint16_t method, enum bk_stun_class cls,
                              const uint16_t *known, size_t n_known)
{
    if (m->method != method || m->cls != cls) {
        return BK_E_MALFORMED;
    }
    return bk_stun_understood(m, known, n_known) ? BK_OK : BK_E_UNKNOWN_ATTR;
}

enum bk_err bk_success_write(uint8_t *buf, size_t cap, uint16_t method,
                             const uint8_t txid[BK_STUN_TXID_BYTES], struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, method, BK_STUN_SUCCESS, txid);
    return bk_stun_end(&s, out);
}

enum bk_err bk_error_write(uint8_t *buf, size_t cap, uint16_t method,
                           const uint8_t txid[BK_STUN_TXID_BYTES], uint16_t code,
                           const char *reason, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, method, BK_STUN_ERROR, txid);
    bk_stun_put_error(&s, code, bk_slice_text(reason));
    return bk_stun_end(&s, out);
}

enum bk_err bk_error_read(const struct bk_stun *m, uint16_t *code)
{
    struct bk_slice value;
    struct bk_slice reason;
    *code = 0;
    if (m->cls != BK_STUN_ERROR || !bk_stun_find(m, BK_ATTR_ERROR_CODE, &value)) {
        return BK_E_MALFORMED;
    }
    return bk_stun_error_code(value, code, &reason);
}
