/* Slices: comparison and the way to text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"

static void equality(void **state)
{
    (void)state;
    assert_true(bk_slice_equal(BK_SLICE_EMPTY, bk_slice_text("")));
    assert_true(bk_slice_equal(bk_slice_text("ab"), bk_slice("abc", 2)));
    assert_false(bk_slice_equal(bk_slice_text("ab"), bk_slice_text("abc")));
    assert_false(bk_slice_equal(bk_slice_text("ab"), bk_slice_text("aB")));
    assert_int_equal(bk_slice_text(NULL).n, 0);
}

static void text_must_fit_and_be_printable(void **state)
{
    (void)state;
    char out[4] = "xyz";
    assert_true(bk_slice_to_text(bk_slice_text("abc"), out, sizeof out));
    assert_string_equal(out, "abc");
    assert_false(bk_slice_to_text(bk_slice_text("abcd"), out, sizeof out));
    assert_string_equal(out, "");
    assert_true(bk_slice_to_text(BK_SLICE_EMPTY, out, sizeof out));
    assert_string_equal(out, "");
    assert_true(bk_slice_to_text(bk_slice_text(" ~"), out, sizeof out));
    assert_false(bk_slice_to_text(BK_SLICE_EMPTY, out, 0));
    const uint8_t refused[] = {0x00, 0x1F, 0x7F, 0x80, 0xFF, '\n'};
    for (size_t i = 0; i < sizeof refused; i++) {
        assert_false(bk_slice_to_text(bk_slice(&refused[i], 1), out, sizeof out));
        assert_string_equal(out, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equality),
        cmocka_unit_test(text_must_fit_and_be_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
