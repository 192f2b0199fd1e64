/* Who is at the other end: what a verified certificate says, and the fingerprint people pin. */
#ifndef BK_SEAL_IDENTITY_H
#define BK_SEAL_IDENTITY_H

#include "base/err.h"
#include "base/mac.h"
#include "base/slice.h"

enum bk_role {
    BK_ROLE_NONE = 0, /* no certificate: may ENROL, nothing else */
    BK_ROLE_SERVER,
    BK_ROLE_DEVICE,
    BK_ROLE_USER,
};

enum {
    BK_PIN_BYTES = 32,
    BK_PIN_TEXT_BYTES = 44, /* base64url without padding, and a terminator */
};

struct bk_identity {
    enum bk_role role;
    uint64_t equipment_id;     /* devices */
    char name[64];             /* users: the name; else empty */
    uint8_t key[BK_KEY_BYTES]; /* raw Ed25519 public key of the certificate */
};

/* Reads certificates: verified against the operator's CA by the shell's library (OpenSSL), or by the
 * simulation's stand-in. BK_E_AUTH not signed by the CA, BK_E_EXPIRED, BK_E_MALFORMED. */
struct bk_cert_ops {
    void *ctx;
    enum bk_err (*read)(void *ctx, struct bk_slice der, uint64_t unix_s, struct bk_identity *out);
};

/* A pin: SHA-256 of the SubjectPublicKeyInfo of an Ed25519 key. It survives a renewed certificate
 * for the same key. */
void bk_pin_of_key(const uint8_t key[BK_KEY_BYTES], uint8_t pin[BK_PIN_BYTES]);
void bk_pin_format(const uint8_t pin[BK_PIN_BYTES], char out[BK_PIN_TEXT_BYTES]);
BK_NODISCARD enum bk_err bk_pin_parse(struct bk_slice text, uint8_t pin[BK_PIN_BYTES]);

#endif
