/* Pages of rows and an extendible-hash index over them. Invariant: every row in use stands in exactly
 * one segment, the one that the top bits of its hash lead to, and no segment is full. An index entry
 * keeps eight bits of the hash, so that a search rarely touches a row other than the one it wants. */
#include "core/registrar/table.h"

#include <assert.h>
#include <string.h>

#include "base/map.h"
#include "core/registrar/table_private.h"

enum {
    SLOTS = BK_TABLE_SEGMENT_SLOTS,
    SEGMENT_FULL = SLOTS * 4 / 5,
    DEPTH_MAX = 24,
    ROW_BITS = 24,
};
#define ROW_MASK ((UINT32_C(1) << ROW_BITS) - 1)

_Static_assert(sizeof(struct bk_row) == 48, "a row has 48 bytes");

/* The hash's lower half chooses the slot, the eight bits above it are the tag, the top ones choose the segment.
 * A 64-bit shift by 64 is undefined, hence the case of depth 0. */
static size_t top_bits(uint64_t hash, unsigned depth)
{
    return depth == 0 ? 0 : (size_t)(hash >> (64 - depth));
}

static size_t home_of(uint64_t hash)
{
    return (size_t)((hash & UINT32_MAX) * SLOTS >> 32);
}

static uint32_t hash_tag(uint64_t hash)
{
    return (uint32_t)(hash >> 32) << ROW_BITS;
}

static size_t next_slot(size_t i)
{
    return i + 1 < SLOTS ? i + 1 : 0;
}

/* How far slot `i` lies behind `from`, going round. */
static size_t distance(size_t from, size_t i)
{
    return i >= from ? i - from : i + SLOTS - from;
}

static struct bk_row *row_at(const struct bk_table *t, uint32_t n)
{
    return &t->pages[n / BK_TABLE_PAGE_ROWS][n % BK_TABLE_PAGE_ROWS];
}

static struct bk_row *row_of(const struct bk_table *t, uint32_t entry)
{
    return row_at(t, (entry & ROW_MASK) - 1);
}

static uint64_t hash_of(const struct bk_table *t, uint32_t entry)
{
    return bk_hash_u64(t->seed, row_of(t, entry)->equipment_id);
}

static struct bk_table_segment *segment_of(const struct bk_table *t, uint64_t hash)
{
    return t->directory[top_bits(hash, t->depth)];
}

enum bk_err bk_table_init(struct bk_table *t, const struct bk_alloc *alloc,
                          const struct bk_alloc *chunks, const uint64_t seed[2], uint64_t max_rows)
{
    *t = (struct bk_table){.alloc = *alloc, .chunks = *chunks, .seed = {seed[0], seed[1]}};
    if (max_rows < 1 || max_rows > BK_TABLE_ROWS_MAX) {
        return BK_E_RANGE;
    }
    t->max_rows = (uint32_t)max_rows;
    t->directory = bk_table_take(t, sizeof(struct bk_table_segment *));
    if (!t->directory) {
        return BK_E_NOMEM;
    }
    t->directory[0] = bk_table_take_segment(t);
    t->spare = bk_table_take_segment(t);
    return t->directory[0] && t->spare ? BK_OK : BK_E_NOMEM;
}

/* The slot of the row with that ID, or the empty one that ends its probe. */
static size_t probe(const struct bk_table *t, const struct bk_table_segment *g, uint64_t hash,
                    uint64_t equipment_id)
{
    uint32_t tag = hash_tag(hash);
    size_t i = home_of(hash);
    for (; g->slots[i] != 0; i = next_slot(i)) {
        if ((g->slots[i] & ~ROW_MASK) == tag &&
            row_of(t, g->slots[i])->equipment_id == equipment_id) {
            break;
        }
    }
    return i;
}

struct bk_row *bk_table_find(const struct bk_table *t, uint64_t equipment_id)
{
    uint64_t hash = bk_hash_u64(t->seed, equipment_id);
    const struct bk_table_segment *g = segment_of(t, hash);
    uint32_t entry = g->slots[probe(t, g, hash, equipment_id)];
    return entry == 0 ? NULL : row_of(t, entry);
}

uint64_t bk_table_near(const struct bk_table *t, uint64_t equipment_id)
{
    uint64_t hash = bk_hash_u64(t->seed, equipment_id);
    __builtin_prefetch(&segment_of(t, hash)->slots[home_of(hash)]);
    return hash;
}

void bk_table_near_row(const struct bk_table *t, uint64_t hash)
{
    const struct bk_table_segment *g = segment_of(t, hash);
    uint32_t tag = hash_tag(hash);
    for (size_t i = home_of(hash); g->slots[i] != 0; i = next_slot(i)) {
        if ((g->slots[i] & ~ROW_MASK) == tag) {
            /* Half of the rows lie across two lines of the cache. */
            const struct bk_row *row = row_of(t, g->slots[i]);
            __builtin_prefetch(row, 1);
            __builtin_prefetch(&row->mark, 1);
            return;
        }
    }
}

