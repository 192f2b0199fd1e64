/* Connections and listeners over loopback: frames in all sizes, every end, every limit. */
#include "net/listening.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/listener.h"
#include "net/sockaddr.h"

enum {
    SEEN_MAX = 16,
    FRAME_MAX = 1000,
};

/* ---- One side of the wire, and what it saw ---- */

struct side {
    struct world *world;
    struct bk_conn *conn;
    unsigned opened, messages, closed, refused;
    size_t bytes;
    struct bk_conn_closed why;
    char uri[BK_X509_URI_BYTES];
    uint8_t last[FRAME_MAX];
    size_t last_n;
    bool echo, free_on_message, close_on_open, take_on_open, close_on_message;
    SSL *taken;
};

struct world {
    struct event_base *base;
    struct patience patience;
    struct tls_ends ends;
    struct bk_listener *listener;
    struct bk_addr addr;
    struct side server, client; /* of the newest connection */
    struct bk_conn_config client_config;
    struct bk_listener_config listener_config;
};

/* Frames of the test: two bytes of length, network order, counting themselves. */
static enum bk_err frame(struct bk_slice got, size_t *bytes)
{
    if (got.n < 2) {
        return BK_E_TRUNCATED;
    }
    *bytes = (size_t)(got.p[0] << 8 | got.p[1]);
    return *bytes >= 2 ? BK_OK : BK_E_MALFORMED;
}

static struct bk_slice make_frame(uint8_t *buf, size_t n)
{
    for (size_t i = 2; i < n; i++) {
        buf[i] = (uint8_t)(i * 31 + n);
    }
    buf[0] = (uint8_t)(n >> 8);
    buf[1] = (uint8_t)n;
    return bk_slice(buf, n);
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct side *s = ctx;
    s->opened++;
    s->conn = conn;
    memcpy(s->uri, peer->uri, sizeof s->uri);
    if (s->take_on_open) {
        s->taken = bk_conn_take_ssl(conn);
        s->conn = NULL;
    } else if (s->close_on_open) {
        uint8_t buf[FRAME_MAX];
        assert_int_equal(bk_conn_send(conn, make_frame(buf, 500)), BK_OK);
        bk_conn_close(conn);
        assert_int_equal(bk_conn_send(conn, make_frame(buf, 5)), BK_E_STATE);
    }
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice bytes)
{
    struct side *s = ctx;
    s->messages++;
    s->bytes += bytes.n;
    s->last_n = bytes.n;
    memcpy(s->last, bytes.p, bytes.n);
    if (s->echo) {
        assert_int_equal(bk_conn_send(conn, bytes), BK_OK);
    }
    if (s->free_on_message) {
        s->conn = NULL;
        bk_conn_free(conn);
    } else if (s->close_on_message) {
        bk_conn_close(conn);
    }
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct side *s = ctx;
    s->closed++;
    s->why = *why;
    assert_true(strlen(why->text) > 5);
    if (s->conn == conn) {
        s->conn = NULL;
    }
    bk_conn_free(conn);
}

static void on_refused(void *ctx, const struct bk_addr *from, const struct bk_conn_closed *why)
{
    struct side *s = ctx;
    s->refused++;
    s->why = *why;
    assert_int_equal(bk_addr_scope(from), BK_SCOPE_LOOPBACK);
}

/* ---- The world ---- */

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->base = loop_new(&w->patience);
    tls_ends_init(&w->ends);
    struct bk_conn_callbacks on = {
        .ctx = &w->client, .open = on_open, .message = on_message, .closed = on_closed};
    w->client_config = (struct bk_conn_config){.tls = w->ends.client_tls,
                                               .frame = frame,
                                               .on = on,
                                               .limits = {.frame_max_bytes = FRAME_MAX}};
    w->listener_config.conn = w->client_config;
    w->listener_config.conn.tls = w->ends.server_tls;
    w->listener_config.conn.on.ctx = &w->server;
    w->listener_config.refused = on_refused;
    *state = w;
    return 0;
}

/* With whatever the test has put into the configurations. */
static void listen_now(struct world *w)
{
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    assert_int_equal(bk_listener_new(w->base, &w->listener_config, &w->listener), BK_OK);
    assert_int_equal(bk_listener_add(w->listener, &any, &w->addr), BK_OK);
    assert_int_not_equal(w->addr.port, 0);
}

