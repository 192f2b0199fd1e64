/* NOTIFY, packet 205: the server tells a device that someone calls.
 *
 *   request, first form   CALL-WAITING, TAG of the registration it goes to, integrity (16), FINGERPRINT
 *   request, fast form    CALL-WAITING, TAG, CALL-ID, BOX [, USER-NAME], integrity (16), FINGERPRINT: 226 in a datagram.
 *                         USER-NAME is XORed with HMAC-SHA-256(K, "beckon notify user 1" | transaction ID | CALL-ID |
 *                         block), block 0, 1. At most BK_STUN_DATAGRAM_MAX_BYTES
 *   success               [CALL-ID: the fast form's request is taken,] integrity (16), FINGERPRINT; sent at once, before
 *                         any other work. Without CALL-ID the device comes for its request by TLS. */
#ifndef BK_WIRE_NOTIFY_H
#define BK_WIRE_NOTIFY_H

#include "wire/attrs.h"

struct bk_notify {
    struct bk_tag tag;
    bool fast; /* the following are there */
    uint8_t call_id[BK_CALL_ID_BYTES];
    struct bk_slice box; /* 1 to BK_BOX_MAX_BYTES */
    struct bk_slice
        user; /* may be empty: a note for the device's log, not a fact; as read, in `user_text` */
    uint8_t user_text[BK_NAME_MAX_BYTES]; /* the reader's: what was read is not to be copied */
};

struct bk_notify_answer {
    bool taken; /* fast form: */
    uint8_t call_id[BK_CALL_ID_BYTES];
};

/* Both readers check fingerprint and integrity. BK_E_MALFORMED, BK_E_AUTH, BK_E_UNKNOWN_ATTR. */
BK_NODISCARD enum bk_err bk_notify_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                        struct bk_slice key, struct bk_notify *out);
BK_NODISCARD enum bk_err bk_notify_write(uint8_t *buf, size_t cap,
                                         const uint8_t txid[BK_STUN_TXID_BYTES],
                                         const struct bk_notify *in, const struct bk_mac_ops *mac,
                                         struct bk_slice key, struct bk_slice *out);
BK_NODISCARD enum bk_err bk_notify_answer_read(const struct bk_stun *m,
                                               const struct bk_mac_ops *mac, struct bk_slice key,
                                               struct bk_notify_answer *out);
BK_NODISCARD enum bk_err bk_notify_answer_write(uint8_t *buf, size_t cap,
                                                const uint8_t txid[BK_STUN_TXID_BYTES],
                                                const struct bk_notify_answer *in,
                                                const struct bk_mac_ops *mac, struct bk_slice key,
                                                struct bk_slice *out);

/* Transaction IDs of NOTIFY are 4 random bytes and 8 of their MAC under a key of the server's run, so that a worker
 * can tell an answer to one of ours from a flood before anybody else is bothered. */
void bk_notify_txid_make(const struct bk_mac_ops *mac, const uint8_t key[BK_KEY_BYTES],
                         const uint8_t random[4], uint8_t txid[BK_STUN_TXID_BYTES]);
bool bk_notify_txid_ours(const struct bk_mac_ops *mac, const uint8_t key[BK_KEY_BYTES],
                         const uint8_t txid[BK_STUN_TXID_BYTES]);

#endif
