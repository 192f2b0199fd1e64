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
        struct bk_call_result in = {.call_id = {1, 2, 3},
                                    .status = (enum bk_call_status)status,
                                    .tag = {UINT64_MAX, UINT32_MAX},
                                    .unix_s = 1700000000};
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

static struct bk_call_result accepted(size_t n_candidates)
{
    struct bk_call_result in;
    memset(&in, 0, sizeof in);
    in.status = BK_CALL_ACCEPTED;
    in.n_candidates = n_candidates;
    in.server_ms = n_candidates > 0 ? 40 : 0;
    for (size_t i = 0; i < n_candidates && i < BK_CANDIDATES_MAX; i++) {
        in.candidates[i].kind = (enum bk_candidate_kind)(BK_CANDIDATE_HOST + i % 4);
        in.candidates[i].addr = bk_addr_v4(202, 204, 16, (uint8_t)i, 2600);
        in.candidates[i].addr.ip[0] = i % 3 == 0 ? 0x20 : 0; /* IPv6 */
    }
    return in;
}

/* Where the device can be reached: with ACCEPTED, and with nothing else. */
static void candidates_of_the_device(void **state)
{
    (void)state;
    for (size_t n = 0; n <= BK_CANDIDATES_MAX; n++) {
        struct bk_call_result in = accepted(n);
        struct bk_call_result back;
        struct bk_slice out;
        uint8_t whole[BK_CALL_RESULT_MAX_BYTES];
        assert_int_equal(bk_call_result_write(whole, sizeof whole, &in, &out), BK_OK);
        assert_int_equal(bk_call_result_read(out, &back), BK_OK);
        assert_int_equal(back.n_candidates, n);
        assert_int_equal(back.server_ms, in.server_ms);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(back.candidates[i].kind, in.candidates[i].kind);
            assert_true(bk_addr_equal(&back.candidates[i].addr, &in.candidates[i].addr));
        }
        REFUSES_SHORT_BUFFERS(out, bk_call_result_write(buf, cap, &in, &ignored));
        whole[20 + 4 + 1] = BK_CALL_BUSY; /* the status */
        assert_int_equal(read_copy(read_result, out), n == 0 ? BK_OK : BK_E_MALFORMED);
    }
    uint8_t buf[1024];
    struct bk_slice out;
    struct bk_call_result in = accepted(BK_CANDIDATES_MAX + 1);
    assert_int_equal(bk_call_result_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
    in = accepted(1);
    in.candidates[0].kind = (enum bk_candidate_kind)0;
    assert_int_equal(bk_call_result_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
    in = accepted(1);
    in.status = BK_CALL_STALE;
    assert_int_equal(bk_call_result_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
    in.n_candidates = 0; /* the round trip alone is too much as well */
    assert_int_equal(bk_call_result_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
}

/* A ninth candidate, or one that is none; and those of kinds that came later, which are passed over. */
static void candidates_out_of_form(void **state)
{
    (void)state;
    static const uint8_t address[] = {2, 1, 0x13, 0x88, 4, 17, 168, 2};
    static const uint8_t later[] = {77, 9, 9};
    const struct {
        size_t n_before;
        struct bk_slice value;
        enum bk_err expected;
    } rows[] = {
        {7, BK_SLICE_OF(address), BK_OK},
        {8, BK_SLICE_OF(address), BK_E_MALFORMED},
        {0, bk_slice(address, 7), BK_E_MALFORMED},
        {0, BK_SLICE_EMPTY, BK_E_MALFORMED},
        {7, BK_SLICE_OF(later), BK_OK},
        {8, BK_SLICE_OF(later), BK_E_MALFORMED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_call_result in = accepted(rows[i].n_before);
        struct bk_slice out;
        uint8_t buf[1024];
        assert_int_equal(bk_call_result_write(buf, sizeof buf, &in, &out), BK_OK);
        struct bk_stun_writer s = {bk_writer(buf, sizeof buf)};
        s.w.len = out.n;
        bk_stun_put(&s, BK_ATTR_CANDIDATE, rows[i].value);
        assert_int_equal(read_copy(read_result, bk_writer_bytes(&s.w)), rows[i].expected);
    }
}

static void refusals(void **state)
{
    (void)state;
    struct bk_call_result in = {
        .call_id = {1}, .status = BK_CALL_STALE, .tag = {1, 2}, .unix_s = 3};
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
        cmocka_unit_test(candidates_of_the_device),
        cmocka_unit_test(candidates_out_of_form),
        cmocka_unit_test(refusals),
        cmocka_unit_test(values_of_another_length_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
