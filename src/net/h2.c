/* A session's life: made, turned, ended. Everything that may end a stream or the session happens at the top of
 * a turn, where neither nghttp2 nor OpenSSL is on the stack. Invariants: `ng` and `ssl` are not NULL
 * while the phase is OPEN; `ng` is not while it is EARLY; nothing is freed while `busy`. */
#include "net/h2_internal.h"

#include <assert.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/conn.h"

enum {
    CLOSING_ROUNDS = 10, /* of BK_H2_CLOSING_MS, while the last bytes still move */
};

void bk_h2_want_turn(struct bk_h2 *h)
{
    if (h->busy > 0) {
        h->again = true;
    } else if (!h->dead) {
        event_active(&h->ev_turn, EV_TIMEOUT, 0);
    }
}

void bk_h2_blame(struct bk_h2 *h, enum bk_err why, const char *text)
{
    if (h->text[0] == '\0') {
        h->why = why;
        (void)snprintf(h->text, sizeof h->text, "%s", text);
    }
}

/* No HTTP/2 from here on. Streams whose both ends are known may still write out what they hold. */
static void leave_http(struct bk_h2 *h)
{
    if (h->ng == NULL) {
        return;
    }
    nghttp2_session *ng = h->ng;
    h->ng = NULL;
    for (struct bk_h2_stream *s = h->streams; s != NULL; s = s->next) {
        if (!s->http_closed) {
            s->http_closed = true;
            bk_h2_stream_settle(s, BK_H2_LOST, 0, 0);
        }
    }
    nghttp2_session_del(ng);
    h->sweep = true;
}

void bk_h2_lose(struct bk_h2 *h, enum bk_err why, const char *text)
{
    if (h->phase == H2_CLOSED) {
        return;
    }
    bk_h2_blame(h, why, text); /* in CLOSING it is known already */
    h->phase = H2_CLOSED;
    leave_http(h);
    bk_h2_close_socket(h);
    h->again = true;
}

/* ---- The turn ---- */

void bk_h2_sweep(struct bk_h2 *h)
{
    h->sweep = false;
    for (struct bk_h2_stream *s = h->streams, *next; s != NULL; s = next) {
        next = s->next; /* callbacks may add streams, at the head; only this loop frees any */
        if (!bk_h2_stream_is_over(s)) {
            continue;
        }
        bk_pump_close(&s->pump, s->outcome.how != BK_H2_CLEAN);
        if (s->outcome.how == BK_H2_CLEAN) {
            bk_h2_guard_served(h);
        }
        bool known = s->known;
        s->known = false;
        h->n_streams -= known;
        if (known && !h->dead && h->config.on.finished != NULL) {
            h->config.on.finished(h->config.ctx, s, &s->outcome);
        }
        next = s->next;
        bk_h2_stream_free(s);
    }
}

static void destroy(struct bk_h2 *h)
{
    h->busy++;                 /* asks for turns lead nowhere now */
    if (h->phase == H2_OPEN) { /* a last word, if it costs no waiting */
        (void)nghttp2_session_terminate_session(h->ng, NGHTTP2_NO_ERROR);
        bk_h2_write(h);
    }
    if (h->phase == H2_OPEN) {
        (void)SSL_shutdown(h->ssl);
        if (bk_h2_bio_flush(&h->bio, false) != BK_OK) {
            h->bio.out_len = 0; /* then without it */
        }
    }
    h->phase = H2_CLOSED;
    leave_http(h);
    bk_h2_close_socket(h);
    while (h->streams != NULL) {
        bk_h2_stream_free(h->streams);
    }
    event_del(&h->ev_turn);
    free(h);
}

/* Both sides have said all they had to: whatever was agreed on is the end. */
static bool http_is_over(const struct bk_h2 *h)
{
    return h->plain_n == 0 && nghttp2_session_want_read(h->ng) == 0 &&
           nghttp2_session_want_write(h->ng) == 0;
}

static void turn(struct bk_h2 *h)
{
    h->busy++;
    h->again = false;
    h->now = bk_clock_mono();
    bk_h2_guard_refill(h);
    if (h->phase == H2_OPEN && h->readable) {
        bk_h2_read(h);
    }
    if (h->phase == H2_OPEN) {
        bk_h2_write(h);
    }
    if (h->phase == H2_OPEN &&
        !h->let_go) { /* the handshake's last message waited for what we had to say */
        h->let_go = true;
        bk_conn_let_go(h->bio.fd);
    }
    if (h->phase == H2_OPEN && http_is_over(h)) {
        bk_h2_blame(h, BK_OK, "ended");
        leave_http(h);
        bk_h2_begin_closing(h);
    }
    if (h->phase == H2_CLOSING) {
        bk_h2_closing_turn(h);
    }
    if (h->sweep) {
        bk_h2_sweep(h);
    }
    if (h->phase == H2_CLOSED && h->streams == NULL && !h->ended_told && !h->dead) {
        h->ended_told = true;
        if (h->config.on.ended != NULL) {
            h->config.on.ended(h->config.ctx, h->why, h->text);
        }
    }
    h->busy--;
    if (h->dead) {
        destroy(h);
    } else if (h->again && !h->ended_told) {
        const struct timeval now = {0, 0}; /* after a look at everybody else's events */
        (void)event_add(&h->ev_turn, &now);
    }
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    turn(arg);
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct bk_h2 *h = arg;
    h->readable = true;
    bk_h2_want_turn(h);
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct bk_h2 *h = arg;
    h->blocked = false;
    if (h->phase == H2_OPEN) {
        (void)event_del(&h->ev_closing); /* it takes bytes, so it does not stall */
    }
    h->heard = bk_clock_mono(); /* it takes our bytes, so it lives */
    bk_h2_want_turn(h);
}

