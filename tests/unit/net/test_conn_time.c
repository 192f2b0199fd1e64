/* How long a connection may take: to open, for a frame, and with nothing said. */
#include "net/conn_world.h"

#include <time.h>

#include "base/clock.h"

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
    enum { LIMIT_MS = 1000 }; /* more than a busy machine keeps us waiting */
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
    WAIT_FOR(w, hung_up(silent));
    close(silent);
    close(half);
}

static void test_silent_server(void **state)
{
    struct world *w = *state;
    int fd = bound_socket(&w->addr);
    assert_int_equal(listen(fd, 5), 0);
    w->client_config.limits.open_ms = 80;
    connect_now(w);
    WAIT_FOR(w, w->client.closed == 1);
    assert_int_equal(w->client.why.end, BK_CONN_OPEN_TIMEOUT);
    assert_int_equal(w->client.opened, 0);
    close(fd);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        CASE(test_idle),       CASE(test_busy_is_not_idle), CASE(test_idle_changed),
        CASE(test_slow_frame), CASE(test_half_open),        CASE(test_silent_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
