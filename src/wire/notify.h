/* NOTIFY, packet 205: the server tells a device that someone calls.
 *
 *   request   CALL-WAITING, TAG of the registration it goes to, integrity (16), FINGERPRINT
 *   success   integrity (16), FINGERPRINT; sent at once, before any other work
 *
 * First form: nothing else, nothing secret. (The fast form will carry the BOX besides.) */
#ifndef BK_WIRE_NOTIFY_H
#define BK_WIRE_NOTIFY_H

#include "wire/attrs.h"

/* Both readers check fingerprint and integrity. BK_E_MALFORMED, BK_E_AUTH, BK_E_UNKNOWN_ATTR. */
BK_NODISCARD enum bk_err bk_notify_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                        struct bk_slice key, struct bk_tag *tag);
BK_NODISCARD enum bk_err bk_notify_write(uint8_t *buf, size_t cap,
                                         const uint8_t txid[BK_STUN_TXID_BYTES],
                                         const struct bk_tag *tag, const struct bk_mac_ops *mac,
                                         struct bk_slice key, struct bk_slice *out);
BK_NODISCARD enum bk_err bk_notify_answer_read(const struct bk_stun *m,
                                               const struct bk_mac_ops *mac, struct bk_slice key);
BK_NODISCARD enum bk_err bk_notify_answer_write(uint8_t *buf, size_t cap,
                                                const uint8_t txid[BK_STUN_TXID_BYTES],
                                                const struct bk_mac_ops *mac, struct bk_slice key,
                                                struct bk_slice *out);

#endif
