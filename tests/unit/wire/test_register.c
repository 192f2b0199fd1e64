/* REGISTER: round trips, sizes (no answer larger than its request), refusals. */
#include "support.h"

#include "wire/register.h"

static const struct bk_register sample = {.equipment_id = 2133,
                                          .generation = 7,
                                          .epoch = 3,
                                          .interval_s = 110,
                                          .tag = {UINT64_C(0x1122334455667788), 9}};

static enum bk_err read_request(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_register r;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_register_read(&m, &r) : err;
}

static enum bk_err read_request_checked(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    enum bk_err err = read_request(bytes);
    if (err == BK_OK) {
        err = bk_stun_read(bytes, &m);
    }
    return err == BK_OK ? bk_datagram_check(&m, &mac, test_key()) : err;
}

static enum bk_err read_answer(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    struct bk_register_answer a;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_register_answer_read(&m, &mac, test_key(), &a) : err;
}

/* Request and quiet keepalive differ in one bit; nothing else is a registration. */
static void refuses_types_but_both(struct bk_slice message)
{
    uint8_t copy[256];
    for (unsigned bit = 0; bit < 14; bit++) {
        memcpy(copy, message.p, message.n);
        copy[1 - bit / 8] ^= (uint8_t)(1U << bit % 8);
        bool nonce = message.n > 88;
        assert_int_equal(read_copy(read_request, bk_slice(copy, message.n)),
                         bit == 4 && !nonce ? BK_OK : BK_E_MALFORMED);
    }
}

static void requests(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    for (int form = 0; form < 3; form++) { /* bare, with a nonce, quiet */
        const bool with_nonce = form == 1;
        struct bk_register in = sample;
        struct bk_register back;
        struct bk_slice out;
        struct bk_stun m;
        uint8_t whole[256];
        in.quiet = form == 2;
        in.nonce = with_nonce ? text("abcdefghijklmnopqrst") : BK_SLICE_EMPTY;
        assert_int_equal(bk_register_write(whole, sizeof whole, txid, &in, &mac, test_key(), &out),
                         BK_OK);
        assert_int_equal(out.n, with_nonce ? 112 : 88);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_register_read(&m, &back), BK_OK);
        assert_int_equal(back.quiet, in.quiet);
        assert_int_equal(back.interval_s, 110);
        assert_true(back.equipment_id == in.equipment_id && back.generation == in.generation &&
                    back.epoch == in.epoch && back.tag.random == in.tag.random &&
                    back.tag.counter == in.tag.counter && bk_slice_equal(back.nonce, in.nonce));
        refuses_other_lengths(read_request_checked, out);
        refuses_any_changed_bit(read_request_checked, out);
        refuses_missing_attributes(read_request_checked, out, 0);
        refuses_types_but_both(out);
        judges_unknown_attributes(read_request, out);
        REFUSES_SHORT_BUFFERS(out,
                              bk_register_write(buf, cap, txid, &in, &mac, test_key(), &ignored));
    }
}

static void requests_out_of_range(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t buf[256];
    struct bk_slice out;
    struct bk_register in = sample;
    in.equipment_id = 0;
    assert_int_equal(bk_register_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                     BK_E_RANGE);
    in.equipment_id = BK_EQUIPMENT_ID_MAX + 1;
    assert_int_equal(bk_register_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                     BK_E_RANGE);
    in = sample;
    in.nonce = text("short");
    assert_int_equal(bk_register_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                     BK_E_RANGE);
    assert_int_equal(bk_register_write(buf, sizeof buf, txid, &sample, &mac, test_key(), &out),
                     BK_OK);
    buf[20 + 4] |= 0x80; /* the equipment ID's top bit */
    assert_int_equal(read_request(out), BK_E_MALFORMED);
    buf[20 + 4] = 0;
    buf[20 + 12 + 4 + 6] = (BK_REGISTER_INTERVAL_MAX_S + 1) >> 8;
    buf[20 + 12 + 4 + 7] = (BK_REGISTER_INTERVAL_MAX_S + 1) & 0xFF;
    assert_int_equal(read_request(out), BK_E_MALFORMED);
    buf[20 + 12 + 4 + 7] = BK_REGISTER_INTERVAL_MAX_S & 0xFF;
    assert_int_equal(read_request(out), BK_OK);
    in = sample;
    in.interval_s = BK_REGISTER_INTERVAL_MAX_S + 1;
    assert_int_equal(bk_register_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                     BK_E_RANGE);
    in = sample;
    in.quiet = true;
    in.nonce = text("abcdefghijklmnopqrst");
    assert_int_equal(bk_register_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                     BK_E_RANGE);
}

