/* A hash map from 64-bit numbers to non-zero 64-bit values, and the keyed hash beneath it (SipHash-2-4).
 * Keys may be chosen by an adversary: without the seed he cannot make them collide. */
#ifndef BK_BASE_MAP_H
#define BK_BASE_MAP_H

#include "base/alloc.h"
#include "base/err.h"
#include "base/slice.h"

/* SipHash-2-4 of the bytes; of a number, of its eight bytes in little-endian order. */
uint64_t bk_hash_bytes(const uint64_t seed[2], struct bk_slice bytes);
uint64_t bk_hash_u64(const uint64_t seed[2], uint64_t n);

struct bk_map_entry {
    uint64_t key;
    uint64_t value; /* 0: free */
};

struct bk_map {
    struct bk_alloc alloc;
    uint64_t seed[2];
    struct bk_map_entry *entries;
    size_t cap; /* a power of two */
    size_t len;
};

/* Room for `expected` entries, so that so many are put without an allocation. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_map_init(struct bk_map *m, const struct bk_alloc *alloc,
                                     const uint64_t seed[2], size_t expected);
void bk_map_fini(struct bk_map *m);

/* The value, or 0. */
uint64_t bk_map_get(const struct bk_map *m, uint64_t key);

/* Sets or replaces; `value` is not 0. When memory runs out the map fills up to its last slot but one
 * before it refuses. BK_E_NOMEM: nothing has changed. */
BK_NODISCARD enum bk_err bk_map_put(struct bk_map *m, uint64_t key, uint64_t value);

/* False if it was not there. */
bool bk_map_remove(struct bk_map *m, uint64_t key);

#endif
