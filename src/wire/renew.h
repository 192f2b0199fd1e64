/* RENEW: a device or user that is enrolled asks for what it has anew, over TLS with its certificate (BK_ALPN_RENEW),
 * which may have expired: the handshake proves its key.
 *
 *   request   [CERTIFICATE-REQUEST,] [BOX-KEY of a device]: what is there is renewed
 *   success   [CERTIFICATE], and for a device REGISTRATION (generation, epoch: the current one),
 *             REGISTRATION-KEY and SERVER-PORTS. No CERTIFICATE where one was asked for: the operator has yet
 *             to sign (an external CA), ask again later; the rest has been done.
 *   error     400, 403 (revoked, or replaced under the same ID or name), 503 */
#ifndef BK_WIRE_RENEW_H
#define BK_WIRE_RENEW_H

#include "wire/enrol.h"

struct bk_renew {
    struct bk_slice csr;     /* PKCS#10, DER, for the key that the connection proved; or empty */
    struct bk_slice box_key; /* or empty */
};

struct bk_renew_answer {
    struct bk_slice certificate; /* or empty */
    bool device;                 /* then the rest is there too */
    uint32_t generation;
    uint16_t epoch;
    struct bk_slice registration_key; /* BK_KEY_BYTES */
    struct bk_server_ports ports;
};

BK_NODISCARD enum bk_err bk_renew_read(const struct bk_stun *m, struct bk_renew *out);
BK_NODISCARD enum bk_err bk_renew_write(uint8_t *buf, size_t cap,
                                        const uint8_t txid[BK_STUN_TXID_BYTES],
                                        const struct bk_renew *in, struct bk_slice *out);
BK_NODISCARD enum bk_err bk_renew_answer_read(const struct bk_stun *m, struct bk_renew_answer *out);
BK_NODISCARD enum bk_err bk_renew_answer_write(uint8_t *buf, size_t cap,
                                               const uint8_t txid[BK_STUN_TXID_BYTES],
                                               const struct bk_renew_answer *in,
                                               struct bk_slice *out);

#endif
