/* Bytes with the server's first flight: who gets them, when, and what becomes of them; and the client's first bytes with
 * the end of its handshake. */
#include "net/listening.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/clock.h"
#include "net/listener.h"
#include "net/sockaddr.h"

enum {
    HEARD_MAX = 2 * BK_CONN_EARLY_MAX_BYTES,
    CORKED_MS = 180, /* for longer than 200 ms the kernel holds nothing back */
};

#define CALL_NAME "call-0011.beckon"
#define ALPN "beckon-call/1"

struct world;

struct side {
    struct world *world;
    struct bk_conn *conn;
    unsigned opened, closed, refused, asked, lost;
    unsigned lost_when_closed; /* how many were lost when `closed` came */
    SSL *ssl;
    uint8_t heard[HEARD_MAX];
    size_t n_heard;      /* within `open`, without waiting */
    unsigned other_open; /* how often the other side had opened by then */
    bool free_when_asked;
    struct bk_conn *asked_of;
};

struct world {
    struct event_base *base;
    struct patience patience;
    struct holder call, device, stranger;
    struct bk_tls *requester_tls, *device_tls, *stranger_tls;
    struct bk_listener *listener;
    struct bk_addr addr;
    struct side requester, device_side;
    struct bk_conn_config dial;
    struct bk_listener_config listening;
    uint8_t early[BK_CONN_EARLY_MAX_BYTES];
    size_t n_early;
    char asked_name[64];
};

static void read_all(struct side *s)
{
    for (;;) {
        int n = SSL_read(s->ssl, s->heard + s->n_heard, (int)(sizeof s->heard - s->n_heard));
        if (n <= 0) {
            return;
        }
        s->n_heard += (size_t)n;
    }
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct side *s = ctx;
    struct world *w = s->world;
    assert_true(peer->certified);
    assert_true(s->asked == 0 || s->asked_of == conn);
    s->opened++;
    s->conn = NULL;
    s->ssl = bk_conn_take_ssl(conn);
    s->other_open = s == &w->requester ? w->device_side.opened : w->requester.opened;
    read_all(s);
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct side *s = ctx;
    (void)why;
    s->closed++;
    s->lost_when_closed = s->lost;
    s->conn = NULL;
    bk_conn_free(conn);
}

static void on_refused(void *ctx, const struct bk_addr *from, const struct bk_conn_closed *why)
{
    struct side *s = ctx;
    (void)from, (void)why;
    s->refused++;
}

static struct bk_slice on_early(void *ctx, struct bk_conn *conn)
{
    struct side *s = ctx;
    struct world *w = s->world;
    const char *name = SSL_get_servername(bk_conn_borrow_ssl(conn), TLSEXT_NAMETYPE_host_name);
    s->asked++;
    s->asked_of = conn;
    assert_non_null(name);
    assert_true(strlen(name) < sizeof w->asked_name);
    memcpy(w->asked_name, name, strlen(name) + 1);
    assert_null(bk_conn_peer(conn)); /* nobody is known yet */
    assert_null(SSL_get0_peer_certificate(bk_conn_borrow_ssl(conn)));
    if (s->free_when_asked) {
        s->conn = NULL;
        bk_conn_free(conn);
    }
    return bk_slice(w->early, w->n_early);
}

static void on_early_lost(void *ctx, struct bk_conn *conn)
{
    struct side *s = ctx;
    assert_ptr_equal(conn, s->asked_of);
    s->lost++;
}

/* ---- The world: a call that one device is to answer ---- */

static bool choose(void *ctx, const char *name, struct bk_tls_call *out)
{
    struct world *w = ctx;
    out->cert = w->call.cert;
    out->key = w->call.key;
    memcpy(out->peer_pin, w->device.pin, sizeof out->peer_pin);
    return strcmp(name, CALL_NAME) == 0;
}

