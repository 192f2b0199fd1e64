/* The sealed parts of a call (libsodium): what only the device, or only the caller, can open.
 *
 * Requests are anonymous sealed boxes (X25519, XSalsa20-Poly1305: crypto_box_seal) to the device's
 * box key; results are authenticated boxes (crypto_box_easy, nonce first) from the device's box key
 * to the call's reply key. */
#ifndef BK_SEAL_SEAL_H
#define BK_SEAL_SEAL_H

#include "base/err.h"
#include "base/mac.h"
#include "base/random.h"
#include "base/slice.h"

enum {
    BK_SEAL_OVERHEAD_BYTES = 48,
    BK_REPLY_OVERHEAD_BYTES = 40,
};

struct bk_box_pair {
    uint8_t public_key[BK_KEY_BYTES];
    uint8_t secret_key[BK_KEY_BYTES];
};

/* Must succeed once before anything of this layer is used (sodium_init). BK_E_STATE. */
BK_NODISCARD enum bk_err bk_seal_init(void);

/* The operating system's generator, through libsodium. */
struct bk_random bk_random_system(void);

/* libsodium's HMAC-SHA-256; `hmac_sha1` is NULL. */
struct bk_mac_ops bk_mac_sodium(void);

void bk_box_pair_make(const struct bk_random *rng, struct bk_box_pair *out);

/* BK_E_NOSPACE; BK_E_AUTH for a box key that is no key. The ephemeral key comes from libsodium's own generator. */
BK_NODISCARD enum bk_err bk_seal_request(const uint8_t box_key[BK_KEY_BYTES], struct bk_slice plain,
                                         uint8_t *out, size_t cap, struct bk_slice *sealed);
/* BK_E_AUTH, BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_open_request(const struct bk_box_pair *pair, struct bk_slice sealed,
                                         uint8_t *out, size_t cap, struct bk_slice *plain);
BK_NODISCARD enum bk_err bk_seal_result(const uint8_t device_secret[BK_KEY_BYTES],
                                        const uint8_t reply_key[BK_KEY_BYTES],
                                        const struct bk_random *rng, struct bk_slice plain,
                                        uint8_t *out, size_t cap, struct bk_slice *sealed);
BK_NODISCARD enum bk_err bk_open_result(const uint8_t reply_secret[BK_KEY_BYTES],
                                        const uint8_t device_box_key[BK_KEY_BYTES],
                                        struct bk_slice sealed, uint8_t *out, size_t cap,
                                        struct bk_slice *plain);

/* Overwrites a secret in a way the compiler cannot drop. */
void bk_wipe(void *p, size_t n);

/* SHA-256 of the concatenation. */
void bk_sha256(const struct bk_slice *parts, size_t n_parts, uint8_t out[32]);

#endif
