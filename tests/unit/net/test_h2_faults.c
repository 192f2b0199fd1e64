/* The HTTP/2 session when something goes wrong: resets, refusals, dead and hostile peers, calls at the wrong
 * moment. What must never happen: a truncated stream that looks like a clean end. */
#include "net/h2_pair.h"

#include <nghttp2/nghttp2.h>

#include "net/clock.h"

/* ---- Resets ---- */

static void a_local_reset_reaches_the_other_end(void **state)
{
    (void)state;
    for (int by_client = 0; by_client < 2; by_client++) {
        unsigned requests = w.s.requests, done = w.c.finished;
        struct end *c = open_end("ssh:1", NULL);
        RUN_UNTIL(w.s.requests == requests + 1);
        struct end *s = accept_end(w.s.stream);
        c->to_send = 1000;
        end_fill(c);
        RUN_UNTIL(s->got == 1000);
        end_reset(by_client ? c : s);
        struct end *other = by_client ? s : c;
        RUN_UNTIL(other->error != 0 || other->eof);
        assert_int_equal(other->error, ECONNRESET);
        RUN_UNTIL(w.c.finished == done + 1 && w.s.finished == done + 1);
        struct side *here = by_client ? &w.c : &w.s, *there = by_client ? &w.s : &w.c;
        assert_int_equal(here->last.how, BK_H2_LOCAL);
        assert_int_equal(here->last.local_errno, ECONNRESET);
        assert_int_equal(there->last.how, BK_H2_RESET);
        assert_int_equal(there->last.code, NGHTTP2_CONNECT_ERROR);
        end_free(other);
    }
    assert_true(bk_h2_is_open(w.c.h) && bk_h2_is_open(w.s.h));
}

/* The local reader goes away while data comes: found out by writing. */
static void a_reader_that_goes_away(void **state)
{
    (void)state;
    int in[2], out[2];
    struct bk_h2_stream *s;
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    assert_int_equal(bk_h2_open(w.c.h, "x:1", in[0], out[1], NULL, &s), BK_OK);
    RUN_UNTIL(w.s.requests == 1);
    struct end *e = accept_end(w.s.stream);
    close(out[0]);
    e->to_send = 10 * 1024 * 1024;
    e->shut_when_sent = true;
    end_fill(e);
    RUN_UNTIL(w.c.finished == 1 && w.s.finished == 1);
    assert_int_equal(w.c.last.how, BK_H2_LOCAL);
    assert_int_equal(w.c.last.local_errno, EPIPE);
    assert_int_equal(w.s.last.how, BK_H2_RESET);
    close(in[1]);
    end_free(e);
}

static void abort_at_any_time(void **state)
{
    (void)state;
    struct bk_h2_stream *s;
    struct end *c = open_end("x:1", &s);
    bk_h2_abort(s); /* before a byte was sent */
    bk_h2_abort(s);
    assert_int_equal(w.c.finished, 0);
    RUN_UNTIL(w.c.finished == 1 && c->error == ECONNRESET);
    assert_int_equal(w.c.last.how, BK_H2_LOCAL);
    end_free(c);
    c = open_end("x:1", &s);
    RUN_UNTIL(w.s.requests >= 1);
    bk_h2_abort(s); /* before the answer */
    RUN_UNTIL(w.c.finished == 2 && w.s.finished >= 1);
    assert_int_equal(w.s.last.how, BK_H2_RESET);
    end_free(c);
    c = open_end("x:1", &s);
    unsigned finished = w.s.finished;
    RUN_UNTIL(w.s.requests == finished + 1);
    struct end *e = accept_end(w.s.stream);
    bk_h2_abort(w.s.stream);
    RUN_UNTIL(w.c.finished == 3 && e->error == ECONNRESET);
    assert_int_equal(w.c.last.how, BK_H2_RESET);
    assert_int_equal(bk_h2_streams(w.c.h) + bk_h2_streams(w.s.h), 0);
    end_free(c);
    end_free(e);
}

/* ---- Refusals ---- */

