/* Hands out the numbers 1..cap of a fixed table's entries; 0 stands for none. Entry 0 of such a table
 * is not used. Numbers given back are handed out again first, so a quiet server touches little memory. */
#ifndef BK_CORE_SERVER_POOL_H
#define BK_CORE_SERVER_POOL_H

#include <stdint.h>

#include "base/alloc.h"
#include "base/err.h"

struct bk_pool {
    uint32_t *next; /* chain of the free ones, by number */
    uint32_t cap;
    uint32_t high; /* numbers above this were never handed out */
    uint32_t free;
    uint32_t used;
};

/* BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_pool_init(struct bk_pool *p, const struct bk_alloc *alloc,
                                      uint32_t cap);
void bk_pool_fini(struct bk_pool *p, const struct bk_alloc *alloc);

/* 0 when all are in use. */
uint32_t bk_pool_take(struct bk_pool *p);
void bk_pool_give(struct bk_pool *p, uint32_t n);

#endif
