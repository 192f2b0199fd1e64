/* Finding where the device can call back. What a router granted is taken back at the end, and kept while our place in
 * the network stays the same: its own addresses and gateways. */
#include "lib/candidates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/host.h"
#include "net/portmap.h"

enum {
    GATEWAYS_MAX = 4,
};

/* What a port mapping depends on. */
struct place {
    size_t n_gateways, n_v6;
    struct bk_addr gateways[GATEWAYS_MAX], v6[BK_PORTMAP_PINHOLES_MAX];
    struct bk_addr source; /* towards the first gateway */
    bool public_v4;        /* an address of ours is public: there is no router to ask */
};

struct bk_candidates {
    struct event_base *base;
    struct bk_candidates_config config;
    struct bk_addr advertise;
    struct event *soon;
    struct bk_portmap *portmap;
    struct place asked_at; /* by the portmap */
    bool settled;          /* it has had its first results */
    bool mapped;
    struct bk_addr external;
    bool gathering; /* MAPPING has not been told as gathered */
    char why[BK_PORTMAP_REASONS_BYTES];
};

static void tell(struct bk_candidates *c, enum bk_candidate_kind kind, const struct bk_addr *addr)
{
    struct bk_candidate candidate = {.kind = kind, .addr = *addr};

    c->config.on.candidate(c->config.on.ctx, &candidate);
}

static void tell_gathered(struct bk_candidates *c, enum bk_candidate_kind kind, const char *why)
{
    if (kind == BK_CANDIDATE_MAPPED) {
        c->gathering = false;
    }
    c->config.on.gathered(c->config.on.ctx, kind, why);
}

/* Is this one where our listener listens, and may others have a use for it? */
static bool usable(const struct bk_candidates *c, const struct bk_addr *a)
{
    enum bk_addr_scope scope = bk_addr_scope(a), listening = bk_addr_scope(&c->config.listening);

    return (scope == BK_SCOPE_GLOBAL || scope == BK_SCOPE_PRIVATE) &&
           (listening == BK_SCOPE_UNSPECIFIED || bk_addr_same_ip(a, &c->config.listening));
}

/* Public addresses first: they are of use to every device; the others to one in the same network alone. */
static size_t own_addresses(const struct bk_candidates *c, struct bk_addr out[BK_HOST_ADDRS_MAX])
{
    struct bk_host_addr all[BK_HOST_ADDRS_MAX];
    size_t n_all, n = 0;

    if (bk_host_addresses(all, BK_HOST_ADDRS_MAX, &n_all) != BK_OK) {
        return 0;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < n_all; i++) {
            if (usable(c, &all[i].addr) &&
                (bk_addr_scope(&all[i].addr) == BK_SCOPE_GLOBAL) == (pass == 0)) {
                out[n] = all[i].addr;
                out[n++].port = c->config.listening.port;
            }
        }
    }
    return n;
}

static void look_around(const struct bk_addr *own, size_t n, struct place *out)
{
    *out = (struct place){0};
    out->n_gateways = bk_host_gateways(out->gateways, GATEWAYS_MAX);
    if (out->n_gateways > 0 && bk_host_source_toward(&out->gateways[0], &out->source) != BK_OK) {
        out->source = (struct bk_addr){0};
    }
    out->source.port = 0;
    for (size_t i = 0; i < n; i++) {
        if (bk_addr_scope(&own[i]) != BK_SCOPE_GLOBAL) {
            continue;
        }
        if (bk_addr_is_v4(&own[i])) {
            out->public_v4 = true;
        } else if (out->n_v6 < BK_PORTMAP_PINHOLES_MAX) {
            out->v6[out->n_v6++] = own[i];
        }
    }
}

static bool same_list(const struct bk_addr *a, size_t n_a, const struct bk_addr *b, size_t n_b)
{
    bool same = n_a == n_b;

    for (size_t i = 0; i < n_a && same; i++) {
        same = bk_addr_equal(&a[i], &b[i]);
    }
    return same;
}

static bool same_place(const struct place *a, const struct place *b)
{
    return same_list(a->gateways, a->n_gateways, b->gateways, b->n_gateways) &&
           same_list(a->v6, a->n_v6, b->v6, b->n_v6) && bk_addr_equal(&a->source, &b->source) &&
           a->public_v4 == b->public_v4;
}

static void note(struct bk_candidates *c, const struct bk_portmap_result *result)
{
    char text[BK_PORTMAP_REASONS_BYTES + 100], addr[BK_ADDR_TEXT_BYTES],
        why[BK_PORTMAP_REASONS_BYTES];
    const char *what = result->pinhole ? "pinhole to" : "mapping";

    bk_addr_format(result->pinhole ? &result->local : &result->external, addr);
    if (result->mapped) {
        (void)snprintf(text, sizeof text, "%s %s: %s by %s, for %u s", what, addr,
                       result->renewed  ? "renewed"
                       : result->remade ? "made anew"
                                        : "granted",
                       result->protocol, (unsigned)result->lease_s);
    } else {
        bk_portmap_reasons(result, why, sizeof why);
        (void)snprintf(text, sizeof text, "%s%s%s: none (%s)", what, result->pinhole ? " " : "",
                       result->pinhole ? addr : "", why);
    }
    c->config.on.note(c->config.on.ctx, text);
}

