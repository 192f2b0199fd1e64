/* Ten thousand guessed passwords: how many of them are looked at, and what becomes of the others meanwhile. */
#include "sim.h"

#include <string.h>

#include "seal/caller_key.h"

enum {
    GUESSES = 10000,
    EACH_MS = 100,
    GUESSERS = 200,             /* each guesses again after 20 s; by then it has been told */
    A_CALL_BY_KEY_AFTER = 1000, /* guesses */
};

static struct device *one_device(struct world *w)
{
    struct device *d = scene_device(w);
    uint8_t seed[BK_SIGN_SEED_BYTES] = {1};

    bk_caller_key_of(seed, d->known_key);
    d->knows_key = true;
    return d;
}

static void run_to_end(struct world *w, struct caller *c)
{
    caller_start(c);
    CHECK(w, scene_run_to_end(w, c, 60) && c->over_at - c->began <= 10 * BK_SECOND);
}

static uint64_t call_by_key(struct world *w, struct device *d)
{
    struct caller *c = caller_add(w, d);
    c->has_key = true;
    c->key_seed[0] = 1;
    c->password = NULL;
    run_to_end(w, c);
    CHECK(w, c->up && c->requests == 1);
    caller_hang_up(c);
    return c->over_at - c->began;
}

/* What the back-off leaves of so many seconds of guessing without a pause: five at once, then one after 1, 2, 4, ... s
 * each, in the end one a minute. */
static unsigned allowed(uint64_t seconds)
{
    unsigned n = BK_GUESSES_FREE + 1;
    uint64_t pause = 1;

    for (uint64_t at = pause; at <= seconds; at += pause) {
        n++;
        pause = pause * 2 < BK_GUESS_BACK_OFF_MAX_S ? pause * 2 : BK_GUESS_BACK_OFF_MAX_S;
    }
    return n;
}

struct told {
    unsigned wrong, not_now, other;
};

static void count(struct caller *c, struct told *told)
{
    CHECK(c->world, c->failed);
    if (c->failure == BK_FAIL_PASSWORD) {
        told->wrong++;
    } else if (c->failure == BK_FAIL_BACK_OFF) {
        told->not_now++;
    } else {
        told->other++;
    }
}

static void guess(struct caller *c, struct told *told)
{
    if (c->core != NULL) { /* once more */
        count(c, told);
        bk_requester_free(c->core);
        c->core = NULL;
        c->failed = false;
        c->alarm.set = BK_TIME_NEVER;
    }
    c->password = "guess";
    caller_start(c);
}

static void ten_thousand_guesses_are_a_few(struct world *w)
{
    struct caller *guessers[GUESSERS];
    struct told told = {0};
    struct device *d = one_device(w);
    uint64_t alone = call_by_key(w, d);
    bk_time began = w->now;
    unsigned open_most = 0, by_key = 0;

    for (unsigned i = 0; i < GUESSERS; i++) {
        guessers[i] = caller_add(w, d);
    }
    for (unsigned i = 0; i < GUESSES; i++) {
        guess(guessers[i % GUESSERS], &told);
        world_run(w, EACH_MS * BK_MS);
        if (i % A_CALL_BY_KEY_AFTER == 0) {
            CHECK(w, call_by_key(w, d) <= alone + BK_SECOND);
            by_key++;
        }
        uint32_t open = device_calls_open(d);
        open_most = open > open_most ? open : open_most;
        CHECK(w, d->up);
    }
    uint64_t seconds = (w->now - began) / BK_SECOND;
    world_run(w, 20 * BK_SECOND);
    for (unsigned i = 0; i < GUESSERS; i++) {
        count(guessers[i], &told);
    }
    CHECK(w,
          told.wrong + told.not_now == GUESSES && told.other == 0); /* each hears one of the two */
    CHECK(w, told.wrong <= allowed(seconds + 1));
    CHECK(w, told.wrong + 4 >= allowed(seconds)); /* and the right one could be tried as often */
    CHECK(w, open_most <= 32);
    CHECK(w, w->stats.dials == by_key + 1); /* no guess dialled */

    world_run(w, BK_GUESS_BACK_OFF_MAX_S * BK_SECOND);
    struct caller *owner = caller_add(w, d);
    run_to_end(w, owner);
    CHECK(w, owner->up);
    caller_hang_up(owner);
    world_run(w, 30 * BK_SECOND);
    CHECK(w, device_calls_open(d) == 0);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"ten_thousand_guesses_are_a_few", ten_thousand_guesses_are_a_few, 1},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
