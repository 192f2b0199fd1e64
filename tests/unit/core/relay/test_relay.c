/* Allocations: made, refreshed, ended; who may make them; what each refusal is. */
#include "core/relay/relay_lab_parts.h"

static void test_first_request_is_challenged(void **state)
{
    struct lab *l = *state;
    uint64_t conn = lab_accept(l);
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_ALLOCATE, .transport = 6}, .bare = true};

    assert_int_equal(lab_ask(l, conn, &ask, &answer), 401);
    assert_true(bk_slice_equal(answer.realm, bk_slice_text(BK_RELAY_REALM)));
    assert_int_equal(answer.nonce.n, 24);
    assert_int_equal(lab_count(l, BK_RELAY_LISTEN), 0);
}

static void test_allocate(void **state)
{
    struct lab *l = *state;
    uint64_t allocation, conn = lab_allocate(l, "alice", &allocation);
    struct bk_turn_answer answer;
    struct lab_ask again = {.request = {.method = BK_METHOD_ALLOCATE, .transport = 6}};

    assert_true(allocation != 0);
    assert_int_equal(bk_relay_core_allocations(l->core), 1);
    assert_int_equal(lab_ask(l, conn, &again, &answer), 437);
    assert_true(answer.authentic);
}

static void test_allocate_refusals(void **state)
{
    static const struct {
        int code;
        struct lab_ask ask;
    } rows[] = {
        {400, {.request = {.transport = 0}}},
        {442, {.request = {.transport = 17}}},
        {440, {.request = {.transport = 6, .family = 3}}},
        {401, {.request = {.transport = 6}, .password = "wrong"}},
        {401, {.request = {.transport = 6}, .expiry_s = UNIX_S - 1}},
        {401, {.request = {.transport = 6}, .username = "alice"}},
        {401, {.request = {.transport = 6}, .username = "1900000000:"}},
        {401, {.request = {.transport = 6}, .username = "1900000000:Alice!"}},
        {401, {.request = {.transport = 6}, .username = "01900000000:alice"}},
        {401, {.request = {.transport = 6}, .realm = "elsewhere"}},
        {438, {.request = {.transport = 6}, .nonce = "000000000000000000000000"}},
        {438, {.request = {.transport = 6}, .nonce = "short"}},
        {438, {.request = {.transport = 6}, .nonce = "ABCDEF00000000000000000G"}},
        {400, {.request = {.transport = 6}, .nonce = ""}},
    };
    struct lab *l = *state;
    uint64_t conn = lab_accept(l);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct lab_ask ask = rows[i].ask;
        struct bk_turn_answer answer;
        ask.request.method = BK_METHOD_ALLOCATE;
        assert_int_equal(lab_ask(l, conn, &ask, &answer), rows[i].code);
        assert_int_equal(lab_count(l, BK_RELAY_LISTEN), 0);
        if (rows[i].code == 438 || rows[i].code == 401) {
            assert_int_equal(answer.nonce.n, 24);
        }
    }
    assert_int_equal(bk_relay_core_allocations(l->core), 0);
}

/* EVEN-PORT is for datagrams; an attribute that nobody knows is named in the 420. */
static void test_attributes(void **state)
{
    struct lab *l = *state;
    static const struct {
        uint16_t type;
        int code;
    } rows[] = {{BK_ATTR_EVEN_PORT, 400},
                {BK_ATTR_DONT_FRAGMENT, 400},
                {BK_ATTR_RESERVATION_TOKEN, 400},
                {0x7FFF, 420},
                {0x8000, 0}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t conn = lab_accept(l);
        struct bk_turn_answer answer;
        struct bk_stun m;
        struct bk_slice value;
        struct lab_ask ask = {.request = {.method = BK_METHOD_ALLOCATE, .transport = 6}};
        lab_extra_attribute = rows[i].type;
        int code = lab_ask(l, conn, &ask, &answer);
        lab_extra_attribute = 0;
        if (rows[i].code == 0) {
            assert_int_equal(code, -1);
            assert_int_equal(lab_count(l, BK_RELAY_LISTEN), 1);
            continue;
        }
        assert_int_equal(code, rows[i].code);
        if (code == 420) {
            assert_int_equal(bk_stun_read(l->last, &m), BK_OK);
            assert_true(bk_stun_find(&m, BK_ATTR_UNKNOWN_ATTRIBUTES, &value));
            assert_int_equal(value.n, 2);
            assert_memory_equal(value.p, "\x7F\xFF", 2);
        }
    }
}

