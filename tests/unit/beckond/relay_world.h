/* A relay on the loopback, with its client and its peers in one process: whoever waits here lets the relay's loop turn. */
#ifndef BK_TEST_RELAY_WORLD_H
#define BK_TEST_RELAY_WORLD_H

#include "beckond/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bin/beckond/relay.h"
#include "net/clock.h"
#include "net/sockaddr.h"
#include "net/turn_ops.h"
#include "seal/seal.h"
#include "wire/turn.h"

enum {
    PATIENCE_MS = 20000,
};

struct world {
    struct event_base *base;
    struct bk_config config;
    char dir[64];
    struct bk_relay *relay;
    struct bk_relay_offer offer;
    struct bk_info info;
    char nonce[64];
    bool may_use;
};

/* A connection between the two descriptors, on the loopback. */
static void tcp_pair(int out[2])
{
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0), at;
    struct sockaddr_storage ss;
    socklen_t len = 0;
    int listener = -1, family = 0;

    assert_int_equal(bk_socket_bind(SOCK_STREAM, &any, false, &listener, &family), BK_OK);
    assert_int_equal(listen(listener, 1), 0);
    at = bk_sockaddr_local(listener);
    assert_int_equal(bk_sockaddr_write(&at, family, &ss, &len), BK_OK);
    out[0] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(out[0], (struct sockaddr *)&ss, len), 0);
    out[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(out[1] >= 0);
    (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
    close(listener);
}

static void world_turn(struct world *w)
{
    assert_true(event_base_loop(w->base, EVLOOP_NONBLOCK) >= 0);
}

/* A client's connection to the relay: our end of it. */
static int world_client(struct world *w)
{
    int fds[2];
    struct bk_addr from;

    tcp_pair(fds);
    from = bk_sockaddr_remote(fds[1]);
    assert_true(bk_relay_take(w->relay, fds[1], &from));
    return fds[0];
}

/* A peer's connection to a relayed address. */
static int world_peer(const struct bk_addr *relayed)
{
    struct sockaddr_storage ss;
    socklen_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bk_sockaddr_write(relayed, AF_INET, &ss, &len), BK_OK);
    if (connect(fd, (struct sockaddr *)&ss, len) != 0) {
        close(fd);
        return -1;
    }
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Up to n bytes, as soon as there are any; 0 at the end, -1 with errno after a reset. */
static ssize_t world_read(struct world *w, int fd, void *buf, size_t n)
{
    bk_time until = bk_clock_mono() + PATIENCE_MS * BK_MS;

    while (bk_clock_mono() < until) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t got;
        world_turn(w);
        (void)poll(&p, 1, 1);
        got = recv(fd, buf, n, MSG_DONTWAIT);
        if (got >= 0 || errno != EAGAIN) {
            return got;
        }
    }
    fail_msg("nothing came");
    return -1;
}

static void world_read_all(struct world *w, int fd, void *buf, size_t n)
{
    for (size_t have = 0; have < n;) {
        ssize_t got = world_read(w, fd, (uint8_t *)buf + have, n - have);
        assert_true(got > 0);
        have += (size_t)got;
    }
}

/* One message. */
static struct bk_slice world_message(struct world *w, int fd, uint8_t *buf, struct bk_stun *m)
{
    size_t n = 0;

    world_read_all(w, fd, buf, BK_STUN_HEADER_BYTES);
    assert_int_equal(bk_stun_frame(bk_slice(buf, BK_STUN_HEADER_BYTES), &n), BK_OK);
    world_read_all(w, fd, buf + BK_STUN_HEADER_BYTES, n - BK_STUN_HEADER_BYTES);
    assert_int_equal(bk_stun_read(bk_slice(buf, n), m), BK_OK);
    return bk_slice(buf, n);
}

static void world_login(const struct world *w, struct bk_turn_login *login,
                        uint8_t key[BK_TURN_KEY_BYTES])
{
    struct bk_turn_ops ops = bk_turn_openssl();

    login->username = w->info.username;
    login->realm = bk_slice_text("beckon");
    login->nonce = bk_slice_text(w->nonce);
    bk_turn_key(&ops, login->username, login->realm, w->info.password, key);
    login->key = w->nonce[0] == '\0' ? NULL : key;
}

/* Asks, and asks again with the nonce where one is told. `more` follows the request at once. */
static int world_ask_more(struct world *w, int fd, const struct bk_turn_request *request,
                          struct bk_slice more, struct bk_turn_answer *answer)
{
    struct bk_turn_ops ops = bk_turn_openssl();
    static const uint8_t txid[BK_STUN_TXID_BYTES] = "a request's";
    static uint8_t buf[4096];
    struct bk_slice bytes;
    struct bk_stun m;

