/* Somebody on the path between devices and server for a long time, who leaves; and what he can do afterwards with
 * all that he kept. Virtual hours; the simulation's own checks (rows only where a device's datagrams came from, no
 * answer larger than its request, no dial without proof) hold throughout. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "wire/notify.h"
#include "wire/register.h"

enum {
    POCKET_MAX = 4096,
    DEVICES = 4,
    HIS_SLOT = SIM_USED_MAX - 1, /* of device.used: what he carries really comes from there */
};

enum how {
    LISTEN,
    DROP,
    BEND,    /* bits changed */
    MISNAME, /* from an address where he does not hear */
    DELAY,   /* up to half a minute each, some twice: in any order */
    CARRY,   /* over an address of his */
    KEEP_NOTIFIES,
};

struct kept {
    struct bk_addr from, to;
    size_t n;
    uint8_t bytes[256];
};

static struct {
    enum how how;
    bool sends;     /* it is he who sends now */
    bool remembers; /* what he takes or hears goes to his pocket */
    struct bk_addr his, not_his;
    struct bk_addr home; /* of the device that he carries for */
    size_t n;
    struct kept pocket[POCKET_MAX];
} he;

static void send_as(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                    struct bk_slice bytes)
{
    bool before = he.sends;
    he.sends = true;
    net_inject(w, from, to, bytes);
    he.sends = before;
}

static void send_kept(struct world *w, const struct kept *k)
{
    send_as(w, &k->from, &k->to, bk_slice(k->bytes, k->n));
}

static bool is_kind(struct bk_slice bytes, uint16_t method, enum bk_stun_class cls)
{
    struct bk_stun m;
    return bk_stun_read(bytes, &m) == BK_OK && m.method == method && m.cls == cls;
}

static void keep(const struct bk_addr *from, const struct bk_addr *to, struct bk_slice bytes)
{
    if (he.remembers && he.n < POCKET_MAX && bytes.n <= sizeof he.pocket[0].bytes) {
        struct kept *k = &he.pocket[he.n++];
        k->from = *from;
        k->to = *to;
        k->n = bytes.n;
        memcpy(k->bytes, bytes.p, bytes.n);
    }
}

static void late(struct world *w, struct event *e)
{
    send_as(w, &e->addr, &e->to, bk_slice(e->bytes, e->n));
}

static void delay(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                  struct bk_slice bytes)
{
    for (uint64_t copies = 1 + world_draw(w, 2); copies > 0; copies--) {
        struct event *e = world_after(w, world_draw(w, 30 * BK_SECOND), late, NULL, bytes);
        e->addr = *from;
        e->to = *to;
    }
}

static void bend(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                 struct bk_slice bytes)
{
    uint8_t buf[256];
    if (bytes.n > sizeof buf) {
        return;
    }
    memcpy(buf, bytes.p, bytes.n);
    buf[world_draw(w, bytes.n)] ^= (uint8_t)(1U << world_draw(w, 8));
    send_as(w, from, to, bk_slice(buf, bytes.n));
}

static bool on_path(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                    struct bk_slice bytes)
{
    bool up = bk_addr_equal(to, &w->server_addr);
    if (he.sends) {
        return false;
    }
    keep(from, to, bytes);
    switch (he.how) {
    case DROP:
        return true;
    case BEND:
        bend(w, from, to, bytes);
        return true;
    case MISNAME:
        send_as(w, up ? &he.not_his : from, to, bytes);
        return true;
    case DELAY:
        delay(w, from, to, bytes);
        return true;
    case CARRY:
        if (up) {
            send_as(w, &he.his, to, bytes);
            he.home = *from;
        } else if (bk_addr_equal(to, &he.his)) {
            send_as(w, from, &he.home, bytes);
        }
        return true;
    case KEEP_NOTIFIES:
        return is_kind(bytes, BK_METHOD_NOTIFY, BK_STUN_REQUEST);
    case LISTEN:
    default:
        return false;
    }
}

static void comes(enum how how, bool remembers)
{
    he.how = how;
    he.remembers = remembers;
    sim_path = on_path;
}

static void leaves(void)
{
    sim_path = NULL;
}

static uint64_t interval(void)
{
    return BK_AGENT_KEEPALIVE_S * BK_SECOND;
}

/* Devices behind two routers, one that keeps ports and one that does not. */
static void populate(struct world *w, size_t n)
{
    struct router *a = router_add(w, bk_addr_v4(202, 204, 16, 13, 0), true);
    struct router *b = router_add(w, bk_addr_v4(202, 204, 16, 14, 0), false);
    memset(&he, 0, sizeof he);
    he.his = bk_addr_v4(6, 6, 6, 6, 4000);
    he.not_his = bk_addr_v4(7, 7, 7, 7, 4000);
    server_start(w);
    for (size_t i = 0; i < n; i++) {
        device_start(device_add(w, i % 2 == 0 ? a : b, 2133 + i));
    }
    world_run(w, 60 * BK_SECOND);
}

