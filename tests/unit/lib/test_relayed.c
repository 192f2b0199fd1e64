/* The TURN client's shell: against coturn's server, and against a false one that says what the test wants, both on
 * loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/requester/turn.h"
#include "lib/relayed.h"
#include "net/clock.h"
#include "net/own_network.h"
#include "net/turn_ops.h"

static const char secret[] = "a secret shared with the relay";

static struct {
    struct event_base *base;
    struct bk_resolver *resolver;
    struct bk_relayed *relayed;
    unsigned ready, connected, failed;
    struct bk_addr relay, peer;
    bool by_name;
    int fd;
    char why[96];
    bool free_in_ready, free_in_connected, free_in_failed;
    char username[BK_TURN_USERNAME_TEXT_BYTES], password[BK_TURN_PASSWORD_TEXT_BYTES];
} w;

static void let_go(bool now)
{
    if (now) {
        bk_relayed_free(w.relayed);
        w.relayed = NULL;
    }
}

static void on_ready(void *ctx, const struct bk_addr *relayed)
{
    assert_ptr_equal(ctx, &w);
    w.ready++;
    w.relay = *relayed;
    let_go(w.free_in_ready);
}

static void on_connected(void *ctx, int fd, const struct bk_addr *peer, bool by_name)
{
    (void)ctx;
    w.by_name = by_name;
    w.connected++;
    w.peer = *peer;
    if (w.fd >= 0) {
        close(w.fd);
    }
    w.fd = fd;
    let_go(w.free_in_connected);
}

static void on_failed(void *ctx, const char *why)
{
    (void)ctx;
    w.failed++;
    snprintf(w.why, sizeof w.why, "%s", why);
    let_go(w.free_in_failed);
}

static double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void await_count(const unsigned *counter, unsigned value)
{
    const struct timeval step = {0, 5000};
    double until = seconds() + 15;
    while (*counter < value) {
        assert_true(seconds() < until);
        assert_true(w.failed == 0 || counter == &w.failed);
        event_base_loopexit(w.base, &step);
        event_base_dispatch(w.base);
    }
}

static void start(const char *host, uint16_t port, const struct bk_addr *permits, size_t n)
{
    const struct bk_relayed_config config = {
        .host = host,
        .port = port,
        .username = w.username,
        .password = w.password,
        .permits = permits,
        .n_permits = n,
        .server_name = "call.example",
        .on = {&w, on_ready, on_connected, on_failed},
    };
    assert_int_equal(bk_relayed_new(w.base, w.resolver, &config, &w.relayed), BK_OK);
    assert_int_equal(w.ready + w.failed, 0);
}

static int setup(void **state)
{
    struct bk_turn_ops ops = bk_turn_openssl();
    (void)state;
    memset(&w, 0, sizeof w);
    w.fd = -1;
    w.base = event_base_new();
    assert_int_equal(bk_resolver_new(w.base, &w.resolver), BK_OK);
    assert_int_equal(bk_turn_username(bk_clock_unix_s() + 600, bk_slice_text("alice"), w.username),
                     BK_OK);
    bk_turn_password(&ops, bk_slice_text(secret), bk_slice_text(w.username), w.password);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bk_relayed_free(w.relayed);
    bk_resolver_free(w.resolver);
    event_base_free(w.base);
    if (w.fd >= 0) {
        close(w.fd);
    }
    return 0;
}

static int listen_on(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 8), 0);
    getsockname(fd, (struct sockaddr *)&a, &n);
    *port = ntohs(a.sin_port);
    return fd;
}

static int dial(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void read_exactly(int fd, char *out, size_t n)
{
    double until = seconds() + 10;
    for (size_t got = 0; got < n;) {
        ssize_t r = recv(fd, out + got, n - got, MSG_DONTWAIT);
        assert_true(seconds() < until);
        assert_int_not_equal(r, 0);
        got += r > 0 ? (size_t)r : 0;
    }
}

static const struct bk_addr loopback = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 127, 0, 0, 1},
                                        0};

/* ---- coturn ---- */

static struct {
    pid_t pid;
    uint16_t port;
    char folder[64];
} coturn;

