/* Callers with keys beside callers who guess, and callers who would have a device dial for them. */
#include "sim.h"

#include <string.h>

#include "seal/caller_key.h"

/* One who signs with the key of this number, and has no password. */
static struct caller *with_key(struct world *w, struct device *d, uint8_t number)
{
    struct caller *c = caller_add(w, d);
    c->has_key = true;
    memset(c->key_seed, number, sizeof c->key_seed);
    c->password = NULL;
    return c;
}

static void let_in(struct device *d, uint8_t number)
{
    uint8_t seed[BK_SIGN_SEED_BYTES];
    memset(seed, number, sizeof seed);
    bk_caller_key_of(seed, d->known_key);
    d->knows_key = true;
}

static void run_to_end(struct world *w, struct caller *c)
{
    CHECK(w, scene_run_to_end(w, c, 60) && c->over_at - c->began <= 13 * BK_SECOND);
}

static enum bk_requester_failure failure_of(struct world *w, struct caller *c)
{
    caller_start(c);
    run_to_end(w, c);
    CHECK(w, c->failed);
    return c->failure;
}

static void all_quiet(struct world *w)
{
    world_run(w, 30 * BK_SECOND);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, device_calls_open(w->devices[i]) == 0);
    }
}

static void guess(struct world *w, struct device *d)
{
    struct caller *c = caller_add(w, d);
    c->password = "guess";
    caller_start(c);
}

/* Two minutes of guesses, every tenth of a second: whoever has a key calls as if there were none. */
static void keys_while_passwords_are_guessed(struct world *w)
{
    struct device *d = scene_device(w);
    let_in(d, 1);
    uint64_t took = 0;
    for (int i = 0; i < 120; i++) {
        for (int k = 0; k < 10; k++) {
            guess(w, d);
            world_run(w, 100 * BK_MS);
        }
        if (i % 10 == 0) {
            struct caller *c = with_key(w, d, 1);
            caller_start(c);
            run_to_end(w, c);
            CHECK(w, c->up && c->requests == 1);
            CHECK(w, took == 0 || c->over_at - c->began <= took + BK_SECOND);
            took = took == 0 ? c->over_at - c->began : took;
            caller_hang_up(c);
        }
    }
    CHECK(w, w->stats.dials == 12); /* no guess dialled */
    struct caller *late = caller_add(w, d);
    CHECK(w, failure_of(w, late) == BK_FAIL_BACK_OFF); /* the password waits, as it must */
    all_quiet(w);
}

static void a_key_that_nobody_knows_is_slowed_alone(struct world *w)
{
    struct device *d = scene_device(w);
    let_in(d, 1);
    for (int i = 0; i <= BK_GUESSES_FREE; i++) {
        CHECK(w, failure_of(w, with_key(w, d, 2)) == BK_FAIL_KEY);
    }
    CHECK(w, failure_of(w, with_key(w, d, 2)) == BK_FAIL_BACK_OFF);
    CHECK(w, failure_of(w, with_key(w, d, 3)) == BK_FAIL_KEY);
    struct caller *known = with_key(w, d, 1);
    caller_start(known);
    struct caller *by_password = caller_add(w, d);
    caller_start(by_password);
    run_to_end(w, known);
    run_to_end(w, by_password);
    CHECK(w, known->up && by_password->up && w->stats.dials == 2);
    let_in(d, 2); /* its owner has heard of it */
    world_run(w, 10 * BK_SECOND);
    struct caller *c = with_key(w, d, 2);
    caller_start(c);
    run_to_end(w, c);
    CHECK(w, c->up);
    caller_hang_up(c);
    caller_hang_up(known);
    caller_hang_up(by_password);
    all_quiet(w);
}