static struct bk_conn *connect_now(struct world *w)
{
    struct bk_conn *conn = NULL;
    assert_int_equal(bk_conn_connect(w->base, &w->client_config, &w->addr, 1, NULL, &conn), BK_OK);
    w->client.conn = conn;
    return conn;
}

static void both_open(struct world *w)
{
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->client.opened == 1 && w->server.opened == 1);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    bk_conn_free(w->client.conn);
    bk_conn_free(w->server.conn);
    bk_listener_free(w->listener);
    tls_ends_fini(&w->ends);
    loop_free(w->base, &w->patience);
    free(w);
    return 0;
}

/* ---- Frames ---- */

static void test_echo(void **state)
{
    static const size_t sizes[] = {2, 3, 17, 999, 1000};
    struct world *w = *state;
    uint8_t buf[FRAME_MAX];
    w->server.echo = true;
    both_open(w);
    assert_string_equal(w->client.uri, "beckon:server");
    assert_string_equal(w->server.uri, "beckon:device:2133");
    assert_string_equal(bk_conn_peer(w->server.conn)->alpn, "beckon-agent/1");
    struct bk_addr remote = bk_conn_remote(w->client.conn), local = bk_conn_local(w->client.conn);
    struct bk_addr seen = bk_conn_remote(w->server.conn);
    assert_true(bk_addr_equal(&remote, &w->addr));
    assert_true(bk_addr_equal(&local, &seen));
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(bk_conn_send(w->client.conn, make_frame(buf, sizes[i])), BK_OK);
        WAIT_FOR(w, w->client.messages == i + 1);
        assert_int_equal(w->client.last_n, sizes[i]);
        assert_memory_equal(w->client.last, buf, sizes[i]);
    }
    /* Many at once, more than a reading turn holds */
    size_t sent = 0;
    for (size_t n = 2; sent + n < 60000; n = n % 900 + 37) {
        assert_int_equal(bk_conn_send(w->client.conn, make_frame(buf, n)), BK_OK);
        sent += n;
    }
    w->client.bytes = 0;
    WAIT_FOR(w, w->client.bytes == sent);
}

/* A client whose TLS is driven by hand: each byte is a record and a segment of its own. */
static void test_single_bytes(void **state)
{
    struct world *w = *state;
    uint8_t buf[40];
    w->client.take_on_open = true;
    both_open(w);
    SSL *ssl = w->client.taken;
    assert_non_null(ssl);
    make_frame(buf, sizeof buf);
    for (size_t i = 0; i < sizeof buf; i++) {
        assert_int_equal(w->server.messages, 0);
        assert_int_equal(SSL_write(ssl, buf + i, 1), 1);
        assert_int_equal(event_base_loop(w->base, EVLOOP_NONBLOCK), 0);
    }
    WAIT_FOR(w, w->server.messages == 1);
    assert_int_equal(w->server.last_n, sizeof buf);
    assert_memory_equal(w->server.last, buf, sizeof buf);
    /* An end within a frame, though in order, is a cut. */
    assert_int_equal(SSL_write(ssl, buf, 7), 7);
    SSL_shutdown(ssl);
    WAIT_FOR(w, w->server.closed == 1);
    assert_int_equal(w->server.why.end, BK_CONN_CUT);
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

static void finish_taken(struct world *w)
{
    close(SSL_get_fd(w->client.taken));
    SSL_free(w->client.taken);
}

static void bad_frame(struct world *w, const uint8_t *bytes, int n)
{
    w->client.take_on_open = true;
    both_open(w);
    assert_int_equal(SSL_write(w->client.taken, bytes, n), n);
    WAIT_FOR(w, w->server.closed == 1);
    assert_int_equal(w->server.why.end, BK_CONN_BAD_FRAME);
    assert_int_equal(w->server.messages, 0);
    finish_taken(w);
}

static void test_oversize_frame(void **state)
{
    static const uint8_t bytes[] = {1001 >> 8, 1001 & 0xff};
    bad_frame(*state, bytes, sizeof bytes);
}

static void test_no_frame(void **state)
{
    static const uint8_t bytes[] = {0, 1, 2, 3};
    bad_frame(*state, bytes, sizeof bytes);
}

/* ---- Ends ---- */

static void test_close_flushes(void **state)
{
    struct world *w = *state;
    w->server.close_on_open = true;
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->client.closed == 1 && w->server.closed == 1);
    assert_int_equal(w->client.messages, 1);
    assert_int_equal(w->client.last_n, 500);
    assert_int_equal(w->client.why.end, BK_CONN_ENDED_BY_PEER);
    assert_int_equal(w->server.why.end, BK_CONN_ENDED_BY_US);
    WAIT_FOR(w, bk_listener_count(w->listener) == 0);
}

