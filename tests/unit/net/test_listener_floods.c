/* Floods against a listener and the connections that it accepts: half-open handshakes, handshakes without end,
 * many connections of one address, messages of TLS itself. Others must get through, and memory stay bounded.
 * Also connections of long life, which TCP alone watches. */
#include "net/listening.h"

#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/clock.h"
#include "net/listener.h"
#include "net/sockaddr.h"

enum {
    KB = 1024,
    HANDSHAKES = 8,
    HANDSHAKE_BYTES = 200 * KB, /* what one may cost */
};

/* ---- The world ---- */

struct world {
    struct event_base *base;
    struct patience patience;
    struct tls_ends ends;
    struct bk_listener *listener;
    struct bk_listener_config config;
    struct bk_addr addr;
    struct bk_conn *server, *client; /* newest of each */
    unsigned opened, closed, refused, messages;
    unsigned client_opened, client_closed;
    struct bk_conn_closed why, client_why;
    SSL *taken;
    bool take;
};

static enum bk_err frame(struct bk_slice got, size_t *bytes)
{
    *bytes = 1;
    return got.n > 0 ? BK_OK : BK_E_TRUNCATED;
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct world *w = ctx;
    assert_string_equal(peer->alpn, "beckon-agent/1");
    w->opened++;
    w->server = conn;
}

static void on_client_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct world *w = ctx;
    (void)peer;
    w->client_opened++;
    if (w->take) {
        w->taken = bk_conn_take_ssl(conn);
        w->client = NULL;
    }
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice bytes)
{
    (void)conn;
    (void)bytes;
    ((struct world *)ctx)->messages++;
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct world *w = ctx;
    w->closed++;
    w->why = *why;
    w->server = w->server == conn ? NULL : w->server;
    bk_conn_free(conn);
}

static void on_client_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct world *w = ctx;
    w->client_closed++;
    w->client_why = *why;
    w->client = NULL;
    bk_conn_free(conn);
}

static void on_refused(void *ctx, const struct bk_addr *from, const struct bk_conn_closed *why)
{
    struct world *w = ctx;
    (void)from;
    w->refused++;
    w->why = *why;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->base = loop_new(&w->patience);
    tls_ends_init(&w->ends);
    w->config = (struct bk_listener_config){
        .conn = {.tls = w->ends.server_tls,
                 .frame = frame,
                 .on = {.ctx = w, .open = on_open, .message = on_message, .closed = on_closed}},
        .refused = on_refused,
        .max_handshakes = HANDSHAKES,
    };
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    bk_conn_free(w->client);
    bk_conn_free(w->server);
    bk_listener_free(w->listener);
    tls_ends_fini(&w->ends);
    loop_free(w->base, &w->patience);
    free(w);
    return 0;
}

static void listen_now(struct world *w)
{
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    assert_int_equal(bk_listener_new(w->base, &w->config, &w->listener), BK_OK);
    assert_int_equal(bk_listener_add(w->listener, &any, &w->addr), BK_OK);
}