/* More calls than the memory has room for, each by a key of its own that nobody knows. */
static void keys_without_number_keep_nobody_out(struct world *w)
{
    struct device *d = scene_device(w);
    let_in(d, 255);
    unsigned refused = 0;
    static struct caller *callers[BK_ADMISSION_CALLS_MAX + 100];
    size_t n = sizeof callers / sizeof callers[0];
    for (size_t i = 0; i < n; i++) {
        callers[i] = with_key(w, d, 0);
        memcpy(callers[i]->key_seed, &i, sizeof i);
        caller_start(callers[i]);
        world_run(w, 100 * BK_MS);
    }
    struct caller *known = with_key(w, d, 255);
    caller_start(known);
    run_to_end(w, known);
    CHECK(w, known->up);
    struct caller *by_password = caller_add(w, d);
    caller_start(by_password);
    run_to_end(w, by_password);
    CHECK(w, by_password->up);
    for (size_t i = 0; i < n; i++) {
        run_to_end(w, callers[i]);
        refused += callers[i]->failed && callers[i]->failure == BK_FAIL_KEY;
    }
    CHECK(w, refused == n && w->stats.dials == 2);
    caller_hang_up(known);
    caller_hang_up(by_password);
    all_quiet(w);
}

/* RESULT comes by a stream, or by datagrams: of so many at once some have to be said again, or by a stream after all. */
static bool is_no_answer_time(const struct world *w, const struct caller *c)
{
    uint64_t took = c->over_at - c->accepted_at;
    uint64_t late = w->config.fast_form ? (BK_AGENT_RESULT_MS + 500) * BK_MS : 0;
    return took + late >= BK_CALL_NO_ANSWER_MS * BK_MS &&
           took <= BK_CALL_NO_ANSWER_MS * BK_MS + late;
}

/* Many callers who all are let in have the device dial addresses where nobody answers. */
static void have_it_dial(struct world *w, struct device *d, size_t n, bool one_target)
{
    static struct caller *callers[400];
    uint64_t dials = w->stats.dials;
    bk_time began = w->now;
    bk_time dialled = began;
    let_in(d, 1);
    for (size_t i = 0; i < n; i++) {
        callers[i] = with_key(w, d, 1);
        callers[i]->reachable = false;
        callers[i]->candidate.addr =
            bk_addr_v4(5, 5, (uint8_t)(i / 250), (uint8_t)(1 + i % 250), (uint16_t)(20000 + i));
        if (one_target) { /* another port each: one host all the same */
            callers[i]->candidate.addr.ip[14] = callers[i]->candidate.addr.ip[15] = 5;
        }
        caller_start(callers[i]);
        world_run(w, 10 * BK_MS);
    }
    for (size_t i = 0; i < n; i++) {
        run_to_end(w, callers[i]);
        /* Dialled or not: it sounds the same, after the same time. */
        CHECK(w, callers[i]->failed && callers[i]->failure == BK_FAIL_NO_ANSWER);
        CHECK(w, is_no_answer_time(w, callers[i]));
        dialled = callers[i]->accepted_at > dialled ? callers[i]->accepted_at : dialled;
    }
    uint64_t burst = one_target ? BK_DIALS_TARGET_BURST : BK_DIALS_TOTAL_BURST;
    uint64_t per_s = one_target ? BK_DIALS_TARGET_PER_S : BK_DIALS_TOTAL_PER_S;
    dials = w->stats.dials - dials;
    CHECK(w, dials >= burst && dials < n);
    CHECK(w, dials <= burst + per_s * ((dialled - began) / BK_SECOND + 1));
    CHECK(w, w->stats.dials_refused == n - dials);
}

static void one_host_is_not_dialled_without_end(struct world *w)
{
    struct device *d = scene_device(w);
    have_it_dial(w, d, 150, true);
    struct caller *c = with_key(w, d, 1); /* another host is none the worse */
    caller_start(c);
    run_to_end(w, c);
    CHECK(w, c->up);
    caller_hang_up(c);
    all_quiet(w);
}

static void no_device_dials_without_end(struct world *w)
{
    struct device *d = scene_device(w);
    have_it_dial(w, d, 400, false);
    world_run(w, 60 * BK_SECOND);
    struct caller *c = with_key(w, d, 1);
    caller_start(c);
    run_to_end(w, c);
    CHECK(w, c->up);
    caller_hang_up(c);
    all_quiet(w);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"keys_while_passwords_are_guessed", keys_while_passwords_are_guessed, 3},
        {"a_key_that_nobody_knows_is_slowed_alone", a_key_that_nobody_knows_is_slowed_alone, 5},
        {"keys_without_number_keep_nobody_out", keys_without_number_keep_nobody_out, 2},
        {"one_host_is_not_dialled_without_end", one_host_is_not_dialled_without_end, 3},
        {"no_device_dials_without_end", no_device_dials_without_end, 3},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
