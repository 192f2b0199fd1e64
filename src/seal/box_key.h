/* A device's box key as the server hands it on: signed by the key of the device's certificate, so
 * that the server cannot put its own in place.
 *
 *   u8 version (1) · X25519 public key (32) · u64 made at · u64 good until · Ed25519 signature (64)
 *
 * The signature covers a context string and everything before it. */
#ifndef BK_SEAL_BOX_KEY_H
#define BK_SEAL_BOX_KEY_H

#include "seal/seal.h"

enum {
    BK_BOX_KEY_BYTES = 1 + 32 + 8 + 8 + 64,
    BK_SIGN_SEED_BYTES = 32,
};

struct bk_box_key {
    uint8_t key[BK_KEY_BYTES];
    uint64_t made_s; /* seconds since 1970 */
    uint64_t until_s;
};

/* `seed` is the raw Ed25519 private key (as EVP_PKEY_get_raw_private_key gives it). */
void bk_box_key_sign(const struct bk_box_key *in, const uint8_t seed[BK_SIGN_SEED_BYTES],
                     uint8_t out[BK_BOX_KEY_BYTES]);

/* Checks the signature by the certificate's raw Ed25519 public key; whether the times fit is for the
 * caller to judge. BK_E_MALFORMED, BK_E_AUTH. */
BK_NODISCARD enum bk_err bk_box_key_check(struct bk_slice signed_key,
                                          const uint8_t signer[BK_KEY_BYTES],
                                          struct bk_box_key *out);

#endif
