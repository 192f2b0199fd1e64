/* The location table: size, growth, removal, and memory that runs out. */
#include "core/registrar/table.h"
#include "core/server/fixture.h"

static const uint64_t seed[2] = {3, 4};

static void a_million_rows_take_at_most_64_bytes_each(void **state)
{
    (void)state;
    enum { ROWS = 1000000 };
    struct bk_alloc a = bk_alloc_libc();
    struct bk_table t;
    assert_int_equal(bk_table_init(&t, &a, &a, seed, ROWS), BK_OK);
    for (uint64_t id = 1; id <= ROWS; id++) {
        struct bk_row *row = NULL;
        if (bk_table_insert(&t, id, &row) != BK_OK) {
            fail();
        }
        row->tag_random = id * 3;
        /* While it grows too: the index doubles segment by segment. */
        if (id >= 50000 && id % 10000 == 0) {
            /* What of the newest chunks is not yet used is not there yet. */
            assert_true(t.bytes <= id * 64 + (id < 100000 ? 0 : 2 * BK_TABLE_CHUNK_BYTES));
        }
    }
    print_message("bytes a row at one million: %zu\n", t.bytes / ROWS);
    for (uint64_t id = 1; id <= ROWS; id++) {
        const struct bk_row *row = bk_table_find(&t, id);
        if (!row || row->equipment_id != id || row->tag_random != id * 3) {
            fail();
        }
    }
    assert_null(bk_table_find(&t, ROWS + 1));
    struct bk_row *row = NULL;
    assert_int_equal(bk_table_insert(&t, ROWS + 1, &row), BK_E_NOSPACE);
    bk_table_fini(&t);
}

enum { IDS = 6000, MANY_IDS = 300000 };

static void check_against(const struct bk_table *t, const bool *present, size_t ids)
{
    size_t n = 0;
    for (uint64_t id = 1; id < ids; id++) {
        const struct bk_row *row = bk_table_find(t, id);
        if ((row != NULL) != present[id] || (row && row->equipment_id != id)) {
            fail();
        }
        n += present[id];
    }
    assert_int_equal(t->rows, n);
    size_t walked = 0;
    for (uint32_t i = 0; i < t->high; i++) {
        const struct bk_row *row = bk_table_at(t, i);
        if (row && !present[row->equipment_id]) {
            fail();
        }
        walked += row != NULL;
    }
    assert_int_equal(walked, n);
    assert_null(bk_table_at(t, t->high));
}

static void random_operations_agree_with_an_array(void **state)
{
    (void)state;
    static bool present[IDS];
    memset(present, 0, sizeof(present));
    struct seeded rng = {.state = 9};
    struct bk_random r = {&rng, seeded_fill};
    struct failing memory = {0};
    struct bk_alloc a = {&memory, failing_get, failing_put};
    struct bk_table t;
    assert_int_equal(bk_table_init(&t, &a, &a, seed, BK_TABLE_ROWS_MAX), BK_OK);
    for (int i = 0; i < 100000; i++) {
        uint64_t id = 1 + bk_random_below(&r, IDS - 1);
        if (present[id]) {
            assert_true(bk_table_remove(&t, id));
        } else {
            struct bk_row *row = NULL;
            assert_false(bk_table_remove(&t, id));
            assert_int_equal(bk_table_insert(&t, id, &row), BK_OK);
            assert_int_equal(row->tag_counter, 0); /* nothing is left of who was here before */
        }
        present[id] = !present[id];
    }
    check_against(&t, present, IDS);
    assert_true(t.high < IDS); /* free rows are used again */
    bk_table_fini(&t);
    assert_int_equal(memory.alive, 0);
}

static size_t refused_chunks;

static void *chunk_get(void *ctx, size_t n)
{
    assert_int_equal(n, BK_TABLE_CHUNK_BYTES);
    void *p = failing_get(ctx, n);
    refused_chunks += p == NULL;
    return p;
}

static void a_failed_allocation_means_no_new_row_and_nothing_else(void **state)
{
    (void)state;
    static bool present[MANY_IDS];
    memset(present, 0, sizeof(present));
    struct failing memory = {0};
    struct bk_alloc a = {&memory, failing_get, failing_put};
    struct bk_alloc c = {&memory, chunk_get, failing_put};
    struct bk_table t;
    assert_int_equal(bk_table_init(&t, &a, &c, seed, BK_TABLE_ROWS_MAX), BK_OK);
    size_t refused = 0;
    refused_chunks = 0;
    for (uint64_t id = 1; id < MANY_IDS; id++) {
        /* Each allocation that an insertion needs fails once, from the first to the last. */
        for (uint64_t nth = 1;; nth++) {
            struct bk_row *row = NULL;
            memory.calls = 0;
            memory.fail_from = nth;
            enum bk_err err = bk_table_insert(&t, id, &row);
            if (err == BK_OK) {
                break;
            }
            assert_int_equal(err, BK_E_NOMEM);
            assert_null(bk_table_find(&t, id));
            assert_true(id == 1 || bk_table_find(&t, id - 1) != NULL);
            refused++;
            assert_true(nth < 10);
        }
        present[id] = true;
    }
    print_message("%zu refused, %zu of chunks\n", refused, refused_chunks);
    assert_true(refused > 60 &&
                refused_chunks >= 3); /* pages, slabs, lists; chunks of both kinds */
    check_against(&t, present, MANY_IDS);
    bk_table_fini(&t);
    assert_int_equal(memory.alive, 0);
    for (uint64_t nth = 1; nth <= 2; nth++) {
        memory = (struct failing){.fail_from = nth};
        assert_int_equal(bk_table_init(&t, &a, &a, seed, 1), BK_E_NOMEM);
        bk_table_fini(&t);
        assert_int_equal(memory.alive, 0);
    }
}

static void its_size_is_within_what_the_index_can_number(void **state)
{
    (void)state;
    struct bk_alloc a = bk_alloc_libc();
    struct bk_table t;
    assert_int_equal(bk_table_init(&t, &a, &a, seed, 0), BK_E_RANGE);
    assert_int_equal(bk_table_init(&t, &a, &a, seed, (uint64_t)BK_TABLE_ROWS_MAX + 1), BK_E_RANGE);
    assert_int_equal(bk_table_init(&t, &a, &a, seed, BK_TABLE_ROWS_MAX), BK_OK);
    bk_table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_rows_take_at_most_64_bytes_each),
        cmocka_unit_test(random_operations_agree_with_an_array),
        cmocka_unit_test(a_failed_allocation_means_no_new_row_and_nothing_else),
        cmocka_unit_test(its_size_is_within_what_the_index_can_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
