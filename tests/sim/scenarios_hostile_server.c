/* A server that lies where order and time matter: requests and results held for minutes, hours and days, said again, swapped
 * and mixed, across restarts of the device and of the server. He who does it sits in the server and knows what
 * it knows, the devices' registration keys too. The simulation's own checks hold throughout: nothing is dialled but for
 * a caller who knew the password, and only where that caller said; no session but between a caller and his device. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "wire/connect.h"
#include "wire/lookup.h"
#include "wire/notify.h"
#include "wire/result.h"

enum {
    KEPT_MAX = 64,
    KEPT_BYTES = 2048,
    MINUTE_S = 60,
    HOUR_S = 3600,
};

struct kept {
    uint64_t stream;
    size_t n;
    uint8_t bytes[KEPT_BYTES];
};

static struct {
    struct kept offers[KEPT_MAX], results[KEPT_MAX];
    size_t n_offers, n_results;
    bool keep_offers;  /* 226 reaches no device */
    bool keep_results; /* RESULT reaches no caller */
    struct bk_slice
        given; /* to say on the next connection of a device, in place of what it came for */
    uint64_t given_on;
    struct bk_tag tag; /* for LOOKUP */
    bool false_tag;
    uint32_t mix_ms; /* each message is late by up to so much, for itself */
    uint32_t twice_permille, lose_permille;
} man;

static struct bk_slice kept_bytes(const struct kept *k)
{
    return bk_slice(k->bytes, k->n);
}

static void keep(struct kept *list, size_t *n, uint64_t stream, struct bk_slice bytes)
{
    if (*n < KEPT_MAX && bytes.n <= KEPT_BYTES) {
        list[*n].stream = stream;
        list[*n].n = bytes.n;
        memcpy(list[*n].bytes, bytes.p, bytes.n);
        (*n)++;
    }
}

static bool is_device(const struct world *w, uint64_t stream)
{
    return w->streams[stream - 1].call != NULL;
}

/* ---- what he does at each moment ---- */

static void say_late(struct world *w, struct event *e)
{
    server_says(w, e->arg, bk_slice(e->bytes, e->n));
}

static void hear_late(struct world *w, struct event *e)
{
    server_hears(w, e->arg, bk_slice(e->bytes, e->n));
}

static bool mix(struct world *w, enum sim_moment moment, uint64_t stream, struct bk_slice bytes)
{
    unsigned times = world_draw(w, 1000) < man.twice_permille ? 2 : 1;
    if (world_draw(w, 1000) < man.lose_permille) {
        return true;
    }
    for (; times > 0; times--) {
        world_after(w, world_draw(w, man.mix_ms) * BK_MS, moment == SIM_UP ? hear_late : say_late,
                    NULL, bytes)
            ->arg = stream;
    }
    return true;
}

/* LOOKUP's answer with another tag. */
static bool lie_about_tag(struct world *w, uint64_t stream, const struct bk_stun *m)
{
    struct bk_lookup_answer answer;
    uint8_t buf[KEPT_BYTES];
    struct bk_slice bytes;
    if (bk_lookup_answer_read(m, &answer) != BK_OK) {
        return false;
    }
    answer.registered = true;
    answer.observed = bk_addr_v4(202, 204, 16, 13, 2000);
    answer.tag = man.tag;
    CHECK(w, bk_lookup_answer_write(buf, sizeof buf, m->txid, &answer, &bytes) == BK_OK);
    server_says(w, stream, bytes);
    return true;
}

static bool going_down(struct world *w, uint64_t stream, struct bk_slice bytes)
{
    struct bk_stun m;
    CHECK(w, bk_stun_read(bytes, &m) == BK_OK);
    if (is_device(w, stream) && m.method == BK_METHOD_CONNECT) {
        keep(man.offers, &man.n_offers, stream, bytes);
        if (man.keep_offers) {
            return true;
        }
    }
    if (man.false_tag && m.method == BK_METHOD_LOOKUP && m.cls == BK_STUN_SUCCESS) {
        return lie_about_tag(w, stream, &m);
    }
    return man.mix_ms > 0 && mix(w, SIM_DOWN, stream, bytes);
}