/* Its row leads to its router's mapping of now, and it knows. */
static bool is_home(struct world *w, const struct device *d)
{
    struct bk_server_row row;
    if (!bk_server_find(w->server, d->id, &row) || !d->up) {
        return false;
    }
    for (size_t i = 0; i < d->router->n; i++) {
        if (d->router->mappings[i].device == d) {
            struct bk_addr now = d->router->public_ip;
            now.port = d->router->mappings[i].port;
            return bk_addr_equal(&now, &row.addr);
        }
    }
    return false;
}

static void all_home(struct world *w)
{
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, is_home(w, w->devices[i]));
    }
}

static void onpath_prevents_for_long_and_all_is_right_two_keepalives_after_he_left(struct world *w)
{
    static const enum how ways[] = {DROP, BEND, MISNAME};
    populate(w, DEVICES);
    for (int round = 0; round < 12; round++) {
        comes(ways[world_draw(w, 3)], true);
        if (world_draw(w, 2) == 0) {
            device_start(w->devices[world_draw(w, DEVICES)]); /* its state is lost meanwhile */
        }
        for (uint64_t s = 1 + world_draw(w, 2000); s > 0; s--) {
            world_run(w, BK_SECOND);
            for (size_t i = 0; i < DEVICES; i++) {
                struct bk_server_row row;
                CHECK(w, !bk_server_find(w->server, 2133 + i, &row) ||
                             !bk_addr_same_ip(&row.addr, &he.not_his));
            }
        }
        leaves();
        world_run(w, 2 * interval());
        all_home(w);
    }
    CHECK(w, w->stats.streams == 0 && w->devices[0]->told_call == 0 &&
                 w->devices[0]->told_revoked == 0);
    CHECK(w, scene_is_reached(w, w->devices[1]));
}

static void onpath_carried_over_his_address_until_he_leaves(struct world *w)
{
    populate(w, 1);
    struct device *d = w->devices[0];
    for (int round = 0; round < 10; round++) {
        struct bk_server_row row;
        comes(CARRY, true);
        he.his.port++;
        d->used[HIS_SLOT] = he.his;
        world_run(w, 2 * interval() + world_draw(w, 1000 * BK_SECOND));
        CHECK(w, bk_server_find(w->server, d->id, &row) && bk_addr_equal(&row.addr, &he.his));
        CHECK(w, scene_is_reached(w, d));
        leaves();
        world_run(w, 2 * interval());
        all_home(w);
        memset(&d->used[HIS_SLOT], 0, sizeof d->used[HIS_SLOT]);
        for (size_t i = 0; i < he.n; i++) { /* from his own address too, where he has been */
            send_as(w, &he.his, &w->server_addr, bk_slice(he.pocket[i].bytes, he.pocket[i].n));
            send_kept(w, &he.pocket[i]);
        }
        world_run(w, BK_SECOND);
        all_home(w);
        CHECK(w, scene_is_reached(w, d));
        he.n = 0;
    }
}

static void onpath_late_and_in_any_order_and_right_again_when_he_left(struct world *w)
{
    populate(w, DEVICES);
    for (int round = 0; round < 5; round++) {
        comes(DELAY, false);
        world_run(w, 1000 * BK_SECOND);
        leaves(); /* what is under way still comes */
        world_run(w, 2 * interval());
        all_home(w);
        world_run(w, 40 * BK_SECOND);
        all_home(w);
    }
    CHECK(w, w->stats.streams == 0 && scene_is_reached(w, w->devices[0]));
}

/* Lives of agents and server, calls, renumbered routers, all heard. */
static void fill_pocket(struct world *w)
{
    populate(w, DEVICES);
    comes(LISTEN, true);
    for (int round = 0; round < 6; round++) {
        device_start(w->devices[world_draw(w, DEVICES)]);
        world_run(w, 100 * BK_SECOND);
        CHECK(w, scene_is_reached(w, w->devices[world_draw(w, DEVICES)]));
        if (round % 2 == 1) {
            router_reboot(w->routers[round % 4 / 2]);
            w->routers[round % 4 / 2]->public_ip.ip[15] ^= 1;
        }
        if (round == 3) {
            server_stop(w);
            server_start(w);
        }
    }
    leaves();
    world_run(w, 2 * interval());
    all_home(w);
    CHECK(w, he.n > 100);
}

