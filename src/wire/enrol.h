/* ENROL: a join token and a certificate request against a certificate, over TLS.
 *
 *   request   TOKEN, CERTIFICATE-REQUEST [, BOX-KEY of a device]
 *   success   CERTIFICATE, CA-CERTIFICATE, and for a device EQUIPMENT-ID, REGISTRATION (generation,
 *             epoch), REGISTRATION-KEY and SERVER-PORTS; for a user USER-NAME
 *   error     403 (bad or expired token), 409 (used by another key), 425 (the operator has yet to sign: ask
 *             again), 400 */
#ifndef BK_WIRE_ENROL_H
#define BK_WIRE_ENROL_H

#include "wire/attrs.h"

enum {
    BK_TOKEN_SECRET_BYTES = 16,
    BK_SERVER_UDP_PORT = 1200, /* a server's ports unless it is told others: the reference's */
    BK_SERVER_REQUEST_PORT = 1201,
    BK_SERVER_AGENT_PORT = 1300,
};

struct bk_enrol {
    struct bk_slice token;   /* BK_TOKEN_SECRET_BYTES */
    struct bk_slice csr;     /* PKCS#10, DER */
    struct bk_slice box_key; /* empty for a user */
};

/* Where the server listens. */
struct bk_server_ports {
    uint16_t udp, request, agent;
};
/* SERVER-PORTS, none of which may be 0. BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_attr_need_server_ports(const struct bk_stun *m,
                                                   struct bk_server_ports *out);
void bk_attr_put_server_ports(struct bk_stun_writer *s, const struct bk_server_ports *ports);

struct bk_enrol_answer {
    struct bk_slice certificate;
    struct bk_slice ca_certificate;
    struct bk_slice user;  /* empty for a device */
    uint64_t equipment_id; /* 0 for a user, and then the rest is too */
    uint32_t generation;
    uint16_t epoch;
    struct bk_slice registration_key; /* BK_KEY_BYTES */
    struct bk_server_ports ports;
};

BK_NODISCARD enum bk_err bk_enrol_read(const struct bk_stun *m, struct bk_enrol *out);
BK_NODISCARD enum bk_err bk_enrol_write(uint8_t *buf, size_t cap,
                                        const uint8_t txid[BK_STUN_TXID_BYTES],
                                        const struct bk_enrol *in, struct bk_slice *out);
BK_NODISCARD enum bk_err bk_enrol_answer_read(const struct bk_stun *m, struct bk_enrol_answer *out);
BK_NODISCARD enum bk_err bk_enrol_answer_write(uint8_t *buf, size_t cap,
                                               const uint8_t txid[BK_STUN_TXID_BYTES],
                                               const struct bk_enrol_answer *in,
                                               struct bk_slice *out);

#endif
