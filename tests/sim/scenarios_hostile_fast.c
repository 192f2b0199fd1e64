/* Lies in the fast form: requests and results that are kept and said again by datagram, by who has the server and with it the
 * devices' registration keys, or by who is on the path and has none. As in scenarios_hostile_server.c the simulation's own
 * checks hold throughout: nothing is dialled but for a caller who knew the password, and only where that caller said. */
#include "sim.h"

#include <string.h>

#include "wire/connect.h"
#include "wire/notify.h"
#include "wire/result.h"

enum {
    KEPT_MAX = 16,
    MINUTE_S = 60,
    HOUR_S = 3600,
};

struct kept_datagram {
    struct bk_addr from, to;
    size_t n;
    uint8_t bytes[BK_STUN_DATAGRAM_MAX_BYTES];
};

static struct {
    struct kept_datagram boxes[KEPT_MAX], results[KEPT_MAX];
    size_t n_boxes, n_results;
    bool keep_boxes; /* NOTIFY reaches no device */
    bool mine;       /* what is sent now is his own */
    uint64_t given_on;
    struct bk_slice given; /* to say on the next connection of a device */
    uint32_t told;         /* RESULTs to callers */
    uint32_t answered;     /* RESULTs by datagram */
} man;

static void keep(struct kept_datagram *list, size_t *n, const struct bk_addr *from,
                 const struct bk_addr *to, struct bk_slice bytes)
{
    if (*n < KEPT_MAX) {
        list[*n] = (struct kept_datagram){.from = *from, .to = *to, .n = bytes.n};
        memcpy(list[*n].bytes, bytes.p, bytes.n);
        (*n)++;
    }
}

static bool on_path(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                    struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_slice box;
    (void)w;
    if (man.mine || bk_stun_read(bytes, &m) != BK_OK) {
        return false;
    }
    man.answered += m.method == BK_METHOD_RESULT && m.cls == BK_STUN_SUCCESS;
    if (m.method == BK_METHOD_NOTIFY && m.cls == BK_STUN_REQUEST) {
        if (bk_stun_find(&m, BK_ATTR_BOX, &box)) {
            keep(man.boxes, &man.n_boxes, from, to, bytes);
        }
        return man.keep_boxes;
    }
    if (m.method == BK_METHOD_RESULT && m.cls == BK_STUN_REQUEST) {
        keep(man.results, &man.n_results, from, to, bytes);
    }
    return false;
}

static bool in_server(struct world *w, enum sim_moment moment, uint64_t stream,
                      struct bk_slice bytes)
{
    struct bk_stun m;
    switch (moment) {
    case SIM_DOWN:
        man.told += bk_stun_read(bytes, &m) == BK_OK && m.method == BK_METHOD_RESULT;
        return false;
    case SIM_OPENED:
        if (man.given.n > 0 && w->streams[stream - 1].call != NULL) {
            server_says(w, stream, man.given);
            man.given = BK_SLICE_EMPTY;
            man.given_on = stream;
        }
        return false;
    case SIM_UP:
    case SIM_CLOSES:
        return stream == man.given_on;
    }
    return false;
}

static struct device *one_device(struct world *w)
{
    memset(&man, 0, sizeof man);
    w->config.fast_form = true;
    struct device *d = scene_device(w);
    sim_path = on_path;
    sim_hostile = in_server;
    return d;
}

static void run_to_end(struct world *w, const struct caller *c)
{
    CHECK(w, scene_run_to_end(w, c, 120));
}

static void expect_up(struct world *w, struct caller *c)
{
    run_to_end(w, c);
    CHECK(w, c->up);
}

static void inject(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                   struct bk_slice bytes)
{
    man.mine = true;
    net_inject(w, from, to, bytes);
    man.mine = false;
}

/* What the server sent, taken apart. One caller's name is like another's here. */
static struct bk_notify opened(struct world *w, const struct device *d,
                               const struct kept_datagram *k)
{
    static uint8_t user[BK_NAME_MAX_BYTES]; /* what was read points into itself */
    struct bk_stun m;
    struct bk_notify n;
    CHECK(w, bk_stun_read(bk_slice(k->bytes, k->n), &m) == BK_OK);
    CHECK(w, bk_notify_read(&m, &w->config.mac, BK_SLICE_OF(d->key), &n) == BK_OK);
    memcpy(user, n.user_text, sizeof user);
    n.user = bk_slice(user, n.user.n);
    return n;
}

/* As a new one, to the device where it is now. */
static void notify(struct world *w, struct device *d, struct bk_notify n)
{
    uint8_t buf[BK_STUN_DATAGRAM_MAX_BYTES], txid[BK_STUN_TXID_BYTES];
    struct bk_random rng = world_random(w);
    struct bk_slice bytes;
    rng.fill(rng.ctx, txid, sizeof txid);
    n.tag = d->registration.tag;
    CHECK(w, bk_notify_write(buf, sizeof buf, txid, &n, &w->config.mac, BK_SLICE_OF(d->key),
                             &bytes) == BK_OK);
    inject(w, &w->server_addr, &d->used[(d->n_used - 1) % SIM_USED_MAX], bytes);
    world_run(w, 3 * BK_SECOND);
}

