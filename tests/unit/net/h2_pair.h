/* What the tests of the HTTP/2 session share: a pair of sessions over real TLS on loopback in one event loop, and
 * local ends to join to streams. Waits for conditions, never for time. */
#ifndef BK_TEST_NET_H2_PAIR_H
#define BK_TEST_NET_H2_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/h2.h"

enum { WAIT_S = 60 }; /* a condition that is not true by then never will be, sanitizers and all */

/* ---- The world of one test ---- */

struct side {
    struct bk_h2 *h;
    unsigned requests, answers, finished, clean, reset, local, lost, refused, pongs, started, going;
    bool ended;
    enum bk_err why;
    struct bk_h2_outcome last;
    struct bk_h2_stream *stream; /* of the newest request or answer */
    int last_status;
    char authority[BK_H2_AUTHORITY_MAX_BYTES];
    bool free_at_end;
    bool free_at_answer;
};

static struct world {
    struct event_base *base;
    SSL_CTX *ctx_c, *ctx_s;
    struct side c, s;
    int tcp_c, tcp_s;
    void (*serve)(struct bk_h2_stream *s, const char *authority);
} w;

static void too_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

/* Runs the loop until `done` or WAIT_S. */
#define RUN_UNTIL(condition)                                                                       \
    do {                                                                                           \
        bool late_ = false;                                                                        \
        struct event *guard_ = evtimer_new(w.base, too_late, &late_);                              \
        const struct timeval wait_ = {WAIT_S, 0};                                                  \
        evtimer_add(guard_, &wait_);                                                               \
        while (!(condition) && !late_) {                                                           \
            event_base_loop(w.base, EVLOOP_ONCE);                                                  \
        }                                                                                          \
        event_free(guard_);                                                                        \
        if (late_) {                                                                               \
            fail_msg("never came true: %s", #condition);                                           \
        }                                                                                          \
    } while (0)

static void tcp_pair(int fd[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(l, 1), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&a, &n), 0);
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd[0], (struct sockaddr *)&a, sizeof a), 0);
    fd[1] = accept(l, NULL, NULL);
    assert_true(fd[1] >= 0);
    close(l);
    evutil_make_socket_nonblocking(fd[0]);
    evutil_make_socket_nonblocking(fd[1]);
}

static SSL_CTX *make_ctx(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, NULL) > 0);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS); /* as bk_tls does */
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

/* Handshakes by turns: both ends are in this thread. The TLS client gets ssl[0]. */
static void tls_pair(SSL *ssl[2], const int fd[2])
{
    ssl[0] = SSL_new(w.ctx_c);
    ssl[1] = SSL_new(w.ctx_s);
    SSL_set_fd(ssl[0], fd[0]);
    SSL_set_fd(ssl[1], fd[1]);
    SSL_set_connect_state(ssl[0]);
    SSL_set_accept_state(ssl[1]);
    for (bool a = false, b = false; !a || !b;) {
        a = a || SSL_do_handshake(ssl[0]) == 1;
        b = b || SSL_do_handshake(ssl[1]) == 1;
    }
}

static void on_started(void *ctx)
{
    ((struct side *)ctx)->started++;
}

static void on_request(void *ctx, struct bk_h2_stream *s, const char *authority)
{
    struct side *side = ctx;
    side->requests++;
    side->stream = s;
    strncpy(side->authority, authority, sizeof side->authority - 1);
    if (w.serve != NULL) {
        w.serve(s, authority);
    }
}

static void on_answered(void *ctx, struct bk_h2_stream *s, int status)
{
    struct side *side = ctx;
    side->answers++;
    side->stream = s;
    side->last_status = status;
    if (side->free_at_answer) {
        bk_h2_free(side->h);
        side->h = NULL;
    }
}

