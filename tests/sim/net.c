/* Datagrams: NAT routers, and a network between them that loses, doubles, delays and reorders.
 *
 * A router keeps one UDP mapping per socket of a device behind it and lets in only what comes from the server's
 * address (address- and port-dependent filtering, as Linux does). */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

void (*sim_tap)(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                struct bk_slice bytes);
bool (*sim_path)(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                 struct bk_slice bytes);

struct router *router_add(struct world *w, struct bk_addr public_ip, bool keeps_ports)
{
    struct router *r = calloc(1, sizeof *r);
    if (r == NULL || w->n_routers == sizeof w->routers / sizeof w->routers[0]) {
        abort();
    }
    r->public_ip = public_ip;
    r->keeps_ports = keeps_ports;
    r->timeout_s = 30;
    w->routers[w->n_routers++] = r;
    return r;
}

void router_reboot(struct router *r)
{
    r->n = 0;
}

static bool port_taken(const struct router *r, bk_time now, uint16_t port)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->mappings[i].port == port && r->mappings[i].until > now) {
            return true;
        }
    }
    return false;
}

static uint16_t choose_port(struct world *w, const struct router *r, const struct device *d,
                            bool second)
{
    uint16_t port = second ? (uint16_t)(d->inner_port + 1000) : d->inner_port;
    while (!r->keeps_ports || port_taken(r, w->now, port)) {
        port = (uint16_t)(1024 + world_draw(w, 64512));
        if (!port_taken(r, w->now, port)) {
            break;
        }
    }
    return port;
}

/* The public port of a device's socket, mapped anew if it has none that still lives. */
static uint16_t map_out(struct world *w, struct router *r, struct device *d, bool second)
{
    size_t mine = r->n;
    for (size_t i = 0; i < r->n; i++) {
        if (r->mappings[i].device == d && r->mappings[i].second == second) {
            mine = i;
            break;
        }
    }
    if (mine == r->n) {
        if (r->n == r->cap) {
            r->cap = r->cap == 0 ? 16 : 2 * r->cap;
            r->mappings = realloc(r->mappings, r->cap * sizeof r->mappings[0]);
            if (r->mappings == NULL) {
                abort();
            }
        }
        memset(&r->mappings[mine], 0, sizeof r->mappings[mine]);
        r->mappings[mine].device = d;
        r->mappings[mine].second = second;
        r->n++;
    }
    if (r->mappings[mine].until <= w->now) {
        r->mappings[mine].until = 0;
        r->mappings[mine].port = choose_port(w, r, d, second);
    }
    r->mappings[mine].until = bk_time_add(w->now, r->timeout_s * BK_SECOND);
    return r->mappings[mine].port;
}

static struct device *map_in(struct world *w, struct router *r, uint16_t port, bool *second)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->mappings[i].port == port && r->mappings[i].until > w->now) {
            r->mappings[i].until = bk_time_add(w->now, r->timeout_s * BK_SECOND);
            *second = r->mappings[i].second;
            return r->mappings[i].device;
        }
    }
    return NULL;
}

/* Devices without a router stand on the open network, their number in the address: found at once
 * even among many thousands. */
static struct device *device_at(struct world *w, const struct bk_addr *addr)
{
    size_t i = (size_t)addr->ip[13] << 16 | (size_t)addr->ip[14] << 8 | addr->ip[15];
    if (addr->ip[12] != 20 || i >= w->n_devices || !bk_addr_equal(&w->devices[i]->used[0], addr)) {
        return NULL;
    }
    return w->devices[i];
}

static void arrive(struct world *w, struct event *e)
{
    struct bk_slice bytes = bk_slice(e->bytes, e->n);
    if (bk_addr_equal(&e->to, &w->server_addr)) {
        server_datagram(w, &e->addr, bytes);
        return;
    }
    struct device *open = device_at(w, &e->to);
    if (open != NULL) {
        device_datagram(open, &e->addr, bytes);
        return;
    }
    for (size_t i = 0; i < w->n_routers; i++) {
        if (bk_addr_same_ip(&w->routers[i]->public_ip, &e->to) &&
            bk_addr_equal(&e->addr, &w->server_addr)) {
            bool second = false;
            struct device *d = map_in(w, w->routers[i], e->to.port, &second);
            if (d != NULL && !d->udp_blocked) {
                (second ? second_datagram : device_datagram)(d, &e->addr, bytes);
            }
            return;
        }
    }
}

static void launch(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                   struct bk_slice bytes)
{
    uint64_t delay = w->delay_ms * BK_MS + world_draw(w, w->jitter_ms * BK_MS + 1);
    struct event *e = world_after(w, delay, arrive, NULL, bytes);
    e->addr = *from;
    e->to = *to;
}

void net_inject(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                struct bk_slice bytes)
{
    if (sim_path != NULL && sim_path(w, from, to, bytes)) {
        return;
    }
    w->stats.datagrams++;
    if (sim_tap != NULL) {
        sim_tap(w, from, to, bytes);
    }
    if (world_draw(w, 1000) < w->loss_permille) {
        w->stats.lost++;
        return;
    }
    launch(w, from, to, bytes);
    if (world_draw(w, 1000) < w->dup_permille) {
        launch(w, from, to, bytes);
    }
}

static void remember(struct device *d, const struct bk_addr *addr)
{
    size_t n = d->n_used < SIM_USED_MAX ? d->n_used : SIM_USED_MAX;
    for (size_t i = 0; i < n; i++) {
        if (bk_addr_equal(&d->used[i], addr)) {
            return;
        }
    }
    d->used[d->n_used++ % SIM_USED_MAX] = *addr;
}

static void from_device(struct world *w, struct device *d, bool second, const struct bk_addr *to,
                        struct bk_slice bytes)
{
    struct bk_addr from = d->used[0];
    if (d->udp_blocked) {
        return;
    }
    if (d->router != NULL) {
        from = d->router->public_ip;
        from.port = map_out(w, d->router, d, second);
        if (!second) {
            remember(d, &from);
        }
    }
    net_inject(w, &from, to, bytes);
}

void net_from_device(struct world *w, struct device *d, const struct bk_addr *to,
                     struct bk_slice bytes)
{
    from_device(w, d, false, to, bytes);
}

void net_from_second(struct world *w, struct device *d, const struct bk_addr *to,
                     struct bk_slice bytes)
{
    from_device(w, d, true, to, bytes);
}
