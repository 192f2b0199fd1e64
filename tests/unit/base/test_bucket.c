/* The token bucket against its promise: burst at once, rate in the long run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bucket.h"

static int take_all(struct bk_bucket *b, bk_time now, uint32_t rate, uint32_t burst)
{
    int n = 0;
    while (n < 1000 && bk_bucket_take(b, now, rate, burst)) {
        n++;
    }
    return n;
}

static void burst_then_rate(void **state)
{
    (void)state;
    struct bk_bucket b = {0};
    assert_int_equal(take_all(&b, 0, 10, 5), 5);
    assert_false(bk_bucket_take(&b, 100 * BK_MS - 1, 10, 5));
    assert_true(bk_bucket_take(&b, 100 * BK_MS, 10, 5));
    assert_false(bk_bucket_take(&b, 100 * BK_MS, 10, 5));
    assert_int_equal(take_all(&b, 300 * BK_MS, 10, 5), 2);
    assert_int_equal(take_all(&b, 100 * BK_SECOND, 10, 5), 5); /* never more than a burst */
}

static void refusals_cost_nothing(void **state)
{
    (void)state;
    struct bk_bucket b = {0};
    assert_true(bk_bucket_take(&b, 0, 1, 1));
    for (bk_time t = 0; t < BK_SECOND; t += BK_MS) {
        assert_false(bk_bucket_take(&b, t, 1, 1));
    }
    assert_true(bk_bucket_take(&b, BK_SECOND, 1, 1));
}

static void several_at_once_or_none(void **state)
{
    (void)state;
    struct bk_bucket b = {0};
    assert_true(bk_bucket_take_n(&b, 0, 10, 5, 3));
    assert_false(bk_bucket_take_n(&b, 0, 10, 5, 3));
    assert_true(bk_bucket_take_n(&b, 0, 10, 5, 2));
    assert_false(bk_bucket_take(&b, 0, 10, 5));
    assert_false(bk_bucket_take_n(&b, 500 * BK_MS - 1, 10, 5, 5));
    assert_true(bk_bucket_take_n(&b, 500 * BK_MS, 10, 5, 5));
    struct bk_bucket all = {0};
    assert_true(bk_bucket_take_n(&all, 5, 1, UINT32_MAX, UINT32_MAX));
    assert_false(bk_bucket_take(&all, 5, 1, UINT32_MAX));
}

static void extremes(void **state)
{
    (void)state;
    struct bk_bucket fast = {0};
    assert_int_equal(take_all(&fast, 5, UINT32_MAX, UINT32_MAX), 1000);
    struct bk_bucket slow = {0};
    assert_int_equal(take_all(&slow, 5, 1, UINT32_MAX), 1000);
    struct bk_bucket late = {0};
    assert_int_equal(take_all(&late, BK_TIME_NEVER - BK_SECOND, 10, 3), 3);
}

static void long_run_rate(void **state)
{
    (void)state;
    struct bk_bucket b = {0};
    int got = 0;
    for (bk_time t = 0; t < 100 * BK_SECOND; t += 7 * BK_MS) {
        got += bk_bucket_take(&b, t, 30, 10);
    }
    assert_in_range(got, 3000, 3010);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(burst_then_rate),         cmocka_unit_test(refusals_cost_nothing),
        cmocka_unit_test(several_at_once_or_none), cmocka_unit_test(extremes),
        cmocka_unit_test(long_run_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