static void test_lifetimes(void **state)
{
    static const struct {
        bool given;
        uint32_t asked, got;
    } rows[] = {{false, 0, 600}, {true, 1, 600}, {true, 1200, 1200}, {true, UINT32_MAX, 3600}};
    struct lab *l = *state;
    uint64_t conn = lab_allocate(l, "alice", NULL);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_turn_answer answer;
        struct lab_ask ask = {.request = {.method = BK_METHOD_REFRESH,
                                          .has_lifetime = rows[i].given,
                                          .lifetime_s = rows[i].asked}};
        assert_int_equal(lab_ask(l, conn, &ask, &answer), 0);
        assert_int_equal(answer.lifetime_s, rows[i].got);
    }
    lab_pass(l, 3599);
    assert_int_equal(lab_count(l, BK_RELAY_END), 0);
    lab_pass(l, 1);
    assert_int_equal(lab_count(l, BK_RELAY_END), 1);
    assert_int_equal(lab_action(l, BK_RELAY_END, 0)->end.how, BK_RELAY_EXPIRED);
    assert_int_equal(bk_relay_core_allocations(l->core), 0);
    /* Its control connection may begin again, but not linger. */
    lab_pass(l, BK_RELAY_FRESH_S);
    assert_int_equal(lab_action(l, BK_RELAY_CLOSE, 0)->close.conn, conn);
}

static void test_refresh(void **state)
{
    struct lab *l = *state;
    uint64_t allocation, conn = lab_allocate(l, "alice", &allocation);
    struct bk_turn_answer answer;
    struct lab_ask other = {.request = {.method = BK_METHOD_REFRESH}, .user = "bob"};
    struct lab_ask family = {.request = {.method = BK_METHOD_REFRESH, .family = BK_FAMILY_IPV6}};
    struct lab_ask zero = {.request = {.method = BK_METHOD_REFRESH, .has_lifetime = true}};
    struct lab_ask late = {.request = {.method = BK_METHOD_REFRESH}, .expiry_s = UNIX_S - 1};

    assert_int_equal(lab_ask(l, conn, &other, &answer), 441);
    assert_int_equal(lab_ask(l, conn, &family, &answer), 443);
    assert_int_equal(lab_ask(l, conn, &late, &answer), 0); /* a call outlives its credentials */
    assert_int_equal(lab_ask(l, conn, &zero, &answer), 0);
    assert_int_equal(answer.lifetime_s, 0);
    assert_int_equal(lab_action(l, BK_RELAY_END, 0)->end.allocation, allocation);
    assert_int_equal(lab_action(l, BK_RELAY_END, 0)->end.how, BK_RELAY_ENDED);
    assert_int_equal(lab_ask(l, conn, &zero, &answer), 437);
    assert_int_equal(lab_permit(l, conn, &(struct bk_addr){.ip = {0}}), 437);
}

static void test_quotas(void **state)
{
    struct lab *l = *state;
    uint64_t conns[4];
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_ALLOCATE, .transport = 6}};
    struct lab_ask zero = {.request = {.method = BK_METHOD_REFRESH, .has_lifetime = true}};

    conns[0] = lab_allocate(l, "alice", NULL);
    conns[1] = lab_allocate(l, "alice", NULL);
    assert_int_equal(lab_ask(l, lab_accept(l), &ask, &answer), 486);
    conns[2] = lab_allocate(l, "bob", NULL);
    conns[3] = lab_allocate(l, "carol", NULL);
    ask.user = "dave";
    assert_int_equal(lab_ask(l, lab_accept(l), &ask, &answer), 508);
    ask.user = "alice";
    assert_int_equal(lab_ask(l, lab_accept(l), &ask, &answer), 486);
    assert_int_equal(lab_ask(l, conns[0], &zero, &answer), 0);
    conns[0] = lab_allocate(l, "alice", NULL);
    bk_relay_core_set_quotas(l->core, 0, 2);
    ask.user = "dave";
    assert_int_equal(
        lab_ask(l, conns[3], &(struct lab_ask){.request = zero.request, .user = "carol"}, &answer),
        0);
    assert_int_equal(lab_ask(l, lab_accept(l), &ask, &answer), 508);
}

