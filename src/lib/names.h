/* What both ends of our TLS connections must agree on. */
#ifndef BK_LIB_NAMES_H
#define BK_LIB_NAMES_H

#include "wire/attrs.h"

#define BK_ALPN_REQUEST "beckon-request/1"  /* requester to server */
#define BK_ALPN_AGENT "beckon-agent/1"      /* agent to server */
#define BK_ALPN_JOIN "beckon-join/1"        /* enrolment */
#define BK_ALPN_CALL "beckon-call/1"        /* end to end */

enum {
    BK_CALL_NAME_BYTES = 48,
};

/* The TLS server name of a call: 32 hexadecimal digits of SHA-256("beckon call name 1" | call ID), and
 * ".call.invalid". It selects the call's key and gives nothing of the ID away. */
void bk_call_name(const uint8_t call_id[BK_CALL_ID_BYTES], char out[BK_CALL_NAME_BYTES]);

#endif
