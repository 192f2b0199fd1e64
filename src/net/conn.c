/* Life of a connection: made, told, freed. Everything that calls the owner runs between enter and leave,
 * so that the owner may free the connection in any callback: memory goes when the last of them returned. */
#include "net/conn_private.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

#include "net/clock.h"
#include "net/sockaddr.h"

enum {
    OPEN_MS = 5000,
    FRAME_MS = 5000,
    FRAME_MAX_BYTES = 8192,
    OUT_MAX_BYTES = 65536,
    KEEPALIVE_PROBES = 3,
};

void bk_conn_arm(struct event *timer, uint32_t ms)
{
    struct timeval tv = bk_timeval_ms(ms);
    (void)event_add(timer, &tv);
}

void bk_conn_set_no_delay(int fd)
{
    static const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Half the time in silence, then probes in the other half; the same limit for what we sent ourselves. */
void bk_conn_set_tcp_keepalive(int fd, uint32_t dead_ms)
{
    int on = dead_ms != 0, probes = KEEPALIVE_PROBES;
    int dead_s = (int)(dead_ms / 1000 > 6 ? dead_ms / 1000 : 6);
    int silent_s = dead_s / 2, between_s = (dead_s - silent_s) / KEEPALIVE_PROBES;
    unsigned user_ms = on ? (unsigned)dead_s * 1000U : 0;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof user_ms);
    if (on) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &silent_s, sizeof silent_s);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof between_s);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

/* ---- Endings ---- */

static void destroy(struct bk_conn *c)
{
    if (c->ssl != NULL && c->was_open && c->state != BK_CONN_DONE) {
        (void)SSL_shutdown(c->ssl); /* a last word, if it fits the socket's buffer */
    }
    SSL_free(c->ssl);
    ERR_clear_error();
    if (c->fd >= 0 && !c->taken) {
        if (c->reuse_port && !c->was_open) {
            bk_conn_leave_nothing(c->fd);
        }
        close(c->fd);
    }
    if (c->hooks.gone != NULL) {
        c->hooks.gone(c->hooks.ctx);
    }
    bk_conn_forget(&c->in);
    bk_conn_forget(&c->out);
    free(c->dials);
    free(c->addrs);
    free(c);
}

void bk_conn_enter(struct bk_conn *c)
{
    c->depth++;
}

void bk_conn_leave(struct bk_conn *c)
{
    assert(c->depth > 0);
    if (--c->depth == 0 && c->freed) {
        destroy(c);
    }
}

/* Stops all events: nothing happens any more unless something is begun anew. */
static void quiet(struct bk_conn *c)
{
    if (c->io_wants != 0) {
        (void)event_del(&c->io);
    }
    c->io_wants = 0;
    (void)event_del(&c->timer);
    (void)event_del(&c->idle);
    bk_conn_dial_stop(c);
}

static const char *phrase(enum bk_conn_end end)
{
    switch (end) {
    case BK_CONN_ENDED_BY_PEER:
        return "the other side ended the connection";
    case BK_CONN_ENDED_BY_US:
        return "connection ended";
    case BK_CONN_CUT:
        return "the connection was cut";
    case BK_CONN_UNREACHABLE:
        return "cannot connect";
    case BK_CONN_OPEN_TIMEOUT:
        return "no answer in time";
    case BK_CONN_TLS:
        return "the TLS handshake failed";
    case BK_CONN_IDLE:
        return "nothing was heard for too long";
    case BK_CONN_SLOW:
        return "a message was begun and not finished in time";
    case BK_CONN_BAD_FRAME:
        return "the other side sent something that is no message";
    case BK_CONN_OVERFLOW:
        return "the other side does not read what it is sent";
    }
    return "connection ended";
}

static void describe(struct bk_conn_closed *why, enum bk_conn_end end, enum bk_tls_failure tls,
                     int os_error)
{
    why->end = end;
    why->tls = tls;
    why->os_error = os_error;
    if (end == BK_CONN_TLS) {
        snprintf(why->text, sizeof why->text, "%s", bk_tls_failure_text(tls));
    } else if (os_error != 0) {
        snprintf(why->text, sizeof why->text, "%s: %s", phrase(end), strerror(os_error));
    } else {
        snprintf(why->text, sizeof why->text, "%s", phrase(end));
    }
}

void bk_conn_tell_lost(struct bk_conn *c)
{
    if (c->early_given && !c->was_open) {
        c->early_given = false;
        if (c->on.early_lost != NULL) {
            c->on.early_lost(c->on.ctx, c);
        }
    }
}

