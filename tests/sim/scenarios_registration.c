/* Registrations through NAT, loss, restarts and outages. */
#include "sim.h"

static uint64_t interval(void)
{
    return BK_AGENT_KEEPALIVE_S * BK_SECOND;
}

/* The row of a device leads through its router's mapping of now. */
static bool reachable(struct world *w, struct device *d)
{
    struct bk_server_row row;
    if (w->server == NULL || !bk_server_find(w->server, d->id, &row)) {
        return false;
    }
    for (size_t i = 0; i < d->router->n; i++) {
        if (d->router->mappings[i].device == d && !d->router->mappings[i].second) {
            struct bk_addr now = d->router->public_ip;
            now.port = d->router->mappings[i].port;
            return d->router->mappings[i].until > w->now && bk_addr_equal(&now, &row.addr);
        }
    }
    return false;
}

/* Devices behind two routers: one that keeps ports, one that does not. */
static void populate(struct world *w, size_t n)
{
    struct router *a = router_add(w, bk_addr_v4(202, 204, 16, 13, 0), true);
    struct router *b = router_add(w, bk_addr_v4(202, 204, 16, 14, 0), false);
    for (size_t i = 0; i < n; i++) {
        device_add(w, i % 2 == 0 ? a : b, 2133 + i);
    }
    server_start(w);
    for (size_t i = 0; i < n; i++) {
        device_start(w->devices[i]);
    }
}

static size_t count_reachable(struct world *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_devices; i++) {
        n += reachable(w, w->devices[i]);
    }
    return n;
}

static void plain(struct world *w)
{
    populate(w, 1);
    world_run(w, BK_SECOND);
    CHECK(w, w->devices[0]->up && reachable(w, w->devices[0]));
    uint64_t before = w->stats.datagrams;
    world_run(w, 1000 * BK_SECOND);
    CHECK(w, w->devices[0]->told_registered == 1 && w->devices[0]->told_lost == 0);
    CHECK(w, w->stats.datagrams - before <= 2 * (1000 * 10 / 225 + 1)); /* one each way */
    CHECK(w, w->stats.streams == 0);
}

static void loss_of_30_percent(struct world *w)
{
    w->loss_permille = 300;
    w->dup_permille = 100;
    populate(w, 20);
    world_run(w, 300 * BK_SECOND);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, w->devices[i]->told_registered > 0);
    }
    /* Half of all round trips fail; now and then a row runs out, but it is always few and not for long. */
    size_t missing = 0;
    for (int minute = 0; minute < 60; minute++) {
        world_run(w, 60 * BK_SECOND);
        size_t now = 0;
        for (size_t i = 0; i < w->n_devices; i++) {
            now += !server_has(w, w->devices[i]);
        }
        CHECK(w, now <= 2);
        missing += now;
    }
    CHECK(w, missing <= 60 * w->n_devices / 100);
    w->loss_permille = 0;
    w->dup_permille = 0;
    world_run(w, interval() + BK_SECOND);
    CHECK(w, count_reachable(w) == w->n_devices);
}

static void two_devices_behind_one_router(struct world *w)
{
    struct router *r = router_add(w, bk_addr_v4(202, 204, 16, 13, 0), true);
    device_add(w, r, 2133);
    device_add(w, r, 2134); /* the same inner port: the router must give another */
    server_start(w);
    device_start(w->devices[0]);
    device_start(w->devices[1]);
    world_run(w, BK_SECOND);
    for (int i = 0; i < 20; i++) {
        CHECK(w, count_reachable(w) == 2);
        world_run(w, 17 * BK_SECOND);
    }
    CHECK(w, !bk_addr_equal(&w->devices[0]->used[0], &w->devices[1]->used[0]));
}

static void router_reboot_and_renumbering(struct world *w)
{
    populate(w, 10);
    world_run(w, 60 * BK_SECOND + world_draw(w, 30 * BK_SECOND));
    for (size_t i = 0; i < w->n_routers; i++) {
        router_reboot(w->routers[i]);
        w->routers[i]->public_ip.ip[15] = (uint8_t)(100 + i);
    }
    CHECK(w, count_reachable(w) == 0);
    world_run(w, 2 * interval());
    CHECK(w, count_reachable(w) == 10);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, w->devices[i]->told_registered == 2 && w->devices[i]->told_lost == 0);
    }
}

