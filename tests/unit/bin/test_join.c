/* Joining with patience: what it goes on waiting through, and what ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <time.h>

#include "bin/common/join.h"

static struct {
    const enum beckon_status *answers;
    size_t n, asked, waited;
    size_t signal_at; /* this wait ends by a signal */
} f;

/* The linker puts it in the place of the C library's: no test waits. */
int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout);
int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
    (void)info;
    assert_int_equal(sigismember(set, SIGINT), 1);
    assert_true(timeout->tv_sec > 0);
    return ++f.waited == f.signal_at ? SIGINT : -1;
}

static enum beckon_status answer(const char *state_dir, const char *token,
                                 struct beckon_error *error)
{
    assert_string_equal(state_dir, "DIR");
    assert_string_equal(token, "TOKEN");
    assert_true(f.asked < f.n);
    *error = (struct beckon_error){.status = f.answers[f.asked], .text = "why"};
    return f.answers[f.asked++];
}

static int join(const enum beckon_status *answers, size_t n, size_t signal_at)
{
    memset(&f, 0, sizeof f);
    f.answers = answers;
    f.n = n;
    f.signal_at = signal_at;
    int status = bk_join("beckon", answer, "DIR", "TOKEN");
    assert_int_equal(f.asked, n);
    return status;
}

#define JOIN(signal_at, ...)                                                                       \
    join((const enum beckon_status[]){__VA_ARGS__},                                                \
         sizeof((const enum beckon_status[]){__VA_ARGS__}) / sizeof(enum beckon_status),           \
         signal_at)

static void test_at_once(void **state)
{
    (void)state;
    assert_int_equal(JOIN(0, BECKON_OK), BECKON_OK);
    assert_int_equal(JOIN(0, BECKON_SERVER_DOWN), BECKON_SERVER_DOWN);
    assert_int_equal(JOIN(0, BECKON_BUSY), BECKON_BUSY);
    assert_int_equal(f.waited, 0);
}

/* Who signs is a person and takes hours; a server that is restarted meanwhile is no reason to give up. */
static void test_waiting(void **state)
{
    (void)state;
    assert_int_equal(JOIN(0, BECKON_PENDING, BECKON_PENDING, BECKON_SERVER_DOWN, BECKON_SERVER_DOWN,
                          BECKON_BUSY, BECKON_PENDING, BECKON_OK),
                     BECKON_OK);
    assert_int_equal(f.waited, 6);
    assert_int_equal(JOIN(0, BECKON_PENDING, BECKON_BAD_TOKEN), BECKON_BAD_TOKEN);
    assert_int_equal(JOIN(0, BECKON_PENDING, BECKON_FAILED), BECKON_FAILED);
}

static void test_interrupted(void **state)
{
    (void)state;
    assert_int_equal(JOIN(1, BECKON_PENDING), BECKON_PENDING);
    assert_int_equal(JOIN(2, BECKON_PENDING, BECKON_SERVER_DOWN), BECKON_PENDING);
}

int main(void)
{
    (void)signal(SIGINT, SIG_DFL); /* what was started in the background ignores it */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_interrupted),
    };

    return cmocka_run_group_tests_name("join", tests, NULL, NULL);
}