static bool going_up(struct world *w, uint64_t stream, struct bk_slice bytes)
{
    struct bk_stun m;
    CHECK(w, bk_stun_read(bytes, &m) == BK_OK);
    if (m.method == BK_METHOD_RESULT) {
        keep(man.results, &man.n_results, stream, bytes);
        if (man.keep_results) {
            return true;
        }
    }
    if (stream == man.given_on) {
        return true; /* the core knows of no call on it */
    }
    return man.mix_ms > 0 && mix(w, SIM_UP, stream, bytes);
}

static bool hostile(struct world *w, enum sim_moment moment, uint64_t stream, struct bk_slice bytes)
{
    switch (moment) {
    case SIM_UP:
        return going_up(w, stream, bytes);
    case SIM_DOWN:
        return going_down(w, stream, bytes);
    case SIM_OPENED:
        if (man.given.n > 0 && is_device(w, stream)) {
            server_says(w, stream, man.given);
            man.given = BK_SLICE_EMPTY;
            man.given_on = stream;
        }
        return false;
    case SIM_CLOSES:
        return stream == man.given_on || man.mix_ms > 0;
    }
    return false;
}

/* ---- the scene ---- */

static struct device *one_device(struct world *w)
{
    memset(&man, 0, sizeof man);
    w->config.fast_form = false; /* he sits on streams: for NOTIFY see scenarios_hostile_fast.c */
    struct device *d = scene_device(w);
    sim_hostile = hostile;
    return d;
}

static void run_to_end(struct world *w, const struct caller *c)
{
    CHECK(w, scene_run_to_end(w, c, 120));
}

/* Has the device open a connection, and says that on it. */
static struct sim_call *deliver(struct world *w, struct device *d, struct bk_slice offer)
{
    uint8_t buf[256], txid[BK_STUN_TXID_BYTES];
    struct bk_random rng = world_random(w);
    const struct bk_notify flag = {.tag = d->registration.tag};
    struct bk_slice notify;
    uint32_t before = d->n_calls;
    rng.fill(rng.ctx, txid, sizeof txid);
    CHECK(w, bk_notify_write(buf, sizeof buf, txid, &flag, &w->config.mac, BK_SLICE_OF(d->key),
                             &notify) == BK_OK);
    man.given = offer;
    net_inject(w, &w->server_addr, &d->used[(d->n_used - 1) % SIM_USED_MAX], notify);
    world_run(w, 3 * BK_SECOND);
    CHECK(w, d->n_calls == before + 1 && man.given.n == 0);
    return d->calls;
}

/* The device's verdict on a request that comes when it should not. */
static void expect_end(struct world *w, struct device *d, struct bk_slice offer,
                       enum bk_call_end end)
{
    uint64_t dials = w->stats.dials;
    const struct sim_call *c = deliver(w, d, offer);
    CHECK(w, c->ended && c->end == end);
    CHECK(w, w->stats.dials == dials);
}

/* A request of a caller who has given up meanwhile. */
static struct bk_slice held_request(struct world *w, struct device *d)
{
    man.keep_offers = true;
    struct caller *c = scene_call(w, d);
    run_to_end(w, c);
    CHECK(w, c->failed && c->failure == BK_FAIL_OFFLINE);
    CHECK(w, man.n_offers == 1);
    man.keep_offers = false;
    world_run(w, 10 * BK_SECOND);
    return kept_bytes(&man.offers[0]);
}

/* ---- requests ---- */

static void a_request_delivered_minutes_hours_and_days_later_is_stale(struct world *w)
{
    static const uint32_t later_s[] = {2 * MINUTE_S, 10 * MINUTE_S, 3 * HOUR_S, 48 * HOUR_S};
    struct device *d = one_device(w);
    struct bk_slice offer = held_request(w, d);
    for (size_t i = 0; i < sizeof later_s / sizeof later_s[0]; i++) {
        world_run(w, later_s[i] * BK_SECOND);
        expect_end(w, d, offer, BK_CALL_END_STALE);
        expect_end(w, d, offer, BK_CALL_END_STALE);
    }
    CHECK(w, w->stats.dials == 0 && w->n_sessions == 0);
}

