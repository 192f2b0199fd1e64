/* OpenSSL's MD5 and HMAC-SHA-1, for TURN. */
#ifndef BK_NET_TURN_OPS_H
#define BK_NET_TURN_OPS_H

#include "base/turn_ops.h"

struct bk_turn_ops bk_turn_openssl(void);

#endif
