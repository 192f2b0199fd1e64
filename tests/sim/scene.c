/* How most scenarios begin and end: one registered device, a caller who calls it, and the quiet afterwards. */
#include "sim.h"

struct device *scene_device(struct world *w)
{
    struct router *r = router_add(w, bk_addr_v4(202, 204, 16, 13, 0), true);
    struct device *d = device_add(w, r, 2133);
    server_start(w);
    device_start(d);
    world_run(w, 200 * BK_SECOND);
    CHECK(w, d->up || w->loss_permille > 0);
    return d;
}

void scene_populate(struct world *w, uint64_t first_id, size_t n)
{
    server_start(w);
    for (size_t i = 0; i < n; i++) {
        device_start(device_add(w, NULL, first_id + i));
        if (i % 100 == 0) {
            world_run(w, 100 * BK_MS); /* they do not all start in one instant */
        }
    }
    world_run(w, BK_AGENT_KEEPALIVE_S * BK_SECOND);
    CHECK(w, bk_server_rows(w->server) == n);
}

struct caller *scene_call(struct world *w, struct device *d)
{
    struct caller *c = caller_add(w, d);
    caller_start(c);
    return c;
}

struct caller *scene_guess(struct world *w, struct device *d)
{
    struct caller *c = caller_add(w, d);
    c->password = "guess";
    caller_start(c);
    return c;
}

bool scene_run_to_end(struct world *w, const struct caller *c, uint64_t at_most_s)
{
    while (!c->up && !c->failed && w->now - c->began < at_most_s * BK_SECOND) {
        world_run(w, 10 * BK_MS);
    }
    return c->up || c->failed;
}

void scene_expect_end(struct world *w, const struct caller *c, uint64_t within_s)
{
    CHECK(w, scene_run_to_end(w, c, 60));
    CHECK(w, c->over_at - c->began <= within_s * BK_SECOND);
}

void scene_expect_up(struct world *w, const struct caller *c, uint64_t within_s)
{
    scene_expect_end(w, c, within_s);
    CHECK(w, c->up);
}

void scene_expect_failure(struct world *w, const struct caller *c,
                          enum bk_requester_failure failure, uint64_t within_s)
{
    scene_expect_end(w, c, within_s);
    CHECK(w, c->failed && c->failure == failure);
}

bool scene_is_reached(struct world *w, struct device *d)
{
    struct caller *c = scene_call(w, d);
    scene_run_to_end(w, c, 60);
    bool up = c->up;
    caller_hang_up(c);
    world_run(w, BK_SECOND);
    return up;
}

void scene_all_quiet(struct world *w, uint64_t after_s)
{
    world_run(w, after_s * BK_SECOND);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, device_calls_open(w->devices[i]) == 0);
    }
    for (size_t i = 0; i < w->n_streams; i++) {
        CHECK(w, !w->streams[i].server_open && !w->streams[i].client_open);
    }
}
