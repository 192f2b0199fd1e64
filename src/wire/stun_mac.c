/* Checking FINGERPRINT and the MESSAGE-INTEGRITY attributes of a message that was read. Compares
 * MACs in constant time only. */
#include "base/reader.h"
#include "wire/attrs.h"
#include "wire/crc32.h"
#include "wire/stun.h"

/* The first attribute of that type in the whole chain, behind integrity too, and its offset from the
 * start of the message. */
static bool find_anywhere(const struct bk_stun *m, uint16_t type, size_t *at,
                          struct bk_slice *value)
{
    struct bk_reader r = bk_reader(m->raw);
    (void)bk_read_bytes(&r, BK_STUN_HEADER_BYTES);
    struct bk_stun_attr attr;
    size_t start = m->raw.n - r.left.n;
    while (bk_attr_next(&r, &attr)) {
        if (attr.type == type) {
            *at = start;
            *value = attr.value;
            return true;
        }
        start = m->raw.n - r.left.n;
    }
    return false;
}

enum bk_err bk_stun_check_fingerprint(const struct bk_stun *m)
{
    size_t at;
    struct bk_slice value;
    if (!find_anywhere(m, BK_ATTR_FINGERPRINT, &at, &value)) {
        return BK_E_NOTFOUND; /* bk_stun_read saw to it that one that is there is the last */
    }
    struct bk_reader r = bk_reader(value);
    uint32_t expected = bk_crc32(bk_slice(m->raw.p, at)) ^ BK_STUN_FINGERPRINT_XOR;
    return bk_read_u32(&r) == expected ? BK_OK : BK_E_AUTH;
}

/* What the MAC covers: the message up to the attribute at `at`, its length field saying that the
 * message ends with that attribute (RFC 8489, 14.5 and 14.6). `length` is room for that field. */
static void covered_parts(const struct bk_stun *m, size_t at, size_t mac_bytes, uint8_t length[2],
                          struct bk_slice parts[3])
{
    size_t n = at - BK_STUN_HEADER_BYTES + 4 + mac_bytes;
    length[0] = (uint8_t)(n >> 8);
    length[1] = (uint8_t)n;
    parts[0] = bk_slice(m->raw.p, 2);
    parts[1] = bk_slice(length, 2);
    parts[2] = bk_slice(m->raw.p + 4, at - 4);
}

enum bk_err bk_stun_check_sha256(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                 struct bk_slice key, size_t mac_bytes)
{
    size_t at;
    struct bk_slice value;
    if (!find_anywhere(m, BK_ATTR_MESSAGE_INTEGRITY_SHA256, &at, &value)) {
        return BK_E_NOTFOUND;
    }
    if (value.n != mac_bytes || mac_bytes > BK_HMAC_SHA256_BYTES) {
        return BK_E_AUTH;
    }
    uint8_t length[2];
    struct bk_slice parts[3];
    uint8_t expected[BK_HMAC_SHA256_BYTES];
    covered_parts(m, at, mac_bytes, length, parts);
    mac->hmac_sha256(mac->ctx, key, parts, 3, expected);
    return bk_equal_const_time(value.p, expected, mac_bytes) ? BK_OK : BK_E_AUTH;
}

enum bk_err bk_stun_check_sha1(const struct bk_stun *m, const struct bk_mac_ops *mac,
                               struct bk_slice key)
{
    size_t at;
    struct bk_slice value;
    if (!find_anywhere(m, BK_ATTR_MESSAGE_INTEGRITY, &at, &value)) {
        return BK_E_NOTFOUND;
    }
    if (value.n != BK_HMAC_SHA1_BYTES || mac->hmac_sha1 == NULL) {
        return BK_E_AUTH;
    }
    uint8_t length[2];
    struct bk_slice parts[3];
    uint8_t expected[BK_HMAC_SHA1_BYTES];
    covered_parts(m, at, sizeof expected, length, parts);
    mac->hmac_sha1(mac->ctx, key, parts, 3, expected);
    return bk_equal_const_time(value.p, expected, sizeof expected) ? BK_OK : BK_E_AUTH;
}