static struct bk_tls *dialler(const struct world *w, const struct holder *who, const char *name)
{
    struct bk_tls *tls = NULL;
    struct bk_tls_call_client config = {.cert = who->cert,
                                        .key = who->key,
                                        .peer_pin = w->call.pin,
                                        .server_name = name,
                                        .alpn = ALPN};
    assert_int_equal(bk_tls_new_call_client(&config, &tls), BK_OK);
    return tls;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->base = loop_new(&w->patience);
    w->requester.world = w->device_side.world = w;
    w->call = holder_call();
    w->device = holder_call(); /* its key is all that counts here */
    w->stranger = holder_call();
    w->device_tls = dialler(w, &w->device, CALL_NAME);
    w->stranger_tls = dialler(w, &w->stranger, CALL_NAME);
    assert_int_equal(bk_tls_new_call_server(ALPN, choose, w, &w->requester_tls), BK_OK);
    w->dial.tls = w->device_tls;
    w->dial.on =
        (struct bk_conn_callbacks){.ctx = &w->device_side, .open = on_open, .closed = on_closed};
    w->listening.conn = w->dial;
    w->listening.conn.tls = w->requester_tls;
    w->listening.conn.on.ctx = &w->requester;
    w->listening.conn.on.early = on_early;
    w->listening.conn.on.early_lost = on_early_lost;
    w->listening.refused = on_refused;
    w->n_early = 150;
    for (size_t i = 0; i < sizeof w->early; i++) {
        w->early[i] = (uint8_t)(i * 7 + 3);
    }
    *state = w;
    return 0;
}

static void listen_now(struct world *w)
{
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    assert_int_equal(bk_listener_new(w->base, &w->listening, &w->listener), BK_OK);
    assert_int_equal(bk_listener_add(w->listener, &any, &w->addr), BK_OK);
}

static void connect_now(struct world *w)
{
    assert_int_equal(bk_conn_connect(w->base, &w->dial, &w->addr, 1, NULL, &w->device_side.conn),
                     BK_OK);
}

static void end(struct side *s)
{
    bk_conn_free(s->conn);
    if (s->ssl != NULL) {
        close(SSL_get_fd(s->ssl));
        SSL_free(s->ssl);
    }
}

static int tear_down(void **state)
{
    struct world *w = *state;
    end(&w->requester);
    end(&w->device_side);
    bk_listener_free(w->listener);
    bk_tls_free(w->requester_tls);
    bk_tls_free(w->device_tls);
    bk_tls_free(w->stranger_tls);
    holder_free(&w->call);
    holder_free(&w->device);
    holder_free(&w->stranger);
    loop_free(w->base, &w->patience);
    free(w);
    return 0;
}

static void assert_heard(const struct world *w)
{
    assert_int_equal(w->device_side.n_heard, w->n_early);
    assert_memory_equal(w->device_side.heard, w->early, w->n_early);
}

/* A TCP connection to the listener that says what `tls` says first, and no more. */
static int stall(struct world *w, struct bk_tls *tls, SSL **ssl)
{
    int fd = raw_connect(&w->addr);
    evutil_make_socket_nonblocking(fd);
    assert_int_equal(bk_tls_start(tls, fd, ssl), BK_OK);
    assert_int_equal(SSL_do_handshake(*ssl), -1);
    return fd;
}

/* ---- Who gets them ---- */

static void test_they_come_with_the_flight(void **state)
{
    struct world *w = *state;
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->requester.opened == 1 && w->device_side.opened == 1);
    /* The device had them when it opened, and it opens before its own certificate has reached the other side. */
    assert_heard(w);
    assert_int_equal(w->device_side.other_open, 0);
    assert_int_equal(w->requester.other_open, 1);
    assert_int_equal(w->requester.asked, 1);
    assert_int_equal(w->requester.lost, 0);
    assert_string_equal(w->asked_name, CALL_NAME);
    /* And both ways go on behind them. */
    assert_int_equal(SSL_write(w->requester.ssl, "more", 4), 4);
    assert_int_equal(SSL_write(w->device_side.ssl, "banner", 6), 6);
    while (w->device_side.n_heard < w->n_early + 4 || w->requester.n_heard < 6) {
        read_all(&w->device_side);
        read_all(&w->requester);
    }
    assert_memory_equal(w->device_side.heard + w->n_early, "more", 4);
    assert_memory_equal(w->requester.heard, "banner", 6);
}

