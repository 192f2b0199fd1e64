/* CONNECTION-REQUEST (217, 226): round trips and refusals. */
#include "support.h"

#include "wire/connect.h"

static enum bk_err read_connect(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_connect v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_connect_read(&m, &v) : err;
}

static void round_trips(void **state)
{
    (void)state;
    static const uint8_t box[BK_BOX_MAX_BYTES + 1] = {5, 6, 7};
    const size_t sizes[] = {1, 2, 3, 100, BK_BOX_MAX_BYTES};
    for (size_t i = 0; i < 4 * sizeof sizes / sizeof sizes[0]; i++) {
        struct bk_connect in = {.equipment_id = 2133,
                                .call_id = {1, 2, 3},
                                .box = bk_slice(box, sizes[i / 4]),
                                .has_observed = i % 4 >= 2,
                                .observed = bk_addr_v4(202, 204, 16, 13, 2401)};
        struct bk_connect back;
        uint8_t whole[1400];
        struct bk_slice out;
        struct bk_stun m;
        in.user = i % 2 == 0 ? BK_SLICE_EMPTY : text("alice");
        assert_int_equal(bk_connect_write(whole, sizeof whole, txid, &in, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_connect_read(&m, &back), BK_OK);
        assert_true(back.equipment_id == 2133 && bk_slice_equal(back.box, in.box) &&
                    bk_slice_equal(back.user, in.user) && back.has_observed == in.has_observed &&
                    (!in.has_observed || bk_addr_equal(&back.observed, &in.observed)));
        assert_memory_equal(back.call_id, in.call_id, sizeof in.call_id);
        refuses_other_lengths(read_connect, out);
        refuses_missing_attributes(read_connect, out, (in.user.n > 0) + in.has_observed);
        judges_unknown_attributes(read_connect, out);
        refuses_other_types(read_connect, out);
        REFUSES_SHORT_BUFFERS(out, bk_connect_write(buf, cap, txid, &in, &ignored));
    }
    struct bk_connect in = {
        .equipment_id = 2133, .box = bk_slice(box, BK_BOX_MAX_BYTES), .user = text("alice")};
    uint8_t buf[1400];
    struct bk_slice out;
    assert_int_equal(bk_connect_write(buf, sizeof buf, txid, &in, &out), BK_OK);
    assert_true(out.n <= BK_STUN_DATAGRAM_MAX_BYTES);
}

static void out_of_range(void **state)
{
    (void)state;
    static const uint8_t box[BK_BOX_MAX_BYTES + 1] = {0};
    const struct bk_connect bad[] = {
        {.box = bk_slice_text("box")},
        {.equipment_id = BK_EQUIPMENT_ID_MAX + 1, .box = bk_slice_text("box")},
        {.equipment_id = 1},
        {.equipment_id = 1, .box = bk_slice(box, sizeof box)},
        {.equipment_id = 1, .box = bk_slice_text("box"), .user = bk_slice_text("Not A Name")},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t buf[1400];
        struct bk_slice out;
        assert_int_equal(bk_connect_write(buf, sizeof buf, txid, &bad[i], &out), BK_E_RANGE);
        /* What the writer refuses the reader does too. */
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_CONNECT, BK_STUN_REQUEST, txid);
        bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, bad[i].equipment_id);
        bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(bad[i].call_id));
        bk_stun_put(&s, BK_ATTR_BOX, bad[i].box);
        bk_stun_put(&s, BK_ATTR_USER_NAME, bad[i].user.n > 0 ? bad[i].user : text("a"));
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(read_connect(out), BK_E_MALFORMED);
    }
}

static void an_observed_address_that_is_none(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct bk_slice out;
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_CONNECT, BK_STUN_REQUEST, txid);
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, 1);
    bk_stun_put(&s, BK_ATTR_CALL_ID, text("0123456789abcdef"));
    bk_stun_put(&s, BK_ATTR_BOX, text("box"));
    bk_stun_put(&s, BK_ATTR_OBSERVED_ADDRESS, text("short"));
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(read_connect(out), BK_E_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(out_of_range),
        cmocka_unit_test(an_observed_address_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
