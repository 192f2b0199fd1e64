/* SOCKS5 (RFC 1928) as far as a local client needs it to name a service: CONNECT, without authentication, to a domain name
 * that is the service's. Listens on loopback by default; whoever reaches it may use the call. */
#ifndef BK_LIB_SOCKS_H
#define BK_LIB_SOCKS_H

#include <event2/event.h>

#include "base/err.h"
#include "wire/attrs.h"

enum {
    BK_SOCKS_MS = 10000, /* from accept to a whole request */
};

/* REP, RFC 1928, section 6. */
enum bk_socks_reply {
    BK_SOCKS_SUCCEEDED = 0,
    BK_SOCKS_FAILURE = 1,
    BK_SOCKS_NOT_ALLOWED = 2,
    BK_SOCKS_HOST_UNREACHABLE = 4,
    BK_SOCKS_COMMAND = 7,
    BK_SOCKS_ADDRESS_TYPE = 8,
};

struct bk_socks;

/* `fd` is the caller's from then on, and he owes the client a reply; the negotiation is over and freed. fd -1: it came to
 * nothing, and the client has been told. */
typedef void bk_socks_fn(void *ctx, struct bk_socks *socks, int fd, const char *service);

/* Takes `fd`, a non-blocking socket, also on failure. The callback comes later, once. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_socks_new(struct event_base *base, int fd, bk_socks_fn *done, void *ctx,
                                      struct bk_socks **out);
/* Before the callback. Closes the descriptor. NULL is fine. */
void bk_socks_free(struct bk_socks *s);

/* Sends a reply; the few bytes always fit a socket on which nothing was sent before. */
void bk_socks_answer(int fd, enum bk_socks_reply reply);

#endif