static void serve_busy(struct bk_h2_stream *s, const char *authority)
{
    bk_h2_refuse(s, strcmp(authority, "none:1") == 0 ? 404 : 503);
    bk_h2_refuse(s, 500); /* answered already */
    int fd = dup(0);
    assert_int_equal(bk_h2_accept(s, fd, fd), BK_E_STATE);
}

static void a_refusal_is_told_and_resets_the_local_end(void **state)
{
    (void)state;
    w.serve = serve_busy;
    struct end *c = open_end("none:1", NULL);
    RUN_UNTIL(w.c.finished == 1 && w.s.finished == 1);
    assert_int_equal(w.c.last_status, 404);
    assert_int_equal(w.c.last.how, BK_H2_REFUSED);
    assert_int_equal(w.c.last.status, 404);
    assert_int_equal(w.s.last.how, BK_H2_REFUSED);
    assert_int_equal(w.s.last.status, 404);
    RUN_UNTIL(c->error == ECONNRESET);
    end_free(c);
    c = open_end("ssh:1", NULL);
    RUN_UNTIL(w.c.finished == 2);
    assert_int_equal(w.c.last.status, 503);
    assert_true(bk_h2_is_open(w.c.h));
    end_free(c);
}

static void odd_authorities(void **state)
{
    (void)state;
    struct bk_h2_stream *s;
    char long_name[BK_H2_AUTHORITY_MAX_BYTES + 1];
    memset(long_name, 'a', sizeof long_name);
    long_name[sizeof long_name - 1] = 0;
    assert_int_equal(bk_h2_open(w.c.h, long_name, -1, -1, NULL, &s), BK_E_RANGE);
    assert_int_equal(bk_h2_open(w.c.h, "", -1, -1, NULL, &s), BK_E_RANGE);
    assert_int_equal(bk_h2_open(w.s.h, "ssh:1", -1, -1, NULL, &s), BK_E_STATE);
    long_name[BK_H2_AUTHORITY_MAX_BYTES - 1] = 0;
    assert_int_equal(bk_h2_open(w.c.h, long_name, -1, -1, NULL, &s), BK_OK);
    RUN_UNTIL(w.s.requests == 1);
    assert_string_equal(w.s.authority, long_name);
}

/* ---- The session's end ---- */

static void a_cut_connection_is_no_end_of_stream(void **state)
{
    (void)state;
    struct end *c = open_end("ssh:1", NULL);
    RUN_UNTIL(w.s.requests == 1);
    struct end *s = accept_end(w.s.stream);
    s->to_send = 1000;
    end_fill(s);
    RUN_UNTIL(c->got == 1000);
    shutdown(w.tcp_s, SHUT_RDWR); /* a FIN, as when a process is killed */
    RUN_UNTIL(w.c.ended && w.s.ended);
    assert_int_equal(w.c.why, BK_E_CLOSED);
    assert_int_equal(w.c.lost, 1);
    assert_int_equal(w.s.lost, 1);
    RUN_UNTIL(c->error != 0 || c->eof);
    RUN_UNTIL(s->error != 0 || s->eof);
    assert_int_equal(c->error, ECONNRESET);
    assert_int_equal(s->error, ECONNRESET);
    end_free(c);
    end_free(s);
}

static void free_is_no_end_of_stream_either(void **state)
{
    (void)state;
    struct end *c = open_end("ssh:1", NULL);
    RUN_UNTIL(w.s.requests == 1);
    struct end *s = accept_end(w.s.stream);
    bk_h2_free(w.s.h);
    w.s.h = NULL;
    RUN_UNTIL(w.c.ended && c->error != 0 && s->error != 0);
    assert_int_equal(w.c.why, BK_E_CLOSED);
    assert_int_equal(w.c.lost, 1);
    assert_int_equal(w.s.finished, 0);
    assert_int_equal(s->error, ECONNRESET);
    end_free(c);
    end_free(s);
}

