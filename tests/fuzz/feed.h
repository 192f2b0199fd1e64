/* An input read as a script: the targets for whole cores take their events, and the choices within them,
 * from its bytes. At its end every choice is 0; the target stops when nothing is left. */
#ifndef TESTS_FUZZ_FEED_H
#define TESTS_FUZZ_FEED_H

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "fuzz.h"

struct feed {
    const uint8_t *p;
    size_t left;
};

static inline uint8_t feed_u8(struct feed *f)
{
    if (f->left == 0) {
        return 0;
    }
    f->left--;
    return *f->p++;
}

static inline size_t feed_below(struct feed *f, size_t bound)
{
    return feed_u8(f) % bound;
}

static inline bool feed_bool(struct feed *f)
{
    return (feed_u8(f) & 1) != 0;
}

/* Up to 255 bytes of the script itself. */
static inline struct bk_slice feed_bytes(struct feed *f)
{
    size_t n = feed_u8(f);
    n = n < f->left ? n : f->left;
    struct bk_slice bytes = bk_slice(f->p, n);
    f->p += n;
    f->left -= n;
    return bytes;
}

/* Makes a message another one, always: bytes changed, and perhaps the end cut off. */
static inline struct bk_slice feed_bend(struct feed *f, uint8_t *bytes, size_t n)
{
    size_t flips = 1 + feed_below(f, 3);
    size_t at = (size_t)feed_u8(f) << 8 | feed_u8(f);
    for (size_t i = 0; i < flips && i < n; i++) { /* neighbours: none undoes another */
        uint8_t by = feed_u8(f);
        bytes[(at + i) % n] ^= by == 0 ? 1 : by;
    }
    size_t cut = feed_u8(f);
    return bk_slice(bytes, cut < 32 && cut < n ? n - cut : n);
}

/* What happens between two events: mostly little, now and then more than any deadline. */
static inline void feed_pass(struct feed *f, struct bk_now *now)
{
    static const uint32_t steps_ms[] = {1,     20,    250,   500,    1000,   4000,   7000,   9000,
                                        25000, 61000, 91000, 125000, 245000, 600000, 4000000};
    uint64_t ms = steps_ms[feed_below(f, sizeof steps_ms / sizeof steps_ms[0])];
    uint64_t before_s = now->mono / BK_SECOND;
    now->mono += ms * BK_MS;
    if (now->unix_s != 0) {
        now->unix_s += now->mono / BK_SECOND - before_s;
    }
}

static inline void feed_seeded_fill(void *ctx, uint8_t *out, size_t n)
{
    uint64_t *state = ctx;
    for (size_t i = 0; i < n; i++) {
        *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        out[i] = (uint8_t)(*state >> 56);
    }
}

static inline struct bk_random feed_random(uint64_t *state)
{
    return (struct bk_random){state, feed_seeded_fill};
}

/* Memory that fails once it is told to, and is all given back at the end. */
struct feed_memory {
    size_t alive;
    size_t taken;     /* calls of `get` */
    size_t fail_from; /* 0: never */
};

static inline void *feed_get(void *ctx, size_t n)
{
    struct feed_memory *m = ctx;
    m->taken++;
    if (m->fail_from != 0 && m->taken >= m->fail_from) {
        return NULL;
    }
    void *p = calloc(1, n > 0 ? n : 1);
    require(p != NULL);
    m->alive++;
    return p;
}

static inline void feed_put(void *ctx, void *p)
{
    struct feed_memory *m = ctx;
    m->alive -= p != NULL;
    free(p);
}

static inline struct bk_alloc feed_alloc(struct feed_memory *m)
{
    return (struct bk_alloc){m, feed_get, feed_put};
}

#endif
