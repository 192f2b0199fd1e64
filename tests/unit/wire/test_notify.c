/* NOTIFY: round trips, refusals, authenticity before anything else. */
#include "support.h"

#include "wire/notify.h"

static enum bk_err read_request(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    struct bk_tag tag;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_notify_read(&m, &mac, test_key(), &tag) : err;
}

static enum bk_err read_answer(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_notify_answer_read(&m, &mac, test_key()) : err;
}

static void request(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_tag in = {UINT64_C(0xFEDCBA9876543210), UINT32_MAX};
    struct bk_tag back;
    struct bk_slice out;
    struct bk_stun m;
    uint8_t whole[128];
    assert_int_equal(bk_notify_write(whole, sizeof whole, txid, &in, &mac, test_key(), &out),
                     BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_notify_read(&m, &mac, test_key(), &back), BK_OK);
    assert_true(back.random == in.random && back.counter == in.counter);
    assert_int_equal(bk_notify_read(&m, &mac, text("another key"), &back), BK_E_AUTH);
    refuses_other_lengths(read_request, out);
    refuses_any_changed_bit(read_request, out);
    refuses_missing_attributes(read_request, out, 0);
    refuses_other_types(read_request, out);
    REFUSES_SHORT_BUFFERS(out, bk_notify_write(buf, cap, txid, &in, &mac, test_key(), &ignored));
}

static void answer(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_slice out;
    struct bk_stun m;
    uint8_t whole[128];
    assert_int_equal(bk_notify_answer_write(whole, sizeof whole, txid, &mac, test_key(), &out),
                     BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_notify_answer_read(&m, &mac, test_key()), BK_OK);
    refuses_other_lengths(read_answer, out);
    refuses_any_changed_bit(read_answer, out);
    refuses_missing_attributes(read_answer, out, 0);
    refuses_other_types(read_answer, out);
    REFUSES_SHORT_BUFFERS(out, bk_notify_answer_write(buf, cap, txid, &mac, test_key(), &ignored));
}

/* A rightly keyed request with these two attributes. */
static enum bk_err read_made(uint16_t first, size_t first_bytes, uint16_t second,
                             size_t second_bytes, const char *key)
{
    static const uint8_t zeros[16] = {0};
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t buf[128];
    struct bk_slice out;
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_NOTIFY, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, first, bk_slice(zeros, first_bytes));
    bk_stun_put(&s, second, bk_slice(zeros, second_bytes));
    assert_int_equal(bk_datagram_end(&s, &mac, key == NULL ? test_key() : text(key), &out), BK_OK);
    return read_request(out);
}

static void authentic_nonsense(void **state)
{
    (void)state;
    const uint16_t flag = BK_ATTR_CALL_WAITING;
    const uint16_t tag = BK_ATTR_TAG;
    assert_int_equal(read_made(flag, 0, tag, 12, NULL), BK_OK);
    assert_int_equal(read_made(tag, 12, flag, 0, NULL), BK_OK);
    assert_int_equal(read_made(tag, 12, tag, 12, NULL), BK_E_MALFORMED);
    assert_int_equal(read_made(flag, 0, flag, 0, NULL), BK_E_MALFORMED);
    assert_int_equal(read_made(flag, 1, tag, 12, NULL), BK_E_MALFORMED);
    assert_int_equal(read_made(flag, 0, tag, 11, NULL), BK_E_MALFORMED);
    assert_int_equal(read_made(flag, 0, 0x7FFF, 0, NULL), BK_E_UNKNOWN_ATTR);
    assert_int_equal(read_made(flag, 0, 0x7FFF, 0, "another key"), BK_E_AUTH);
}

/* An answer says nothing but that it is one. */
static void an_answer_with_more_is_refused(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    for (unsigned optional = 0; optional < 2; optional++) {
        uint8_t buf[128];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_NOTIFY, BK_STUN_SUCCESS, txid);
        bk_stun_put(&s, optional ? 0xFFFF : BK_ATTR_CALL_WAITING, BK_SLICE_EMPTY);
        assert_int_equal(bk_datagram_end(&s, &mac, test_key(), &out), BK_OK);
        assert_int_equal(read_answer(out), optional ? BK_OK : BK_E_UNKNOWN_ATTR);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request),
        cmocka_unit_test(answer),
        cmocka_unit_test(authentic_nonsense),
        cmocka_unit_test(an_answer_with_more_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