/* While it is fresh a delay is one: the caller has gone, the device dials him once. Never again. */
static void a_request_delivered_late_is_acted_on_once(struct world *w)
{
    struct device *d = one_device(w);
    struct bk_slice offer = held_request(w, d);
    world_run(w, world_draw(w, 60) * BK_SECOND);
    const struct sim_call *late = deliver(w, d, offer);
    CHECK(w, w->stats.dials == 1 && w->n_sessions <= 1);
    for (int i = 0; i < 40; i++) {
        world_run(w, world_draw(w, i < 30 ? 20 : 2 * HOUR_S) * BK_SECOND);
        late = deliver(w, d, offer);
        CHECK(w, late->ended);
        CHECK(w, late->end == BK_CALL_END_REPEATED || late->end == BK_CALL_END_STALE);
    }
    CHECK(w, w->stats.dials == 1);
    for (const struct caller *c = w->callers; c != NULL; c = c->next) {
        CHECK(w, !c->up && c->session == 0);
    }
}

static void a_request_said_again_at_any_time_serves_once(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = scene_call(w, d);
    run_to_end(w, c);
    CHECK(w, c->up && man.n_offers == 1);
    for (int i = 0; i < 40; i++) {
        world_run(w, world_draw(w, i < 30 ? 20 : 2 * HOUR_S) * BK_SECOND);
        const struct sim_call *again = deliver(w, d, kept_bytes(&man.offers[0]));
        CHECK(w, again->ended);
        CHECK(w, again->end == BK_CALL_END_REPEATED || again->end == BK_CALL_END_STALE);
    }
    CHECK(w, w->stats.dials == 1 && w->n_sessions == 1);
    CHECK(w, device_calls_open(d) == 1); /* the one call, which stands all that time */
}

static void a_request_of_before_the_devices_restart_is_stale_for_good(struct world *w)
{
    struct device *d = one_device(w);
    struct bk_slice offer = held_request(w, d);
    for (int i = 0; i < 5; i++) {
        device_stop(d);
        world_run(w, world_draw(w, 10) * BK_SECOND);
        device_start(d);
        world_run(w, 5 * BK_SECOND);
        CHECK(w, d->up);
        expect_end(w, d, offer, BK_CALL_END_STALE);
        world_run(w, world_draw(w, 10 * MINUTE_S) * BK_SECOND);
        const struct sim_call *again = deliver(w, d, offer);
        CHECK(w, again->end == BK_CALL_END_STALE || again->end == BK_CALL_END_REPEATED);
    }
    CHECK(w, w->stats.dials == 0);
}

static void a_request_said_again_after_the_servers_restart_serves_once(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = scene_call(w, d);
    run_to_end(w, c);
    CHECK(w, c->up);
    for (int i = 0; i < 5; i++) {
        server_stop(w);
        world_run(w, world_draw(w, 20) * BK_SECOND);
        server_start(w);
        world_run(w, 60 * BK_SECOND);
        CHECK(w, server_has(w, d));
        const struct sim_call *again = deliver(w, d, kept_bytes(&man.offers[0]));
        CHECK(w, again->end == BK_CALL_END_REPEATED || again->end == BK_CALL_END_STALE);
    }
    CHECK(w, w->stats.dials == 1 && device_calls_open(d) == 1);
}

/* A caller who is told a false tag seals twice, the second time as the device says. Both requests come again and again
 * for half an hour, in which tags that were named ahead come true. */
static struct caller *told_a_false_tag(struct world *w, struct device *d)
{
    man.false_tag = true;
    struct caller *c = caller_add(w, d);
    c->clock_off_s = (int64_t)world_draw(w, 220) - 110;
    caller_start(c);
    run_to_end(w, c);
    CHECK(w, c->up && w->stats.dials == 1);
    for (size_t i = 0; i < 100; i++) {
        world_run(w, world_draw(w, 20) * BK_SECOND);
        deliver(w, d, kept_bytes(&man.offers[i % man.n_offers]));
    }
    return c;
}

