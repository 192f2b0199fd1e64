/* Reading STUN messages: framing, the attribute walk, attribute values. Checks of integrity are in
 * stun_mac.c, writing in stun_writer.c. A `struct bk_stun` exists only for a message whose whole
 * attribute chain lies inside its bytes, so the walks here cannot run over. */
#include "wire/stun.h"

#include <string.h>

#include "wire/attrs.h"

/* Every attribute whole, and FINGERPRINT, if there, of its size and last. */
static bool chain_holds(struct bk_slice attrs)
{
    struct bk_reader r = bk_reader(attrs);
    struct bk_stun_attr attr;
    while (bk_attr_next(&r, &attr)) {
        if (attr.type == BK_ATTR_FINGERPRINT && (attr.value.n != 4 || r.left.n > 0)) {
            return false;
        }
    }
    return r.err == BK_OK;
}

enum bk_err bk_stun_read(struct bk_slice bytes, struct bk_stun *out)
{
    memset(out, 0, sizeof *out);
    struct bk_reader r = bk_reader(bytes);
    uint16_t type = bk_read_u16(&r);
    size_t length = bk_read_u16(&r);
    uint32_t cookie = bk_read_u32(&r);
    struct bk_stun m = {.raw = bytes};
    bk_read_copy(&r, m.txid, sizeof m.txid);
    if (r.err != BK_OK) {
        return r.err;
    }
    if (type >> 14 != 0 || length % 4 != 0 || cookie != BK_STUN_COOKIE || r.left.n > length) {
        return BK_E_MALFORMED;
    }
    if (length > r.left.n) {
        return BK_E_TRUNCATED;
    }
    if (!chain_holds(r.left)) {
        return BK_E_MALFORMED;
    }
    /* Class bits are 4 and 8 of the type, the method the others (RFC 8489, figure 3). */
    m.cls = (enum bk_stun_class)((type >> 4 & 1) | (type >> 7 & 2));
    m.method = (uint16_t)((type & 0x000F) | (type >> 1 & 0x0070) | (type >> 2 & 0x0F80));
    *out = m;
    return BK_OK;
}

enum bk_err bk_stun_frame(struct bk_slice got, size_t *message_bytes)
{
    static const uint8_t cookie[4] = {0x21, 0x12, 0xA4, 0x42};
    *message_bytes = 0;
    struct bk_reader r = bk_reader(got);
    uint16_t type = bk_read_u16(&r);
    size_t length = bk_read_u16(&r);
    if (r.err != BK_OK) {
        return r.err;
    }
    if (type >> 14 != 0 || length % 4 != 0) {
        return BK_E_MALFORMED;
    }
    /* As much of the cookie as is there: what is no STUN need not be waited for. */
    size_t n = r.left.n < sizeof cookie ? r.left.n : sizeof cookie;
    if (n > 0 && memcmp(r.left.p, cookie, n) != 0) {
        return BK_E_MALFORMED;
    }
    if (length > BK_STUN_STREAM_MAX_BYTES - BK_STUN_HEADER_BYTES) {
        return BK_E_RANGE;
    }
    *message_bytes = BK_STUN_HEADER_BYTES + length;
    return BK_OK;
}

bool bk_stun_next(const struct bk_stun *m, size_t *offset, struct bk_stun_attr *out)
{
    struct bk_slice attrs = {m->raw.p + BK_STUN_HEADER_BYTES, m->raw.n - BK_STUN_HEADER_BYTES};
    struct bk_reader r = bk_reader(attrs);
    (void)bk_read_bytes(&r, *offset);
    struct bk_stun_attr attr;
    if (!bk_attr_next(&r, &attr) || attr.type == BK_ATTR_MESSAGE_INTEGRITY ||
        attr.type == BK_ATTR_MESSAGE_INTEGRITY_SHA256 || attr.type == BK_ATTR_FINGERPRINT) {
        *out = (struct bk_stun_attr){0, BK_SLICE_EMPTY};
        return false; /* `offset` stays: asked again, the answer is the same */
    }
    *offset = attrs.n - r.left.n;
    *out = attr;
    return true;
}

bool bk_stun_find(const struct bk_stun *m, uint16_t type, struct bk_slice *value)
{
    size_t offset = 0;
    struct bk_stun_attr attr;
    while (bk_stun_next(m, &offset, &attr)) {
        if (attr.type == type) {
            *value = attr.value;
            return true;
        }
    }
    *value = BK_SLICE_EMPTY;
    return false;
}

bool bk_stun_understood(const struct bk_stun *m, const uint16_t *known, size_t n_known)
{
    size_t offset = 0;
    struct bk_stun_attr attr;
    while (bk_stun_next(m, &offset, &attr)) {
        bool found = attr.type >= 0x8000;
        for (size_t i = 0; i < n_known && !found; i++) {
            found = known[i] == attr.type;
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

enum bk_err bk_stun_xor_address(const struct bk_stun *m, struct bk_slice value, struct bk_addr *out)
{
    uint8_t unused;
    enum bk_err err = bk_attr_read_address(value, &unused, out);
    if (err == BK_OK) {
        /* The family stands in the value: an XORed IPv6 address may look like anything. */
        bk_attr_xor_address(out, value.p[1] == BK_FAMILY_IPV4, m->txid);
    }
    return err;
}

enum bk_err bk_stun_error_code(struct bk_slice value, uint16_t *code, struct bk_slice *reason)
{
    *code = 0;
    *reason = BK_SLICE_EMPTY;
    struct bk_reader r = bk_reader(value);
    (void)bk_read_u16(&r);                      /* reserved, and so are the next five bits: */
    unsigned hundreds = bk_read_u8(&r) & 0x07U; /* ignored when read (RFC 8489, 14.8) */
    unsigned number = bk_read_u8(&r);
    if (r.err != BK_OK || hundreds < 3 || hundreds > 6 || number > 99) {
        return BK_E_MALFORMED;
    }
    *code = (uint16_t)(hundreds * 100 + number);
    *reason = r.left;
    return BK_OK;
}
