/* Runs a table of scenarios, each with several seeds, and counts. Calls come in the fast form as a rule, with
 * --first-form in the first. */
#include "sim.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"

/* libsodium's generator is replaced too: sealed boxes repeat with the seed. */
bool sim_first_form;
static struct world *current;
static uint64_t before_any;

static void seeded_buf(void *const buf, const size_t n)
{
    if (current != NULL) {
        struct bk_random rng = world_random(current);
        rng.fill(rng.ctx, buf, n);
    } else {
        memset(buf, (int)(++before_any & 0xff), n);
    }
}

static uint32_t seeded_random(void)
{
    uint32_t v;
    seeded_buf(&v, sizeof v);
    return v;
}

static const char *seeded_name(void)
{
    return "simulation";
}

static struct randombytes_implementation seeded = {
    .implementation_name = seeded_name,
    .random = seeded_random,
    .buf = seeded_buf,
};

static bool number_after(int argc, char **argv, int *i, uint64_t *out)
{
    return ++*i < argc && bk_number_parse(bk_slice_text(argv[*i]), UINT64_MAX, out) == BK_OK;
}

static bool run_one(const struct scenario *s, uint64_t seed)
{
    struct world *w = world_new(seed);
    current = w;
    sim_tap = NULL;
    sim_path = NULL;
    sim_hostile = NULL;
    s->run(w);
    bool good = w->failures == 0;
    if (!good) {
        printf("FAILED %s --seed %llu (%u checks)\n", s->name, (unsigned long long)seed,
               w->failures);
    }
    current = NULL;
    world_free(w);
    return good;
}

int sim_main(int argc, char **argv, const struct scenario *scenarios, size_t n)
{
    uint64_t first = 1;
    uint64_t count = 0;
    for (int i = 1; i < argc; i++) {
        bool seed = strcmp(argv[i], "--seed") == 0;
        if (strcmp(argv[i], "--first-form") == 0) {
            sim_first_form = true;
            continue;
        }
        if ((!seed && strcmp(argv[i], "--count") != 0) ||
            !number_after(argc, argv, &i, seed ? &first : &count)) {
            fprintf(stderr, "usage: %s [--seed N] [--count N] [--first-form]\n", argv[0]);
            return 2;
        }
        if (seed && count == 0) {
            count = 1; /* a seed to look at: that one only */
        }
    }
    if (randombytes_set_implementation(&seeded) != 0 || bk_seal_init() != BK_OK) {
        return 1;
    }
    unsigned passed = 0;
    unsigned failed = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t seeds = count > 0 ? count : scenarios[i].seeds;
        for (uint64_t k = 0; k < seeds; k++) {
            if (run_one(&scenarios[i], first + k)) {
                passed++;
            } else {
                failed++;
            }
        }
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
