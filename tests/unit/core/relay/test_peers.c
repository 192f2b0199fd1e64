/* Permissions, peers' connections, ConnectionBind, names, Connect. */
#include "core/relay/relay_lab_parts.h"

/* Names of calls, as lib/names.h makes them. */
#define DIGITS "00000000000000000000000000000"
#define ONE "a01" DIGITS ".call.invalid"
#define TWO "a02" DIGITS ".call.invalid"
#define TWO_SHOUTED "A02" DIGITS ".call.INVALID"
#define THREE "a03" DIGITS ".call.invalid"
#define HERS "b01" DIGITS ".call.invalid"
#define HERS_SHOUTED "B01" DIGITS ".CALL.invalid"
#define HIS "b02" DIGITS ".call.invalid"

static struct bk_addr addr(const char *text)
{
    struct bk_addr a;

    assert_int_equal(bk_addr_parse(bk_slice_text(text), 1, &a), BK_OK);
    return a;
}

static void test_forbidden_peers(void **state)
{
    static const char *const peers[] = {
        "127.0.0.1", "10.1.2.3", "192.168.1.1",     "100.64.0.1", "169.254.1.1",
        "224.0.0.1", "0.0.0.0",  "255.255.255.255", "192.0.2.1",  "202.120.2.30" /* the server */};
    struct lab *l = *state;
    uint64_t conn = lab_allocate(l, "alice", NULL);

    for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++) {
        struct bk_addr peer = addr(peers[i]);
        assert_int_equal(lab_permit(l, conn, &peer), 403);
    }
    struct bk_addr v6 = addr("2001:4860::1");
    assert_int_equal(lab_permit(l, conn, &v6), 443);
}

static void test_forbidden_peers_v6(void **state)
{
    static const char *const peers[] = {"::1",
                                        "fe80::1",
                                        "fd00::1",
                                        "ff02::1",
                                        "::",
                                        "64:ff9b::127.0.0.1",
                                        "64:ff9b::192.168.0.1",
                                        "2002:7f00:1::1",
                                        "64:ff9b::202.120.2.30",
                                        "2001:db8::1"};
    struct lab *l = *state;
    uint64_t conn = lab_accept(l);
    struct bk_turn_answer answer;
    struct lab_ask ask = {
        .request = {.method = BK_METHOD_ALLOCATE, .transport = 6, .family = BK_FAMILY_IPV6}};
    struct bk_relay_event listening = {.type = BK_RELAY_LISTENING};

    assert_int_equal(lab_ask(l, conn, &ask, &answer), -1);
    assert_true(lab_action(l, BK_RELAY_LISTEN, 0)->listen.v6);
    listening.listening.allocation = lab_action(l, BK_RELAY_LISTEN, 0)->listen.allocation;
    listening.listening.relayed = addr("2001:4860::99");
    lab_input(l, &listening);
    for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++) {
        struct bk_addr peer = addr(peers[i]);
        assert_int_equal(lab_permit(l, conn, &peer), 403);
    }
    struct bk_addr good = addr("2001:4860::1"), v4 = lab_device();
    assert_int_equal(lab_permit(l, conn, &good), 0);
    assert_int_equal(lab_permit(l, conn, &v4), 443);
}

/* One that is forbidden, or one too many: none of the request's is permitted. */
static void test_all_or_none(void **state)
{
    struct lab *l = *state;
    uint64_t allocation, conn = lab_allocate(l, "alice", &allocation);
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_CREATE_PERMISSION, .n_peers = 2}};
    uint32_t id;

    ask.request.peers[0] = lab_device();
    ask.request.peers[1] = addr("10.0.0.1");
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 403);
    assert_int_equal(lab_peer(l, allocation, &ask.request.peers[0], &id), 0);
    ask.request.n_peers = BK_RELAY_PERMISSIONS_MAX;
    for (uint8_t i = 0; i < BK_RELAY_PERMISSIONS_MAX; i++) {
        ask.request.peers[i] = bk_addr_v4(5, 5, 5, i, 0);
    }
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 0);
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 0); /* the same again */
    struct bk_addr more = lab_device();
    assert_int_equal(lab_permit(l, conn, &more), 508);
    lab_pass(l, BK_TURN_PERMISSION_S);
    assert_int_equal(lab_permit(l, conn, &more), 0);
}

