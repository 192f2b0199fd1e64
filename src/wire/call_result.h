/* What the box of RESULT holds, readable by the requester alone: an attribute list.
 *
 *   CALL-ID, STATUS, TAG (the device's current one), TIME (its clock, 0 if it trusts none)
 *   [, CANDIDATE × 1..8, ROUND-TRIP]: with ACCEPTED, which may come again with further candidates of the device */
#ifndef BK_WIRE_CALL_RESULT_H
#define BK_WIRE_CALL_RESULT_H

#include "wire/call_request.h"

enum {
    BK_CALL_RESULT_MAX_BYTES = 96 + BK_CANDIDATES_MAX * 24 + 8,
};

enum bk_call_status {
    BK_CALL_ACCEPTED = 0,   /* authenticated; the device dials now */
    BK_CALL_STALE = 1,      /* not fresh: seal once more with the tag and time given here */
    BK_CALL_REFUSED = 2,    /* password wrong */
    BK_CALL_BACK_OFF = 3,   /* too many wrong passwords lately; not even looked at */
    BK_CALL_NO_SERVICE = 4, /* authenticated, but there is no such service */
    BK_CALL_NO_ANSWER = 5,  /* no candidate answered, or none was within policy: never told apart */
    BK_CALL_BUSY = 6,       /* too many calls at once */
};

struct bk_call_result {
    uint8_t call_id[BK_CALL_ID_BYTES];
    enum bk_call_status status;
    struct bk_tag tag;
    uint64_t unix_s;
    size_t
        n_candidates; /* ACCEPTED: where the caller may dial the device, or meet it (REFLEXIVE) */
    struct bk_candidate candidates[BK_CANDIDATES_MAX];
    uint16_t server_ms; /* the device's round trip to the server; 0: not known */
};

/* BK_E_TRUNCATED besides what every reader returns. */
BK_NODISCARD enum bk_err bk_call_result_read(struct bk_slice plain, struct bk_call_result *out);
BK_NODISCARD enum bk_err bk_call_result_write(uint8_t *buf, size_t cap,
                                              const struct bk_call_result *in,
                                              struct bk_slice *out);

#endif
