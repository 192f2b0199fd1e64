/* The first lines, one a minute after them, and none forgotten in the count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/log_limit.h"

static void test_limit(void **state)
{
    struct bk_log_limit l = {0};
    uint64_t left_out = 7;
    bk_time now = 5 * BK_SECOND;

    (void)state;
    for (int i = 0; i < BK_LOG_LIMIT_FIRST; i++) {
        assert_true(bk_log_limit_pass(&l, now, &left_out));
        assert_int_equal(left_out, 0);
    }
    for (int i = 0; i < 1000; i++) {
        assert_false(bk_log_limit_pass(&l, now + 59 * BK_SECOND, &left_out));
    }
    now += 60 * BK_SECOND;
    assert_true(bk_log_limit_pass(&l, now, &left_out));
    assert_int_equal(left_out, 1000);
    assert_false(bk_log_limit_pass(&l, now, &left_out));
    assert_false(bk_log_limit_pass(&l, now + 60 * BK_SECOND - 1, &left_out));
    now += 3600 * BK_SECOND; /* a long silence saves nothing up */
    assert_true(bk_log_limit_pass(&l, now, &left_out));
    assert_int_equal(left_out, 2);
    assert_false(bk_log_limit_pass(&l, now, &left_out));
    assert_true(bk_log_limit_pass(&l, now + 60 * BK_SECOND, &left_out));
    assert_int_equal(left_out, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limit)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
