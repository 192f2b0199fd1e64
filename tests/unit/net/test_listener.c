/* A listener: whom it refuses and who refuses it, its limits, its addresses, its end. */
#include "net/conn_world.h"

#include <errno.h>
#include <sys/resource.h>

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
    while (!over || turns < 2) { /* a late one looks again too */
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

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
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
