/* Simultaneous open, on loopback: both sides listen on the port that they dial from. */
#include "net/loop.h"
#include "net/own_network.h"
#include "net/pki.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/clock.h"
#include "net/listener.h"
#include "net/punch.h"
#include "net/sockaddr.h"

enum {
    DAY_S = 86400,
    SIDES = 2,
    COARSE_MS = 20, /* the loop's clock is coarse: timers may come early by some ms */
};

#define CALL_NAME "call-0011.beckon"

struct world;

/* The device, TLS client; or the requester, TLS server. */
struct side {
    struct world *world;
    struct bk_tls *tls;
    struct bk_listener *listener;
    struct bk_punch *punch;
    struct bk_addr addr;
    unsigned opened, over, tries;
    bool free_in_callback;
    struct bk_addr remote; /* of the newest connection */
    uint32_t round_trip_ms;
};

struct world {
    struct event_base *base;
    struct patience patience;
    struct pki pki;
    struct holder device, caller;
    struct side sides[SIDES];
    unsigned wanted; /* connections to see, on each side, */
    unsigned overs;  /* or endings, over both */
};

static void look(struct world *w)
{
    if (w->sides[0].opened >= w->wanted && w->sides[1].opened >= w->wanted && w->wanted > 0) {
        event_base_loopbreak(w->base);
    }
    if (w->overs > 0 && w->sides[0].over + w->sides[1].over >= w->overs) {
        event_base_loopbreak(w->base);
    }
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct side *s = ctx;
    assert_true(peer->certified);
    s->opened++;
    s->remote = bk_conn_remote(conn);
    s->round_trip_ms = bk_conn_round_trip_ms(conn);
    SSL *ssl = bk_conn_take_ssl(conn);
    int fd = SSL_get_fd(ssl);
    SSL_free(ssl);
    close(fd);
    if (s->free_in_callback) {
        bk_punch_free(s->punch);
        s->punch = NULL;
    }
    look(s->world);
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    (void)ctx, (void)why;
    bk_conn_free(conn);
}

static void on_over(void *ctx, uint32_t tries, const char *why)
{
    struct side *s = ctx;
    assert_true(why[0] != '\0');
    s->over++;
    s->tries = tries;
    if (s->free_in_callback) {
        bk_punch_free(s->punch);
        s->punch = NULL;
    }
    look(s->world);
}

static bool choose(void *ctx, const char *name, struct bk_tls_call *out)
{
    struct world *w = ctx;
    out->cert = w->caller.cert;
    out->key = w->caller.key;
    memcpy(out->peer_pin, w->device.pin, sizeof out->peer_pin);
    return strcmp(name, CALL_NAME) == 0;
}

static struct bk_conn_config conn_config(struct side *s)
{
    return (struct bk_conn_config){.tls = s->tls,
                                   .on = {.ctx = s, .open = on_open, .closed = on_closed}};
}

static void listen_at(struct side *s)
{
    struct bk_listener_config config = {.conn = conn_config(s), .reuse_port = true};
    assert_int_equal(bk_listener_new(s->world->base, &config, &s->listener), BK_OK);
    assert_int_equal(bk_listener_add(s->listener, &s->addr, NULL), BK_OK);
}

/* A port that nobody uses now. */
static struct bk_addr free_port(void)
{
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    int fd, family;
    assert_int_equal(bk_socket_bind(SOCK_STREAM, &any, true, &fd, &family), BK_OK);
    any = bk_sockaddr_local(fd);
    close(fd);
    return any;
}

static void punch(struct side *s, const struct bk_addr *peer, uint32_t first_ms, uint32_t tries)
{
    const struct bk_punch_config config = {.conn = conn_config(s),
                                           .local = s->addr,
                                           .peer = *peer,
                                           .first_ms = first_ms,
                                           .tries = tries,
                                           .over = on_over};
    assert_int_equal(bk_punch_new(s->world->base, &config, &s->punch), BK_OK);
}

static void run(struct world *w)
{
    patience_begin(&w->patience);
    event_base_dispatch(w->base);
    assert_false(w->patience.late);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    signal(SIGPIPE, SIG_IGN);
    w->base = loop_new(&w->patience);
    w->pki = pki_new();
    w->device = holder_new(&w->pki, "beckon:device:2133", false, -10, DAY_S);
    w->caller = holder_new(&w->pki, "beckon:user:alice", false, -10, DAY_S);
    const struct bk_tls_call_client client = {.cert = w->device.cert,
                                              .key = w->device.key,
                                              .peer_pin = w->caller.pin,
                                              .server_name = CALL_NAME,
                                              .alpn = "beckon-call/1"};
    assert_int_equal(bk_tls_new_call_client(&client, &w->sides[0].tls), BK_OK);
    assert_int_equal(bk_tls_new_call_server("beckon-call/1", choose, w, &w->sides[1].tls), BK_OK);
    for (size_t i = 0; i < SIDES; i++) {
        w->sides[i].world = w;
        w->sides[i].addr = free_port();
    }
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < SIDES; i++) {
        bk_punch_free(w->sides[i].punch);
        bk_listener_free(w->sides[i].listener);
        bk_tls_free(w->sides[i].tls);
    }
    loop_free(w->base, &w->patience);
    holder_free(&w->device);
    holder_free(&w->caller);
    pki_free(&w->pki);
    free(w);
    return 0;
}

