/* TCP Fast Open, in a network of the test's own: that it is used, and that nothing depends on it. */
#include "net/listening.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/clock.h"
#include "net/listener.h"

enum {
    FRAME_BYTES = 40,
};

#ifndef TCPI_OPT_SYN_DATA
#define TCPI_OPT_SYN_DATA 32
#endif

static bool own_network; /* else only that it works, one way or the other */

struct side {
    struct bk_conn *conn;
    unsigned opened, messages, closed;
    struct bk_conn_closed why;
};

struct world {
    struct event_base *base;
    struct patience patience;
    struct tls_ends ends;
    struct bk_listener *listener;
    struct bk_addr addr;
    struct side server, client;
    struct bk_conn_config client_config;
    struct bk_listener_config listener_config;
};

static enum bk_err frame(struct bk_slice got, size_t *bytes)
{
    (void)got;
    *bytes = FRAME_BYTES;
    return BK_OK;
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct side *s = ctx;
    assert_true(peer->certified);
    s->opened++;
    s->conn = conn;
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice bytes)
{
    struct side *s = ctx;
    (void)conn;
    assert_int_equal(bytes.n, FRAME_BYTES);
    s->messages++;
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct side *s = ctx;
    s->closed++;
    s->why = *why;
    if (s->conn == conn) {
        s->conn = NULL;
    }
    bk_conn_free(conn);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->base = loop_new(&w->patience);
    tls_ends_init(&w->ends);
    w->client_config =
        (struct bk_conn_config){.tls = w->ends.client_tls,
                                .frame = frame,
                                .on = {&w->client, on_open, on_message, on_closed, NULL, NULL},
                                .fast = true};
    w->listener_config.conn = w->client_config;
    w->listener_config.conn.tls = w->ends.server_tls;
    w->listener_config.conn.on.ctx = &w->server;
    w->listener_config.fast = true;
    w->addr = bk_addr_v4(127, 0, 0, 1, 0);
    *state = w;
    return 0;
}

static void listen_now(struct world *w)
{
    assert_int_equal(bk_listener_new(w->base, &w->listener_config, &w->listener), BK_OK);
    assert_int_equal(bk_listener_add(w->listener, &w->addr, &w->addr), BK_OK);
}

static void hang_up(struct world *w)
{
    bk_conn_free(w->client.conn);
    bk_conn_free(w->server.conn);
    memset(&w->client, 0, sizeof w->client);
    memset(&w->server, 0, sizeof w->server);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    hang_up(w);
    bk_listener_free(w->listener);
    tls_ends_fini(&w->ends);
    loop_free(w->base, &w->patience);
    free(w);
    return 0;
}

static void dial(struct world *w, const struct bk_addr *addrs, size_t n)
{
    assert_int_equal(bk_conn_connect(w->base, &w->client_config, addrs, n, NULL, &w->client.conn),
                     BK_OK);
}

static void frames_both_ways(struct world *w)
{
    uint8_t bytes[FRAME_BYTES] = {0};
    WAIT_FOR(w, w->client.opened == 1 && w->server.opened == 1);
    assert_int_equal(bk_conn_send(w->client.conn, bk_slice(bytes, sizeof bytes)), BK_OK);
    assert_int_equal(bk_conn_send(w->server.conn, bk_slice(bytes, sizeof bytes)), BK_OK);
    WAIT_FOR(w, w->client.messages == 1 && w->server.messages == 1);
}

/* Did the client's first bytes travel with its SYN, and were they taken? */
static bool was_fast(const struct world *w)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    int fd = SSL_get_fd(bk_conn_borrow_ssl(w->client.conn));
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return (info.tcpi_options & TCPI_OPT_SYN_DATA) != 0;
}

static void one_connection(struct world *w, bool fast)
{
    dial(w, &w->addr, 1);
    frames_both_ways(w);
    assert_int_equal(was_fast(w), fast && own_network);
    hang_up(w);
}

/* From here on this kernel knows that address to take bytes with a SYN (it remembers that from test to test). */
static void make_known(struct world *w)
{
    listen_now(w);
    dial(w, &w->addr, 1);
    frames_both_ways(w);
    hang_up(w);
}

static void test_from_the_second_on(void **state)
{
    struct world *w = *state;
    listen_now(w);
    one_connection(w, false); /* this is the first test */
    one_connection(w, true);
    one_connection(w, true);
}

