/* Port mapping by UPnP-IGD, version 1 and 2, with miniupnpc. A call of it cannot be interrupted; each ends by
 * itself within seconds. */
#include "net/portmap_internal.h"

#include <stdio.h>
#include <string.h>

#include <miniupnpc/upnpcommands.h>
#include <miniupnpc/upnperrors.h>

enum {
    DISCOVER_MS =
        2600, /* a router that takes 2 s for this, and for each of the three steps after it, is done in 9 s */
    URL_BYTES = 256,
    CONFLICT_TRIES = 4,
    ERROR_CONFLICT = 718,       /* ConflictInMappingEntry */
    ERROR_PERMANENT_ONLY = 725, /* OnlyPermanentLeasesSupported */
};

void bk_portmap_igd_say_error(struct portmap_job *job, int error)
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
        bk_portmap_igd_say_error(job, err);
        return false;
    }
    struct bk_addr addr;
    if (bk_addr_parse(bk_slice_text(text), 1, &addr) != BK_OK) {
        bk_portmap_say(job, "router has no public address");
        return false;
    }
    return bk_portmap_take_address(job, &addr);
}

/* The description at `url`: true if it is a gateway's. */
static bool take_description(struct portmap_job *job, const char *url)
{
    bk_portmap_igd_leave(job);
    memset(&job->igd, 0, sizeof job->igd);
    job->urls_held =
        UPNP_GetIGDFromUrl(url, &job->urls, &job->igd, job->lan_ip, sizeof job->lan_ip) == 1;
    const char *type = job->igd.first.servicetype;
    if (!job->urls_held || strstr(type, ":WAN") == NULL || job->urls.controlURL == NULL) {
        return false;
    }
    size_t n = strlen(type);
    bool v2 = n > 2 && strcmp(type + n - 2, ":2") == 0;
    job->version = v2 ? "IGD 2" : "IGD 1";
    job->lets_v6_in = job->igd.IPv6FC.servicetype[0] != '\0';
    job->there = true;
    job->found_at = bk_clock_mono();
    return true;
}

bool bk_portmap_igd_find(struct portmap_job *job)
{
    char url[URL_BYTES];
    bool any = false, found = false;
    if (job->igd_url != NULL) {
        if (!take_description(job, job->igd_url)) {
            bk_portmap_say(job, "no Internet gateway at the given address");
            return false;
        }
        return true;
    }
    struct portmap_ssdp *s = bk_portmap_ssdp_new(job);
    if (s == NULL) {
        return false;
    }
    bk_time until = bk_time_add(bk_clock_mono(), DISCOVER_MS * BK_MS);
    while (!found && bk_portmap_ssdp_next(s, until, url, sizeof url)) {
        any = true;
        found = !bk_portmap_stopping(job) && take_description(job, url);
    }
    bk_portmap_ssdp_free(s);
    if (!found) {
        bk_portmap_say(job, any ? "no Internet gateway among the devices that answered"
                                : "no router answered");
    }
    return found;
}

/* Some describe two connections, of which one is not used. */
static bool take_second(struct portmap_job *job)
{
    char url[URL_BYTES];
    if (job->igd.second.servicetype[0] == '\0' || job->urls.rootdescURL == NULL ||
        strlen(job->urls.rootdescURL) >= sizeof url) {
        return false;
    }
    (void)snprintf(url, sizeof url, "%s", job->urls.rootdescURL);
    struct IGDdatas_service first = job->igd.first;
    job->igd.first = job->igd.second;
    job->igd.second = first;
    FreeUPNPUrls(&job->urls);
    GetUPNPUrls(&job->urls, &job->igd, url, 0);
    return job->urls.controlURL != NULL;
}

static bool find(struct portmap_job *job)
{
    return bk_portmap_igd_find(job) && (ask_address(job) || (take_second(job) && ask_address(job)));
}

/* One attempt: 0, or an error. On success job->external_port is what was granted. */
static int add(struct portmap_job *job, struct portmap_item *item, bool any)
{
    char wish[8], local[8], lease[16], granted[16] = "";
    (void)snprintf(wish, sizeof wish, "%u", (unsigned)item->external_port);
    (void)snprintf(local, sizeof local, "%u", (unsigned)item->local.port);
    (void)snprintf(lease, sizeof lease, "%u", (unsigned)item->lease_s);
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
        item->external_port = addr.port;
    }
    return err;
}

static bool map(struct portmap_job *job, struct portmap_item *item)
{
    if (item->held && !ask_address(job)) {
        return false;
    }
    const char *type = job->igd.first.servicetype;
    size_t n = strlen(type);
    bool renewing = item->held;
    bool any = !renewing && n > 2 && strcmp(type + n - 2, ":2") == 0;
    if (!renewing) {
        item->lease_s = job->lease_wish_s;
    }
    int err = add(job, item, any);
    for (int tries = 0; err > 0 && tries < CONFLICT_TRIES && !bk_portmap_stopping(job); tries++) {
        if (err == ERROR_PERMANENT_ONLY && item->lease_s != 0) {
            item->lease_s = 0;
        } else if (err == ERROR_CONFLICT && !renewing) {
            item->external_port = bk_portmap_random_port();
        } else if (any && err != ERROR_CONFLICT) {
            any = false; /* a router that announces version 2 and cannot do it */
        } else {
            break;
        }
        err = add(job, item, any);
    }
    if (err != UPNPCOMMAND_SUCCESS) {
        item->held = renewing || err < 0; /* perhaps: no answer came */
        bk_portmap_igd_say_error(job, err);
        return false;
    }
    item->held = true;
    item->external = job->outer;
    item->external.port = item->external_port;
    return true;
}

static void unmap(struct portmap_job *job, struct portmap_item *item)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)item->external_port);
    (void)UPNP_DeletePortMapping(job->urls.controlURL, job->igd.first.servicetype, port, "TCP",
                                 NULL);
}

void bk_portmap_igd_leave(struct portmap_job *job)
{
    if (job->urls_held) {
        FreeUPNPUrls(&job->urls);
        job->urls_held = false;
    }
}

const struct portmap_protocol bk_portmap_upnp = {BK_PORTMAP_UPNP, PORTMAP_MAPPING,     find, map,
                                                 unmap,           bk_portmap_igd_leave};
