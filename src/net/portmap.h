/* Asks the router for a TCP mapping to a local port, by UPnP-IGD and NAT-PMP side by side, renews it while
 * it is in use and removes it at the end. Works in threads of its own; the callback runs in the event base's.
 *
 * Both protocols look for the router at once, but only one at a time asks for a mapping (the first that has
 * found a router with a public address): routers keep one table for both, and taking back the loser's
 * mapping would take the winner's. */
#ifndef BK_NET_PORTMAP_H
#define BK_NET_PORTMAP_H

#include <event2/event.h>

#include "base/addr.h"
#include "base/err.h"

enum {
    BK_PORTMAP_LEASE_S = 120,  /* asked for; renewed at half of what was granted */
    BK_PORTMAP_WAIT_MS = 5000, /* the first callback comes by then, whatever happens */
    BK_PORTMAP_FREE_MS = 5000, /* bk_portmap_free takes at most so long */
    BK_PORTMAP_REASON_BYTES = 128,
};

struct bk_portmap;

struct bk_portmap_result {
    bool mapped;
    struct bk_addr external; /* where the mapping is reached; global scope, always */
    const char *protocol;    /* "UPnP-IGD" or "NAT-PMP"; NULL if not mapped */
    uint32_t lease_s;        /* as granted; 0: without end (some routers know no other) */
    /* Not mapped: why not, a phrase for each protocol; "" for one that was not asked. Valid during the call. */
    const char *upnp_reason;
    const char *natpmp_reason;
};

/* First exactly one result, within BK_PORTMAP_WAIT_MS; afterwards only changes: another address or port, the
 * mapping lost (not mapped), or had again. After a first result without a mapping nothing more follows. */
typedef void bk_portmap_fn(void *ctx, const struct bk_portmap_result *result);

struct bk_portmap_options {
    uint16_t local_port;    /* of the listener; not 0 */
    uint16_t external_port; /* wished for; 0: the same as the local one. Another may be granted. */
    bool no_upnp;
    bool no_natpmp;
    /* For tests and for users whose router is not found: */
    const char *igd_url; /* description URL, in place of discovery; NULL: discover. Copied. */
    /* IPv4, in place of the default gateway; all zero: ask the system. */
    struct bk_addr natpmp_gateway;
    uint32_t lease_s; /* 0: BK_PORTMAP_LEASE_S */
};

/* The callback does not come before this returns. BK_E_NOMEM, BK_E_IO. */
BK_NODISCARD enum bk_err bk_portmap_new(struct event_base *base,
                                        const struct bk_portmap_options *options, bk_portmap_fn *cb,
                                        void *ctx, struct bk_portmap **out);

/* Removes the mapping and ends the threads; waits for it, at most BK_PORTMAP_FREE_MS (a router that does not
 * answer keeps its mapping until the lease ends). No callback any more. May be called from the callback. NULL is fine. */
void bk_portmap_free(struct bk_portmap *p);

#endif
