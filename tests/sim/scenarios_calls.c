/* Calls from START to the picked session, and every way in which they may not come about. */
#include "sim.h"

#include <string.h>

enum {
    END_S = 13, /* until a call stands or has failed, at most */
    QUIET_S = 30,
};

static void success(struct world *w)
{
    struct device *d = scene_device(w);
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    CHECK(w, c->requests == 1 && d->n_calls == 1 && w->stats.dials == 1);
    CHECK(w, w->stats.delivered == 1 && w->stats.audits == 1);
    world_run(w, 1000 * BK_SECOND); /* it stands for as long as they like, the server idle */
    CHECK(w, device_calls_open(d) == 1);
    for (size_t i = 0; i < w->n_streams; i++) {
        CHECK(w, !w->streams[i].server_open && !w->streams[i].client_open);
    }
    caller_hang_up(c);
    scene_all_quiet(w, QUIET_S);
    CHECK(w, d->calls->ended && d->calls->end == BK_CALL_END_SERVED);
}

/* So much loss that a registration may lapse for a moment: then the caller is told, and the next call is as good. */
static void success_through_loss(struct world *w)
{
    w->loss_permille = 200;
    w->dup_permille = 200;
    struct device *d = scene_device(w);
    unsigned offline = 0;
    for (int i = 0; i < 5; i++) {
        struct caller *c = scene_call(w, d);
        scene_expect_end(w, c, END_S);
        if (c->failed) {
            CHECK(w, c->failure == BK_FAIL_OFFLINE && offline++ == 0);
            world_run(w, 60 * BK_SECOND);
            c = scene_call(w, d);
        }
        scene_expect_up(w, c, END_S);
        caller_hang_up(c);
        world_run(w, 20 * BK_SECOND);
    }
    CHECK(w, d->n_calls == 5);
    scene_all_quiet(w, QUIET_S);
}

static void a_doubled_notify_gives_one_call(struct world *w)
{
    w->dup_permille = 1000;
    w->jitter_ms = 2000;
    struct device *d = scene_device(w);
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    world_run(w, 20 * BK_SECOND);
    CHECK(w, d->told_call == 1 && d->n_calls == 1);
    caller_hang_up(c);
    scene_all_quiet(w, QUIET_S);
}

static void wrong_password_and_back_off(struct world *w)
{
    struct device *d = scene_device(w);
    for (int i = 0; i <= BK_GUESSES_FREE; i++) {
        scene_expect_failure(w, scene_guess(w, d), BK_FAIL_PASSWORD, END_S);
    }
    CHECK(w, w->stats.dials == 0);
    struct caller *c = scene_call(w, d); /* right, but too soon */
    scene_expect_failure(w, c, BK_FAIL_BACK_OFF, END_S);
    world_run(w, 2 * BK_SECOND);
    c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    caller_hang_up(c);
    scene_all_quiet(w, QUIET_S);
}

static void guesses_at_the_same_time(struct world *w)
{
    struct device *d = scene_device(w);
    struct caller *callers[40];
    for (int i = 0; i < 40; i++) {
        callers[i] = scene_guess(w, d);
        world_run(w, 20 * BK_MS);
    }
    unsigned looked_at = 0;
    for (int i = 0; i < 40; i++) {
        scene_expect_end(w, callers[i], END_S);
        looked_at += callers[i]->failed && callers[i]->failure == BK_FAIL_PASSWORD;
    }
    CHECK(w, looked_at >= BK_GUESSES_FREE && looked_at <= BK_GUESSES_FREE + 2);
    CHECK(w, w->stats.dials == 0);
    scene_all_quiet(w, QUIET_S);
}

static void unknown_and_ungranted_look_alike(struct world *w)
{
    struct device *d = scene_device(w);
    struct device *hidden = device_add(w, d->router, 7);
    static struct device nobody;
    nobody = *hidden;
    nobody.id = 99;
    nobody.has_identity = false;
    hidden->granted = false;
    struct caller *unknown = scene_call(w, &nobody);
    struct caller *ungranted = scene_call(w, hidden);
    scene_expect_failure(w, unknown, BK_FAIL_UNKNOWN_DEVICE, END_S);
    scene_expect_failure(w, ungranted, BK_FAIL_UNKNOWN_DEVICE, END_S);
    CHECK(w, unknown->over_at - unknown->began == ungranted->over_at - ungranted->began);
    scene_all_quiet(w, QUIET_S);
}