/* The same by the first form. */
static const struct sim_call *offer(struct world *w, struct device *d, const struct bk_notify *n)
{
    static uint8_t buf[2048];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_connect c = {.equipment_id = d->id, .box = n->box, .user = n->user};
    uint32_t before = d->n_calls;
    memcpy(c.call_id, n->call_id, sizeof c.call_id);
    CHECK(w, bk_connect_write(buf, sizeof buf, txid, &c, &man.given) == BK_OK);
    notify(w, d, (struct bk_notify){.fast = false});
    CHECK(w, d->n_calls == before + 1 && man.given.n == 0);
    return d->calls;
}

/* So much else that the idle part's own memory of calls is full of it. */
static void flood(struct world *w, struct device *d)
{
    struct bk_random rng = world_random(w);
    for (int i = 0; i < BK_AGENT_SEEN_MAX + 4; i++) {
        uint8_t box[100];
        struct bk_notify n = {.fast = true, .box = BK_SLICE_OF(box)};
        rng.fill(rng.ctx, box, sizeof box);
        rng.fill(rng.ctx, n.call_id, sizeof n.call_id);
        notify(w, d, n);
        CHECK(w, d->calls->ended && d->calls->end == BK_CALL_END_BAD_REQUEST);
    }
}

static bool is_dead(const struct sim_call *c)
{
    return c->ended && (c->end == BK_CALL_END_REPEATED || c->end == BK_CALL_END_STALE);
}

/* ---- requests ---- */

static void a_request_serves_once_in_whatever_form_it_comes_again(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = scene_call(w, d);
    expect_up(w, c);
    CHECK(w, d->n_calls == 1 && man.n_boxes >= 1);
    struct bk_notify n = opened(w, d, &man.boxes[0]);
    for (int i = 0; i < 40; i++) {
        uint32_t before = d->n_calls;
        world_run(w, world_draw(w, i < 30 ? 20 : 2 * HOUR_S) * BK_SECOND);
        if (world_draw(w, 2) == 0) {
            CHECK(w, is_dead(offer(w, d, &n)));
        } else {
            notify(w, d, n);
            CHECK(w, d->n_calls == before || is_dead(d->calls));
        }
    }
    CHECK(w, w->stats.dials == 1 && w->n_sessions == 1);
    CHECK(w, device_calls_open(d) == 1); /* the one call, which stands all that time */
}

static void nor_after_the_idle_part_has_forgotten_it(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = scene_call(w, d);
    expect_up(w, c);
    struct bk_notify n = opened(w, d, &man.boxes[0]);
    flood(w, d);
    uint32_t before = d->n_calls;
    notify(w, d, n);
    CHECK(w, d->n_calls == before + 1 && is_dead(d->calls));
    CHECK(w, w->stats.dials == 1 && w->n_sessions == 1);
}

/* Held back, its caller long gone. */
static void a_request_delivered_late_is_stale(struct world *w)
{
    struct device *d = one_device(w);
    man.keep_boxes = true;
    struct caller *c = scene_call(w, d);
    run_to_end(w, c);
    CHECK(w, c->failed && c->failure == BK_FAIL_OFFLINE && d->n_calls == 0);
    struct bk_notify n = opened(w, d, &man.boxes[0]);
    world_run(w, (5 * MINUTE_S + world_draw(w, 24 * HOUR_S)) * BK_SECOND);
    notify(w, d, n);
    CHECK(w, d->n_calls == 1 && d->calls->end == BK_CALL_END_STALE);
    device_stop(d);
    device_start(d);
    world_run(w, 5 * BK_SECOND);
    notify(w, d, n);
    CHECK(w, d->n_calls == 2 && d->calls->end == BK_CALL_END_STALE);
    CHECK(w, w->stats.dials == 0);
}

static void a_request_of_before_the_devices_restart_is_stale(struct world *w)
{
    struct device *d = one_device(w);
    man.keep_boxes = true;
    struct caller *c = scene_call(w, d);
    run_to_end(w, c);
    CHECK(w, c->failed);
    man.keep_boxes = false;
    struct bk_notify n = opened(w, d, &man.boxes[0]);
    device_stop(d);
    device_start(d);
    world_run(w, world_draw(w, 60) * BK_SECOND + 2 * BK_SECOND);
    notify(w, d, n);
    CHECK(w, d->n_calls == 1 && d->calls->end == BK_CALL_END_STALE);
    CHECK(w, w->stats.dials == 0);
}

