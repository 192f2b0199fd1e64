/* Port mapping by UPnP-IGD, version 1 and 2, with miniupnpc. A call of it cannot be interrupted; each ends by
 * itself within seconds. */
#include "net/portmap_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <miniupnpc/upnpcommands.h>
#include <miniupnpc/upnperrors.h>

#include "net/host.h"

enum {
    DISCOVER_MS = 1000,
    CONFLICT_TRIES = 4,
    ERROR_CONFLICT = 718,       /* ConflictInMappingEntry */
    ERROR_PERMANENT_ONLY = 725, /* OnlyPermanentLeasesSupported */
    RANDOM_PORT_FIRST = 20000,
    RANDOM_PORTS = 40000,
};

static void say_error(struct portmap_job *job, int error)
{
    const char *what = strupnperror(error);
    char text[BK_PORTMAP_REASON_BYTES];
    if (what != NULL) {
        (void)snprintf(text, sizeof text, "the router refused: %s (%d)", what, error);
    } else {
        (void)snprintf(text, sizeof text, "the router refused: error %d", error);
    }
    bk_portmap_say(job, text);
}

static bool ask_address(struct portmap_job *job)
{
    char text[64] = "";
    int err = UPNP_GetExternalIPAddress(job->urls.controlURL, job->igd.first.servicetype, text);
    if (err != UPNPCOMMAND_SUCCESS) {
        say_error(job, err);
        return false;
    }
    struct bk_addr addr;
    if (bk_addr_parse(bk_slice_text(text), 1, &addr) != BK_OK) {
        bk_portmap_say(job, "router has no public address");
        return false;
    }
    return bk_portmap_take_address(job, &addr);
}

/* Where multicast has no way out, miniupnpc would say so on standard error, past us. */
static bool can_look(struct portmap_job *job)
{
    const struct bk_addr group = bk_addr_v4(239, 255, 255, 250, 1900);
    struct bk_addr source;
    if (bk_host_source_toward(&group, &source) != BK_OK) {
        bk_portmap_say(job, "no network to look for a router in");
        return false;
    }
    return true;
}

static bool discover(struct portmap_job *job)
{
    /* A router of version 2 answers to 1 as well; asked for one after the other, a second each. */
    static const char *const types[] = {"urn:schemas-upnp-org:device:InternetGatewayDevice:1",
                                        "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
                                        NULL};
    int error = 0;
    struct UPNPDev *found =
        upnpDiscoverDevices(types, DISCOVER_MS, NULL, NULL, UPNP_LOCAL_PORT_ANY, 0, 2, &error, 0);
    if (found == NULL) {
        bk_portmap_say(job, "no router answered");
        return false;
    }
    int kind = bk_portmap_stopping(job) ? 0
                                        : UPNP_GetValidIGD(found, &job->urls, &job->igd,
                                                           job->lan_ip, sizeof job->lan_ip);
    freeUPNPDevlist(found);
    job->urls_held = kind != 0;
    if (kind != 1 && kind != 2) { /* 2: a gateway that is not connected, or has no public address */
        bk_portmap_say(job, "no Internet gateway among the devices that answered");
        return false;
    }
    return true;
}

static bool find(struct portmap_job *job)
{
    if (job->igd_url == NULL) {
        return can_look(job) && discover(job) && ask_address(job);
    }
    job->urls_held = UPNP_GetIGDFromUrl(job->igd_url, &job->urls, &job->igd, job->lan_ip,
                                        sizeof job->lan_ip) == 1;
    if (!job->urls_held) {
        bk_portmap_say(job, "no Internet gateway at the given address");
        return false;
    }
    return ask_address(job);
}

/* One attempt: 0, or an error. On success job->external_port is what was granted. */
static int add(struct portmap_job *job, bool any)
{
    char wish[8], local[8], lease[16], granted[16] = "";
    (void)snprintf(wish, sizeof wish, "%u", (unsigned)job->external_port);
    (void)snprintf(local, sizeof local, "%u", (unsigned)job->local_port);
    (void)snprintf(lease, sizeof lease, "%u", (unsigned)job->lease_s);
    const char *url = job->urls.controlURL, *type = job->igd.first.servicetype;
    if (!any) {
        return UPNP_AddPortMapping(url, type, wish, local, job->lan_ip, "Beckon", "TCP", NULL,
                                   lease);
    }
    int err = UPNP_AddAnyPortMapping(url, type, wish, local, job->lan_ip, "Beckon", "TCP", NULL,
                                     lease, granted);
    struct bk_addr addr;
    char text[20];
    (void)snprintf(text, sizeof text, ":%s", granted);
    if (err == UPNPCOMMAND_SUCCESS) {
        if (bk_addr_parse(bk_slice_text(text), 0, &addr) != BK_OK || addr.port == 0) {
            return UPNPCOMMAND_INVALID_RESPONSE;
        }
        job->external_port = addr.port;
    }
    return err;
}

static uint16_t random_port(void)
{
    uint16_t r = 0;
    (void)!getrandom(&r, sizeof r, GRND_NONBLOCK); /* any port will do */
    return (uint16_t)(RANDOM_PORT_FIRST + r % RANDOM_PORTS);
}

static bool map(struct portmap_job *job)
{
    if (job->held && !ask_address(job)) {
        return false;
    }
    const char *type = job->igd.first.servicetype;
    size_t n = strlen(type);
    bool any = !job->held && n > 2 && strcmp(type + n - 2, ":2") == 0;
    bool renewing = job->held;
    if (!renewing) {
        job->lease_s = job->lease_wish_s;
    }
    int err = add(job, any);
    for (int tries = 0; err > 0 && tries < CONFLICT_TRIES && !bk_portmap_stopping(job); tries++) {
        if (err == ERROR_PERMANENT_ONLY && job->lease_s != 0) {
            job->lease_s = 0;
        } else if (err == ERROR_CONFLICT && !renewing) {
            job->external_port = random_port();
        } else if (any && err != ERROR_CONFLICT) {
            any = false; /* a router that announces version 2 and cannot do it */
        } else {
            break;
        }
        err = add(job, any);
    }
    if (err != UPNPCOMMAND_SUCCESS) {
        say_error(job, err);
        return false;
    }
    job->held = true;
    job->external.port = job->external_port;
    return true;
}

static void unmap(struct portmap_job *job)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)job->external_port);
    (void)UPNP_DeletePortMapping(job->urls.controlURL, job->igd.first.servicetype, port, "TCP",
                                 NULL);
}

static void leave(struct portmap_job *job)
{
    if (job->urls_held) {
        FreeUPNPUrls(&job->urls);
        job->urls_held = false;
    }
}

const struct portmap_protocol bk_portmap_upnp = {"UPnP-IGD", find, map, unmap, leave};
