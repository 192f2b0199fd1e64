/* Connections over loopback: how they come about, frames in all sizes, every end. */
#include "net/conn_world.h"

#include <errno.h>

/* ---- Addresses ---- */

static struct bk_addr closed_port(void)
{
    struct bk_addr a;
    close(bound_socket(&a));
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
    struct bk_addr from = bk_addr_v4(127, 0, 0, 7, 0), mute_addr;
    int mute = bound_socket(&mute_addr);
    /* A listener that does not answer: its queue is full (one more than the backlog). */
    assert_int_equal(listen(mute, 0), 0);
    listen_now(w);
    int filler = raw_connect(&mute_addr);
    struct bk_addr addrs[] = {closed_port(), mute_addr, w->addr};
    struct bk_conn *conn = NULL;
    assert_int_equal(bk_conn_connect(w->base, &w->client_config, addrs, 3, &from, &conn), BK_OK);
    w->client.conn = conn;
    WAIT_FOR(w, w->client.opened == 1 && w->server.opened == 1);
    struct bk_addr remote = bk_conn_remote(conn), seen = bk_conn_remote(w->server.conn);
    assert_true(bk_addr_equal(&remote, &w->addr));
    assert_true(bk_addr_same_ip(&seen, &from));
    close(filler);
    close(mute);
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

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        CASE(test_unreachable),
        CASE(test_next_address),
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
