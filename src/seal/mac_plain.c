/* HMAC-SHA-256 (FIPS 180-4, RFC 2104) without a library: the one computation of an idle agent, for which libsodium would
 * be a third of its memory. Time and memory accesses depend on lengths alone. What a key went into is wiped. */
#include "seal/mac_plain.h"

#include <string.h>

#include "seal/seal.h"

enum {
    BLOCK_BYTES = 64,
    LENGTH_BYTES = 8, /* of the message, in bits, at the end of the last block */
    ROUNDS = 64,
    WORDS = 8,
    INNER = 0x36,
    OUTER = 0x5C,
};

struct sha256 {
    uint32_t h[WORDS];
    uint64_t n; /* bytes so far */
    uint8_t block[BLOCK_BYTES];
};

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t k[ROUNDS] = {
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
};

static uint32_t rotated(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static uint32_t word_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void expand(const uint8_t block[BLOCK_BYTES], uint32_t w[ROUNDS])
{
    for (size_t i = 0; i < 16; i++) {
        w[i] = word_at(block + 4 * i);
    }
    for (size_t i = 16; i < ROUNDS; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        uint32_t s0 = rotated(a, 7) ^ rotated(a, 18) ^ a >> 3;
        uint32_t s1 = rotated(b, 17) ^ rotated(b, 19) ^ b >> 10;

        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void compress(uint32_t h[WORDS], const uint8_t block[BLOCK_BYTES])
{
    uint32_t w[ROUNDS], v[WORDS]; /* v: a to h of the standard */

    expand(block, w);
    memcpy(v, h, sizeof v);
    for (size_t i = 0; i < ROUNDS; i++) {
        uint32_t s1 = rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t one = v[7] + s1 + choice + k[i] + w[i];
        uint32_t s0 = rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);

        memmove(v + 1, v, (WORDS - 1) * sizeof v[0]);
        v[4] += one;
        v[0] = one + s0 + majority;
    }
    for (size_t i = 0; i < WORDS; i++) {
        h[i] += v[i];
    }
    bk_wipe(w, sizeof w);
    bk_wipe(v, sizeof v);
}

static void begin(struct sha256 *s)
{
    static const uint32_t first[WORDS] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                          0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

    memcpy(s->h, first, sizeof s->h);
    s->n = 0;
}

static void add(struct sha256 *s, struct bk_slice bytes)
{
    while (bytes.n > 0) {
        size_t held = (size_t)(s->n % BLOCK_BYTES), room = BLOCK_BYTES - held;
        size_t n = bytes.n < room ? bytes.n : room;

        memcpy(s->block + held, bytes.p, n);
        s->n += n;
        bytes = bk_slice(bytes.p + n, bytes.n - n);
        if (n == room) {
            compress(s->h, s->block);
        }
    }
}

static void end(struct sha256 *s, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    static const uint8_t padding[BLOCK_BYTES] = {0x80};
    uint64_t bits = 8 * s->n;
    size_t held = (size_t)(s->n % BLOCK_BYTES);
    uint8_t length[LENGTH_BYTES];

    for (size_t i = 0; i < LENGTH_BYTES; i++) {
        length[i] = (uint8_t)(bits >> (8 * (LENGTH_BYTES - 1 - i)));
    }
    add(s, bk_slice(padding, held < BLOCK_BYTES - LENGTH_BYTES
                                 ? BLOCK_BYTES - LENGTH_BYTES - held
                                 : 2 * BLOCK_BYTES - LENGTH_BYTES - held));
    add(s, BK_SLICE_OF(length));
    for (size_t i = 0; i < WORDS; i++) {
        for (size_t j = 0; j < 4; j++) {
            out[4 * i + j] = (uint8_t)(s->h[i] >> (8 * (3 - j)));
        }
    }
    bk_wipe(s, sizeof *s);
}

/* Begins a hash with the key, filled up to a block, each byte of it changed by `pad`. */
static void begin_keyed(struct sha256 *s, const uint8_t key[BLOCK_BYTES], uint8_t pad)
{
    uint8_t padded[BLOCK_BYTES];

    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        padded[i] = key[i] ^ pad;
    }
    begin(s);
    add(s, BK_SLICE_OF(padded));
    bk_wipe(padded, sizeof padded);
}

static void hmac_sha256(void *ctx, struct bk_slice key, const struct bk_slice *parts,
                        size_t n_parts, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    uint8_t block[BLOCK_BYTES] = {0}, inner[BK_HMAC_SHA256_BYTES];
    struct sha256 s;

    (void)ctx;
    if (key.n > BLOCK_BYTES) {
        begin(&s);
        add(&s, key);
        end(&s, block);
    } else if (key.n > 0) {
        memcpy(block, key.p, key.n);
    }
    begin_keyed(&s, block, INNER);
    for (size_t i = 0; i < n_parts; i++) {
        add(&s, parts[i]);
    }
    end(&s, inner);
    begin_keyed(&s, block, OUTER);
    add(&s, BK_SLICE_OF(inner));
    end(&s, out);
    bk_wipe(block, sizeof block);
    bk_wipe(inner, sizeof inner);
}

struct bk_mac_ops bk_mac_plain(void)
{
    return (struct bk_mac_ops){.hmac_sha256 = hmac_sha256};
}
