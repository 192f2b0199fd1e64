/* Pinholes by UPnP-IGD 2 (WANIPv6FirewallControl:1), with miniupnpc: the router lets TCP in to an address and port of
 * ours, from anywhere. */
#include <stdio.h>
#include <string.h>

#include <miniupnpc/upnpcommands.h>

#include "net/portmap_internal.h"

#define TCP_NUMBER "6" /* here protocols go by their number */

static bool find(struct portmap_job *job)
{
    int on = 1, allowed = 1;
    if (!bk_portmap_igd_find(job)) {
        return false;
    }
    if (!job->lets_v6_in || job->urls.controlURL_6FC == NULL) {
        bk_portmap_say(job, "the router offers no openings for IPv6");
        return false;
    }
    int err = UPNP_GetFirewallStatus(job->urls.controlURL_6FC, job->igd.IPv6FC.servicetype, &on,
                                     &allowed);
    if (err == UPNPCOMMAND_SUCCESS && on == 0) {
        bk_portmap_say(job, "the router's IPv6 firewall is off");
        return false;
    }
    if (err == UPNPCOMMAND_SUCCESS && allowed == 0) {
        bk_portmap_say(job, "the router does not allow openings for IPv6");
        return false;
    }
    return true;
}

static bool map(struct portmap_job *job, struct portmap_item *item)
{
    char lease[16], port[8], ip[BK_ADDR_TEXT_BYTES];
    const char *url = job->urls.controlURL_6FC, *type = job->igd.IPv6FC.servicetype;
    (void)snprintf(lease, sizeof lease, "%u", (unsigned)job->lease_wish_s);
    (void)snprintf(port, sizeof port, "%u", (unsigned)item->local.port);
    bk_addr_format_ip(&item->local, ip);
    int err = UPNPCOMMAND_UNKNOWN_ERROR;
    if (item->held) {
        err = UPNP_UpdatePinhole(url, type, item->unique_id, lease);
    }
    if (err != UPNPCOMMAND_SUCCESS) { /* the router may have forgotten it */
        item->unique_id[0] = '\0';
        err =
            UPNP_AddPinhole(url, type, "empty", "0", ip, port, TCP_NUMBER, lease, item->unique_id);
    }
    if (err != UPNPCOMMAND_SUCCESS) {
        bk_portmap_igd_say_error(job, err);
        return false;
    }
    item->held = true;
    item->external = item->local;
    item->lease_s = job->lease_wish_s;
    return true;
}

static void unmap(struct portmap_job *job, struct portmap_item *item)
{
    (void)UPNP_DeletePinhole(job->urls.controlURL_6FC, job->igd.IPv6FC.servicetype,
                             item->unique_id);
}

const struct portmap_protocol bk_portmap_upnp6 = {BK_PORTMAP_UPNP, PORTMAP_PINHOLES,    find, map,
                                                  unmap,           bk_portmap_igd_leave};
