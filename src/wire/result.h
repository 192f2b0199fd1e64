/* RESULT, an indication: what the device made of a request, device → server → requester over TLS.
 * BOX holds a sealed bk_call_result (wire/call_result.h); the server can only drop it. */
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

#endif
