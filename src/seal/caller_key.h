/* A caller's own key (Ed25519), which a device may know instead of a password: the signature inside the sealed
 * request, and the text in which the public key is carried to authorized_users.
 *
 * The signature covers a context string, the fingerprint of the called device's key, and the whole text of the
 * box before it: it is good for one device and one call, and may be sent where the device's key was never pinned. */
#ifndef BK_SEAL_CALLER_KEY_H
#define BK_SEAL_CALLER_KEY_H

#include "seal/box_key.h"
#include "seal/identity.h"

enum {
    BK_CALLER_SIGNATURE_BYTES = 64,
    BK_CALLER_KEY_TEXT_BYTES = 44,   /* base64url of the raw key, and a terminator */
    BK_CALLER_TEXT_MAX_BYTES = 1024, /* what is signed of a box; none is longer */
};

/* The raw public key of a seed (RFC 8032). */
void bk_caller_key_of(const uint8_t seed[BK_SIGN_SEED_BYTES], uint8_t key[BK_KEY_BYTES]);
/* `box_text` has at most BK_CALLER_TEXT_MAX_BYTES. */
void bk_caller_sign(const uint8_t seed[BK_SIGN_SEED_BYTES], const uint8_t device_pin[BK_PIN_BYTES],
                    struct bk_slice box_text, uint8_t signature[BK_CALLER_SIGNATURE_BYTES]);
/* BK_E_AUTH, for a longer text too. */
BK_NODISCARD enum bk_err bk_caller_check(const uint8_t key[BK_KEY_BYTES],
                                         const uint8_t device_pin[BK_PIN_BYTES],
                                         struct bk_slice box_text,
                                         const uint8_t signature[BK_CALLER_SIGNATURE_BYTES]);

void bk_caller_key_format(const uint8_t key[BK_KEY_BYTES], char out[BK_CALLER_KEY_TEXT_BYTES]);
/* BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_caller_key_parse(struct bk_slice text, uint8_t key[BK_KEY_BYTES]);

#endif