/* Both ends of the stream are known, some of its bytes are still to be written: what is freed then was cut. */
static void free_with_a_tail_unwritten_is_no_end_of_stream(void **state)
{
    (void)state;
    struct end *c, *s;
    open_with_tail(&c, &s);
    RUN_UNTIL(bk_h2_ping(w.s.h) == BK_OK);
    unsigned pongs = w.s.pongs;
    RUN_UNTIL(w.s.pongs > pongs); /* the end of the stream too */
    assert_int_equal(w.c.finished, 0);
    bk_h2_free(w.c.h);
    w.c.h = NULL;
    bufferevent_enable(c->bev, EV_READ);
    RUN_UNTIL(c->eof || c->error != 0);
    assert_int_equal(c->error, ECONNRESET);
    assert_true(c->got < s->sent);
    end_free(c);
    end_free(s);
}

static void serve_empty(struct bk_h2_stream *s, const char *authority)
{
    (void)authority;
    assert_int_equal(bk_h2_accept(s, -1, -1), BK_OK);
}

static void free_from_inside_a_callback(void **state)
{
    (void)state;
    w.serve = serve_empty;
    w.c.free_at_answer = true;
    struct end *a = open_end("a:1", NULL), *b = open_end("b:1", NULL);
    RUN_UNTIL(w.s.ended && a->error != 0 && b->error != 0);
    assert_int_equal(w.c.answers, 1);
    assert_int_equal(w.c.finished, 0);
    assert_null(w.c.h);
    end_free(a);
    end_free(b);
}

/* ---- A peer of our own making: TLS, and behind it what the test writes ---- */

struct raw {
    SSL *ssl;
    int fd;
};

static struct raw raw_peer(struct side *side, bool we_serve, uint32_t keepalive_ms)
{
    int fd[2];
    SSL *ssl[2];
    tcp_pair(fd);
    tls_pair(ssl, fd);
    struct bk_h2_config config = side_config(side, we_serve);
    config.keepalive_ms = keepalive_ms;
    config.keepalive_wait_ms = keepalive_ms;
    config.max_streams = 3;
    assert_int_equal(bk_h2_new(w.base, ssl[0], &config, &side->h), BK_OK);
    return (struct raw){ssl[1], fd[1]};
}

static void raw_free(struct raw *r)
{
    SSL_free(r->ssl);
    close(r->fd);
}

static void a_silent_peer_is_given_up(void **state)
{
    (void)state;
    struct raw peer = raw_peer(&w.c, false, 50);
    struct end *e = open_end("ssh:1", NULL);
    RUN_UNTIL(w.c.ended);
    assert_int_equal(w.c.why, BK_E_TIMEOUT);
    assert_int_equal(w.c.lost, 1);
    RUN_UNTIL(e->error == ECONNRESET);
    end_free(e);
    raw_free(&peer);
}

static void an_answering_peer_is_kept(void **state)
{
    (void)state;
    int fd[2];
    SSL *ssl[2];
    tcp_pair(fd);
    tls_pair(ssl, fd);
    struct bk_h2_config config = side_config(&w.s, true);
    assert_int_equal(bk_h2_new(w.base, ssl[0], &config, &w.s.h), BK_OK);
    config = side_config(&w.c, false);
    config.keepalive_ms = 20;
    config.keepalive_wait_ms = 1000; /* the peer is in this process: it may be slow, too */
    assert_int_equal(bk_h2_new(w.base, ssl[1], &config, &w.c.h), BK_OK);
    bool passed = false;
    struct event *timer = evtimer_new(w.base, too_late, &passed);
    const struct timeval beyond_it = {1, 500000};
    evtimer_add(timer, &beyond_it);
    RUN_UNTIL(passed || w.c.ended);
    event_free(timer);
    assert_false(w.c.ended);
}

static void garbage_ends_the_session(void **state)
{
    (void)state;
    struct raw peer = raw_peer(&w.s, true, UINT32_MAX);
    assert_true(SSL_write(peer.ssl, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27) == 27);
    RUN_UNTIL(w.s.ended);
    assert_int_equal(w.s.why, BK_E_MALFORMED);
    assert_int_equal(w.s.started, 0);
    raw_free(&peer);
}