static void test_permission_first(void **state)
{
    struct lab *l = *state;
    uint64_t allocation, conn = lab_allocate(l, "alice", &allocation);
    struct bk_addr device = lab_device(), other_port = device, other = addr("4.4.4.4");
    uint32_t id;

    assert_int_equal(lab_peer(l, allocation, &device, &id), 0);
    assert_int_equal(lab_permit(l, conn, &device), 0);
    assert_int_equal(lab_peer(l, allocation, &other, &id), 0);
    other_port.port = 1;
    assert_true(lab_peer(l, allocation, &other_port, &id) != 0);
    assert_int_equal(lab_action(l, BK_RELAY_SEND, 0)->send.conn, conn);
    lab_pass(l, BK_TURN_PERMISSION_S - 1);
    assert_true(lab_peer(l, allocation, &device, &id) != 0);
    lab_pass(l, 1);
    assert_int_equal(lab_peer(l, allocation, &device, &id), 0);
    assert_int_equal(lab_peer(l, allocation + 1, &device, &id), 0);
}

static void test_bind(void **state)
{
    struct lab *l = *state;
    uint64_t allocation, conn = lab_allocate(l, "alice", &allocation);
    struct bk_addr device = lab_device();
    uint32_t id = 0;

    assert_int_equal(lab_permit(l, conn, &device), 0);
    uint64_t peer = lab_peer(l, allocation, &device, &id);
    assert_int_equal(lab_bind(l, conn, "alice", id), 400); /* not on the control connection */
    assert_int_equal(lab_bind(l, lab_accept(l), "bob", id), 400);
    assert_int_equal(lab_bind(l, lab_accept(l), "alice", id + 1), 400);
    uint64_t data = lab_accept(l);
    assert_int_equal(lab_bind(l, data, "alice", id), 0);
    /* The answer goes out before the peer's bytes. */
    assert_int_equal(l->out.actions[0].type, BK_RELAY_SEND);
    assert_int_equal(l->out.actions[1].type, BK_RELAY_JOIN);
    assert_int_equal(l->out.actions[1].join.client, data);
    assert_int_equal(l->out.actions[1].join.peer, peer);
    assert_int_equal(l->out.actions[1].join.allocation, allocation);
    assert_int_equal(lab_bind(l, lab_accept(l), "alice", id), 400); /* a second time */
    /* What is joined is not for us to read, nor to time. */
    lab_pass(l, BK_TURN_BIND_S);
    for (size_t i = 0; i < l->out.n; i++) {
        assert_true(l->out.actions[i].type != BK_RELAY_CLOSE ||
                    (l->out.actions[i].close.conn != data && l->out.actions[i].close.conn != peer));
    }
    lab_ask_raw(l, data, bk_slice_text("GET / HTTP/1.0\r\n\r\n"));
    assert_int_equal(l->out.n, 0);
    struct bk_relay_event closed = {.type = BK_RELAY_CLOSED, .closed.conn = data};
    lab_input(l, &closed);
    closed.closed.conn = peer;
    lab_input(l, &closed);
    assert_int_equal(l->out.n, 0);
}

static void test_unbound(void **state)
{
    struct lab *l = *state;
    uint64_t allocation, conn = lab_allocate(l, "alice", &allocation);
    struct bk_addr device = lab_device();
    uint32_t id = 0, before = 0;

    assert_int_equal(lab_permit(l, conn, &device), 0);
    for (int i = 0; i < BK_RELAY_PENDING_MAX; i++) {
        assert_true(lab_peer(l, allocation, &device, &id) != 0);
        assert_int_not_equal(id, before);
        before = id;
    }
    assert_int_equal(lab_peer(l, allocation, &device, &before), 0);
    lab_pass(l, BK_TURN_BIND_S);
    assert_int_equal(lab_count(l, BK_RELAY_CLOSE), BK_RELAY_PENDING_MAX);
    assert_true(lab_action(l, BK_RELAY_CLOSE, 0)->close.reset);
    assert_int_equal(lab_bind(l, lab_accept(l), "alice", id), 400);
    assert_true(lab_peer(l, allocation, &device, &id) != 0);
}

