/* What a device's registration wants beside datagrams: a tunnel to the server, and a second socket to measure its NAT
 * with. */
#include "sim.h"

static struct bk_lifetime_out out;

static void lifetime_ring(struct world *w, struct event *e);

static void carry_out(struct device *d)
{
    struct world *w = d->world;
    struct bk_registration_event kept = {.type = BK_REGISTRATION_KEPT};
    bool told = false;
    for (size_t i = 0; i < out.n; i++) {
        const struct bk_lifetime_action *a = &out.actions[i];
        switch (a->type) {
        case BK_LIFETIME_SEND_SECOND:
            net_from_second(w, d, &a->addr, a->bytes);
            break;
        case BK_LIFETIME_SEND_MAIN:
            net_from_device(w, d, &a->addr, a->bytes);
            break;
        case BK_LIFETIME_KEPT:
            kept.kept_s = a->kept_s;
            told = true;
            break;
        case BK_LIFETIME_CLOSE:
            break;
        }
    }
    world_alarm(w, &d->lifetime_alarm, bk_lifetime_deadline(&d->lifetime), lifetime_ring, d);
    if (told) {
        device_tell(d, &kept);
    }
}

static void lifetime_input(struct device *d, const struct bk_lifetime_event *event)
{
    struct bk_now now = world_time(d->world, 0, false);
    if (d->measures && d->running) {
        bk_lifetime_input(&d->lifetime, &now, &d->registration, event, &out);
        carry_out(d);
    }
}

static void lifetime_ring(struct world *w, struct event *e)
{
    struct device *d = e->who;
    struct bk_now now = world_time(w, 0, false);
    if (world_alarm_rings(w, &d->lifetime_alarm, e) && d->running) {
        bk_lifetime_timer(&d->lifetime, &now, &d->registration, &out);
        carry_out(d);
    }
}

void registering_start(struct device *d)
{
    struct bk_random rng = world_random(d->world);
    bk_lifetime_init(&d->lifetime, &rng);
    d->lifetime_alarm.set = BK_TIME_NEVER;
    tunnel_close(d);
}

static void tell_lifetime(struct world *w, struct event *e)
{
    struct device *d = e->who;
    struct bk_lifetime_event event = {.type =
                                          e->arg != 0 ? BK_LIFETIME_REGISTERED : BK_LIFETIME_LOST,
                                      .server = w->server_addr,
                                      .addr = d->registration.observed};
    lifetime_input(d, &event);
}

void registering_registered(struct device *d, bool by_udp)
{
    world_after(d->world, 0, tell_lifetime, d, BK_SLICE_EMPTY)->arg = by_udp;
}

void second_datagram(struct device *d, const struct bk_addr *from, struct bk_slice bytes)
{
    struct bk_lifetime_event event = {.type = BK_LIFETIME_DATAGRAM, .addr = *from, .bytes = bytes};
    lifetime_input(d, &event);
}

/* ---- the tunnel ---- */

static void fails(struct world *w, struct event *e)
{
    struct device *d = e->who;
    struct bk_registration_event down = {.type = BK_REGISTRATION_TUNNEL_DOWN};
    (void)w;
    if (d->tunnel == 0) {
        device_tell(d, &down);
    }
}

void tunnel_open(struct device *d)
{
    tunnel_close(d);
    d->n_tunnels++;
    if (d->tunnels) {
        d->tunnel = stream_open_for(d->world, d, BK_STREAM_REGISTER, NULL);
    } else {
        world_after(d->world, BK_SECOND, fails, d, BK_SLICE_EMPTY);
    }
}

void tunnel_close(struct device *d)
{
    if (d->tunnel != 0) {
        stream_close(d->world, d->tunnel);
        d->tunnel = 0;
    }
}

void tunnel_event(struct device *d, unsigned what, struct bk_slice bytes)
{
    static const enum bk_registration_event_type types[] = {
        BK_REGISTRATION_TUNNEL_UP, BK_REGISTRATION_DATAGRAM, BK_REGISTRATION_TUNNEL_DOWN};
    struct bk_registration_event event = {.type = types[what], .bytes = bytes, .tunnel = true};
    if (what == 2) {
        d->tunnel = 0;
    }
    device_tell(d, &event);
}
