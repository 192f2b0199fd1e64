/* Names to addresses, without blocking: literals at once, names by /etc/hosts and the name servers of
 * /etc/resolv.conf (libevent's evdns). Without a usable resolv.conf literals and /etc/hosts still work and
 * other names fail at once. Without OpenSSL. */
#ifndef BK_NET_RESOLVE_H
#define BK_NET_RESOLVE_H

#include <event2/event.h>

#include "base/addr.h"

enum {
    BK_RESOLVE_MAX = 16, /* addresses told */
    BK_RESOLVE_MS = 5000,
};

struct bk_resolver;
struct bk_resolve; /* one question under way */

/* err BK_OK: n >= 1 addresses, IPv6 and IPv4 alternating as RFC 8305 wants; else n is 0 and `text` is one
 * plain phrase: BK_E_NOTFOUND (no such name), BK_E_IO (no name server), BK_E_TIMEOUT. */
typedef void (*bk_resolved_fn)(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                               const char *text);

/* BK_E_NOMEM */
BK_NODISCARD enum bk_err bk_resolver_new(struct event_base *base, struct bk_resolver **out);
/* Questions under way are dropped without a callback. NULL is fine; not within a callback. */
void bk_resolver_free(struct bk_resolver *r);

/* `host`: a name, an IPv4 literal, an IPv6 literal with or without brackets. The callback comes later, from
 * the loop, exactly once, unless cancelled. BK_E_MALFORMED: no host at all or above 255 bytes; BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_resolve_start(struct bk_resolver *r, const char *host, uint16_t port,
                                          bk_resolved_fn done, void *ctx, struct bk_resolve **out);
/* No callback after this. Only for questions that were not answered yet. */
void bk_resolve_cancel(struct bk_resolve *q);

#endif
