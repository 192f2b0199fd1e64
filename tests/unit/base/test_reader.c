/* The read cursor: byte order, the sticky error, and never a byte too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reader.h"

static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void network_order(void **state)
{
    (void)state;
    struct bk_reader r = bk_reader(BK_SLICE_OF(bytes));
    assert_int_equal(bk_read_u8(&r), 0x01);
    assert_int_equal(bk_read_u16(&r), 0x0203);
    assert_int_equal(bk_read_u32(&r), 0x04050607);
    assert_true(bk_read_u64(&r) == UINT64_C(0x08090A0B0C0D0E0F));
    assert_int_equal(bk_reader_end(&r), BK_OK);
}

static void errors_stick(void **state)
{
    (void)state;
    struct bk_reader r = bk_reader(bk_slice(bytes, 3));
    assert_int_equal(bk_read_u32(&r), 0);
    assert_int_equal(r.err, BK_E_TRUNCATED);
    assert_int_equal(bk_read_u8(&r), 0); /* though a byte would be there */
    uint8_t copy[2] = {9, 9};
    bk_read_copy(&r, copy, 2);
    assert_int_equal(copy[0] | copy[1], 0);
    assert_int_equal(bk_read_bytes(&r, 1).n, 0);
    bk_reader_fail(&r, BK_E_RANGE);
    assert_int_equal(bk_reader_end(&r), BK_E_TRUNCATED);
}

static void told_errors_and_trailing_bytes(void **state)
{
    (void)state;
    struct bk_reader r = bk_reader(bk_slice(bytes, 3));
    assert_int_equal(bk_reader_end(&r), BK_E_MALFORMED);
    bk_reader_fail(&r, BK_E_RANGE);
    bk_reader_fail(&r, BK_E_AUTH);
    assert_int_equal(bk_reader_end(&r), BK_E_RANGE);
}

static void runs_of_bytes(void **state)
{
    (void)state;
    struct bk_reader r = bk_reader(bk_slice(bytes, 5));
    assert_int_equal(bk_read_bytes(&r, 0).n, 0);
    struct bk_slice got = bk_read_bytes(&r, 2);
    assert_ptr_equal(got.p, bytes);
    assert_int_equal(got.n, 2);
    uint8_t copy[3];
    bk_read_copy(&r, copy, 3);
    assert_memory_equal(copy, bytes + 2, 3);
    assert_int_equal(bk_read_bytes(&r, SIZE_MAX).n, 0);
    assert_int_equal(r.err, BK_E_TRUNCATED);
    struct bk_reader none = bk_reader(BK_SLICE_EMPTY);
    assert_int_equal(bk_reader_end(&none), BK_OK);
    assert_int_equal(bk_read_u8(&none), 0);
    assert_int_equal(none.err, BK_E_TRUNCATED);
}

static void nothing_may_be_read_from_nothing(void **state)
{
    (void)state;
    uint8_t out = 7;
    struct bk_reader r = bk_reader(BK_SLICE_EMPTY);
    bk_read_copy(&r, NULL, 0);
    bk_read_copy(&r, &out, 0);
    assert_int_equal(r.err, BK_OK);
    assert_int_equal(out, 7);
    bk_read_copy(&r, &out, 1);
    assert_int_not_equal(r.err, BK_OK);
    assert_int_equal(out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(network_order),
        cmocka_unit_test(errors_stick),
        cmocka_unit_test(told_errors_and_trailing_bytes),
        cmocka_unit_test(runs_of_bytes),
        cmocka_unit_test(nothing_may_be_read_from_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