static void connect_now(struct world *w, uint32_t dead_ms)
{
    const struct bk_conn_config config = {
        .tls = w->ends.client_tls,
        .frame = frame,
        .on = {.ctx = w, .open = on_client_open, .message = on_message, .closed = on_client_closed},
        .limits = {.dead_ms = dead_ms},
    };
    assert_int_equal(bk_conn_connect(w->base, &config, &w->addr, 1, NULL, &w->client), BK_OK);
}

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t heap_now(void)
{
    if (__sanitizer_get_current_allocated_bytes != NULL) {
        return __sanitizer_get_current_allocated_bytes();
    }
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

/* ---- Handshakes ---- */

/* A client hello that says it is as large as one may be, and never comes to its end. */
static void begin_hello(int fd)
{
    static const uint8_t record[5 + 1024] = {0x16, 3, 1, 4, 0, 1, 1, 0xff, 0xff};
    (void)send(fd, record, sizeof record, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Many addresses with connections that say nothing, or half a word: every place is taken, again and again.
 * One that says something gets through, each time. */
static void half_open_handshakes_shut_nobody_out(void **state)
{
    enum { ROUNDS = 20, EACH = 3 * HANDSHAKES };
    struct world *w = *state;
    static int fds[ROUNDS][EACH];
    listen_now(w);
    size_t before = heap_now(), most = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned k = 0; k < EACH; k++) {
            fds[i][k] = raw_connect_from(&w->addr, (uint8_t)(1 + k));
            if (k % 2 == 0) {
                begin_hello(fds[i][k]);
            }
        }
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        assert_true(bk_listener_count(w->listener) <= HANDSHAKES + i);
        most = heap_now() > most ? heap_now() : most;
        connect_now(w, 0);
        WAIT_FOR(w, w->client_opened == i + 1 && w->opened == i + 1);
        bk_conn_free(w->client);
        w->client = NULL;
        WAIT_FOR(w, w->closed == i + 1);
    }
    assert_true(most < before + HANDSHAKES * HANDSHAKE_BYTES);
    /* Those that made room were hung up on; the youngest still wait. */
    WAIT_FOR(w, hung_up(fds[0][0]));
    assert_true(bk_listener_count(w->listener) <= HANDSHAKES);
    assert_int_equal(w->refused, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned k = 0; k < EACH; k++) {
            close(fds[i][k]);
        }
    }
    WAIT_FOR(w, bk_listener_count(w->listener) == 0);
}

/* Open connections are never what makes room. */
static void handshakes_push_out_no_open_connection(void **state)
{
    struct world *w = *state;
    int fds[4 * HANDSHAKES];
    w->config.max_total = HANDSHAKES + 1;
    listen_now(w);
    connect_now(w, 0);
    WAIT_FOR(w, w->client_opened == 1 && w->opened == 1);
    for (unsigned k = 0; k < 4 * HANDSHAKES; k++) {
        fds[k] = raw_connect_from(&w->addr, (uint8_t)(1 + k));
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        assert_true(bk_listener_count(w->listener) <= HANDSHAKES + 1);
    }
    assert_int_equal(w->closed, 0);
    assert_int_equal(w->client_closed, 0);
    for (unsigned k = 0; k < 4 * HANDSHAKES; k++) {
        close(fds[k]);
    }
}

static void garbage_in_many_sizes(void **state)
{
    struct world *w = *state;
    w->config.max_handshakes = 512;
    w->config.max_per_address = 512;
    listen_now(w);
    size_t before = heap_now();
    int fds[300];
    for (unsigned i = 0; i < 300; i++) {
        uint8_t bytes[600];
        memset(bytes, (int)i, sizeof bytes);
        fds[i] = raw_connect_from(&w->addr, 1);
        (void)send(fds[i], bytes, i * 2 + 1, MSG_NOSIGNAL);
        event_base_loop(w->base, EVLOOP_NONBLOCK);
    }
    for (unsigned i = 0; i < 300; i++) {
        shutdown(fds[i], SHUT_WR);
    }
    WAIT_FOR(w, bk_listener_count(w->listener) == 0);
    assert_int_equal(w->opened, 0);
    assert_int_equal(w->refused, 300);
    assert_true(heap_now() < before + 256 * KB);
    for (unsigned i = 0; i < 300; i++) {
        close(fds[i]);
    }
}

/* How many of them the other end has hung up on. */
static unsigned hung_up_of(const int *fds, unsigned n)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < n; i++) {
        sum += hung_up(fds[i]);
    }
    return sum;
}

