/* Memory that fails when it is told to, and that knows what was not given back. */
#ifndef BK_TESTS_FAILING_H
#define BK_TESTS_FAILING_H

#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"

struct failing {
    uint64_t calls;
    uint64_t fail_from; /* every one from this on; 0: none */
    uint64_t fail_at;   /* this one alone; 0: none */
    int64_t alive;
};

static inline void *failing_get(void *ctx, size_t n)
{
    struct failing *f = ctx;
    f->calls++;
    if ((f->fail_from != 0 && f->calls >= f->fail_from) || f->calls == f->fail_at) {
        return NULL;
    }
    void *p = calloc(1, n);
    f->alive += p != NULL;
    return p;
}

static inline void failing_put(void *ctx, void *p)
{
    struct failing *f = ctx;
    f->alive -= p != NULL;
    free(p);
}

static inline struct bk_alloc failing_alloc(struct failing *f)
{
    return (struct bk_alloc){f, failing_get, failing_put};
}

#endif