/* What stands outside of one call around the box of another: nothing opens, and nothing is used up. */
static void boxes_exchanged_among_calls_are_refused(struct world *w)
{
    struct device *d = one_device(w);
    man.keep_boxes = true;
    struct caller *callers[3];
    struct bk_notify n[3];
    for (size_t i = 0; i < 3; i++) {
        callers[i] = scene_call(w, d);
        run_to_end(w, callers[i]);
        CHECK(w, man.n_boxes == 2 * (i + 1));
        n[i] = opened(w, d, &man.boxes[2 * i]);
    }
    for (size_t i = 0; i < 3; i++) {
        struct bk_notify mixed = n[i];
        mixed.box = n[(i + 1) % 3].box;
        mixed.call_id[BK_CALL_ID_BYTES - 1] ^= 1; /* the idle part would take it for that call */
        notify(w, d, mixed);
        CHECK(w, d->calls->ended && d->calls->end == BK_CALL_END_BAD_REQUEST);
    }
    CHECK(w, w->stats.dials == 0);
    notify(w, d, n[2]);
    CHECK(w, w->stats.dials == 1 && d->n_calls == 4);
}

/* He who has the server says a caller's name as he likes: it is a note. A request under another device's name is not. */
static void a_request_for_another_device_is_refused(struct world *w)
{
    struct device *d = one_device(w);
    struct device *other = device_add(w, d->router, 2134);
    device_start(other);
    world_run(w, 60 * BK_SECOND);
    man.keep_boxes = true;
    struct caller *c = scene_call(w, d);
    run_to_end(w, c);
    man.keep_boxes = false;
    notify(w, other, opened(w, d, &man.boxes[0]));
    CHECK(w, other->n_calls == 1 && other->calls->end == BK_CALL_END_BAD_REQUEST);
    CHECK(w, w->stats.dials == 0);
}

/* ---- by who has no key ---- */

/* Every datagram of a call, again and again for hours, from anywhere: nobody is told anything twice, nothing is dialled. */
static void datagrams_said_again_by_others_do_nothing(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = scene_call(w, d);
    struct caller *wrong = caller_add(w, d);
    wrong->password = "guess";
    caller_start(wrong);
    expect_up(w, c);
    run_to_end(w, wrong);
    CHECK(w, wrong->failure == BK_FAIL_PASSWORD && man.n_results >= 2);
    uint32_t told = man.told, calls = d->n_calls;
    struct bk_addr elsewhere = bk_addr_v4(198, 51, 100, 66, 4000);
    for (int i = 0; i < 200; i++) {
        const struct kept_datagram *k = world_draw(w, 2) == 0
                                            ? &man.boxes[world_draw(w, man.n_boxes)]
                                            : &man.results[world_draw(w, man.n_results)];
        inject(w, world_draw(w, 2) == 0 ? &elsewhere : &k->from, &k->to, bk_slice(k->bytes, k->n));
        world_run(w, world_draw(w, i < 100 ? 1 : 2 * MINUTE_S) * BK_SECOND);
    }
    CHECK(w, man.told == told && d->n_calls == calls && w->stats.dials == 1);
    CHECK(w, device_calls_open(d) == 1 && d->up);
}

/* RESULT that was changed on its way is nobody's; the true one comes after it. */
static void a_changed_result_is_not_believed(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = caller_add(w, d);
    c->password = "guess";
    caller_start(c);
    run_to_end(w, c);
    CHECK(w, c->failure == BK_FAIL_PASSWORD && man.n_results >= 1);
    uint32_t told = man.told, answered = man.answered;
    for (size_t i = 20; i < man.results[0].n; i++) {
        struct kept_datagram k = man.results[0];
        k.bytes[i] ^= (uint8_t)(1u << world_draw(w, 8));
        net_inject(w, &k.from, &k.to, bk_slice(k.bytes, k.n));
        world_run(w, 100 * BK_MS);
    }
    CHECK(w, man.told == told && man.answered == answered);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"a_request_serves_once_in_whatever_form_it_comes_again",
         a_request_serves_once_in_whatever_form_it_comes_again, 20},
        {"nor_after_the_idle_part_has_forgotten_it", nor_after_the_idle_part_has_forgotten_it, 2},
        {"a_request_delivered_late_is_stale", a_request_delivered_late_is_stale, 5},
        {"a_request_of_before_the_devices_restart_is_stale",
         a_request_of_before_the_devices_restart_is_stale, 10},
        {"boxes_exchanged_among_calls_are_refused", boxes_exchanged_among_calls_are_refused, 5},
        {"a_request_for_another_device_is_refused", a_request_for_another_device_is_refused, 3},
        {"datagrams_said_again_by_others_do_nothing", datagrams_said_again_by_others_do_nothing,
         10},
        {"a_changed_result_is_not_believed", a_changed_result_is_not_believed, 5},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
