/* What this host knows of itself: its addresses, its gateways, its source address toward a target, and
 * when any of that changes. Without OpenSSL. */
#ifndef BK_NET_HOST_H
#define BK_NET_HOST_H

#include <event2/event.h>

#include "base/addr.h"

enum {
    BK_HOST_ADDRS_MAX = 64,
    BK_HOST_SETTLE_MS = 300, /* changes within this are told as one */
};

struct bk_host_addr {
    struct bk_addr addr;     /* port 0 */
    struct bk_prefix prefix; /* of its interface's network */
};

/* Addresses of interfaces that are up, loopback left out; at most `cap`, the rest is dropped. BK_E_IO */
BK_NODISCARD enum bk_err bk_host_addresses(struct bk_host_addr *out, size_t cap, size_t *n);
/* Next hops of the default routes, IPv4 first, at most `cap`; none where /proc is missing. Their number. */
size_t bk_host_gateways(struct bk_addr *out, size_t cap);
/* The IPv6 router: next hop of the first default route, and the index of its interface, without which a link-local
 * one cannot be reached. False: none. */
bool bk_host_gateway6(struct bk_addr *out, unsigned *interface);
/* The address that the kernel would send from; sends nothing. BK_E_NOTFOUND: no route. */
BK_NODISCARD enum bk_err bk_host_source_toward(const struct bk_addr *target,
                                               struct bk_addr *source);

/* Could it be reached, as far as this host's routes and addresses tell? */
bool bk_host_has_route(const struct bk_addr *target);
/* Keeps, in their order, the addresses that `has_route` has a word for; all of them where it has for none. Their number. */
size_t bk_host_keep_routed(struct bk_addr *addrs, size_t n,
                           bool (*has_route)(const struct bk_addr *target));

/* Calls `changed` once things have been quiet for BK_HOST_SETTLE_MS after a change of addresses or
 * routes. BK_E_IO: no netlink here; BK_E_NOMEM. */
struct bk_host_watch;
BK_NODISCARD enum bk_err bk_host_watch_new(struct event_base *base, void (*changed)(void *ctx),
                                           void *ctx, struct bk_host_watch **out);
void bk_host_watch_free(struct bk_host_watch *w);

#endif
