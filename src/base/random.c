/* Values drawn from an injected generator. Draws nothing itself. */
#include "base/random.h"

#include <assert.h>

uint64_t bk_random_u64(const struct bk_random *rng)
{
    uint8_t bytes[8];
    rng->fill(rng->ctx, bytes, sizeof bytes);
    uint64_t v = 0;
    for (size_t i = 0; i < sizeof bytes; i++) {
        v = v << 8 | bytes[i];
    }
    return v;
}

uint64_t bk_random_below(const struct bk_random *rng, uint64_t bound)
{
    assert(bound > 0);
    return bk_random_u64(rng) % bound;
}