static void offline(struct world *w)
{
    struct device *d = scene_device(w);
    struct device *never = device_add(w, d->router, 2134);
    scene_expect_failure(w, scene_call(w, never), BK_FAIL_OFFLINE, END_S);
    device_stop(d); /* its row is still there */
    scene_expect_failure(w, scene_call(w, d), BK_FAIL_OFFLINE, END_S);
    scene_all_quiet(w, QUIET_S);
    device_start(d);
    world_run(w, 5 * BK_SECOND);
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    caller_hang_up(c);
    scene_all_quiet(w, QUIET_S);
}

static void revoked(struct world *w)
{
    struct device *d = scene_device(w);
    struct caller *c = scene_call(w, d);
    world_run(w, 300 * BK_MS); /* looked up, not yet requested */
    server_revoke(w, d);
    scene_expect_failure(w, c, BK_FAIL_REVOKED, END_S);
    scene_expect_failure(w, scene_call(w, d), BK_FAIL_REVOKED, END_S);
    CHECK(w, w->stats.dials == 0);
    scene_all_quiet(w, QUIET_S);
}

static void server_down(struct world *w)
{
    struct device *d = scene_device(w);
    server_stop(w);
    scene_expect_failure(w, scene_call(w, d), BK_FAIL_SERVER, END_S);
}

static void clocks_do_not_matter(struct world *w)
{
    static const int64_t offs[] = {0, 100, -100, 86400, -86400 * 365};
    struct device *d = scene_device(w);
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < 5; k++) {
            for (int clocks = 0; clocks < 4; clocks++) {
                d->clock_off_s = offs[i];
                d->no_clock = (clocks & 1) != 0;
                struct caller *c = caller_add(w, d);
                c->clock_off_s = offs[k];
                c->no_clock = (clocks & 2) != 0;
                caller_start(c);
                scene_expect_up(w, c, END_S);
                caller_hang_up(c);
                world_run(w, BK_SECOND);
            }
        }
    }
    scene_all_quiet(w, QUIET_S);
}

static void stale_is_tried_once_more(struct world *w)
{
    struct device *d = scene_device(w);
    struct caller *c = caller_add(w, d);
    c->clock_off_s = 86400;
    caller_start(c);
    world_run(w, 300 * BK_MS); /* LOOKUP has the old tag by now */
    device_start(d);
    scene_expect_up(w, c, END_S);
    CHECK(w, c->requests == 2 && d->n_calls == 2 && w->stats.dials == 1);
    caller_hang_up(c);
    scene_all_quiet(w, QUIET_S);
}

static void unreachable_always_takes_the_same_time(struct world *w)
{
    struct device *d = scene_device(w);
    w->jitter_ms = 0; /* what comes by datagram takes the same time each time */
    for (int silent = 0; silent < 2; silent++) {
        for (int policy = 0; policy < 2; policy++) {
            uint64_t dials = w->stats.dials;
            struct caller *c = caller_add(w, d);
            c->reachable = false;
            c->silent = silent != 0;
            if (policy) {
                c->candidate.addr = bk_addr_v4(127, 0, 0, 1, 5000);
            }
            caller_start(c);
            scene_expect_failure(w, c, BK_FAIL_NO_ANSWER, END_S);
            CHECK(w, c->over_at - c->accepted_at == BK_CALL_NO_ANSWER_MS * BK_MS);
            CHECK(w, w->stats.dials - dials == (policy ? 0 : 1));
        }
    }
    scene_all_quiet(w, QUIET_S);
}

static void no_candidate(struct world *w)
{
    struct device *d = scene_device(w);
    struct caller *c = caller_add(w, d);
    c->n_candidates = 0;
    caller_start(c);
    scene_expect_failure(w, c, BK_FAIL_NO_CANDIDATE, END_S);
    CHECK(w, d->told_call == 0);
    scene_all_quiet(w, QUIET_S);
}

static void many_calls_to_one_device(struct world *w)
{
    struct device *d = scene_device(w);
    struct caller *callers[12];
    for (size_t i = 0; i < 12; i++) {
        callers[i] = scene_call(w, d);
        world_run(w, world_draw(w, 100 * BK_MS));
    }
    for (size_t i = 0; i < 12; i++) {
        scene_expect_up(w, callers[i], END_S);
    }
    CHECK(w, d->n_calls == 12 && w->stats.dials == 12);
    for (size_t i = 0; i < 12; i++) {
        caller_hang_up(callers[i]);
    }
    scene_all_quiet(w, QUIET_S);
}

