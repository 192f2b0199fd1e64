/* Where this device can be reached during a call: a TCP port of its own, held for the call's life, its addresses, and
 * mappings that its router grants.
 *
 * Invariant: what a router granted is taken back before the process ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/agent_call_private.h"
#include "lib/fail.h"
#include "net/file.h"
#include "net/sockaddr.h"

enum {
    HOST_ADDRS_MAX = 256,
    /* A host with so few ports for connections cannot spare one: with it bound, connections to services would find
     * none (connect() takes no port that somebody has bound). */
    PORTS_MIN = 16,
    RANGE_BYTES = 32,
};

static const char port_range[] = "/proc/sys/net/ipv4/ip_local_port_range";

/* Where that cannot be read there are plenty. */
static bool has_ports(void)
{
    uint8_t text[RANGE_BYTES + 1] = {0};
    size_t n = 0;
    char *end;
    unsigned long low, high;

    if (bk_file_load(port_range, text, RANGE_BYTES, &n) != BK_OK) {
        return true;
    }
    low = strtoul((char *)text, &end, 10);
    high = strtoul(end, NULL, 10);
    return high >= low + PORTS_MIN - 1;
}

void bk_call_part_take_port(struct bk_call_part *p)
{
    static const struct bk_addr any;
    int family;

    if (p->port_fd >= 0 || !has_ports()) {
        return;
    }
    if (bk_socket_bind(SOCK_STREAM, &any, true, &p->port_fd, &family) != BK_OK) {
        p->port_fd = -1;
        return;
    }
    p->port = p->meeting_port = bk_sockaddr_local(p->port_fd).port;
}

bool bk_call_part_own_port(const struct bk_call_part *p, struct bk_addr *local)
{
    *local = (struct bk_addr){.port = p->meeting_port};
    return p->port_fd >= 0;
}

static void tell_own(struct bk_call_part *p, enum bk_candidate_kind kind,
                     const struct bk_addr *addr, bool gone)
{
    struct bk_call_event event = {.type = BK_CALL_OWN, .candidate = {kind, *addr}, .gone = gone};

    bk_call_part_tell(p, &event);
}

/* Global ones, with our port, at most `cap`. */
static size_t own_hosts(const struct bk_call_part *p, struct bk_addr *out, size_t cap)
{
    struct bk_host_addr *addrs = calloc(HOST_ADDRS_MAX, sizeof *addrs);
    size_t n = 0, found = 0;

    if (addrs == NULL || bk_host_addresses(addrs, HOST_ADDRS_MAX, &n) != BK_OK) {
        n = 0;
    }
    for (size_t i = 0; i < n && found < cap; i++) {
        if (bk_addr_scope(&addrs[i].addr) == BK_SCOPE_GLOBAL) {
            out[found] = addrs[i].addr;
            out[found++].port = p->port;
        }
    }
    free(addrs);
    return found;
}

void bk_call_part_tell_hosts(struct bk_call_part *p)
{
    struct bk_addr hosts[BK_CALL_OWN_HOSTS_MAX] = {0};
    size_t n = p->port_fd < 0 ? 0 : own_hosts(p, hosts, BK_CALL_OWN_HOSTS_MAX);

    p->n_hosts = n;
    for (size_t i = 0; i < n; i++) {
        tell_own(p, BK_CANDIDATE_HOST, &hosts[i], false);
    }
}

/* ---- a changed network ---- */

static void renew_policy(struct bk_call_part *p)
{
    struct bk_policy *policy = calloc(1, sizeof *policy);

    if (policy == NULL) { /* what may be dialled is not known any more */
        event_base_loopbreak(p->base);
        return;
    }
    bk_call_part_policy(p, policy);
    bk_call_set_policy(p->core, policy);
    free(policy);
}

static void on_host_changed(void *ctx)
{
    struct bk_call_part *p = ctx;
    struct bk_call_event changed = {.type = BK_CALL_NETWORK_CHANGED};

    if (p->ended) {
        return;
    }
    bk_log(p->log, p->ctx, 1, "the network has changed");
    renew_policy(p);
    bk_call_part_tell(p, &changed);
    bk_call_part_tell_hosts(p);
}

void bk_call_part_watch_host(struct bk_call_part *p)
{
    if (bk_host_watch_new(p->base, on_host_changed, p, &p->host_watch) != BK_OK) {
        p->host_watch = NULL; /* the session's own keepalive finds out, later */
    }
}

/* ---- the router's ---- */

static void forget(struct bk_call_part *p, const struct bk_addr *external)
{
    for (size_t i = 0; i < p->n_mapped; i++) {
        if (bk_addr_equal(&p->mapped[i], external)) {
            p->mapped[i] = p->mapped[--p->n_mapped];
            tell_own(p, BK_CANDIDATE_MAPPED, external, true);
            return;
        }
    }
}

/* The mapping is the one of IPv4; a pinhole is known by its address. */
static void forget_former(struct bk_call_part *p, const struct bk_portmap_result *result)
{
    for (size_t i = p->n_mapped; i-- > 0;) {
        struct bk_addr former = p->mapped[i];

        if (result->pinhole ? bk_addr_same_ip(&former, &result->local) : bk_addr_is_v4(&former)) {
            forget(p, &former);
        }
    }
}

static void on_portmap(void *ctx, const struct bk_portmap_result *result)
{
    struct bk_call_part *p = ctx;
    char why[BK_PORTMAP_REASONS_BYTES];

    if (p->ended || (result->mapped && result->renewed && !result->remade)) {
        return;
    }
    forget_former(p, result);
    if (!result->mapped) {
        bk_portmap_reasons(result, why, sizeof why);
        bk_log(p->log, p->ctx, 1, "the router maps no port to this device: %s", why);
    } else if (p->n_mapped < BK_CALL_OWN_MAPPED_MAX) {
        p->mapped[p->n_mapped++] = result->external;
        tell_own(p, BK_CANDIDATE_MAPPED, &result->external, false);
    }
}

void bk_call_part_map(struct bk_call_part *p)
{
    struct bk_addr hosts[BK_CALL_OWN_HOSTS_MAX];
    struct bk_portmap_options options = {.local_port = p->port, .pinholes = hosts};
    size_t n = own_hosts(p, hosts, BK_CALL_OWN_HOSTS_MAX);

    for (size_t i = 0; i < n; i++) {
        if (bk_addr_is_v4(&hosts[i])) {
            options.no_mapping = true; /* it is reached as it is */
        } else {
            hosts[options.n_pinholes++] = hosts[i];
        }
    }
    if (p->portmap == NULL && p->port_fd >= 0 && (!options.no_mapping || options.n_pinholes > 0) &&
        bk_portmap_new(p->base, &options, on_portmap, p, &p->portmap) != BK_OK) {
        p->portmap = NULL;
        bk_log(p->log, p->ctx, 1, "the router cannot be asked");
    }
}

void bk_call_part_give_back(struct bk_call_part *p)
{
    bk_portmap_free(p->portmap);
    bk_host_watch_free(p->host_watch);
    bk_listener_free(p->listener);
    p->portmap = NULL;
    p->host_watch = NULL;
    p->listener = NULL;
    if (p->port_fd >= 0) {
        close(p->port_fd);
        p->port_fd = -1;
    }
}
