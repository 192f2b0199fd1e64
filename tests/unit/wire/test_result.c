/* RESULT: round trip and refusals. */
#include "support.h"

#include "wire/connect.h"
#include "wire/result.h"

static enum bk_err read_result(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_result v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_result_read(&m, &v) : err;
}

static void round_trip(void **state)
{
    (void)state;
    struct bk_result in = {{9, 8, 7, 6}, text("sealed")};
    struct bk_result back;
    uint8_t whole[128];
    struct bk_slice out;
    struct bk_stun m;
    assert_int_equal(bk_result_write(whole, sizeof whole, txid, &in, &out), BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(m.cls, BK_STUN_INDICATION);
    assert_int_equal(bk_result_read(&m, &back), BK_OK);
    assert_memory_equal(back.call_id, in.call_id, sizeof in.call_id);
    assert_true(bk_slice_equal(back.box, in.box));
    refuses_other_lengths(read_result, out);
    refuses_missing_attributes(read_result, out, 0);
    judges_unknown_attributes(read_result, out);
    refuses_other_types(read_result, out);
    REFUSES_SHORT_BUFFERS(out, bk_result_write(buf, cap, txid, &in, &ignored));
}

static void out_of_range(void **state)
{
    (void)state;
    static const uint8_t box[BK_BOX_MAX_BYTES + 1] = {0};
    uint8_t buf[1400];
    struct bk_slice out;
    struct bk_result in = {{0}, BK_SLICE_EMPTY};
    assert_int_equal(bk_result_write(buf, sizeof buf, txid, &in, &out), BK_E_RANGE);
    in.box = bk_slice(box, sizeof box);
    assert_int_equal(bk_result_write(buf, sizeof buf, txid, &in, &out), BK_E_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