    for (int i = 0; i < 2; i++) {
        struct bk_turn_login login;
        uint8_t key[BK_TURN_KEY_BYTES];
        world_login(w, &login, key);
        assert_int_equal(
            bk_turn_request_write(buf, sizeof buf, txid, request, &login, &ops, &bytes), BK_OK);
        memcpy(buf + bytes.n, more.n > 0 ? more.p : bytes.p, more.n);
        assert_int_equal(send(fd, buf, bytes.n + more.n, MSG_NOSIGNAL), bytes.n + more.n);
        (void)world_message(w, fd, buf, &m);
        assert_int_equal(bk_turn_answer_read(&m, &ops, login.key, answer), BK_OK);
        if (answer->nonce.n == 0) {
            break;
        }
        assert_true(bk_slice_to_text(answer->nonce, w->nonce, sizeof w->nonce));
    }
    return answer->code;
}

static int world_ask(struct world *w, int fd, const struct bk_turn_request *request,
                     struct bk_turn_answer *answer)
{
    return world_ask_more(w, fd, request, BK_SLICE_EMPTY, answer);
}

/* An allocation that the loopback is permitted to. */
static int world_allocate(struct world *w, const char *server_name, struct bk_addr *relayed)
{
    int control = world_client(w);
    struct bk_turn_answer answer;
    struct bk_turn_request request = {.method = BK_METHOD_ALLOCATE,
                                      .transport = BK_TURN_TRANSPORT_TCP,
                                      .server_name = bk_slice_text(server_name)};

    assert_int_equal(world_ask(w, control, &request, &answer), 0);
    *relayed = answer.relayed;
    request = (struct bk_turn_request){.method = BK_METHOD_CREATE_PERMISSION, .n_peers = 1};
    request.peers[0] = bk_addr_v4(127, 0, 0, 1, 0);
    assert_int_equal(world_ask(w, control, &request, &answer), 0);
    return control;
}

static struct bk_turn_attempt world_attempt(struct world *w, int control)
{
    uint8_t buf[512];
    struct bk_stun m;
    struct bk_turn_attempt attempt;

    (void)world_message(w, control, buf, &m);
    assert_int_equal(bk_turn_attempt_read(&m, &attempt), BK_OK);
    return attempt;
}

static int world_bind(struct world *w, uint32_t connection_id, struct bk_slice more)
{
    int data = world_client(w);
    struct bk_turn_answer answer;
    struct bk_turn_request request = {.method = BK_METHOD_CONNECTION_BIND,
                                      .connection_id = connection_id};

    assert_int_equal(world_ask_more(w, data, &request, more, &answer), 0);
    return data;
}

struct joined {
    int control, client, peer;
    struct bk_addr relayed;
};

static struct joined world_join(struct world *w)
{
    struct joined j;

    j.control = world_allocate(w, NULL, &j.relayed);
    j.peer = world_peer(&j.relayed);
    assert_true(j.peer >= 0);
    j.client = world_bind(w, world_attempt(w, j.control).connection_id, BK_SLICE_EMPTY);
    return j;
}

static void joined_close(struct joined *j)
{
    close(j->control);
    close(j->client);
    close(j->peer);
}

static bool world_may_use(void *ctx, struct bk_slice user)
{
    const struct world *w = ctx;

    assert_true(bk_slice_equal(user, bk_slice_text("alice")));
    return w->may_use;
}

static void world_new_relay(struct world *w)
{
    const struct bk_relay_start start = {.base = w->base,
                                         .config = &w->config,
                                         .dir = w->dir,
                                         .may_use = world_may_use,
                                         .ctx = w,
                                         .any_peer = true};

    assert_int_equal(bk_relay_new(&start, &w->relay), BK_OK);
    memset(&w->info, 0, sizeof w->info);
    bk_relay_offer(w->relay, bk_slice_text("alice"), bk_clock_unix_s(), &w->offer, &w->info);
}

static int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    *state = w;
    w->may_use = true;
    w->base = event_base_new();
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/beckon-relay-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->config.relay = true;
    w->config.request_port = 1201;
    w->config.agent_port = 1300;
    w->config.relay_first_port = 49152;
    w->config.relay_last_port = 65535;
    w->config.relay_allocations = 16;
    w->config.relay_user_allocations = 8;
    world_new_relay(w);
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;
    char path[96];

    bk_relay_free(w->relay);
    event_base_free(w->base);
    (void)snprintf(path, sizeof path, "%s/relay.secret", w->dir);
    (void)unlink(path);
    assert_int_equal(rmdir(w->dir), 0);
    free(w);
    return 0;
}

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

#endif
