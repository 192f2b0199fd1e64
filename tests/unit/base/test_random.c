/* Values drawn from an injected generator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"

/* Counts up, byte by byte. */
static void fill_counting(void *ctx, uint8_t *out, size_t n)
{
    uint8_t *next = ctx;
    for (size_t i = 0; i < n; i++) {
        out[i] = (*next)++;
    }
}

static void bytes_come_from_the_generator(void **state)
{
    (void)state;
    uint8_t next = 1;
    struct bk_random rng = {&next, fill_counting};
    assert_true(bk_random_u64(&rng) == UINT64_C(0x0102030405060708));
    assert_true(bk_random_u64(&rng) == UINT64_C(0x090A0B0C0D0E0F10));
}

static void bounds_hold(void **state)
{
    (void)state;
    uint8_t next = 0;
    struct bk_random rng = {&next, fill_counting};
    unsigned seen = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t v = bk_random_below(&rng, 7);
        assert_true(v < 7);
        seen |= 1U << v;
        assert_true(bk_random_below(&rng, 1) == 0);
    }
    assert_int_equal(seen, 0x7F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_from_the_generator),
        cmocka_unit_test(bounds_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
