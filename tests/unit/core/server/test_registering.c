/* Registration over a stream: the same rules as by datagram, NOTIFY on the stream, and what ends such a row. */
#include "core/server/call_lab.h"

enum {
    REG = 40,
    NEWER = 41,
};

static struct bk_addr at(uint16_t port)
{
    return bk_addr_v4(202, 204, 16, 13, port);
}

static void open_registering(struct lab *l, uint64_t stream, const struct device *d)
{
    lab_open_from(l, stream, BK_ROLE_DEVICE, d->id, "", BK_STREAM_REGISTER, d->addr);
}

/* What comes back on the stream: code, SILENCE or CHALLENGED. Nothing goes out otherwise. */
static int say(struct lab *l, uint64_t stream, struct device *d, const char *nonce,
               char got[BK_NONCE_BYTES + 1])
{
    uint8_t buf[256];
    struct bk_stun m;
    struct bk_register_answer a = {.code = CHALLENGED};
    d->tag.counter++;
    struct bk_slice b = device_write(l, d, nonce, buf, sizeof(buf));
    lab_message(l, stream, b);
    assert_null(lab_action(l, BK_SERVER_SEND_DATAGRAM));
    if (!lab_said(l, stream, &m)) {
        return SILENCE;
    }
    assert_int_equal(m.txid[0], l->last_txid);
    if (d->quiet) {
        assert_int_equal(
            bk_register_challenge_read(&m, &l->config.mac, BK_SLICE_OF(d->key), &a.nonce), BK_OK);
    } else {
        assert_int_equal(bk_register_answer_read(&m, &l->config.mac, BK_SLICE_OF(d->key), &a),
                         BK_OK);
    }
    if (a.code == 0) {
        assert_true(bk_addr_equal(&a.mapped, &d->addr));
    }
    if (got && a.nonce.n == BK_NONCE_BYTES) {
        memcpy(got, a.nonce.p, BK_NONCE_BYTES);
        got[BK_NONCE_BYTES] = '\0';
    }
    return a.code;
}