static void test_close_before_open(void **state)
{
    struct world *w = *state;
    listen_now(w);
    bk_conn_close(connect_now(w));
    assert_int_equal(w->client.closed, 0); /* never from within */
    WAIT_FOR(w, w->client.closed == 1);
    assert_int_equal(w->client.why.end, BK_CONN_ENDED_BY_US);
    assert_int_equal(w->client.opened, 0);
}

static void test_free_within_message(void **state)
{
    struct world *w = *state;
    uint8_t buf[FRAME_MAX];
    w->server.free_on_message = true;
    both_open(w);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bk_conn_send(w->client.conn, make_frame(buf, 100)), BK_OK);
    }
    WAIT_FOR(w, w->client.closed == 1);
    assert_int_equal(w->server.messages, 1);
    assert_int_equal(w->server.closed, 0);
    WAIT_FOR(w, bk_listener_count(w->listener) == 0);
}

static void test_close_within_message(void **state)
{
    struct world *w = *state;
    uint8_t buf[FRAME_MAX];
    w->server.close_on_message = true;
    w->server.echo = true;
    both_open(w);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bk_conn_send(w->client.conn, make_frame(buf, 100)), BK_OK);
    }
    WAIT_FOR(w, w->client.closed == 1 && w->server.closed == 1);
    assert_int_equal(w->server.messages, 1);
    assert_int_equal(w->client.messages, 1); /* the answer came through */
    assert_int_equal(w->client.why.end, BK_CONN_ENDED_BY_PEER);
}

static void test_reset_is_a_cut(void **state)
{
    struct world *w = *state;
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    w->client.take_on_open = true;
    both_open(w);
    int fd = SSL_get_fd(w->client.taken);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none), 0);
    finish_taken(w);
    WAIT_FOR(w, w->server.closed == 1);
    assert_int_equal(w->server.why.end, BK_CONN_CUT);
    assert_int_equal(w->server.why.os_error, ECONNRESET);
}

static void test_end_without_notice_is_a_cut(void **state)
{
    struct world *w = *state;
    w->client.take_on_open = true;
    both_open(w);
    finish_taken(w); /* no close_notify: anyone on the way could have ended it */
    WAIT_FOR(w, w->server.closed == 1);
    assert_int_equal(w->server.why.end, BK_CONN_CUT);
}

static void test_overflow(void **state)
{
    struct world *w = *state;
    uint8_t buf[FRAME_MAX];
    w->listener_config.conn.limits.out_max_bytes = 5000;
    both_open(w);
    struct bk_slice bytes = make_frame(buf, FRAME_MAX);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(bk_conn_send(w->server.conn, bytes), BK_OK);
    }
    assert_int_equal(bk_conn_send(w->server.conn, bytes), BK_E_NOSPACE);
    assert_int_equal(w->server.closed, 0);
    assert_int_equal(bk_conn_send(w->server.conn, bytes), BK_E_STATE);
    WAIT_FOR(w, w->server.closed == 1);
    assert_int_equal(w->server.why.end, BK_CONN_OVERFLOW);
}

/* ---- Time ---- */

static void test_idle(void **state)
{
    struct world *w = *state;
    w->listener_config.conn.limits.idle_ms = 60;
    both_open(w);
    WAIT_FOR(w, w->server.closed == 1);
    assert_int_equal(w->server.why.end, BK_CONN_IDLE);
}

static bk_time monotonic(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (bk_time)ts.tv_sec * BK_SECOND + (bk_time)ts.tv_nsec;
}

