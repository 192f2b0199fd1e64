/* Asks the router to let others in: a TCP mapping of its IPv4 address to a local port (PCP, NAT-PMP, UPnP-IGD 1
 * and 2), and pinholes in its IPv6 firewall to addresses of this host (PCP, UPnP-IGD 2). Renews them while they are
 * in use and removes them at the end. Works in threads of its own; the callback runs in the event base's.
 *
 * All protocols look for the router at once, but only one at a time asks for a mapping, PCP before NAT-PMP before
 * UPnP-IGD where several answer: routers keep one table for all, and taking back the loser's mapping would take the
 * winner's. Who is killed without a chance to clean up leaves what he holds until the lease ends; on a router that
 * gives leases without end only, for good. */
#ifndef BK_NET_PORTMAP_H
#define BK_NET_PORTMAP_H

#include <event2/event.h>

#include "base/addr.h"
#include "base/err.h"

enum bk_portmap_protocol {
    BK_PORTMAP_PCP,
    BK_PORTMAP_NATPMP,
    BK_PORTMAP_UPNP,
    BK_PORTMAP_PROTOCOLS,
};

enum {
    BK_PORTMAP_LEASE_S = 120, /* asked for; renewed at half of what was granted */
    BK_PORTMAP_WAIT_MS =
        9000, /* the first results come by then, whatever happens; mostly within 1 s */
    BK_PORTMAP_FREE_MS = 5000, /* bk_portmap_free takes at most so long */
    BK_PORTMAP_REASON_BYTES = 128,
    BK_PORTMAP_REASONS_BYTES = 512, /* all of them in one text */
    BK_PORTMAP_PINHOLES_MAX = 4,
};

struct bk_portmap;

/* "PCP", "NAT-PMP", "UPnP-IGD" */
const char *bk_portmap_name(enum bk_portmap_protocol protocol);

struct bk_portmap_result {
    bool pinhole; /* this is about the pinhole to `local`, not about the mapping */
    bool mapped;
    bool renewed; /* nothing has changed, its lease was renewed: a good moment to have it tried */
    bool remade;  /* the outcome of bk_portmap_doubt, or the router had forgotten it */
    bool settled; /* the mapping and all pinholes asked for have had their first result by now */
    struct bk_addr local;    /* pinhole: of this host, with the local port */
    struct bk_addr external; /* mapped: where it is reached; global scope, always */
    const char *protocol;    /* as bk_portmap_name; NULL if not mapped */
    uint32_t lease_s;        /* as granted; 0: without end (some routers know no other) */
    /* Not mapped: why not, a phrase for each protocol; "" for one that was not asked. Valid during the call. */
    const char *reasons[BK_PORTMAP_PROTOCOLS];
};

/* For the mapping and for each pinhole first exactly one result, within BK_PORTMAP_WAIT_MS; afterwards its renewals
 * and changes: another address or port, lost (not mapped), had again. What had a first result without a mapping
 * has no other. */
typedef void bk_portmap_fn(void *ctx, const struct bk_portmap_result *result);

struct bk_portmap_options {
    uint16_t local_port;    /* of the listener; not 0 */
    uint16_t external_port; /* wished for; 0: the same as the local one. Another may be granted. */
    bool no_pcp;
    bool no_natpmp;
    bool no_upnp;
    bool no_mapping; /* of the IPv4 address: pinholes only */
    /* Global IPv6 addresses of this host, ports do not count; copied, at most BK_PORTMAP_PINHOLES_MAX of them. */
    const struct bk_addr *pinholes;
    size_t n_pinholes;
    /* For tests and for users whose router is not found: */
    const char *igd_url; /* description URL, in place of discovery; NULL: discover. Copied. */
    struct bk_addr ssdp; /* where to look for it; all zero: the multicast group */
    /* For PCP and NAT-PMP, IPv4, in place of the default gateway; all zero: ask the system. */
    struct bk_addr natpmp_gateway;
    struct bk_addr pcp_gateway6; /* for pinholes; likewise. Port 0: PCP's. */
    uint32_t lease_s;            /* 0: BK_PORTMAP_LEASE_S */
};

/* The callback does not come before this returns. BK_E_NOMEM, BK_E_IO. */
BK_NODISCARD enum bk_err bk_portmap_new(struct event_base *base,
                                        const struct bk_portmap_options *options, bk_portmap_fn *cb,
                                        void *ctx, struct bk_portmap **out);

/* The owner found that nothing comes through `external` (of a result): it is deleted in the router and made anew, at
 * the second time with another port. The outcome is told as `remade`. Does nothing if it is not held. */
void bk_portmap_doubt(struct bk_portmap *p, const struct bk_addr *external);

/* Removes all it holds and ends the threads; waits for it, at most BK_PORTMAP_FREE_MS (a router that does not
 * answer keeps its mapping until the lease ends). No callback any more. May be called from the callback. NULL is fine. */
void bk_portmap_free(struct bk_portmap *p);

/* "PCP: no answer from the router; NAT-PMP: ..." of those that were asked; cut where `cap` ends. */
void bk_portmap_reasons(const struct bk_portmap_result *result, char *out, size_t cap);

/* ---- What there is, asked without leaving anything behind ---- */

struct bk_portmap_answer {
    const char *protocol; /* as bk_portmap_name */
    bool asked;
    bool there;           /* a router speaks it */
    bool has_address;     /* and told its outer address; PCP tells none without a mapping */
    struct bk_addr outer; /* of any scope: a private one means another NAT behind it */
    bool pinholes;        /* it can let IPv6 in as well */
    unsigned ms;          /* until it answered */
    const char *version;  /* "2", "IGD 1", ...; "" unknown */
    const char *reason;   /* why not there, or there but of no use; "" else */
};

struct bk_portmap_survey;
/* Once, when all have answered or BK_PORTMAP_WAIT_MS are over; one answer for each protocol, in their order. Texts are
 * valid during the call. May free the survey. */
typedef void bk_portmap_survey_fn(void *ctx,
                                  const struct bk_portmap_answer answers[BK_PORTMAP_PROTOCOLS]);

/* Of the options: which protocols, and where. BK_E_NOMEM, BK_E_IO. */
BK_NODISCARD enum bk_err bk_portmap_survey_new(struct event_base *base,
                                               const struct bk_portmap_options *options,
                                               bk_portmap_survey_fn *cb, void *ctx,
                                               struct bk_portmap_survey **out);
void bk_portmap_survey_free(struct bk_portmap_survey *s);

#endif