static void offpath_hours_of_replays_neither_move_nor_end_nor_wake(struct world *w)
{
    fill_pocket(w);
    uint32_t lost[DEVICES];
    uint32_t calls[DEVICES];
    for (size_t i = 0; i < DEVICES; i++) {
        lost[i] = w->devices[i]->told_lost;
        calls[i] = w->devices[i]->told_call;
    }
    uint64_t streams = w->stats.streams;
    uint64_t dials = w->stats.dials;
    for (int s = 0; s < 10000; s++) {
        for (int k = 0; k < 8; k++) {
            struct kept *what = &he.pocket[world_draw(w, he.n)];
            struct device *d = w->devices[world_draw(w, DEVICES)];
            struct bk_addr now = d->router->public_ip;
            now.port = d->router->mappings[world_draw(w, d->router->n)].port;
            struct bk_addr any = bk_addr_v4(6, 6, 6, (uint8_t)world_draw(w, 256), 4000);
            switch (world_draw(w, 4)) {
            case 0: /* as it was */
                send_kept(w, what);
                break;
            case 1: /* in the name of where some device is now */
                send_as(w, &now, &w->server_addr, bk_slice(what->bytes, what->n));
                break;
            case 2:
                send_as(w, &any, &w->server_addr, bk_slice(what->bytes, what->n));
                break;
            default: /* the server's name, to a device */
                send_as(w, &w->server_addr, &now, bk_slice(what->bytes, what->n));
                break;
            }
        }
        world_run(w, BK_SECOND);
        all_home(w);
    }
    for (size_t i = 0; i < DEVICES; i++) {
        CHECK(w, w->devices[i]->told_lost == lost[i] && w->devices[i]->told_call == calls[i]);
    }
    CHECK(w, w->stats.streams == streams && w->stats.dials == dials);
    CHECK(w, scene_is_reached(w, w->devices[2]));
}

/* REGISTERs that the server never saw are good until a newer one came, from their own address, and as many times as
 * there are of them: a delay, which ends. */
static void offpath_a_stock_of_registers_never_delivered_ends(struct world *w)
{
    populate(w, 1);
    struct device *d = w->devices[0];
    struct bk_server_row before;
    struct bk_server_row row;
    comes(DROP, true);
    he.n = 0;
    world_run(w, 80 * BK_SECOND);
    leaves();
    size_t stock = he.n;
    CHECK(w, stock >= 3);
    world_run(w, 2 * interval());
    all_home(w);
    d->router->public_ip.ip[15] ^= 1; /* it moves: none of them moves it back */
    router_reboot(d->router);
    world_run(w, 2 * interval());
    for (size_t i = 0; i < stock; i++) {
        send_kept(w, &he.pocket[i]);
        world_run(w, 5 * BK_SECOND);
        all_home(w);
    }
    /* Kept from its last moments, it being off then: the row stays where it was, once more for each, and is gone. */
    comes(DROP, true);
    he.n = 0;
    world_run(w, 80 * BK_SECOND);
    leaves();
    stock = he.n;
    device_stop(d);
    if (bk_server_find(w->server, d->id, &before)) {
        for (size_t i = 0; i < stock; i++) {
            send_kept(w, &he.pocket[i]);
            world_run(w, 80 * BK_SECOND);
            if (bk_server_find(w->server, d->id, &row)) {
                CHECK(w, bk_addr_equal(&row.addr, &before.addr));
            }
        }
    }
    for (int s = 0; s < 2 * BK_SERVER_EXPIRY_S; s++) {
        send_kept(w, &he.pocket[world_draw(w, stock)]);
        world_run(w, BK_SECOND);
    }
    CHECK(w, !server_has(w, d));
    device_start(d); /* and it is let in at once when it comes back */
    world_run(w, BK_SECOND);
    all_home(w);
}

static void onpath_notifies_kept_back_wake_once_while_fresh_and_never_later(struct world *w)
{
    populate(w, 2);
    for (size_t i = 0; i < 2; i++) {
        struct device *d = w->devices[i];
        comes(KEEP_NOTIFIES, false);
        he.n = 0;
        he.remembers = true;
        CHECK(w, !scene_is_reached(w, d));
        leaves();
        CHECK(w, d->told_call == 0);
        world_run(w, i == 0 ? 10 * BK_SECOND : 1000 * BK_SECOND);
        uint64_t dials = w->stats.dials;
        for (int round = 0; round < 200; round++) {
            for (size_t k = 0; k < he.n; k++) {
                if (is_kind(bk_slice(he.pocket[k].bytes, he.pocket[k].n), BK_METHOD_NOTIFY,
                            BK_STUN_REQUEST)) {
                    send_kept(w, &he.pocket[k]);
                }
            }
            world_run(w, BK_SECOND);
        }
        CHECK(w, d->told_call == (i == 0 ? 1 : 0)); /* it asks the server, and there is nothing */
        CHECK(w, w->stats.dials == dials);
        CHECK(w, scene_is_reached(w, d));
    }
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"onpath_prevents_for_long_and_all_is_right_two_keepalives_after_he_left",
         onpath_prevents_for_long_and_all_is_right_two_keepalives_after_he_left, 10},
        {"onpath_carried_over_his_address_until_he_leaves",
         onpath_carried_over_his_address_until_he_leaves, 5},
        {"onpath_late_and_in_any_order_and_right_again_when_he_left",
         onpath_late_and_in_any_order_and_right_again_when_he_left, 10},
        {"onpath_notifies_kept_back_wake_once_while_fresh_and_never_later",
         onpath_notifies_kept_back_wake_once_while_fresh_and_never_later, 5},
        {"offpath_hours_of_replays_neither_move_nor_end_nor_wake",
         offpath_hours_of_replays_neither_move_nor_end_nor_wake, 3},
        {"offpath_a_stock_of_registers_never_delivered_ends",
         offpath_a_stock_of_registers_never_delivered_ends, 10},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
