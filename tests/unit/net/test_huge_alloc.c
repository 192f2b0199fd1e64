/* Blocks, large and small: zeroed, apart from each other, given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/huge_alloc.h"

enum {
    BLOCKS = 6,
};

static void test_blocks(void **state)
{
    static const size_t sizes[BLOCKS] = {1,
                                         4096,
                                         BK_HUGE_PAGE_BYTES - 1,
                                         BK_HUGE_PAGE_BYTES,
                                         BK_HUGE_PAGE_BYTES + 1,
                                         5 * BK_HUGE_PAGE_BYTES};
    struct bk_alloc a = bk_alloc_huge();
    uint8_t *p[BLOCKS];

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            p[i] = a.get(a.ctx, sizes[i]);
            assert_non_null(p[i]);
            assert_int_equal(p[i][0] | p[i][sizes[i] / 2] | p[i][sizes[i] - 1], 0);
            memset(p[i], i + 1, sizes[i]);
            if (sizes[i] >= BK_HUGE_PAGE_BYTES) {
                assert_int_equal((uintptr_t)p[i] % BK_HUGE_PAGE_BYTES, 0);
            }
        }
        for (int i = 0; i < BLOCKS; i++) {
            assert_int_equal(p[i][0], i + 1);
            assert_int_equal(p[i][sizes[i] - 1], i + 1);
        }
        for (int i = round % 2; i < BLOCKS; i += 2) {
            a.put(a.ctx, p[i]);
        }
        for (int i = 1 - round % 2; i < BLOCKS; i += 2) {
            a.put(a.ctx, p[i]);
        }
    }
    a.put(a.ctx, NULL);
}

static void test_too_large(void **state)
{
    struct bk_alloc a = bk_alloc_huge();
    volatile size_t huge = SIZE_MAX;

    (void)state;
    assert_null(a.get(a.ctx, huge));
    assert_null(a.get(a.ctx, huge / 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