static void mappings_that_change_all_the_time(struct world *w)
{
    populate(w, 10);
    w->routers[1]->timeout_s = 20; /* shorter than the interval, and ports are drawn */
    for (int i = 0; i < 40; i++) {
        world_run(w, interval());
        CHECK(w, bk_server_rows(w->server) == 10);
    }
}

static void agent_restart(struct world *w)
{
    w->dup_permille = 300;
    populate(w, 4);
    for (int round = 0; round < 20; round++) {
        world_run(w, world_draw(w, 60 * BK_SECOND));
        for (size_t i = 0; i < w->n_devices; i++) {
            device_start(w->devices[i]); /* tag and counter are lost */
        }
        world_run(w, 2 * BK_SECOND);
        for (size_t i = 0; i < w->n_devices; i++) {
            CHECK(w, w->devices[i]->up);
        }
        CHECK(w, count_reachable(w) == 4);
    }
}

static void server_restart(struct world *w)
{
    populate(w, 50);
    world_run(w, 100 * BK_SECOND);
    server_stop(w);
    world_run(w, 100 * BK_MS);
    server_start(w);
    CHECK(w, bk_server_rows(w->server) == 0);
    world_run(w, interval() + BK_SECOND);
    CHECK(w, count_reachable(w) == 50);
    CHECK(w, w->stats.streams == 0);
}

/* Most are between quiet keepalives by now. */
static void server_restart_amid_quiet_keepalives(struct world *w)
{
    populate(w, 50);
    world_run(w, 200 * BK_SECOND + world_draw(w, 100 * BK_SECOND));
    for (int round = 0; round < 5; round++) {
        server_stop(w);
        server_start(w);
        CHECK(w, count_reachable(w) == 0);
        world_run(w, interval() + BK_SECOND);
        CHECK(w, count_reachable(w) == 50);
    }
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, w->devices[i]->told_registered == 1 && w->devices[i]->told_lost == 0);
    }
    CHECK(w, w->stats.streams == 0);
}

static void router_reboot_amid_quiet_keepalives(struct world *w)
{
    populate(w, 50);
    world_run(w, 200 * BK_SECOND + world_draw(w, 100 * BK_SECOND));
    for (size_t i = 0; i < w->n_routers; i++) {
        router_reboot(w->routers[i]);
        w->routers[i]->public_ip.ip[15] = (uint8_t)(100 + i);
    }
    CHECK(w, count_reachable(w) == 0);
    world_run(w, interval() + BK_SECOND);
    CHECK(w, count_reachable(w) == 50);
}

static void udp_blocked_for_a_while(struct world *w)
{
    populate(w, 20);
    for (size_t i = 0; i < w->n_devices; i++) {
        w->devices[i]->tunnels = true;
    }
    world_run(w, 200 * BK_SECOND);
    for (size_t i = 0; i < w->n_devices; i++) {
        w->devices[i]->udp_blocked = true;
    }
    /* Missed at the next answered keepalive, and some seconds later there is a tunnel. */
    world_run(w, 4 * interval() + 15 * BK_SECOND);
    CHECK(w, bk_server_rows(w->server) == 20);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, w->devices[i]->told_tunnel == 1 && w->devices[i]->up);
    }
    uint64_t before = w->stats.datagrams;
    world_run(w, 3600 * BK_SECOND);
    CHECK(w, w->stats.datagrams == before); /* none gets through */
    CHECK(w, bk_server_rows(w->server) == 20);
    for (size_t i = 0; i < w->n_devices; i++) {
        w->devices[i]->udp_blocked = false;
        CHECK(w, w->devices[i]->told_registered == 2 && w->devices[i]->n_tunnels == 1);
    }
    world_run(w, 610 * BK_SECOND); /* the next try of UDP */
    CHECK(w, count_reachable(w) == 20);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, w->devices[i]->tunnel == 0 && w->devices[i]->told_registered == 3);
        CHECK(w, w->devices[i]->told_lost <= 1);
    }
}

