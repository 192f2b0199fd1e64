/* Many devices: a server restart with ten thousand, and how fast the simulation runs. */
#define _POSIX_C_SOURCE 200809L
#include "sim.h"

#include <stdio.h>
#include <time.h>

static void restart_with_ten_thousand_devices(struct world *w)
{
    scene_populate(w, 1, 10000);
    world_run(w, 30 * BK_SECOND);
    server_stop(w);
    server_start(w);
    CHECK(w, bk_server_rows(w->server) == 0);
    uint64_t before = w->stats.datagrams;
    world_run(w, BK_AGENT_KEEPALIVE_S * BK_SECOND);
    /* A keepalive on its way at the restart was lost with it: half a second and a round trip more. */
    world_run(w, BK_SECOND);
    CHECK(w, bk_server_rows(w->server) == 10000);
    CHECK(w, w->stats.streams == 0);
    CHECK(w, w->stats.datagrams - before < 10000 * 9); /* one more exchange each, and no storm */
    for (int i = 0; i < 10; i++) {
        struct caller *c = caller_add(w, w->devices[world_draw(w, 10000)]);
        caller_start(c);
        world_run(w, 5 * BK_SECOND);
        CHECK(w, c->up);
        caller_hang_up(c);
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void speed(struct world *w)
{
    enum { DEVICES = 1000, VIRTUAL_S = 5000 };
    scene_populate(w, 1, DEVICES);
    double began = seconds();
    world_run(w, VIRTUAL_S * BK_SECOND);
    double took = seconds() - began;
    CHECK(w, bk_server_rows(w->server) == DEVICES);
    printf("speed: %d devices for %d virtual seconds in %.2f s: %.0f virtual seconds a second\n",
           DEVICES, VIRTUAL_S, took, VIRTUAL_S / took);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"restart_with_ten_thousand_devices", restart_with_ten_thousand_devices, 1},
        {"speed", speed, 1},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
