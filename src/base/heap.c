/* The binary min-heap of deadlines. Invariant: no node is earlier than its parent, and
 * nodes[t->slot - 1] == t for every timer that is set. Timers of equal time come out in no promised
 * order. Allocates nothing. */
#include "base/heap.h"

#include <assert.h>

void bk_heap_init(struct bk_heap *h, struct bk_timer **nodes, size_t cap)
{
    *h = (struct bk_heap){nodes, cap, 0};
}

static void place(struct bk_heap *h, size_t i, struct bk_timer *t)
{
    h->nodes[i] = t;
    t->slot = i + 1;
}

static void sift_up(struct bk_heap *h, size_t i, struct bk_timer *t)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (h->nodes[parent]->at <= t->at) {
            break;
        }
        place(h, i, h->nodes[parent]);
        i = parent;
    }
    place(h, i, t);
}

static void sift_down(struct bk_heap *h, size_t i, struct bk_timer *t)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->len) {
            break;
        }
        if (child + 1 < h->len && h->nodes[child + 1]->at < h->nodes[child]->at) {
            child++;
        }
        if (t->at <= h->nodes[child]->at) {
            break;
        }
        place(h, i, h->nodes[child]);
        i = child;
    }
    place(h, i, t);
}

/* Puts t where it belongs, slot i being free for it. */
static void settle(struct bk_heap *h, size_t i, struct bk_timer *t)
{
    if (i > 0 && h->nodes[(i - 1) / 2]->at > t->at) {
        sift_up(h, i, t);
    } else {
        sift_down(h, i, t);
    }
}

void bk_heap_set(struct bk_heap *h, struct bk_timer *t, bk_time at)
{
    t->at = at;
    if (t->slot == 0) {
        assert(h->len < h->cap);
        h->len++;
        sift_up(h, h->len - 1, t);
    } else {
        assert(t->slot <= h->len && h->nodes[t->slot - 1] == t);
        settle(h, t->slot - 1, t);
    }
}

void bk_heap_clear(struct bk_heap *h, struct bk_timer *t)
{
    if (t->slot == 0) {
        return;
    }
    assert(t->slot <= h->len && h->nodes[t->slot - 1] == t);
    size_t hole = t->slot - 1;
    t->slot = 0;
    h->len--;
    if (hole < h->len) {
        settle(h, hole, h->nodes[h->len]);
    }
    h->nodes[h->len] = NULL;
}

struct bk_timer *bk_heap_first(const struct bk_heap *h)
{
    return h->len > 0 ? h->nodes[0] : NULL;
}

struct bk_timer *bk_heap_pop_due(struct bk_heap *h, bk_time now)
{
    struct bk_timer *first = bk_heap_first(h);
    if (first == NULL || first->at > now) {
        return NULL;
    }
    bk_heap_clear(h, first);
    return first;
}
