/* The inside of a result's box: round trips and refusals. */
#include "support.h"

#include "wire/call_result.h"

static enum bk_err read_result(struct bk_slice bytes)
{
    struct bk_call_result v;
    return bk_call_result_read(bytes, &v);
}

static void round_trips(void **state)
{
    (void)state;
    for (int status = BK_CALL_ACCEPTED; status <= BK_CALL_BUSY; status++) {
        struct bk_call_result in = {
            {1, 2, 3}, (enum bk_call_status)status, {UINT64_MAX, UINT32_MAX}, 1700000000};
        struct bk_call_result back;
        struct bk_slice out;
        uint8_t whole[BK_CALL_RESULT_MAX_BYTES];
        assert_int_equal(bk_call_result_write(whole, sizeof whole, &in, &out), BK_OK);
        assert_int_equal(bk_call_result_read(out, &back), BK_OK);
        assert_memory_equal(back.call_id, in.call_id, sizeof in.call_id);
        assert_int_equal(back.status, status);
        assert_true(back.tag.random == in.tag.random && back.tag.counter == in.tag.counter &&
                    back.unix_s == in.unix_s);
        for (size_t n = 0; n < out.n; n++) {
            assert_int_not_equal(read_copy(read_result, bk_slice(out.p, n)), BK_OK);
        }
        REFUSES_SHORT_BUFFERS(out, bk_call_result_write(buf, cap, &in, &ignored));
    }
}

static void refusals(void **state)
{
    (void)state;
    struct bk_call_result in = {{1}, BK_CALL_STALE, {1, 2}, 3};
    struct bk_slice out;
    uint8_t buf[BK_CALL_RESULT_MAX_BYTES];
    assert_int_equal(bk_call_result_write(buf, sizeof buf, &in, &out), BK_OK);
    uint8_t *status = buf + 20 + 4;
    status[1] = BK_CALL_BUSY + 1;
    assert_int_equal(read_copy(read_result, out), BK_E_MALFORMED);
    status[1] = BK_CALL_STALE;
    struct {
        uint16_t type;
        size_t n;
        enum bk_err expected;
    } rows[] = {
        {BK_ATTR_CALL_ID, 16, BK_E_MALFORMED},   {BK_ATTR_STATUS, 2, BK_E_MALFORMED},
        {BK_ATTR_TAG, 12, BK_E_MALFORMED},       {BK_ATTR_TIME, 8, BK_E_MALFORMED},
        {BK_ATTR_SERVICE, 4, BK_E_UNKNOWN_ATTR}, {0x8000, 4, BK_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static const uint8_t zeros[16] = {0};
        struct bk_stun_writer s = {bk_writer(buf, sizeof buf)};
        s.w.len = out.n;
        bk_stun_put(&s, rows[i].type, bk_slice(zeros, rows[i].n));
        assert_int_equal(read_copy(read_result, bk_writer_bytes(&s.w)), rows[i].expected);
    }
    in.status = (enum bk_call_status)(BK_CALL_BUSY + 1);
    assert_int_equal(bk_call_result_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
}

static void values_of_another_length_are_refused(void **state)
{
    (void)state;
    static const uint8_t zeros[17] = {0};
    static const struct {
        uint16_t type;
        size_t n;
    } whole[] = {{BK_ATTR_CALL_ID, 16}, {BK_ATTR_STATUS, 2}, {BK_ATTR_TAG, 12}, {BK_ATTR_TIME, 8}};
    for (size_t odd = 0; odd <= 4; odd++) { /* which is not as it should be; 4: none */
        for (int more = -1; more <= 1; more += 2) {
            uint8_t buf[128];
            struct bk_stun_writer s = {bk_writer(buf, sizeof buf)};
            for (size_t i = 0; i < 4; i++) {
                size_t n = i != odd ? whole[i].n : more > 0 ? whole[i].n + 1 : whole[i].n - 1;
                bk_stun_put(&s, whole[i].type, bk_slice(zeros, n));
            }
            assert_int_equal(read_copy(read_result, bk_writer_bytes(&s.w)),
                             odd == 4 ? BK_OK : BK_E_MALFORMED);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(refusals),
        cmocka_unit_test(values_of_another_length_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