static void on_finished(void *ctx, struct bk_h2_stream *s, const struct bk_h2_outcome *o)
{
    (void)s;
    struct side *side = ctx;
    side->finished++;
    side->clean += o->how == BK_H2_CLEAN;
    side->reset += o->how == BK_H2_RESET;
    side->local += o->how == BK_H2_LOCAL;
    side->lost += o->how == BK_H2_LOST;
    side->refused += o->how == BK_H2_REFUSED;
    side->last = *o;
}

static void on_going(void *ctx)
{
    ((struct side *)ctx)->going++;
}

static void on_pong(void *ctx, bk_time rtt)
{
    assert_true(rtt > 0 && rtt < 60 * BK_SECOND);
    ((struct side *)ctx)->pongs++;
}

static void on_ended(void *ctx, enum bk_err why, const char *text)
{
    struct side *side = ctx;
    assert_false(side->ended);
    assert_true(text[0] != '\0');
    side->ended = true;
    side->why = why;
    if (side->free_at_end) {
        bk_h2_free(side->h);
        side->h = NULL;
    }
}

static struct bk_h2_config side_config(struct side *side, bool server)
{
    return (struct bk_h2_config){
        .server = server,
        .keepalive_ms = UINT32_MAX,
        .on = {on_started, on_request, on_answered, on_finished, on_going, on_pong, on_ended},
        .ctx = side,
    };
}

static int setup_tls(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files = {8192, 8192};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < 8192 ? files.rlim_max : 8192;
    setrlimit(RLIMIT_NOFILE, &files);
    w.base = event_base_new();
    w.ctx_c = make_ctx(TLS_client_method());
    w.ctx_s = make_ctx(TLS_server_method());
    return 0;
}

/* As in a call: the TLS client is the HTTP/2 server. */
__attribute__((unused)) static int setup_pair(void **state)
{
    setup_tls(state);
    int fd[2];
    SSL *ssl[2];
    tcp_pair(fd);
    tls_pair(ssl, fd);
    w.tcp_s = fd[0];
    w.tcp_c = fd[1];
    struct bk_h2_config config = side_config(&w.s, true);
    assert_int_equal(bk_h2_new(w.base, ssl[0], &config, &w.s.h), BK_OK);
    config = side_config(&w.c, false);
    assert_int_equal(bk_h2_new(w.base, ssl[1], &config, &w.c.h), BK_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bk_h2_free(w.c.h);
    bk_h2_free(w.s.h);
    SSL_CTX_free(w.ctx_c);
    SSL_CTX_free(w.ctx_s);
    event_base_free(w.base);
    return 0;
}

/* ---- Local ends ---- */

struct end {
    struct bufferevent *bev;
    EVP_MD_CTX *hash_in, *hash_out;
    uint64_t to_send, sent, got;
    uint32_t noise;
    bool echo;
    bool shut_at_eof; /* end our direction when the peer's has come */
    bool shut_when_sent;
    bool shut;
    bool eof;
    int error;
};

static void end_fill(struct end *e)
{
    static uint32_t block[16 * 1024];
    struct evbuffer *out = bufferevent_get_output(e->bev);
    while (e->sent < e->to_send && evbuffer_get_length(out) < 256 * 1024) {
        for (size_t i = 0; i < sizeof block / sizeof block[0]; i++) {
            e->noise = e->noise * 1664525U + 1013904223U;
            block[i] = e->noise;
        }
        uint64_t n = e->to_send - e->sent < sizeof block ? e->to_send - e->sent : sizeof block;
        EVP_DigestUpdate(e->hash_out, block, n);
        bufferevent_write(e->bev, block, n);
        e->sent += n;
    }
    bool finished = e->sent == e->to_send && evbuffer_get_length(out) == 0;
    if (finished && !e->shut && (e->shut_when_sent || (e->shut_at_eof && e->eof))) {
        e->shut = true;
        shutdown(bufferevent_getfd(e->bev), SHUT_WR);
    }
}

static void end_write(struct bufferevent *bev, void *arg)
{
    (void)bev;
    end_fill(arg);
}

static void end_read(struct bufferevent *bev, void *arg)
{
    struct end *e = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t n = evbuffer_get_length(in);
    e->got += n;
    EVP_DigestUpdate(e->hash_in, evbuffer_pullup(in, -1), n);
    if (e->echo) {
        bufferevent_write_buffer(bev, in);
    } else {
        evbuffer_drain(in, n);
    }
}

static void end_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    struct end *e = arg;
    if (what & BEV_EVENT_EOF) {
        e->eof = true;
        end_fill(e);
    }
    if (what & BEV_EVENT_ERROR) {
        e->error = EVUTIL_SOCKET_ERROR();
    }
}

