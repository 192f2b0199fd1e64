/* PROBE: who may have one datagram sent, and where to. */
#include "core/server/fixture.h"
#include "wire/probe.h"

enum { PORT = 40000 };

/* True if it was echoed: to that port of the sender, from where it came to, and smaller. */
static bool probe(struct lab *l, const struct device *d, uint16_t port)
{
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {0xBE, ++l->last_txid};
    struct bk_probe p = {
        .equipment_id = d->id,
        .generation = d->generation,
        .epoch = d->epoch,
        .tag = d->tag,
        .port = port,
    };
    struct bk_slice b;
    struct bk_stun m;
    struct bk_addr to = d->addr;
    assert_int_equal(
        bk_probe_write(buf, sizeof(buf), txid, &p, &l->config.mac, BK_SLICE_OF(d->key), &b), BK_OK);
    lab_datagram(l, d->local, d->addr, b);
    if (l->out.n == 0) {
        return false;
    }
    const struct bk_server_action *a = lab_must(l, BK_SERVER_SEND_DATAGRAM, 0);
    to.port = port;
    assert_int_equal(l->out.n, 1);
    assert_true(bk_addr_equal(&a->datagram.to, &to));
    assert_int_equal(a->datagram.local, d->local);
    assert_false(a->datagram.second);
    assert_true(a->datagram.bytes.n <= b.n);
    assert_int_equal(bk_stun_read(a->datagram.bytes, &m), BK_OK);
    assert_memory_equal(m.txid, txid, sizeof(txid));
    assert_int_equal(bk_probe_echo_read(&m, &l->config.mac, BK_SLICE_OF(d->key)), BK_OK);
    return true;
}

static void a_registered_device_has_one_datagram_sent_to_another_port(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    d.local = 3;
    device_register(l, &d);
    assert_true(probe(l, &d, PORT));
    assert_true(probe(l, &d, 1024));
    assert_true(probe(l, &d, 65535));
    assert_true(probe(l, &d, d.addr.port));
    lab_free(l);
}

static void services_are_never_probed(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    assert_false(probe(l, &d, 1023));
    assert_false(probe(l, &d, 53));
    assert_false(probe(l, &d, 1));
    lab_free(l);
}

static void it_changes_nothing(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    struct bk_server_row row;
    device_register(l, &d);
    bk_time seen = l->now.mono;
    lab_pass(l, 60000);
    assert_true(probe(l, &d, PORT));
    assert_true(bk_server_find(l->server, 2133, &row));
    assert_int_equal(row.last_seen, seen);
    lab_pass(l, 31000);
    assert_false(probe(l, &d, PORT)); /* the row has expired */
    lab_free(l);
}

static void nobody_else_is_echoed(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    assert_false(probe(l, &d, PORT)); /* no row */
    device_register(l, &d);

    struct device other = d;
    other.addr.port++;
    assert_false(probe(l, &other, PORT));
    other = d;
    other.addr.ip[15]++;
    assert_false(probe(l, &other, PORT));
    other = d;
    other.local++;
    assert_false(probe(l, &other, PORT));
    other = d;
    other.tag.random++;
    assert_false(probe(l, &other, PORT));
    other = d;
    other.key[0] ^= 1;
    assert_false(probe(l, &other, PORT));
    other = d;
    other.id++;
    assert_false(probe(l, &other, PORT));
    other = d;
    device_rekey(l, &other, EPOCH, 2);
    assert_false(probe(l, &other, PORT));
    other = d;
    device_rekey(l, &other, OLD_EPOCH, 1);
    assert_false(probe(l, &other, PORT));

    assert_true(probe(l, &d, PORT));
    lab_exception(l, 2133, 0, true);
    assert_false(probe(l, &d, PORT));
    lab_free(l);
}

static void a_device_probes_a_few_times_and_then_once_a_second(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    struct device neighbour = device_new(l, 2134);
    struct device forger;
    device_register(l, &d);
    device_register(l, &neighbour);
    forger = d;
    forger.key[0] ^= 1;
    for (int i = 0; i < 100; i++) { /* takes nothing from it */
        assert_false(probe(l, &forger, PORT));
    }
    for (int i = 0; i < 8; i++) {
        assert_true(probe(l, &d, PORT));
    }
    assert_false(probe(l, &d, PORT));
    assert_true(probe(l, &neighbour, PORT));
    lab_pass(l, 1000);
    assert_true(probe(l, &d, PORT));
    assert_false(probe(l, &d, PORT));
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_registered_device_has_one_datagram_sent_to_another_port),
        cmocka_unit_test(services_are_never_probed),
        cmocka_unit_test(it_changes_nothing),
        cmocka_unit_test(nobody_else_is_echoed),
        cmocka_unit_test(a_device_probes_a_few_times_and_then_once_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
