/* The second port, and CHANGE-REQUEST: from where plain Binding is answered, and that nothing else is. */
#include "core/server/fixture.h"

enum { BOTH = BK_CHANGE_PORT | BK_CHANGE_IP, LOCAL = 37 };

static struct lab *lab_with(uint8_t changes)
{
    struct lab *l = lab_new();
    bk_server_free(l->server);
    l->config.changes = changes;
    l->config.binding_per_s = 100;
    assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
    return l;
}

/* A Binding request with CHANGE-REQUEST of so many bytes; 0: without. */
static size_t ask(struct lab *l, bool second, struct bk_addr from, uint32_t change, size_t bytes)
{
    uint8_t buf[64];
    uint8_t txid[BK_STUN_TXID_BYTES] = {0xB1};
    uint8_t value[8] = {(uint8_t)(change >> 24), (uint8_t)(change >> 16), (uint8_t)(change >> 8),
                        (uint8_t)change};
    struct bk_slice b;
    struct bk_stun_writer w =
        bk_stun_begin(buf, sizeof(buf), BK_METHOD_BINDING, BK_STUN_REQUEST, txid);
    if (bytes > 0) {
        bk_stun_put(&w, BK_ATTR_CHANGE_REQUEST, bk_slice(value, bytes));
    }
    assert_int_equal(bk_stun_end(&w, &b), BK_OK);
    lab_datagram_to(l, LOCAL, second, from, b);
    return b.n;
}

/* One answer, from there, that tells the sender's address and nothing else. */
static void expect(struct lab *l, struct bk_addr from, size_t asked, bool second, uint8_t change)
{
    struct bk_stun m;
    struct bk_addr mapped;
    size_t offset = 0;
    struct bk_stun_attr attr;
    const struct bk_server_action *a = lab_must(l, BK_SERVER_SEND_DATAGRAM, 0);
    assert_int_equal(l->out.n, 1);
    assert_true(bk_addr_equal(&a->datagram.to, &from));
    assert_int_equal(a->datagram.local, LOCAL);
    assert_int_equal(a->datagram.second, second);
    assert_int_equal(a->datagram.change, change);
    assert_true(a->datagram.bytes.n <= asked + 24);
    assert_int_equal(bk_stun_read(a->datagram.bytes, &m), BK_OK);
    assert_int_equal(bk_binding_response_read(&m, &mapped), BK_OK);
    assert_true(bk_addr_equal(&mapped, &from));
    assert_true(bk_stun_next(&m, &offset, &attr));
    assert_false(bk_stun_next(&m, &offset, &attr));
}

static void answers_leave_from_where_they_are_asked_to(void **state)
{
    (void)state;
    struct lab *l = lab_with(BOTH);
    struct bk_addr from[] = {bk_addr_v4(198, 51, 100, 7, 4242), {.ip = {0x2a}, .port = 9}};
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned second = 0; second < 2; second++) {
            expect(l, from[i], ask(l, second, from[i], 0, 0), second, 0);
            expect(l, from[i], ask(l, second, from[i], 0, 4), second, 0);
            expect(l, from[i], ask(l, second, from[i], BK_CHANGE_PORT, 4), !second, 0);
            expect(l, from[i], ask(l, second, from[i], BK_CHANGE_IP, 4), second, BK_CHANGE_IP);
            expect(l, from[i], ask(l, second, from[i], BOTH, 4), !second, BK_CHANGE_IP);
        }
    }
    lab_free(l);
}

static void what_there_is_not_is_not_answered(void **state)
{
    (void)state;
    struct bk_addr from = bk_addr_v4(198, 51, 100, 7, 4242);
    struct lab *l = lab_with(BK_CHANGE_PORT);
    (void)ask(l, false, from, BK_CHANGE_IP, 4);
    assert_int_equal(l->out.n, 0);
    (void)ask(l, false, from, BOTH, 4);
    assert_int_equal(l->out.n, 0);
    (void)ask(l, false, from, 1, 4); /* bits of no meaning */
    assert_int_equal(l->out.n, 0);
    (void)ask(l, false, from, UINT32_C(0x80000002), 4);
    assert_int_equal(l->out.n, 0);
    (void)ask(l, false, from, BK_CHANGE_PORT, 3);
    assert_int_equal(l->out.n, 0);
    (void)ask(l, false, from, BK_CHANGE_PORT, 8);
    assert_int_equal(l->out.n, 0);
    lab_free(l);

    l = lab_with(0);
    (void)ask(l, false, from, 0, 4); /* not understood where there is no second port */
    assert_int_equal(l->out.n, 0);
    expect(l, from, ask(l, false, from, 0, 0), false, 0);
    bk_server_set_binding(l->server, false, 1);
    (void)ask(l, true, from, 0, 0);
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void both_ports_share_one_limit(void **state)
{
    (void)state;
    struct lab *l = lab_with(BOTH);
    struct bk_addr from = bk_addr_v4(198, 51, 100, 7, 4242);
    bk_server_set_binding(l->server, true, 4);
    size_t answers = 0;
    for (int i = 0; i < 20; i++) {
        (void)ask(l, i % 2 == 0, from, BK_CHANGE_PORT, 4);
        answers += l->out.n;
    }
    assert_int_equal(answers, 4);
    lab_free(l);
}

static void nobody_registers_at_the_second_port(void **state)
{
    (void)state;
    struct lab *l = lab_with(BOTH);
    struct device d = device_new(l, 2133);
    uint8_t buf[256];
    struct bk_slice b = device_write(l, &d, NULL, buf, sizeof(buf));
    lab_datagram_to(l, 0, true, d.addr, b);
    assert_int_equal(l->out.n, 0);
    lab_datagram_to(l, 0, false, d.addr, b);
    assert_int_equal(l->out.n, 1);
    lab_datagram_to(l, BK_LOCAL_STREAM, false, d.addr, b); /* no such address */
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void unknown_changes_are_refused_at_the_start(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct bk_server *s = NULL;
    l->config.changes = 1;
    assert_int_equal(bk_server_new(&l->config, &l->now, &s), BK_E_RANGE);
    assert_null(s);
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_leave_from_where_they_are_asked_to),
        cmocka_unit_test(what_there_is_not_is_not_answered),
        cmocka_unit_test(both_ports_share_one_limit),
        cmocka_unit_test(nobody_registers_at_the_second_port),
        cmocka_unit_test(unknown_changes_are_refused_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
