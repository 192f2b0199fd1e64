/* The map against a plain array, its hash against published vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"

enum { KEYS = 512 };
static const uint64_t seed[2] = {1, 2};

static uint64_t draw(uint64_t *x)
{
    *x = *x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *x >> 33;
}

/* SipHash-2-4 with key 00..0f over 00, 01, 02, ...: the authors' vectors. */
static void the_hash_is_siphash(void **state)
{
    (void)state;
    const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    uint8_t in[15];
    for (size_t i = 0; i < sizeof(in); i++) {
        in[i] = (uint8_t)i;
    }
    assert_true(bk_hash_bytes(key, bk_slice(in, 0)) == UINT64_C(0x726fdb47dd0e0e31));
    assert_true(bk_hash_bytes(key, bk_slice(in, 1)) == UINT64_C(0x74f839c593dc67fd));
    assert_true(bk_hash_bytes(key, bk_slice(in, 8)) == UINT64_C(0x93f5f5799a932462));
    assert_true(bk_hash_bytes(key, bk_slice(in, 15)) == UINT64_C(0xa129ca6149be45e5));
    assert_true(bk_hash_u64(key, UINT64_C(0x0706050403020100)) == UINT64_C(0x93f5f5799a932462));
}

static void random_operations_agree_with_an_array(void **state)
{
    (void)state;
    static uint64_t model[KEYS];
    size_t len = 0;
    uint64_t rng = 4;
    struct bk_alloc a = bk_alloc_libc();
    struct bk_map m;
    assert_int_equal(bk_map_init(&m, &a, seed, 0), BK_OK);
    for (int i = 0; i < 200000; i++) {
        uint64_t key = draw(&rng) % KEYS;
        switch (draw(&rng) % 3) {
        case 0: {
            uint64_t value = 1 + draw(&rng);
            assert_int_equal(bk_map_put(&m, key, value), BK_OK);
            len += model[key] == 0;
            model[key] = value;
            break;
        }
        case 1:
            assert_int_equal(bk_map_remove(&m, key), model[key] != 0);
            len -= model[key] != 0;
            model[key] = 0;
            break;
        default:
            assert_true(bk_map_get(&m, key) == model[key]);
        }
        assert_int_equal(m.len, len);
    }
    for (uint64_t key = 0; key < KEYS; key++) {
        assert_true(bk_map_get(&m, key) == model[key]);
    }
    bk_map_fini(&m);
}

struct limited {
    int left;
};

static void *limited_get(void *ctx, size_t n)
{
    struct limited *l = ctx;
    return l->left-- > 0 ? calloc(1, n) : NULL;
}

static void limited_put(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

static void as_many_as_expected_need_no_allocation(void **state)
{
    (void)state;
    size_t sizes[] = {0, 1, 11, 12, 13, 100, 768, 1000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct limited l = {.left = 1};
        struct bk_alloc a = {&l, limited_get, limited_put};
        struct bk_map m;
        assert_int_equal(bk_map_init(&m, &a, seed, sizes[i]), BK_OK);
        for (uint64_t k = 0; k < sizes[i]; k++) {
            assert_int_equal(bk_map_put(&m, k, k + 1), BK_OK);
        }
        assert_int_equal(l.left, 0);
        bk_map_fini(&m);
    }
}

static void without_memory_it_fills_up_and_then_refuses(void **state)
{
    (void)state;
    struct limited l = {.left = 1};
    struct bk_alloc a = {&l, limited_get, limited_put};
    struct bk_map m;
    assert_int_equal(bk_map_init(&m, &a, seed, 1), BK_OK);
    uint64_t n = 0;
    while (bk_map_put(&m, n, n + 1) == BK_OK) {
        n++;
    }
    assert_int_equal(n, m.cap - 1);
    assert_true(bk_map_get(&m, n) == 0); /* and a search for what is missing ends */
    for (uint64_t k = 0; k < n; k++) {
        assert_true(bk_map_get(&m, k) == k + 1);
    }
    assert_int_equal(bk_map_put(&m, 0, 9), BK_OK); /* replacing needs no room */
    l.left = 1;
    assert_int_equal(bk_map_put(&m, n, 1), BK_OK);
    bk_map_fini(&m);

    l.left = 0;
    assert_int_equal(bk_map_init(&m, &a, seed, 1), BK_E_NOMEM);
}

static void more_than_memory_can_hold_is_refused_before_it_is_asked_for(void **state)
{
    (void)state;
    struct limited l = {.left = 100};
    struct bk_alloc a = {&l, limited_get, limited_put};
    struct bk_map m;
    assert_int_equal(bk_map_init(&m, &a, seed, SIZE_MAX), BK_E_NOMEM);
    assert_int_equal(l.left, 100);
    bk_map_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_siphash),
        cmocka_unit_test(random_operations_agree_with_an_array),
        cmocka_unit_test(as_many_as_expected_need_no_allocation),
        cmocka_unit_test(without_memory_it_fills_up_and_then_refuses),
        cmocka_unit_test(more_than_memory_can_hold_is_refused_before_it_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
