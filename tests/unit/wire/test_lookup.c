/* LOOKUP: round trips and refusals. */
#include "support.h"

#include "wire/lookup.h"

static enum bk_err read_request(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_lookup v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_lookup_read(&m, &v) : err;
}

static enum bk_err read_answer(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_lookup_answer v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_lookup_answer_read(&m, &v) : err;
}

static void requests(void **state)
{
    (void)state;
    const struct bk_lookup rows[] = {
        {2133, {NULL, 0}}, {BK_EQUIPMENT_ID_MAX, {NULL, 0}}, {0, bk_slice_text("kiosk-7")}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t whole[128];
        struct bk_slice out;
        struct bk_stun m;
        struct bk_lookup back;
        assert_int_equal(bk_lookup_write(whole, sizeof whole, txid, &rows[i], &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_lookup_read(&m, &back), BK_OK);
        assert_true(back.equipment_id == rows[i].equipment_id);
        assert_true(bk_slice_equal(back.name, rows[i].name));
        refuses_other_lengths(read_request, out);
        refuses_missing_attributes(read_request, out, 0);
        judges_unknown_attributes(read_request, out);
        refuses_other_types(read_request, out);
        REFUSES_SHORT_BUFFERS(out, bk_lookup_write(buf, cap, txid, &rows[i], &ignored));
    }
}

static void neither_or_both_is_no_request(void **state)
{
    (void)state;
    uint8_t buf[128];
    struct bk_slice out;
    const struct bk_lookup bad[] = {{0, {NULL, 0}},
                                    {1, bk_slice_text("kiosk")},
                                    {0, bk_slice_text("2133")},
                                    {BK_EQUIPMENT_ID_MAX + 1, {NULL, 0}}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(bk_lookup_write(buf, sizeof buf, txid, &bad[i], &out), BK_E_RANGE);
    }
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, 1);
    bk_stun_put(&s, BK_ATTR_DEVICE_NAME, text("kiosk"));
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(read_request(out), BK_E_MALFORMED);
    s = bk_stun_begin(buf, sizeof buf, BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, BK_ATTR_DEVICE_NAME, text("../../etc"));
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(read_request(out), BK_E_MALFORMED);
}

static void answers(void **state)
{
    (void)state;
    for (int registered = 0; registered < 2; registered++) {
        struct bk_lookup_answer in = {2133,
                                      text("certificate"),
                                      text("box key"),
                                      registered != 0,
                                      bk_addr_v4(202, 204, 16, 13, 1024),
                                      {77, 3}};
        struct bk_lookup_answer back;
        uint8_t whole[256];
        struct bk_slice out;
        struct bk_stun m;
        assert_int_equal(bk_lookup_answer_write(whole, sizeof whole, txid, &in, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_lookup_answer_read(&m, &back), BK_OK);
        assert_true(back.equipment_id == 2133 && back.registered == in.registered);
        assert_true(bk_slice_equal(back.certificate, in.certificate));
        assert_true(bk_slice_equal(back.box_key, in.box_key));
        assert_true(!registered || (bk_addr_equal(&back.observed, &in.observed) &&
                                    back.tag.random == 77 && back.tag.counter == 3));
        refuses_other_lengths(read_answer, out);
        /* Without the last two it is the answer for a device that is not registered. */
        refuses_missing_attributes(read_answer, out, registered);
        judges_unknown_attributes(read_answer, out);
        refuses_other_types(read_answer, out);
        REFUSES_SHORT_BUFFERS(out, bk_lookup_answer_write(buf, cap, txid, &in, &ignored));
        in.certificate = BK_SLICE_EMPTY;
        assert_int_equal(bk_lookup_answer_write(whole, sizeof whole, txid, &in, &out), BK_E_RANGE);
    }
}

static void an_id_that_is_none_is_no_request(void **state)
{
    (void)state;
    static const uint64_t bad[] = {0, BK_EQUIPMENT_ID_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t buf[128];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
        bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, bad[i]);
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(read_request(out), BK_E_MALFORMED);
    }
}

/* An answer with these bytes for the observed address and the tag. */
static enum bk_err read_made(struct bk_slice observed, struct bk_slice tag)
{
    uint8_t buf[256];
    struct bk_slice out;
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_LOOKUP, BK_STUN_SUCCESS, txid);
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, 2133);
    bk_stun_put(&s, BK_ATTR_CERTIFICATE, text("c"));
    bk_stun_put(&s, BK_ATTR_BOX_KEY, text("k"));
    bk_stun_put(&s, BK_ATTR_OBSERVED_ADDRESS, observed);
    bk_stun_put(&s, BK_ATTR_TAG, tag);
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    return read_answer(out);
}

static void where_a_device_is_must_make_sense(void **state)
{
    (void)state;
    static const uint8_t v4[8] = {0, 1, 1, 1, 1, 1, 1, 1};
    static const uint8_t strange[8] = {0, 3, 1, 1, 1, 1, 1, 1};
    static const uint8_t tag[13] = {0};
    assert_int_equal(read_made(BK_SLICE_OF(v4), bk_slice(tag, 12)), BK_OK);
    assert_int_equal(read_made(BK_SLICE_OF(strange), bk_slice(tag, 12)), BK_E_MALFORMED);
    assert_int_equal(read_made(bk_slice(v4, 7), bk_slice(tag, 12)), BK_E_MALFORMED);
    assert_int_equal(read_made(BK_SLICE_OF(v4), bk_slice(tag, 13)), BK_E_MALFORMED);
    assert_int_equal(read_made(BK_SLICE_OF(v4), bk_slice(tag, 11)), BK_E_MALFORMED);
}

static void an_incomplete_answer_is_not_written(void **state)
{
    (void)state;
    for (int what = 0; what < 3; what++) {
        struct bk_lookup_answer in = {
            .equipment_id = what == 0 ? 0 : 2133,
            .certificate = what == 1 ? BK_SLICE_EMPTY : text("c"),
            .box_key = what == 2 ? BK_SLICE_EMPTY : text("k"),
        };
        uint8_t buf[256];
        struct bk_slice out;
        assert_int_equal(bk_lookup_answer_write(buf, sizeof buf, txid, &in, &out), BK_E_RANGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(neither_or_both_is_no_request),
        cmocka_unit_test(answers),
        cmocka_unit_test(an_id_that_is_none_is_no_request),
        cmocka_unit_test(where_a_device_is_must_make_sense),
        cmocka_unit_test(an_incomplete_answer_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
