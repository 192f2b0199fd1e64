/* What both ends of a call must agree on beside the messages. */
#ifndef BK_LIB_NAMES_H
#define BK_LIB_NAMES_H

#include "wire/alpn.h"
#include "wire/attrs.h"

enum {
    BK_CALL_NAME_BYTES = 48,
};

/* The TLS server name of a call: 32 hexadecimal digits of SHA-256("beckon call name 1" | call ID), and
 * ".call.invalid". It selects the call's key and gives nothing of the ID away. */
void bk_call_name(const uint8_t call_id[BK_CALL_ID_BYTES], char out[BK_CALL_NAME_BYTES]);

#endif