/* What is in use lives on, however long: three times the limit, and then ends by it. */
static void test_busy_is_not_idle(void **state)
{
    struct world *w = *state;
    enum { LIMIT_MS = 300 };
    uint8_t buf[FRAME_MAX];
    w->listener_config.conn.limits.idle_ms = LIMIT_MS;
    w->server.echo = true;
    both_open(w);
    bk_time until = bk_time_add(monotonic(), 3 * LIMIT_MS * BK_MS);
    while (monotonic() < until) {
        unsigned before = w->client.messages;
        assert_int_equal(bk_conn_send(w->client.conn, make_frame(buf, 100)), BK_OK);
        WAIT_FOR(w, w->client.messages > before || w->server.closed > 0);
        assert_int_equal(w->server.closed, 0);
    }
    WAIT_FOR(w, w->server.closed == 1);
    assert_int_equal(w->server.why.end, BK_CONN_IDLE);
}

static void test_idle_changed(void **state)
{
    struct world *w = *state;
    w->listener_config.conn.limits.idle_ms = 1;
    w->server.echo = true;
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->client.opened == 1);
    WAIT_FOR(w, w->server.closed == 1);
    bk_conn_free(w->client.conn);
    w->server = (struct side){.echo = true};
    w->client = (struct side){0};
    bk_listener_free(w->listener);
    w->listener_config.conn.limits.idle_ms = 0;
    both_open(w);
    bk_conn_set_idle(w->client.conn, 50);
    WAIT_FOR(w, w->client.closed == 1);
    assert_int_equal(w->client.why.end, BK_CONN_IDLE);
}

static void test_slow_frame(void **state)
{
    struct world *w = *state;
    static const uint8_t begun[] = {0, 20, 1};
    w->listener_config.conn.limits.frame_ms = 80;
    w->listener_config.conn.limits.idle_ms = 5000;
    w->client.take_on_open = true;
    both_open(w);
    assert_int_equal(SSL_write(w->client.taken, begun, sizeof begun), sizeof begun);
    WAIT_FOR(w, w->server.closed == 1);
    assert_int_equal(w->server.why.end, BK_CONN_SLOW);
    finish_taken(w);
}

/* A peer that connects and says nothing, or half a handshake. */
static void test_half_open(void **state)
{
    struct world *w = *state;
    static const uint8_t begun[] = {0x16, 0x03, 0x01, 0x01, 0x00, 0x01};
    w->listener_config.conn.limits.open_ms = 80;
    listen_now(w);
    int silent = raw_connect(&w->addr), half = raw_connect(&w->addr);
    assert_int_equal(write(half, begun, sizeof begun), sizeof begun);
    WAIT_FOR(w, w->server.refused == 2);
    assert_int_equal(w->server.why.end, BK_CONN_OPEN_TIMEOUT);
    assert_int_equal(w->server.opened, 0);
    assert_int_equal(w->server.closed, 0);
    assert_int_equal(bk_listener_count(w->listener), 0);
    assert_true(hung_up(silent));
    close(silent);
    close(half);
}

static void test_silent_server(void **state)
{
    struct world *w = *state;
    int fd = -1, family = 0;
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    assert_int_equal(bk_socket_bind(SOCK_STREAM, &any, false, &fd, &family), BK_OK);
    assert_int_equal(listen(fd, 5), 0);
    w->addr = bk_sockaddr_local(fd);
    w->client_config.limits.open_ms = 80;
    connect_now(w);
    WAIT_FOR(w, w->client.closed == 1);
    assert_int_equal(w->client.why.end, BK_CONN_OPEN_TIMEOUT);
    assert_int_equal(w->client.opened, 0);
    close(fd);
}

/* ---- Addresses ---- */

static struct bk_addr closed_port(void)
{
    int fd = -1, family = 0;
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    assert_int_equal(bk_socket_bind(SOCK_STREAM, &any, false, &fd, &family), BK_OK);
    struct bk_addr a = bk_sockaddr_local(fd);
    close(fd);
    return a;
}

static void test_unreachable(void **state)
{
    struct world *w = *state;
    w->addr = closed_port();
    connect_now(w);
    assert_int_equal(w->client.closed, 0);
    WAIT_FOR(w, w->client.closed == 1);
    assert_int_equal(w->client.why.end, BK_CONN_UNREACHABLE);
    assert_int_equal(w->client.why.os_error, ECONNREFUSED);
    struct bk_conn *conn = NULL;
    assert_int_equal(bk_conn_connect(w->base, &w->client_config, &w->addr, 0, NULL, &conn),
                     BK_E_RANGE);
}

