/* HMAC-SHA-1 (RFC 3174, RFC 2104) for the vectors of RFC 5769 only: no program of ours uses it. */
#ifndef TESTS_WIRE_SHA1_H
#define TESTS_WIRE_SHA1_H

#include <stdint.h>
#include <string.h>

#include "base/mac.h"

static inline uint32_t sha1_rotate(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static inline void sha1_block(uint32_t h[5], const uint8_t block[64])
{
    uint32_t w[80];
    for (int i = 0; i < 16; i++) {
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    }
    for (int i = 16; i < 80; i++) {
        w[i] = sha1_rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20   ? ((b & c) | (~b & d)) + UINT32_C(0x5A827999)
                     : i < 40 ? (b ^ c ^ d) + UINT32_C(0x6ED9EBA1)
                     : i < 60 ? ((b & c) | (b & d) | (c & d)) + UINT32_C(0x8F1BBCDC)
                              : (b ^ c ^ d) + UINT32_C(0xCA62C1D6);
        uint32_t t = sha1_rotate(a, 5) + f + e + w[i];
        e = d;
        d = c;
        c = sha1_rotate(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* `text` is at most 1 KiB. */
static inline void sha1(struct bk_slice text, uint8_t out[20])
{
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t padded[1024 + 128] = {0};
    memcpy(padded, text.p, text.n);
    padded[text.n] = 0x80;
    size_t blocks = (text.n + 9 + 63) / 64;
    for (size_t i = 0; i < 8; i++) {
        padded[64 * blocks - 1 - i] = (uint8_t)((uint64_t)text.n * 8 >> (8 * i));
    }
    for (size_t i = 0; i < blocks; i++) {
        sha1_block(h, padded + 64 * i);
    }
    for (size_t i = 0; i < 20; i++) {
        out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
    }
}

/* Keys of at most 64 bytes, parts of at most 900 bytes in all. */
static inline void test_hmac_sha1(void *ctx, struct bk_slice key, const struct bk_slice *parts,
                                  size_t n_parts, uint8_t out[BK_HMAC_SHA1_BYTES])
{
    (void)ctx;
    uint8_t inner[1024] = {0};
    uint8_t outer[64 + 20] = {0};
    memcpy(inner, key.p, key.n);
    memcpy(outer, key.p, key.n);
    for (size_t i = 0; i < 64; i++) {
        inner[i] ^= 0x36;
        outer[i] ^= 0x5C;
    }
    size_t n = 64;
    for (size_t i = 0; i < n_parts; i++) {
        memcpy(inner + n, parts[i].p, parts[i].n);
        n += parts[i].n;
    }
    sha1(bk_slice(inner, n), outer + 64);
    sha1(bk_slice(outer, sizeof outer), out);
}

#endif
