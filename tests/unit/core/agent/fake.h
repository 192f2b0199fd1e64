/* What the tests of the end cores share: a seeded generator and a few addresses. */
#ifndef TESTS_CORE_AGENT_FAKE_H
#define TESTS_CORE_AGENT_FAKE_H

#include <string.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/random.h"

static inline void fake_fill(void *ctx, uint8_t *out, size_t n)
{
    uint64_t *state = ctx;
    for (size_t i = 0; i < n; i++) {
        *state += UINT64_C(0x9E3779B97F4A7C15);
        uint64_t z = *state;
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        out[i] = (uint8_t)(z >> 56);
    }
}

static inline struct bk_random fake_random(uint64_t *seed)
{
    return (struct bk_random){seed, fake_fill};
}

static inline struct bk_addr fake_server(void)
{
    return bk_addr_v4(130, 74, 23, 6, 1200);
}

static inline struct bk_addr fake_mapped(void)
{
    return bk_addr_v4(202, 204, 16, 13, 2345);
}

/* A time some way from the origin, with a clock. */
static inline struct bk_now fake_now(void)
{
    return (struct bk_now){.mono = 1000 * BK_SECOND, .unix_s = 1700000000};
}

static inline void fake_pass(struct bk_now *now, uint64_t ns)
{
    uint64_t before = now->mono / BK_SECOND;
    now->mono += ns;
    if (now->unix_s != 0) {
        now->unix_s += now->mono / BK_SECOND - before;
    }
}

#endif
