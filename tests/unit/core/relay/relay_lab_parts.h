/* What relay_lab.h declares. Each test program has it once. */
#ifndef BK_TEST_RELAY_LAB_PARTS_H
#define BK_TEST_RELAY_LAB_PARTS_H

#include "core/relay/relay_lab.h"
#include "wire/binding.h"

enum {
    LAB_FRESH = 8,
};

static uint16_t lab_extra_attribute; /* put into requests, before the credentials */
static const char *lab_server_name;

struct bk_relay_core_config lab_config(struct lab *l)
{
    return (struct bk_relay_core_config){
        .alloc = bk_alloc_libc(),
        .rng = {.ctx = &l->rng, .fill = lab_fill},
        .ops = lab_ops(),
        .secret = bk_slice_text("north"),
        .max_connections = 64,
        .max_fresh = LAB_FRESH,
        .max_allocations = 4,
        .max_user_allocations = 2,
    };
}

void lab_start(struct lab *l, const struct bk_relay_core_config *config)
{
    *l = (struct lab){.now = {.mono = 1000 * BK_SECOND, .unix_s = UNIX_S}, .rng = 1};
    assert_int_equal(bk_relay_core_new(config, &l->core), BK_OK);
}

void lab_stop(struct lab *l)
{
    bk_relay_core_free(l->core);
    l->core = NULL;
}

void lab_input(struct lab *l, const struct bk_relay_event *event)
{
    bk_relay_core_input(l->core, &l->now, event, &l->out);
}

void lab_pass(struct lab *l, uint64_t seconds)
{
    l->now.mono += seconds * BK_SECOND;
    l->now.unix_s += seconds;
    bk_relay_core_timer(l->core, &l->now, &l->out);
}

static const struct bk_relay_action *lab_find(const struct lab *l, enum bk_relay_action_type type,
                                              size_t n)
{
    for (size_t i = 0; i < l->out.n; i++) {
        if (l->out.actions[i].type == type && n-- == 0) {
            return &l->out.actions[i];
        }
    }
    return NULL;
}

const struct bk_relay_action *lab_action(const struct lab *l, enum bk_relay_action_type type,
                                         size_t n)
{
    const struct bk_relay_action *a = lab_find(l, type, n);

    if (a == NULL) {
        fail_msg("no such action");
        abort(); /* does not come here: for the compiler */
    }
    return a;
}

size_t lab_count(const struct lab *l, enum bk_relay_action_type type)
{
    size_t n = 0;

    while (lab_find(l, type, n) != NULL) {
        n++;
    }
    return n;
}

struct bk_addr lab_client(void)
{
    return bk_addr_v4(4, 17, 168, 2, 7000);
}

struct bk_addr lab_local(void)
{
    return bk_addr_v4(202, 120, 2, 30, 1201);
}

struct bk_addr lab_device(void)
{
    return bk_addr_v4(202, 204, 16, 13, 2600);
}

struct bk_addr lab_relayed(void)
{
    return bk_addr_v4(202, 120, 2, 30, 50000);
}

uint64_t lab_accept(struct lab *l)
{
    struct bk_relay_event event = {.type = BK_RELAY_ACCEPTED};

    event.accepted.conn = ++l->next_conn;
    event.accepted.from = lab_client();
    event.accepted.local = lab_local();
    lab_input(l, &event);
    return l->next_conn;
}

void lab_ask_raw(struct lab *l, uint64_t conn, struct bk_slice bytes)
{
    struct bk_relay_event event = {.type = BK_RELAY_MESSAGE};

    event.message.conn = conn;
    event.message.bytes = bytes;
    lab_input(l, &event);
}

static void lab_fetch_nonce(struct lab *l)
{
    struct lab_ask ask = {.request = {.method = BK_METHOD_ALLOCATE, .transport = 6}, .bare = true};
    struct bk_turn_answer answer;
    struct bk_relay_event closed = {.type = BK_RELAY_CLOSED};
    uint64_t conn = lab_accept(l);

    assert_int_equal(lab_ask(l, conn, &ask, &answer), 401);
    closed.closed.conn = conn;
    lab_input(l, &closed);
}

