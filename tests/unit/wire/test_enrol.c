/* ENROL: round trips and refusals. */
#include "support.h"

#include "wire/enrol.h"

static enum bk_err read_request(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_enrol v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_enrol_read(&m, &v) : err;
}

static enum bk_err read_answer(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_enrol_answer v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_enrol_answer_read(&m, &v) : err;
}

static void requests(void **state)
{
    (void)state;
    for (int device = 0; device < 2; device++) {
        struct bk_enrol in = {text("0123456789abcdef"), text("request"),
                              device ? text("box key") : BK_SLICE_EMPTY};
        struct bk_enrol back;
        uint8_t whole[256];
        struct bk_slice out;
        struct bk_stun m;
        assert_int_equal(bk_enrol_write(whole, sizeof whole, txid, &in, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_enrol_read(&m, &back), BK_OK);
        assert_true(bk_slice_equal(back.token, in.token) && bk_slice_equal(back.csr, in.csr) &&
                    bk_slice_equal(back.box_key, in.box_key));
        refuses_other_lengths(read_request, out);
        refuses_missing_attributes(read_request, out, device);
        judges_unknown_attributes(read_request, out);
        refuses_other_types(read_request, out);
        REFUSES_SHORT_BUFFERS(out, bk_enrol_write(buf, cap, txid, &in, &ignored));
        in.token = text("0123456789abcde");
        assert_int_equal(bk_enrol_write(whole, sizeof whole, txid, &in, &out), BK_E_RANGE);
    }
}

static const struct bk_enrol_answer *sample(bool device)
{
    static struct bk_enrol_answer a;
    memset(&a, 0, sizeof a);
    a.certificate = text("certificate");
    a.ca_certificate = text("ca certificate");
    if (device) {
        a.equipment_id = 2133;
        a.generation = UINT32_MAX;
        a.epoch = UINT16_MAX;
        a.registration_key = test_key();
        a.ports = (struct bk_server_ports){1200, 1201, UINT16_MAX};
    } else {
        a.user = text("alice");
    }
    return &a;
}

static void answers(void **state)
{
    (void)state;
    for (int device = 0; device < 2; device++) {
        const struct bk_enrol_answer *in = sample(device != 0);
        struct bk_enrol_answer back;
        uint8_t whole[256];
        struct bk_slice out;
        struct bk_stun m;
        assert_int_equal(bk_enrol_answer_write(whole, sizeof whole, txid, in, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_enrol_answer_read(&m, &back), BK_OK);
        assert_true(bk_slice_equal(back.certificate, in->certificate) &&
                    bk_slice_equal(back.ca_certificate, in->ca_certificate) &&
                    bk_slice_equal(back.user, in->user) &&
                    bk_slice_equal(back.registration_key, in->registration_key));
        assert_true(back.equipment_id == in->equipment_id && back.generation == in->generation &&
                    back.epoch == in->epoch);
        assert_true(back.ports.udp == in->ports.udp && back.ports.request == in->ports.request &&
                    back.ports.agent == in->ports.agent);
        refuses_other_lengths(read_answer, out);
        refuses_missing_attributes(read_answer, out, 0);
        judges_unknown_attributes(read_answer, out);
        refuses_other_types(read_answer, out);
        REFUSES_SHORT_BUFFERS(out, bk_enrol_answer_write(buf, cap, txid, in, &ignored));
    }
}

static void device_and_user_do_not_mix(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct bk_slice out;
    struct bk_enrol_answer mixed = *sample(true);
    mixed.user = text("alice");
    assert_int_equal(bk_enrol_answer_write(buf, sizeof buf, txid, &mixed, &out), BK_E_RANGE);
    mixed = *sample(true);
    mixed.registration_key = text("short");
    assert_int_equal(bk_enrol_answer_write(buf, sizeof buf, txid, &mixed, &out), BK_E_RANGE);
    mixed = *sample(true);
    mixed.ports.agent = 0;
    assert_int_equal(bk_enrol_answer_write(buf, sizeof buf, txid, &mixed, &out), BK_E_RANGE);
    mixed = *sample(false);
    mixed.user = BK_SLICE_EMPTY;
    assert_int_equal(bk_enrol_answer_write(buf, sizeof buf, txid, &mixed, &out), BK_E_RANGE);
    /* A device's answer with a user's name added. */
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_ENROL, BK_STUN_SUCCESS, txid);
    bk_stun_put(&s, BK_ATTR_CERTIFICATE, text("c"));
    bk_stun_put(&s, BK_ATTR_CA_CERTIFICATE, text("c"));
    bk_stun_put(&s, BK_ATTR_USER_NAME, text("alice"));
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, 1);
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(read_answer(out), BK_E_MALFORMED);
}

/* Each part that may not be missing, and each that may not be zero. */
static void an_incomplete_answer_is_not_written(void **state)
{
    (void)state;
    for (int what = 0; what < 7; what++) {
        struct bk_enrol_answer in = *sample(true);
        uint8_t buf[256];
        struct bk_slice out;
        switch (what) {
        case 0:
            in.certificate = BK_SLICE_EMPTY;
            break;
        case 1:
            in.ca_certificate = BK_SLICE_EMPTY;
            break;
        case 2:
            in.registration_key = BK_SLICE_EMPTY;
            break;
        case 3:
            in.equipment_id = BK_EQUIPMENT_ID_MAX + 1;
            break;
        case 4:
            in.ports.udp = 0;
            break;
        case 5:
            in.ports.request = 0;
            break;
        default:
            in.ports.agent = 0;
            break;
        }
        assert_int_equal(bk_enrol_answer_write(buf, sizeof buf, txid, &in, &out), BK_E_RANGE);
    }
    struct bk_enrol request = {text("0123456789abcdef"), BK_SLICE_EMPTY, text("box key")};
    uint8_t buf[256];
    struct bk_slice out;
    assert_int_equal(bk_enrol_write(buf, sizeof buf, txid, &request, &out), BK_E_RANGE);
}

static void no_port_that_a_device_is_told_is_zero(void **state)
{
    (void)state;
    for (size_t port = 0; port < 4; port++) {
        uint8_t buf[256];
        struct bk_slice out;
        assert_int_equal(bk_enrol_answer_write(buf, sizeof buf, txid, sample(true), &out), BK_OK);
        /* The ports are the last eight bytes, the two behind them always zero. */
        uint8_t *at = buf + out.n - 8 + 2 * port;
        at[0] = 0;
        at[1] = port == 3;
        assert_int_equal(read_answer(out), BK_E_MALFORMED);
    }
}

/* Nothing of a device's goes into what a user is told. */
static void a_user_is_told_nothing_of_a_devices(void **state)
{
    (void)state;
    static const uint16_t parts[] = {BK_ATTR_EQUIPMENT_ID, BK_ATTR_REGISTRATION,
                                     BK_ATTR_REGISTRATION_KEY, BK_ATTR_SERVER_PORTS};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        uint8_t buf[256];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_ENROL, BK_STUN_SUCCESS, txid);
        bk_stun_put(&s, BK_ATTR_CERTIFICATE, text("c"));
        bk_stun_put(&s, BK_ATTR_CA_CERTIFICATE, text("c"));
        bk_stun_put(&s, BK_ATTR_USER_NAME, text("alice"));
        bk_stun_put(&s, parts[i], test_key());
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(read_answer(out), BK_E_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(answers),
        cmocka_unit_test(device_and_user_do_not_mix),
        cmocka_unit_test(an_incomplete_answer_is_not_written),
        cmocka_unit_test(no_port_that_a_device_is_told_is_zero),
        cmocka_unit_test(a_user_is_told_nothing_of_a_devices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
