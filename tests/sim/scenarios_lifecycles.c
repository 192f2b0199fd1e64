/* What changes while devices live: master keys, certificates, grants, revocations. */
#include "sim.h"

#include <string.h>

enum {
    DAY_S = 86400,
    SPREAD_S = BK_RENEWAL_SPREAD_S,
};

static void populate(struct world *w, size_t n)
{
    w->lifecycles = true;
    scene_populate(w, 2133, n);
}

/* The operator makes a new epoch: the ones before are accepted further. */
static void new_epoch(struct world *w)
{
    struct bk_random rng = world_random(w);
    struct bk_server_config *c = &w->config;
    uint16_t epoch = (uint16_t)(c->master[0].epoch + 1);
    memmove(c->master + 1, c->master, (BK_SERVER_EPOCHS_MAX - 1) * sizeof c->master[0]);
    c->n_master += c->n_master < BK_SERVER_EPOCHS_MAX;
    c->master[0].epoch = epoch;
    rng.fill(rng.ctx, c->master[0].key, BK_KEY_BYTES);
    server_rekey(w);
}

/* All but the current one are retired. */
static void retire_old(struct world *w)
{
    w->config.n_master = 1;
    server_rekey(w);
}

static size_t count_rows(struct world *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_devices; i++) {
        n += server_has(w, w->devices[i]);
    }
    return n;
}

static struct caller *call(struct world *w, struct device *d)
{
    struct caller *c = scene_call(w, d);
    scene_run_to_end(w, c, 60);
    return c;
}

/* Thousands of devices follow to a new master key, a few at a time, and none is lost. A day is a long time to
 * simulate so many: they are told to do it within an hour. */
static void epochs_rotate_with_thousands_of_devices(struct world *w)
{
    enum { DEVICES = 3000, WITHIN_S = 3600, EACH_MINUTE = DEVICES / (WITHIN_S / 60) };
    w->renew_within_s = WITHIN_S;
    populate(w, DEVICES);
    world_run(w, 60 * BK_SECOND);
    new_epoch(w);
    uint64_t streams = w->stats.streams;
    uint64_t busiest = 0;
    for (size_t minute = 0; minute < WITHIN_S / 60 + 2; minute++) {
        uint64_t before = w->stats.streams;
        world_run(w, 60 * BK_SECOND);
        busiest = w->stats.streams - before > busiest ? w->stats.streams - before : busiest;
        CHECK(w, count_rows(w) == DEVICES);
    }
    for (size_t i = 0; i < DEVICES; i++) {
        CHECK(w, w->devices[i]->epoch == w->config.master[0].epoch && w->devices[i]->n_renewed > 0);
    }
    CHECK(w, w->stats.streams - streams == DEVICES);
    CHECK(w, busiest <= 2 * EACH_MINUTE);
    retire_old(w);
    CHECK(w, count_rows(w) == DEVICES); /* nobody notices */
    world_run(w, 100 * BK_SECOND);
    CHECK(w, count_rows(w) == DEVICES);
    for (size_t i = 0; i < DEVICES; i++) {
        CHECK(w, w->devices[i]->told_lost == 0);
    }
    CHECK(w, call(w, w->devices[world_draw(w, DEVICES)])->up);
}

/* An operator in a hurry retires at once: devices find out by silence, and come back by TLS. */
static void an_epoch_retired_at_once_loses_nobody_for_long(struct world *w)
{
    enum { DEVICES = 50 };
    populate(w, DEVICES);
    new_epoch(w);
    retire_old(w);
    CHECK(w, count_rows(w) == 0);
    world_run(w, 3600 * BK_SECOND);
    CHECK(w, count_rows(w) == DEVICES);
    for (size_t i = 0; i < DEVICES; i++) {
        CHECK(w, w->devices[i]->n_renewed == 1);
    }
}

/* Four epochs and more, one after the other, their two bits in the rows come round. */
static void many_epochs(struct world *w)
{
    populate(w, 10);
    for (int i = 0; i < 6; i++) {
        new_epoch(w);
        world_run(w, (SPREAD_S + 60) * BK_SECOND);
        CHECK(w, count_rows(w) == 10);
        if (i % 3 == 2) {
            retire_old(w);
        }
        if (i % 2 == 1) {
            server_stop(w);
            server_start(w);
            world_run(w, BK_AGENT_KEEPALIVE_S * BK_SECOND + BK_SECOND);
        }
        CHECK(w, count_rows(w) == 10);
    }
    CHECK(w, call(w, w->devices[0])->up);
}

/* A year in a drawer: the epoch is retired, the certificate has expired, and nobody comes to help. */
static void from_the_drawer(struct world *w, bool has_clock)
{
    populate(w, 1);
    struct device *d = w->devices[0];
    d->certificate_until_s = world_time(w, 0, false).unix_s + 30 * DAY_S;
    device_stop(d);
    new_epoch(w);
    retire_old(w);
    world_run(w, UINT64_C(365) * DAY_S * BK_SECOND);
    CHECK(w, !server_has(w, d) && world_time(w, 0, false).unix_s > d->certificate_until_s);
    d->no_clock = !has_clock;
    device_start(d);
    world_run(w, 2 * 3600 * BK_SECOND);
    CHECK(w, server_has(w, d) && d->up && d->epoch == w->config.master[0].epoch);
    CHECK(w, d->certificate_until_s > world_time(w, 0, false).unix_s);
    CHECK(w, call(w, d)->up);
}

static void a_device_from_the_drawer_comes_back(struct world *w)
{
    from_the_drawer(w, true);
}

static void a_device_from_the_drawer_without_a_clock_comes_back(struct world *w)
{
    from_the_drawer(w, false);
}

