/* Where the cores' random bytes come from: the operating system in programs (through libsodium, but for the idle agent),
 * a seeded generator in simulations. */
#ifndef BK_BASE_RANDOM_H
#define BK_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct bk_random {
    void *ctx;
    void (*fill)(void *ctx, uint8_t *out, size_t n); /* cannot fail */
};

uint64_t bk_random_u64(const struct bk_random *rng);

/* A value in [0, bound); bound > 0. Slightly biased for large bounds: for jitter, not for keys. */
uint64_t bk_random_below(const struct bk_random *rng, uint64_t bound);

#endif