static void test_names(void **state)
{
    struct lab *l = *state;
    struct bk_slice name = bk_slice_text("c0ffee00c0ffee00c0ffee00c0ffee00.call.invalid");
    uint64_t allocation = 0, conn;
    struct bk_relay_event named = {.type = BK_RELAY_NAMED};
    struct bk_stun m;
    struct bk_turn_attempt attempt;

    assert_false(bk_relay_core_knows(l->core, name));
    lab_server_name = "C0ffee00c0ffee00c0ffee00c0ffee00.call.invalid";
    conn = lab_allocate(l, "alice", &allocation);
    lab_server_name = NULL;
    assert_true(bk_relay_core_knows(l->core, name));
    named.named.conn = 777;
    named.named.from = lab_device();
    named.named.name = name;
    lab_input(l, &named); /* without a permission: who knows the name may */
    assert_int_equal(lab_action(l, BK_RELAY_SEND, 0)->send.conn, conn);
    assert_int_equal(bk_stun_read(lab_action(l, BK_RELAY_SEND, 0)->send.bytes, &m), BK_OK);
    assert_int_equal(bk_turn_attempt_read(&m, &attempt), BK_OK);
    assert_int_equal(lab_bind(l, lab_accept(l), "alice", attempt.connection_id), 0);
    /* Nobody else takes the name away; its owner's newest has it. */
    lab_server_name = "c0ffee00c0ffee00c0ffee00c0ffee00.call.invalid";
    (void)lab_allocate(l, "bob", NULL);
    lab_input(l, &named);
    assert_int_equal(lab_action(l, BK_RELAY_SEND, 0)->send.conn, conn);
    named.named.conn = 778;
    uint64_t newer = lab_allocate(l, "alice", NULL);
    lab_server_name = NULL;
    lab_input(l, &named);
    assert_int_equal(lab_action(l, BK_RELAY_SEND, 0)->send.conn, newer);
    struct bk_relay_event closed = {.type = BK_RELAY_CLOSED, .closed.conn = newer};
    lab_input(l, &closed);
    assert_false(bk_relay_core_knows(l->core, name));
    named.named.conn = 779;
    lab_input(l, &named);
    assert_int_equal(lab_action(l, BK_RELAY_CLOSE, 0)->close.conn, 779);
}

/* What a Refresh for that name answers. */
static int rename_to(struct lab *l, uint64_t conn, const char *user, const char *name)
{
    struct bk_turn_answer answer;
    struct lab_ask ask = {
        .request = {.method = BK_METHOD_REFRESH, .server_name = bk_slice_text(name)}, .user = user};

    return lab_ask(l, conn, &ask, &answer);
}

/* Somebody comes by that name: to whose connection word of it goes; 0: he is reset. */
static uint64_t come_by(struct lab *l, const char *name)
{
    struct bk_relay_event named = {.type = BK_RELAY_NAMED};

    named.named.conn = ++l->next_conn;
    named.named.from = lab_device();
    named.named.name = bk_slice_text(name);
    struct bk_stun m;
    struct bk_turn_attempt attempt;
    lab_input(l, &named);
    if (lab_count(l, BK_RELAY_CLOSE) > 0) {
        assert_true(lab_action(l, BK_RELAY_CLOSE, 0)->close.reset);
        return 0;
    }
    assert_int_equal(bk_stun_read(lab_action(l, BK_RELAY_SEND, 0)->send.bytes, &m), BK_OK);
    assert_int_equal(bk_turn_attempt_read(&m, &attempt), BK_OK);
    assert_true(attempt.server_name.n == named.named.name.n); /* so that the client knows */
    return lab_action(l, BK_RELAY_SEND, 0)->send.conn;
}

/* A call's name is known later than its relayed address, and each sealing has another. */
static void test_names_by_refresh(void **state)
{
    struct lab *l = *state;
    uint64_t first = lab_allocate(l, "alice", NULL), second = lab_allocate(l, "alice", NULL);

    assert_int_equal(come_by(l, ONE), 0); /* too early */
    assert_int_equal(rename_to(l, first, "alice", ONE), 0);
    assert_int_equal(rename_to(l, second, "alice", TWO), 0);
    assert_int_equal(come_by(l, ONE), first);
    assert_int_equal(come_by(l, TWO_SHOUTED), second);
    assert_int_equal(rename_to(l, first, "alice", THREE), 0);
    assert_int_equal(come_by(l, THREE), first);
    assert_int_equal(come_by(l, ONE), 0); /* one name at a time */
    assert_int_equal(rename_to(l, first, "alice", ""), 0);
    assert_int_equal(come_by(l, THREE), first); /* an ordinary Refresh changes none */
    assert_int_equal(come_by(l, TWO), second);
    /* More names than there is room for at a time, one after the other. */
    for (int i = 0; i < 1000; i++) {
        char name[] = "00000000000000000000000000000000.call.invalid";
        name[0] = (char)('0' + i / 100);
        name[1] = (char)('0' + i / 10 % 10);
        name[2] = (char)('0' + i % 10);
        if (i % 100 == 0) {
            lab_pass(l, 10); /* the limit on messages */
        }
        assert_int_equal(rename_to(l, first, "alice", name), 0);
        assert_int_equal(bk_relay_core_knows(l->core, bk_slice_text(name)), true);
    }
    struct bk_relay_event closed = {.type = BK_RELAY_CLOSED, .closed.conn = first};
    lab_input(l, &closed);
    assert_int_equal(come_by(l, "99900000000000000000000000000000.call.invalid"), 0);
}