static void garbage_below_tls_ends_the_session(void **state)
{
    (void)state;
    struct raw peer = raw_peer(&w.s, true, UINT32_MAX);
    static const char record[] = "\x17\x03\x03\x00\x20"
                                 "0123456789abcdef0123456789abcdef";
    assert_int_equal(send(peer.fd, record, sizeof record - 1, 0), sizeof record - 1);
    RUN_UNTIL(w.s.ended);
    assert_int_equal(w.s.why, BK_E_MALFORMED);
    raw_free(&peer);
}

static void close_notify_alone_is_a_cut(void **state)
{
    (void)state;
    struct raw peer = raw_peer(&w.s, true, UINT32_MAX);
    SSL_shutdown(peer.ssl);
    RUN_UNTIL(w.s.ended);
    assert_int_equal(w.s.why, BK_E_CLOSED);
    raw_free(&peer);
}

/* A client of nghttp2's own, to send what bk_h2_open never would. */
struct client {
    struct raw raw;
    nghttp2_session *ng;
    struct event *ev;
    int status[8]; /* by request, in order */
    uint32_t closed[8];
    unsigned n_closed;
};

static int client_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                         size_t name_n, const uint8_t *value, size_t n, uint8_t flags, void *user)
{
    (void)ng;
    (void)flags;
    struct client *c = user;
    if (name_n == 7 && memcmp(name, ":status", 7) == 0 && n == 3) {
        c->status[frame->hd.stream_id / 2 % 8] = (int)strtol((const char *)value, NULL, 10);
    }
    return 0;
}

static int client_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    (void)ng;
    struct client *c = user;
    c->closed[id / 2 % 8] = code;
    c->n_closed++;
    return 0;
}

static void client_flush(struct client *c)
{
    const uint8_t *bytes;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(c->ng, &bytes)) > 0) {
        (void)SSL_write(c->raw.ssl, bytes, (int)n); /* the session may be over already */
    }
}

static void client_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct client *c = arg;
    static uint8_t buf[16384];
    int n;
    while ((n = SSL_read(c->raw.ssl, buf, sizeof buf)) > 0) {
        assert_int_equal(nghttp2_session_mem_recv(c->ng, buf, (size_t)n), n);
    }
    if (SSL_get_error(c->raw.ssl, n) != SSL_ERROR_WANT_READ) {
        event_del(c->ev);
    } else {
        client_flush(c);
    }
}

static void client_start(struct client *c)
{
    memset(c, 0, sizeof *c);
    c->raw = raw_peer(&w.s, true, UINT32_MAX);
    nghttp2_session_callbacks *cb;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, client_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, client_close);
    nghttp2_session_client_new(&c->ng, cb, c);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(c->ng, 0, NULL, 0);
    c->ev = event_new(w.base, c->raw.fd, EV_READ | EV_PERSIST, client_readable, c);
    event_add(c->ev, NULL);
}

static void client_stop(struct client *c)
{
    event_free(c->ev);
    nghttp2_session_del(c->ng);
    raw_free(&c->raw);
}

#define NV(n, v)                                                                                   \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0              \
    }

static ssize_t nothing_yet(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
                           nghttp2_data_source *source, void *user)
{
    (void)ng, (void)id, (void)buf, (void)n, (void)flags, (void)source, (void)user;
    return NGHTTP2_ERR_DEFERRED;
}

static const nghttp2_data_provider open_body = {.read_callback = nothing_yet};

static void connect_is_the_only_method(void **state)
{
    (void)state;
    struct client c;
    client_start(&c);
    const nghttp2_nv get[] = {NV(":method", "GET"), NV(":scheme", "https"),
                              NV(":authority", "ssh:1"), NV(":path", "/")};
    nghttp2_submit_request(c.ng, NULL, get, 4, NULL, NULL);
    char name[2 * BK_H2_AUTHORITY_MAX_BYTES];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    const nghttp2_nv long_connect[] = {NV(":method", "CONNECT"), NV(":authority", name)};
    nghttp2_submit_request(c.ng, NULL, long_connect, 2, &open_body, NULL);
    client_flush(&c);
    RUN_UNTIL(c.n_closed == 2);
    assert_int_equal(c.status[0], 405);
    assert_int_equal(c.status[1], 400);
    assert_int_equal(c.closed[1], NGHTTP2_NO_ERROR);
    assert_int_equal(w.s.requests, 0);
    assert_int_equal(w.s.finished, 0);
    assert_int_equal(bk_h2_streams(w.s.h), 0);
    client_stop(&c);
}

