/* Clocks that jump, for years and in either direction, while devices live: none may be lost, and nobody comes to help. */
#include "sim.h"

enum {
    DAY_S = 86400,
    HOUR_S = 3600,
};

#define YEAR_S (INT64_C(365) * DAY_S)

static uint64_t right_time(struct world *w)
{
    return world_time(w, 0, false).unix_s;
}

static void pass(struct world *w, uint64_t s)
{
    world_run(w, s * BK_SECOND);
}

static bool is_called(struct world *w, struct device *d)
{
    struct caller *c = scene_call(w, d);
    bool up = scene_run_to_end(w, c, 60) && c->up;
    if (up) {
        caller_hang_up(c);
    }
    pass(w, 20);
    return up;
}

/* A device that was provisioned a year ago, and has been off since. */
static struct device *one_device(struct world *w)
{
    w->lifecycles = true;
    scene_populate(w, 2133, 1);
    struct device *d = w->devices[0];
    pass(w, 10);
    CHECK(w, is_called(w, d));
    renewal_sign_box(d, right_time(w));
    CHECK(w, is_called(w, d));
    device_stop(d);
    pass(w, YEAR_S);
    return d;
}

/* It starts with the date of its software, or with nonsense, and nothing sets it: others can call it all the same, weeks
 * on end, and after it has been set right. */
static void a_host_with_a_wrong_clock_is_called(struct world *w)
{
    static const int64_t offs[] = {-200 * (int64_t)DAY_S, -2 * DAY_S, 2 * DAY_S, 4 * YEAR_S};
    struct device *d = one_device(w);
    for (size_t i = 0; i < sizeof offs / sizeof offs[0]; i++) {
        d->clock_off_s = offs[i];
        device_start(d);
        pass(w, 5 * 60);
        CHECK(w, is_called(w, d));
        pass(w, 25 * DAY_S);
        CHECK(w, is_called(w, d));
        d->clock_off_s = 0;
        CHECK(w, is_called(w, d));
        pass(w, 25 * DAY_S);
        CHECK(w, is_called(w, d));
        device_stop(d);
        pass(w, 25 * DAY_S);
    }
}

/* For hours the server's clock is years ahead, or behind; devices renew meanwhile. Once it is right they are called again,
 * within the hour, whether they have clocks or not. */
static void a_server_with_a_wrong_clock_does_no_lasting_harm(struct world *w)
{
    static const int64_t offs[] = {9 * YEAR_S, 30 * (int64_t)DAY_S, -30 * (int64_t)DAY_S};
    struct device *d = one_device(w);
    for (size_t i = 0; i < 2 * sizeof offs / sizeof offs[0]; i++) {
        d->no_clock = i % 2 != 0;
        w->server_clock_off_s = offs[i / 2];
        device_start(d);
        pass(w, 3 * HOUR_S);
        w->server_clock_off_s = 0;
        pass(w, HOUR_S + 10 * 60);
        CHECK(w, is_called(w, d));
        pass(w, 25 * DAY_S);
        CHECK(w, is_called(w, d));
        device_stop(d);
        pass(w, DAY_S);
    }
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"a_host_with_a_wrong_clock_is_called", a_host_with_a_wrong_clock_is_called, 1},
        {"a_server_with_a_wrong_clock_does_no_lasting_harm",
         a_server_with_a_wrong_clock_does_no_lasting_harm, 1},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
