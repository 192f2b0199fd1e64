/* Writing STUN messages. The length field is right at each moment that something is computed over
 * it (integrity, fingerprint) and at the end. */
#include <assert.h>
#include <string.h>

#include "wire/attrs.h"
#include "wire/crc32.h"
#include "wire/stun.h"

struct bk_stun_writer bk_stun_begin(uint8_t *buf, size_t cap, uint16_t method,
                                    enum bk_stun_class cls, const uint8_t txid[BK_STUN_TXID_BYTES])
{
    assert(method <= 0x0FFF);
    struct bk_stun_writer s = {bk_writer(buf, cap)};
    unsigned c = (unsigned)cls;
    unsigned type = (method & 0x000FU) | (method & 0x0070U) << 1 | (method & 0x0F80U) << 2 |
                    (c & 1U) << 4 | (c & 2U) << 7;
    bk_write_u16(&s.w, (uint16_t)type);
    bk_write_u16(&s.w, 0);
    bk_write_u32(&s.w, BK_STUN_COOKIE);
    bk_write_bytes(&s.w, bk_slice(txid, BK_STUN_TXID_BYTES));
    return s;
}

void bk_stun_put(struct bk_stun_writer *s, uint16_t type, struct bk_slice value)
{
    if (value.n > UINT16_MAX) {
        bk_writer_fail(&s->w, BK_E_NOSPACE);
        return;
    }
    bk_write_u16(&s->w, type);
    bk_write_u16(&s->w, (uint16_t)value.n);
    bk_write_bytes(&s->w, value);
    bk_write_zeros(&s->w, (4 - value.n % 4) % 4);
}

void bk_stun_put_u16(struct bk_stun_writer *s, uint16_t type, uint16_t v)
{
    uint8_t value[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    bk_stun_put(s, type, BK_SLICE_OF(value));
}

void bk_stun_put_u64(struct bk_stun_writer *s, uint16_t type, uint64_t v)
{
    uint8_t value[8];
    for (size_t i = sizeof value; i > 0; i--) {
        value[i - 1] = (uint8_t)v;
        v >>= 8;
    }
    bk_stun_put(s, type, BK_SLICE_OF(value));
}

void bk_stun_put_xor_address(struct bk_stun_writer *s, uint16_t type, const struct bk_addr *a)
{
    if (s->w.err != BK_OK) {
        return; /* the transaction ID may not be there to read */
    }
    bool v4 = bk_addr_is_v4(a);
    struct bk_addr scrambled = *a;
    bk_attr_xor_address(&scrambled, v4, s->w.buf + BK_STUN_HEADER_BYTES - BK_STUN_TXID_BYTES);
    bk_attr_put_address(s, type, 0, v4, &scrambled);
}

void bk_stun_put_error(struct bk_stun_writer *s, uint16_t code, struct bk_slice reason)
{
    assert(code >= 300 && code <= 699);
    uint8_t value[4 + BK_REASON_MAX_BYTES] = {0, 0, (uint8_t)(code / 100), (uint8_t)(code % 100)};
    size_t n = reason.n < BK_REASON_MAX_BYTES ? reason.n : BK_REASON_MAX_BYTES;
    if (n > 0) {
        memcpy(value + 4, reason.p, n);
    }
    bk_stun_put(s, BK_ATTR_ERROR_CODE, bk_slice(value, 4 + n));
}

/* Writes the length field as if `more` bytes already followed what is there. */
static void set_length(struct bk_stun_writer *s, size_t more)
{
    if (s->w.err != BK_OK) {
        return;
    }
    size_t length = s->w.len - BK_STUN_HEADER_BYTES + more;
    if (length > UINT16_MAX) {
        bk_writer_fail(&s->w, BK_E_NOSPACE);
        return;
    }
    bk_write_u16_at(&s->w, 2, (uint16_t)length);
}

void bk_stun_put_sha256(struct bk_stun_writer *s, const struct bk_mac_ops *mac, struct bk_slice key,
                        size_t mac_bytes)
{
    assert(mac_bytes == BK_STUN_SHORT_MAC_BYTES || mac_bytes == BK_HMAC_SHA256_BYTES);
    set_length(s, 4 + mac_bytes);
    if (s->w.err != BK_OK) {
        return;
    }
    struct bk_slice covered = bk_writer_bytes(&s->w);
    uint8_t out[BK_HMAC_SHA256_BYTES];
    mac->hmac_sha256(mac->ctx, key, &covered, 1, out);
    bk_stun_put(s, BK_ATTR_MESSAGE_INTEGRITY_SHA256, bk_slice(out, mac_bytes));
}

void bk_stun_put_sha1(struct bk_stun_writer *s, const struct bk_mac_ops *mac, struct bk_slice key)
{
    assert(mac->hmac_sha1 != NULL);
    set_length(s, 4 + BK_HMAC_SHA1_BYTES);
    if (s->w.err != BK_OK) {
        return;
    }
    struct bk_slice covered = bk_writer_bytes(&s->w);
    uint8_t out[BK_HMAC_SHA1_BYTES];
    mac->hmac_sha1(mac->ctx, key, &covered, 1, out);
    bk_stun_put(s, BK_ATTR_MESSAGE_INTEGRITY, BK_SLICE_OF(out));
}

void bk_stun_put_fingerprint(struct bk_stun_writer *s)
{
    set_length(s, BK_STUN_FINGERPRINT_BYTES);
    uint32_t v = bk_crc32(bk_writer_bytes(&s->w)) ^ BK_STUN_FINGERPRINT_XOR;
    uint8_t value[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    bk_stun_put(s, BK_ATTR_FINGERPRINT, BK_SLICE_OF(value));
}

enum bk_err bk_stun_end(struct bk_stun_writer *s, struct bk_slice *out)
{
    set_length(s, 0);
    *out = bk_writer_bytes(&s->w);
    return s->w.err;
}
