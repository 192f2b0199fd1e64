/* The virtual clock and the queue of events. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fill(void *ctx, uint8_t *out, size_t n)
{
    struct world *w = ctx;
    for (size_t i = 0; i < n;) {
        w->rng_state += UINT64_C(0x9E3779B97F4A7C15);
        uint64_t z = w->rng_state;
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        z ^= z >> 31;
        size_t k = n - i < sizeof z ? n - i : sizeof z;
        memcpy(out + i, &z, k);
        i += k;
    }
}

struct bk_random world_random(struct world *w)
{
    return (struct bk_random){w, fill};
}

uint64_t world_draw(struct world *w, uint64_t bound)
{
    struct bk_random rng = world_random(w);
    return bk_random_below(&rng, bound);
}

struct bk_now world_time(const struct world *w, int64_t off_s, bool no_clock)
{
    uint64_t unix_s = UINT64_C(1700000000) + w->now / BK_SECOND + (uint64_t)off_s;
    return (struct bk_now){.mono = w->now, .unix_s = no_clock ? 0 : unix_s};
}

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

static void push(struct world *w, struct event *e)
{
    if (w->n_events == w->cap_events) {
        w->cap_events = w->cap_events == 0 ? 1024 : 2 * w->cap_events;
        w->heap = realloc(w->heap, w->cap_events * sizeof(struct event *));
        if (w->heap == NULL) {
            abort();
        }
    }
    size_t i = w->n_events++;
    while (i > 0 && earlier(e, w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = e;
}

static struct event *pop(struct world *w)
{
    struct event *first = w->heap[0];
    struct event *last = w->heap[--w->n_events];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->n_events) {
            break;
        }
        if (child + 1 < w->n_events && earlier(w->heap[child + 1], w->heap[child])) {
            child++;
        }
        if (!earlier(w->heap[child], last)) {
            break;
        }
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return first;
}

struct event *world_after(struct world *w, uint64_t ns, void (*run)(struct world *, struct event *),
                          void *who, struct bk_slice bytes)
{
    struct event *e = calloc(1, sizeof *e + bytes.n);
    if (e == NULL) {
        abort();
    }
    e->at = bk_time_add(w->now, ns);
    e->seq = w->seq++;
    e->run = run;
    e->who = who;
    e->n = bytes.n;
    e->bytes = (uint8_t *)(e + 1);
    if (bytes.n > 0) {
        memcpy(e->bytes, bytes.p, bytes.n);
    }
    push(w, e);
    return e;
}

void world_alarm(struct world *w, struct alarm *alarm, bk_time deadline,
                 void (*run)(struct world *, struct event *), void *who)
{
    if (deadline < alarm->set) {
        alarm->set = deadline > w->now ? deadline : w->now;
        world_after(w, alarm->set - w->now, run, who, BK_SLICE_EMPTY);
    }
}

bool world_alarm_rings(struct world *w, struct alarm *alarm, const struct event *e)
{
    (void)w;
    if (e->at != alarm->set) {
        return false; /* an earlier one was set since */
    }
    alarm->set = BK_TIME_NEVER;
    return true;
}

bool world_step(struct world *w, bk_time until)
{
    if (w->n_events == 0 || w->heap[0]->at > until) {
        w->now = until;
        return false;
    }
    struct event *e = pop(w);
    w->now = e->at;
    w->stats.steps++;
    e->run(w, e);
    free(e);
    return true;
}

void world_run(struct world *w, uint64_t for_ns)
{
    bk_time until = bk_time_add(w->now, for_ns);
    while (world_step(w, until)) {
    }
}

void world_check(struct world *w, bool good, const char *what, const char *file, int line)
{
    if (!good && w->failures++ < 5) {
        printf("  FAILED %s:%d: %s (seed %llu, at %.3f s)\n", file, line, what,
               (unsigned long long)w->seed, (double)w->now / 1e9);
    }
}

struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    if (w == NULL) {
        abort();
    }
    w->seed = seed;
    w->rng_state = seed * UINT64_C(0xD1342543DE82EF95) + 1;
    w->now = 1000 * BK_SECOND;
    w->delay_ms = 20;
    w->jitter_ms = 30;
    w->server_addr = bk_addr_v4(130, 74, 23, 6, 1200);
    w->server_alarm.set = BK_TIME_NEVER;
    w->config = (struct bk_server_config){
        .alloc = bk_alloc_libc(),
        .rng = world_random(w),
        .mac = bk_mac_sodium(),
        .n_master = 1,
        .max_devices = 1000000,
        .max_streams = 4096,
        .max_calls = 1024,
        .answer_binding = true,
        .binding_per_s = 5,
        .fast_form = !sim_first_form,
        .ports = {1200, 1201, 1300},
    };
    w->config.master[0].epoch = 1;
    w->config.rng.fill(w, w->config.master[0].key, BK_KEY_BYTES);
    return w;
}

void world_free(struct world *w)
{
    for (size_t i = 0; i < w->n_events; i++) {
        free(w->heap[i]);
    }
    for (struct caller *c = w->callers; c != NULL;) {
        struct caller *next = c->next;
        bk_requester_free(c->core);
        free(c);
        c = next;
    }
    for (size_t i = 0; i < w->n_devices; i++) {
        for (struct sim_call *c = w->devices[i]->calls; c != NULL;) {
            struct sim_call *next = c->next;
            bk_call_free(c->core);
            free(c);
            c = next;
        }
        free(w->devices[i]->memory);
        free(w->devices[i]);
    }
    for (size_t i = 0; i < w->n_routers; i++) {
        free(w->routers[i]->mappings);
        free(w->routers[i]);
    }
    if (w->server != NULL) {
        bk_server_free(w->server);
    }
    free(w->devices);
    free(w->streams);
    free(w->heap);
    free(w);
}
