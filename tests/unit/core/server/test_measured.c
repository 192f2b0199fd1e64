/* Attack: what the server sends by UDP for something else, as big and to whom somebody wants. Expected: the sizes that
 * docs/security.md names, to the sender's own IP address, and nothing for what somebody else recorded. */
#include "core/server/fixture.h"
#include "wire/probe.h"

enum { PORT = 40000 };

static struct bk_slice write_probe(struct lab *l, const struct device *d, uint8_t buf[256])
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {0xBE};
    struct bk_probe p = {.equipment_id = d->id,
                         .generation = d->generation,
                         .epoch = d->epoch,
                         .tag = d->tag,
                         .port = PORT};
    struct bk_slice b;
    assert_int_equal(bk_probe_write(buf, 256, txid, &p, &l->config.mac, BK_SLICE_OF(d->key), &b),
                     BK_OK);
    return b;
}

/* The one datagram that went out: its size. It goes to the sender's IP address. */
static size_t sent_to(struct lab *l, const struct bk_addr *from)
{
    const struct bk_server_action *a = lab_must(l, BK_SERVER_SEND_DATAGRAM, 0);
    assert_int_equal(l->out.n, 1);
    assert_true(bk_addr_same_ip(&a->datagram.to, from));
    return a->datagram.bytes.n;
}

static void measured_probe_is_96_and_its_echo_48(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    uint8_t buf[256];
    device_register(l, &d);
    struct bk_slice b = write_probe(l, &d, buf);
    assert_int_equal(b.n, 96);
    lab_datagram(l, d.local, d.addr, b);
    assert_int_equal(sent_to(l, &d.addr), 48);
    lab_free(l);
}

/* Recorded on the path, and sent from where the thief is, or later, when the device is somewhere else. */
static void a_recorded_probe_hits_nobody_else(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    struct bk_addr victim = bk_addr_v4(203, 0, 113, 9, d.addr.port), before = d.addr;
    uint8_t buf[256];
    device_register(l, &d);
    struct bk_slice b = write_probe(l, &d, buf);
    lab_datagram(l, d.local, victim, b);
    assert_int_equal(l->out.n, 0);
    lab_datagram(l, d.local + 1, d.addr, b);
    assert_int_equal(l->out.n, 0);
    d.addr = bk_addr_v4(198, 51, 100, 50, 3400);
    device_register(l, &d);
    lab_datagram(l, d.local, before, b);
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void measured_quiet_keepalive_is_88_and_its_challenge_72(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    uint8_t buf[256];
    d.quiet = true;
    struct bk_slice b = device_write(l, &d, NULL, buf, sizeof buf);
    assert_int_equal(b.n, 88);
    lab_datagram(l, d.local, d.addr, b);
    assert_int_equal(sent_to(l, &d.addr), 72);
    lab_free(l);
}

static void measured_binding_with_change_request_is_28_and_its_answer_32_or_44(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    const struct bk_addr from[] = {bk_addr_v4(198, 51, 100, 7, 4242), {.ip = {0x2a}, .port = 9}};
    const size_t sizes[] = {32, 44};
    bk_server_free(l->server);
    l->config.changes = BK_CHANGE_PORT | BK_CHANGE_IP;
    assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
    for (uint8_t change = 0; change <= 6; change = (uint8_t)(change + 2)) {
        for (size_t i = 0; i < 2; i++) {
            const uint8_t value[4] = {0, 0, 0, change}, txid[BK_STUN_TXID_BYTES] = {0xB1};
            uint8_t buf[64];
            struct bk_slice b;
            struct bk_stun_writer w =
                bk_stun_begin(buf, sizeof buf, BK_METHOD_BINDING, BK_STUN_REQUEST, txid);
            bk_stun_put(&w, BK_ATTR_CHANGE_REQUEST, BK_SLICE_OF(value));
            assert_int_equal(bk_stun_end(&w, &b), BK_OK);
            assert_int_equal(b.n, 28);
            lab_datagram(l, 37, from[i], b);
            assert_int_equal(sent_to(l, &from[i]), sizes[i]);
            assert_true(
                bk_addr_equal(&lab_must(l, BK_SERVER_SEND_DATAGRAM, 0)->datagram.to, &from[i]));
        }
    }
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measured_probe_is_96_and_its_echo_48),
        cmocka_unit_test(a_recorded_probe_hits_nobody_else),
        cmocka_unit_test(measured_quiet_keepalive_is_88_and_its_challenge_72),
        cmocka_unit_test(measured_binding_with_change_request_is_28_and_its_answer_32_or_44),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