static void a_false_tag_gives_no_request_a_second_time(struct world *w)
{
    struct device *d = one_device(w);
    man.tag = d->registration.tag;
    if (world_draw(w, 2) == 0) {
        man.tag.random++;
    } else {
        man.tag.counter -= 1 + (uint32_t)world_draw(w, 8);
    }
    struct caller *c = told_a_false_tag(w, d);
    CHECK(w, c->requests <= 2 && w->stats.dials == 1);
    CHECK(w, w->n_sessions == 1 && device_calls_open(d) == 1);
}

/* A tag that the device has yet to send makes the first of the two requests fresh later, when the second has been
 * served: the device then dials the same caller once more, who wants no other session. */
static void a_tag_named_ahead_has_the_caller_dialled_once_more_at_most(struct world *w)
{
    struct device *d = one_device(w);
    man.tag = d->registration.tag;
    man.tag.counter += 1 + (uint32_t)world_draw(w, 12);
    const struct caller *c = told_a_false_tag(w, d);
    uint64_t session = c->session;
    world_run(w, 30 * BK_SECOND);
    CHECK(w, c->requests == 2 && w->stats.dials <= 2);
    CHECK(w, c->up && c->session == session && device_calls_open(d) == 1);
}

/* What stands outside of one call around the box of another: nothing opens. */
static void boxes_exchanged_among_calls_are_refused(struct world *w)
{
    struct device *d = one_device(w);
    man.keep_offers = true;
    struct caller *callers[4];
    for (size_t i = 0; i < 4; i++) {
        callers[i] = scene_call(w, d);
        run_to_end(w, callers[i]);
    }
    man.keep_offers = false;
    CHECK(w, man.n_offers == 4);
    for (size_t i = 0; i < 16; i++) {
        struct bk_stun m, other;
        struct bk_connect outside, inside;
        uint8_t buf[KEPT_BYTES];
        struct bk_slice bytes;
        CHECK(w, bk_stun_read(kept_bytes(&man.offers[i / 4]), &m) == BK_OK &&
                     bk_connect_read(&m, &outside) == BK_OK &&
                     bk_stun_read(kept_bytes(&man.offers[i % 4]), &other) == BK_OK &&
                     bk_connect_read(&other, &inside) == BK_OK);
        if (i / 4 == i % 4) {
            continue;
        }
        outside.box = inside.box;
        CHECK(w, bk_connect_write(buf, sizeof buf, m.txid, &outside, &bytes) == BK_OK);
        expect_end(w, d, bytes, BK_CALL_END_BAD_REQUEST);
    }
    CHECK(w, w->stats.dials == 0);
    /* None of these tries has used up the true ones, which are fresh yet. */
    const struct sim_call *late = deliver(w, d, kept_bytes(&man.offers[3]));
    CHECK(w, w->stats.dials == 1 && (!late->ended || late->end != BK_CALL_END_REPEATED));
}

/* ---- results ---- */

/* Says any of the results, now or hours old, to a caller, as it is and under the name of his call. */
static void say_results(struct world *w, const struct caller *c)
{
    for (size_t i = 0; i < man.n_results; i++) {
        struct bk_stun m;
        struct bk_result result;
        uint8_t buf[KEPT_BYTES];
        struct bk_slice bytes;
        server_says(w, c->stream, kept_bytes(&man.results[i]));
        CHECK(w, bk_stun_read(kept_bytes(&man.results[i]), &m) == BK_OK &&
                     bk_result_read(&m, &result) == BK_OK);
        memcpy(result.call_id, c->call_id, sizeof result.call_id);
        CHECK(w, bk_result_write(buf, sizeof buf, m.txid, &result, &bytes) == BK_OK);
        server_says(w, c->stream, bytes);
    }
}

static struct caller *call_among_results(struct world *w, struct device *d, bool right)
{
    struct caller *c = caller_add(w, d);
    if (!right) {
        c->password = "guess";
    }
    caller_start(c);
    while (!c->up && !c->failed && w->now - c->began < 60 * BK_SECOND) {
        if (c->stream != 0 && c->expecting && !c->up) {
            say_results(w, c);
        }
        world_run(w, 20 * BK_MS);
    }
    return c;
}