static struct end *end_new(int fd)
{
    struct end *e = calloc(1, sizeof *e);
    evutil_make_socket_nonblocking(fd);
    e->bev = bufferevent_socket_new(w.base, fd, BEV_OPT_CLOSE_ON_FREE);
    e->hash_in = EVP_MD_CTX_new();
    e->hash_out = EVP_MD_CTX_new();
    e->noise = (uint32_t)fd;
    EVP_DigestInit(e->hash_in, EVP_sha256());
    EVP_DigestInit(e->hash_out, EVP_sha256());
    bufferevent_setcb(e->bev, end_read, end_write, end_event, e);
    bufferevent_enable(e->bev, EV_READ | EV_WRITE);
    return e;
}

static void end_free(struct end *e)
{
    bufferevent_free(e->bev);
    EVP_MD_CTX_free(e->hash_in);
    EVP_MD_CTX_free(e->hash_out);
    free(e);
}

__attribute__((unused)) static void end_reset(struct end *e)
{
    struct linger now = {1, 0};
    setsockopt(bufferevent_getfd(e->bev), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    end_free(e);
}

__attribute__((unused)) static void assert_same_hash(struct end *from, struct end *to)
{
    unsigned char a[32], b[32];
    EVP_DigestFinal(from->hash_out, a, NULL);
    EVP_DigestFinal(to->hash_in, b, NULL);
    assert_memory_equal(a, b, 32);
}

/* Opens a stream joined to one end of a TCP pair; the other is returned. */
__attribute__((unused)) static struct end *open_end(const char *authority, struct bk_h2_stream **s)
{
    int fd[2];
    struct bk_h2_stream *opened;
    tcp_pair(fd);
    assert_int_equal(bk_h2_open(w.c.h, authority, fd[0], fd[0], NULL, &opened), BK_OK);
    if (s != NULL) {
        *s = opened;
    }
    return end_new(fd[1]);
}

__attribute__((unused)) static struct end *accept_end(struct bk_h2_stream *s)
{
    int fd[2];
    tcp_pair(fd);
    assert_int_equal(bk_h2_accept(s, fd[0], fd[0]), BK_OK);
    return end_new(fd[1]);
}

/* A stream whose directions have both ended, with bytes of the server's that wait at the client: its end does not read. */
__attribute__((unused)) static void open_with_tail(struct end **client, struct end **server)
{
    struct end *c = open_end("ssh:1", NULL);
    bufferevent_disable(c->bev, EV_READ);
    RUN_UNTIL(w.s.requests == 1);
    struct end *s = accept_end(w.s.stream);
    c->shut_when_sent = true;
    end_fill(c);
    RUN_UNTIL(s->eof);
    /* As much as makes the client queue, and no more than it has window for. */
    while (bk_h2_queued_bytes(w.c.h) == 0) {
        s->to_send += 64 * 1024;
        end_fill(s);
        RUN_UNTIL(evbuffer_get_length(bufferevent_get_output(s->bev)) == 0);
        RUN_UNTIL(bk_h2_ping(w.s.h) == BK_OK);
        unsigned pongs = w.s.pongs;
        RUN_UNTIL(w.s.pongs > pongs); /* what was sent before has arrived */
    }
    s->shut_when_sent = true;
    end_fill(s);
    RUN_UNTIL(w.s.clean == 1);
    *client = c;
    *server = s;
}

#endif
