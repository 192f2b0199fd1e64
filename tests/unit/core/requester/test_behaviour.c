/* A NAT of every kind, and what is found out about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "core/requester/behaviour.h"
#include "wire/binding.h"

enum { SENT_MAX = 64, FLIGHT_MAX = 64, DELAY_MS = 20 };

enum dependence { INDEPENDENT, ADDRESS, ADDRESS_AND_PORT };

/* The network of one test. */
static struct world {
    struct bk_behaviour_config config;
    bool no_nat, hairpins, udp_blocked, loses_first, preserves_ports;
    enum dependence mapping, filtering;
    bk_time now;
    uint64_t drawn;
    struct {
        enum bk_behaviour_socket socket;
        struct bk_addr to;
    } sent[SENT_MAX]; /* what each socket has sent to */
    size_t n_sent;
    struct {
        bk_time at;
        enum bk_behaviour_socket socket;
        struct bk_addr from;
        size_t n;
        uint8_t bytes[64];
    } flight[FLIGHT_MAX];
    size_t n_flight, sends;
    bool over;
} w;

static struct bk_behaviour b;
static struct bk_behaviour_out out;

static void fill(void *ctx, uint8_t *p, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(++w.drawn * 37);
    }
}

static struct bk_addr local_of(enum bk_behaviour_socket socket)
{
    return bk_addr_v4(192, 168, 1, 11, (uint16_t)(4000 + socket));
}

static struct bk_addr mapped(enum bk_behaviour_socket socket, const struct bk_addr *to)
{
    struct bk_addr a = local_of(socket);
    if (w.no_nat) {
        return a;
    }
    uint16_t port = (uint16_t)(w.preserves_ports ? a.port : 20000 + 100 * socket);
    port = (uint16_t)(port + (w.mapping >= ADDRESS ? to->ip[15] % 7 : 0));
    port = (uint16_t)(port + (w.mapping == ADDRESS_AND_PORT ? to->port % 11 + 10 : 0));
    return bk_addr_v4(4, 17, 168, 2, port);
}

static bool lets_in(enum bk_behaviour_socket socket, const struct bk_addr *from)
{
    for (size_t i = 0; i < w.n_sent; i++) {
        const struct bk_addr *to = &w.sent[i].to;
        if (w.sent[i].socket == socket &&
            (w.no_nat || w.filtering == INDEPENDENT ||
             (bk_addr_same_ip(to, from) && (w.filtering == ADDRESS || to->port == from->port)))) {
            return true;
        }
    }
    return false;
}

static void fly(enum bk_behaviour_socket socket, const struct bk_addr *from, struct bk_slice bytes)
{
    assert_true(w.n_flight < FLIGHT_MAX && bytes.n <= 64);
    w.flight[w.n_flight].at = w.now + DELAY_MS * BK_MS;
    w.flight[w.n_flight].socket = socket;
    w.flight[w.n_flight].from = *from;
    w.flight[w.n_flight].n = bytes.n;
    memcpy(w.flight[w.n_flight].bytes, bytes.p, bytes.n);
    w.n_flight++;
}

/* The server's other address with that difference; the usual one if there is none (then it answers from there). */
static struct bk_addr server_other(uint8_t change)
{
    struct bk_addr usual = w.config.addrs[0], a = usual;
    if ((change & 2) != 0) {
        a.port = 1202;
    }
    if ((change & 4) != 0) {
        a.ip[15] = 7;
    }
    for (size_t i = 0; i < w.config.n_addrs; i++) {
        if (bk_addr_equal(&a, &w.config.addrs[i])) {
            return a;
        }
    }
    return usual;
}

static void to_server(const struct bk_behaviour_action *a)
{
    struct bk_stun m;
    struct bk_slice change = BK_SLICE_EMPTY, answer;
    uint8_t buf[64];
    assert_int_equal(bk_stun_read(a->bytes, &m), BK_OK);
    assert_int_equal(m.method, BK_METHOD_BINDING);
    bool changes = bk_stun_find(&m, BK_ATTR_CHANGE_REQUEST, &change);
    struct bk_addr seen = mapped(a->socket, &a->to);
    struct bk_addr from = changes ? server_other(change.p[3]) : a->to;
    assert_int_equal(bk_binding_response_write(buf, sizeof buf, m.txid, &seen, &answer), BK_OK);
    if (lets_in(a->socket, &from)) {
        fly(a->socket, &from, answer);
    }
}

