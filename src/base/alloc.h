/* The one injected allocator of the cores. Tests hand in one that fails the nth call. */
#ifndef BK_BASE_ALLOC_H
#define BK_BASE_ALLOC_H

#include <stddef.h>

struct bk_alloc {
    void *ctx;
    void *(*get)(void *ctx, size_t n); /* zeroed memory, or NULL */
    void (*put)(void *ctx, void *p);   /* NULL is fine */
};

/* calloc and free. */
struct bk_alloc bk_alloc_libc(void);

#endif