static void old_results_are_believed_by_nobody(struct world *w)
{
    struct device *d = one_device(w);
    for (int round = 0; round < 6; round++) {
        bool right = round % 2 == 0;
        size_t before = man.n_results;
        struct caller *c = call_among_results(w, d, right);
        CHECK(w, right ? c->up : c->failed && c->failure == BK_FAIL_PASSWORD);
        CHECK(w, right || c->accepted_at == 0);
        CHECK(w, man.n_results == before + 1);
        caller_hang_up(c);
        world_run(w, world_draw(w, 2 * HOUR_S) * BK_SECOND);
    }
}

/* The device's own word withheld: the right caller is served all the same, the wrong one hears of no answer. */
static void results_withheld_change_nothing_but_what_is_heard(struct world *w)
{
    struct device *d = one_device(w);
    man.keep_results = true;
    for (int round = 0; round < 4; round++) {
        bool right = round % 2 == 0;
        struct caller *c = caller_add(w, d);
        c->password = right ? c->password : "guess";
        caller_start(c);
        run_to_end(w, c);
        CHECK(w, right ? c->up : c->failed && c->failure == BK_FAIL_NO_ANSWER);
        caller_hang_up(c);
        world_run(w, 20 * BK_SECOND);
    }
    CHECK(w, w->stats.dials == 2);
}

/* ---- everything at once ---- */

/* Each message for itself late by up to three seconds, said twice, or lost; connections that the core would close stay
 * open. Calls come about or fail as they are told to, and every request is acted on at most once. */
static void messages_in_any_order(struct world *w)
{
    struct device *d = one_device(w);
    man.mix_ms = 3000;
    man.twice_permille = 300;
    man.lose_permille = 50;
    uint32_t right = 0;
    for (int round = 0; round < 8; round++) {
        struct caller *c[3];
        for (size_t i = 0; i < 3; i++) {
            c[i] = caller_add(w, d);
            if (i == 2) {
                c[i]->password = "guess";
            }
            caller_start(c[i]);
        }
        for (size_t i = 0; i < 3; i++) {
            run_to_end(w, c[i]);
            CHECK(w, c[i]->over_at - c[i]->began <= 60 * BK_SECOND);
            right += i < 2;
        }
        CHECK(w, c[2]->failed && !c[2]->up && c[2]->accepted_at == 0);
        for (size_t i = 0; i < 3; i++) {
            CHECK(w, c[i]->up || c[i]->failure != BK_FAIL_PASSWORD || i == 2);
            caller_hang_up(c[i]);
        }
        world_run(w, 60 * BK_SECOND);
    }
    CHECK(w, w->stats.dials <= right && w->n_sessions <= right);
    man.mix_ms = 0;
    world_run(w, 120 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 0);
    struct caller *c = scene_call(w, d); /* and once he is honest again, so is the service */
    run_to_end(w, c);
    CHECK(w, c->up);
}

static const struct scenario scenarios[] = {
    {"a_request_delivered_minutes_hours_and_days_later_is_stale",
     a_request_delivered_minutes_hours_and_days_later_is_stale, 3},
    {"a_request_delivered_late_is_acted_on_once", a_request_delivered_late_is_acted_on_once, 10},
    {"a_request_said_again_at_any_time_serves_once", a_request_said_again_at_any_time_serves_once,
     10},
    {"a_request_of_before_the_devices_restart_is_stale_for_good",
     a_request_of_before_the_devices_restart_is_stale_for_good, 10},
    {"a_request_said_again_after_the_servers_restart_serves_once",
     a_request_said_again_after_the_servers_restart_serves_once, 10},
    {"a_false_tag_gives_no_request_a_second_time", a_false_tag_gives_no_request_a_second_time, 20},
    {"a_tag_named_ahead_has_the_caller_dialled_once_more_at_most",
     a_tag_named_ahead_has_the_caller_dialled_once_more_at_most, 40},
    {"boxes_exchanged_among_calls_are_refused", boxes_exchanged_among_calls_are_refused, 5},
    {"old_results_are_believed_by_nobody", old_results_are_believed_by_nobody, 10},
    {"results_withheld_change_nothing_but_what_is_heard",
     results_withheld_change_nothing_but_what_is_heard, 5},
    {"messages_in_any_order", messages_in_any_order, 40},
};

int main(int argc, char **argv)
{
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