static void register_by(struct lab *l, uint64_t stream, struct device *d)
{
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(say(l, stream, d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(say(l, stream, d, nonce, NULL), 0);
}

static struct device device_over(struct lab *l, uint64_t stream, uint64_t id, uint16_t port)
{
    struct device d = device_new(l, id);
    d.addr = at(port);
    open_registering(l, stream, &d);
    assert_int_equal(l->out.n, 0);
    return d;
}

static bool by_stream(struct lab *l, uint64_t id)
{
    struct bk_server_row row;
    return bk_server_find(l->server, id, &row) && row.by_stream;
}

static void a_stream_registers_and_keeps_alive_by_the_same_rules(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_over(l, REG, 2133, 5000);
    register_by(l, REG, &d);
    assert_true(device_is_at(l, &d, d.addr) && by_stream(l, 2133));
    d.quiet = true;
    for (int i = 0; i < 5; i++) {
        lab_pass(l, 80000);
        assert_int_equal(say(l, REG, &d, NULL, NULL), SILENCE);
        assert_true(by_stream(l, 2133));
    }
    d.tag.counter -= 2;
    assert_int_equal(say(l, REG, &d, NULL, NULL), CHALLENGED); /* late */
    d.quiet = false;
    d.key[0] ^= 1;
    d.tag.counter += 9;
    assert_int_equal(say(l, REG, &d, NULL, NULL), SILENCE);
    lab_pass(l, 91000);
    lab_timer(l);
    assert_false(by_stream(l, 2133)); /* the stream alone keeps nothing alive */
    lab_free(l);
}

static void a_stream_speaks_for_its_own_device_only(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_over(l, REG, 2133, 5000);
    struct device other = device_new(l, 2134);
    other.addr = d.addr;
    (void)d;
    uint8_t buf[256];
    other.quiet = true;
    lab_message(l, REG, device_write(l, &other, NULL, buf, sizeof(buf)));
    assert_true(lab_closes(l, REG));
    assert_int_equal(lab_count(l, BK_SERVER_SEND_MESSAGE), 0);
    lab_free(l);
}

static void users_and_revoked_devices_get_no_such_stream(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open_for(l, REG, BK_ROLE_USER, 0, "alice", BK_STREAM_REGISTER);
    assert_true(lab_closes(l, REG));
    lab_exception(l, 2133, 0, true);
    lab_open_for(l, NEWER, BK_ROLE_DEVICE, 2133, "", BK_STREAM_REGISTER);
    assert_true(lab_closes(l, NEWER));
    lab_free(l);
}

static void anything_else_ends_the_stream_and_its_row(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_over(l, REG, 2133, 5000);
    register_by(l, REG, &d);
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_slice b;
    assert_int_equal(bk_binding_request_write(buf, sizeof(buf), txid, &b), BK_OK);
    lab_message(l, REG, b);
    assert_true(lab_closes(l, REG));
    assert_int_equal(bk_server_rows(l->server), 0);
    lab_closed(l, REG);
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void the_row_goes_with_the_stream(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_over(l, REG, 2133, 5000);
    register_by(l, REG, &d);
    lab_closed(l, REG);
    assert_int_equal(bk_server_rows(l->server), 0);
    lab_free(l);
}

static void a_newer_stream_takes_the_place_of_the_older(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_over(l, REG, 2133, 5000);
    register_by(l, REG, &d);
    d.addr = at(5001);
    open_registering(l, NEWER, &d);
    assert_true(lab_closes(l, REG));
    assert_int_equal(bk_server_rows(l->server), 0); /* NOTIFY has no way for now */
    register_by(l, NEWER, &d);
    lab_closed(l, REG);
    assert_true(device_is_at(l, &d, at(5001)));
    lab_closed(l, NEWER);
    assert_int_equal(bk_server_rows(l->server), 0);
    lab_free(l);
}

/* Also where both come from one address and port, to two ports of ours. */
static void the_end_of_an_older_stream_takes_nothing_of_the_newer(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_over(l, REG, 2133, 5000);
    register_by(l, REG, &d);
    open_registering(l, NEWER, &d);
    assert_true(lab_closes(l, REG));
    register_by(l, NEWER, &d);
    lab_closed(l, REG);
    assert_true(by_stream(l, 2133));
    lab_free(l);
}

static void back_to_udp_and_the_stream_takes_no_row_along(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_over(l, REG, 2133, 5000);
    register_by(l, REG, &d);
    d.addr = at(3400); /* UDP again */
    device_register(l, &d);
    assert_true(device_is_at(l, &d, at(3400)) && !by_stream(l, 2133));
    lab_closed(l, REG);
    assert_true(device_is_at(l, &d, at(3400)));
    lab_free(l);
}

/* Same IP and port, as UDP and as stream: another place all the same. */
static void a_datagram_is_no_keepalive_for_a_stream(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_over(l, REG, 2133, 5000);
    register_by(l, REG, &d);
    assert_int_equal(device_send(l, &d, NULL, NULL), BK_CODE_STALE_NONCE);
    assert_true(by_stream(l, 2133));
    lab_free(l);
}

static void expect_notify_on(struct call_lab *c, uint64_t stream)
{
    struct bk_stun m;
    struct bk_notify in;
    assert_null(lab_action(c->l, BK_SERVER_SEND_DATAGRAM));
    assert_true(lab_said(c->l, stream, &m));
    assert_int_equal(bk_notify_read(&m, &c->l->config.mac, BK_SLICE_OF(c->d.key), &in), BK_OK);
    assert_true(in.tag.random == c->d.tag.random && in.tag.counter == c->d.tag.counter);
    memcpy(c->notify_txid, m.txid, sizeof(m.txid));
}

static void answer_on(struct call_lab *c, uint64_t stream)
{
    uint8_t buf[128];
    struct bk_slice b;
    struct bk_notify_answer a = {.taken = false};
    assert_int_equal(bk_notify_answer_write(buf, sizeof(buf), c->notify_txid, &a, &c->l->config.mac,
                                            BK_SLICE_OF(c->d.key), &b),
                     BK_OK);
    lab_message(c->l, stream, b);
    assert_int_equal(c->l->out.n, 0);
}

static struct call_lab tunnelled(void)
{
    struct call_lab c = {.l = lab_new()};
    c.d = device_over(c.l, REG, 2133, 5000);
    register_by(c.l, REG, &c.d);
    lab_open(c.l, USER_STREAM, BK_ROLE_USER, 0, "alice");
    return c;
}

static void notify_goes_on_the_stream_until_it_is_answered(void **state)
{
    (void)state;
    struct call_lab c = tunnelled();
    lab_connect(c.l, USER_STREAM, 2133, 5);
    lab_found(c.l, lab_query(c.l), 0, 2133);
    expect_notify_on(&c, REG);
    assert_int_equal(run(c.l, 250), 0);
    expect_notify_on(&c, REG); /* run() stops at a message */
    answer_on(&c, REG);
    (void)run(c.l, 1000);
    assert_int_equal(lab_count(c.l, BK_SERVER_SEND_MESSAGE), 0);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, DEVICE_STREAM, 5);
    answer_offer(&c, DEVICE_STREAM, 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), 0);
    lab_free(c.l);
}

static void an_answer_from_elsewhere_does_not_count(void **state)
{
    (void)state;
    struct call_lab c = tunnelled();
    lab_connect(c.l, USER_STREAM, 2133, 5);
    lab_found(c.l, lab_query(c.l), 0, 2133);
    expect_notify_on(&c, REG);
    answer_notify(&c, c.d.addr, 0); /* by datagram, from the same address and port */
    (void)run(c.l, 250);
    expect_notify_on(&c, REG);
    lab_free(c.l);
}

static void a_call_that_waits_follows_the_device_from_udp_to_a_stream(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    ring(&c, 5);
    c.d.addr = at(5000);
    open_registering(c.l, REG, &c.d);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(say(c.l, REG, &c.d, NULL, nonce), BK_CODE_STALE_NONCE);
    uint8_t buf[256];
    struct bk_stun m;
    struct bk_notify in;
    c.d.tag.counter++;
    lab_message(c.l, REG, device_write(c.l, &c.d, nonce, buf, sizeof(buf)));
    assert_null(lab_action(c.l, BK_SERVER_SEND_DATAGRAM));
    assert_true(lab_said_nth(c.l, REG, 1, &m)); /* behind the success */
    assert_int_equal(bk_notify_read(&m, &c.l->config.mac, BK_SLICE_OF(c.d.key), &in), BK_OK);
    lab_free(c.l);
}

static void a_call_to_a_stream_that_has_just_gone_waits_and_ends(void **state)
{
    (void)state;
    struct call_lab c = tunnelled();
    lab_connect(c.l, USER_STREAM, 2133, 5);
    lab_found(c.l, lab_query(c.l), 0, 2133);
    expect_notify_on(&c, REG);
    lab_closed(c.l, REG);
    assert_int_equal(run(c.l, BK_SERVER_DELIVERY_MS), 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OFFLINE);
    lab_free(c.l);
}

static void revoking_ends_stream_and_row(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_over(l, REG, 2133, 5000);
    register_by(l, REG, &d);
    lab_exception(l, 2133, 0, true);
    assert_true(lab_closes(l, REG));
    assert_int_equal(bk_server_rows(l->server), 0);
    uint8_t buf[256];
    lab_message(l, REG, device_write(l, &d, NULL, buf, sizeof(buf)));
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_registers_and_keeps_alive_by_the_same_rules),
        cmocka_unit_test(a_stream_speaks_for_its_own_device_only),
        cmocka_unit_test(users_and_revoked_devices_get_no_such_stream),
        cmocka_unit_test(anything_else_ends_the_stream_and_its_row),
        cmocka_unit_test(the_row_goes_with_the_stream),
        cmocka_unit_test(a_newer_stream_takes_the_place_of_the_older),
        cmocka_unit_test(the_end_of_an_older_stream_takes_nothing_of_the_newer),
        cmocka_unit_test(back_to_udp_and_the_stream_takes_no_row_along),
        cmocka_unit_test(a_datagram_is_no_keepalive_for_a_stream),
        cmocka_unit_test(notify_goes_on_the_stream_until_it_is_answered),
        cmocka_unit_test(an_answer_from_elsewhere_does_not_count),
        cmocka_unit_test(a_call_that_waits_follows_the_device_from_udp_to_a_stream),
        cmocka_unit_test(a_call_to_a_stream_that_has_just_gone_waits_and_ends),
        cmocka_unit_test(revoking_ends_stream_and_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