/* TLS roles do not follow who dialled: the TLS server dials here. */
static void the_tls_server_may_dial(void **state)
{
    struct world *w = *state;
    listen_at(&w->sides[0]);
    w->wanted = 1;
    punch(&w->sides[1], &w->sides[0].addr, 0, 3);
    run(w);
    assert_int_equal(w->sides[0].opened, 1);
    assert_int_equal(w->sides[1].opened, 1);
    /* It left by the port it was told. */
    assert_true(bk_addr_equal(&w->sides[0].remote, &w->sides[1].addr));
    assert_in_range(w->sides[0].round_trip_ms, 1, 1000);
    assert_int_equal(bk_punch_tries(w->sides[1].punch), 1);
}

/* Both listen, both dial: whatever way the SYNs meet, connections between just these two ports stand. */
static void both_dial_and_listen(void **state)
{
    struct world *w = *state;
    listen_at(&w->sides[0]);
    listen_at(&w->sides[1]);
    w->wanted = 1;
    punch(&w->sides[0], &w->sides[1].addr, 20, 10);
    punch(&w->sides[1], &w->sides[0].addr, 20, 10);
    run(w);
    assert_true(w->sides[0].opened >= 1 && w->sides[1].opened >= 1);
    assert_true(bk_addr_equal(&w->sides[0].remote, &w->sides[1].addr));
    assert_true(bk_addr_equal(&w->sides[1].remote, &w->sides[0].addr));
}

/* The other side begins to listen only after some tries: the tries go on by themselves. */
static void on_late(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    listen_at(ctx);
}

static void a_later_try_gets_through(void **state)
{
    struct world *w = *state;
    const struct timeval soon = {.tv_usec = 600 * 1000};
    struct event *late = evtimer_new(w->base, on_late, &w->sides[1]);
    evtimer_add(late, &soon);
    w->wanted = 1;
    w->sides[0].free_in_callback = true;
    punch(&w->sides[0], &w->sides[1].addr, 0, 20);
    run(w);
    event_free(late);
    assert_int_equal(w->sides[0].over, 0);
    assert_null(w->sides[0].punch);
}

static void nobody_there(void **state)
{
    struct world *w = *state;
    bk_time began = bk_clock_mono();
    w->overs = 1;
    w->sides[0].free_in_callback = true;
    punch(&w->sides[0], &w->sides[1].addr, 100, 4);
    run(w);
    assert_int_equal(w->sides[0].tries, 4);
    /* 100 ms, then three times the grid. */
    assert_true(bk_clock_mono() - began >= (100 + 3 * BK_PUNCH_EVERY_MS - COARSE_MS) * BK_MS);
}

/* Where the way is long the instants lie further apart. */
static void the_grid_is_the_callers(void **state)
{
    struct world *w = *state;
    bk_time began = bk_clock_mono();
    const struct bk_punch_config config = {.conn = conn_config(&w->sides[0]),
                                           .local = w->sides[0].addr,
                                           .peer = w->sides[1].addr,
                                           .every_ms = 2 * BK_PUNCH_EVERY_MS,
                                           .tries = 3,
                                           .over = on_over};
    w->overs = 1;
    assert_int_equal(bk_punch_new(w->base, &config, &w->sides[0].punch), BK_OK);
    run(w);
    assert_int_equal(w->sides[0].tries, 3);
    assert_true(bk_clock_mono() - began >= (4 * BK_PUNCH_EVERY_MS - COARSE_MS) * BK_MS);
}

/* Somebody answers there who is not the other side: tries go on, and end. */
static void a_stranger_answers(void **state)
{
    struct world *w = *state;
    struct bk_tls *right = w->sides[1].tls;
    const struct bk_tls_call_client client = {
        .cert = w->caller.cert, /* a certificate, but not the device's */
        .key = w->caller.key,
        .peer_pin = w->caller.pin,
        .server_name = CALL_NAME,
        .alpn = "beckon-call/1"};
    assert_int_equal(bk_tls_new_call_client(&client, &w->sides[1].tls), BK_OK);
    listen_at(&w->sides[1]);
    bk_tls_free(w->sides[0].tls);
    w->sides[0].tls = right;
    w->overs = 1;
    punch(&w->sides[0], &w->sides[1].addr, 0, 2);
    run(w);
    assert_int_equal(w->sides[0].opened, 0);
    assert_int_equal(w->sides[0].over, 1);
    assert_int_equal(w->sides[0].tries, 2);
}

/* Freed in the midst of dialling: nothing is told. */
static void freed_while_dialling(void **state)
{
    struct world *w = *state;
    punch(&w->sides[0], &w->sides[1].addr, 0, 4);
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    bk_punch_free(w->sides[0].punch);
    w->sides[0].punch = NULL;
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    assert_int_equal(w->sides[0].over + w->sides[0].opened, 0);
    bk_punch_free(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    (void)own_network_enter();
    const struct CMUnitTest tests[] = {
        TEST(the_tls_server_may_dial),  TEST(both_dial_and_listen),
        TEST(a_later_try_gets_through), TEST(nobody_there),
        TEST(a_stranger_answers),       TEST(freed_while_dialling),
        TEST(the_grid_is_the_callers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