/* The socket has been full for stall_ms. Less of it than then: a slow peer. Else one that does not read. */
static void on_stall(struct bk_h2 *h)
{
    int left = 0;
    if (ioctl(h->bio.fd, SIOCOUTQ, &left) == 0 && left > 0 &&
        (h->closing_left == 0 || left < h->closing_left)) {
        const struct timeval limit = bk_timeval_ms(h->config.stall_ms);
        h->closing_left = left;
        (void)event_add(&h->ev_closing, &limit);
        return;
    }
    h->busy++;
    bk_h2_lose(h, BK_E_TIMEOUT, "the peer does not read what it is sent");
    h->busy--;
    bk_h2_want_turn(h);
}

static void on_closing(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct bk_h2 *h = arg;
    int left = 0;
    if (h->phase == H2_OPEN) {
        on_stall(h);
        return;
    }
    if (h->phase == H2_CLOSING && ioctl(h->bio.fd, SIOCOUTQ, &left) == 0 && left > 0 &&
        (h->closing_left == 0 || left < h->closing_left) && h->closing_rounds++ < CLOSING_ROUNDS) {
        const struct timeval limit = bk_timeval_ms(BK_H2_CLOSING_MS);
        h->closing_left = left; /* slow, but the peer is still taking our last bytes */
        (void)event_add(&h->ev_closing, &limit);
        return;
    }
    h->busy++;
    bk_h2_lose(h, h->why, "ended");
    h->busy--;
    bk_h2_want_turn(h);
}

/* ---- Keepalive and PING ---- */

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct bk_h2 *h = arg;
    bk_time now = bk_clock_mono();
    bk_time patience = h->config.keepalive_ms * BK_MS;
    uint64_t next_ms = h->config.keepalive_wait_ms;
    if (h->phase != H2_OPEN) {
        return;
    }
    if (h->keepalive_at != 0 && h->heard < h->keepalive_at) {
        h->busy++;
        bk_h2_lose(h, BK_E_TIMEOUT, "the peer does not answer any more");
        h->busy--;
        bk_h2_want_turn(h);
        return;
    }
    h->keepalive_at = 0;
    if (now - h->heard >= patience) {
        static const uint8_t opaque[8] = {'k'};
        h->keepalive_at = now;
        (void)nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, opaque);
        bk_h2_want_turn(h);
    } else {
        next_ms = (patience - (now - h->heard)) / BK_MS + 1;
    }
    struct timeval wait = bk_timeval_ms(next_ms);
    (void)event_add(&h->ev_idle, &wait);
}

enum bk_err bk_h2_ping(struct bk_h2 *h)
{
    static const uint8_t opaque[8] = {'p'};
    if (h->phase != H2_OPEN || h->ping_at != 0 ||
        nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, opaque) != 0) {
        return BK_E_STATE;
    }
    h->ping_at = bk_clock_mono();
    bk_h2_want_turn(h);
    return BK_OK;
}

void bk_h2_knock(struct bk_h2 *h)
{
    static const uint8_t opaque[8] = {'k'};
    if (h->phase == H2_OPEN && nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, opaque) == 0) {
        bk_h2_want_turn(h);
    }
}