static void answers(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_addr v6;
    assert_int_equal(bk_addr_parse(text("[2001:db8::9]:1024"), 0, &v6), BK_OK);
    struct {
        struct bk_register_answer in;
        size_t size;
    } rows[] = {
        {{0, bk_addr_v4(202, 204, 16, 13, 1024), 1234567, false, BK_SLICE_EMPTY}, 72},
        {{0, v6, 1234567, false, BK_SLICE_EMPTY}, 84},
        {{0, bk_addr_v4(202, 204, 16, 13, 1024), 1234567, true, BK_SLICE_EMPTY}, 76},
        {{0, v6, 1234567, true, BK_SLICE_EMPTY}, 88},
        {{BK_CODE_STALE_NONCE, bk_addr_v4(0, 0, 0, 0, 0), 0, false, text("abcdefghijklmnopqrst")},
         80},
        {{BK_CODE_FORBIDDEN, bk_addr_v4(0, 0, 0, 0, 0), 0, false, BK_SLICE_EMPTY}, 56},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct bk_register_answer *in = &rows[i].in;
        struct bk_register_answer back;
        struct bk_slice out;
        struct bk_stun m;
        uint8_t whole[256];
        assert_int_equal(
            bk_register_answer_write(whole, sizeof whole, txid, in, &mac, test_key(), &out), BK_OK);
        assert_int_equal(out.n, rows[i].size);
        assert_true(out.n <= 88);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_register_answer_read(&m, &mac, test_key(), &back), BK_OK);
        assert_int_equal(back.code, in->code);
        assert_true(back.unix_s == in->unix_s && back.renew == in->renew &&
                    bk_slice_equal(back.nonce, in->nonce));
        assert_true(in->code != 0 || bk_addr_equal(&back.mapped, &in->mapped));
        assert_int_equal(bk_register_answer_read(&m, &mac, text("another key"), &back), BK_E_AUTH);
        refuses_other_lengths(read_answer, out);
        refuses_any_changed_bit(read_answer, out);
        refuses_missing_attributes(read_answer, out, 0);
        REFUSES_SHORT_BUFFERS(
            out, bk_register_answer_write(buf, cap, txid, in, &mac, test_key(), &ignored));
    }
    struct bk_register_answer in = rows[4].in;
    uint8_t buf[256];
    struct bk_slice out;
    in.nonce = BK_SLICE_EMPTY;
    assert_int_equal(bk_register_answer_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                     BK_E_RANGE);
}

/* Rightly keyed, but not what an answer holds. */
static void authentic_nonsense(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    struct {
        enum bk_stun_class cls;
        uint16_t type;
        enum bk_err expected;
    } rows[] = {
        {BK_STUN_SUCCESS, BK_ATTR_TIME, BK_E_MALFORMED},
        {BK_STUN_SUCCESS, BK_ATTR_NONCE, BK_E_UNKNOWN_ATTR},
        {BK_STUN_ERROR, BK_ATTR_NONCE, BK_E_MALFORMED},
        {BK_STUN_ERROR, BK_ATTR_TIME, BK_E_UNKNOWN_ATTR},
        {BK_STUN_REQUEST, BK_ATTR_TIME, BK_E_MALFORMED},
        {BK_STUN_INDICATION, BK_ATTR_TIME, BK_E_MALFORMED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t buf[128];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_REGISTER, rows[i].cls, txid);
        bk_stun_put_u64(&s, rows[i].type, 1);
        assert_int_equal(bk_datagram_end(&s, &mac, test_key(), &out), BK_OK);
        assert_int_equal(read_answer(out), rows[i].expected);
    }
}