/* A server that restarts loses its streams: all are back within seconds, one connection each. */
static void server_restart_under_tunnels(struct world *w)
{
    populate(w, 20);
    for (size_t i = 0; i < w->n_devices; i++) {
        w->devices[i]->tunnels = true;
        w->devices[i]->udp_blocked = true;
    }
    world_run(w, 100 * BK_SECOND);
    CHECK(w, bk_server_rows(w->server) == 20);
    server_stop(w);
    server_start(w);
    world_run(w, 15 * BK_SECOND);
    CHECK(w, bk_server_rows(w->server) == 20);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, w->devices[i]->n_tunnels == 2);
    }
}

static uint64_t sim_bytes;

static void count_bytes(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                        struct bk_slice bytes)
{
    (void)w;
    (void)from;
    (void)to;
    sim_bytes += bytes.n + 28; /* IPv4 and UDP */
}

/* What is reached behind a NAT that keeps mappings for so long, the registration never lost on the way, and what a day
 * of it costs. */
static void nat_of(struct world *w, uint32_t timeout_s, uint32_t interval_s, uint64_t most_bytes)
{
    struct router *r = router_add(w, bk_addr_v4(202, 204, 16, 13, 0), true);
    struct device *d = device_add(w, r, 2133);
    r->timeout_s = timeout_s;
    d->measures = true;
    server_start(w);
    device_start(d);
    world_run(w, BK_SECOND);
    for (int s = 0; s < 2000; s += 5) { /* two thousand seconds see the measurement through */
        CHECK(w, d->up && reachable(w, d));
        world_run(w, 5 * BK_SECOND);
    }
    CHECK(w, d->registration.interval_s == interval_s);
    sim_bytes = 0;
    sim_tap = count_bytes;
    for (int s = 0; s < 86400; s += 60) { /* the next day's measurement included */
        CHECK(w, d->up && reachable(w, d));
        world_run(w, 60 * BK_SECOND);
    }
    sim_tap = NULL;
    CHECK(w, sim_bytes <= most_bytes);
    CHECK(w, d->told_registered == 1 && d->told_lost == 0);
    CHECK(w, d->registration.interval_s == interval_s);
    r->timeout_s =
        timeout_s > 30 ? timeout_s / 3 : timeout_s; /* another router: found within a day */
    router_reboot(r);
    r->public_ip.ip[15] = 99;
    world_run(w, interval_s * BK_SECOND + BK_SECOND);
    CHECK(w, reachable(w, d));
    CHECK(w, d->registration.interval_s < r->timeout_s); /* from the shortest on, anew */
}

static void nat_of_30_s(struct world *w)
{
    nat_of(w, 30, 25, 540000);
}

static void nat_of_120_s(struct world *w)
{
    nat_of(w, 120, 99, 200000);
}

static void nat_of_300_s(struct world *w)
{
    nat_of(w, 300, 240, 90000);
}

/* Measured behind a lossy line: never too long, whatever is found. */
static void nat_of_120_s_with_loss(struct world *w)
{
    w->loss_permille = 50;
    struct router *r = router_add(w, bk_addr_v4(202, 204, 16, 13, 0), true);
    struct device *d = device_add(w, r, 2133);
    r->timeout_s = 120;
    d->measures = true;
    server_start(w);
    device_start(d);
    for (int hour = 0; hour < 24; hour++) {
        world_run(w, 3600 * BK_SECOND);
        CHECK(w, d->registration.interval_s <= 99);
    }
    CHECK(w, d->told_registered >= 1);
}

static void server_outage(struct world *w)
{
    populate(w, 50);
    world_run(w, 100 * BK_SECOND);
    server_stop(w);
    world_run(w, 600 * BK_SECOND);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, !w->devices[i]->up && w->devices[i]->told_lost == 1);
    }
    uint64_t before = w->stats.datagrams;
    world_run(w, 100 * BK_SECOND);
    CHECK(w, w->stats.datagrams - before <= 50 * 6); /* nobody storms while it is away */
    server_start(w);
    world_run(w, interval() + BK_SECOND);
    CHECK(w, count_reachable(w) == 50);
    CHECK(w, w->stats.streams == 0);
    for (size_t i = 0; i < w->n_devices; i++) { /* TLS was tried as well, seldom */
        CHECK(w, w->devices[i]->n_tunnels >= 1 && w->devices[i]->n_tunnels <= 6);
    }
}

