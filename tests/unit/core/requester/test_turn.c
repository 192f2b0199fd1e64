/* The TURN client's core against a relay of the test's own, which answers in order or says whatever it likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/requester/turn.h"

enum { PEER_PORT = 4000, LIFETIME_S = 600 };

/* Neither is the real one; both depend on every byte. */
static void mix(struct bk_slice key, const struct bk_slice *parts, size_t n_parts, uint8_t *out,
                size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < key.n; i++) {
        h = (h ^ key.p[i]) * UINT64_C(0x100000001b3);
    }
    for (size_t i = 0; i < n_parts; i++) {
        for (size_t j = 0; j < parts[i].n; j++) {
            h = (h ^ parts[i].p[j]) * UINT64_C(0x100000001b3);
        }
    }
    for (size_t i = 0; i < n; i++) {
        h = h * UINT64_C(6364136223846793005) + 1;
        out[i] = (uint8_t)(h >> 56);
    }
}

static void md5(void *ctx, const struct bk_slice *parts, size_t n, uint8_t out[BK_TURN_KEY_BYTES])
{
    (void)ctx;
    mix(BK_SLICE_EMPTY, parts, n, out, BK_TURN_KEY_BYTES);
}

static void sha1(void *ctx, struct bk_slice key, const struct bk_slice *parts, size_t n,
                 uint8_t out[BK_HMAC_SHA1_BYTES])
{
    (void)ctx;
    mix(key, parts, n, out, BK_HMAC_SHA1_BYTES);
}

static void fill(void *ctx, uint8_t *out, size_t n)
{
    uint64_t *counter = ctx;
    memset(out, 0, n);
    (*counter)++;
    memcpy(out, counter, n < sizeof *counter ? n : sizeof *counter);
}

static const struct bk_turn_ops ops = {NULL, md5, sha1};

static struct {
    uint64_t counter;
    struct bk_turn_client t;
    struct bk_turn_client_out out;
    struct bk_now now;
    uint8_t key[BK_TURN_KEY_BYTES];
    /* The last request, as the relay read it. */
    struct bk_stun m;
    struct bk_turn_request request;
    uint8_t sent[BK_TURN_MESSAGE_MAX_BYTES];
    uint8_t buf[BK_TURN_MESSAGE_MAX_BYTES];
} w;

static struct bk_addr peer(uint8_t last)
{
    return bk_addr_v4(4, 2, 99, last, PEER_PORT);
}

static const struct bk_turn_client_action *only(enum bk_turn_client_action_type type)
{
    assert_int_equal(w.out.n, 1);
    assert_int_equal(w.out.actions[0].type, type);
    return &w.out.actions[0];
}

/* The one request that is out (`type`: how), read. */
static void take_request(enum bk_turn_client_action_type type, uint16_t method)
{
    const struct bk_turn_client_action *a = NULL;
    for (size_t i = 0; i < w.out.n; i++) {
        if (w.out.actions[i].type == type) {
            assert_null(a);
            a = &w.out.actions[i];
        }
    }
    if (a == NULL) {
        fail_msg("no request is out");
        return;
    }
    memcpy(w.sent, a->bytes.p, a->bytes.n);
    assert_int_equal(bk_stun_read(bk_slice(w.sent, a->bytes.n), &w.m), BK_OK);
    assert_int_equal(w.m.method, method);
    assert_int_equal(bk_turn_request_read(&w.m, &w.request), BK_OK);
}

static void assert_signed(const char *nonce)
{
    assert_true(bk_slice_equal(w.request.username, bk_slice_text("100:alice")));
    assert_true(bk_slice_equal(w.request.realm, bk_slice_text("relay")));
    assert_true(bk_slice_equal(w.request.nonce, bk_slice_text(nonce)));
    assert_int_equal(bk_turn_check(&w.m, &ops, w.key), BK_OK);
}

static void input(enum bk_turn_client_event_type type, struct bk_slice bytes, size_t bind)
{
    const struct bk_turn_client_event event = {.type = type, .bytes = bytes, .bind = bind};
    bk_turn_client_input(&w.t, &w.now, &event, &w.out);
}

