/* A stack of free numbers above a high-water mark. Allocates at init only. */
#include "core/server/pool.h"

#include <assert.h>

enum bk_err bk_pool_init(struct bk_pool *p, const struct bk_alloc *alloc, uint32_t cap)
{
    *p = (struct bk_pool){.cap = cap};
    p->next = alloc->get(alloc->ctx, ((size_t)cap + 1) * sizeof *p->next);
    return p->next ? BK_OK : BK_E_NOMEM;
}

void bk_pool_fini(struct bk_pool *p, const struct bk_alloc *alloc)
{
    if (p->next) {
        alloc->put(alloc->ctx, p->next);
    }
    *p = (struct bk_pool){0};
}

uint32_t bk_pool_take(struct bk_pool *p)
{
    uint32_t n = p->free;
    if (n != 0) {
        p->free = p->next[n];
    } else if (p->high < p->cap) {
        n = ++p->high;
    } else {
        return 0;
    }
    p->used++;
    return n;
}

void bk_pool_give(struct bk_pool *p, uint32_t n)
{
    assert(n >= 1 && n <= p->high && p->used > 0);
    p->next[n] = p->free;
    p->free = n;
    p->used--;
}
