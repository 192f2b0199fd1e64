/* The fast form of the call where not everything gets through: what goes with NOTIFY, its answer, RESULT and the answer to that
 * may each be lost, doubled or late; then the first form, or a stream, takes their place. */
#include "sim.h"

#include <string.h>

#include "wire/notify.h"

enum {
    END_S = 16, /* until a call stands or has failed, at most */
    QUIET_S = 70,
};

/* What the network does to datagrams of calls; those of registration pass. */
static struct {
    bool lose_boxes;   /* NOTIFY with a request in it */
    bool lose_flags;   /* and without */
    bool lose_answers; /* to NOTIFY */
    bool lose_results;
    bool lose_result_answers;
    uint32_t mix_permille;  /* each of all these with that chance */
    uint32_t hold_boxes_ms; /* they are late by so much */
    uint32_t boxes, flags, answers, results, result_answers; /* seen */
    uint32_t largest;
    uint32_t told; /* RESULTs that the server gave to callers */
} net;

static void arrives_late(struct world *w, struct event *e)
{
    struct device *d = e->who;
    if (d->running) {
        device_datagram(d, &w->server_addr, bk_slice(e->bytes, e->n));
    }
}

static bool loses(struct world *w, bool always)
{
    return always || world_draw(w, 1000) < net.mix_permille;
}

static bool notify_passes(struct world *w, const struct bk_stun *m, struct bk_slice bytes)
{
    struct bk_slice box;
    bool boxed = bk_stun_find(m, BK_ATTR_BOX, &box);
    net.boxes += boxed;
    net.flags += !boxed;
    net.largest = bytes.n > net.largest ? (uint32_t)bytes.n : net.largest;
    if (loses(w, boxed ? net.lose_boxes : net.lose_flags)) {
        return false;
    }
    if (boxed && net.hold_boxes_ms > 0) {
        world_after(w, net.hold_boxes_ms * BK_MS, arrives_late, w->devices[0], bytes);
        return false;
    }
    return true;
}

static bool on_path(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                    struct bk_slice bytes)
{
    struct bk_stun m;
    (void)from;
    (void)to;
    if (bk_stun_read(bytes, &m) != BK_OK) {
        return false;
    }
    if (m.method == BK_METHOD_NOTIFY && m.cls == BK_STUN_REQUEST) {
        return !notify_passes(w, &m, bytes);
    }
    if (m.method == BK_METHOD_NOTIFY) {
        net.answers++;
        return loses(w, net.lose_answers);
    }
    if (m.method == BK_METHOD_RESULT && m.cls == BK_STUN_REQUEST) {
        net.results++;
        return loses(w, net.lose_results);
    }
    if (m.method == BK_METHOD_RESULT) {
        net.result_answers++;
        return loses(w, net.lose_result_answers);
    }
    return false;
}

static bool count_told(struct world *w, enum sim_moment moment, uint64_t stream,
                       struct bk_slice bytes)
{
    struct bk_stun m;
    (void)w;
    (void)stream;
    net.told +=
        moment == SIM_DOWN && bk_stun_read(bytes, &m) == BK_OK && m.method == BK_METHOD_RESULT;
    return false;
}

/* ---- the scene ---- */

static struct device *one_device(struct world *w)
{
    memset(&net, 0, sizeof net);
    w->config.fast_form = true;
    struct device *d = scene_device(w);
    sim_path = on_path;
    sim_hostile = count_told;
    return d;
}

static void hang_up(struct world *w, struct caller *c)
{
    caller_hang_up(c);
    scene_all_quiet(w, QUIET_S);
}

/* Streams that the device opened. */
static uint32_t device_streams(const struct world *w)
{
    uint32_t n = 0;
    for (size_t i = 0; i < w->n_streams; i++) {
        n += w->streams[i].call != NULL;
    }
    return n;
}

/* ---- nothing is lost ---- */

static void the_device_needs_no_stream(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    CHECK(w, d->told_fast == 1 && d->n_calls == 1 && w->stats.dials == 1);
    CHECK(w, device_streams(w) == 0 && w->stats.delivered == 1 && w->stats.audits == 1);
    CHECK(w, net.boxes <= 2 && net.flags == 0 && net.largest <= BK_STUN_DATAGRAM_MAX_BYTES);
    scene_expect_failure(w, scene_guess(w, d), BK_FAIL_PASSWORD, END_S);
    CHECK(w, d->told_fast == 2 && device_streams(w) == 0 && w->stats.dials == 1);
    hang_up(w, c);
    CHECK(w, net.told >= 1 && net.told <= 3);
}

