/* One question, one answer. Settled once; whatever the connection still brings does not count. */
#include "lib/exchange.h"

#include <event2/event.h>

#include "lib/fail.h"
#include "net/conn.h"
#include "net/resolve.h"
#include "wire/attrs.h"

enum {
    ANSWER_MS = 8000,
};

struct running {
    const struct bk_exchange *exchange;
    struct beckon_error *error;
    enum beckon_status status;
    bool finished;
    struct event_base *base;
    struct bk_resolver *resolver;
    struct event *stop;
    struct bk_conn *conn;
};

static void finish(struct running *x, enum beckon_status status)
{
    x->finished = true;
    x->status = status;
    event_base_loopbreak(x->base);
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct running *x = ctx;
    const struct bk_exchange *e = x->exchange;

    (void)peer;
    if ((e->open != NULL && !e->open(e->ctx, bk_conn_borrow_ssl(conn))) ||
        bk_conn_send(conn, e->request) != BK_OK) {
        finish(x, bk_fail(x->error, BECKON_FAILED, "the request could not be sent"));
    }
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct running *x = ctx;
    const struct bk_exchange *e = x->exchange;
    struct bk_stun m;
    uint16_t code;

    (void)conn;
    if (x->finished) {
        return;
    }
    if (bk_stun_read(frame, &m) != BK_OK || m.method != e->method) {
        finish(x,
               bk_fail(x->error, BECKON_FAILED, "the server answered something else than asked"));
    } else if (m.cls == BK_STUN_SUCCESS) {
        finish(x, e->success(e->ctx, &m, x->error));
    } else {
        finish(x, e->refused(e->ctx, bk_error_read(&m, &code) == BK_OK ? code : 0, x->error));
    }
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct running *x = ctx;

    (void)conn;
    if (!x->finished) {
        finish(x, bk_fail(x->error, BECKON_SERVER_DOWN,
                          "server %s port %u: %s; check that it runs and is reachable",
                          x->exchange->host, (unsigned)x->exchange->port, why->text));
    }
}

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct running *x = ctx;
    struct bk_conn_config config = {
        .tls = x->exchange->tls,
        .frame = bk_stun_frame,
        .on = {.ctx = x, .open = on_open, .message = on_message, .closed = on_closed},
        .limits = {.idle_ms = ANSWER_MS, .frame_max_bytes = BK_STUN_STREAM_MAX_BYTES},
    };

    if (err != BK_OK) {
        finish(x,
               bk_fail(x->error, BECKON_SERVER_DOWN,
                       "server %s: %s; check the name and this network", x->exchange->host, text));
    } else if (bk_conn_connect(x->base, &config, addrs, n, NULL, &x->conn) != BK_OK) {
        finish(x, bk_fail(x->error, BECKON_FAILED, "no memory for a connection"));
    }
}

static void on_stop(evutil_socket_t fd, short what, void *ctx)
{
    struct running *x = ctx;

    (void)fd;
    (void)what;
    if (!x->finished) {
        finish(x, bk_fail(x->error, BECKON_INTERRUPTED, "interrupted"));
    }
}

static enum bk_err begin(struct running *x)
{
    struct bk_resolve *question;

    x->base = event_base_new();
    if (x->base == NULL || bk_resolver_new(x->base, &x->resolver) != BK_OK) {
        return BK_E_NOMEM;
    }
    if (x->exchange->stop_fd >= 0) {
        x->stop = event_new(x->base, x->exchange->stop_fd, EV_READ, on_stop, x);
        if (x->stop == NULL || event_add(x->stop, NULL) != 0) {
            return BK_E_NOMEM;
        }
    }
    return bk_resolve_start(x->resolver, x->exchange->host, x->exchange->port, on_resolved, x,
                            &question);
}

enum beckon_status bk_exchange_run(const struct bk_exchange *exchange, struct beckon_error *error)
{
    struct running x = {.exchange = exchange, .error = error};

    if (begin(&x) != BK_OK) {
        x.status = bk_fail(error, BECKON_FAILED, "the request to server %s could not be prepared",
                           exchange->host);
    } else {
        x.status = bk_fail(error, BECKON_FAILED, "the exchange ended without an answer");
        event_base_dispatch(x.base);
    }
    bk_conn_free(x.conn);
    bk_resolver_free(x.resolver);
    if (x.stop != NULL) {
        event_free(x.stop);
    }
    if (x.base != NULL) {
        event_base_free(x.base);
    }
    return x.status;
}
