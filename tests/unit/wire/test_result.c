/* RESULT, on streams and by datagram: round trips and refusals. */
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

static enum bk_err read_datagram(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    struct bk_result_datagram v;
    enum bk_err err = bk_stun_read(bytes, &m);
    if (err == BK_OK) {
        err = bk_result_datagram_read(&m, &v);
    }
    return err == BK_OK ? bk_datagram_check(&m, &mac, test_key()) : err;
}

static enum bk_err read_datagram_unkeyed(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_result_datagram v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_result_datagram_read(&m, &v) : err;
}

static enum bk_err read_answer(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_result_answer_read(&m, &mac, test_key()) : err;
}

static void by_datagram(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    static const uint8_t box[130] = {5, 6, 7};
    const size_t sizes[] = {1, 2, 3, 130};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct bk_result_datagram in = {.equipment_id = 2133,
                                        .generation = UINT32_MAX,
                                        .epoch = 7,
                                        .result = {{9, 8, 7, 6}, bk_slice(box, sizes[i])}};
        struct bk_result_datagram back;
        uint8_t whole[256];
        struct bk_slice out;
        struct bk_stun m;
        assert_int_equal(
            bk_result_datagram_write(whole, sizeof whole, txid, &in, &mac, test_key(), &out),
            BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(m.cls, BK_STUN_REQUEST);
        assert_int_equal(bk_result_datagram_read(&m, &back), BK_OK);
        assert_true(back.equipment_id == 2133 && back.generation == UINT32_MAX && back.epoch == 7 &&
                    bk_slice_equal(back.result.box, in.result.box));
        assert_memory_equal(back.result.call_id, in.result.call_id, sizeof in.result.call_id);
        /* Where a device's shard is told from: its ID is the first attribute (net/steer.h). */
        assert_memory_equal(out.p + BK_STUN_HEADER_BYTES, "\x40\x01\x00\x08", 4);
        refuses_other_lengths(read_datagram, out);
        refuses_any_changed_bit(read_datagram, out);
        refuses_missing_attributes(read_datagram, out, 0);
        refuses_missing_attributes(read_datagram_unkeyed, out, 2); /* less FINGERPRINT, and both */
        refuses_other_types(read_datagram, out);
        judges_unknown_attributes(read_datagram_unkeyed, out);
        REFUSES_SHORT_BUFFERS(
            out, bk_result_datagram_write(buf, cap, txid, &in, &mac, test_key(), &ignored));
    }
}

static void datagrams_out_of_range(void **state)
{
    (void)state;
    static const uint8_t box[BK_BOX_MAX_BYTES + 1] = {0};
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t buf[1400];
    struct bk_slice out;
    struct bk_result_datagram in = {.equipment_id = 1,
                                    .result = {{0}, bk_slice(box, BK_BOX_MAX_BYTES)}};
    assert_int_equal(bk_result_datagram_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                     BK_OK);
    assert_true(out.n <= BK_STUN_DATAGRAM_MAX_BYTES);
    const struct bk_result_datagram bad[] = {
        {.equipment_id = 0, .result = {{0}, bk_slice(box, 1)}},
        {.equipment_id = BK_EQUIPMENT_ID_MAX + 1, .result = {{0}, bk_slice(box, 1)}},
        {.equipment_id = 1},
        {.equipment_id = 1, .result = {{0}, bk_slice(box, sizeof box)}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(
            bk_result_datagram_write(buf, sizeof buf, txid, &bad[i], &mac, test_key(), &out),
            BK_E_RANGE);
        /* What the writer refuses the reader does too, and an interval, which is REGISTER's. */
        for (unsigned interval = 0; interval < 2; interval++) {
            const struct bk_registration_ref ref = {1, 1, (uint16_t)interval};
            const struct bk_result_datagram *v = interval ? &in : &bad[i];
            struct bk_stun_writer s =
                bk_stun_begin(buf, sizeof buf, BK_METHOD_RESULT, BK_STUN_REQUEST, txid);
            bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, v->equipment_id);
            bk_attr_put_registration(&s, &ref);
            bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(v->result.call_id));
            bk_stun_put(&s, BK_ATTR_BOX, v->result.box);
            assert_int_equal(bk_datagram_end(&s, &mac, test_key(), &out), BK_OK);
            assert_int_equal(read_datagram(out), BK_E_MALFORMED);
        }
    }
}

static void datagram_answer(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t whole[128];
    struct bk_slice out;
    assert_int_equal(bk_result_answer_write(whole, sizeof whole, txid, &mac, test_key(), &out),
                     BK_OK);
    refuses_other_lengths(read_answer, out);
    refuses_any_changed_bit(read_answer, out);
    refuses_missing_attributes(read_answer, out, 0);
    refuses_other_types(read_answer, out);
    REFUSES_SHORT_BUFFERS(out, bk_result_answer_write(buf, cap, txid, &mac, test_key(), &ignored));
    struct bk_stun m;
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_result_answer_read(&m, &mac, text("another key")), BK_E_AUTH);
    for (unsigned optional = 0; optional < 2; optional++) {
        struct bk_stun_writer s =
            bk_stun_begin(whole, sizeof whole, BK_METHOD_RESULT, BK_STUN_SUCCESS, txid);
        bk_stun_put(&s, optional ? 0xFFFF : BK_ATTR_CALL_WAITING, BK_SLICE_EMPTY);
        assert_int_equal(bk_datagram_end(&s, &mac, test_key(), &out), BK_OK);
        assert_int_equal(read_answer(out), optional ? BK_OK : BK_E_UNKNOWN_ATTR);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),      cmocka_unit_test(out_of_range),
        cmocka_unit_test(by_datagram),     cmocka_unit_test(datagrams_out_of_range),
        cmocka_unit_test(datagram_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
