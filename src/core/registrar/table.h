/* The location table (figure 9): where each registered device can be reached.
 *
 * Rows lie in pages, numbered from 0 and never moved; an index of small segments finds them. A segment
 * that fills up splits in two, alone, so growth never stops the server for long. At ten million rows a
 * device costs 48 bytes of row and 5 to 10 of index. A small table takes small pieces of memory, a large one chunks of
 * BK_TABLE_CHUNK_BYTES, which may lie on huge pages. Memory once taken is kept until the end. */
#ifndef BK_CORE_REGISTRAR_TABLE_H
#define BK_CORE_REGISTRAR_TABLE_H

#include "base/addr.h"
#include "base/alloc.h"
#include "wire/attrs.h"

enum {
    BK_TABLE_ROWS_MAX = 0xFFFFFE, /* row numbers have 24 bits in the index, less one for "empty" */
    BK_TABLE_CHUNK_BYTES = 6 << 20,
    BK_TABLE_SLABS_MAX = 128,
};

struct bk_row {
    uint64_t equipment_id; /* 0: a free row */
    uint8_t ip[16];
    uint64_t tag_random;
    uint32_t tag_counter;
    uint32_t seen_s; /* seconds since the core's start */
    uint32_t generation;
    uint16_t port;
    uint8_t local; /* the address and port of ours that its mapping points at */
    /* The low 2 bits: those of its epoch; the next 2: how often its device means to be heard (rows.c); the upper 4:
     * raised by every nonce used. */
    uint8_t mark;
};

struct bk_table {
    struct bk_alloc alloc;
    struct bk_alloc chunks;
    uint64_t seed[2];
    uint32_t max_rows;
    uint32_t rows; /* in use */
    uint32_t high; /* row numbers below this have been used */
    uint32_t free; /* 1 + number of the newest free row, 0 none; chained through tag_counter */
    struct bk_row **pages;
    size_t n_pages;
    size_t pages_cap;
    struct bk_table_segment **directory; /* 2^depth pointers, by the hash's top bits */
    unsigned depth;
    struct bk_table_segment *spare; /* zeroed: where a split begins */
    struct bk_table_segment *slabs[BK_TABLE_SLABS_MAX];
    size_t n_slabs;
    size_t slab_left; /* segments of the newest not yet given out */
    size_t bytes;     /* allocated in all */
};

/* max_rows from 1 to BK_TABLE_ROWS_MAX. BK_E_RANGE, BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_table_init(struct bk_table *t, const struct bk_alloc *alloc,
                                       const struct bk_alloc *chunks, const uint64_t seed[2],
                                       uint64_t max_rows);
void bk_table_fini(struct bk_table *t);

/* Have brought near what a search for that device will look at: first the index, then, by what the former returned, the
 * row. */
uint64_t bk_table_near(const struct bk_table *t, uint64_t equipment_id);
void bk_table_near_row(const struct bk_table *t, uint64_t hash);

/* NULL if absent. */
struct bk_row *bk_table_find(const struct bk_table *t, uint64_t equipment_id);

/* A new row, zeroed but for its ID, which must be absent. BK_E_NOSPACE, BK_E_NOMEM: nothing changed. */
BK_NODISCARD enum bk_err bk_table_insert(struct bk_table *t, uint64_t equipment_id,
                                         struct bk_row **out);

/* False if it was not there. */
bool bk_table_remove(struct bk_table *t, uint64_t equipment_id);

/* Row number n, or NULL if that is free or n >= t->high. */
struct bk_row *bk_table_at(const struct bk_table *t, uint32_t n);

#endif
