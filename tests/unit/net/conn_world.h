/* A listener and connections to it over loopback, each side with what it saw. */
#ifndef BK_TESTS_NET_CONN_WORLD_H
#define BK_TESTS_NET_CONN_WORLD_H

#include "net/listening.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/listener.h"

enum {
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
static inline enum bk_err frame(struct bk_slice got, size_t *bytes)
{
    if (got.n < 2) {
        return BK_E_TRUNCATED;
    }
    *bytes = (size_t)(got.p[0] << 8 | got.p[1]);
    return *bytes >= 2 ? BK_OK : BK_E_MALFORMED;
}

static inline struct bk_slice make_frame(uint8_t *buf, size_t n)
{
    for (size_t i = 2; i < n; i++) {
        buf[i] = (uint8_t)(i * 31 + n);
    }
    buf[0] = (uint8_t)(n >> 8);
    buf[1] = (uint8_t)n;
    return bk_slice(buf, n);
}

static inline void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
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

static inline void on_message(void *ctx, struct bk_conn *conn, struct bk_slice bytes)
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

static inline void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
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

static inline void on_refused(void *ctx, const struct bk_addr *from,
                              const struct bk_conn_closed *why)
{
    struct side *s = ctx;
    s->refused++;
    s->why = *why;
    assert_int_equal(bk_addr_scope(from), BK_SCOPE_LOOPBACK);
}

/* ---- The world ---- */

static inline int set_up(void **state)
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
static inline void listen_now(struct world *w)
{
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    assert_int_equal(bk_listener_new(w->base, &w->listener_config, &w->listener), BK_OK);
    assert_int_equal(bk_listener_add(w->listener, &any, &w->addr), BK_OK);
    assert_int_not_equal(w->addr.port, 0);
}

static inline struct bk_conn *connect_now(struct world *w)
{
    struct bk_conn *conn = NULL;
    assert_int_equal(bk_conn_connect(w->base, &w->client_config, &w->addr, 1, NULL, &conn), BK_OK);
    w->client.conn = conn;
    return conn;
}

static inline void both_open(struct world *w)
{
    listen_now(w);
    connect_now(w);
    WAIT_FOR(w, w->client.opened == 1 && w->server.opened == 1);
}

static inline void finish_taken(struct world *w)
{
    close(SSL_get_fd(w->client.taken));
    SSL_free(w->client.taken);
}

static inline int tear_down(void **state)
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

/* A socket at a port of its own, not listening. */
static inline int bound_socket(struct bk_addr *at)
{
    int fd = -1, family = 0;
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    assert_int_equal(bk_socket_bind(SOCK_STREAM, &any, false, &fd, &family), BK_OK);
    *at = bk_sockaddr_local(fd);
    return fd;
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