void bk_conn_end(struct bk_conn *c, enum bk_conn_end end, enum bk_tls_failure tls, int os_error)
{
    struct bk_conn_closed why;
    if (c->state == BK_CONN_DONE || c->freed) {
        return;
    }
    describe(&why, end, tls, os_error);
    quiet(c);
    c->state = BK_CONN_DONE;
    bk_conn_tell_lost(c);
    if (!c->was_open && c->hooks.refused != NULL) {
        /* Nobody above knows of this one. */
        c->hooks.refused(c->hooks.ctx, &why);
        c->freed = true;
        return;
    }
    if (!c->was_open && c->unwanted) {
        c->freed = true;
        return;
    }
    c->on.closed(c->on.ctx, c, &why);
}

/* Ends from the loop instead of from here, where callbacks are not allowed. */
static void end_soon(struct bk_conn *c, enum bk_conn_end end)
{
    if (c->end_due || c->state == BK_CONN_DONE) {
        return;
    }
    c->end_due = true;
    c->due = end;
    bk_conn_arm(&c->timer, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct bk_conn *c = ctx;
    bk_conn_enter(c);
    if (c->end_due) {
        bk_conn_end(c, c->due, BK_TLS_OK, 0);
        bk_conn_leave(c);
        return;
    }
    switch (c->state) {
    case BK_CONN_DIALLING:
    case BK_CONN_SHAKING:
        bk_conn_end(c, BK_CONN_OPEN_TIMEOUT, BK_TLS_OK, 0);
        break;
    case BK_CONN_OPEN:
        bk_conn_end(c, BK_CONN_SLOW, BK_TLS_OK, 0);
        break;
    case BK_CONN_FLUSHING:
    case BK_CONN_LINGERING:
        bk_conn_end(c, BK_CONN_ENDED_BY_US, BK_TLS_OK, 0);
        break;
    case BK_CONN_DONE:
        break;
    }
    bk_conn_leave(c);
}

static void on_idle(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct bk_conn *c = ctx;
    bk_conn_enter(c);
    bk_conn_end(c, BK_CONN_IDLE, BK_TLS_OK, 0);
    bk_conn_leave(c);
}

/* ---- Beginnings ---- */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static struct bk_conn *make(struct event_base *base, const struct bk_conn_config *config)
{
    struct bk_conn *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    c->base = base;
    c->fd = -1;
    c->on = config->on;
    c->frame = config->frame;
    c->limits = config->limits;
    c->gather = config->gather;
    c->limits.open_ms = or_default(c->limits.open_ms, OPEN_MS);
    c->limits.frame_ms = or_default(c->limits.frame_ms, FRAME_MS);
    if (c->limits.frame_max_bytes == 0) {
        c->limits.frame_max_bytes = FRAME_MAX_BYTES;
    }
    if (c->limits.out_max_bytes == 0) {
        c->limits.out_max_bytes = OUT_MAX_BYTES;
    }
    evtimer_assign(&c->timer, base, on_timer, c);
    evtimer_assign(&c->idle, base, on_idle, c);
    evtimer_assign(&c->stagger, base, bk_conn_on_stagger, c);
    if (bk_tls_start(config->tls, -1, &c->ssl) != BK_OK) {
        free(c);
        return NULL;
    }
    bk_conn_arm(&c->timer, c->limits.open_ms);
    return c;
}

enum bk_err bk_conn_connect(struct event_base *base, const struct bk_conn_config *config,
                            const struct bk_addr *addrs, size_t n_addrs,
                            const struct bk_addr *local, struct bk_conn **out)
{
    *out = NULL;
    if (n_addrs == 0 || n_addrs > BK_CONN_ADDRS_MAX) {
        return BK_E_RANGE;
    }
    struct bk_conn *c = make(base, config);
    if (c == NULL) {
        return BK_E_NOMEM;
    }
    c->state = BK_CONN_DIALLING;
    c->dials = calloc(n_addrs, sizeof *c->dials);
    c->addrs = calloc(n_addrs, sizeof *c->addrs);
    if (c->dials == NULL || c->addrs == NULL) {
        bk_conn_free(c);
        return BK_E_NOMEM;
    }
    for (size_t i = 0; i < n_addrs; i++) {
        c->addrs[i] = addrs[i];
        c->dials[i].conn = c;
        c->dials[i].fd = -1;
    }
    c->n_addrs = n_addrs;
    c->fast = config->fast;
    if (local != NULL) {
        c->bind_local = true;
        c->local = *local;
        c->reuse_port = config->reuse_port;
    }
    bk_conn_arm(&c->stagger, 0); /* from the loop: even an immediate failure is told there */
    *out = c;
    return BK_OK;
}

enum bk_err bk_conn_accept(struct event_base *base, const struct bk_conn_config *config, int fd,
                           const struct bk_conn_hooks *hooks, struct bk_conn **out)
{
    *out = NULL;
    struct bk_conn *c = make(base, config);
    if (c == NULL) {
        close(fd);
        return BK_E_NOMEM;
    }
    c->hooks = *hooks;
    bk_conn_begin_tls(c, fd);
    *out = c;
    return BK_OK;
}

enum bk_err bk_conn_adopt(struct event_base *base, const struct bk_conn_config *config, int fd,
                          struct bk_conn **out)
{
    static const struct bk_conn_hooks none = {0};
    return bk_conn_accept(base, config, fd, &none, out);
}

/* ---- The owner's verbs ---- */

enum bk_err bk_conn_send(struct bk_conn *c, struct bk_slice frame)
{
    if (c->state != BK_CONN_OPEN || c->end_due || c->freed) {
        return BK_E_STATE;
    }
    enum bk_err err = bk_conn_append(&c->out, frame, c->limits.out_max_bytes);
    if (err != BK_OK) {
        end_soon(c, BK_CONN_OVERFLOW);
        return BK_E_NOSPACE;
    }
    bk_conn_want(c, EV_READ | EV_WRITE);
    return BK_OK;
}

void bk_conn_close(struct bk_conn *c)
{
    if (c->freed || c->end_due) {
        return;
    }
    switch (c->state) {
    case BK_CONN_DIALLING:
    case BK_CONN_SHAKING:
        end_soon(c, BK_CONN_ENDED_BY_US);
        break;
    case BK_CONN_OPEN:
        c->state = BK_CONN_FLUSHING;
        (void)event_del(&c->idle);
        bk_conn_arm(&c->timer, BK_CONN_FLUSH_MS);
        bk_conn_want(c, EV_WRITE);
        break;
    case BK_CONN_FLUSHING:
    case BK_CONN_LINGERING:
    case BK_CONN_DONE:
        break;
    }
}

/* Nothing more is said of it; it goes with the last who works on it. */
static void abandon(struct bk_conn *c)
{
    if (!c->freed) {
        quiet(c);
        c->freed = true;
    }
}

void bk_conn_free(struct bk_conn *c)
{
    if (c == NULL || c->freed) {
        return;
    }
    abandon(c);
    if (c->depth == 0) {
        destroy(c);
    }
}

void bk_conn_drop(struct bk_conn *c)
{
    if (!c->freed) {
        bk_conn_enter(c);
        bk_conn_tell_lost(c);
        abandon(c);
        bk_conn_leave(c);
    }
}

SSL *bk_conn_take_ssl(struct bk_conn *c)
{
    assert(c->state == BK_CONN_OPEN && c->depth > 0 && !c->freed);
    SSL *ssl = c->ssl;
    bk_tls_count_chatter(ssl, NULL);
    c->ssl = NULL;
    c->taken = true;
    quiet(c);
    c->freed = true;
    return ssl;
}

void bk_conn_set_ctx(struct bk_conn *c, void *ctx)
{
    c->on.ctx = ctx;
}

void bk_conn_set_idle(struct bk_conn *c, uint32_t idle_ms)
{
    c->limits.idle_ms = idle_ms;
    (void)event_del(&c->idle);
    if (idle_ms != 0 && c->state == BK_CONN_OPEN && !c->freed) {
        bk_conn_arm(&c->idle, idle_ms);
    }
}

void bk_conn_set_dead(struct bk_conn *c, uint32_t dead_ms)
{
    c->limits.dead_ms = dead_ms;
    if (c->fd >= 0 && !c->taken) {
        bk_conn_set_tcp_keepalive(c->fd, dead_ms);
    }
}

const struct bk_tls_peer *bk_conn_peer(const struct bk_conn *c)
{
    return c->was_open ? &c->peer : NULL;
}

SSL *bk_conn_borrow_ssl(struct bk_conn *c)
{
    return c->fd >= 0 ? c->ssl : NULL;
}

uint32_t bk_conn_round_trip_ms(const struct bk_conn *c)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (c->fd < 0 || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0) {
        return 0;
    }
    return info.tcpi_rtt / 1000 + 1; /* given in microseconds */
}

struct bk_addr bk_conn_remote(const struct bk_conn *c)
{
    return c->remote;
}

struct bk_addr bk_conn_local(const struct bk_conn *c)
{
    return bk_sockaddr_local(c->fd);
}