static void test_next_address(void **state)
{
    struct world *w = *state;
    int mute = -1, family = 0;
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0), from = bk_addr_v4(127, 0, 0, 7, 0);
    /* A listener that does not answer: its queue is full (one more than the backlog). */
    assert_int_equal(bk_socket_bind(SOCK_STREAM, &any, false, &mute, &family), BK_OK);
    assert_int_equal(listen(mute, 0), 0);
    listen_now(w);
    struct bk_addr good = w->addr;
    w->addr = bk_sockaddr_local(mute);
    int filler = raw_connect(&w->addr);
    struct bk_addr addrs[] = {closed_port(), bk_sockaddr_local(mute), good};
    struct bk_conn *conn = NULL;
    assert_int_equal(bk_conn_connect(w->base, &w->client_config, addrs, 3, &from, &conn), BK_OK);
    w->client.conn = conn;
    WAIT_FOR(w, w->client.opened == 1 && w->server.opened == 1);
    struct bk_addr remote = bk_conn_remote(conn), seen = bk_conn_remote(w->server.conn);
    assert_true(bk_addr_equal(&remote, &good));
    assert_true(bk_addr_same_ip(&seen, &from));
    close(filler);
    close(mute);
}

/* ---- Refusals ---- */

static void test_server_refuses_certificate(void **state)
{
    struct world *w = *state;
    uint8_t buf[FRAME_MAX];
    struct pki other = pki_new();
    struct holder h = holder_new(&other, "beckon:device:2133", false, -10, DAY_S);
    struct bk_tls *tls = client_tls_of(&h, w->ends.pki.ca);
    listen_now(w);
    w->client_config.tls = tls;
    connect_now(w);
    bk_tls_free(tls); /* the connection keeps what it needs */
    /* The client may talk before it hears of it; its words must not drown the reason. */
    while (w->client.closed == 0) {
        assert_false(w->patience.late);
        if (w->client.opened == 1) {
            enum bk_err err = bk_conn_send(w->client.conn, make_frame(buf, FRAME_MAX));
            assert_true(err == BK_OK || err == BK_E_NOSPACE || err == BK_E_STATE);
        }
        assert_int_equal(event_base_loop(w->base, EVLOOP_ONCE), 0);
    }
    assert_int_equal(w->client.why.end, BK_CONN_TLS);
    assert_int_equal(w->client.why.tls, BK_TLS_REFUSED_BY_PEER);
    assert_int_equal(w->server.refused, 1);
    assert_int_equal(w->server.why.tls, BK_TLS_NOT_OUR_CA);
    assert_int_equal(w->server.opened, 0);
    WAIT_FOR(w, bk_listener_count(w->listener) == 0);
    holder_free(&h);
    pki_free(&other);
}

static void test_client_refuses_server(void **state)
{
    struct world *w = *state;
    struct pki other = pki_new();
    struct bk_tls *tls = client_tls_of(&w->ends.device, other.ca);
    w->client_config.tls = tls;
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->client.closed == 1 && w->server.refused == 1);
    assert_int_equal(w->client.why.end, BK_CONN_TLS);
    assert_int_equal(w->client.why.tls, BK_TLS_NOT_OUR_CA);
    assert_int_equal(w->server.why.tls, BK_TLS_REFUSED_BY_PEER);
    bk_tls_free(tls);
    pki_free(&other);
}