uint64_t bk_h2_quiet_ms(const struct bk_h2 *h, bool direct)
{
    bk_time now = bk_clock_mono();
    uint64_t quiet_ms = now > h->heard ? (now - h->heard) / BK_MS : 0;
    struct tcp_info info = {0};
    socklen_t n = sizeof info;
    if (direct && h->phase == H2_OPEN &&
        getsockopt(h->bio.fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 &&
        info.tcpi_last_ack_recv < quiet_ms) { /* in tests it is no TCP */
        quiet_ms = info.tcpi_last_ack_recv;
    }
    return quiet_ms;
}

/* ---- The interface ---- */

static void fill_defaults(struct bk_h2_config *c)
{
    c->max_streams = c->max_streams == 0 ? BK_H2_STREAMS_MAX : c->max_streams;
    c->keepalive_ms = c->keepalive_ms == 0 ? BK_H2_KEEPALIVE_MS : c->keepalive_ms;
    c->keepalive_wait_ms =
        c->keepalive_wait_ms == 0 ? BK_H2_KEEPALIVE_WAIT_MS : c->keepalive_wait_ms;
    c->stall_ms = c->stall_ms == 0 ? BK_H2_STALL_MS : c->stall_ms;
    c->queued_max_bytes = c->queued_max_bytes == 0 ? BK_H2_QUEUED_MAX_BYTES : c->queued_max_bytes;
}

static enum bk_err start_events(struct bk_h2 *h)
{
    int fd = h->bio.fd;
    event_assign(&h->ev_read, h->base, fd, EV_READ | EV_PERSIST, on_read, h);
    event_assign(&h->ev_write, h->base, fd, EV_WRITE, on_write, h);
    event_assign(&h->ev_idle, h->base, -1, 0, on_idle, h);
    event_assign(&h->ev_closing, h->base, -1, 0, on_closing, h);
    struct timeval wait = bk_timeval_ms(h->config.keepalive_ms);
    if (event_add(&h->ev_read, NULL) != 0 ||
        (h->config.keepalive_ms != UINT32_MAX && event_add(&h->ev_idle, &wait) != 0)) {
        return BK_E_NOMEM;
    }
    return BK_OK;
}

enum bk_err bk_h2_make(struct event_base *base, const struct bk_h2_config *config,
                       struct bk_h2 **out)
{
    *out = NULL;
    struct bk_h2 *h = calloc(1, sizeof *h);
    if (h == NULL) {
        return BK_E_NOMEM;
    }
    h->base = base;
    h->phase = H2_EARLY;
    h->config = *config;
    fill_defaults(&h->config);
    h->bio.fd = -1;
    h->heard = bk_clock_mono();
    bk_h2_guard_init(h);
    event_assign(&h->ev_turn, h->base, -1, 0, on_turn, h);
    enum bk_err err = bk_h2_make_nghttp2(h);
    if (err != BK_OK) {
        nghttp2_session_del(h->ng);
        free(h);
        return err;
    }
    *out = h;
    return BK_OK;
}

enum bk_err bk_h2_take_ssl(struct bk_h2 *h, SSL *ssl, int fd)
{
    int on = 1, unsent = H2_UNSENT_BYTES;
    h->ssl = ssl;
    h->bio.fd = fd;
    h->phase = H2_OPEN;
    h->unsent = H2_UNSENT_BYTES;
    h->heard = h->unsent_at = bk_clock_mono();
    h->readable = true; /* the handshake may have read further than its end */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* in tests it is no TCP */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    (void)SSL_set_mode(ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
    (void)SSL_clear_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE); /* a frame goes out whole */
    bk_tls_count_chatter(ssl, &h->guard.chatter);
    enum bk_err err = start_events(h);
    err = err == BK_OK ? bk_h2_bio_set(ssl, &h->bio) : err;
    if (err != BK_OK) {
        h->phase = H2_CLOSED;
        bk_h2_close_socket(h);
    }
    return err;
}

enum bk_err bk_h2_new(struct event_base *base, SSL *ssl, const struct bk_h2_config *config,
                      struct bk_h2 **out)
{
    assert(!config->server || config->on.request != NULL);
    int fd = SSL_get_fd(ssl);
    enum bk_err err = fd < 0 ? BK_E_IO : bk_h2_make(base, config, out);
    if (err != BK_OK) {
        *out = NULL;
        SSL_free(ssl);
        if (fd >= 0) {
            close(fd);
        }
        return err;
    }
    err = bk_h2_take_ssl(*out, ssl, fd);
    if (err != BK_OK) {
        bk_h2_free(*out);
        *out = NULL;
        return err;
    }
    bk_h2_want_turn(*out);
    return BK_OK;
}

void bk_h2_free(struct bk_h2 *h)
{
    if (h == NULL || h->dead) {
        return;
    }
    h->dead = true;
    if (h->busy == 0) {
        destroy(h);
    }
}

void bk_h2_shutdown(struct bk_h2 *h)
{
    if (h->phase > H2_OPEN || h->shutting_down) {
        return;
    }
    h->shutting_down = true;
    (void)nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(h->ng), NGHTTP2_NO_ERROR,
                                NULL, 0);
    bk_h2_want_turn(h);
}

size_t bk_h2_streams(const struct bk_h2 *h)
{
    return h->n_streams;
}

size_t bk_h2_queued_bytes(const struct bk_h2 *h)
{
    return h->queued;
}

bool bk_h2_is_open(const struct bk_h2 *h)
{
    return h->phase <= H2_OPEN && !h->shutting_down && !h->goaway_in && !h->dead;
}

SSL *bk_h2_ssl(const struct bk_h2 *h)
{
    return h->ssl;
}
