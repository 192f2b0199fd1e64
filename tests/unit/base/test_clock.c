/* Times saturate and never wrap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

static void sums_stop_at_never(void **state)
{
    (void)state;
    assert_true(bk_time_add(1, 2) == 3);
    assert_true(bk_time_add(0, BK_TIME_NEVER) == BK_TIME_NEVER);
    assert_true(bk_time_add(BK_TIME_NEVER, 0) == BK_TIME_NEVER);
    assert_true(bk_time_add(BK_TIME_NEVER - 1, 1) == BK_TIME_NEVER);
    assert_true(bk_time_add(BK_TIME_NEVER - 1, 2) == BK_TIME_NEVER);
    assert_true(bk_time_add(BK_TIME_NEVER, BK_TIME_NEVER) == BK_TIME_NEVER);
}

static void what_is_left(void **state)
{
    (void)state;
    assert_true(bk_time_left(10, 15) == 5);
    assert_true(bk_time_left(15, 15) == 0);
    assert_true(bk_time_left(16, 15) == 0);
    assert_true(bk_time_left(16, BK_TIME_NEVER) == BK_TIME_NEVER);
    assert_true(bk_time_left(BK_TIME_NEVER, BK_TIME_NEVER) == BK_TIME_NEVER);
}

static void the_earlier_one(void **state)
{
    (void)state;
    assert_true(bk_time_min(1, 2) == 1);
    assert_true(bk_time_min(BK_TIME_NEVER, 2) == 2);
    assert_true(bk_time_min(3, 3) == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_stop_at_never),
        cmocka_unit_test(what_is_left),
        cmocka_unit_test(the_earlier_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