static void test_garbage(void **state)
{
    struct world *w = *state;
    listen_now(w);
    int fd = raw_connect(&w->addr);
    uint8_t answer[64];
    assert_int_equal(write(fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    WAIT_FOR(w, w->server.refused == 1);
    assert_int_equal(w->server.why.tls, BK_TLS_NOT_TLS);
    /* Hung up on in order though much of what it said was never read: a reset could overtake an alert. */
    assert_int_equal(bk_listener_count(w->listener), 1);
    assert_int_equal(recv(fd, answer, sizeof answer, 0), 0);
    close(fd);
    WAIT_FOR(w, bk_listener_count(w->listener) == 0);
}

/* ---- Limits of the listener ---- */

static void test_limits(void **state)
{
    struct world *w = *state;
    w->listener_config.max_handshakes = 3;
    listen_now(w);
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = raw_connect(&w->addr);
    }
    WAIT_FOR(w, hung_up(fds[0])); /* the oldest makes room */
    assert_int_equal(bk_listener_count(w->listener), 3);
    for (int i = 0; i < 4; i++) {
        close(fds[i]);
    }
    WAIT_FOR(w, bk_listener_count(w->listener) == 0);
    bk_listener_set_limits(w->listener, 0, 0, 2);
    for (int i = 0; i < 3; i++) {
        fds[i] = raw_connect(&w->addr);
    }
    WAIT_FOR(w, hung_up(fds[2]));
    assert_int_equal(bk_listener_count(w->listener), 2);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    WAIT_FOR(w, bk_listener_count(w->listener) == 0);
    /* Open ones count for the total, not for the handshakes. */
    bk_listener_set_limits(w->listener, 0, 1, 0);
    connect_now(w);
    WAIT_FOR(w, w->client.opened == 1 && w->server.opened == 1);
    fds[0] = raw_connect(&w->addr);
    WAIT_FOR(w, bk_listener_count(w->listener) == 2);
    bk_listener_set_limits(w->listener, 2, 0, 0);
    fds[1] = raw_connect(&w->addr);
    WAIT_FOR(w, hung_up(fds[1]));
    assert_int_equal(bk_listener_count(w->listener), 2);
    close(fds[0]);
    close(fds[1]);
}

static void on_end_of_watch(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    *(bool *)ctx = true;
}

/* Out of descriptors: accepting stops for a moment instead of spinning, and comes back. */
static void test_no_descriptors(void **state)
{
    struct world *w = *state;
    struct rlimit before, none;
    listen_now(w);
    int fd = raw_connect(&w->addr);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)fd; /* everything up to here is taken */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    unsigned turns = 0;
    bool over = false;
    struct event *end = evtimer_new(w->base, on_end_of_watch, &over);
    struct timeval tv = {.tv_usec = 250000};
    assert_int_equal(event_add(end, &tv), 0);
    while (!over) {
        assert_int_equal(event_base_loop(w->base, EVLOOP_ONCE), 0);
        turns++;
    }
    event_free(end);
    assert_in_range(turns, 2, 20); /* one for each attempt; spinning would take thousands */
    assert_int_equal(bk_listener_count(w->listener), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    WAIT_FOR(w, bk_listener_count(w->listener) == 1);
    close(fd);
}

static void test_listener_goes_first(void **state)
{
    struct world *w = *state;
    uint8_t buf[FRAME_MAX];
    w->server.echo = true;
    both_open(w);
    int fd = raw_connect(&w->addr);
    WAIT_FOR(w, bk_listener_count(w->listener) == 2);
    bk_listener_free(w->listener);
    w->listener = NULL;
    WAIT_FOR(w, hung_up(fd));
    close(fd);
    assert_int_equal(bk_conn_send(w->client.conn, make_frame(buf, 100)), BK_OK);
    WAIT_FOR(w, w->client.messages == 1);
}

static void test_listener_addresses(void **state)
{
    struct world *w = *state;
    struct bk_addr any, taken, bound;
    listen_now(w);
    taken = w->addr;
    assert_int_equal(bk_listener_add(w->listener, &taken, NULL), BK_E_IO);
    assert_int_equal(errno, EADDRINUSE);
    memset(&any, 0, sizeof any); /* "::", for both families */
    assert_int_equal(bk_listener_add(w->listener, &any, &bound), BK_OK);
    w->addr = bk_addr_v4(127, 0, 0, 1, bound.port);
    connect_now(w);
    WAIT_FOR(w, w->client.opened == 1 && w->server.opened == 1);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        CASE(test_echo),
        CASE(test_single_bytes),
        CASE(test_oversize_frame),
        CASE(test_no_frame),
        CASE(test_close_flushes),
        CASE(test_close_before_open),
        CASE(test_free_within_message),
        CASE(test_close_within_message),
        CASE(test_reset_is_a_cut),
        CASE(test_end_without_notice_is_a_cut),
        CASE(test_overflow),
        CASE(test_idle),
        CASE(test_busy_is_not_idle),
        CASE(test_idle_changed),
        CASE(test_slow_frame),
        CASE(test_half_open),
        CASE(test_silent_server),
        CASE(test_unreachable),
        CASE(test_next_address),
        CASE(test_server_refuses_certificate),
        CASE(test_client_refuses_server),
        CASE(test_garbage),
        CASE(test_limits),
        CASE(test_no_descriptors),
        CASE(test_listener_goes_first),
        CASE(test_listener_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
