/* Datagrams on a stream: capsules (RFC 9297, section 3.2) that hold UDP payloads (RFC 9298, section 5), each a type, a
 * length, a context ID of 0, and the bytes of one datagram. Other capsules, and datagrams of other contexts, mean
 * nothing and are passed over. Allocates nothing. */
#ifndef BK_LIB_CAPSULE_H
#define BK_LIB_CAPSULE_H

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_CAPSULE_HEAD_BYTES = 6,        /* at most, before a payload that we send */
    BK_CAPSULE_UDP_MAX_BYTES = 65527, /* a UDP payload, RFC 9298, section 5 */
};

/* What goes before a payload of `n` bytes, at most BK_CAPSULE_UDP_MAX_BYTES; how many bytes that is. */
size_t bk_capsule_head(size_t n, uint8_t out[BK_CAPSULE_HEAD_BYTES]);

/* Taking a stream apart. Zero it to begin. */
struct bk_capsules {
    enum { BK_CAPSULE_TYPE, BK_CAPSULE_LENGTH, BK_CAPSULE_VALUE } at;
    uint8_t number[8]; /* a variable-length integer (RFC 9000, section 16) that has begun */
    size_t number_n;
    uint64_t type, left; /* of the capsule at hand; bytes of its value still to come */
    size_t n;
    uint8_t value[BK_CAPSULE_UDP_MAX_BYTES + 8]; /* of a datagram: context ID and payload */
};

/* Takes up to one datagram out of `*bytes`, which moves on; true: `*payload` holds one, until the next use. False: all bytes
 * are taken, or `*err` says that this is no stream of capsules (BK_E_MALFORMED). */
bool bk_capsules_take(struct bk_capsules *c, struct bk_slice *bytes, struct bk_slice *payload,
                      enum bk_err *err);

#endif
