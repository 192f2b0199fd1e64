/* One agent's renewals under a hand-moved clock, for the tests of that core. */
#ifndef TESTS_CORE_AGENT_RENEWAL_BENCH_H
#define TESTS_CORE_AGENT_RENEWAL_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/agent/fake.h"
#include "core/agent/renewal.h"

enum {
    DAY_S = 86400,
    YEAR_S = 365 * DAY_S,
};

struct bench {
    uint64_t seed;
    struct bk_renewal r;
    struct bk_now now;
    struct bk_renewal_facts facts;
    bool certificate; /* as the last one that was due said */
};

/* Everything fresh, the registration up, and the clock right. */
static inline void begin(struct bench *b, uint64_t seed, uint32_t spread_s)
{
    memset(b, 0, sizeof *b);
    b->seed = seed;
    b->now = fake_now();
    b->facts = (struct bk_renewal_facts){.certificate_from_s = b->now.unix_s,
                                         .certificate_until_s = b->now.unix_s + YEAR_S,
                                         .box_made_s = b->now.unix_s};
    struct bk_renewal_config config = {.rng = fake_random(&b->seed), .spread_s = spread_s};
    bk_renewal_init(&b->r, &b->now, &config, &b->facts);
    bk_renewal_registered(&b->r, &b->now, true);
}

static inline void begin_with(struct bench *b, uint64_t seed, struct bk_renewal_facts facts)
{
    begin(b, seed, 0);
    b->facts = facts;
    struct bk_renewal_config config = {.rng = fake_random(&b->seed)};
    bk_renewal_init(&b->r, &b->now, &config, &b->facts);
    bk_renewal_registered(&b->r, &b->now, true);
}

static inline bool due(struct bench *b)
{
    bool is = bk_renewal_due(&b->r, &b->now, b->now.unix_s, &b->certificate);
    /* Never a reason to ask again at once. */
    assert_true(bk_renewal_deadline(&b->r) > b->now.mono);
    assert_true(is || !b->certificate);
    assert_true(!is || bk_renewal_deadline(&b->r) == BK_TIME_NEVER);
    return is;
}

/* Asks whenever it says, as a shell does, for so long at most. How many seconds passed until one was due. */
static inline uint64_t until_due(struct bench *b, uint64_t at_most_s)
{
    bk_time from = b->now.mono;
    bk_time end = from + at_most_s * BK_SECOND;
    for (unsigned asked = 0; bk_renewal_deadline(&b->r) <= end; asked++) {
        fake_pass(&b->now, bk_time_left(b->now.mono, bk_renewal_deadline(&b->r)));
        if (due(b)) {
            return (b->now.mono - from) / BK_SECOND;
        }
        assert_true(asked <= at_most_s / 60 + 10);
    }
    fake_pass(&b->now, bk_time_left(b->now.mono, end));
    return UINT64_MAX;
}

static inline void it_fails(struct bench *b)
{
    bk_renewal_ended(&b->r, &b->now, NULL);
    assert_true(bk_renewal_deadline(&b->r) > b->now.mono);
}

/* All new, the certificate where it was asked for. */
static inline void it_succeeds(struct bench *b)
{
    if (b->certificate) {
        b->facts.certificate_from_s = b->now.unix_s;
        b->facts.certificate_until_s = b->now.unix_s + YEAR_S;
    }
    b->facts.box_made_s = b->now.unix_s;
    bk_renewal_ended(&b->r, &b->now, &b->facts);
    assert_true(bk_renewal_deadline(&b->r) > b->now.mono);
}

#endif
