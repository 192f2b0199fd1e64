/* REGISTER read and answered at the rate that a busy server needs: the same messages as in wire/register.h, byte for byte, read
 * only in the one layout that bk_register_write gives them. What these functions take and give is what the general ones
 * would; what they do not take, the general ones may. */
#ifndef BK_WIRE_REGISTER_QUICK_H
#define BK_WIRE_REGISTER_QUICK_H

#include "wire/register.h"

enum {
    BK_REGISTER_QUICK_MAX_BYTES = 128, /* room for any answer */
};

/* True if `bytes` is a whole REGISTER, request or quiet keepalive, in that layout: then bk_stun_read and bk_register_read
 * take it too, and yield the same. Neither fingerprint nor integrity is checked. */
bool bk_register_quick_read(struct bk_slice bytes, struct bk_register *out);
/* Of bytes that were taken. */
bool bk_register_quick_fingerprint(struct bk_slice bytes);
bool bk_register_quick_integrity(struct bk_slice bytes, const struct bk_mac_ops *mac,
                                 const struct bk_mac_key *key);

/* The device that a datagram would belong to if it were one of the messages that name theirs first (REGISTER, PROBE,
 * RESULT as we write them); 0: none. For looking ahead only: nothing else of it is looked at. */
uint64_t bk_register_quick_device(struct bk_slice bytes);

/* The answers. How many bytes were written. Only `code`, `renew`, `mapped`, `unix_s` and `nonce` of `in` as
 * bk_register_answer_write would; the nonce, if any, has its size. */
size_t bk_register_quick_answer(uint8_t buf[BK_REGISTER_QUICK_MAX_BYTES],
                                const uint8_t txid[BK_STUN_TXID_BYTES],
                                const struct bk_register_answer *in, const struct bk_mac_ops *mac,
                                const struct bk_mac_key *key);
size_t bk_register_quick_challenge(uint8_t buf[BK_REGISTER_QUICK_MAX_BYTES],
                                   const uint8_t txid[BK_STUN_TXID_BYTES],
                                   const uint8_t nonce[BK_NONCE_BYTES],
                                   const struct bk_mac_ops *mac, const struct bk_mac_key *key);

#endif