/* Attack: another user, who has seen the name of a call on the wire, gives it to an allocation of his own. Expectation:
 * it stays with whose it is; he is answered as if he had got it, and keeps what he had; when it is free he may have it. */
static void test_nobody_takes_the_name_of_a_call(void **state)
{
    struct lab *l = *state;
    uint64_t alice = lab_allocate(l, "alice", NULL), bob = lab_allocate(l, "bob", NULL);

    assert_int_equal(rename_to(l, alice, "alice", HERS), 0);
    assert_int_equal(rename_to(l, bob, "bob", HIS), 0);
    assert_int_equal(rename_to(l, bob, "bob", HERS), 0);
    assert_int_equal(rename_to(l, bob, "bob", HERS_SHOUTED), 0);
    assert_int_equal(come_by(l, HERS), alice);
    assert_int_equal(come_by(l, HIS), bob);
    assert_int_equal(rename_to(l, alice, "bob", HIS), 441); /* on her connection */
    struct bk_relay_event closed = {.type = BK_RELAY_CLOSED, .closed.conn = bob};
    lab_input(l, &closed);
    assert_int_equal(come_by(l, HERS), alice); /* his end frees nothing of hers */
    closed.closed.conn = alice;
    lab_input(l, &closed);
    assert_int_equal(come_by(l, HERS), 0);
    bob = lab_allocate(l, "bob", NULL);
    assert_int_equal(rename_to(l, bob, "bob", HERS), 0);
    assert_int_equal(come_by(l, HERS), bob);
}

static void test_connect_is_off(void **state)
{
    struct lab *l = *state;
    uint64_t conn = lab_allocate(l, "alice", NULL);
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_TURN_CONNECT, .n_peers = 1}};

    ask.request.peers[0] = lab_device();
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 403);
    assert_int_equal(lab_count(l, BK_RELAY_DIAL), 0);
}

static void test_connect(void **state)
{
    struct lab *l = *state;
    struct bk_relay_core_config config = lab_config(l);
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_TURN_CONNECT, .n_peers = 1}};
    struct bk_relay_event dialled = {.type = BK_RELAY_DIALLED};
    uint64_t allocation, conn;
    struct bk_stun m;

    lab_stop(l);
    config.allow_connect = true;
    config.first_port = 50000;
    config.last_port = 50009;
    lab_start(l, &config);
    conn = lab_allocate(l, "alice", &allocation);
    ask.request.peers[0] = addr("127.0.0.1:80");
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 403);
    ask.request.peers[0] = lab_local();
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 403);
    ask.request.peers[0] = lab_device();
    assert_int_equal(lab_ask(l, conn, &ask, &answer), -1);
    dialled.dialled.allocation = allocation;
    dialled.dialled.connection_id = lab_action(l, BK_RELAY_DIAL, 0)->dial.connection_id;
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 508); /* one at a time */
    lab_input(l, &dialled);
    uint16_t code = 0;
    assert_int_equal(bk_stun_read(lab_action(l, BK_RELAY_SEND, 0)->send.bytes, &m), BK_OK);
    assert_int_equal(bk_error_read(&m, &code), BK_OK);
    assert_int_equal(code, 447);
    ask.request.peers[0].port = 81;
    assert_int_equal(lab_ask(l, conn, &ask, &answer), -1);
    dialled.dialled.connection_id = lab_action(l, BK_RELAY_DIAL, 0)->dial.connection_id;
    dialled.dialled.connected = true;
    dialled.dialled.conn = 555;
    lab_input(l, &dialled);
    assert_int_equal(bk_stun_read(lab_action(l, BK_RELAY_SEND, 0)->send.bytes, &m), BK_OK);
    assert_int_equal(m.cls, BK_STUN_SUCCESS);
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 446);
    assert_int_equal(lab_bind(l, lab_accept(l), "alice", dialled.dialled.connection_id), 0);
    assert_int_equal(lab_action(l, BK_RELAY_JOIN, 0)->join.peer, 555);
    ask.request.peers[0] = lab_local();
    ask.request.peers[0].port = 50005; /* another's relayed address */
    assert_int_equal(lab_ask(l, conn, &ask, &answer), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST(test_forbidden_peers),
        LAB_TEST(test_forbidden_peers_v6),
        LAB_TEST(test_all_or_none),
        LAB_TEST(test_permission_first),
        LAB_TEST(test_bind),
        LAB_TEST(test_unbound),
        LAB_TEST(test_names),
        LAB_TEST(test_names_by_refresh),
        LAB_TEST(test_nobody_takes_the_name_of_a_call),
        LAB_TEST(test_connect_is_off),
        LAB_TEST(test_connect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
