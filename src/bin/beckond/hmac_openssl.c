/* HMAC-SHA-256 (RFC 2104) over the low-level hash: the EVP interface allocates and looks its algorithm up
 * again for every key, which costs more than the hashing of a datagram. The functions are deprecated in
 * OpenSSL 3 and will not go before its next major release. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "bin/beckond/hmac_openssl.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

enum {
    BLOCK_BYTES = SHA256_CBLOCK,
};

/* SHA256_* return 0 only for arguments that cannot occur here. */
static void start(SHA256_CTX *ctx, const uint8_t key[BLOCK_BYTES], uint8_t pad)
{
    uint8_t block[BLOCK_BYTES];

    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        block[i] = key[i] ^ pad;
    }
    (void)SHA256_Init(ctx);
    (void)SHA256_Update(ctx, block, sizeof block);
    OPENSSL_cleanse(block, sizeof block);
}

static void hmac_sha256(void *ops_ctx, struct bk_slice key, const struct bk_slice *parts,
                        size_t n_parts, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    uint8_t padded[BLOCK_BYTES] = {0};
    uint8_t inner[SHA256_DIGEST_LENGTH];
    SHA256_CTX ctx;

    (void)ops_ctx;
    if (key.n > sizeof padded) {
        (void)SHA256(key.p, key.n, padded);
    } else if (key.n > 0) {
        memcpy(padded, key.p, key.n);
    }
    start(&ctx, padded, 0x36);
    for (size_t i = 0; i < n_parts; i++) {
        (void)SHA256_Update(&ctx, parts[i].p, parts[i].n);
    }
    (void)SHA256_Final(inner, &ctx);
    start(&ctx, padded, 0x5C);
    (void)SHA256_Update(&ctx, inner, sizeof inner);
    (void)SHA256_Final(out, &ctx);
    OPENSSL_cleanse(padded, sizeof padded);
    OPENSSL_cleanse(&ctx, sizeof ctx);
}

struct bk_mac_ops bk_mac_openssl(void)
{
    return (struct bk_mac_ops){.ctx = NULL, .hmac_sha256 = hmac_sha256, .hmac_sha1 = NULL};
}
