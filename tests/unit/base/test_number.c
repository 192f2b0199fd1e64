/* Strict numbers: one text for each value, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/number.h"

static enum bk_err parse(const char *text, uint64_t max, uint64_t *out)
{
    return bk_number_parse(bk_slice_text(text), max, out);
}

static void edge_values(void **state)
{
    (void)state;
    const uint64_t values[] = {0, 1, 9, 10, 99, 65535, INT64_MAX, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[21];
        uint64_t back = 7;
        bk_number_format(values[i], text);
        assert_int_equal(parse(text, UINT64_MAX, &back), BK_OK);
        assert_true(back == values[i]);
    }
    char text[21];
    bk_number_format(UINT64_MAX, text);
    assert_string_equal(text, "18446744073709551615");
}

static void too_large(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_int_equal(parse("18446744073709551616", UINT64_MAX, &v), BK_E_RANGE);
    assert_int_equal(parse("18446744073709551620", UINT64_MAX, &v), BK_E_RANGE);
    assert_int_equal(parse("99999999999999999999999999", UINT64_MAX, &v), BK_E_RANGE);
    assert_int_equal(parse("99999999999999999999999999x", UINT64_MAX, &v), BK_E_MALFORMED);
    assert_int_equal(parse("65536", 65535, &v), BK_E_RANGE);
    assert_int_equal(parse("65535", 65535, &v), BK_OK);
    assert_int_equal(parse("1", 0, &v), BK_E_RANGE);
    assert_int_equal(parse("0", 0, &v), BK_OK);
}

static void no_numbers(void **state)
{
    (void)state;
    const char *bad[] = {"",    "00", "01",  "-1", "+1", " 1", "1 ",  "1\n",
                         "0x1", "1.", "1e3", "a",  "/",  ":",  "1,0", "\xD9\xA1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t v = 7;
        assert_int_equal(parse(bad[i], UINT64_MAX, &v), BK_E_MALFORMED);
        assert_true(v == 0);
    }
    uint64_t v;
    assert_int_equal(bk_number_parse(bk_slice("1\0", 2), 99, &v), BK_E_MALFORMED);
}

static void equipment_ids(void **state)
{
    (void)state;
    uint64_t id;
    assert_int_equal(bk_equipment_id_parse(bk_slice_text("2133"), &id), BK_OK);
    assert_true(id == 2133);
    assert_int_equal(bk_equipment_id_parse(bk_slice_text("9223372036854775807"), &id), BK_OK);
    assert_int_equal(bk_equipment_id_parse(bk_slice_text("9223372036854775808"), &id), BK_E_RANGE);
    assert_int_equal(bk_equipment_id_parse(bk_slice_text("0"), &id), BK_E_RANGE);
    assert_int_equal(bk_equipment_id_parse(bk_slice_text("kiosk"), &id), BK_E_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edge_values),
        cmocka_unit_test(too_large),
        cmocka_unit_test(no_numbers),
        cmocka_unit_test(equipment_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
