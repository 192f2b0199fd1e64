/* REGISTER at fixed places. Every length and every attribute's head is compared before what lies between is believed, so
 * nothing is read that the layout does not say is there. */
#include "wire/register_quick.h"

#include <string.h>

#include "wire/crc32.h"

/* Where things are in a REGISTER as bk_register_write lays it out; with a nonce all from the integrity on lies
 * NONCE_ATTR_BYTES further back. */
enum {
    AT_COOKIE = 4,
    AT_TXID = 8,
    AT_EQUIPMENT_ID = 20,
    AT_REGISTRATION = 32,
    AT_TAG = 44,
    AT_NONCE = 60,
    NONCE_ATTR_BYTES = 4 + BK_NONCE_BYTES,
    INTEGRITY_ATTR_BYTES = 4 + BK_STUN_SHORT_MAC_BYTES,
    TAIL_BYTES = INTEGRITY_ATTR_BYTES + BK_STUN_FINGERPRINT_BYTES,
    PLAIN_BYTES = AT_NONCE + TAIL_BYTES,
    NONCE_BYTES = PLAIN_BYTES + NONCE_ATTR_BYTES,
};

/* Message types of method 0x0C1 (RFC 8489, figure 3). */
enum {
    TYPE_REQUEST = 0x0281,
    TYPE_INDICATION = 0x0291,
    TYPE_SUCCESS = 0x0381,
    TYPE_ERROR = 0x0391,
};

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static uint8_t *put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
    return p + 4;
}