/* The same world but for the form: two handshakes and two ways less. */
static void it_is_faster_than_the_first_form(struct world *w)
{
    uint64_t took[2];
    struct device *d = one_device(w);
    w->jitter_ms = 0;
    for (int fast = 0; fast < 2; fast++) {
        server_stop(w);
        w->config.fast_form = fast != 0;
        server_start(w);
        world_run(w, 60 * BK_SECOND);
        struct caller *c = scene_call(w, d);
        scene_expect_up(w, c, END_S);
        took[fast] = c->over_at - c->began;
        hang_up(w, c);
    }
    CHECK(w, d->n_calls == 2 && d->told_fast == 1);
    CHECK(w, took[1] + 4 * w->delay_ms * BK_MS <= took[0]);
}

static void by_tunnel_it_is_the_first_form(struct world *w)
{
    struct device *d = one_device(w);
    d->udp_blocked = true;
    d->tunnels = true;
    world_run(w, 300 * BK_SECOND);
    CHECK(w, d->up && d->tunnel != 0);
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    CHECK(w, d->told_call == 1 && d->told_fast == 0 && net.boxes == 0);
    caller_hang_up(c);
    world_run(w, 70 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 0);
}

/* ---- something is ---- */

static void where_what_is_large_is_lost_the_first_form_comes(struct world *w)
{
    struct device *d = one_device(w);
    net.lose_boxes = true;
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    CHECK(w, d->told_call == 1 && d->told_fast == 0 && w->stats.dials == 1);
    CHECK(w, net.boxes == 2 && net.flags >= 1 && device_streams(w) == 1);
    scene_expect_failure(w, scene_guess(w, d), BK_FAIL_PASSWORD, END_S);
    hang_up(w, c);
}

static void a_lost_answer_is_said_by_the_result(struct world *w)
{
    struct device *d = one_device(w);
    net.lose_answers = true;
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    CHECK(w, d->told_fast == 1 && d->n_calls == 1 && w->stats.dials == 1);
    scene_expect_failure(w, scene_guess(w, d), BK_FAIL_PASSWORD, END_S);
    CHECK(w, d->n_calls == 2 && device_streams(w) == 0);
    hang_up(w, c);
}

static void lost_results_come_by_a_stream(struct world *w)
{
    struct device *d = one_device(w);
    net.lose_results = true;
    scene_expect_failure(w, scene_guess(w, d), BK_FAIL_PASSWORD, END_S);
    CHECK(w, d->n_calls == 1 && net.results == BK_AGENT_RESULT_SENDS);
    CHECK(w, device_streams(w) == 1 && net.told == 1);
    scene_all_quiet(w, QUIET_S);
    struct caller *c = scene_call(w, d); /* to be up it needs no result */
    scene_expect_up(w, c, END_S);
    CHECK(w, c->over_at - c->began < 2500 * BK_MS);
    hang_up(w, c);
}

static void with_nothing_but_notify_coming_through_it_is_as_good(struct world *w)
{
    struct device *d = one_device(w);
    net.lose_answers = net.lose_results = true;
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    hang_up(w, c);
    CHECK(w, w->stats.delivered == 0 && w->stats.audits == 1); /* the server never heard of it */
    /* By stream, and with it that it was taken at all. */
    scene_expect_failure(w, scene_guess(w, d), BK_FAIL_PASSWORD, END_S);
    CHECK(w, d->n_calls == 2 && w->stats.dials == 1);
    CHECK(w, w->stats.delivered == 1 && w->stats.audits == 2);
    scene_all_quiet(w, QUIET_S);
}

static void a_result_that_is_repeated_is_told_once(struct world *w)
{
    struct device *d = one_device(w);
    net.lose_result_answers = true;
    scene_expect_failure(w, scene_guess(w, d), BK_FAIL_PASSWORD, END_S);
    world_run(w, 20 * BK_SECOND); /* and by stream in the end */
    CHECK(w, net.results >= 1 && net.told == 1 && d->n_calls == 1);
    scene_all_quiet(w, QUIET_S);
}