static void test_one_side_without(void **state)
{
    struct world *w = *state;
    w->client_config.fast = false;
    make_known(w);
    one_connection(w, false);
    bk_listener_free(w->listener);
    w->client_config.fast = true;
    w->listener_config.fast = false; /* that server has been told otherwise since */
    w->addr.port = 0;
    listen_now(w);
    one_connection(w, false);
    one_connection(w, false);
}

static void test_nobody_there_any_more(void **state)
{
    struct world *w = *state;
    make_known(w);
    bk_listener_free(w->listener);
    w->listener = NULL;
    dial(w, &w->addr, 1);
    WAIT_FOR(w, w->client.closed == 1);
    assert_int_equal(w->client.why.end, BK_CONN_UNREACHABLE);
    assert_int_equal(w->client.why.os_error, ECONNREFUSED);
    assert_int_equal(w->client.opened, 0);
}

/* A server that hangs up at once looks the same from here: it is asked once more, and that is all. */
static void test_hung_up_at_once(void **state)
{
    struct world *w = *state;
    make_known(w);
    bk_listener_free(w->listener);
    w->listener_config.rate_per_address = 1; /* and eight of a burst */
    listen_now(w);
    unsigned n = 0;
    for (bool over = false; !over;) { /* whoever needs a second for it is let in once more */
        dial(w, &w->addr, 1);
        WAIT_FOR(w, w->client.closed == 1 || w->client.opened == 1);
        over = w->client.closed == 1;
        if (!over) {
            frames_both_ways(w);
            hang_up(w);
            n++;
        }
    }
    assert_true(n >= 8);
    assert_int_equal(w->client.opened, 0);
}

/* A box on the way that has no love for a SYN with bytes. */
static void swallow_long_syns(bool on)
{
    if (own_network && on) {
        assert_int_equal(system("nft add table ip t && nft 'add chain ip t c { type filter hook "
                                "input priority 0; }' && nft 'add rule ip t c tcp flags & (syn | "
                                "ack) == syn ip length > 100 drop'"),
                         0);
    } else if (own_network) {
        assert_int_equal(system("nft delete table ip t"), 0);
    }
}

static void test_swallowed(void **state)
{
    struct world *w = *state;
    make_known(w);
    swallow_long_syns(true);
    bk_time began = bk_clock_mono();
    dial(w, &w->addr, 1);
    frames_both_ways(w);
    bk_time took = bk_clock_mono() - began;
    swallow_long_syns(false);
    if (own_network) {
        assert_false(was_fast(w));
        assert_true(took >= (BK_CONN_FAST_MS - 50) * BK_MS);
    }
    assert_true(took < 6 * BK_CONN_FAST_MS * BK_MS);
}

/* The first address was known once and is silent now: the second has its turn. */
static void test_next_address(void **state)
{
    struct world *w = *state;
    struct bk_addr addrs[2] = {bk_addr_v4(127, 0, 0, 1, 0), bk_addr_v4(127, 0, 0, 2, 0)};
    make_known(w);
    addrs[0] = w->addr;
    bk_listener_free(w->listener);
    w->addr = addrs[1];
    listen_now(w);
    addrs[1] = w->addr;
    if (own_network) {
        assert_int_equal(system("nft add table ip u && nft 'add chain ip u c { type filter hook "
                                "input priority 0; }' && nft 'add rule ip u c ip daddr 127.0.0.1 "
                                "tcp flags & (syn | ack) == syn drop'"),
                         0);
    }
    dial(w, addrs, 2);
    frames_both_ways(w);
    if (own_network) {
        assert_int_equal(system("nft delete table ip u"), 0);
    }
}

/* False without the rights. */
static bool enter_own_network(void)
{
    static const char both_ways[] = "3\n";
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 || system("ip link set lo up") != 0) {
        return false;
    }
    int fd = open("/proc/sys/net/ipv4/tcp_fastopen", O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, both_ways, sizeof both_ways - 1) > 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok && system("nft list tables >/dev/null 2>&1") == 0;
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    own_network = enter_own_network();
    const struct CMUnitTest tests[] = {
        CASE(test_from_the_second_on),
        CASE(test_one_side_without),
        CASE(test_nobody_there_any_more),
        CASE(test_hung_up_at_once),
        CASE(test_swallowed),
        CASE(test_next_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