static void carry_out(void)
{
    for (size_t i = 0; i < out.n; i++) {
        const struct bk_behaviour_action *a = &out.actions[i];
        if (a->type == BK_BEHAVIOUR_OVER) {
            assert_false(w.over);
            w.over = true;
            continue;
        }
        assert_true(w.n_sent < SENT_MAX);
        w.sent[w.n_sent].socket = a->socket;
        w.sent[w.n_sent++].to = a->to;
        if (w.udp_blocked || (w.loses_first && w.sends++ < w.config.n_addrs + 3)) {
            continue;
        }
        struct bk_addr outside = mapped(BK_BEHAVIOUR_MAIN, &w.config.addrs[0]);
        if (!bk_addr_equal(&a->to, &outside)) {
            to_server(a);
        } else if (w.hairpins || w.no_nat) {
            struct bk_addr from = mapped(a->socket, &a->to);
            fly(BK_BEHAVIOUR_MAIN, &from, a->bytes);
        }
    }
}

static const struct bk_behaviour_result *find_out(void)
{
    struct bk_now now = {.mono = w.now};
    const struct bk_behaviour_event start = {.type = BK_BEHAVIOUR_START};
    w.config.rng = (struct bk_random){.fill = fill};
    w.config.local = local_of(BK_BEHAVIOUR_MAIN);
    w.config.addrs[0] = bk_addr_v4(130, 74, 23, 6, 1200);
    w.config.addrs[1] = bk_addr_v4(130, 74, 23, 6, 1202);
    w.config.addrs[2] = bk_addr_v4(130, 74, 23, 7, 1200);
    w.config.addrs[3] = bk_addr_v4(130, 74, 23, 7, 1202);
    bk_behaviour_init(&b, &w.config);
    bk_behaviour_input(&b, &now, &start, &out);
    carry_out();
    for (int steps = 0; !w.over; steps++) {
        assert_true(steps < 1000);
        size_t next = 0;
        for (size_t i = 1; i < w.n_flight; i++) {
            next = w.flight[i].at < w.flight[next].at ? i : next;
        }
        if (w.n_flight > 0 && w.flight[next].at <= bk_behaviour_deadline(&b)) {
            w.now = now.mono = w.flight[next].at;
            struct bk_behaviour_event event = {
                .type = BK_BEHAVIOUR_DATAGRAM,
                .socket = w.flight[next].socket,
                .from = w.flight[next].from,
                .bytes = bk_slice(w.flight[next].bytes, w.flight[next].n)};
            uint8_t copy[64];
            memcpy(copy, event.bytes.p, event.bytes.n);
            event.bytes.p = copy;
            w.flight[next] = w.flight[--w.n_flight];
            bk_behaviour_input(&b, &now, &event, &out);
        } else {
            assert_true(bk_behaviour_deadline(&b) != BK_TIME_NEVER);
            w.now = now.mono = bk_behaviour_deadline(&b);
            bk_behaviour_timer(&b, &now, &out);
        }
        carry_out();
    }
    assert_true(bk_behaviour_deadline(&b) == BK_TIME_NEVER);
    assert_true(w.now <= 6 * BK_SECOND);
    return &b.result;
}

static void begin(size_t n_addrs)
{
    memset(&w, 0, sizeof w);
    w.config.n_addrs = n_addrs;
}

static const enum bk_behaviour_kind full[] = {BK_BEHAVIOUR_ENDPOINT_INDEPENDENT,
                                              BK_BEHAVIOUR_ADDRESS_DEPENDENT,
                                              BK_BEHAVIOUR_ADDRESS_AND_PORT_DEPENDENT};

static void every_nat_with_two_addresses(void **state)
{
    (void)state;
    for (int i = 0; i < 36; i++) {
        begin(4);
        w.mapping = (enum dependence)(i % 3);
        w.filtering = (enum dependence)(i / 3 % 3);
        w.hairpins = i / 9 % 2 == 1;
        w.preserves_ports = i / 18 == 1;
        const struct bk_behaviour_result *r = find_out();
        assert_true(r->udp);
        assert_int_equal(r->mapping, full[w.mapping]);
        assert_int_equal(r->filtering, full[w.filtering]);
        assert_int_equal(r->hairpin, w.hairpins);
        assert_true(r->hairpin_asked);
        assert_int_equal(r->round_trip_ms, DELAY_MS);
        struct bk_addr seen = mapped(BK_BEHAVIOUR_MAIN, &w.config.addrs[0]);
        assert_true(bk_addr_equal(&r->mapped, &seen));
        assert_int_equal(r->port_preserved, w.preserves_ports && w.mapping == INDEPENDENT);
    }
}

static void every_nat_with_two_ports(void **state)
{
    static const enum bk_behaviour_kind one_address[] = {BK_BEHAVIOUR_NOT_PORT_DEPENDENT,
                                                         BK_BEHAVIOUR_NOT_PORT_DEPENDENT,
                                                         BK_BEHAVIOUR_ADDRESS_AND_PORT_DEPENDENT};
    (void)state;
    for (int i = 0; i < 9; i++) {
        begin(2);
        w.mapping = (enum dependence)(i % 3);
        w.filtering = (enum dependence)(i / 3 % 3);
        const struct bk_behaviour_result *r = find_out();
        assert_int_equal(r->mapping, one_address[w.mapping]);
        assert_int_equal(r->filtering, one_address[w.filtering]);
    }
}

