/* What the box of 217 and 226 holds, readable by the device alone: an attribute list (types of
 * wire/stun.h, no header, no padding of the list).
 *
 *   CALL-ID, EQUIPMENT-ID, TIME [, TAG], SERVICE, CANDIDATE × 1..8, CALL-KEY, REPLY-KEY, PASSWORD */
#ifndef BK_WIRE_CALL_REQUEST_H
#define BK_WIRE_CALL_REQUEST_H

#include "wire/attrs.h"

enum {
    BK_CANDIDATES_MAX = 8,
    BK_PASSWORD_MAX_BYTES = 128,
    BK_CALL_REQUEST_MAX_BYTES = 960, /* sealed it stays below BK_BOX_MAX_BYTES */
};

/* How the address came about (RFC 6544, section 4.1). */
enum bk_candidate_kind {
    BK_CANDIDATE_HOST = 1,
    BK_CANDIDATE_MAPPED = 2, /* granted by the caller's router, or made by hand */
};

struct bk_candidate {
    enum bk_candidate_kind kind;
    struct bk_addr addr;
};

struct bk_call_request {
    uint8_t call_id[BK_CALL_ID_BYTES];
    uint64_t equipment_id;
    uint64_t unix_s;
    bool has_tag;
    struct bk_tag tag;
    struct bk_slice service; /* a name, or empty: none, the path is only measured */
    struct bk_slice password;
    size_t n_candidates;
    struct bk_candidate candidates[BK_CANDIDATES_MAX];
    uint8_t call_key[BK_KEY_BYTES];  /* SHA-256 of the call certificate's public key (SPKI) */
    uint8_t reply_key[BK_KEY_BYTES]; /* X25519 public key that RESULT is sealed to */
};

/* BK_E_TRUNCATED besides what every reader returns; slices borrow from `plain`. */
BK_NODISCARD enum bk_err bk_call_request_read(struct bk_slice plain, struct bk_call_request *out);
BK_NODISCARD enum bk_err bk_call_request_write(uint8_t *buf, size_t cap,
                                               const struct bk_call_request *in,
                                               struct bk_slice *out);

#endif
