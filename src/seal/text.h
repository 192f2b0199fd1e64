/* The texts people carry: join tokens and beckon:// URIs, and base64url. */
#ifndef BK_SEAL_TEXT_H
#define BK_SEAL_TEXT_H

#include "base/err.h"
#include "base/slice.h"
#include "seal/identity.h"

enum {
    BK_HOST_MAX_BYTES = 255,
    BK_TOKEN_TEXT_BYTES = 512,
    BK_URI_TEXT_BYTES = 400,
};

/* base64url without padding. BK_E_NOSPACE; BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_base64_write(struct bk_slice bytes, char *out, size_t cap);
BK_NODISCARD enum bk_err bk_base64_read(struct bk_slice text, uint8_t *out, size_t cap, size_t *n);

/* A join token: where the server is, which CA it must show, and a secret that works once.
 * Text: "beckon1." and base64url of
 *   u8 role (2 device, 3 user) · secret (16) · CA pin (32) · u16 TCP port for joining · host, and
 *   the first four bytes of SHA-256 over all that, so that a mistyped token is seen before it is sent. */
struct bk_token {
    enum bk_role role;
    uint8_t secret[16];
    uint8_t ca_pin[BK_PIN_BYTES];
    uint16_t port;
    char host[BK_HOST_MAX_BYTES + 1];
};
BK_NODISCARD enum bk_err bk_token_write(const struct bk_token *in, char out[BK_TOKEN_TEXT_BYTES]);
BK_NODISCARD enum bk_err bk_token_read(struct bk_slice text, struct bk_token *out);

/* beckon://HOST/2133#PIN */
struct bk_uri {
    char host[BK_HOST_MAX_BYTES + 1];
    uint64_t equipment_id;
    uint8_t pin[BK_PIN_BYTES];
};
BK_NODISCARD enum bk_err bk_uri_write(const struct bk_uri *in, char out[BK_URI_TEXT_BYTES]);
BK_NODISCARD enum bk_err bk_uri_read(struct bk_slice text, struct bk_uri *out);

#endif