static void headers_are_small(void **state)
{
    (void)state;
    struct client c;
    client_start(&c);
    static char big[6000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    const nghttp2_nv nv[] = {NV(":method", "CONNECT"), NV(":authority", "ssh:1"), NV("one", big),
                             NV("two", big)};
    nghttp2_submit_request(c.ng, NULL, nv, 4, &open_body, NULL);
    client_flush(&c);
    RUN_UNTIL(c.n_closed == 1);
    assert_int_not_equal(c.closed[0], NGHTTP2_NO_ERROR);
    assert_int_equal(w.s.requests, 0);
    assert_false(w.s.ended);
    client_stop(&c);
}

static void no_more_streams_than_allowed(void **state)
{
    (void)state;
    struct client c;
    client_start(&c);
    const nghttp2_nv nv[] = {NV(":method", "CONNECT"), NV(":authority", "ssh:1")};
    for (unsigned i = 0; i < 5; i++) { /* at once, before the limit of 3 is known to the client */
        nghttp2_submit_request(c.ng, NULL, nv, 2, &open_body, NULL);
    }
    client_flush(&c);
    RUN_UNTIL(c.n_closed == 2 || w.s.ended);
    assert_int_equal(w.s.requests, 3);
    assert_int_equal(c.closed[3], NGHTTP2_REFUSED_STREAM);
    assert_int_equal(c.closed[4], NGHTTP2_REFUSED_STREAM);
    client_stop(&c);
}

static void opening_and_resetting_without_end_is_stopped(void **state)
{
    enum { STREAMS_PER_S = 1400 }; /* TOKENS_PER_S of net/h2_guard.c, six for each */
    (void)state;
    struct client c;
    client_start(&c);
    const nghttp2_nv nv[] = {NV(":method", "CONNECT"), NV(":authority", "ssh:1")};
    bk_time began = bk_clock_mono();
    unsigned opened = 0;
    while (!w.s.ended && opened < 100000) {
        for (unsigned i = 0; i < 100; i++) {
            int32_t id = nghttp2_submit_request(c.ng, NULL, nv, 2, &open_body, NULL);
            client_flush(&c);
            nghttp2_submit_rst_stream(c.ng, 0, id, NGHTTP2_CANCEL);
            client_flush(&c);
            opened++;
        }
        event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    RUN_UNTIL(w.s.ended);
    uint64_t took_s = (bk_clock_mono() - began) / BK_SECOND; /* each gives tokens back */
    assert_true(w.s.requests > 1000 && w.s.requests < 10000 + took_s * STREAMS_PER_S);
    assert_int_equal(w.s.finished, w.s.requests);
    assert_int_equal(w.s.why, BK_E_RANGE);
    client_stop(&c);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup_pair, teardown)
#define RAW(f) cmocka_unit_test_setup_teardown(f, setup_tls, teardown)
    const struct CMUnitTest tests[] = {
        T(a_local_reset_reaches_the_other_end),
        T(a_reader_that_goes_away),
        T(abort_at_any_time),
        T(a_refusal_is_told_and_resets_the_local_end),
        T(odd_authorities),
        T(a_cut_connection_is_no_end_of_stream),
        T(free_is_no_end_of_stream_either),
        T(free_with_a_tail_unwritten_is_no_end_of_stream),
        T(free_from_inside_a_callback),
        RAW(a_silent_peer_is_given_up),
        RAW(an_answering_peer_is_kept),
        RAW(garbage_ends_the_session),
        RAW(garbage_below_tls_ends_the_session),
        RAW(close_notify_alone_is_a_cut),
        RAW(connect_is_the_only_method),
        RAW(headers_are_small),
        RAW(no_more_streams_than_allowed),
        RAW(opening_and_resetting_without_end_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