static void segment_add(struct bk_table_segment *g, uint64_t hash, uint32_t entry)
{
    size_t i = home_of(hash);
    while (g->slots[i] != 0) {
        i = next_slot(i);
    }
    g->slots[i] = entry;
    g->used++;
}

static enum bk_err double_directory(struct bk_table *t)
{
    size_t n = (size_t)1 << t->depth;
    struct bk_table_segment **bigger = bk_table_take(t, 2 * n * sizeof(struct bk_table_segment *));
    if (!bigger) {
        return BK_E_NOMEM;
    }
    for (size_t i = 0; i < 2 * n; i++) {
        bigger[i] = t->directory[i / 2];
    }
    bk_table_give(t, t->directory, n * sizeof(struct bk_table_segment *));
    t->directory = bigger;
    t->depth++;
    return BK_OK;
}

/* Puts two segments in the place of the one that `hash` leads to, which becomes the spare one. */
static enum bk_err split(struct bk_table *t, uint64_t hash)
{
    struct bk_table_segment *old = segment_of(t, hash);
    unsigned depth = old->depth + 1u;
    if (depth > DEPTH_MAX) {
        return BK_E_NOSPACE;
    }
    if (depth > t->depth && double_directory(t) != BK_OK) {
        return BK_E_NOMEM;
    }
    struct bk_table_segment *half[2] = {t->spare, bk_table_take_segment(t)};
    if (!half[1]) {
        return BK_E_NOMEM;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (old->slots[i] != 0) {
            __builtin_prefetch(row_of(t, old->slots[i]));
        }
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (old->slots[i] != 0) {
            uint64_t h = hash_of(t, old->slots[i]);
            segment_add(half[top_bits(h, depth) & 1], h, old->slots[i]);
        }
    }
    size_t span = (size_t)1 << (t->depth - depth);
    size_t first = (top_bits(hash, depth) & ~(size_t)1) * span;
    for (size_t b = 0; b < 2; b++) {
        half[b]->depth = (uint8_t)depth;
        for (size_t i = 0; i < span; i++) {
            t->directory[first + b * span + i] = half[b];
        }
    }
    memset(old, 0, sizeof *old);
    t->spare = old;
    return BK_OK;
}

enum bk_err bk_table_insert(struct bk_table *t, uint64_t equipment_id, struct bk_row **out)
{
    assert(equipment_id != 0);
    if (t->rows >= t->max_rows) {
        return BK_E_NOSPACE;
    }
    uint64_t hash = bk_hash_u64(t->seed, equipment_id);
    /* All rows of a segment may fall into one half, hence "while". */
    while (segment_of(t, hash)->used >= SEGMENT_FULL) {
        enum bk_err err = split(t, hash);
        if (err != BK_OK) {
            return err;
        }
    }
    uint32_t n;
    if (t->free != 0) {
        n = t->free - 1;
        t->free = row_at(t, n)->tag_counter;
    } else {
        if (bk_table_need_page(t) != BK_OK) {
            return BK_E_NOMEM;
        }
        n = t->high++;
    }
    struct bk_row *row = row_at(t, n);
    *row = (struct bk_row){.equipment_id = equipment_id};
    segment_add(segment_of(t, hash), hash, hash_tag(hash) | (n + 1));
    t->rows++;
    *out = row;
    return BK_OK;
}

bool bk_table_remove(struct bk_table *t, uint64_t equipment_id)
{
    uint64_t hash = bk_hash_u64(t->seed, equipment_id);
    struct bk_table_segment *g = segment_of(t, hash);
    size_t hole = probe(t, g, hash, equipment_id);
    uint32_t entry = g->slots[hole];
    if (entry == 0) {
        return false;
    }
    for (size_t i = next_slot(hole); g->slots[i] != 0; i = next_slot(i)) {
        size_t home = home_of(hash_of(t, g->slots[i]));
        if (distance(home, i) >= distance(hole, i)) {
            g->slots[hole] = g->slots[i];
            hole = i;
        }
    }
    g->slots[hole] = 0;
    g->used--;
    *row_of(t, entry) = (struct bk_row){.tag_counter = t->free};
    t->free = entry & ROW_MASK;
    t->rows--;
    return true;
}

struct bk_row *bk_table_at(const struct bk_table *t, uint32_t n)
{
    if (n >= t->high) {
        return NULL;
    }
    struct bk_row *row = row_at(t, n);
    return row->equipment_id == 0 ? NULL : row;
}