/* As bk_turn_request_write, with an attribute more. */
static struct bk_slice lab_write(uint8_t *buf, size_t cap, const struct bk_turn_request *request,
                                 const struct bk_turn_login *login)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = "transaction";
    struct bk_turn_ops ops = lab_ops();
    struct bk_mac_ops mac = {.hmac_sha1 = ops.hmac_sha1};
    struct bk_slice out = BK_SLICE_EMPTY;
    uint8_t transport[4] = {request->transport}, extra[4] = {0};
    struct bk_stun_writer s;

    if (login->key == NULL || (lab_extra_attribute == 0 && (request->method != BK_METHOD_ALLOCATE ||
                                                            request->transport != 0))) {
        assert_int_equal(bk_turn_request_write(buf, cap, txid, request, login, &ops, &out), BK_OK);
        return out;
    }
    s = bk_stun_begin(buf, cap, request->method, BK_STUN_REQUEST, txid);
    if (request->transport != 0) {
        bk_stun_put(&s, BK_ATTR_REQUESTED_TRANSPORT, BK_SLICE_OF(transport));
    }
    if (lab_extra_attribute != 0) {
        bk_stun_put(&s, lab_extra_attribute, BK_SLICE_OF(extra));
    }
    bk_stun_put(&s, BK_ATTR_USERNAME, login->username);
    bk_stun_put(&s, BK_ATTR_REALM, login->realm);
    bk_stun_put(&s, BK_ATTR_NONCE, login->nonce);
    bk_stun_put_sha1(&s, &mac, bk_slice(login->key, BK_TURN_KEY_BYTES));
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    return out;
}

/* The answer among the actions, if there is one. */
static int lab_answer(struct lab *l, uint64_t conn, const uint8_t *key,
                      struct bk_turn_answer *answer)
{
    const struct bk_relay_action *send = lab_find(l, BK_RELAY_SEND, 0);
    struct bk_turn_ops ops = lab_ops();
    struct bk_stun m;

    memset(answer, 0, sizeof *answer);
    if (send == NULL || send->send.conn != conn) {
        return -1;
    }
    l->last = send->send.bytes;
    assert_int_equal(bk_stun_read(send->send.bytes, &m), BK_OK);
    assert_int_equal(bk_turn_answer_read(&m, &ops, key, answer), BK_OK);
    if (answer->nonce.n > 0) {
        assert_true(bk_slice_to_text(answer->nonce, l->nonce, sizeof l->nonce));
    }
    return answer->code;
}

int lab_ask(struct lab *l, uint64_t conn, const struct lab_ask *ask, struct bk_turn_answer *answer)
{
    char username[BK_TURN_USERNAME_TEXT_BYTES], password[BK_TURN_PASSWORD_TEXT_BYTES];
    uint8_t key[BK_TURN_KEY_BYTES], buf[2048];
    struct bk_turn_ops ops = lab_ops();
    struct bk_turn_login login = {.key = ask->bare ? NULL : key};

    if (!ask->bare && l->nonce[0] == '\0') {
        lab_fetch_nonce(l);
    }
    assert_int_equal(bk_turn_username(ask->expiry_s != 0 ? ask->expiry_s : UNIX_S + 100,
                                      bk_slice_text(ask->user != NULL ? ask->user : "alice"),
                                      username),
                     BK_OK);
    login.username = bk_slice_text(ask->username != NULL ? ask->username : username);
    login.realm = bk_slice_text(ask->realm != NULL ? ask->realm : BK_RELAY_REALM);
    login.nonce = bk_slice_text(ask->nonce != NULL ? ask->nonce : l->nonce);
    bk_turn_password(&ops, bk_slice_text("north"), login.username, password);
    bk_turn_key(&ops, login.username, login.realm,
                bk_slice_text(ask->password != NULL ? ask->password : password), key);
    lab_ask_raw(l, conn, lab_write(buf, sizeof buf, &ask->request, &login));
    return lab_answer(l, conn, ask->bare ? NULL : key, answer);
}

