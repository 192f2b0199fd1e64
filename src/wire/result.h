/* RESULT: what the device made of a request, device → server → requester. BOX holds a sealed bk_call_result
 * (wire/call_result.h); the server can only drop it.
 *
 *   indication            CALL-ID, BOX. Over TLS, both ways
 *   request, by UDP       EQUIPMENT-ID, REGISTRATION, CALL-ID, BOX, integrity (16), FINGERPRINT: of a call that came in the
 *                         fast form; from anywhere, as often as need be
 *   success, by UDP       integrity (16), FINGERPRINT: passed on, or of no use any more */
#ifndef BK_WIRE_RESULT_H
#define BK_WIRE_RESULT_H

#include "wire/attrs.h"

struct bk_result {
    uint8_t call_id[BK_CALL_ID_BYTES];
    struct bk_slice box;
};

BK_NODISCARD enum bk_err bk_result_read(const struct bk_stun *m, struct bk_result *out);
BK_NODISCARD enum bk_err bk_result_write(uint8_t *buf, size_t cap,
                                         const uint8_t txid[BK_STUN_TXID_BYTES],
                                         const struct bk_result *in, struct bk_slice *out);

/* The request by UDP. `interval_s` of REGISTRATION is 0. */
struct bk_result_datagram {
    uint64_t equipment_id;
    uint32_t generation;
    uint16_t epoch;
    struct bk_result result;
};

/* Reads the fields without checking fingerprint or integrity, as bk_register_read does. BK_E_MALFORMED, BK_E_UNKNOWN_ATTR. */
BK_NODISCARD enum bk_err bk_result_datagram_read(const struct bk_stun *m,
                                                 struct bk_result_datagram *out);
BK_NODISCARD enum bk_err bk_result_datagram_write(uint8_t *buf, size_t cap,
                                                  const uint8_t txid[BK_STUN_TXID_BYTES],
                                                  const struct bk_result_datagram *in,
                                                  const struct bk_mac_ops *mac, struct bk_slice key,
                                                  struct bk_slice *out);
/* BK_E_MALFORMED, BK_E_AUTH, BK_E_UNKNOWN_ATTR. */
BK_NODISCARD enum bk_err bk_result_answer_read(const struct bk_stun *m,
                                               const struct bk_mac_ops *mac, struct bk_slice key);
BK_NODISCARD enum bk_err bk_result_answer_write(uint8_t *buf, size_t cap,
                                                const uint8_t txid[BK_STUN_TXID_BYTES],
                                                const struct bk_mac_ops *mac, struct bk_slice key,
                                                struct bk_slice *out);

#endif
