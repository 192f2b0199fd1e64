/* MD5 and HMAC-SHA-1 (RFC 2104) over the low-level hashes: the EVP interface allocates and can fail. The functions are
 * deprecated in OpenSSL 3 and will not go before its next major release. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "net/turn_ops.h"

#include <openssl/crypto.h>
#include <openssl/md5.h>
#include <openssl/sha.h>
#include <string.h>

_Static_assert(BK_TURN_KEY_BYTES == MD5_DIGEST_LENGTH, "the key is an MD5");
_Static_assert(BK_HMAC_SHA1_BYTES == SHA_DIGEST_LENGTH, "the MAC is a SHA-1");

/* *_Init, *_Update and *_Final return 0 only for arguments that cannot occur here. */
static void md5(void *ops_ctx, const struct bk_slice *parts, size_t n_parts,
                uint8_t out[BK_TURN_KEY_BYTES])
{
    MD5_CTX ctx;

    (void)ops_ctx;
    (void)MD5_Init(&ctx);
    for (size_t i = 0; i < n_parts; i++) {
        (void)MD5_Update(&ctx, parts[i].p, parts[i].n);
    }
    (void)MD5_Final(out, &ctx);
    OPENSSL_cleanse(&ctx, sizeof ctx);
}

static void start(SHA_CTX *ctx, const uint8_t key[SHA_CBLOCK], uint8_t pad)
{
    uint8_t block[SHA_CBLOCK];

    for (size_t i = 0; i < sizeof block; i++) {
        block[i] = key[i] ^ pad;
    }
    (void)SHA1_Init(ctx);
    (void)SHA1_Update(ctx, block, sizeof block);
    OPENSSL_cleanse(block, sizeof block);
}

static void hmac_sha1(void *ops_ctx, struct bk_slice key, const struct bk_slice *parts,
                      size_t n_parts, uint8_t out[BK_HMAC_SHA1_BYTES])
{
    uint8_t padded[SHA_CBLOCK] = {0};
    uint8_t inner[SHA_DIGEST_LENGTH];
    SHA_CTX ctx;

    (void)ops_ctx;
    if (key.n > sizeof padded) {
        (void)SHA1(key.p, key.n, padded);
    } else if (key.n > 0) {
        memcpy(padded, key.p, key.n);
    }
    start(&ctx, padded, 0x36);
    for (size_t i = 0; i < n_parts; i++) {
        (void)SHA1_Update(&ctx, parts[i].p, parts[i].n);
    }
    (void)SHA1_Final(inner, &ctx);
    start(&ctx, padded, 0x5C);
    (void)SHA1_Update(&ctx, inner, sizeof inner);
    (void)SHA1_Final(out, &ctx);
    OPENSSL_cleanse(padded, sizeof padded);
    OPENSSL_cleanse(&ctx, sizeof ctx);
}

struct bk_turn_ops bk_turn_openssl(void)
{
    return (struct bk_turn_ops){.ctx = NULL, .md5 = md5, .hmac_sha1 = hmac_sha1};
}
