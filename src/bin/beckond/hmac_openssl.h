/* OpenSSL's SHA-256 (SHA-NI where the processor has it) as the core's keyed hash. */
#ifndef BK_BECKOND_HMAC_OPENSSL_H
#define BK_BECKOND_HMAC_OPENSSL_H

#include "base/mac.h"

/* `hmac_sha1` is NULL. */
struct bk_mac_ops bk_mac_openssl(void);

#endif
