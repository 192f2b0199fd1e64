/* Dates and moments in agent.conf. */
#include "lib/place.h"

#include "lib/expiry.h"

static void test_taken(void **state)
{
    static const struct {
        const char *text;
        uint64_t unix_s;
    } cases[] = {
        {"1970-01-01", 86400},
        {"1970-01-01T00:00:00Z", 0},
        {"2000-02-29", UINT64_C(951868800)},
        {"2027-01-31T12:00:01Z", UINT64_C(1801396801)},
        {"2038-01-19T03:14:08Z", UINT64_C(0x80000000)},
        {"2100-03-01T00:00:00Z", UINT64_C(4107542400)}, /* 2100 has no 29 February */
        {"9999-12-31T23:59:59Z", UINT64_C(253402300799)},
        {"9999-12-31", UINT64_C(253402300800)},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t got = 1;

        assert_int_equal(bk_expiry_parse(bk_slice_text(cases[i].text), &got), BK_OK);
        assert_true(got == cases[i].unix_s);
    }
}

static void test_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "2027",
        "2027-1-31",
        "2027-01-32",
        "2027-00-10",
        "2027-13-10",
        "2027-01-00",
        "2027-02-29",
        "2100-02-29",
        "1969-12-31",
        "2027/01/31",
        "2027-01-31 ",
        " 2027-01-31",
        "2027-01-3a",
        "2027-01-31T12:00:00",
        "2027-01-31T24:00:00Z",
        "2027-01-31T12:60:00Z",
        "2027-01-31T12:00:60Z",
        "2027-01-31 12:00:00Z",
        "2027-01-31T12:00:00z",
        "2027-01-31T12:00:00+01",
        "2027-04-31",
        "+027-01-31",
    };
    uint64_t got;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(bk_expiry_parse(bk_slice_text(cases[i]), &got), BK_E_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_taken),
                                       cmocka_unit_test(test_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