/* The shell finds no port: the client hears why, and nothing is left. */
static void test_no_port(void **state)
{
    struct lab *l = *state;
    uint64_t conn = lab_accept(l);
    struct bk_turn_answer answer;
    struct bk_stun m;
    struct lab_ask ask = {.request = {.method = BK_METHOD_ALLOCATE, .transport = 6}};
    struct bk_relay_event event = {.type = BK_RELAY_LISTENING};

    assert_int_equal(lab_ask(l, conn, &ask, &answer), -1);
    event.listening.allocation = lab_action(l, BK_RELAY_LISTEN, 0)->listen.allocation;
    event.listening.code = BK_CODE_CAPACITY;
    lab_input(l, &event);
    assert_int_equal(bk_stun_read(lab_action(l, BK_RELAY_SEND, 0)->send.bytes, &m), BK_OK);
    uint16_t code = 0;
    assert_int_equal(bk_error_read(&m, &code), BK_OK);
    assert_int_equal(code, 508);
    assert_int_equal(bk_relay_core_allocations(l->core), 0);
}

static void test_control_lost(void **state)
{
    struct lab *l = *state;
    uint64_t allocation, conn = lab_allocate(l, "alice", &allocation), peer;
    struct bk_addr device = lab_device();
    struct bk_relay_event closed = {.type = BK_RELAY_CLOSED};
    uint32_t id;

    assert_int_equal(lab_permit(l, conn, &device), 0);
    peer = lab_peer(l, allocation, &device, &id);
    closed.closed.conn = conn;
    lab_input(l, &closed);
    assert_int_equal(lab_action(l, BK_RELAY_CLOSE, 0)->close.conn, peer);
    assert_true(lab_action(l, BK_RELAY_CLOSE, 0)->close.reset);
    assert_int_equal(lab_action(l, BK_RELAY_END, 0)->end.how, BK_RELAY_LOST);
    assert_int_equal(lab_bind(l, lab_accept(l), "alice", id), 400);
    assert_int_equal(bk_relay_core_deadline(l->core), l->now.mono + BK_RELAY_FRESH_S * BK_SECOND);
}

static void test_end_user(void **state)
{
    struct lab *l = *state;
    uint64_t conns[2] = {lab_allocate(l, "alice", NULL), lab_allocate(l, "alice", NULL)};
    struct bk_relay_event event = {.type = BK_RELAY_END_USER};

    (void)lab_allocate(l, "bob", NULL);
    event.end_user.user = bk_slice_text("alice");
    lab_input(l, &event);
    lab_pass(l, 0);
    assert_int_equal(lab_count(l, BK_RELAY_END), 2);
    assert_int_equal(lab_action(l, BK_RELAY_END, 0)->end.how, BK_RELAY_REVOKED);
    assert_int_equal(lab_count(l, BK_RELAY_CLOSE), 2);
    (void)conns;
    assert_int_equal(bk_relay_core_allocations(l->core), 1);
}

/* Connections that say nothing: the oldest makes room, and all go in time. */
static void test_silence(void **state)
{
    struct lab *l = *state;
    uint64_t first = lab_accept(l);

    for (int i = 1; i < LAB_FRESH; i++) {
        (void)lab_accept(l);
        assert_int_equal(l->out.n, 0);
    }
    (void)lab_accept(l);
    assert_int_equal(lab_action(l, BK_RELAY_CLOSE, 0)->close.conn, first);
    lab_pass(l, BK_RELAY_FRESH_S);
    assert_int_equal(lab_count(l, BK_RELAY_CLOSE), LAB_FRESH);
    assert_int_equal(bk_relay_core_deadline(l->core), BK_TIME_NEVER);
}

