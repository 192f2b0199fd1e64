/* Blocks that lie ready: touched before they are handed out, zeroed, any thread's; others as ever. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/filter.h>

#include "net/huge_ahead.h"
#include "net/huge_alloc.h"
#include "net/sandbox.h"

enum {
    BYTES = 2 * BK_HUGE_PAGE_BYTES,
    READY = 2,
    TRIES = 500,
    TRY_US = 10000,
    THREADS = 4,
    TURNS = 40,
    FILTER_MAX = 2048,
    MASK_WORDS = 128,
    RESET_ON_FORK = 0x40000000, /* sched(7): threads that it starts are as any */
};

static bool is_resident(void *p)
{
    static unsigned char pages[BYTES / 4096];
    size_t n = BYTES / (size_t)sysconf(_SC_PAGESIZE);
    bool all = mincore(p, BYTES, pages) == 0;

    for (size_t i = 0; i < n; i++) {
        all = all && (pages[i] & 1) != 0;
    }
    return all;
}

static bool is_zero(const uint8_t *p)
{
    return p[0] == 0 && memcmp(p, p + 1, BYTES - 1) == 0;
}

/* One that had been touched when it came, within five seconds; NULL: none. */
static void *take_ready(const struct bk_alloc *a)
{
    for (int i = 0; i < TRIES; i++) {
        void *p = a->get(a->ctx, BYTES);

        assert_non_null(p);
        if (is_resident(p)) {
            return p;
        }
        a->put(a->ctx, p);
        (void)usleep(TRY_US);
    }
    return NULL;
}

static struct bk_huge_ahead *open_one(bool start)
{
    struct bk_huge_ahead *h = NULL;

    assert_int_equal(bk_huge_ahead_new(BYTES, READY, &h), BK_OK);
    if (start) {
        assert_int_equal(bk_huge_ahead_start(h), BK_OK);
    }
    return h;
}

static void test_touched_before_it_comes(void **state)
{
    struct bk_huge_ahead *h = open_one(true);
    struct bk_alloc a = bk_huge_ahead_alloc(h);
    void *first = a.get(a.ctx, BYTES), *next;

    (void)state;
    assert_false(is_resident(first)); /* nothing is kept for those who never ask */
    next = take_ready(&a);
    assert_non_null(next);
    assert_int_equal((uintptr_t)next % BK_HUGE_PAGE_BYTES, 0);
    assert_true(is_zero(first) && is_zero(next));
    memset(next, 1, BYTES);
    memset(first, 2, BYTES);
    a.put(a.ctx, next);
    a.put(a.ctx, first);
    bk_huge_ahead_free(h); /* with others ready, or under way */
}

static void test_without_the_thread(void **state)
{
    struct bk_huge_ahead *h = open_one(false);
    struct bk_alloc a = bk_huge_ahead_alloc(h);

    (void)state;
    for (int i = 0; i < 2 * READY; i++) {
        void *p = a.get(a.ctx, BYTES);

        assert_true(p != NULL && !is_resident(p) && is_zero(p));
        a.put(a.ctx, p);
    }
    bk_huge_ahead_free(h);
    bk_huge_ahead_free(NULL);
}

static void test_other_sizes(void **state)
{
    struct bk_huge_ahead *h = open_one(true);
    struct bk_alloc a = bk_huge_ahead_alloc(h);
    uint8_t *small = a.get(a.ctx, 100), *large = a.get(a.ctx, BYTES + 1);
    volatile size_t huge = SIZE_MAX;

    (void)state;
    assert_non_null(small);
    assert_non_null(large);
    assert_int_equal(large[BYTES], 0);
    assert_null(a.get(a.ctx, huge));
    a.put(a.ctx, small);
    a.put(a.ctx, large);
    a.put(a.ctx, NULL);
    bk_huge_ahead_free(h);
}

static void *take_and_give(void *ctx)
{
    const struct bk_alloc *a = ctx;
    uintptr_t bad = 0;

    for (int i = 0; i < TURNS; i++) {
        uint8_t *p = a->get(a->ctx, BYTES);

        if (p == NULL || p[0] != 0 || p[BYTES - 1] != 0) {
            bad++;
        } else {
            p[0] = p[BYTES - 1] = 1;
        }
        a->put(a->ctx, p);
    }
    return (void *)bad;
}

static void test_many_threads(void **state)
{
    struct bk_huge_ahead *h = open_one(true);
    struct bk_alloc a = bk_huge_ahead_alloc(h);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &a), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *bad;

        assert_int_equal(pthread_join(threads[i], &bad), 0);
        assert_null(bad);
    }
    bk_huge_ahead_free(h);
}

/* From here on a new thread has no processor before this one waits, if root may say so. */
static bool go_first(void)
{
    const struct sched_param first = {.sched_priority = 1};
    unsigned long all[MASK_WORDS] = {0}, one[MASK_WORDS] = {0};
    size_t i = 0;

    if (syscall(SYS_sched_getaffinity, 0, sizeof all, all) < 0) {
        return false;
    }
    while (i < MASK_WORDS - 1 && all[i] == 0) {
        i++;
    }
    one[i] = all[i] & -all[i];
    (void)sched_setscheduler(0, SCHED_FIFO | RESET_ON_FORK, &first);
    return syscall(SYS_sched_setaffinity, 0, sizeof one, one) == 0;
}

/* The filter is made before the thread, and loaded right behind it. */
static bool filtered_at_once(struct bk_huge_ahead *h)
{
    static struct sock_filter filter[FILTER_MAX];
    char why[BK_SANDBOX_WHY_BYTES];
    int ends[2];
    ssize_t n;

    if (pipe(ends) != 0 ||
        bk_sandbox_make(BK_SANDBOX_SERVER, BK_SANDBOX_KILL, getpid(), ends[1]) != 0) {
        return false;
    }
    n = read(ends[0], filter, sizeof filter);
    return n > 0 && go_first() && bk_huge_ahead_start(h) == BK_OK &&
           bk_sandbox_load(filter, (size_t)n / sizeof filter[0], why, sizeof why) == BK_OK;
}

/* beckond's filter refuses what a thread asks of the kernel before its first line; here a refusal is the end. */
static void test_begun_when_start_returns(void **state)
{
    int status = 0;
    pid_t pid;

    (void)state;
    if (!bk_sandbox_possible()) {
        return;
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct bk_huge_ahead *h = open_one(false);
        bool good = filtered_at_once(h);

        bk_huge_ahead_free(h);
        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_touched_before_it_comes),
        cmocka_unit_test(test_without_the_thread),
        cmocka_unit_test(test_other_sizes),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_begun_when_start_returns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