static void caller_gives_up(struct world *w)
{
    struct device *d = scene_device(w);
    for (int i = 0; i < 10; i++) {
        struct caller *c = caller_add(w, d);
        caller_start(c);
        world_run(w, world_draw(w, 1500 * BK_MS));
        c->reachable = false;
        c->silent = true;
        caller_hang_up(c);
        world_run(w, 15 * BK_SECOND);
    }
    scene_all_quiet(w, QUIET_S);
}

static void server_restarts_mid_call(struct world *w)
{
    struct device *d = scene_device(w);
    for (int i = 0; i < 10; i++) {
        struct caller *c = scene_call(w, d);
        world_run(w, world_draw(w, 2 * BK_SECOND));
        server_stop(w);
        world_run(w, BK_SECOND);
        server_start(w);
        scene_expect_end(w, c, END_S);
        CHECK(w, c->up || (c->failed && c->failure == BK_FAIL_SERVER));
        if (c->up) {
            world_run(w, 20 * BK_SECOND);
            CHECK(w, device_calls_open(d) == 1); /* what stands does not need the server */
            caller_hang_up(c);
        }
        world_run(w, 30 * BK_SECOND);
        c = scene_call(w, d); /* within one interval all is as before */
        scene_expect_up(w, c, END_S);
        caller_hang_up(c);
        world_run(w, 5 * BK_SECOND);
    }
    scene_all_quiet(w, QUIET_S);
}

static void a_call_waits_for_the_row_after_a_restart(struct world *w)
{
    struct device *d = scene_device(w);
    server_stop(w);
    server_start(w);
    struct caller *c = scene_call(w, d); /* the row may come within the delivery time, or not */
    scene_expect_end(w, c, END_S);
    CHECK(w, c->up || (c->failed && c->failure == BK_FAIL_OFFLINE));
    bool soon = bk_registration_deadline(&d->registration) < c->began;
    CHECK(w, !soon || c->up);
    if (c->up) {
        caller_hang_up(c);
    }
    scene_all_quiet(w, QUIET_S);
}

static void a_call_id_serves_once(struct world *w)
{
    struct device *d = scene_device(w);
    struct caller *first = scene_call(w, d);
    scene_expect_up(w, first, END_S);
    caller_hang_up(first);
    world_run(w, 5 * BK_SECOND);
    struct caller *again = caller_add(w, d);
    again->repeats_id = true;
    memcpy(again->call_id, first->call_id, sizeof again->call_id);
    caller_start(again);
    scene_expect_end(w, again, END_S);
    CHECK(w, again->failed && w->stats.dials == 1);
    CHECK(w, w->config.fast_form /* the idle part knows it */
                 ? d->n_calls == 1
                 : d->calls->ended && d->calls->end == BK_CALL_END_REPEATED);
    scene_all_quiet(w, QUIET_S);
}

static void after_renumbering(struct world *w)
{
    struct device *d = scene_device(w);
    router_reboot(d->router);
    d->router->public_ip = bk_addr_v4(202, 204, 16, 77, 0);
    world_run(w, 2 * BK_AGENT_KEEPALIVE_S * BK_SECOND);
    struct caller *c = scene_call(w, d);
    scene_expect_up(w, c, END_S);
    caller_hang_up(c);
    scene_all_quiet(w, QUIET_S);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"success", success, 10},
        {"success_through_loss", success_through_loss, 20},
        {"a_doubled_notify_gives_one_call", a_doubled_notify_gives_one_call, 10},
        {"wrong_password_and_back_off", wrong_password_and_back_off, 5},
        {"guesses_at_the_same_time", guesses_at_the_same_time, 5},
        {"unknown_and_ungranted_look_alike", unknown_and_ungranted_look_alike, 5},
        {"offline", offline, 5},
        {"revoked", revoked, 5},
        {"server_down", server_down, 3},
        {"clocks_do_not_matter", clocks_do_not_matter, 2},
        {"stale_is_tried_once_more", stale_is_tried_once_more, 5},
        {"unreachable_always_takes_the_same_time", unreachable_always_takes_the_same_time, 5},
        {"no_candidate", no_candidate, 3},
        {"many_calls_to_one_device", many_calls_to_one_device, 10},
        {"caller_gives_up", caller_gives_up, 10},
        {"server_restarts_mid_call", server_restarts_mid_call, 10},
        {"a_call_waits_for_the_row_after_a_restart", a_call_waits_for_the_row_after_a_restart, 10},
        {"a_call_id_serves_once", a_call_id_serves_once, 5},
        {"after_renumbering", after_renumbering, 5},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