static void on_portmap(void *ctx, const struct bk_portmap_result *result)
{
    struct bk_candidates *c = ctx;

    note(c, result);
    c->settled = c->settled || result->settled;
    if (!result->pinhole) {
        c->mapped = result->mapped;
        c->external = result->external;
        if (result->mapped) {
            tell(c, BK_CANDIDATE_MAPPED, &result->external);
        } else {
            bk_portmap_reasons(result, c->why, sizeof c->why);
        }
    }
    if (c->settled && c->gathering) {
        tell_gathered(c, BK_CANDIDATE_MAPPED, c->mapped ? "" : c->why);
    }
}

/* Asks the router, or keeps asking it where it has been asked from here already. */
static void gather_mapping(struct bk_candidates *c, const struct place *here)
{
    struct bk_portmap_options options = {.local_port = c->config.listening.port,
                                         .no_mapping = here->public_v4,
                                         .pinholes = here->v6,
                                         .n_pinholes = here->n_v6};

    if (here->public_v4 && here->n_v6 == 0) {
        tell_gathered(c, BK_CANDIDATE_MAPPED, "none needed: this host has a public address");
        return;
    }
    if (here->n_gateways == 0) { /* what is held is kept: the network may come back as it was */
        tell_gathered(c, BK_CANDIDATE_MAPPED, "no gateway: is the network up?");
        return;
    }
    if (c->portmap != NULL && same_place(here, &c->asked_at) && (c->mapped || !c->settled)) {
        if (c->mapped) {
            tell(c, BK_CANDIDATE_MAPPED, &c->external);
        }
        if (c->settled) {
            tell_gathered(c, BK_CANDIDATE_MAPPED, "");
        }
        return;
    }
    bk_portmap_free(c->portmap);
    c->portmap = NULL;
    c->mapped = c->settled = false;
    c->asked_at = *here;
    (void)snprintf(c->why, sizeof c->why, "%s",
                   here->public_v4 ? "none needed: this host has a public address" : "");
    if (bk_portmap_new(c->base, &options, on_portmap, c, &c->portmap) != BK_OK) {
        c->portmap = NULL;
        tell_gathered(c, BK_CANDIDATE_MAPPED, "no memory or threads to ask the router");
    }
}

static void on_soon(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_candidates *c = ctx;
    struct bk_addr own[BK_HOST_ADDRS_MAX];
    size_t n = 0, told = 0;
    struct place here;

    (void)fd;
    (void)what;
    if (c->config.advertise != NULL) {
        tell_gathered(c, BK_CANDIDATE_HOST, "an address was given by hand");
        if (!c->config.no_mapping) {
            tell(c, BK_CANDIDATE_MAPPED, &c->advertise);
        }
        tell_gathered(c, BK_CANDIDATE_MAPPED, c->config.no_mapping ? "left out by --path" : "");
        return;
    }
    n = own_addresses(c, own);
    for (; told < n && told < BK_CANDIDATES_HOSTS_MAX && !c->config.no_host; told++) {
        tell(c, BK_CANDIDATE_HOST, &own[told]);
    }
    tell_gathered(c, BK_CANDIDATE_HOST,
                  c->config.no_host ? "left out by --path"
                  : told == 0       ? "this host has no address that others could reach"
                                    : "");
    if (c->config.no_mapping) {
        tell_gathered(c, BK_CANDIDATE_MAPPED, "left out by --path");
        return;
    }
    look_around(own, n, &here);
    gather_mapping(c, &here);
}

void bk_candidates_again(struct bk_candidates *c)
{
    struct timeval now = {0};

    c->gathering = true;
    (void)evtimer_add(c->soon, &now);
}

enum bk_err bk_candidates_new(struct event_base *base, const struct bk_candidates_config *config,
                              struct bk_candidates **out)
{
    struct bk_candidates *c = calloc(1, sizeof *c);

    *out = NULL;
    if (c == NULL) {
        return BK_E_NOMEM;
    }
    c->base = base;
    c->config = *config;
    if (config->advertise != NULL) {
        c->advertise = *config->advertise;
    }
    c->soon = evtimer_new(base, on_soon, c);
    if (c->soon == NULL) {
        free(c);
        return BK_E_NOMEM;
    }
    bk_candidates_again(c);
    *out = c;
    return BK_OK;
}

void bk_candidates_doubt(struct bk_candidates *c, const struct bk_addr *mapped)
{
    if (c->portmap != NULL) {
        bk_portmap_doubt(c->portmap, mapped);
    }
}

void bk_candidates_free(struct bk_candidates *c)
{
    if (c == NULL) {
        return;
    }
    bk_portmap_free(c->portmap);
    event_free(c->soon);
    free(c);
}

void bk_candidate_format(const struct bk_candidate *candidate, char *out, size_t cap)
{
    static const char *const kinds[] = {[BK_CANDIDATE_HOST] = "host",
                                        [BK_CANDIDATE_MAPPED] = "mapped",
                                        [BK_CANDIDATE_REFLEXIVE] = "punched",
                                        [BK_CANDIDATE_RELAYED] = "relayed"};
    char addr[BK_ADDR_TEXT_BYTES];

    bk_addr_format(&candidate->addr, addr);
    snprintf(out, cap, "%s %s", kinds[candidate->kind], addr);
}
