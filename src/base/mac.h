/* The keyed hash, as a table of operations: `beckond` passes OpenSSL's SHA-256, agent and tests
 * libsodium's. SHA-1 (RFC 5769 vectors, TURN) may be absent: then `hmac_sha1` is NULL. */
#ifndef BK_BASE_MAC_H
#define BK_BASE_MAC_H

#include "base/slice.h"

enum {
    BK_HMAC_SHA256_BYTES = 32,
    BK_HMAC_SHA1_BYTES = 20,
    BK_KEY_BYTES = 32, /* every symmetric key of ours */
};

struct bk_mac_ops {
    void *ctx;
    /* HMAC over the concatenation of `parts`. Cannot fail. */
    void (*hmac_sha256)(void *ctx, struct bk_slice key, const struct bk_slice *parts,
                        size_t n_parts, uint8_t out[BK_HMAC_SHA256_BYTES]);
    void (*hmac_sha1)(void *ctx, struct bk_slice key, const struct bk_slice *parts, size_t n_parts,
                      uint8_t out[BK_HMAC_SHA1_BYTES]);
};

/* Compares n bytes in a time that depends on n alone. */
bool bk_equal_const_time(const uint8_t *a, const uint8_t *b, size_t n);

#endif