static void test_nonces_age(void **state)
{
    struct lab *l = *state;
    uint64_t conn = lab_allocate(l, "alice", NULL);
    struct bk_turn_answer answer;
    struct lab_ask ask = {
        .request = {.method = BK_METHOD_REFRESH, .has_lifetime = true, .lifetime_s = 3600}};

    assert_int_equal(lab_ask(l, conn, &ask, &answer), 0);
    lab_pass(l, BK_RELAY_NONCE_S);
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 0);
    lab_pass(l, 1);
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 438);
    assert_int_equal(lab_ask(l, conn, &ask, &answer), 0); /* with the new one */
}

static void test_hostile_bytes(void **state)
{
    struct lab *l = *state;
    static const uint8_t garbage[40] = {0, 3, 0, 20, 0x21, 0x12, 0xA4, 0x42};
    uint64_t conn = lab_allocate(l, "alice", NULL);
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_REFRESH}};
    bool closed = false;

    /* An attribute that ends outside: no STUN; its control connection goes, and with it the allocation. */
    lab_ask_raw(l, conn, bk_slice(garbage, 21));
    assert_int_equal(lab_count(l, BK_RELAY_CLOSE), 1);
    assert_int_equal(lab_count(l, BK_RELAY_END), 1);
    conn = lab_allocate(l, "alice", NULL);
    for (int i = 0; i < 5 * BK_RELAY_MESSAGES_PER_S && !closed; i++) {
        closed = lab_ask(l, conn, &ask, &answer) != 0;
    }
    assert_true(closed);
    assert_int_equal(lab_action(l, BK_RELAY_CLOSE, 0)->close.conn, conn);
    lab_ask_raw(l, conn, bk_slice(garbage, 20));
    assert_int_equal(l->out.n, 0);
}

static void test_binding(void **state)
{
    struct lab *l = *state;
    uint64_t conn = lab_accept(l);
    uint8_t buf[64], txid[BK_STUN_TXID_BYTES] = {7};
    struct bk_slice bytes;
    struct bk_stun m;
    struct bk_addr mapped, expected = lab_client();

    assert_int_equal(bk_binding_request_write(buf, sizeof buf, txid, &bytes), BK_OK);
    lab_ask_raw(l, conn, bytes);
    assert_int_equal(bk_stun_read(lab_action(l, BK_RELAY_SEND, 0)->send.bytes, &m), BK_OK);
    assert_int_equal(bk_binding_response_read(&m, &mapped), BK_OK);
    assert_true(bk_addr_equal(&mapped, &expected));
}

/* Whatever allocation of memory fails, making the core fails in order. */
struct failing {
    int left;
};

static void *failing_get(void *ctx, size_t n)
{
    struct failing *f = ctx;
    return f->left-- > 0 ? calloc(1, n) : NULL;
}

static void failing_put(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

static void test_no_memory(void **state)
{
    struct lab *l = *state;
    struct bk_relay_core_config config = lab_config(l);
    struct bk_relay_core *core = NULL;
    enum bk_err err = BK_E_NOMEM;

    for (int i = 0; i < 64 && err == BK_E_NOMEM; i++) {
        struct failing f = {.left = i};
        config.alloc = (struct bk_alloc){.ctx = &f, .get = failing_get, .put = failing_put};
        err = bk_relay_core_new(&config, &core);
        assert_true(err == BK_OK || core == NULL);
        if (err == BK_OK) {
            bk_relay_core_free(core);
            assert_true(i > 4);
        }
    }
    assert_int_equal(err, BK_OK);
    config.secret = BK_SLICE_EMPTY;
    assert_int_equal(bk_relay_core_new(&config, &core), BK_E_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST(test_first_request_is_challenged),
        LAB_TEST(test_allocate),
        LAB_TEST(test_allocate_refusals),
        LAB_TEST(test_attributes),
        LAB_TEST(test_lifetimes),
        LAB_TEST(test_refresh),
        LAB_TEST(test_quotas),
        LAB_TEST(test_no_port),
        LAB_TEST(test_control_lost),
        LAB_TEST(test_end_user),
        LAB_TEST(test_silence),
        LAB_TEST(test_nonces_age),
        LAB_TEST(test_hostile_bytes),
        LAB_TEST(test_binding),
        LAB_TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
