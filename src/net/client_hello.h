/* The server name in a TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3), for those who pass a connection on by it without
 * speaking TLS themselves. Reads the first record only, allocates nothing, never reads past what it was given. */
#ifndef BK_NET_CLIENT_HELLO_H
#define BK_NET_CLIENT_HELLO_H

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_CLIENT_HELLO_MAX_BYTES = 2560, /* a record longer than that is not waited for */
    BK_CLIENT_HELLO_NAME_BYTES = 254, /* with terminator */
};

/* `got` is what has come so far. BK_OK: `name` is the server name, "" where none is given. BK_E_TRUNCATED: wait for more.
 * BK_E_MALFORMED: no ClientHello, or none that fits into a record of that size, or a name of other than printable
 * characters; TLS itself is to judge it. */
BK_NODISCARD enum bk_err bk_client_hello_name(struct bk_slice got,
                                              char name[BK_CLIENT_HELLO_NAME_BYTES]);

#endif
