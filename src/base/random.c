/* Values drawn from an injected generator. Draws nothing itself. */
#include "base/random.h"

#include <assert.h>

#include "base/reader.h"

uint64_t bk_random_u64(const struct bk_random *rng)
{
    uint8_t bytes[8];
    rng->fill(rng->ctx, bytes, sizeof bytes);
    struct bk_reader r = bk_reader(BK_SLICE_OF(bytes));
    return bk_read_u64(&r);
}

uint64_t bk_random_below(const struct bk_random *rng, uint64_t bound)
{
    assert(bound > 0);
    return bk_random_u64(rng) % bound;
}
