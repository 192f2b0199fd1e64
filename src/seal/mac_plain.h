/* HMAC-SHA-256 for the idle agent, which carries no crypto library. */
#ifndef BK_SEAL_MAC_PLAIN_H
#define BK_SEAL_MAC_PLAIN_H

#include "base/mac.h"

/* Slower than libsodium's and OpenSSL's, with the same results; `hmac_sha1` is NULL. */
struct bk_mac_ops bk_mac_plain(void);

#endif
