/* Finding where the device can call back. Told exactly once; whatever a router granted is taken back at the end. */
#include "lib/candidates.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/host.h"
#include "net/portmap.h"

enum {
    TEXT_BYTES = 400,
};

struct bk_candidates {
    bk_candidates_fn done;
    void *ctx;
    struct event *soon;
    struct bk_portmap *portmap;
    bool told;
    size_t n;
    struct bk_candidate list[BK_CANDIDATES_MAX];
};

static void add(struct bk_candidates *c, enum bk_candidate_kind kind, const struct bk_addr *addr)
{
    if (c->n < BK_CANDIDATES_MAX) {
        c->list[c->n++] = (struct bk_candidate){.kind = kind, .addr = *addr};
    }
}

/* The host's own public addresses; true if one is IPv4. */
static bool add_own(struct bk_candidates *c, uint16_t port)
{
    struct bk_host_addr addrs[BK_HOST_ADDRS_MAX];
    bool v4 = false;
    size_t n;

    if (bk_host_addresses(addrs, BK_HOST_ADDRS_MAX, &n) != BK_OK) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (bk_addr_scope(&addrs[i].addr) == BK_SCOPE_GLOBAL) {
            addrs[i].addr.port = port;
            add(c, BK_CANDIDATE_HOST, &addrs[i].addr);
            v4 = v4 || bk_addr_is_v4(&addrs[i].addr);
        }
    }
    return v4;
}

static void tell(struct bk_candidates *c, const char *text)
{
    c->told = true;
    c->done(c->ctx, c->list, c->n, text);
}

static void on_soon(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    tell(ctx, "");
}

static void on_portmap(void *ctx, const struct bk_portmap_result *result)
{
    struct bk_candidates *c = ctx;
    char text[TEXT_BYTES] = "";

    if (c->told) {
        return; /* a later change concerns the next call: this one has its session or its failure */
    }
    if (result->mapped) {
        add(c, BK_CANDIDATE_MAPPED, &result->external);
    } else {
        snprintf(text, sizeof text, "UPnP-IGD: %s; NAT-PMP: %s", result->upnp_reason,
                 result->natpmp_reason);
    }
    tell(c, text);
}

enum bk_err bk_candidates_new(struct event_base *base, uint16_t port,
                              const struct bk_addr *advertise, bk_candidates_fn done, void *ctx,
                              struct bk_candidates **out)
{
    struct bk_candidates *c = calloc(1, sizeof *c);
    struct bk_portmap_options options = {.local_port = port};
    struct timeval now = {0};
    enum bk_err err = BK_OK;

    if (c == NULL) {
        return BK_E_NOMEM;
    }
    c->done = done;
    c->ctx = ctx;
    if (advertise != NULL) {
        add(c, BK_CANDIDATE_MAPPED, advertise);
    } else if (!add_own(c, port)) {
        err = bk_portmap_new(base, &options, on_portmap, c, &c->portmap);
    }
    if (c->portmap == NULL && err == BK_OK) {
        c->soon = evtimer_new(base, on_soon, c);
        err = c->soon != NULL && evtimer_add(c->soon, &now) == 0 ? BK_OK : BK_E_NOMEM;
    }
    if (err != BK_OK) {
        bk_candidates_free(c);
        return err;
    }
    *out = c;
    return BK_OK;
}

void bk_candidates_free(struct bk_candidates *c)
{
    if (c == NULL) {
        return;
    }
    bk_portmap_free(c->portmap);
    if (c->soon != NULL) {
        event_free(c->soon);
    }
    free(c);
}

void bk_candidate_format(const struct bk_candidate *candidate, char *out, size_t cap)
{
    char addr[BK_ADDR_TEXT_BYTES];

    bk_addr_format(&candidate->addr, addr);
    snprintf(out, cap, "%s %s", candidate->kind == BK_CANDIDATE_HOST ? "host" : "mapped", addr);
}
