/* Waits for the first bytes of an accepted connection and says what speaks there; takes none of them away. */
#ifndef BK_NET_FIRST_BYTES_H
#define BK_NET_FIRST_BYTES_H

#include <event2/event.h>

#include "net/client_hello.h"

enum bk_first_kind {
    BK_FIRST_PLAIN,   /* STUN, by its first byte (RFC 7983) */
    BK_FIRST_TLS,     /* anything else: TLS is to judge it */
    BK_FIRST_NOTHING, /* too late, or the peer went away */
};

struct bk_first_bytes;

/* Tells `done` once, from the loop, and is gone then. `name`: TLS's server name, or "". `left_ms` of `open_ms` are left.
 * BK_E_NOMEM. The descriptor stays the caller's. */
typedef void bk_first_bytes_fn(void *ctx, enum bk_first_kind kind, const char *name,
                               uint32_t left_ms);
BK_NODISCARD enum bk_err bk_first_bytes_new(struct event_base *base, int fd, uint32_t open_ms,
                                            bk_first_bytes_fn *done, void *ctx,
                                            struct bk_first_bytes **out);
/* Without `done`. NULL is fine. */
void bk_first_bytes_free(struct bk_first_bytes *f);

#endif
