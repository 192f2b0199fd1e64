/* The write cursor: byte order, the sticky error, and never a byte too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/writer.h"

static void network_order(void **state)
{
    (void)state;
    uint8_t buf[15];
    struct bk_writer w = bk_writer(buf, sizeof buf);
    bk_write_u8(&w, 0x01);
    bk_write_u16(&w, 0x0203);
    bk_write_u32(&w, 0x04050607);
    bk_write_u64(&w, UINT64_C(0x08090A0B0C0D0E0F));
    assert_int_equal(w.err, BK_OK);
    assert_int_equal(bk_writer_bytes(&w).n, 15);
    for (size_t i = 0; i < sizeof buf; i++) {
        assert_int_equal(buf[i], i + 1);
    }
    bk_write_u16_at(&w, 13, 0xABCD);
    assert_int_equal(buf[13], 0xAB);
    assert_int_equal(buf[14], 0xCD);
}

static void what_does_not_fit_is_not_written(void **state)
{
    (void)state;
    uint8_t buf[8] = {0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE};
    struct bk_writer w = bk_writer(buf, 3);
    bk_write_u16(&w, 0);
    bk_write_u16(&w, 0);
    assert_int_equal(w.err, BK_E_NOSPACE);
    bk_write_u8(&w, 0); /* there would be room, but the error sticks */
    bk_write_zeros(&w, 1);
    bk_write_bytes(&w, bk_slice("x", 1));
    bk_write_u16_at(&w, 1000, 1);
    bk_writer_fail(&w, BK_E_RANGE);
    assert_int_equal(w.err, BK_E_NOSPACE);
    assert_int_equal(bk_writer_bytes(&w).n, 0);
    for (size_t i = 2; i < sizeof buf; i++) {
        assert_int_equal(buf[i], 0xEE);
    }
    struct bk_writer huge = bk_writer(buf, sizeof buf);
    bk_write_u8(&huge, 1);
    bk_write_zeros(&huge, SIZE_MAX);
    assert_int_equal(huge.err, BK_E_NOSPACE);
}

static void runs_of_bytes(void **state)
{
    (void)state;
    uint8_t buf[6] = {9, 9, 9, 9, 9, 9};
    struct bk_writer w = bk_writer(buf, sizeof buf);
    bk_write_bytes(&w, BK_SLICE_EMPTY);
    bk_write_bytes(&w, bk_slice("abc", 3));
    bk_write_zeros(&w, 0);
    bk_write_zeros(&w, 3);
    assert_int_equal(w.err, BK_OK);
    assert_memory_equal(buf, "abc\0\0\0", 6);
    struct bk_writer none = bk_writer(NULL, 0);
    bk_write_bytes(&none, BK_SLICE_EMPTY);
    assert_int_equal(none.err, BK_OK);
    bk_write_u8(&none, 1);
    assert_int_equal(none.err, BK_E_NOSPACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(network_order),
        cmocka_unit_test(what_does_not_fit_is_not_written),
        cmocka_unit_test(runs_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