static void a_revoked_device_from_the_drawer_does_not(struct world *w)
{
    populate(w, 1);
    struct device *d = w->devices[0];
    device_stop(d);
    new_epoch(w);
    retire_old(w);
    server_revoke(w, d);
    world_run(w, UINT64_C(365) * DAY_S * BK_SECOND);
    device_start(d);
    world_run(w, UINT64_C(7) * DAY_S * BK_SECOND);
    CHECK(w, !server_has(w, d) && d->n_renewed == 0 && d->epoch != w->config.master[0].epoch);
    CHECK(w, w->stats.streams < 40); /* it asks ever more slowly */
}

/* ---- calls that are up ---- */

/* A call that is up, and watched. */
static struct caller *watched_call(struct world *w, struct device *d)
{
    struct caller *c = call(w, d);
    CHECK(w, c->up);
    world_run(w, 2 * BK_SECOND);
    CHECK(w, d->calls->watched && device_calls_open(d) == 1);
    return c;
}

static struct device *one_device(struct world *w)
{
    populate(w, 2);
    return w->devices[0];
}

static void expect_cut_within(struct world *w, struct device *d, bk_time since, uint64_t seconds)
{
    CHECK(w, device_calls_open(d) == 0 && d->calls->cut);
    CHECK(w, d->calls->cut_at - since <= seconds * BK_SECOND);
    CHECK(w, w->stats.calls_revoked >= 1);
}

static void an_ungrant_ends_the_call_within_seconds(struct world *w)
{
    struct device *d = one_device(w);
    watched_call(w, d);
    world_run(w, 3600 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 1);
    bk_time since = w->now;
    server_grant(w, d, false);
    world_run(w, 5 * BK_SECOND);
    expect_cut_within(w, d, since, 3);
    CHECK(w, w->stats.calls_ended == 0 && w->stats.calls_revoked == 1);
}

static void another_change_of_grants_does_not(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = watched_call(w, d);
    for (int i = 0; i < 10; i++) {
        server_grant(w, w->devices[1], i % 2 == 0);
        world_run(w, 5 * BK_SECOND);
        CHECK(w, device_calls_open(d) == 1 && d->calls->watched && !d->calls->cut);
    }
    caller_hang_up(c);
    world_run(w, 5 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 0 && w->stats.calls_revoked == 0);
    CHECK(w, w->stats.calls_ended == 1);
}

static void a_revoked_device_ends_its_calls_within_seconds(struct world *w)
{
    struct device *d = one_device(w);
    watched_call(w, d);
    bk_time since = w->now;
    server_revoke(w, d);
    world_run(w, 5 * BK_SECOND);
    expect_cut_within(w, d, since, 3);
}

/* Nobody watches while the server is away; the first thing that its return brings is the question. */
static void an_ungrant_during_an_outage_ends_the_call_when_the_server_is_back(struct world *w)
{
    struct device *d = one_device(w);
    watched_call(w, d);
    server_stop(w);
    world_run(w, 30 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 1 && !d->calls->cut);
    d->granted = false; /* the store alone knows */
    server_start(w);
    bk_time since = w->now;
    world_run(w, 70 * BK_SECOND);
    expect_cut_within(w, d, since, 65);
}

static void an_ungrant_after_a_restart_ends_the_call_within_seconds(struct world *w)
{
    struct device *d = one_device(w);
    watched_call(w, d);
    server_stop(w);
    server_start(w);
    world_run(w, 5 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 1 && d->calls->watched);
    bk_time since = w->now;
    server_grant(w, d, false);
    world_run(w, 5 * BK_SECOND);
    expect_cut_within(w, d, since, 3);
}

static void an_outage_of_the_server_ends_no_call(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = watched_call(w, d);
    uint64_t before = w->stats.streams;
    server_stop(w);
    world_run(w, 3600 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 1 && !d->calls->cut);
    CHECK(w, w->stats.streams - before < 200); /* it does not storm meanwhile */
    server_start(w);
    world_run(w, 70 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 1 && d->calls->watched);
    caller_hang_up(c);
    world_run(w, 5 * BK_SECOND);
    CHECK(w, w->stats.calls_ended == 1 && w->stats.calls_revoked == 0);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"epochs_rotate_with_thousands_of_devices", epochs_rotate_with_thousands_of_devices, 1},
        {"an_epoch_retired_at_once_loses_nobody_for_long",
         an_epoch_retired_at_once_loses_nobody_for_long, 3},
        {"many_epochs", many_epochs, 2},
        {"a_device_from_the_drawer_comes_back", a_device_from_the_drawer_comes_back, 5},
        {"a_device_from_the_drawer_without_a_clock_comes_back",
         a_device_from_the_drawer_without_a_clock_comes_back, 5},
        {"a_revoked_device_from_the_drawer_does_not", a_revoked_device_from_the_drawer_does_not, 2},
        {"an_ungrant_ends_the_call_within_seconds", an_ungrant_ends_the_call_within_seconds, 20},
        {"another_change_of_grants_does_not", another_change_of_grants_does_not, 5},
        {"a_revoked_device_ends_its_calls_within_seconds",
         a_revoked_device_ends_its_calls_within_seconds, 10},
        {"an_ungrant_during_an_outage_ends_the_call_when_the_server_is_back",
         an_ungrant_during_an_outage_ends_the_call_when_the_server_is_back, 10},
        {"an_ungrant_after_a_restart_ends_the_call_within_seconds",
         an_ungrant_after_a_restart_ends_the_call_within_seconds, 10},
        {"an_outage_of_the_server_ends_no_call", an_outage_of_the_server_ends_no_call, 3},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