static struct bk_slice answer_bytes(uint16_t code, const char *nonce, const uint8_t *key)
{
    const struct bk_turn_answer answer = {
        .method = w.m.method,
        .code = code,
        .realm = bk_slice_text(code == 401 || code == 438 ? "relay" : ""),
        .nonce = bk_slice_text(code == 401 || code == 438 ? nonce : ""),
        .relayed = bk_addr_v4(4, 17, 168, 6, 50000),
        .mapped = bk_addr_v4(4, 18, 1, 1, 1500),
        .lifetime_s = LIFETIME_S,
    };
    struct bk_slice bytes;
    assert_int_equal(
        bk_turn_answer_write(w.buf, sizeof w.buf, w.m.txid, &answer, &ops, key, &bytes), BK_OK);
    return bytes;
}

static void answer(uint16_t code, const char *nonce)
{
    input(BK_TURN_CLIENT_BYTES, answer_bytes(code, nonce, code == 0 ? w.key : NULL), 0);
}

static struct bk_slice come_by; /* the server name that an attempt bears */

static void attempt(uint32_t id, const struct bk_addr *from)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    const struct bk_turn_attempt a = {id, *from, come_by};
    struct bk_slice bytes;
    assert_int_equal(bk_turn_attempt_write(w.buf, sizeof w.buf, txid, &a, &bytes), BK_OK);
    input(BK_TURN_CLIENT_BYTES, bytes, 0);
}

static void permit(const struct bk_addr *addr)
{
    const struct bk_turn_client_event event = {.type = BK_TURN_CLIENT_PERMIT, .addr = *addr};
    bk_turn_client_input(&w.t, &w.now, &event, &w.out);
}

static void assert_failed(const char *why)
{
    assert_true(w.out.n > 0);
    assert_int_equal(w.out.actions[w.out.n - 1].type, BK_TURN_CLIENT_FAILED);
    assert_string_equal(w.out.actions[w.out.n - 1].why, why);
    assert_true(bk_turn_client_deadline(&w.t) == BK_TIME_NEVER);
    answer(0, "");
    assert_int_equal(w.out.n, 0); /* nothing any more */
}

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    come_by = BK_SLICE_EMPTY;
    w.now.mono = 1000 * BK_SECOND;
    const struct bk_addr first = peer(1);
    const struct bk_turn_client_config config = {
        .rng = {&w.counter, fill},
        .ops = ops,
        .family = BK_FAMILY_IPV4,
        .username = bk_slice_text("100:alice"),
        .password = bk_slice_text("secret"),
        .server_name = bk_slice_text("call.example"),
        .permits = &first,
        .n_permits = 1,
    };
    assert_int_equal(bk_turn_client_init(&w.t, &config), BK_OK);
    bk_turn_key(&ops, config.username, bk_slice_text("relay"), config.password, w.key);
    input(BK_TURN_CLIENT_START, BK_SLICE_EMPTY, 0);
    assert_int_equal(w.out.n, 0);
    input(BK_TURN_CLIENT_OPEN, BK_SLICE_EMPTY, 0);
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    return 0;
}

static void allocate(void)
{
    answer(401, "n1");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    answer(0, "");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_CREATE_PERMISSION);
}

static void up(void)
{
    allocate();
    answer(0, "");
    only(BK_TURN_CLIENT_READY);
}

static void pass_to_deadline(void)
{
    w.now.mono = bk_turn_client_deadline(&w.t);
    assert_true(w.now.mono != BK_TIME_NEVER);
    bk_turn_client_timer(&w.t, &w.now, &w.out);
}

/* ---- Tests ---- */

