/* Where the location table's memory comes from: little by little while it is small, so that a server of a few devices
 * stays small; in whole chunks from then on, so that ten million rows lie on few and huge pages. Nothing is cleared or
 * copied here but the list of pages, so that no growth takes long. */
#include <string.h>

#include "core/registrar/table_private.h"

enum {
    PAGE_BYTES = BK_TABLE_PAGE_ROWS * sizeof(struct bk_row),
    CHUNK_PAGES = BK_TABLE_CHUNK_BYTES / PAGE_BYTES,
    CHUNK_SEGMENTS = BK_TABLE_CHUNK_BYTES / sizeof(struct bk_table_segment),
    SLAB_SEGMENTS = 16,
    SMALL_SLABS = 24,          /* before the first one of a chunk: some 200 thousand rows */
    FIRST_PAGES = CHUNK_PAGES, /* room in the list of pages */
};

_Static_assert(CHUNK_PAGES *PAGE_BYTES == BK_TABLE_CHUNK_BYTES, "pages fill a chunk");
_Static_assert(sizeof(struct bk_table_segment) == 4096, "segments fill pages");

void *bk_table_take(struct bk_table *t, size_t n)
{
    void *p = t->alloc.get(t->alloc.ctx, n);
    if (p) {
        t->bytes += n;
    }
    return p;
}

void bk_table_give(struct bk_table *t, void *p, size_t n)
{
    if (!p) {
        return;
    }
    t->alloc.put(t->alloc.ctx, p);
    t->bytes -= n;
}

static void *take_chunk(struct bk_table *t)
{
    void *p = t->chunks.get(t->chunks.ctx, BK_TABLE_CHUNK_BYTES);
    if (p) {
        t->bytes += BK_TABLE_CHUNK_BYTES;
    }
    return p;
}

struct bk_table_segment *bk_table_take_segment(struct bk_table *t)
{
    if (t->slab_left == 0) {
        if (t->n_slabs == BK_TABLE_SLABS_MAX) {
            return NULL;
        }
        bool small = t->n_slabs < SMALL_SLABS;
        struct bk_table_segment *slab =
            small ? bk_table_take(t, SLAB_SEGMENTS * sizeof *slab) : take_chunk(t);
        if (!slab) {
            return NULL;
        }
        t->slabs[t->n_slabs++] = slab;
        t->slab_left = small ? SLAB_SEGMENTS : CHUNK_SEGMENTS;
    }
    return &t->slabs[t->n_slabs - 1][--t->slab_left];
}

static enum bk_err need_room_in_list(struct bk_table *t, size_t more)
{
    if (more <= t->pages_cap - t->n_pages) {
        return BK_OK;
    }
    size_t cap = t->pages_cap == 0 ? FIRST_PAGES : 2 * t->pages_cap;
    struct bk_row **bigger = bk_table_take(t, cap * sizeof(struct bk_row *));
    if (!bigger) {
        return BK_E_NOMEM;
    }
    if (t->n_pages > 0) {
        memcpy(bigger, t->pages, t->n_pages * sizeof(struct bk_row *));
    }
    bk_table_give(t, t->pages, t->pages_cap * sizeof(struct bk_row *));
    t->pages = bigger;
    t->pages_cap = cap;
    return BK_OK;
}

enum bk_err bk_table_need_page(struct bk_table *t)
{
    if (t->high < t->n_pages * BK_TABLE_PAGE_ROWS) {
        return BK_OK;
    }
    size_t more = t->n_pages < CHUNK_PAGES ? 1 : CHUNK_PAGES;
    if (need_room_in_list(t, more) != BK_OK) {
        return BK_E_NOMEM;
    }
    struct bk_row *page = more == 1 ? bk_table_take(t, PAGE_BYTES) : take_chunk(t);
    if (!page) {
        return BK_E_NOMEM;
    }
    for (size_t i = 0; i < more; i++) {
        t->pages[t->n_pages++] = page + i * BK_TABLE_PAGE_ROWS;
    }
    return BK_OK;
}

void bk_table_fini(struct bk_table *t)
{
    for (size_t i = 0; i < t->n_slabs; i++) {
        const struct bk_alloc *a = i < SMALL_SLABS ? &t->alloc : &t->chunks;
        a->put(a->ctx, t->slabs[i]);
    }
    for (size_t i = 0; i < t->n_pages; i += i < CHUNK_PAGES ? 1 : CHUNK_PAGES) {
        const struct bk_alloc *a = i < CHUNK_PAGES ? &t->alloc : &t->chunks;
        a->put(a->ctx, t->pages[i]);
    }
    if (t->alloc.put) {
        t->alloc.put(t->alloc.ctx, t->pages);
        t->alloc.put(t->alloc.ctx, t->directory);
    }
    *t = (struct bk_table){0};
}
