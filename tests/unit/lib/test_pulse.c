/* Which sessions still live: asked when silent, ended when others answer, and only then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/pulse.h"

enum {
    N = 3,
    ROUND_TRIP_MS = 100,
};

/* Sessions that were last heard at `heard_ms`; those that are not dead answer a round trip after they were asked. */
struct world {
    uint64_t now_ms;
    struct {
        struct bk_pulse pulse;
        uint64_t heard_ms, answer_ms;
        bool dead;
        unsigned asked;
        uint64_t ended_ms;
    } sessions[N];
    uint32_t next_ms;
};

static void look(struct world *w)
{
    struct bk_pulse all[N];

    for (size_t i = 0; i < N; i++) {
        if (w->sessions[i].answer_ms != 0 && w->now_ms >= w->sessions[i].answer_ms &&
            !w->sessions[i].dead) {
            w->sessions[i].heard_ms = w->sessions[i].answer_ms;
            w->sessions[i].answer_ms = 0;
        }
        all[i] = w->sessions[i].pulse;
        all[i].quiet_ms = w->now_ms - w->sessions[i].heard_ms;
    }
    w->next_ms = bk_pulse_look(all, N, BK_PULSE_AFTER_MS, w->now_ms * BK_MS);
    for (size_t i = 0; i < N; i++) {
        w->sessions[i].pulse = all[i];
        if (all[i].ask) {
            assert_true(all[i].in_use);
            w->sessions[i].asked++;
            w->sessions[i].answer_ms = w->now_ms + ROUND_TRIP_MS;
        }
        if (all[i].end) {
            assert_int_equal(w->sessions[i].ended_ms, 0);
            w->sessions[i].ended_ms = w->now_ms;
            w->sessions[i].pulse.in_use = false;
        }
    }
}

/* Looks as often as it is told to, until `to_ms`. */
static void run(struct world *w, uint64_t to_ms)
{
    while (w->now_ms < to_ms) {
        look(w);
        w->now_ms =
            w->next_ms == 0 || w->now_ms + w->next_ms > to_ms ? to_ms : w->now_ms + w->next_ms;
    }
    look(w);
}

/* The first is the one that takes streams, the second stands by, the third place is free. */
static void set_up(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->sessions[0].pulse.in_use = w->sessions[0].pulse.watched = true;
    w->sessions[1].pulse.in_use = true;
}

static void test_one_alone_is_left_alone(void **state)
{
    struct world w;
    (void)state;

    set_up(&w);
    w.sessions[1].pulse.in_use = false;
    w.sessions[0].dead = true;
    run(&w, 60000);
    assert_int_equal(w.next_ms, 0);
    assert_int_equal(w.sessions[0].asked, 0);
    assert_int_equal(w.sessions[0].ended_ms, 0);
}

static void test_living_is_asked_every_eight_seconds(void **state)
{
    struct world w;
    (void)state;

    set_up(&w);
    run(&w, 80000);
    assert_in_range(w.sessions[0].asked, 8, 10);
    assert_int_equal(w.sessions[0].ended_ms, 0);
    assert_int_equal(w.sessions[1].ended_ms, 0);
}

static void test_one_that_is_heard_is_not_asked(void **state)
{
    struct world w;
    (void)state;

    set_up(&w);
    for (uint64_t ms = 1000; ms < 30000; ms += 1000) {
        run(&w, ms);
        w.sessions[0].heard_ms = ms;
    }
    assert_int_equal(w.sessions[0].asked, 0);
    assert_int_equal(w.next_ms, BK_PULSE_AFTER_MS - 1000);
}

static void test_dead_is_ended_after_thirteen_seconds(void **state)
{
    struct world w;
    (void)state;

    set_up(&w);
    w.sessions[0].dead = true;
    run(&w, 60000);
    assert_in_range(w.sessions[0].ended_ms, BK_PULSE_AFTER_MS + BK_PULSE_WAIT_MS,
                    BK_PULSE_AFTER_MS + BK_PULSE_WAIT_MS + BK_PULSE_TICK_MS);
    assert_int_equal(w.next_ms, 0);
    assert_int_equal(w.sessions[1].ended_ms, 0);
}

static void test_standby_that_is_not_watched_may_be_silent(void **state)
{
    struct world w;
    (void)state;

    set_up(&w);
    w.sessions[1].dead = true;
    run(&w, 60000);
    assert_int_equal(w.sessions[0].ended_ms, 0);
    assert_int_equal(w.sessions[1].ended_ms, 0);
    w.sessions[1].pulse.watched = true; /* on the device both are */
    run(&w, 120000);
    assert_int_equal(w.sessions[0].ended_ms, 0);
    assert_true(w.sessions[1].ended_ms != 0);
}

static void test_where_nobody_answers_all_wait(void **state)
{
    struct world w;
    (void)state;

    set_up(&w);
    w.sessions[1].pulse.watched = true;
    w.sessions[0].dead = w.sessions[1].dead = true;
    run(&w, 40000);
    assert_int_equal(w.sessions[0].ended_ms, 0);
    assert_int_equal(w.sessions[1].ended_ms, 0);
    w.sessions[1].dead =
        false; /* the cable is in again; the other is given as long as this one has taken */
    run(&w, 41000);
    assert_int_equal(w.sessions[0].ended_ms, 0);
    run(&w, 60000);
    assert_in_range(w.sessions[0].ended_ms, 41000, 47000);
    assert_int_equal(w.sessions[1].ended_ms, 0);
}

static void test_both_come_back(void **state)
{
    struct world w;
    (void)state;

    set_up(&w);
    w.sessions[1].pulse.watched = true;
    w.sessions[0].dead = w.sessions[1].dead = true;
    run(&w, 30000);
    w.sessions[0].dead = w.sessions[1].dead = false;
    run(&w, 90000);
    assert_int_equal(w.sessions[0].ended_ms, 0);
    assert_int_equal(w.sessions[1].ended_ms, 0);
}

static void test_heard_just_in_time(void **state)
{
    struct world w;
    (void)state;

    set_up(&w);
    w.sessions[0].dead = true;
    run(&w, BK_PULSE_AFTER_MS + BK_PULSE_WAIT_MS - 200);
    assert_int_equal(w.sessions[0].ended_ms, 0);
    w.sessions[0].heard_ms = w.now_ms; /* in time */
    w.sessions[0].dead = false;
    run(&w, 60000);
    assert_int_equal(w.sessions[0].ended_ms, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_alone_is_left_alone),
        cmocka_unit_test(test_living_is_asked_every_eight_seconds),
        cmocka_unit_test(test_one_that_is_heard_is_not_asked),
        cmocka_unit_test(test_dead_is_ended_after_thirteen_seconds),
        cmocka_unit_test(test_standby_that_is_not_watched_may_be_silent),
        cmocka_unit_test(test_where_nobody_answers_all_wait),
        cmocka_unit_test(test_both_come_back),
        cmocka_unit_test(test_heard_just_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