static void nothing_at_all_is_offline(struct world *w)
{
    struct device *d = one_device(w);
    net.lose_boxes = net.lose_flags = true;
    scene_expect_failure(w, scene_call(w, d), BK_FAIL_OFFLINE, END_S);
    CHECK(w, d->told_call == 0 && net.boxes == 2 && net.flags == 5);
    scene_all_quiet(w, QUIET_S);
}

/* ---- both forms at once ---- */

/* The flag overtakes the box: one of them is acted on. */
static void a_box_that_comes_late_starts_no_second_call(struct world *w)
{
    struct device *d = one_device(w);
    net.hold_boxes_ms = 400 + (uint32_t)world_draw(w, 4000);
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    world_run(w, 10 * BK_SECOND);
    CHECK(w, d->told_call == 1 && d->n_calls == 1 && w->stats.dials == 1);
    CHECK(w, net.boxes == 2);
    hang_up(w, c);
}

static void everything_doubled_and_out_of_order_gives_one_call(struct world *w)
{
    struct device *d = one_device(w);
    w->dup_permille = 1000;
    w->jitter_ms = 3000;
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    world_run(w, 20 * BK_SECOND);
    CHECK(w, d->told_call == 1 && d->n_calls == 1 && w->stats.dials == 1);
    CHECK(
        w,
        w->stats.audits ==
            1); /* "delivered", or "abandoned" where they were together before the server heard of it */
    hang_up(w, c);
}

/* Several callers of one device, whose boxes get through or not: those that come by stream are given to streams, those
 * that were taken are not. */
static void callers_in_either_form_do_not_get_mixed(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *callers[8];
    uint64_t dials = 0;
    for (size_t i = 0; i < 8; i++) {
        net.lose_boxes = false;
        net.mix_permille = 500;
        callers[i] = i % 4 == 3 ? scene_guess(w, d) : scene_call(w, d);
        dials += i % 4 != 3;
        world_run(w, world_draw(w, 300) * BK_MS);
    }
    for (size_t i = 0; i < 8; i++) {
        scene_expect_end(w, callers[i], END_S);
        /* So much is lost that a whole NOTIFY may be. */
        bool right = i % 4 != 3;
        CHECK(w, callers[i]->up ? right
                                : callers[i]->failure == BK_FAIL_OFFLINE ||
                                      callers[i]->failure == BK_FAIL_NO_ANSWER ||
                                      (!right && callers[i]->failure == BK_FAIL_PASSWORD));
    }
    CHECK(w, w->stats.dials <= dials && d->n_calls <= 8);
    for (size_t i = 0; i < 8; i++) {
        caller_hang_up(callers[i]);
    }
    scene_all_quiet(w, QUIET_S);
}

static void whatever_is_lost_every_call_ends_and_is_acted_on_once(struct world *w)
{
    struct device *d = one_device(w);
    for (int i = 0; i < 12; i++) {
        uint64_t dials = w->stats.dials;
        uint32_t calls = d->n_calls;
        net.lose_boxes = world_draw(w, 3) == 0;
        net.lose_flags = world_draw(w, 6) == 0;
        net.lose_answers = world_draw(w, 3) == 0;
        net.lose_results = world_draw(w, 3) == 0;
        net.lose_result_answers = world_draw(w, 3) == 0;
        net.hold_boxes_ms = world_draw(w, 3) == 0 ? (uint32_t)world_draw(w, 3000) : 0;
        net.mix_permille = (uint32_t)world_draw(w, 300);
        w->dup_permille = (uint32_t)world_draw(w, 500);
        w->jitter_ms = (uint32_t)world_draw(w, 1000);
        bool right = world_draw(w, 3) != 0;
        struct caller *c = right ? scene_call(w, d) : scene_guess(w, d);
        scene_expect_end(w, c, END_S);
        CHECK(w, !c->up || right);
        CHECK(w, !c->failed || c->failure == BK_FAIL_OFFLINE || c->failure == BK_FAIL_NO_ANSWER ||
                     c->failure == BK_FAIL_PASSWORD || c->failure == BK_FAIL_BACK_OFF);
        CHECK(w, c->failure != BK_FAIL_PASSWORD || !right);
        caller_hang_up(c);
        w->jitter_ms = 30;
        world_run(w, 100 * BK_SECOND); /* back-off of guesses is over, too */
        CHECK(w, w->stats.dials <= dials + 1 && d->n_calls <= calls + 1);
    }
    memset(&net, 0, sizeof net);
    w->dup_permille = 0;
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    hang_up(w, c);
}

