/* The two old hashes of TURN's long-term credentials, as a table of operations: libsodium has neither, programs pass
 * OpenSSL's (net/turn_ops.h). */
#ifndef BK_BASE_TURN_OPS_H
#define BK_BASE_TURN_OPS_H

#include "base/mac.h"

enum {
    BK_TURN_KEY_BYTES = 16, /* MD5 */
};

/* Over the concatenation of `parts`. Neither can fail. */
struct bk_turn_ops {
    void *ctx;
    void (*md5)(void *ctx, const struct bk_slice *parts, size_t n_parts,
                uint8_t out[BK_TURN_KEY_BYTES]);
    void (*hmac_sha1)(void *ctx, struct bk_slice key, const struct bk_slice *parts, size_t n_parts,
                      uint8_t out[BK_HMAC_SHA1_BYTES]);
};

#endif
