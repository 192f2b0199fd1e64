/* An intrusive binary min-heap of deadlines over storage that the caller gives: the cores' timers.
 * A node belongs to at most one heap; its `slot` says where it lies (0: in none). */
#ifndef BK_BASE_HEAP_H
#define BK_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"

struct bk_timer {
    bk_time at;
    size_t slot; /* 1-based position in the heap, 0 when not set */
};

struct bk_heap {
    struct bk_timer **nodes; /* caller's array of `cap` pointers */
    size_t cap;
    size_t len;
};

void bk_heap_init(struct bk_heap *h, struct bk_timer **nodes, size_t cap);

/* Sets or moves a timer. The array must have room for every timer that is ever set (asserted). */
void bk_heap_set(struct bk_heap *h, struct bk_timer *t, bk_time at);
void bk_heap_clear(struct bk_heap *h, struct bk_timer *t);

/* The earliest timer without removing it, or NULL. */
struct bk_timer *bk_heap_first(const struct bk_heap *h);

/* Removes and returns the earliest timer if it is due at `now`, else NULL. */
struct bk_timer *bk_heap_pop_due(struct bk_heap *h, bk_time now);

#endif