static void an_address_comes_about(void **state)
{
    (void)state;
    const struct bk_addr relayed = bk_addr_v4(4, 17, 168, 6, 50000);
    assert_false(w.request.has_mac);
    assert_int_equal(w.request.transport, BK_TURN_TRANSPORT_TCP);
    assert_int_equal(w.request.family, 0);
    assert_true(bk_slice_equal(w.request.server_name, bk_slice_text("call.example")));
    answer(401, "n1");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    assert_signed("n1");
    answer(0, "");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_CREATE_PERMISSION);
    assert_signed("n1");
    struct bk_addr first = peer(1);
    assert_int_equal(w.request.n_peers, 1);
    assert_true(bk_addr_same_ip(&w.request.peers[0], &first));
    answer(0, "");
    assert_true(bk_addr_equal(&only(BK_TURN_CLIENT_READY)->addr, &relayed));
}

static void bytes_may_come_in_any_pieces(void **state)
{
    (void)state;
    struct bk_slice bytes = answer_bytes(401, "n1", NULL);
    uint8_t copy[512];
    memcpy(copy, bytes.p, bytes.n);
    for (size_t i = 0; i < bytes.n; i++) {
        input(BK_TURN_CLIENT_BYTES, bk_slice(copy + i, 1), 0);
    }
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    assert_signed("n1");
}

static void stale_nonces_are_renewed_but_not_for_ever(void **state)
{
    (void)state;
    answer(401, "n1");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    answer(438, "n2");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    assert_signed("n2");
    answer(438, "n3");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    answer(438, "n4");
    assert_failed("the relay takes no nonce");
}

static void wrong_credentials_are_told(void **state)
{
    (void)state;
    answer(401, "n1");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    answer(401, "n2");
    assert_failed("the relay refuses the credentials");
}

static void each_error_has_a_phrase(void **state)
{
    static const struct {
        uint16_t code;
        const char *why;
    } errors[] = {{442, "the relay does not relay TCP"},
                  {486, "the relay's quota is used up"},
                  {508, "the relay is full"},
                  {403, "the relay forbids it"},
                  {440, "the relay has no address of this family"},
                  {599, "the relay refuses with error 599"},
                  {300, "the relay refuses with error 300"}};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        setup(state);
        answer(errors[i].code, "");
        assert_failed(errors[i].why);
    }
}

static void answers_must_be_authentic(void **state)
{
    (void)state;
    answer(401, "n1");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    uint8_t wrong[BK_TURN_KEY_BYTES];
    memcpy(wrong, w.key, sizeof wrong);
    wrong[0] ^= 1;
    input(BK_TURN_CLIENT_BYTES, answer_bytes(0, "", wrong), 0);
    assert_failed("the relay's answer is wrong");
    setup(state);
    input(BK_TURN_CLIENT_BYTES, answer_bytes(0, "", NULL), 0); /* to the first request */
    assert_failed("the relay asks for no credentials");
}

static void answers_to_nothing_are_passed_over(void **state)
{
    (void)state;
    w.m.txid[5] ^= 1;
    answer(508, "");
    assert_int_equal(w.out.n, 0);
    w.m.txid[5] ^= 1;
    w.m.method = BK_METHOD_REFRESH;
    answer(508, "");
    assert_int_equal(w.out.n, 0);
}

static void what_is_not_turn_ends_it(void **state)
{
    (void)state;
    input(BK_TURN_CLIENT_BYTES, bk_slice_text("HTTP/1.1 400 Bad Request\r\n"), 0);
    assert_failed("what the relay says is not TURN");
    setup(state);
    const uint8_t huge[] = {1, 3, 0x30, 0, 0x21, 0x12, 0xA4, 0x42}; /* more than is taken */
    input(BK_TURN_CLIENT_BYTES, BK_SLICE_OF(huge), 0);
    assert_failed("what the relay says is not TURN");
    setup(state);
    input(BK_TURN_CLIENT_CLOSED, BK_SLICE_EMPTY, 0);
    assert_failed("the relay hung up");
}

static void silence_ends_it(void **state)
{
    (void)state;
    pass_to_deadline();
    assert_failed("the relay does not answer");
    setup(state);
    up();
    pass_to_deadline();
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_CREATE_PERMISSION);
    pass_to_deadline();
    assert_failed("the relay does not answer");
}

