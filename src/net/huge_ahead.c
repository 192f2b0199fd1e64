/* Invariants: what lies ready has been touched all over; it is taken newest first, under the lock, and cleared outside
 * of it. */
#include "net/huge_ahead.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "net/huge_alloc.h"

enum {
    SMALL_PAGE_BYTES = 4096, /* where there are no huge ones */
};

struct bk_huge_ahead {
    struct bk_alloc huge;
    size_t bytes;
    unsigned most, n;
    void *ready[BK_HUGE_AHEAD_MAX];
    bool asked; /* for the first of them */
    bool runs, begun, ending;
    pthread_mutex_t lock;
    pthread_cond_t wanted, up;
    pthread_t thread;
};

enum bk_err bk_huge_ahead_new(size_t bytes, unsigned n, struct bk_huge_ahead **out)
{
    struct bk_huge_ahead *h = calloc(1, sizeof *h);

    if (h == NULL) {
        return BK_E_NOMEM;
    }
    h->huge = bk_alloc_huge();
    h->bytes = bytes;
    h->most = n < BK_HUGE_AHEAD_MAX ? n : BK_HUGE_AHEAD_MAX;
    (void)pthread_mutex_init(&h->lock, NULL); /* neither can fail without attributes */
    (void)pthread_cond_init(&h->wanted, NULL);
    (void)pthread_cond_init(&h->up, NULL);
    *out = h;
    return BK_OK;
}

/* A page at a time: the kernel's lock on our memory is held for one fault, not for all. */
static void *make_ready(const struct bk_huge_ahead *h)
{
    void *p = h->huge.get(h->huge.ctx, h->bytes);
    volatile uint8_t *touched = p;

    for (size_t i = 0; p != NULL && i < h->bytes; i += SMALL_PAGE_BYTES) {
        touched[i] = 0;
    }
    return p;
}

static void *run(void *ctx)
{
    struct bk_huge_ahead *h = ctx;

    (void)pthread_mutex_lock(&h->lock);
    h->begun = true;
    (void)pthread_cond_signal(&h->up);
    while (!h->ending) {
        void *p;

        if (!h->asked || h->n == h->most) {
            (void)pthread_cond_wait(&h->wanted, &h->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&h->lock);
        p = make_ready(h);
        (void)pthread_mutex_lock(&h->lock);
        if (p == NULL) {
            h->asked = false; /* until somebody asks again */
        } else {
            h->ready[h->n++] = p;
        }
    }
    (void)pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* What a thread asks of the kernel before its first line, a system call filter may refuse: that is over then. */
static void wait_until_begun(struct bk_huge_ahead *h)
{
    (void)pthread_mutex_lock(&h->lock);
    while (!h->begun) {
        (void)pthread_cond_wait(&h->up, &h->lock);
    }
    (void)pthread_mutex_unlock(&h->lock);
}

enum bk_err bk_huge_ahead_start(struct bk_huge_ahead *h)
{
    sigset_t every, before;

    (void)sigfillset(&every);
    (void)pthread_sigmask(SIG_SETMASK, &every, &before);
    h->runs = pthread_create(&h->thread, NULL, run, h) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!h->runs) {
        return BK_E_NOMEM;
    }
    wait_until_begun(h);
    return BK_OK;
}

void bk_huge_ahead_free(struct bk_huge_ahead *h)
{
    if (h == NULL) {
        return;
    }
    if (h->runs) {
        (void)pthread_mutex_lock(&h->lock);
        h->ending = true;
        (void)pthread_cond_signal(&h->wanted);
        (void)pthread_mutex_unlock(&h->lock);
        (void)pthread_join(h->thread, NULL);
    }
    while (h->n > 0) {
        h->huge.put(h->huge.ctx, h->ready[--h->n]);
    }
    (void)pthread_cond_destroy(&h->up);
    (void)pthread_cond_destroy(&h->wanted);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
}

static void *get(void *ctx, size_t n)
{
    struct bk_huge_ahead *h = ctx;
    void *p = NULL;

    if (n == h->bytes) {
        (void)pthread_mutex_lock(&h->lock);
        if (h->n > 0) {
            p = h->ready[--h->n];
        }
        h->asked = true;
        (void)pthread_cond_signal(&h->wanted);
        (void)pthread_mutex_unlock(&h->lock);
    }
    return p != NULL ? p : h->huge.get(h->huge.ctx, n);
}

static void put(void *ctx, void *p)
{
    struct bk_huge_ahead *h = ctx;

    h->huge.put(h->huge.ctx, p);
}

struct bk_alloc bk_huge_ahead_alloc(struct bk_huge_ahead *h)
{
    return (struct bk_alloc){.ctx = h, .get = get, .put = put};
}
