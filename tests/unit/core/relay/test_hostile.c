/* Attacks on the relay by its own users: who may log in, and means harm to the server or to other users. */
#include "core/relay/relay_lab_parts.h"
#include "wire/alpn.h"

/* As lib/names.h makes them. */
#define ONE "0123456789abcdef0123456789abcdef" BK_CALL_NAME_SUFFIX
#define TWO "fedcba9876543210fedcba9876543210" BK_CALL_NAME_SUFFIX

static int refresh(struct lab *l, uint64_t conn, const char *user, const char *name)
{
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_REFRESH}, .user = user};

    ask.request.server_name = bk_slice_text(name);
    return lab_ask(l, conn, &ask, &answer);
}

static int permit(struct lab *l, uint64_t conn, const char *user)
{
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_CREATE_PERMISSION, .n_peers = 1},
                          .user = user};

    ask.request.peers[0] = lab_device();
    return lab_ask(l, conn, &ask, &answer);
}

/* Attack: Allocate or Refresh with the server's own name, so that the connections of all devices and users, which name
 * it, are led to the attacker. Expected: only a call's name is ever an allocation's. */
static void test_server_name_of_the_server_itself_is_nobodys(void **state)
{
    static const char *const names[] = {
        "beckon.example",
        "localhost",
        "call.invalid",
        BK_CALL_NAME_SUFFIX,
        "x" BK_CALL_NAME_SUFFIX,
        "beckon.example" BK_CALL_NAME_SUFFIX,
        ONE ".example",
        "0123456789abcdef0123456789abcdeg" BK_CALL_NAME_SUFFIX, /* no digit */
        "0123456789abcdef0123456789abcde" BK_CALL_NAME_SUFFIX,  /* one too few */
        "00123456789abcdef0123456789abcdef" BK_CALL_NAME_SUFFIX,
        "0123456789abcdef.123456789abcdef" BK_CALL_NAME_SUFFIX,
    };
    struct lab *l = *state;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct bk_relay_event closed = {.type = BK_RELAY_CLOSED};

        lab_server_name = names[i];
        closed.closed.conn = lab_allocate(l, "mallory", NULL);
        assert_false(bk_relay_core_knows(l->core, bk_slice_text(names[i])));
        assert_int_equal(refresh(l, closed.closed.conn, "mallory", names[i]), 0);
        assert_false(bk_relay_core_knows(l->core, bk_slice_text(names[i])));
        lab_input(l, &closed);
    }
    lab_server_name = ONE;
    (void)lab_allocate(l, "alice", NULL);
    assert_true(bk_relay_core_knows(l->core, bk_slice_text(ONE)));
    assert_true(bk_relay_core_knows(
        l->core, bk_slice_text("0123456789ABCDEF0123456789abcdef.CALL.invalid")));
}

/* Attack: a user who has seen the name of another's call (it is in the clear) claims it, before, after and in the
 * place of his own. Expected: it stays with who had it first, and his own claim costs him no name of his own. */
static void test_server_name_of_anothers_call_is_not_taken_away(void **state)
{
    struct lab *l = *state;
    struct bk_relay_event named = {.type = BK_RELAY_NAMED};
    uint64_t alice, mallory;

    lab_server_name = ONE;
    alice = lab_allocate(l, "alice", NULL);
    lab_server_name = TWO;
    mallory = lab_allocate(l, "mallory", NULL);
    assert_int_equal(refresh(l, mallory, "mallory", ONE), 0);
    named.named.conn = 900;
    named.named.from = lab_device();
    named.named.name = bk_slice_text(ONE);
    lab_input(l, &named);
    assert_int_equal(lab_action(l, BK_RELAY_SEND, 0)->send.conn, alice);
    named.named.conn = 901;
    named.named.name = bk_slice_text(TWO);
    lab_input(l, &named);
    assert_int_equal(lab_action(l, BK_RELAY_SEND, 0)->send.conn, mallory);
}

/* Attack: a revoked user who asks for a Refresh at the moment when his allocations are to end. Expected: refused, and
 * they end all the same. */
static void test_revoked_user_refreshes_nothing(void **state)
{
    struct lab *l = *state;
    uint64_t conn = lab_allocate(l, "mallory", NULL);
    struct bk_relay_event event = {.type = BK_RELAY_END_USER};

    event.end_user.user = bk_slice_text("mallory");
    lab_input(l, &event);
    assert_int_equal(refresh(l, conn, "mallory", ""), BK_CODE_ALLOCATION_MISMATCH);
    assert_int_equal(permit(l, conn, "mallory"), BK_CODE_ALLOCATION_MISMATCH);
    lab_pass(l, 0);
    assert_int_equal(lab_action(l, BK_RELAY_END, 0)->end.how, BK_RELAY_REVOKED);
    assert_int_equal(bk_relay_core_allocations(l->core), 0);
}

/* Attack: one user lets peers of his own come to all his allocations without end, to fill the relay. Expected: what one
 * user may hold is limited, and others are served. */
