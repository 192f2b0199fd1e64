/* REGISTER, packet 201: a device tells the server where it can be reached, by UDP, or over TLS where UDP is blocked.
 *
 *   request   EQUIPMENT-ID, REGISTRATION, TAG [, NONCE], integrity (16), FINGERPRINT    88 bytes [+24]
 *   success   XOR-MAPPED-ADDRESS, TIME [, RENEW], integrity (16), FINGERPRINT; RENEW when the key is of
 *             an epoch that the operator is about to retire. At most 88 bytes
 *   438       ERROR-CODE without reason, NONCE, integrity (16), FINGERPRINT: nothing has changed;
 *             ask again with this nonce. 80 bytes: never larger than the request.
 *   403       the device is revoked; as 438 without the nonce
 *
 *   indication, device to server: the quiet keepalive, as the request without NONCE. Unanswered where it fits its row;
 *   indication, server to device: NONCE, integrity (16), FINGERPRINT, under the quiet keepalive's transaction ID: it did
 *             not fit; ask with this nonce. 72 bytes
 *
 * REGISTRATION carries how often the device means to be heard, in seconds (0: BK_REGISTER_INTERVAL_S): what has not been
 * heard for some four times as long is gone. All of it is keyed with the registration key; a wrong MAC is never
 * answered. */
#ifndef BK_WIRE_REGISTER_H
#define BK_WIRE_REGISTER_H

#include "wire/attrs.h"

enum {
    BK_NONCE_BYTES = 20, /* text: 15 bytes in base64url, never with RFC 8489's cookie prefix */
    BK_REGISTER_INTERVAL_S = 25,
    BK_REGISTER_INTERVAL_MAX_S = 300,
};

struct bk_register {
    bool quiet; /* the indication */
    uint64_t equipment_id;
    uint32_t generation;
    uint16_t epoch;
    uint16_t interval_s; /* 0, or up to BK_REGISTER_INTERVAL_MAX_S */
    struct bk_tag tag;
    struct bk_slice nonce; /* empty, or BK_NONCE_BYTES of text */
};

struct bk_register_answer {
    uint16_t code; /* 0 success, else an ERROR-CODE: then only `nonce` (438) means anything */
    struct bk_addr mapped;
    uint64_t unix_s;
    bool renew; /* success: the registration key is of an old epoch */
    struct bk_slice nonce;
};

/* Reads the fields without checking fingerprint or integrity: `generation` and `epoch` say which key
 * to check with. BK_E_MALFORMED, BK_E_UNKNOWN_ATTR. */
BK_NODISCARD enum bk_err bk_register_read(const struct bk_stun *m, struct bk_register *out);
BK_NODISCARD enum bk_err bk_register_write(uint8_t *buf, size_t cap,
                                           const uint8_t txid[BK_STUN_TXID_BYTES],
                                           const struct bk_register *in,
                                           const struct bk_mac_ops *mac, struct bk_slice key,
                                           struct bk_slice *out);
/* Reads and checks a response of either class, fingerprint and integrity included. BK_E_AUTH too. */
BK_NODISCARD enum bk_err bk_register_answer_read(const struct bk_stun *m,
                                                 const struct bk_mac_ops *mac, struct bk_slice key,
                                                 struct bk_register_answer *out);
BK_NODISCARD enum bk_err bk_register_answer_write(uint8_t *buf, size_t cap,
                                                  const uint8_t txid[BK_STUN_TXID_BYTES],
                                                  const struct bk_register_answer *in,
                                                  const struct bk_mac_ops *mac, struct bk_slice key,
                                                  struct bk_slice *out);

/* The server's answer to a quiet keepalive that does not fit. BK_E_MALFORMED, BK_E_AUTH. */
BK_NODISCARD enum bk_err bk_register_challenge_read(const struct bk_stun *m,
                                                    const struct bk_mac_ops *mac,
                                                    struct bk_slice key, struct bk_slice *nonce);
BK_NODISCARD enum bk_err bk_register_challenge_write(uint8_t *buf, size_t cap,
                                                     const uint8_t txid[BK_STUN_TXID_BYTES],
                                                     struct bk_slice nonce,
                                                     const struct bk_mac_ops *mac,
                                                     struct bk_slice key, struct bk_slice *out);

#endif