static bool answers_binding(void)
{
    static const uint8_t binding[20] = {0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42};
    uint8_t answer;
    int fd = dial(coturn.port);
    if (fd < 0) {
        return false;
    }
    struct timeval patience = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    bool ok = send(fd, binding, sizeof binding, MSG_NOSIGNAL) == 20 && recv(fd, &answer, 1, 0) == 1;
    close(fd);
    return ok;
}

static int start_coturn(void **state)
{
    char port[16], auth[96], db[96], pid[96];
    snprintf(coturn.folder, sizeof coturn.folder, "/tmp/beckon-relayed-XXXXXX");
    assert_non_null(mkdtemp(coturn.folder));
    close(listen_on(&coturn.port));
    snprintf(port, sizeof port, "%u", coturn.port);
    snprintf(auth, sizeof auth, "--static-auth-secret=%s", secret);
    snprintf(db, sizeof db, "--db=%s/db", coturn.folder);
    snprintf(pid, sizeof pid, "--pidfile=%s/pid", coturn.folder);
    const char *argv[] = {"turnserver",
                          "-n",
                          "--listening-ip=127.0.0.1",
                          "--relay-ip=127.0.0.1",
                          "--listening-port",
                          port,
                          "--realm=relay.example",
                          "--use-auth-secret",
                          auth,
                          "--allow-loopback-peers",
                          "--no-cli",
                          "--no-tls",
                          "--no-dtls",
                          "--no-udp",
                          "--log-file=stdout",
                          db,
                          pid,
                          NULL};
    coturn.pid = fork();
    if (coturn.pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    double until = seconds() + 20;
    while (!answers_binding()) {
        assert_true(seconds() < until);
        assert_int_equal(waitpid(coturn.pid, NULL, WNOHANG), 0);
        usleep(20000);
    }
    return setup(state);
}

static int stop_coturn(void **state)
{
    teardown(state);
    kill(coturn.pid, SIGKILL);
    waitpid(coturn.pid, NULL, 0);
    DIR *folder = opendir(coturn.folder);
    assert_non_null(folder);
    for (const struct dirent *e;
         (e = readdir(folder)) != NULL;) { /* its database, perhaps half done */
        (void)unlinkat(dirfd(folder), e->d_name, 0);
    }
    closedir(folder);
    assert_int_equal(rmdir(coturn.folder), 0);
    return 0;
}

static void coturn_relays(void **state)
{
    (void)state;
    char text[16];
    start("127.0.0.1", coturn.port, &loopback, 1);
    await_count(&w.ready, 1);
    assert_true(bk_addr_same_ip(&w.relay, &loopback));
    for (unsigned i = 1; i <= 3; i++) { /* one after the other, each with early data */
        int peer = dial(w.relay.port);
        assert_true(peer >= 0);
        assert_int_equal(send(peer, "first words", 11, 0), 11);
        await_count(&w.connected, i);
        assert_true(bk_addr_same_ip(&w.peer, &loopback));
        read_exactly(w.fd, text, 11);
        assert_memory_equal(text, "first words", 11);
        assert_int_equal(send(w.fd, "answer", 6, 0), 6);
        read_exactly(peer, text, 6);
        assert_memory_equal(text, "answer", 6);
        close(peer);
    }
}

static void coturn_relays_to_whom_is_permitted_later(void **state)
{
    (void)state;
    const struct bk_addr other = bk_addr_v4(127, 9, 9, 9, 0);
    start("localhost", coturn.port, &other, 1);
    await_count(&w.ready, 1);
    bk_relayed_permit(w.relayed, &other);
    bk_relayed_permit(w.relayed, &loopback);
    int peer = -1;
    for (double until = seconds() + 10;
         w.connected == 0;) { /* reset, as long as it is not permitted */
        const struct timeval step = {0, 50000};
        assert_true(seconds() < until);
        if (peer >= 0) {
            close(peer);
        }
        peer = dial(w.relay.port);
        event_base_loopexit(w.base, &step);
        event_base_dispatch(w.base);
    }
    close(peer);
}

static void coturn_refuses_wrong_credentials(void **state)
{
    (void)state;
    w.password[0] = w.password[0] == 'A' ? 'B' : 'A';
    start("127.0.0.1", coturn.port, &loopback, 1);
    await_count(&w.failed, 1);
    assert_string_equal(w.why, "the relay refuses the credentials");
}

/* ---- A false relay ---- */

enum mode {
    IN_ORDER,
    SILENT,
    HANGS_UP,
    SPEAKS_HTTP,
    WITH_EARLY_DATA,  /* the bind's success and the peer's first bytes in one piece */
    BYTE_BY_BYTE,     /* the bind's success */
    HANGS_UP_ON_BIND, /* data connections */
    LONG_ANSWER_TO_BIND,
};

enum { FALSE_BEVS_MAX = 32 };

static struct {
    enum mode mode;
    uint16_t port;
    struct evconnlistener *listener;
    struct bufferevent *bevs[FALSE_BEVS_MAX];
    size_t n_bevs;
    struct bufferevent *control;
    unsigned binds;
    char name[64]; /* the last server name that was told */
    unsigned names;
    const char *attempt; /* the one that an attempt bears; NULL: none */
    struct event *dripper;
    uint8_t drip[512];
    size_t drip_n, drip_at;
} f;

static void on_drip(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    (void)arg;
    assert_int_equal(send(fd, f.drip + f.drip_at++, 1, MSG_NOSIGNAL), 1);
    if (f.drip_at == f.drip_n) {
        event_free(f.dripper);
    }
}

static void false_answer(struct bufferevent *bev, const struct bk_stun *m)
{
    struct bk_turn_ops ops = bk_turn_openssl();
    struct bk_turn_request request;
    static uint8_t buf[BK_TURN_MESSAGE_MAX_BYTES];
    uint8_t key[BK_TURN_KEY_BYTES];
    struct bk_slice bytes;
    assert_int_equal(bk_turn_request_read(m, &request), BK_OK);
    struct bk_turn_answer answer = {.method = m->method,
                                    .relayed = bk_addr_v4(127, 0, 0, 1, 4321),
                                    .mapped = bk_addr_v4(127, 0, 0, 1, 1234),
                                    .lifetime_s = 600};
    bk_turn_key(&ops, bk_slice_text(w.username), bk_slice_text("false"), bk_slice_text(w.password),
                key);
    if (!request.has_mac) {
        answer.code = 401;
        answer.realm = bk_slice_text("false");
        answer.nonce = bk_slice_text("nonce");
    } else {
        assert_int_equal(bk_turn_check(m, &ops, key), BK_OK);
    }
    assert_int_equal(bk_turn_answer_write(buf, sizeof buf, m->txid, &answer, &ops,
                                          answer.code == 0 ? key : NULL, &bytes),
                     BK_OK);
    if (request.server_name.n > 0 && answer.code == 0) {
        assert_true(bk_slice_to_text(request.server_name, f.name, sizeof f.name));
        f.names++;
    }
    if (m->method != BK_METHOD_CONNECTION_BIND) {
        f.control = bev;
        bufferevent_write(bev, bytes.p, bytes.n);
        return;
    }
    f.binds++;
    if (f.mode == LONG_ANSWER_TO_BIND) {
        static const uint8_t header[20] = {1, 0x0B, 0x3F, 0, 0x21, 0x12, 0xA4, 0x42};
        bufferevent_write(bev, header, sizeof header);
    } else if (f.mode == WITH_EARLY_DATA) {
        memcpy(buf + bytes.n, "first words", 11);
        bufferevent_write(bev, buf, bytes.n + 11);
    } else if (f.mode == BYTE_BY_BYTE) {
        memcpy(f.drip, bytes.p, bytes.n);
        f.drip_n = bytes.n;
        f.dripper = event_new(w.base, bufferevent_getfd(bev), EV_PERSIST, on_drip, NULL);
        event_add(f.dripper, &(struct timeval){0, 1000});
    } else {
        bufferevent_write(bev, bytes.p, bytes.n);
    }
}

static void on_false_read(struct bufferevent *bev, void *arg)
{
    (void)arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    struct bk_stun m;
    size_t n;
    if (f.mode == SILENT) {
        return;
    }
    if (f.mode == SPEAKS_HTTP) {
        bufferevent_write(bev, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
        return;
    }
    const uint8_t *p = evbuffer_pullup(in, -1);
    if (p == NULL || bk_stun_frame(bk_slice(p, evbuffer_get_length(in)), &n) != BK_OK ||
        n > evbuffer_get_length(in)) {
        return;
    }
    static uint8_t copy[BK_TURN_MESSAGE_MAX_BYTES];
    evbuffer_remove(in, copy, n);
    assert_int_equal(bk_stun_read(bk_slice(copy, n), &m), BK_OK);
    if (f.mode == HANGS_UP_ON_BIND && m.method == BK_METHOD_CONNECTION_BIND) {
        f.binds++;
        shutdown(bufferevent_getfd(bev), SHUT_RDWR);
        return;
    }
    false_answer(bev, &m);
}

static void on_false_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa,
                            int n, void *arg)
{
    (void)l;
    (void)sa;
    (void)n;
    (void)arg;
    if (f.mode == HANGS_UP) {
        close(fd);
        return;
    }
    assert_true(f.n_bevs < FALSE_BEVS_MAX);
    struct bufferevent *bev = bufferevent_socket_new(w.base, fd, BEV_OPT_CLOSE_ON_FREE);
    f.bevs[f.n_bevs++] = bev;
    bufferevent_setcb(bev, on_false_read, NULL, NULL, NULL);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static int false_setup(void **state)
{
    setup(state);
    memset(&f, 0, sizeof f);
    int fd = listen_on(&f.port);
    evutil_make_socket_nonblocking(fd);
    f.listener = evconnlistener_new(w.base, on_false_accept, NULL, LEV_OPT_CLOSE_ON_FREE, 0, fd);
    return 0;
}

static int false_teardown(void **state)
{
    bk_relayed_free(w.relayed);
    w.relayed = NULL;
    for (size_t i = 0; i < f.n_bevs; i++) {
        bufferevent_free(f.bevs[i]);
    }
    if (f.listener != NULL) {
        evconnlistener_free(f.listener);
    }
    return teardown(state);
}

static void false_start(enum mode mode)
{
    f.mode = mode;
    start("127.0.0.1", f.port, &loopback, 1);
}

static void false_attempt(uint32_t id)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {7};
    const struct bk_turn_attempt attempt = {id, bk_addr_v4(127, 0, 0, 1, 999),
                                            bk_slice_text(f.attempt)};
    uint8_t buf[256];
    struct bk_slice bytes;
    assert_int_equal(bk_turn_attempt_write(buf, sizeof buf, txid, &attempt, &bytes), BK_OK);
    bufferevent_write(f.control, bytes.p, bytes.n);
}

static void not_a_byte_beyond_the_answer_is_read(void **state)
{
    (void)state;
    char text[16];
    false_start(WITH_EARLY_DATA);
    await_count(&w.ready, 1);
    false_attempt(1);
    await_count(&w.connected, 1);
    assert_int_equal(w.peer.port, 999);
    read_exactly(w.fd, text, 11);
    assert_memory_equal(text, "first words", 11);
}

static void an_answer_may_come_in_pieces(void **state)
{
    (void)state;
    false_start(BYTE_BY_BYTE);
    await_count(&w.ready, 1);
    false_attempt(1);
    await_count(&w.connected, 1);
}

static void a_lost_data_connection_is_no_end(void **state)
{
    (void)state;
    false_start(HANGS_UP_ON_BIND);
    await_count(&w.ready, 1);
    for (unsigned i = 1; i <= 10; i++) { /* more than there may be at a time */
        false_attempt(i);
        await_count(&f.binds, i);
    }
    f.mode = LONG_ANSWER_TO_BIND;
    false_attempt(20);
    await_count(&f.binds, 11);
    f.mode = IN_ORDER;
    false_attempt(30);
    await_count(&w.connected, 1);
    assert_int_equal(w.failed, 0);
}

static void failures_are_told_once(void **state)
{
    (void)state;
    static const struct {
        enum mode mode;
        const char *why;
    } cases[] = {{HANGS_UP, "the relay hung up"},
                 {SPEAKS_HTTP, "what the relay says is not TURN"},
                 {SILENT, "the relay does not answer"}};
    for (size_t i = 0; i < 3; i++) {
        w.failed = 0;
        double began = seconds();
        false_start(cases[i].mode);
        await_count(&w.failed, 1);
        assert_string_equal(w.why, cases[i].why);
        assert_true(seconds() - began < BK_RELAYED_MS / 1000.0 + 5); /* on a busy machine */
        bk_relayed_permit(w.relayed, &loopback);                     /* too late: nothing */
        event_base_loop(w.base, EVLOOP_NONBLOCK);
        bk_relayed_free(w.relayed);
        w.relayed = NULL;
    }
    evconnlistener_free(f.listener);
    f.listener = NULL;
    w.failed = 0;
    false_start(IN_ORDER);
    await_count(&w.failed, 1);
    assert_string_equal(w.why, "the relay cannot be reached");
    bk_relayed_free(w.relayed);
    w.failed = 0;
    start("", f.port, &loopback, 1);
    await_count(&w.failed, 1);
    assert_string_equal(w.why, "the relay's name is none");
}

static void a_relay_that_leaves_is_told(void **state)
{
    (void)state;
    false_start(IN_ORDER);
    await_count(&w.ready, 1);
    false_attempt(1);
    await_count(&w.connected, 1);
    shutdown(bufferevent_getfd(f.control), SHUT_RDWR);
    await_count(&w.failed, 1);
    assert_string_equal(w.why, "the relay hung up");
    assert_true(w.fd >= 0); /* that one is not ours to close */
    assert_int_equal(send(w.fd, "x", 1, MSG_NOSIGNAL), 1);
}

static void another_name_is_told_at_once(void **state)
{
    (void)state;
    false_start(IN_ORDER);
    await_count(&f.names, 1);
    assert_string_equal(f.name, "call.example");
    await_count(&w.ready, 1);
    bk_relayed_name(w.relayed, "second.example");
    bk_relayed_permit(w.relayed, &(struct bk_addr){{0x7F}, 0}); /* neither loses the other */
    await_count(&f.names, 2);
    assert_string_equal(f.name, "second.example");
    false_attempt(1);
    await_count(&w.connected, 1);
    assert_false(w.by_name);
    f.attempt = "second.example";
    false_attempt(2);
    await_count(&w.connected, 2);
    assert_true(w.by_name);
    bk_relayed_name(w.relayed, "third.example");
    bk_relayed_free(w.relayed); /* before it is told */
    w.relayed = NULL;
    event_base_loop(w.base, EVLOOP_NONBLOCK);
    assert_int_equal(f.names, 2);
}

static void may_be_freed_within_each_callback(void **state)
{
    (void)state;
    w.free_in_ready = true;
    false_start(IN_ORDER);
    await_count(&w.ready, 1);
    assert_null(w.relayed);
    w.free_in_ready = false;
    w.free_in_connected = true;
    w.ready = 0;
    false_start(IN_ORDER);
    await_count(&w.ready, 1);
    false_attempt(1);
    await_count(&w.connected, 1);
    assert_null(w.relayed);
    w.free_in_failed = true;
    w.ready = 0;
    false_start(HANGS_UP);
    await_count(&w.failed, 1);
    assert_null(w.relayed);
    w.failed = 0;
    false_start(IN_ORDER); /* and at once */
}

int main(void)
{
    (void)own_network_enter(); /* coturn's port is free until it takes it */
#define C(f) cmocka_unit_test_setup_teardown(f, start_coturn, stop_coturn)
#define F(f) cmocka_unit_test_setup_teardown(f, false_setup, false_teardown)
    const struct CMUnitTest tests[] = {
        F(not_a_byte_beyond_the_answer_is_read),
        F(an_answer_may_come_in_pieces),
        F(a_lost_data_connection_is_no_end),
        F(failures_are_told_once),
        F(a_relay_that_leaves_is_told),
        F(another_name_is_told_at_once),
        F(may_be_freed_within_each_callback),
        C(coturn_relays),
        C(coturn_relays_to_whom_is_permitted_later),
        C(coturn_refuses_wrong_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
