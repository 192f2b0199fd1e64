/* Huge pages for large blocks. The length of a block, which the kernel must be told at the end, is kept in a list:
 * a header in front of it would cost a page, or the alignment. */
#include "net/huge_alloc.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

struct block {
    struct block *next;
    void *p;
    size_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *blocks;

/* Whole huge pages at an address that is a multiple of theirs: a longer stretch is taken, its ends given back. */
static void *map(size_t bytes)
{
    const size_t page = BK_HUGE_PAGE_BYTES;
    uint8_t *at, *whole;
    size_t before;

    at = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return NULL;
    }
    before = (page - (uintptr_t)at % page) % page;
    whole = at + before;
    (void)munmap(whole + bytes, page - before);
    if (before > 0) {
        (void)munmap(at, before);
    }
    /* Where there are none the same memory comes in small pages. */
    (void)madvise(whole, bytes, MADV_HUGEPAGE);
    return whole;
}

static void *get(void *ctx, size_t n)
{
    const size_t page = BK_HUGE_PAGE_BYTES;
    struct block *block;

    (void)ctx;
    if (n < page) {
        return calloc(1, n);
    }
    if (n > SIZE_MAX - 2 * page) {
        return NULL;
    }
    block = malloc(sizeof *block);
    if (block == NULL) {
        return NULL;
    }
    block->bytes = (n + page - 1) / page * page;
    block->p = map(block->bytes);
    if (block->p == NULL) {
        free(block);
        return NULL;
    }
    (void)pthread_mutex_lock(&lock);
    block->next = blocks;
    blocks = block;
    (void)pthread_mutex_unlock(&lock);
    return block->p;
}

/* The block that begins there, out of the list; NULL: it is none of these. */
static struct block *take(const void *p)
{
    struct block **link, *found;

    if ((uintptr_t)p % BK_HUGE_PAGE_BYTES != 0) {
        return NULL; /* spares nearly everything else the walk */
    }
    (void)pthread_mutex_lock(&lock);
    for (link = &blocks; *link != NULL && (*link)->p != p; link = &(*link)->next) {
    }
    found = *link;
    if (found != NULL) {
        *link = found->next;
    }
    (void)pthread_mutex_unlock(&lock);
    return found;
}

static void put(void *ctx, void *p)
{
    struct block *block = p == NULL ? NULL : take(p);

    (void)ctx;
    if (block == NULL) {
        free(p);
        return;
    }
    (void)munmap(block->p, block->bytes);
    free(block);
}

struct bk_alloc bk_alloc_huge(void)
{
    return (struct bk_alloc){.ctx = NULL, .get = get, .put = put};
}