uint64_t lab_allocate(struct lab *l, const char *user, uint64_t *allocation)
{
    uint64_t conn = lab_accept(l);
    struct bk_turn_answer answer;
    struct bk_stun m;
    struct lab_ask ask = {.request = {.method = BK_METHOD_ALLOCATE, .transport = 6}, .user = user};
    struct bk_relay_event event = {.type = BK_RELAY_LISTENING};

    ask.request.server_name = bk_slice_text(lab_server_name);
    if (l->nonce[0] == '\0') {
        lab_fetch_nonce(l);
    }
    assert_int_equal(lab_ask(l, conn, &ask, &answer), -1);
    const struct bk_relay_action *listen = lab_action(l, BK_RELAY_LISTEN, 0);
    assert_non_null(listen);
    assert_int_equal(listen->listen.control, conn);
    assert_true(bk_slice_equal(listen->listen.user, bk_slice_text(user)));
    event.listening.allocation = listen->listen.allocation;
    event.listening.relayed = lab_relayed();
    if (allocation != NULL) {
        *allocation = listen->listen.allocation;
    }
    lab_input(l, &event);
    assert_int_equal(bk_stun_read(lab_action(l, BK_RELAY_SEND, 0)->send.bytes, &m), BK_OK);
    assert_int_equal(bk_turn_answer_read(&m, NULL, NULL, &answer), BK_OK);
    struct bk_addr relayed = lab_relayed(), mapped = lab_client();
    assert_int_equal(answer.code, 0);
    assert_true(bk_addr_equal(&answer.relayed, &relayed));
    assert_true(bk_addr_equal(&answer.mapped, &mapped));
    assert_int_equal(answer.lifetime_s, 600);
    return conn;
}

int lab_permit(struct lab *l, uint64_t conn, const struct bk_addr *peer)
{
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_CREATE_PERMISSION, .n_peers = 1}};

    ask.request.peers[0] = *peer;
    return lab_ask(l, conn, &ask, &answer);
}

uint64_t lab_peer(struct lab *l, uint64_t allocation, const struct bk_addr *from, uint32_t *id)
{
    struct bk_relay_event event = {.type = BK_RELAY_PEER};
    struct bk_turn_attempt attempt;
    struct bk_stun m;

    event.peer.allocation = allocation;
    event.peer.conn = ++l->next_conn;
    event.peer.from = *from;
    lab_input(l, &event);
    if (lab_count(l, BK_RELAY_CLOSE) > 0) {
        assert_int_equal(lab_action(l, BK_RELAY_CLOSE, 0)->close.conn, event.peer.conn);
        assert_true(lab_action(l, BK_RELAY_CLOSE, 0)->close.reset);
        return 0;
    }
    assert_int_equal(bk_stun_read(lab_action(l, BK_RELAY_SEND, 0)->send.bytes, &m), BK_OK);
    assert_int_equal(bk_turn_attempt_read(&m, &attempt), BK_OK);
    assert_true(bk_addr_equal(&attempt.peer, from));
    *id = attempt.connection_id;
    return event.peer.conn;
}

int lab_bind(struct lab *l, uint64_t conn, const char *user, uint32_t id)
{
    struct bk_turn_answer answer;
    struct lab_ask ask = {.request = {.method = BK_METHOD_CONNECTION_BIND, .connection_id = id},
                          .user = user};

    return lab_ask(l, conn, &ask, &answer);
}

static int lab_setup(void **state)
{
    static struct lab lab;
    struct bk_relay_core_config config = lab_config(&lab);

    lab_extra_attribute = 0;
    lab_server_name = NULL;
    lab_start(&lab, &config);
    *state = &lab;
    return sodium_init() < 0;
}

static int lab_teardown(void **state)
{
    lab_stop(*state);
    return 0;
}

#define LAB_TEST(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)

#endif
