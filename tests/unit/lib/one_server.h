/* A TLS server in a process of its own, for tests of what asks it: one ALPN name, one answering function. */
#ifndef BK_TEST_LIB_ONE_SERVER_H
#define BK_TEST_LIB_ONE_SERVER_H

#include "net/pki.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/listener.h"
#include "wire/attrs.h"

struct one_server {
    struct pki pki;
    struct holder own;
    const char *alpn;
    bool strangers; /* its clients have no certificate */
    void (*message)(struct bk_conn *conn, const struct bk_stun *m);
    pid_t pid;
    uint16_t port;
};

static inline void one_server_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    const struct one_server *s = ctx;
    (void)conn;
    assert_int_equal(peer->certified, !s->strangers);
}

static inline void one_server_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct one_server *s = ctx;
    struct bk_stun m;

    assert_int_equal(bk_stun_read(frame, &m), BK_OK);
    s->message(conn, &m);
}

static inline void one_server_closed(void *ctx, struct bk_conn *conn,
                                     const struct bk_conn_closed *why)
{
    (void)ctx;
    (void)why;
    bk_conn_free(conn);
}

static inline void one_server_serve(struct one_server *s, int tell)
{
    struct bk_tls_server tls = {
        .cert = s->own.cert, .key = s->own.key, .ca = s->pki.ca, .alpns = &s->alpn, .n_alpns = 1};
    struct bk_listener_config config = {.conn = {.frame = bk_stun_frame,
                                                 .on = {.ctx = s,
                                                        .open = one_server_open,
                                                        .message = one_server_message,
                                                        .closed = one_server_closed}}};
    struct event_base *base = event_base_new();
    struct bk_listener *listener;
    struct bk_addr loopback = bk_addr_v4(127, 0, 0, 1, s->port), at;

    signal(SIGPIPE, SIG_IGN);
    if (bk_tls_new_server(&tls, &config.conn.tls) != BK_OK ||
        bk_listener_new(base, &config, &listener) != BK_OK ||
        bk_listener_add(listener, &loopback, &at) != BK_OK ||
        write(tell, &at.port, sizeof at.port) != sizeof at.port) {
        _exit(1);
    }
    event_base_dispatch(base);
    _exit(0);
}

/* At its port of before, if it had one. */
static inline void one_server_start(struct one_server *s)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        close(fds[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails does not stop it */
        one_server_serve(s, fds[1]);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &s->port, sizeof s->port), sizeof s->port);
    close(fds[0]);
}

static inline void one_server_stop(struct one_server *s)
{
    assert_int_equal(kill(s->pid, SIGKILL), 0);
    assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
}

#endif
