/* RENEW: round trips and refusals. */
#include "support.h"

#include "wire/renew.h"

static enum bk_err read_request(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_renew v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_renew_read(&m, &v) : err;
}

static enum bk_err read_answer(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_renew_answer v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_renew_answer_read(&m, &v) : err;
}

/* Any of the two, both or neither: a device may want its registration key alone. */
static void requests(void **state)
{
    (void)state;
    for (int what = 0; what < 4; what++) {
        const struct bk_renew in = {what & 1 ? text("request") : BK_SLICE_EMPTY,
                                    what & 2 ? text("box key") : BK_SLICE_EMPTY};
        struct bk_renew back;
        uint8_t whole[128];
        struct bk_slice out;
        struct bk_stun m;
        assert_int_equal(bk_renew_write(whole, sizeof whole, txid, &in, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(m.method, BK_METHOD_RENEW);
        assert_int_equal(bk_renew_read(&m, &back), BK_OK);
        assert_true(bk_slice_equal(back.csr, in.csr) && bk_slice_equal(back.box_key, in.box_key));
        refuses_other_lengths(read_request, out);
        refuses_missing_attributes(read_request, out, (what & 1) + (what >> 1));
        judges_unknown_attributes(read_request, out);
        refuses_other_types(read_request, out);
        REFUSES_SHORT_BUFFERS(out, bk_renew_write(buf, cap, txid, &in, &ignored));
    }
}

static struct bk_renew_answer sample(bool device, bool certificate)
{
    struct bk_renew_answer a;
    memset(&a, 0, sizeof a);
    a.certificate = certificate ? text("certificate") : BK_SLICE_EMPTY;
    a.device = device;
    if (device) {
        a.generation = UINT32_MAX;
        a.epoch = UINT16_MAX;
        a.registration_key = test_key();
        a.ports = (struct bk_server_ports){1200, 1201, UINT16_MAX};
    }
    return a;
}

static void answers(void **state)
{
    (void)state;
    for (int what = 0; what < 4; what++) {
        bool device = (what & 1) != 0;
        bool certificate = (what & 2) != 0;
        const struct bk_renew_answer in = sample(device, certificate);
        struct bk_renew_answer back;
        uint8_t whole[256];
        struct bk_slice out;
        struct bk_stun m;
        assert_int_equal(bk_renew_answer_write(whole, sizeof whole, txid, &in, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_renew_answer_read(&m, &back), BK_OK);
        assert_true(bk_slice_equal(back.certificate, in.certificate) &&
                    bk_slice_equal(back.registration_key, in.registration_key));
        assert_true(back.device == in.device && back.generation == in.generation &&
                    back.epoch == in.epoch && back.ports.udp == in.ports.udp &&
                    back.ports.request == in.ports.request && back.ports.agent == in.ports.agent);
        refuses_other_lengths(read_answer, out);
        /* Of a device's answer the certificate may be missing, and all of the rest together. */
        refuses_missing_attributes(read_answer, out, device ? 1 + certificate : certificate);
        judges_unknown_attributes(read_answer, out);
        refuses_other_types(read_answer, out);
        REFUSES_SHORT_BUFFERS(out, bk_renew_answer_write(buf, cap, txid, &in, &ignored));
    }
}

/* What a device is told it is told whole; each part left out, or not as it should be. */
static void a_devices_part_is_whole(void **state)
{
    (void)state;
    static const uint8_t zeros[BK_KEY_BYTES] = {0};
    static const uint8_t ports[8] = {1, 0, 1, 0, 1, 0};
    for (int odd = 0; odd < 7; odd++) {
        uint8_t buf[256];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_RENEW, BK_STUN_SUCCESS, txid);
        if (odd != 0) {
            bk_stun_put(&s, BK_ATTR_REGISTRATION, bk_slice(zeros, odd == 1 ? 7 : 8));
        }
        if (odd != 2) {
            bk_stun_put(&s, BK_ATTR_REGISTRATION_KEY,
                        bk_slice(zeros, odd == 3 ? BK_KEY_BYTES - 1 : BK_KEY_BYTES));
        }
        if (odd != 4) {
            bk_stun_put(&s, BK_ATTR_SERVER_PORTS, bk_slice(odd == 5 ? zeros : ports, 8));
        }
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(read_answer(out), odd == 6 ? BK_OK : BK_E_MALFORMED);
    }
    for (int odd = 0; odd < 4; odd++) {
        struct bk_renew_answer in = sample(true, true);
        uint8_t buf[256];
        struct bk_slice out;
        if (odd == 0) {
            in.registration_key = text("short");
        } else {
            uint16_t *each[] = {&in.ports.udp, &in.ports.request, &in.ports.agent};
            *each[odd - 1] = 0;
        }
        assert_int_equal(bk_renew_answer_write(buf, sizeof buf, txid, &in, &out), BK_E_RANGE);
    }
}

static void empty_values_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum bk_stun_class cls;
        uint16_t type;
    } rows[] = {{BK_STUN_REQUEST, BK_ATTR_CERTIFICATE_REQUEST},
                {BK_STUN_REQUEST, BK_ATTR_BOX_KEY},
                {BK_STUN_SUCCESS, BK_ATTR_CERTIFICATE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t buf[64];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_RENEW, rows[i].cls, txid);
        bk_stun_put(&s, rows[i].type, BK_SLICE_EMPTY);
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal((i < 2 ? read_request : read_answer)(out), BK_E_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(answers),
        cmocka_unit_test(a_devices_part_is_whole),
        cmocka_unit_test(empty_values_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