static void everything_is_refreshed_in_time(void **state)
{
    (void)state;
    up();
    bk_time began = w.now.mono, permitted = began, refreshed = began;
    unsigned permissions = 0, refreshes = 0;
    while (w.now.mono < began + 3600 * BK_SECOND) {
        pass_to_deadline();
        assert_true(w.now.mono < permitted + BK_TURN_PERMISSION_S * BK_SECOND);
        assert_true(w.now.mono < refreshed + LIFETIME_S * BK_SECOND);
        for (int i = 0; i < 2 && w.out.n > 0; i++) { /* one may follow the other at once */
            assert_int_equal(bk_stun_read(w.out.actions[0].bytes, &w.m), BK_OK);
            bool refresh = w.m.method == BK_METHOD_REFRESH;
            take_request(BK_TURN_CLIENT_SEND,
                         refresh ? BK_METHOD_REFRESH : BK_METHOD_CREATE_PERMISSION);
            assert_signed("n1");
            permitted = refresh ? permitted : w.now.mono;
            refreshed = refresh ? w.now.mono : refreshed;
            permissions += !refresh;
            refreshes += refresh;
            answer(0, "");
        }
    }
    assert_in_range(permissions, 20, 30);
    assert_in_range(refreshes, 10, 14);
    pass_to_deadline();
    take_request(BK_TURN_CLIENT_SEND, w.out.actions[0].bytes.p[1] == 4
                                          ? BK_METHOD_REFRESH
                                          : BK_METHOD_CREATE_PERMISSION);
    answer(437, "");
    assert_failed("the relay has forgotten the address");
}

static void peers_may_be_added(void **state)
{
    (void)state;
    struct bk_addr a = peer(1), b = peer(2), six = {{0x2a}, 1};
    up();
    permit(&a);
    assert_int_equal(w.out.n, 0); /* is permitted */
    permit(&six);
    assert_int_equal(w.out.n, 0); /* could not come by this address */
    permit(&b);
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_CREATE_PERMISSION);
    assert_int_equal(w.request.n_peers, 2);
    struct bk_addr c = peer(3);
    permit(&c); /* while that is under way */
    assert_int_equal(w.out.n, 0);
    answer(0, "");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_CREATE_PERMISSION);
    assert_int_equal(w.request.n_peers, 3);
    answer(403, ""); /* the new one is given up, the others stay */
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_CREATE_PERMISSION);
    assert_int_equal(w.request.n_peers, 2);
    answer(0, "");
    assert_int_equal(w.out.n, 0);
    for (uint8_t i = 10; i < 30; i++) {
        struct bk_addr more = peer(i);
        permit(&more);
    }
    assert_int_equal(w.t.n_permits, BK_TURN_CLIENT_PERMITS_MAX);
}

static void given_before_ready_are_permitted_by_then(void **state)
{
    (void)state;
    struct bk_addr b = peer(2);
    allocate();
    permit(&b);
    answer(0, "");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_CREATE_PERMISSION);
    assert_int_equal(w.out.n, 1);
    assert_int_equal(w.request.n_peers, 2);
    answer(0, "");
    only(BK_TURN_CLIENT_READY);
}

static void name(const char *text)
{
    input(BK_TURN_CLIENT_NAME, bk_slice_text(text), 0);
}

static void assert_named(const char *text)
{
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_REFRESH);
    assert_true(bk_slice_equal(w.request.server_name, bk_slice_text(text)));
    assert_true(w.request.has_lifetime && w.request.lifetime_s != 0);
    assert_signed("n1");
}

/* At once, before anything else that is due; the newest, if there are several. */
static void another_name_is_told(void **state)
{
    static char long_name[BK_TURN_SERVER_NAME_MAX_BYTES + 2];
    struct bk_addr b = peer(2);
    (void)state;
    up();
    name("call.example"); /* is known */
    assert_int_equal(w.out.n, 0);
    name("two.example");
    assert_named("two.example");
    permit(&b);
    name("three.example");
    name("four.example");
    assert_int_equal(w.out.n, 0); /* one request at a time */
    answer(0, "");
    assert_named("four.example");
    answer(438, "n1");
    assert_named("four.example");
    answer(0, "");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_CREATE_PERMISSION);
    answer(0, "");
    assert_int_equal(w.out.n, 0);
    name("");
    memset(long_name, 'a', sizeof long_name - 1);
    name(long_name);
    assert_int_equal(w.out.n, 0);
    assert_true(bk_slice_equal(w.t.config.server_name, bk_slice_text("four.example")));
}