static uint8_t *put64(uint8_t *p, uint64_t v)
{
    return put32(put32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

/* An attribute's head: type and length. */
static uint32_t head(uint16_t type, uint32_t n)
{
    return (uint32_t)type << 16 | n;
}

bool bk_register_quick_read(struct bk_slice bytes, struct bk_register *out)
{
    const uint8_t *p = bytes.p;
    if (bytes.n != PLAIN_BYTES && bytes.n != NONCE_BYTES) {
        return false;
    }
    uint32_t type = get16(p);
    bool nonce = bytes.n == NONCE_BYTES;
    const uint8_t *tail = p + bytes.n - TAIL_BYTES;
    if ((type != TYPE_REQUEST && (type != TYPE_INDICATION || nonce)) ||
        get16(p + 2) != bytes.n - BK_STUN_HEADER_BYTES || get32(p + AT_COOKIE) != BK_STUN_COOKIE ||
        get32(p + AT_EQUIPMENT_ID) != head(BK_ATTR_EQUIPMENT_ID, 8) ||
        get32(p + AT_REGISTRATION) != head(BK_ATTR_REGISTRATION, 8) ||
        get32(p + AT_TAG) != head(BK_ATTR_TAG, 12) ||
        (nonce && get32(p + AT_NONCE) != head(BK_ATTR_NONCE, BK_NONCE_BYTES)) ||
        get32(tail) != head(BK_ATTR_MESSAGE_INTEGRITY_SHA256, BK_STUN_SHORT_MAC_BYTES) ||
        get32(tail + INTEGRITY_ATTR_BYTES) != head(BK_ATTR_FINGERPRINT, 4)) {
        return false;
    }
    uint64_t id = get64(p + AT_EQUIPMENT_ID + 4);
    uint32_t interval_s = get16(p + AT_REGISTRATION + 10);
    if (!bk_equipment_id_valid(id) || interval_s > BK_REGISTER_INTERVAL_MAX_S) {
        return false;
    }
    *out = (struct bk_register){
        .quiet = type == TYPE_INDICATION,
        .equipment_id = id,
        .generation = get32(p + AT_REGISTRATION + 4),
        .epoch = (uint16_t)get16(p + AT_REGISTRATION + 8),
        .interval_s = (uint16_t)interval_s,
        .tag = {.random = get64(p + AT_TAG + 4), .counter = get32(p + AT_TAG + 12)},
        .nonce = nonce ? bk_slice(p + AT_NONCE + 4, BK_NONCE_BYTES) : BK_SLICE_EMPTY,
    };
    return true;
}

bool bk_register_quick_fingerprint(struct bk_slice bytes)
{
    size_t n = bytes.n - BK_STUN_FINGERPRINT_BYTES;
    return get32(bytes.p + n + 4) == (bk_crc32(bk_slice(bytes.p, n)) ^ BK_STUN_FINGERPRINT_XOR);
}

bool bk_register_quick_integrity(struct bk_slice bytes, const struct bk_mac_ops *mac,
                                 const struct bk_mac_key *key)
{
    uint8_t covered[NONCE_BYTES];
    uint8_t expected[BK_HMAC_SHA256_BYTES];
    size_t n = bytes.n - TAIL_BYTES;
    memcpy(covered, bytes.p, n);
    /* Its length as if it ended with the integrity. */
    (void)put16(covered + 2,
                (uint32_t)(bytes.n - BK_STUN_FINGERPRINT_BYTES - BK_STUN_HEADER_BYTES));
    bk_mac_prepared(mac, key, bk_slice(covered, n), expected);
    return bk_equal_const_time(bytes.p + n + 4, expected, BK_STUN_SHORT_MAC_BYTES);
}

uint64_t bk_register_quick_device(struct bk_slice bytes)
{
    return bytes.n >= AT_REGISTRATION &&
                   get32(bytes.p + AT_EQUIPMENT_ID) == head(BK_ATTR_EQUIPMENT_ID, 8)
               ? get64(bytes.p + AT_EQUIPMENT_ID + 4)
               : 0;
}

/* ---- writing ---- */

static uint8_t *begin(uint8_t *buf, uint32_t type, const uint8_t txid[BK_STUN_TXID_BYTES])
{
    (void)put32(buf, type << 16);
    (void)put32(buf + AT_COOKIE, BK_STUN_COOKIE);
    memcpy(buf + AT_TXID, txid, BK_STUN_TXID_BYTES);
    return buf + BK_STUN_HEADER_BYTES;
}

static size_t end(uint8_t *buf, uint8_t *p, const struct bk_mac_ops *mac,
                  const struct bk_mac_key *key)
{
    uint8_t digest[BK_HMAC_SHA256_BYTES];
    uint32_t length = (uint32_t)(p - buf) + INTEGRITY_ATTR_BYTES - BK_STUN_HEADER_BYTES;
    (void)put16(buf + 2, length);
    bk_mac_prepared(mac, key, bk_slice(buf, (size_t)(p - buf)), digest);
    p = put32(p, head(BK_ATTR_MESSAGE_INTEGRITY_SHA256, BK_STUN_SHORT_MAC_BYTES));
    memcpy(p, digest, BK_STUN_SHORT_MAC_BYTES);
    p += BK_STUN_SHORT_MAC_BYTES;
    (void)put16(buf + 2, length + BK_STUN_FINGERPRINT_BYTES);
    uint32_t crc = bk_crc32(bk_slice(buf, (size_t)(p - buf)));
    p = put32(p, head(BK_ATTR_FINGERPRINT, 4));
    p = put32(p, crc ^ BK_STUN_FINGERPRINT_XOR);
    return (size_t)(p - buf);
}

static uint8_t *put_mapped(uint8_t *p, const struct bk_addr *mapped, const uint8_t *txid)
{
    bool v4 = bk_addr_is_v4(mapped);
    struct bk_addr a = *mapped;
    bk_attr_xor_address(&a, v4, txid);
    p = put32(p, head(BK_ATTR_XOR_MAPPED_ADDRESS, v4 ? 8 : 20));
    p = put32(p, (v4 ? (uint32_t)BK_FAMILY_IPV4 : BK_FAMILY_IPV6) << 16 | a.port);
    memcpy(p, v4 ? a.ip + 12 : a.ip, v4 ? 4 : 16);
    return p + (v4 ? 4 : 16);
}

static uint8_t *put_nonce(uint8_t *p, const uint8_t *nonce)
{
    p = put32(p, head(BK_ATTR_NONCE, BK_NONCE_BYTES));
    memcpy(p, nonce, BK_NONCE_BYTES);
    return p + BK_NONCE_BYTES;
}

size_t bk_register_quick_answer(uint8_t buf[BK_REGISTER_QUICK_MAX_BYTES],
                                const uint8_t txid[BK_STUN_TXID_BYTES],
                                const struct bk_register_answer *in, const struct bk_mac_ops *mac,
                                const struct bk_mac_key *key)
{
    uint8_t *p = begin(buf, in->code == 0 ? TYPE_SUCCESS : TYPE_ERROR, txid);
    if (in->code == 0) {
        p = put_mapped(p, &in->mapped, txid);
        p = put64(put32(p, head(BK_ATTR_TIME, 8)), in->unix_s);
        p = in->renew ? put32(p, head(BK_ATTR_RENEW, 0)) : p;
    } else {
        p = put32(p, head(BK_ATTR_ERROR_CODE, 4));
        p = put32(p, (uint32_t)(in->code / 100) << 8 | in->code % 100);
        p = in->code == BK_CODE_STALE_NONCE ? put_nonce(p, in->nonce.p) : p;
    }
    return end(buf, p, mac, key);
}

size_t bk_register_quick_challenge(uint8_t buf[BK_REGISTER_QUICK_MAX_BYTES],
                                   const uint8_t txid[BK_STUN_TXID_BYTES],
                                   const uint8_t nonce[BK_NONCE_BYTES],
                                   const struct bk_mac_ops *mac, const struct bk_mac_key *key)
{
    return end(buf, put_nonce(begin(buf, TYPE_INDICATION, txid), nonce), mac, key);
}