static void one_address_tells_little(void **state)
{
    (void)state;
    begin(1);
    const struct bk_behaviour_result *r = find_out();
    assert_true(r->udp);
    assert_int_equal(r->mapping, BK_BEHAVIOUR_UNKNOWN);
    assert_int_equal(r->filtering, BK_BEHAVIOUR_UNKNOWN);
    begin(1);
    w.no_nat = true;
    assert_int_equal(find_out()->mapping, BK_BEHAVIOUR_NO_NAT);
}

static void no_nat_at_all(void **state)
{
    (void)state;
    begin(4);
    w.no_nat = true;
    const struct bk_behaviour_result *r = find_out();
    assert_int_equal(r->mapping, BK_BEHAVIOUR_NO_NAT);
    assert_int_equal(r->filtering, BK_BEHAVIOUR_ENDPOINT_INDEPENDENT);
    assert_true(r->port_preserved);
}

static void udp_that_does_not_get_through(void **state)
{
    (void)state;
    begin(4);
    w.udp_blocked = true;
    const struct bk_behaviour_result *r = find_out();
    assert_false(r->udp);
    assert_int_equal(r->mapping, BK_BEHAVIOUR_UNKNOWN);
    assert_int_equal(r->filtering, BK_BEHAVIOUR_UNKNOWN);
    assert_false(r->hairpin_asked);
}

/* Lost datagrams change nothing but the time that it takes. */
static void the_first_of_each_gets_lost(void **state)
{
    (void)state;
    begin(4);
    w.loses_first = true;
    w.mapping = ADDRESS;
    w.filtering = ADDRESS;
    const struct bk_behaviour_result *r = find_out();
    assert_int_equal(r->mapping, BK_BEHAVIOUR_ADDRESS_DEPENDENT);
    assert_int_equal(r->filtering, BK_BEHAVIOUR_ADDRESS_DEPENDENT);
    assert_int_equal(r->round_trip_ms, 0);
}

/* Answers from elsewhere, to another socket, of another transaction, and noise: none of them is one. */
static void what_is_no_answer(void **state)
{
    struct bk_now now = {0};
    const struct bk_behaviour_event start = {.type = BK_BEHAVIOUR_START};
    struct bk_addr lie = bk_addr_v4(9, 9, 9, 9, 9);
    uint8_t txid[BK_STUN_TXID_BYTES], buf[64];
    struct bk_slice answer;
    struct bk_stun m;
    (void)state;
    begin(2);
    w.udp_blocked = true;
    w.config.rng = (struct bk_random){.fill = fill};
    w.config.addrs[0] = bk_addr_v4(130, 74, 23, 6, 1200);
    w.config.addrs[1] = bk_addr_v4(130, 74, 23, 6, 1202);
    bk_behaviour_init(&b, &w.config);
    bk_behaviour_input(&b, &now, &start, &out);
    assert_int_equal(bk_stun_read(out.actions[0].bytes, &m), BK_OK);
    memcpy(txid, m.txid, sizeof txid);
    for (int i = 0; i < 4; i++) {
        struct bk_behaviour_event event = {.type = BK_BEHAVIOUR_DATAGRAM,
                                           .from = w.config.addrs[i == 0]};
        txid[0] ^= i == 2;
        event.socket = i == 1 ? BK_BEHAVIOUR_QUIET : BK_BEHAVIOUR_MAIN;
        assert_int_equal(bk_binding_response_write(buf, sizeof buf, txid, &lie, &answer), BK_OK);
        event.from = i == 0 ? w.config.addrs[1] : w.config.addrs[0];
        event.bytes = i == 3 ? bk_slice(buf, 19) : answer;
        bk_behaviour_input(&b, &now, &event, &out);
        assert_int_equal(out.n, 0);
    }
    for (int i = 0; i < BK_BEHAVIOUR_TRIES + 1; i++) {
        now.mono = bk_behaviour_deadline(&b);
        bk_behaviour_timer(&b, &now, &out);
    }
    assert_false(b.result.udp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_nat_with_two_addresses),
        cmocka_unit_test(every_nat_with_two_ports),
        cmocka_unit_test(one_address_tells_little),
        cmocka_unit_test(no_nat_at_all),
        cmocka_unit_test(udp_that_does_not_get_through),
        cmocka_unit_test(the_first_of_each_gets_lost),
        cmocka_unit_test(what_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
