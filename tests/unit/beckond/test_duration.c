/* Durations of the command line. */
#include "beckond/setup.h"

#include "bin/beckond/duration.h"

static enum bk_err parse(const char *text, uint64_t *seconds)
{
    return bk_duration_parse(bk_slice_text(text), seconds);
}

static void test_units(void **state)
{
    uint64_t s = 0;

    (void)state;
    assert_int_equal(parse("1s", &s), BK_OK);
    assert_int_equal(s, 1);
    assert_int_equal(parse("30m", &s), BK_OK);
    assert_int_equal(s, 1800);
    assert_int_equal(parse("24h", &s), BK_OK);
    assert_int_equal(s, 86400);
    assert_int_equal(parse("7d", &s), BK_OK);
    assert_int_equal(s, 604800);
}

static void test_limits(void **state)
{
    uint64_t s = 0;

    (void)state;
    assert_int_equal(parse("366d", &s), BK_OK);
    assert_int_equal(s, BK_DURATION_MAX_S);
    assert_int_equal(parse("367d", &s), BK_E_RANGE);
    assert_int_equal(parse("18446744073709551615d", &s), BK_E_RANGE);
    assert_int_equal(parse("0h", &s), BK_E_RANGE);
}

static void test_nonsense(void **state)
{
    static const char *const texts[] = {"",    "h",    "24",  "24 h", "-1h",
                                        "+1h", "1.5h", "01h", "1w",   "1hh"};
    uint64_t s = 0;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(parse(texts[i], &s), BK_E_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
