/* Open addressing with linear probing; removal moves later entries back, so there are no tombstones
 * and a map that is filled and emptied for years stays as quick as on its first day. At least one slot
 * is always free, or a search for a missing key would not end. */
#include "base/map.h"

#include <assert.h>

enum {
    MAP_MIN_SLOTS = 16,
};

static uint64_t rotate(uint64_t v, unsigned bits)
{
    return (v << bits) | (v >> (64 - bits));
}

static void rounds(uint64_t v[4], unsigned n)
{
    for (; n > 0; n--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void start(uint64_t v[4], const uint64_t seed[2])
{
    v[0] = seed[0] ^ UINT64_C(0x736f6d6570736575);
    v[1] = seed[1] ^ UINT64_C(0x646f72616e646f6d);
    v[2] = seed[0] ^ UINT64_C(0x6c7967656e657261);
    v[3] = seed[1] ^ UINT64_C(0x7465646279746573);
}

static void word(uint64_t v[4], uint64_t w)
{
    v[3] ^= w;
    rounds(v, 2);
    v[0] ^= w;
}

static uint64_t finish(uint64_t v[4])
{
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t bk_hash_bytes(const uint64_t seed[2], struct bk_slice bytes)
{
    uint64_t v[4];
    start(v, seed);
    uint64_t w = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        w |= (uint64_t)bytes.p[i] << (8 * (i % 8));
        if (i % 8 == 7) {
            word(v, w);
            w = 0;
        }
    }
    word(v, w | ((uint64_t)bytes.n << 56));
    return finish(v);
}

uint64_t bk_hash_u64(const uint64_t seed[2], uint64_t n)
{
    uint64_t v[4];
    start(v, seed);
    word(v, n);
    word(v, UINT64_C(8) << 56);
    return finish(v);
}

/* The slot that holds the key, or the free one where it belongs. */
static size_t slot_of(const struct bk_map *m, uint64_t key)
{
    size_t mask = m->cap - 1;
    size_t i = (size_t)bk_hash_u64(m->seed, key) & mask;
    while (m->entries[i].value != 0 && m->entries[i].key != key) {
        i = (i + 1) & mask;
    }
    return i;
}

enum bk_err bk_map_init(struct bk_map *m, const struct bk_alloc *alloc, const uint64_t seed[2],
                        size_t expected)
{
    *m = (struct bk_map){.alloc = *alloc, .seed = {seed[0], seed[1]}, .cap = MAP_MIN_SLOTS};
    while (m->cap - m->cap / 4 <= expected) {
        if (m->cap > SIZE_MAX / 2 / sizeof(struct bk_map_entry)) {
            return BK_E_NOMEM;
        }
        m->cap *= 2;
    }
    m->entries = alloc->get(alloc->ctx, m->cap * sizeof(struct bk_map_entry));
    return m->entries ? BK_OK : BK_E_NOMEM;
}

void bk_map_fini(struct bk_map *m)
{
    if (m->entries) {
        m->alloc.put(m->alloc.ctx, m->entries);
    }
    m->entries = NULL;
    m->len = 0;
}

uint64_t bk_map_get(const struct bk_map *m, uint64_t key)
{
    return m->entries[slot_of(m, key)].value;
}

/* Doubles if it can; a map that cannot grow goes on with the slots it has. */
static void grow(struct bk_map *m)
{
    if (m->cap > SIZE_MAX / 2 / sizeof(struct bk_map_entry)) {
        return;
    }
    struct bk_map_entry *bigger =
        m->alloc.get(m->alloc.ctx, 2 * m->cap * sizeof(struct bk_map_entry));
    if (!bigger) {
        return;
    }
    struct bk_map_entry *old = m->entries;
    size_t n = m->cap;
    m->entries = bigger;
    m->cap *= 2;
    for (size_t i = 0; i < n; i++) {
        if (old[i].value != 0) {
            m->entries[slot_of(m, old[i].key)] = old[i];
        }
    }
    m->alloc.put(m->alloc.ctx, old);
}

enum bk_err bk_map_put(struct bk_map *m, uint64_t key, uint64_t value)
{
    assert(value != 0);
    size_t i = slot_of(m, key);
    if (m->entries[i].value == 0) {
        if (m->len >= m->cap - m->cap / 4) {
            grow(m);
            i = slot_of(m, key);
        }
        if (m->len + 1 >= m->cap) {
            return BK_E_NOMEM;
        }
        m->len++;
    }
    m->entries[i] = (struct bk_map_entry){.key = key, .value = value};
    return BK_OK;
}

bool bk_map_remove(struct bk_map *m, uint64_t key)
{
    size_t mask = m->cap - 1;
    size_t hole = slot_of(m, key);
    if (m->entries[hole].value == 0) {
        return false;
    }
    for (size_t i = (hole + 1) & mask; m->entries[i].value != 0; i = (i + 1) & mask) {
        size_t home = (size_t)bk_hash_u64(m->seed, m->entries[i].key) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->entries[hole] = m->entries[i];
            hole = i;
        }
    }
    m->entries[hole].value = 0;
    m->len--;
    return true;
}
