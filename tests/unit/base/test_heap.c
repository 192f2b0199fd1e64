/* The timers' heap: random operations against a plain array that is searched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/heap.h"

enum {
    TIMERS = 64,
    ROUNDS = 200000,
};

static uint64_t rng_state;

static uint64_t draw(uint64_t bound)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state % bound;
}

static void check_invariant(const struct bk_heap *h)
{
    for (size_t i = 0; i < h->len; i++) {
        assert_int_equal(h->nodes[i]->slot, i + 1);
        assert_true(i == 0 || h->nodes[(i - 1) / 2]->at <= h->nodes[i]->at);
    }
}

static void random_operations_match_a_model(void **state)
{
    (void)state;
    struct bk_timer timers[TIMERS] = {{0, 0}};
    bk_time model[TIMERS]; /* BK_TIME_NEVER: not set */
    struct bk_timer *nodes[TIMERS];
    struct bk_heap h;
    bk_heap_init(&h, nodes, TIMERS);
    for (size_t i = 0; i < TIMERS; i++) {
        model[i] = BK_TIME_NEVER;
    }
    rng_state = UINT64_C(0x9E3779B97F4A7C15);
    for (int round = 0; round < ROUNDS; round++) {
        size_t i = (size_t)draw(TIMERS);
        bk_time earliest = BK_TIME_NEVER;
        for (size_t k = 0; k < TIMERS; k++) {
            earliest = bk_time_min(earliest, model[k]);
        }
        switch (draw(4)) {
        case 0:
        case 1:
            model[i] = draw(100); /* few values: many are equal */
            bk_heap_set(&h, &timers[i], model[i]);
            break;
        case 2:
            model[i] = BK_TIME_NEVER;
            bk_heap_clear(&h, &timers[i]);
            break;
        default: {
            bk_time now = draw(50);
            struct bk_timer *due = bk_heap_pop_due(&h, now);
            assert_int_equal(due != NULL, earliest <= now);
            if (due != NULL) {
                assert_true(due->at == earliest && due->slot == 0);
                assert_true(model[due - timers] == earliest);
                model[due - timers] = BK_TIME_NEVER;
            }
        }
        }
        check_invariant(&h);
        size_t set = 0;
        for (size_t k = 0; k < TIMERS; k++) {
            set += model[k] != BK_TIME_NEVER;
            assert_int_equal(timers[k].slot != 0, model[k] != BK_TIME_NEVER);
        }
        assert_int_equal(h.len, set);
    }
}

static void an_empty_heap_and_one_timer(void **state)
{
    (void)state;
    struct bk_timer *nodes[1];
    struct bk_timer t = {0, 0};
    struct bk_heap h;
    bk_heap_init(&h, nodes, 1);
    assert_null(bk_heap_first(&h));
    assert_null(bk_heap_pop_due(&h, BK_TIME_NEVER));
    bk_heap_clear(&h, &t);
    bk_heap_set(&h, &t, 10);
    bk_heap_set(&h, &t, 20); /* moved, not set twice */
    assert_int_equal(h.len, 1);
    assert_ptr_equal(bk_heap_first(&h), &t);
    assert_null(bk_heap_pop_due(&h, 19));
    assert_ptr_equal(bk_heap_pop_due(&h, 20), &t);
    assert_null(bk_heap_first(&h));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_match_a_model),
        cmocka_unit_test(an_empty_heap_and_one_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
