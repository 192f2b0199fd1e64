/* WATCH: a device with a call that is up asks, over TLS with its certificate (BK_ALPN_WATCH), whether the caller
 * may still call it, and keeps the connection. When grants change the server closes the connection; the device asks
 * again, and ends the call if the answer is an error. A server that cannot be reached ends no call.
 *
 *   request   USER-NAME as 226 named it
 *   success   (bk_success_write)
 *   error     400, 403 (the device is revoked), 404 (user unknown, revoked or not granted), 410, 503 (ask again later) */
#ifndef BK_WIRE_WATCH_H
#define BK_WIRE_WATCH_H

#include "wire/attrs.h"

struct bk_watch {
    struct bk_slice user;
};

BK_NODISCARD enum bk_err bk_watch_read(const struct bk_stun *m, struct bk_watch *out);
BK_NODISCARD enum bk_err bk_watch_write(uint8_t *buf, size_t cap,
                                        const uint8_t txid[BK_STUN_TXID_BYTES],
                                        const struct bk_watch *in, struct bk_slice *out);

#endif