/* The address does not wait for it. */
static void a_name_given_before_ready_is_told_then(void **state)
{
    (void)state;
    allocate();
    name("two.example");
    assert_int_equal(w.out.n, 0);
    answer(0, "");
    assert_int_equal(w.out.actions[0].type, BK_TURN_CLIENT_READY);
    assert_named("two.example");
    setup(state);
    name("three.example"); /* the first Allocate is out: the second has it */
    answer(401, "n1");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    assert_true(bk_slice_equal(w.request.server_name, bk_slice_text("three.example")));
    answer(0, "");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_CREATE_PERMISSION);
    answer(0, "");
    only(BK_TURN_CLIENT_READY);
}

static void connections_are_bound(void **state)
{
    (void)state;
    struct bk_addr from = peer(1);
    from.port = 777;
    up();
    attempt(42, &from);
    size_t bind = only(BK_TURN_CLIENT_BIND)->bind;
    input(BK_TURN_CLIENT_BIND_OPEN, BK_SLICE_EMPTY, bind);
    take_request(BK_TURN_CLIENT_BIND_SEND, BK_METHOD_CONNECTION_BIND);
    assert_int_equal(w.request.connection_id, 42);
    assert_signed("n1");
    input(BK_TURN_CLIENT_BIND_MESSAGE, answer_bytes(438, "n7", NULL), bind);
    take_request(BK_TURN_CLIENT_BIND_SEND, BK_METHOD_CONNECTION_BIND);
    assert_signed("n7");
    input(BK_TURN_CLIENT_BIND_MESSAGE, answer_bytes(0, "", w.key), bind);
    const struct bk_turn_client_action *done = only(BK_TURN_CLIENT_BIND_DONE);
    assert_int_equal(done->bind, bind);
    assert_true(bk_addr_equal(&done->addr, &from));
    input(BK_TURN_CLIENT_BIND_CLOSED, BK_SLICE_EMPTY, bind); /* no longer ours */
    assert_int_equal(w.out.n, 0);
}

/* From anywhere, but by the newest name alone. */
static void who_comes_by_our_name_is_bound(void **state)
{
    (void)state;
    struct bk_addr stranger = peer(9);
    up();
    come_by = bk_slice_text("other.example");
    attempt(1, &stranger);
    assert_int_equal(w.out.n, 0);
    come_by = bk_slice_text("call.example");
    attempt(1, &stranger);
    size_t bind = only(BK_TURN_CLIENT_BIND)->bind;
    input(BK_TURN_CLIENT_BIND_OPEN, BK_SLICE_EMPTY, bind);
    take_request(BK_TURN_CLIENT_BIND_SEND, BK_METHOD_CONNECTION_BIND);
    input(BK_TURN_CLIENT_BIND_MESSAGE, answer_bytes(0, "", w.key), bind);
    assert_true(only(BK_TURN_CLIENT_BIND_DONE)->by_name);
    name("two.example");
    attempt(2, &stranger);
    assert_int_equal(w.out.n, 0);
    struct bk_addr permitted = peer(1);
    attempt(3, &permitted); /* comes by the address as well, as it were */
    assert_false(only(BK_TURN_CLIENT_BIND)->by_name);
}

