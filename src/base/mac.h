/* The keyed hash, as a table of operations: `beckond` passes OpenSSL's SHA-256, tests
 * libsodium's, the idle agent its own. SHA-1 (RFC 5769 vectors, TURN) may be absent: then `hmac_sha1` is NULL. */
#ifndef BK_BASE_MAC_H
#define BK_BASE_MAC_H

#include "base/slice.h"

enum {
    BK_HMAC_SHA256_BYTES = 32,
    BK_HMAC_SHA1_BYTES = 20,
    BK_KEY_BYTES = 32, /* every symmetric key of ours */
};

/* A key made ready for HMAC-SHA-256: what of the hash depends on the key alone. As secret as the key. What is in it, only
 * the operations that made it know. */
struct bk_mac_key {
    uint32_t words[16];
};

struct bk_mac_ops {
    void *ctx;
    /* HMAC over the concatenation of `parts`. Cannot fail. */
    void (*hmac_sha256)(void *ctx, struct bk_slice key, const struct bk_slice *parts,
                        size_t n_parts, uint8_t out[BK_HMAC_SHA256_BYTES]);
    void (*hmac_sha1)(void *ctx, struct bk_slice key, const struct bk_slice *parts, size_t n_parts,
                      uint8_t out[BK_HMAC_SHA1_BYTES]);
    /* The same as hmac_sha256 in two steps, for keys that are used more than once. Both or neither may be NULL: call
     * them by bk_mac_prepare and bk_mac_prepared, which do without. */
    void (*prepare)(void *ctx, const uint8_t key[BK_KEY_BYTES], struct bk_mac_key *out);
    void (*prepared)(void *ctx, const struct bk_mac_key *key, struct bk_slice bytes,
                     uint8_t out[BK_HMAC_SHA256_BYTES]);
};

void bk_mac_prepare(const struct bk_mac_ops *mac, const uint8_t key[BK_KEY_BYTES],
                    struct bk_mac_key *out);
/* HMAC-SHA-256 over `bytes`. */
void bk_mac_prepared(const struct bk_mac_ops *mac, const struct bk_mac_key *key,
                     struct bk_slice bytes, uint8_t out[BK_HMAC_SHA256_BYTES]);

/* Compares n bytes in a time that depends on n alone. */
bool bk_equal_const_time(const uint8_t *a, const uint8_t *b, size_t n);

#endif