static void test_as_many_as_may_be(void **state)
{
    struct world *w = *state;
    w->n_early = BK_CONN_EARLY_MAX_BYTES;
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->requester.opened == 1 && w->device_side.opened == 1);
    while (w->device_side.n_heard < w->n_early) {
        read_all(&w->device_side);
    }
    assert_heard(w);
}

static void test_none(void **state)
{
    struct world *w = *state;
    w->n_early = 0;
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->requester.opened == 1 && w->device_side.opened == 1);
    assert_heard(w);
    assert_int_equal(w->requester.asked, 1);
}

/* A server that dials, as in a simultaneous open; here it is the accepted side that is the client. */
static void test_without_a_listener(void **state)
{
    struct world *w = *state;
    struct bk_conn_config server = w->listening.conn;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(bk_conn_adopt(w->base, &server, fds[0], &w->requester.conn), BK_OK);
    assert_int_equal(bk_conn_adopt(w->base, &w->dial, fds[1], &w->device_side.conn), BK_OK);
    WAIT_FOR(w, w->requester.opened == 1 && w->device_side.opened == 1);
    assert_heard(w);
}

/* ---- Who should not ---- */

/* He has seen the call's name on its way, and has no key of the device's: what he reads is what `early` gave, and
 * nothing that the requester's side hears of him counts. */
static void test_a_stranger_with_the_name(void **state)
{
    struct world *w = *state;
    w->dial.tls = w->stranger_tls;
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->requester.refused == 1 && bk_listener_count(w->listener) <= 1);
    assert_int_equal(w->requester.opened, 0);
    assert_int_equal(w->requester.closed, 0);
    assert_int_equal(w->requester.lost, 1);
    WAIT_FOR(w, w->device_side.opened == 1);
    assert_heard(w);
    read_all(&w->device_side); /* whatever else there is: the alert */
    assert_int_equal(w->device_side.n_heard, w->n_early);
    /* The device itself is served after him as if he had not been. */
    end(&w->device_side);
    w->device_side.ssl = NULL;
    w->device_side.n_heard = 0;
    w->dial.tls = w->device_tls;
    connect_now(w);
    WAIT_FOR(w, w->requester.opened == 1 && w->device_side.opened == 2);
    assert_heard(w);
    assert_int_equal(w->requester.lost, 1);
}

static void test_a_stranger_without_the_name(void **state)
{
    struct world *w = *state;
    bk_tls_free(w->stranger_tls);
    w->stranger_tls = dialler(w, &w->device, "call-0012.beckon");
    w->dial.tls = w->stranger_tls;
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->requester.refused == 1 && w->device_side.closed == 1);
    assert_int_equal(w->requester.asked, 0);
    assert_int_equal(w->requester.lost, 0);
}

/* Somebody repeats what the device once said: without its ephemeral key all he gets is noise, and the bytes are lost. */
static void test_a_recorded_first_message(void **state)
{
    struct world *w = *state;
    SSL *ssl = NULL;
    listen_now(w);
    int fd = stall(w, w->device_tls, &ssl);
    WAIT_FOR(w, w->requester.asked == 1);
    shutdown(fd, SHUT_WR);
    WAIT_FOR(w, w->requester.lost == 1);
    assert_int_equal(w->requester.opened, 0);
    struct pollfd in = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&in, 1, PATIENCE_S * 1000), 1);
    static uint8_t wire[16384];
    ssize_t n = recv(fd, wire, sizeof wire, MSG_DONTWAIT);
    assert_true(n > (ssize_t)w->n_early);
    assert_null(memmem(wire, (size_t)n, w->early, 16));
    close(fd);
    SSL_free(ssl);
}

/* ---- Lost on the way ---- */

static void test_the_oldest_makes_room(void **state)
{
    struct world *w = *state;
    SSL *first = NULL, *second = NULL;
    w->listening.max_handshakes = 1;
    listen_now(w);
    int a = stall(w, w->device_tls, &first);
    WAIT_FOR(w, w->requester.asked == 1);
    int b = stall(w, w->device_tls, &second);
    WAIT_FOR(w, w->requester.asked == 2);
    assert_int_equal(w->requester.lost, 1);
    bk_listener_free(w->listener); /* takes those with it that have not finished */
    w->listener = NULL;
    assert_int_equal(w->requester.lost, 2);
    assert_int_equal(w->requester.opened + w->requester.closed, 0);
    close(a);
    close(b);
    SSL_free(first);
    SSL_free(second);
}