static void test_connections_of_one_user_leave_room_for_others(void **state)
{
    struct lab *l = *state;
    struct bk_relay_core_config config = lab_config(l);
    uint64_t conns[2], allocations[2], alice, other;
    struct bk_addr device = lab_device();
    uint32_t id, held = 0;

    lab_stop(l);
    config.max_connections = 64;
    config.max_user_connections = 16;
    lab_start(l, &config);
    for (size_t i = 0; i < 2; i++) {
        conns[i] = lab_allocate(l, "mallory", &allocations[i]);
        assert_int_equal(permit(l, conns[i], "mallory"), 0);
    }
    for (size_t i = 0; i < 64;
         i++) { /* each is bound: no bound on those that wait stands in the way */
        if (lab_peer(l, allocations[i % 2], &device, &id) != 0) {
            held += lab_bind(l, lab_accept(l), "mallory", id) == 0 ? 2 : 0;
        }
    }
    assert_in_range(held, 12, 16);
    alice = lab_allocate(l, "alice", &other);
    assert_int_equal(lab_permit(l, alice, &device), 0);
    assert_true(lab_peer(l, other, &device, &id) != 0);
    assert_int_equal(lab_bind(l, lab_accept(l), "alice", id), 0);
}

/* Attack: guesses at the CONNECTION-ID of a peer that waits for another user. Expected: refused even with the right one,
 * and the peer still waits for whom it is for. */
static void test_connection_bind_of_anothers_peer_is_refused_whatever_is_guessed(void **state)
{
    struct lab *l = *state;
    uint64_t allocation, conn = lab_allocate(l, "alice", &allocation);
    struct bk_addr device = lab_device();
    uint32_t id = 0;

    assert_int_equal(lab_permit(l, conn, &device), 0);
    assert_true(lab_peer(l, allocation, &device, &id) != 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(lab_bind(l, lab_accept(l), "mallory", id + i), BK_CODE_BAD_REQUEST);
    }
    assert_int_equal(lab_bind(l, lab_accept(l), "alice", id), 0);
    assert_int_equal(lab_bind(l, lab_accept(l), "alice", id), BK_CODE_BAD_REQUEST); /* once */
}

/* Attack: connections that say nothing, half of a message, or only what needs no credentials, by the hundred.
 * Expected: they hold a bounded share, the oldest go first, and none outlives its ten seconds. */
static void test_half_open_connections_hold_a_bounded_share(void **state)
{
    struct lab *l = *state;
    size_t reset = 0;

    (void)lab_allocate(l, "alice", NULL);
    for (size_t i = 0; i < 500; i++) {
        struct bk_turn_answer answer;
        struct lab_ask ask = {.request = {.method = BK_METHOD_REFRESH}, .bare = true};
        uint64_t conn = lab_accept(l);

        reset += lab_count(l, BK_RELAY_CLOSE);
        if (i % 2 == 0) {
            assert_int_equal(lab_ask(l, conn, &ask, &answer), BK_CODE_UNAUTHENTICATED);
        }
    }
    assert_in_range(reset, 500 - LAB_FRESH, 500);
    (void)lab_allocate(l, "bob", NULL);
    lab_pass(l, BK_RELAY_FRESH_S);
    assert_in_range(lab_count(l, BK_RELAY_CLOSE), LAB_FRESH - 1, LAB_FRESH);
    assert_int_equal(bk_relay_core_allocations(l->core), 2);
}

/* Attack: with Connect allowed, a user dials what the server's machine serves, by every spelling; permissions for it as
 * well. Expected: refused, but for relayed addresses. */
static void test_connect_scans_no_port_of_the_server(void **state)
{
    struct lab *l = *state;
    struct bk_relay_core_config config = lab_config(l);
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_TURN_CONNECT, .n_peers = 1}};
    static const uint16_t ports[] = {1, 22, 443, 1200, 1201, 1300, 49999, 50010};
    const struct bk_addr never[] = {bk_addr_v4(127, 0, 0, 1, 50000), bk_addr_v4(10, 0, 0, 1, 50000),
                                    bk_addr_v4(169, 254, 169, 254, 50000),
                                    bk_addr_v4(0, 0, 0, 0, 50000), bk_addr_v4(224, 0, 0, 1, 50000)};

    lab_stop(l);
    config.allow_connect = true;
    config.first_port = 50000;
    config.last_port = 50009;
    lab_start(l, &config);
    uint64_t conn = lab_allocate(l, "alice", NULL);
    ask.request.peers[0] = lab_local();
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        ask.request.peers[0].port = ports[i];
        assert_int_equal(lab_ask(l, conn, &ask, &answer), BK_CODE_FORBIDDEN);
    }
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
        ask.request.peers[0] = never[i];
        assert_int_equal(lab_ask(l, conn, &ask, &answer), BK_CODE_FORBIDDEN);
        assert_int_equal(lab_permit(l, conn, &never[i]), BK_CODE_FORBIDDEN);
    }
    ask.request.peers[0] = lab_relayed();
    assert_int_equal(lab_ask(l, conn, &ask, &answer), -1);
    assert_int_equal(lab_count(l, BK_RELAY_DIAL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST(test_server_name_of_the_server_itself_is_nobodys),
        LAB_TEST(test_server_name_of_anothers_call_is_not_taken_away),
        LAB_TEST(test_revoked_user_refreshes_nothing),
        LAB_TEST(test_connections_of_one_user_leave_room_for_others),
        LAB_TEST(test_connection_bind_of_anothers_peer_is_refused_whatever_is_guessed),
        LAB_TEST(test_half_open_connections_hold_a_bounded_share),
        LAB_TEST(test_connect_scans_no_port_of_the_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