/* One address may not keep us busy with handshakes; another comes in beside it. */
static void rate_of_one_address(void **state)
{
    enum { RATE = 2, BURST = 8 * RATE, TRIES = 60 };
    struct world *w = *state;
    int fds[TRIES];
    w->config.rate_per_address = RATE;
    w->config.max_handshakes = w->config.max_per_address = 2 * TRIES;
    listen_now(w);
    bk_time began = bk_clock_mono();
    for (unsigned i = 0; i < TRIES; i++) {
        fds[i] = raw_connect_from(&w->addr, 5);
        event_base_loop(w->base, EVLOOP_NONBLOCK);
    }
    WAIT_FOR(w, hung_up_of(fds, TRIES) + bk_listener_count(w->listener) == TRIES);
    unsigned waited_s = (unsigned)((bk_clock_mono() - began) / BK_SECOND) + 1;
    assert_in_range(bk_listener_count(w->listener), BURST, BURST + waited_s * RATE);
    int other = raw_connect_from(&w->addr, 6);
    uint32_t count = bk_listener_count(w->listener);
    WAIT_FOR(w, bk_listener_count(w->listener) == count + 1);
    close(other);
    for (unsigned i = 0; i < TRIES; i++) {
        close(fds[i]);
    }
}

/* ---- After the handshake ---- */

static void key_updates_end_a_connection(void **state)
{
    struct world *w = *state;
    w->take = true;
    listen_now(w);
    connect_now(w, 0);
    WAIT_FOR(w, w->client_opened == 1 && w->opened == 1);
    int fd = SSL_get_fd(w->taken);
    uint8_t waste[1024];
    for (unsigned i = 0; i < BK_TLS_CHATTER_MAX; i++) { /* as many as are anybody's right */
        assert_int_equal(SSL_key_update(w->taken, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(w->taken), 1);
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        (void)SSL_read(w->taken, waste, sizeof waste);
    }
    assert_int_equal(SSL_write(w->taken, "x", 1), 1);
    WAIT_FOR(w, w->messages == 1);
    assert_int_equal(w->closed, 0);
    for (unsigned i = 0; i < 5000; i++) { /* no look at them in between */
        if (SSL_key_update(w->taken, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 ||
            SSL_do_handshake(w->taken) != 1) {
            break;
        }
    }
    WAIT_FOR(w, w->closed == 1);
    assert_int_equal(w->why.end, BK_CONN_BAD_FRAME);
    SSL_free(w->taken);
    close(fd);
}

/* ---- Long life ---- */

static int option_of(struct bk_conn *conn, int level, int name)
{
    int value = -1;
    socklen_t n = sizeof value;
    assert_int_equal(getsockopt(SSL_get_fd(bk_conn_borrow_ssl(conn)), level, name, &value, &n), 0);
    return value;
}

/* A silent connection has no idle limit; TCP asks instead, on either side, and can be told to stop. */
static void tcp_watches_silent_connections(void **state)
{
    struct world *w = *state;
    w->config.conn.limits.idle_ms = 60 * 1000;
    listen_now(w);
    connect_now(w, 90 * 1000);
    WAIT_FOR(w, w->client_opened == 1 && w->opened == 1);
    assert_int_equal(option_of(w->client, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(w->client, IPPROTO_TCP, TCP_KEEPIDLE), 45);
    assert_int_equal(option_of(w->client, IPPROTO_TCP, TCP_KEEPINTVL), 15);
    assert_int_equal(option_of(w->client, IPPROTO_TCP, TCP_KEEPCNT), 3);
    assert_int_equal(option_of(w->client, IPPROTO_TCP, TCP_USER_TIMEOUT), 90 * 1000);
    assert_int_equal(option_of(w->server, SOL_SOCKET, SO_KEEPALIVE), 0);
    bk_conn_set_idle(w->server, 0);
    bk_conn_set_dead(w->server, 1); /* the shortest that TCP can do */
    assert_int_equal(option_of(w->server, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(w->server, IPPROTO_TCP, TCP_KEEPIDLE), 3);
    assert_int_equal(option_of(w->server, IPPROTO_TCP, TCP_KEEPINTVL), 1);
    bk_conn_set_dead(w->server, 0);
    assert_int_equal(option_of(w->server, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option_of(w->server, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        CASE(half_open_handshakes_shut_nobody_out),
        CASE(handshakes_push_out_no_open_connection),
        CASE(garbage_in_many_sizes),
        CASE(rate_of_one_address),
        CASE(key_updates_end_a_connection),
        CASE(tcp_watches_silent_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
