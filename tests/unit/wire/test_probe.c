/* PROBE: round trips, sizes (the echo is smaller than what asks for it), refusals. */
#include "support.h"

#include "wire/probe.h"

static const struct bk_probe sample = {.equipment_id = 2133,
                                       .generation = 7,
                                       .epoch = 3,
                                       .tag = {UINT64_C(0x1122334455667788), 9},
                                       .port = 3401};

static enum bk_err read_probe(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_probe p;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_probe_read(&m, &p) : err;
}

static enum bk_err read_probe_checked(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    enum bk_err err = read_probe(bytes);
    if (err == BK_OK) {
        err = bk_stun_read(bytes, &m);
    }
    return err == BK_OK ? bk_datagram_check(&m, &mac, test_key()) : err;
}

static enum bk_err read_echo(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_probe_echo_read(&m, &mac, test_key()) : err;
}

static void probes(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_probe back;
    struct bk_slice out;
    struct bk_stun m;
    uint8_t whole[256];
    assert_int_equal(bk_probe_write(whole, sizeof whole, txid, &sample, &mac, test_key(), &out),
                     BK_OK);
    assert_int_equal(out.n, 96);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_probe_read(&m, &back), BK_OK);
    assert_true(back.equipment_id == 2133 && back.generation == 7 && back.epoch == 3 &&
                back.tag.random == sample.tag.random && back.tag.counter == 9 && back.port == 3401);
    refuses_other_lengths(read_probe_checked, out);
    refuses_any_changed_bit(read_probe_checked, out);
    refuses_missing_attributes(read_probe_checked, out, 0);
    refuses_other_types(read_probe, out);
    judges_unknown_attributes(read_probe, out);
    REFUSES_SHORT_BUFFERS(out, bk_probe_write(buf, cap, txid, &sample, &mac, test_key(), &ignored));
}

static void probes_out_of_range(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t buf[256];
    struct bk_slice out;
    struct bk_probe in = sample;
    in.equipment_id = 0;
    assert_int_equal(bk_probe_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                     BK_E_RANGE);
    in = sample;
    in.port = 0;
    assert_int_equal(bk_probe_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                     BK_E_RANGE);
    assert_int_equal(bk_probe_write(buf, sizeof buf, txid, &sample, &mac, test_key(), &out), BK_OK);
    buf[20 + 12 + 4 + 7] = 1; /* an interval: that is REGISTER's */
    assert_int_equal(read_probe(out), BK_E_MALFORMED);
    buf[20 + 12 + 4 + 7] = 0;
    assert_int_equal(read_probe(out), BK_OK);
    uint8_t *port = buf + 20 + 12 + 12 + 16 + 4;
    port[0] = port[1] = 0;
    assert_int_equal(read_probe(out), BK_E_MALFORMED);
}

static void echoes(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_slice out;
    struct bk_stun m;
    uint8_t whole[128];
    assert_int_equal(bk_probe_echo_write(whole, sizeof whole, txid, &mac, test_key(), &out), BK_OK);
    assert_int_equal(out.n, 48);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_probe_echo_read(&m, &mac, text("another key")), BK_E_AUTH);
    refuses_other_lengths(read_echo, out);
    refuses_any_changed_bit(read_echo, out);
    refuses_missing_attributes(read_echo, out, 0);
    refuses_other_types(read_echo, out);
    REFUSES_SHORT_BUFFERS(out, bk_probe_echo_write(buf, cap, txid, &mac, test_key(), &ignored));
    /* A probe is no echo: what a device has sent cannot be played back to it. */
    assert_int_equal(bk_probe_write(whole, sizeof whole, txid, &sample, &mac, test_key(), &out),
                     BK_OK);
    assert_int_equal(read_echo(out), BK_E_UNKNOWN_ATTR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probes),
        cmocka_unit_test(probes_out_of_range),
        cmocka_unit_test(echoes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
