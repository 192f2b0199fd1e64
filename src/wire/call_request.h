/* What the box of 217 and 226 holds, readable by the device alone: an attribute list (types of
 * wire/stun.h, no header, no padding of the list).
 *
 *   CALL-ID, EQUIPMENT-ID, TIME [, TAG], SERVICE, CANDIDATE × 1..8 [, ROUND-TRIP], CALL-KEY, REPLY-KEY, and
 *   PASSWORD, or CALLER-KEY and SIGNATURE: one of the two. SIGNATURE comes last and covers all that stands
 *   before it (seal/caller_key.h). */
#ifndef BK_WIRE_CALL_REQUEST_H
#define BK_WIRE_CALL_REQUEST_H

#include "wire/attrs.h"

enum {
    BK_CANDIDATES_MAX = 8,
    BK_PASSWORD_MAX_BYTES = 128,
    BK_SIGNATURE_BYTES = 64,
    BK_CALL_REQUEST_MAX_BYTES = 960, /* sealed it stays below BK_BOX_MAX_BYTES */
};

/* How the address came about (RFC 6544, section 4.1). The lower, the better. */
enum bk_candidate_kind {
    BK_CANDIDATE_HOST = 1,
    BK_CANDIDATE_MAPPED = 2,    /* granted by a router, or made by hand there */
    BK_CANDIDATE_REFLEXIVE = 3, /* as the server sees it: for simultaneous open alone */
    BK_CANDIDATE_RELAYED = 4,   /* on a TURN server (RFC 6062) */
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
    struct bk_slice service;  /* a name, or empty: none, the path is only measured */
    struct bk_slice password; /* empty where the caller signs */
    bool has_signature;
    uint8_t caller_key[BK_KEY_BYTES]; /* raw Ed25519 */
    uint8_t signature[BK_SIGNATURE_BYTES];
    struct bk_slice signed_text; /* reading: what the signature covers */
    size_t n_candidates;
    struct bk_candidate candidates[BK_CANDIDATES_MAX];
    uint16_t server_ms;              /* the caller's round trip to the server; 0: not known */
    uint8_t call_key[BK_KEY_BYTES];  /* SHA-256 of the call certificate's public key (SPKI) */
    uint8_t reply_key[BK_KEY_BYTES]; /* X25519 public key that RESULT is sealed to */
};

bool bk_candidate_kind_known(unsigned kind);
/* Puts one CANDIDATE; takes one: a kind that came later is passed over (`*n` stays), there may be others that we can
 * dial. `list` has room for BK_CANDIDATES_MAX. BK_E_MALFORMED. */
void bk_candidate_put(struct bk_stun_writer *s, const struct bk_candidate *c);
BK_NODISCARD enum bk_err bk_candidate_take(struct bk_slice value, struct bk_candidate *list,
                                           size_t *n);

/* BK_E_TRUNCATED besides what every reader returns; slices borrow from `plain`. The signature is read,
 * not checked. */
BK_NODISCARD enum bk_err bk_call_request_read(struct bk_slice plain, struct bk_call_request *out);
BK_NODISCARD enum bk_err bk_call_request_write(uint8_t *buf, size_t cap,
                                               const struct bk_call_request *in,
                                               struct bk_slice *out);
/* What the signature of a text just written, with any signature in it, has to cover; and putting the right
 * one in place. `text` is what bk_call_request_write gave, within `buf`. */
struct bk_slice bk_call_request_to_sign(struct bk_slice text);
void bk_call_request_set_signature(uint8_t *buf, struct bk_slice text,
                                   const uint8_t signature[BK_SIGNATURE_BYTES]);

#endif