static void connections_that_fail_are_closed(void **state)
{
    (void)state;
    struct bk_addr from = peer(1), stranger = peer(9);
    attempt(1, &from); /* before there is an address */
    assert_int_equal(w.out.n, 0);
    up();
    attempt(1, &stranger);
    assert_int_equal(w.out.n, 0);
    attempt(1, &from);
    input(BK_TURN_CLIENT_BIND_OPEN, BK_SLICE_EMPTY, 0);
    take_request(BK_TURN_CLIENT_BIND_SEND, BK_METHOD_CONNECTION_BIND);
    input(BK_TURN_CLIENT_BIND_MESSAGE, answer_bytes(0, "", NULL), 0); /* not authentic */
    assert_int_equal(only(BK_TURN_CLIENT_BIND_CLOSE)->bind, 0);
    attempt(2, &from);
    input(BK_TURN_CLIENT_BIND_OPEN, BK_SLICE_EMPTY, 0);
    input(BK_TURN_CLIENT_BIND_MESSAGE, bk_slice_text("12345678901234567890"), 0);
    only(BK_TURN_CLIENT_BIND_CLOSE);
    for (uint32_t i = 0; i < BK_TURN_CLIENT_BINDS_MAX + 2; i++) {
        attempt(i, &from);
        assert_int_equal(w.out.n, i < BK_TURN_CLIENT_BINDS_MAX ? 1 : 0);
    }
    pass_to_deadline(); /* nobody came through */
    assert_int_equal(w.out.n, BK_TURN_CLIENT_BINDS_MAX);
    assert_int_equal(w.out.actions[0].type, BK_TURN_CLIENT_BIND_CLOSE);
    attempt(5, &from);
    only(BK_TURN_CLIENT_BIND);
}

static void many_attempts_at_once_are_bounded(void **state)
{
    (void)state;
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    static uint8_t flood[16000];
    const struct bk_turn_attempt a = {1, peer(1), BK_SLICE_EMPTY};
    size_t n = 0;
    struct bk_slice bytes;
    up();
    while (sizeof flood - n > 100) {
        assert_int_equal(bk_turn_attempt_write(flood + n, sizeof flood - n, txid, &a, &bytes),
                         BK_OK);
        n += bytes.n;
    }
    input(BK_TURN_CLIENT_BYTES, bk_slice(flood, n), 0);
    assert_int_equal(w.out.n, BK_TURN_CLIENT_BINDS_MAX);
}

static void addresses_that_are_none_are_refused(void **state)
{
    (void)state;
    answer(401, "n1");
    take_request(BK_TURN_CLIENT_SEND, BK_METHOD_ALLOCATE);
    const struct bk_turn_answer bad = {.method = BK_METHOD_ALLOCATE,
                                       .relayed = bk_addr_v4(4, 17, 168, 6, 0),
                                       .mapped = bk_addr_v4(4, 18, 1, 1, 1500),
                                       .lifetime_s = 600};
    struct bk_slice bytes;
    assert_int_equal(bk_turn_answer_write(w.buf, sizeof w.buf, w.m.txid, &bad, &ops, w.key, &bytes),
                     BK_OK);
    input(BK_TURN_CLIENT_BYTES, bytes, 0);
    assert_true(w.out.n == 1 && w.out.actions[0].type == BK_TURN_CLIENT_FAILED);
}

static void too_long_credentials_are_refused(void **state)
{
    (void)state;
    static const uint8_t big[BK_TURN_TEXT_MAX_BYTES + 1] = {0};
    static struct bk_turn_client t;
    const struct bk_turn_client_config config = {.ops = ops, .username = BK_SLICE_OF(big)};
    assert_int_equal(bk_turn_client_init(&t, &config), BK_E_RANGE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        T(an_address_comes_about),
        T(bytes_may_come_in_any_pieces),
        T(stale_nonces_are_renewed_but_not_for_ever),
        T(wrong_credentials_are_told),
        T(each_error_has_a_phrase),
        T(answers_must_be_authentic),
        T(answers_to_nothing_are_passed_over),
        T(what_is_not_turn_ends_it),
        T(silence_ends_it),
        T(everything_is_refreshed_in_time),
        T(peers_may_be_added),
        T(given_before_ready_are_permitted_by_then),
        T(another_name_is_told),
        T(a_name_given_before_ready_is_told_then),
        T(connections_are_bound),
        T(who_comes_by_our_name_is_bound),
        T(connections_that_fail_are_closed),
        T(many_attempts_at_once_are_bounded),
        T(addresses_that_are_none_are_refused),
        T(too_long_credentials_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
