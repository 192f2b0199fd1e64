/* libc's allocator behind the cores' interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"

static void memory_is_zeroed_and_null_may_be_put(void **state)
{
    (void)state;
    struct bk_alloc a = bk_alloc_libc();
    unsigned char *p = a.get(a.ctx, 100);
    assert_non_null(p);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(p[i], 0);
    }
    a.put(a.ctx, p);
    a.put(a.ctx, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_is_zeroed_and_null_may_be_put)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
