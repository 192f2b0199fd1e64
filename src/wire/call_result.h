/* What the box of RESULT holds, readable by the requester alone: an attribute list.
 *
 *   CALL-ID, STATUS, TAG (the device's current one), TIME (its clock, 0 if it trusts none) */
#ifndef BK_WIRE_CALL_RESULT_H
#define BK_WIRE_CALL_RESULT_H

#include "wire/attrs.h"

enum {
    BK_CALL_RESULT_MAX_BYTES = 96,
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
};

/* BK_E_TRUNCATED besides what every reader returns. */
BK_NODISCARD enum bk_err bk_call_result_read(struct bk_slice plain, struct bk_call_result *out);
BK_NODISCARD enum bk_err bk_call_result_write(uint8_t *buf, size_t cap,
                                              const struct bk_call_result *in,
                                              struct bk_slice *out);

#endif
