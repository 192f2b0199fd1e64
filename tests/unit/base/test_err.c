/* Every error code has words of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"

static void every_code_has_its_own_text(void **state)
{
    (void)state;
    for (int a = BK_E_STATE; a <= BK_OK; a++) {
        assert_true(bk_err_text((enum bk_err)a)[0] != '\0');
        for (int b = BK_E_STATE; b < a; b++) {
            assert_string_not_equal(bk_err_text((enum bk_err)a), bk_err_text((enum bk_err)b));
        }
    }
    assert_string_equal(bk_err_text((enum bk_err) - 999), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_code_has_its_own_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