/* A rightly keyed success must tell both, each whole. */
static void a_success_tells_address_and_time(void **state)
{
    (void)state;
    static const uint8_t address[8] = {0, 1, 1, 1, 1, 1, 1, 1};
    static const uint8_t time[8] = {0};
    struct {
        size_t address_n, time_n;
        enum bk_err expected;
    } rows[] = {
        {8, 8, BK_OK},          {7, 8, BK_E_MALFORMED}, {8, 7, BK_E_MALFORMED},
        {0, 8, BK_E_MALFORMED}, {8, 0, BK_E_MALFORMED},
    };
    struct bk_mac_ops mac = bk_mac_sodium();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t buf[128];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_REGISTER, BK_STUN_SUCCESS, txid);
        if (rows[i].address_n > 0) {
            bk_stun_put(&s, BK_ATTR_XOR_MAPPED_ADDRESS, bk_slice(address, rows[i].address_n));
        }
        if (rows[i].time_n > 0) {
            bk_stun_put(&s, BK_ATTR_TIME, bk_slice(time, rows[i].time_n));
        }
        assert_int_equal(bk_datagram_end(&s, &mac, test_key(), &out), BK_OK);
        assert_int_equal(read_answer(out), rows[i].expected);
    }
}

/* RENEW is a flag; one with a value is none of ours. */
static void renew_is_empty(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    static const uint8_t address[8] = {0, 1, 1, 1, 1, 1, 1, 1};
    for (size_t n = 0; n < 2; n++) {
        uint8_t buf[128];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_REGISTER, BK_STUN_SUCCESS, txid);
        bk_stun_put(&s, BK_ATTR_XOR_MAPPED_ADDRESS, BK_SLICE_OF(address));
        bk_stun_put_u64(&s, BK_ATTR_TIME, 1);
        bk_stun_put(&s, BK_ATTR_RENEW, bk_slice(address, n));
        assert_int_equal(bk_datagram_end(&s, &mac, test_key(), &out), BK_OK);
        assert_int_equal(read_answer(out), n == 0 ? BK_OK : BK_E_MALFORMED);
    }
}

static enum bk_err read_challenge(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    struct bk_slice nonce;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_register_challenge_read(&m, &mac, test_key(), &nonce) : err;
}

static void challenges_of_quiet_keepalives(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    const struct bk_slice nonce = text("abcdefghijklmnopqrst");
    uint8_t whole[128];
    struct bk_slice out, back;
    struct bk_stun m;
    assert_int_equal(
        bk_register_challenge_write(whole, sizeof whole, txid, nonce, &mac, test_key(), &out),
        BK_OK);
    assert_int_equal(out.n, 72); /* against 88 */
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_register_challenge_read(&m, &mac, test_key(), &back), BK_OK);
    assert_true(bk_slice_equal(back, nonce));
    assert_int_equal(bk_register_challenge_read(&m, &mac, text("another key"), &back), BK_E_AUTH);
    assert_int_equal(back.n, 0);
    refuses_other_lengths(read_challenge, out);
    refuses_any_changed_bit(read_challenge, out);
    refuses_missing_attributes(read_challenge, out, 0);
    refuses_other_types(read_challenge, out);
    REFUSES_SHORT_BUFFERS(
        out, bk_register_challenge_write(buf, cap, txid, nonce, &mac, test_key(), &ignored));
    assert_int_equal(bk_register_challenge_write(whole, sizeof whole, txid, text("short"), &mac,
                                                 test_key(), &out),
                     BK_E_RANGE);
}

/* Rightly keyed, but no nonce in it, or more than that. */
static void challenges_that_hold_something_else(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    static const struct {
        uint16_t type;
        enum bk_err expected;
    } rows[] = {{BK_ATTR_NONCE, BK_E_MALFORMED}, {BK_ATTR_TIME, BK_E_UNKNOWN_ATTR}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t buf[128];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_REGISTER, BK_STUN_INDICATION, txid);
        bk_stun_put(&s, rows[i].type, text("short"));
        assert_int_equal(bk_datagram_end(&s, &mac, test_key(), &out), BK_OK);
        assert_int_equal(read_challenge(out), rows[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(challenges_of_quiet_keepalives),
        cmocka_unit_test(challenges_that_hold_something_else),
        cmocka_unit_test(requests),
        cmocka_unit_test(requests_out_of_range),
        cmocka_unit_test(answers),
        cmocka_unit_test(authentic_nonsense),
        cmocka_unit_test(a_success_tells_address_and_time),
        cmocka_unit_test(renew_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
