/* The allocator that programs hand to the cores: libc's. Holds no state. */
#include "base/alloc.h"

#include <stdlib.h>

static void *get(void *ctx, size_t n)
{
    (void)ctx;
    return calloc(1, n);
}

static void put(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

struct bk_alloc bk_alloc_libc(void)
{
    return (struct bk_alloc){NULL, get, put};
}
