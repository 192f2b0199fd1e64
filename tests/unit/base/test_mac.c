/* Constant-time comparison: its verdicts (its timing cannot be tested here). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mac.h"

static void any_single_bit_counts(void **state)
{
    (void)state;
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    assert_true(bk_equal_const_time(a, b, sizeof a));
    for (size_t bit = 0; bit < 8 * sizeof a; bit++) {
        b[bit / 8] = (uint8_t)(1U << bit % 8);
        assert_false(bk_equal_const_time(a, b, sizeof a));
        b[bit / 8] = 0;
    }
    b[31] = 1;
    assert_true(bk_equal_const_time(a, b, 31));
    assert_true(bk_equal_const_time(a, b, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_single_bit_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