static void server_moves_to_another_address(struct world *w)
{
    populate(w, 10);
    world_run(w, 50 * BK_SECOND);
    server_stop(w);
    w->server_addr = bk_addr_v4(130, 74, 23, 99, 1200);
    server_start(w);
    /* The next answered keepalive, three unanswered sends, then the name is resolved again. */
    world_run(w, 4 * interval() + 20 * BK_SECOND);
    CHECK(w, bk_server_rows(w->server) == 10);
}

static void name_service_comes_late(struct world *w)
{
    struct router *r = router_add(w, bk_addr_v4(202, 204, 16, 13, 0), true);
    struct device *d = device_add(w, r, 2133);
    server_start(w);
    d->dns_down = true;
    device_start(d);
    world_run(w, 300 * BK_SECOND);
    CHECK(w, !d->up && w->stats.datagrams == 0);
    d->dns_down = false;
    world_run(w, interval() + BK_SECOND);
    CHECK(w, d->up);
}

static void rows_expire(struct world *w)
{
    populate(w, 10);
    world_run(w, 60 * BK_SECOND);
    for (size_t i = 0; i < 5; i++) {
        device_stop(w->devices[i]);
    }
    world_run(w, 60 * BK_SECOND);
    CHECK(w, server_has(w, w->devices[0]));
    world_run(w, (BK_SERVER_EXPIRY_S - 60 + 1) * BK_SECOND);
    for (size_t i = 0; i < 10; i++) {
        CHECK(w, server_has(w, w->devices[i]) == (i >= 5));
    }
    world_run(w, 300 * BK_SECOND);
    CHECK(w, bk_server_rows(w->server) == 5); /* swept */
}

static void revoked_device(struct world *w)
{
    populate(w, 2);
    world_run(w, 60 * BK_SECOND);
    server_revoke(w, w->devices[0]);
    CHECK(w, !server_has(w, w->devices[0]) && server_has(w, w->devices[1]));
    world_run(w, interval() + BK_SECOND);
    CHECK(w, w->devices[0]->told_revoked == 1 && w->devices[1]->told_revoked == 0);
    world_run(w, 1000 * BK_SECOND);
    CHECK(w, w->devices[0]->told_revoked == 1 && !server_has(w, w->devices[0]));
    server_stop(w);
    server_start(w); /* what is revoked stays so */
    world_run(w, 300 * BK_SECOND);
    CHECK(w, !server_has(w, w->devices[0]) && server_has(w, w->devices[1]));
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"plain", plain, 5},
        {"loss_of_30_percent", loss_of_30_percent, 20},
        {"two_devices_behind_one_router", two_devices_behind_one_router, 5},
        {"router_reboot_and_renumbering", router_reboot_and_renumbering, 20},
        {"mappings_that_change_all_the_time", mappings_that_change_all_the_time, 5},
        {"agent_restart", agent_restart, 10},
        {"server_restart", server_restart, 10},
        {"server_restart_amid_quiet_keepalives", server_restart_amid_quiet_keepalives, 10},
        {"router_reboot_amid_quiet_keepalives", router_reboot_amid_quiet_keepalives, 10},
        {"udp_blocked_for_a_while", udp_blocked_for_a_while, 5},
        {"server_restart_under_tunnels", server_restart_under_tunnels, 5},
        {"nat_of_30_s", nat_of_30_s, 3},
        {"nat_of_120_s", nat_of_120_s, 3},
        {"nat_of_300_s", nat_of_300_s, 3},
        {"nat_of_120_s_with_loss", nat_of_120_s_with_loss, 10},
        {"server_outage", server_outage, 5},
        {"server_moves_to_another_address", server_moves_to_another_address, 5},
        {"name_service_comes_late", name_service_comes_late, 5},
        {"rows_expire", rows_expire, 5},
        {"revoked_device", revoked_device, 5},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
