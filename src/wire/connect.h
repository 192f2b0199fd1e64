/* CONNECTION-REQUEST, packets 217 (requester to server) and 226 (server to device), over TLS.
 *
 *   request   EQUIPMENT-ID, CALL-ID, BOX [, USER-NAME on 226: whom the server says is calling; a
 *             note for the device's log, not a fact] [, OBSERVED-ADDRESS on 226: from where the device's
 *             connection comes, for the simultaneous open from its port]
 *   success   (bk_success_write) the device has it
 *   error     400, 404, 410, 480, 503 (bk_error_write) */
#ifndef BK_WIRE_CONNECT_H
#define BK_WIRE_CONNECT_H

#include "wire/attrs.h"

enum {
    BK_BOX_MAX_BYTES = 1024, /* so that NOTIFY with a box still fits one datagram */
};

struct bk_connect {
    uint64_t equipment_id;
    uint8_t call_id[BK_CALL_ID_BYTES];
    struct bk_slice box;
    struct bk_slice user; /* may be empty */
    bool has_observed;
    struct bk_addr observed;
};

BK_NODISCARD enum bk_err bk_connect_read(const struct bk_stun *m, struct bk_connect *out);
BK_NODISCARD enum bk_err bk_connect_write(uint8_t *buf, size_t cap,
                                          const uint8_t txid[BK_STUN_TXID_BYTES],
                                          const struct bk_connect *in, struct bk_slice *out);

#endif
