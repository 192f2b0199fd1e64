/* The wall clock against the kernel's own, where a clock that runs behind shows: over the turn of a second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "net/clock.h"

enum {
    NS_PER_S = 1000000000,
    AROUND_NS = 20000000, /* on both sides of the turn; a kernel's tick is at most half of it */
};

static struct timespec kernels(void)
{
    struct timespec ts;

    assert_int_equal(clock_gettime(CLOCK_REALTIME, &ts), 0);
    return ts;
}

static void never_behind(void **state)
{
    struct timespec now = kernels(), wait = {.tv_nsec = NS_PER_S - AROUND_NS - now.tv_nsec};
    struct timespec began = now;

    (void)state;
    if (wait.tv_nsec > 0) {
        (void)nanosleep(&wait, NULL);
    }
    do {
        now = kernels();
        assert_true(bk_clock_unix_s() >= (uint64_t)now.tv_sec);
        assert_true(bk_clock_now().unix_s >= (uint64_t)now.tv_sec);
    } while (now.tv_sec == began.tv_sec || now.tv_nsec < AROUND_NS);
}

static void both_move_on(void **state)
{
    struct bk_now first = bk_clock_now(), second = bk_clock_now();

    (void)state;
    assert_true(second.mono >= first.mono && bk_clock_mono() >= second.mono);
    assert_true(first.unix_s > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_behind),
        cmocka_unit_test(both_move_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
