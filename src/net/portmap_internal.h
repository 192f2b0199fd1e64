/* Between a port mapping (portmap.c) and the two protocols. Nobody else includes it. */
#ifndef BK_NET_PORTMAP_INTERNAL_H
#define BK_NET_PORTMAP_INTERNAL_H

#include <natpmp.h>

#include <miniupnpc/miniupnpc.h>

#include "net/clock.h"
#include "net/portmap.h"

struct portmap_shared;

/* What one protocol works on, in a thread of its own. */
struct portmap_job {
    struct portmap_shared *shared;
    size_t index;
    /* What is wanted; constant. */
    uint16_t local_port;
    uint32_t lease_wish_s;
    char *igd_url; /* or NULL */
    struct bk_addr gateway;
    /* Where it stands. */
    uint16_t external_port; /* to ask for, at first; then as granted */
    bool held;              /* there is a mapping in the router, perhaps */
    struct bk_addr external;
    uint32_t lease_s;
    char reason[BK_PORTMAP_REASON_BYTES]; /* why the last step failed */
    /* The protocols' own. */
    natpmp_t natpmp;
    bool natpmp_open;
    struct UPNPUrls urls;
    struct IGDdatas igd;
    bool urls_held;
    char lan_ip[64];
};

struct portmap_protocol {
    const char *name;
    /* Finds the router and its address (job->external, global); false: job->reason says why not. */
    bool (*find)(struct portmap_job *job);
    /* Asks for the mapping, or renews it; looks at the address again when renewing. */
    bool (*map)(struct portmap_job *job);
    void (*unmap)(struct portmap_job *job);
    void (*leave)(struct portmap_job *job);
};

extern const struct portmap_protocol bk_portmap_upnp;
extern const struct portmap_protocol bk_portmap_natpmp;

bool bk_portmap_stopping(struct portmap_job *job);
void bk_portmap_say(struct portmap_job *job, const char *reason);
/* The router's outer address: kept if it can be reached from anywhere; false and a reason else. */
bool bk_portmap_take_address(struct portmap_job *job, const struct bk_addr *addr);

#endif