/* ---- restarts meanwhile ---- */

static void the_server_restarts_meanwhile(struct world *w)
{
    struct device *d = one_device(w);
    for (int i = 0; i < 10; i++) {
        uint32_t calls = d->n_calls;
        struct caller *c = i % 2 == 0 ? scene_call(w, d) : scene_guess(w, d);
        world_run(w, world_draw(w, 1500) * BK_MS);
        server_stop(w);
        world_run(w, world_draw(w, 4000) * BK_MS);
        server_start(w);
        scene_expect_end(w, c, END_S);
        CHECK(w, c->up || c->failure == BK_FAIL_SERVER || c->failure == BK_FAIL_PASSWORD ||
                     c->failure == BK_FAIL_OFFLINE);
        world_run(w, 60 * BK_SECOND); /* results of a call that the new one knows nothing of */
        CHECK(w, device_calls_open(d) == (c->up ? 1 : 0) && d->n_calls <= calls + 1);
        caller_hang_up(c);
        world_run(w, 60 * BK_SECOND);
    }
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    hang_up(w, c);
}

/* The run that took the call is gone; the next one is told of it, finds it stale, and says so. */
static void the_device_restarts_after_it_took_the_call(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = scene_call(w, d);
    while (d->told_fast == 0 && w->now - c->began < 5 * BK_SECOND) {
        world_run(w, BK_MS);
    }
    CHECK(w, d->told_fast == 1);
    device_stop(d); /* before its call part has begun */
    world_run(w, 100 * BK_MS);
    device_start(d);
    scene_expect_up(w, c, END_S);
    CHECK(w, c->requests == 2 && w->stats.dials == 1);
    world_run(w, 20 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 1);
    hang_up(w, c);
}

static void the_operator_changes_his_mind(struct world *w)
{
    struct device *d = one_device(w);
    for (uint32_t i = 1; i <= 4; i++) {
        server_stop(w);
        w->config.fast_form = i % 2 == 0;
        server_start(w);
        world_run(w, 30 * BK_SECOND);
        struct caller *c = scene_call(w, d);
        scene_expect_up(w, c, END_S);
        CHECK(w, d->n_calls == i && d->told_fast == i / 2);
        caller_hang_up(c);
        world_run(w, 10 * BK_SECOND);
    }
    scene_all_quiet(w, QUIET_S);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"the_device_needs_no_stream", the_device_needs_no_stream, 10},
        {"it_is_faster_than_the_first_form", it_is_faster_than_the_first_form, 3},
        {"by_tunnel_it_is_the_first_form", by_tunnel_it_is_the_first_form, 3},
        {"where_what_is_large_is_lost_the_first_form_comes",
         where_what_is_large_is_lost_the_first_form_comes, 10},
        {"a_lost_answer_is_said_by_the_result", a_lost_answer_is_said_by_the_result, 10},
        {"lost_results_come_by_a_stream", lost_results_come_by_a_stream, 10},
        {"with_nothing_but_notify_coming_through_it_is_as_good",
         with_nothing_but_notify_coming_through_it_is_as_good, 10},
        {"a_result_that_is_repeated_is_told_once", a_result_that_is_repeated_is_told_once, 10},
        {"nothing_at_all_is_offline", nothing_at_all_is_offline, 3},
        {"a_box_that_comes_late_starts_no_second_call", a_box_that_comes_late_starts_no_second_call,
         20},
        {"everything_doubled_and_out_of_order_gives_one_call",
         everything_doubled_and_out_of_order_gives_one_call, 20},
        {"callers_in_either_form_do_not_get_mixed", callers_in_either_form_do_not_get_mixed, 40},
        {"whatever_is_lost_every_call_ends_and_is_acted_on_once",
         whatever_is_lost_every_call_ends_and_is_acted_on_once, 40},
        {"the_server_restarts_meanwhile", the_server_restarts_meanwhile, 20},
        {"the_device_restarts_after_it_took_the_call", the_device_restarts_after_it_took_the_call,
         10},
        {"the_operator_changes_his_mind", the_operator_changes_his_mind, 5},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
