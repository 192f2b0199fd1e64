/* HMAC-SHA-256 (RFC 2104) over the low-level hash: the EVP interface allocates and looks its algorithm up
 * again for every key, which costs more than the hashing of a datagram. A key made ready is what the hash stands at after
 * its two padded blocks; what is hashed from there on is padded here, so that a short message costs two blocks in all.
 * The functions are deprecated in OpenSSL 3 and will not go before its next major release. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "bin/beckond/hmac_openssl.h"

#include <endian.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

enum {
    BLOCK_BYTES = SHA256_CBLOCK,
    WORDS = 8, /* of the hash's state */
    END_MARK =
        0x80, /* behind the last byte; at the end of the last block stands how many bits were hashed */
};

_Static_assert(sizeof((struct bk_mac_key *)0)->words == sizeof(SHA_LONG[2 * WORDS]),
               "two states of the hash");

static void put_state(const SHA_LONG h[WORDS], uint8_t out[SHA256_DIGEST_LENGTH])
{
    for (size_t i = 0; i < WORDS; i++) {
        uint32_t word = htobe32(h[i]);
        memcpy(out + i * sizeof word, &word, sizeof word);
    }
}

/* What the hash stands at after the padded key, inside and outside. */
static void make_ready(const uint8_t key[BLOCK_BYTES], struct bk_mac_key *out)
{
    static const uint8_t pads[] = {0x36, 0x5C};
    uint8_t block[BLOCK_BYTES];
    SHA256_CTX ctx;

    for (size_t side = 0; side < sizeof pads; side++) {
        for (size_t i = 0; i < BLOCK_BYTES; i++) {
            block[i] = key[i] ^ pads[side];
        }
        (void)SHA256_Init(&ctx); /* fails for no argument */
        SHA256_Transform(&ctx, block);
        memcpy(out->words + side * WORDS, ctx.h, sizeof ctx.h);
    }
    OPENSSL_cleanse(block, sizeof block);
    OPENSSL_cleanse(ctx.h, sizeof ctx.h);
}

/* The last bytes, fewer than a block, of a message that is `whole` bytes long with the padded key. */
static void finish(SHA256_CTX *ctx, const uint8_t *rest, size_t n, uint64_t whole)
{
    uint8_t block[BLOCK_BYTES] = {0};
    uint64_t bits = htobe64(whole * 8);

    if (n > 0) {
        memcpy(block, rest, n);
    }
    block[n] = END_MARK;
    if (n + 1 > BLOCK_BYTES - sizeof bits) {
        SHA256_Transform(ctx, block);
        memset(block, 0, sizeof block);
    }
    memcpy(block + BLOCK_BYTES - sizeof bits, &bits, sizeof bits);
    SHA256_Transform(ctx, block);
}

static void outer(SHA256_CTX *ctx, const struct bk_mac_key *key, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    uint8_t inner[SHA256_DIGEST_LENGTH];

    put_state(ctx->h, inner);
    memcpy(ctx->h, key->words + WORDS, sizeof ctx->h);
    finish(ctx, inner, sizeof inner, BLOCK_BYTES + sizeof inner);
    put_state(ctx->h, out);
}

static void prepare(void *ops_ctx, const uint8_t key[BK_KEY_BYTES], struct bk_mac_key *out)
{
    uint8_t padded[BLOCK_BYTES] = {0};

    (void)ops_ctx;
    memcpy(padded, key, BK_KEY_BYTES);
    make_ready(padded, out);
    OPENSSL_cleanse(padded, sizeof padded);
}

static void prepared(void *ops_ctx, const struct bk_mac_key *key, struct bk_slice bytes,
                     uint8_t out[BK_HMAC_SHA256_BYTES])
{
    SHA256_CTX ctx; /* its state alone is used */
    size_t at = 0;

    (void)ops_ctx;
    memcpy(ctx.h, key->words, sizeof ctx.h);
    for (; bytes.n - at >= BLOCK_BYTES; at += BLOCK_BYTES) {
        SHA256_Transform(&ctx, bytes.p + at);
    }
    finish(&ctx, bytes.p + at, bytes.n - at, BLOCK_BYTES + (uint64_t)bytes.n);
    outer(&ctx, key, out);
}

static void hmac_sha256(void *ops_ctx, struct bk_slice key, const struct bk_slice *parts,
                        size_t n_parts, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    uint8_t padded[BLOCK_BYTES] = {0};
    uint8_t inner[SHA256_DIGEST_LENGTH];
    struct bk_mac_key ready;
    SHA256_CTX ctx;

    (void)ops_ctx;
    if (key.n > sizeof padded) {
        (void)SHA256(key.p, key.n, padded);
    } else if (key.n > 0) {
        memcpy(padded, key.p, key.n);
    }
    make_ready(padded, &ready);
    (void)SHA256_Init(&ctx);
    memcpy(ctx.h, ready.words, sizeof ctx.h);
    ctx.Nl = BLOCK_BYTES * 8; /* bits behind it */
    for (size_t i = 0; i < n_parts; i++) {
        (void)SHA256_Update(&ctx, parts[i].p, parts[i].n);
    }
    (void)SHA256_Final(inner, &ctx);
    memcpy(ctx.h, ready.words + WORDS, sizeof ctx.h);
    finish(&ctx, inner, sizeof inner, BLOCK_BYTES + sizeof inner);
    put_state(ctx.h, out);
    OPENSSL_cleanse(padded, sizeof padded);
    OPENSSL_cleanse(&ready, sizeof ready);
    OPENSSL_cleanse(&ctx, sizeof ctx);
}

struct bk_mac_ops bk_mac_openssl(void)
{
    return (struct bk_mac_ops){
        .hmac_sha256 = hmac_sha256, .prepare = prepare, .prepared = prepared};
}