static void test_told_before_closed(void **state)
{
    struct world *w = *state;
    struct bk_conn_config server = w->listening.conn;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    w->dial.tls = w->stranger_tls;
    assert_int_equal(bk_conn_adopt(w->base, &server, fds[0], &w->requester.conn), BK_OK);
    assert_int_equal(bk_conn_adopt(w->base, &w->dial, fds[1], &w->device_side.conn), BK_OK);
    WAIT_FOR(w, w->requester.closed == 1);
    assert_int_equal(w->requester.lost, 1);
    assert_int_equal(w->requester.lost_when_closed, 1);
    assert_int_equal(w->requester.opened, 0);
}

static void test_owner_frees(void **state)
{
    struct world *w = *state;
    w->requester.free_when_asked = true;
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->requester.asked == 1 && bk_listener_count(w->listener) == 0);
    assert_int_equal(w->requester.lost, 0);
    WAIT_FOR(w, w->device_side.opened == 1);
    assert_int_equal(w->device_side.n_heard, 0);
}

/* ---- The client's first bytes ---- */

static unsigned segments_with_data(int fd)
{
    /* What Linux has behind the part that the C library knows (linux/tcp.h cannot stand beside netinet/tcp.h). */
    enum { DATA_SEGS_OUT_AT = 156 };
    uint8_t bytes[256] = {0};
    socklen_t len = sizeof bytes;
    struct tcp_info info;
    uint32_t n = 0;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, bytes, &len), 0);
    assert_true(len >= DATA_SEGS_OUT_AT + sizeof n);
    memcpy(&n, bytes + DATA_SEGS_OUT_AT, sizeof n);
    memcpy(&info, bytes, sizeof info);
    return n - info.tcpi_total_retrans; /* what TCP repeated, impatient on a busy machine */
}

static int is_corked(int fd)
{
    int on = -1;
    socklen_t len = sizeof on;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, &len), 0);
    return on;
}

/* With the first word behind the handshake; 0: this process was so slow that the kernel may not have waited for it. */
static unsigned segments_of_device(struct world *w, bool gather)
{
    w->dial.gather = gather;
    listen_now(w);
    bk_time began = bk_clock_mono();
    connect_now(w);
    WAIT_FOR(w, w->device_side.opened == 1);
    int fd = SSL_get_fd(w->device_side.ssl);
    assert_int_equal(is_corked(fd), gather);
    unsigned before = segments_with_data(fd);
    assert_int_equal(SSL_write(w->device_side.ssl, "banner", 6), 6);
    bk_conn_let_go(fd);
    assert_int_equal(is_corked(fd), false);
    bool in_time = bk_clock_mono() - began < CORKED_MS * BK_MS;
    if (in_time || !gather) {
        assert_int_equal(before, gather ? 1 : 2); /* the first message; the last, unless it waits */
    }
    WAIT_FOR(w, w->requester.opened == 1);
    while (w->requester.n_heard < 6) {
        read_all(&w->requester);
    }
    return in_time || !gather ? segments_with_data(fd) : 0;
}

static void test_gathered(void **state)
{
    unsigned n = segments_of_device(*state, true);
    assert_true(n == 2 || n == 0);
}

static void test_not_gathered(void **state)
{
    assert_int_equal(segments_of_device(*state, false), 3);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        CASE(test_they_come_with_the_flight),
        CASE(test_as_many_as_may_be),
        CASE(test_none),
        CASE(test_without_a_listener),
        CASE(test_a_stranger_with_the_name),
        CASE(test_a_stranger_without_the_name),
        CASE(test_a_recorded_first_message),
        CASE(test_the_oldest_makes_room),
        CASE(test_told_before_closed),
        CASE(test_owner_frees),
        CASE(test_gathered),
        CASE(test_not_gathered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
