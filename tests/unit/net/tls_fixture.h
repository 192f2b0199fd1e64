/* What the tests of TLS share: handshakes over a socket pair, a server with its authority, and a client that
 * fits it. */
#ifndef BK_TEST_NET_TLS_FIXTURE_H
#define BK_TEST_NET_TLS_FIXTURE_H

#include "net/pki.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include "net/tls.h"

enum {
    DAY_S = 86400,
    TURNS = 40,
};

static const char *const alpns[] = {"beckon-request/1", "beckon-agent/1"};

/* ---- One handshake ---- */

struct end {
    SSL *ssl;
    int fd;
    bool done;
    enum bk_tls_failure failure;
};

struct outcome {
    struct bk_tls_peer client_sees, server_sees;
    enum bk_tls_failure client, server;
    X509 *joined_ca;
    char cipher[64];
    unsigned tickets;
};

static void step(struct end *e)
{
    if (e->failure != BK_TLS_OK) {
        return;
    }
    uint8_t byte;
    int ret = e->done ? SSL_read(e->ssl, &byte, 1) : SSL_do_handshake(e->ssl);
    if (ret == 1) {
        e->done = true;
        return;
    }
    int kind = SSL_get_error(e->ssl, ret);
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
        return;
    }
    e->failure = bk_tls_why(e->ssl, ret);
    shutdown(e->fd, SHUT_WR);
}

/* Static: the peers' certificates make it large. */
__attribute__((unused)) static struct outcome *shake(struct bk_tls *client, struct bk_tls *server)
{
    static struct outcome o;
    int fds[2];
    struct end c = {0}, s = {0};
    memset(&o, 0, sizeof o);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(bk_tls_start(client, fds[0], &c.ssl), BK_OK);
    assert_int_equal(bk_tls_start(server, fds[1], &s.ssl), BK_OK);
    assert_int_equal(bk_tls_peer_of(c.ssl, &o.client_sees), BK_E_STATE);
    c.fd = fds[0];
    s.fd = fds[1];
    for (int i = 0; i < TURNS; i++) {
        step(&c);
        step(&s);
    }
    o.client = c.failure;
    o.server = s.failure;
    if (c.done && c.failure == BK_TLS_OK) {
        enum bk_err err = bk_tls_peer_of(c.ssl, &o.client_sees);
        if (err != BK_OK) {
            o.client = BK_TLS_NO_ALPN;
        }
        o.joined_ca = bk_tls_take_ca(c.ssl);
        snprintf(o.cipher, sizeof o.cipher, "%s/%s", SSL_get_version(c.ssl),
                 SSL_get_cipher_name(c.ssl));
        o.tickets = SSL_SESSION_has_ticket(SSL_get0_session(c.ssl)) != 0;
    }
    if (s.done && s.failure == BK_TLS_OK) {
        assert_int_equal(bk_tls_peer_of(s.ssl, &o.server_sees), BK_OK);
    }
    SSL_free(c.ssl);
    SSL_free(s.ssl);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(ERR_peek_error(), 0);
    return &o;
}

/* ---- A server, and a client that fits it ---- */

struct fixture {
    struct pki pki;
    struct holder server, device;
    struct bk_tls *tls_server;
    struct bk_tls_client client;
};

static struct bk_tls *server_of(const struct pki *p, const struct holder *h)
{
    struct bk_tls *tls = NULL;
    struct bk_tls_server config = {
        .cert = h->cert, .key = h->key, .ca = p->ca, .alpns = alpns, .n_alpns = 2};
    assert_int_equal(bk_tls_new_server(&config, &tls), BK_OK);
    return tls;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->pki = pki_new();
    f->server = holder_new(&f->pki, "beckon:server", true, -10, DAY_S);
    f->device = holder_new(&f->pki, "beckon:device:2133", false, -10, DAY_S);
    f->tls_server = server_of(&f->pki, &f->server);
    f->client = (struct bk_tls_client){.cert = f->device.cert,
                                       .key = f->device.key,
                                       .ca = f->pki.ca,
                                       .host = "localhost",
                                       .peer_uri = "beckon:server",
                                       .alpn = "beckon-agent/1"};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    bk_tls_free(f->tls_server);
    holder_free(&f->server);
    holder_free(&f->device);
    pki_free(&f->pki);
    free(f);
    return 0;
}

__attribute__((unused)) static struct outcome *try_client(struct fixture *f)
{
    struct bk_tls *tls = NULL;
    assert_int_equal(bk_tls_new_client(&f->client, &tls), BK_OK);
    struct outcome *o = shake(tls, f->tls_server);
    bk_tls_free(tls);
    return o;
}

__attribute__((unused)) static void replace_server(struct fixture *f, const char *uri,
                                                   int64_t from_s, int64_t until_s)
{
    bk_tls_free(f->tls_server);
    holder_free(&f->server);
    f->server = holder_new(&f->pki, uri, true, from_s, until_s);
    f->tls_server = server_of(&f->pki, &f->server);
}

__attribute__((unused)) static void replace_device(struct fixture *f, const struct pki *p,
                                                   const char *uri, int64_t from_s, int64_t until_s)
{
    holder_free(&f->device);
    f->device = holder_new(p, uri, false, from_s, until_s);
    f->client.cert = f->device.cert;
    f->client.key = f->device.key;
}

/* A client of somebody else's, plain OpenSSL, and a server of ours on one socket pair. */
struct foreign {
    struct end c, s;
};

/* `names`: what the client offers by ALPN, as on the wire; NULL: nothing. */
__attribute__((unused)) static struct foreign foreign_new(SSL_CTX *ctx, struct bk_tls *server,
                                                          const char *names)
{
    struct foreign f = {0};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    f.c = (struct end){.ssl = SSL_new(ctx), .fd = fds[0]};
    f.s.fd = fds[1];
    SSL_set_fd(f.c.ssl, fds[0]);
    SSL_set_connect_state(f.c.ssl);
    if (names != NULL) {
        assert_int_equal(
            SSL_set_alpn_protos(f.c.ssl, (const uint8_t *)names, (unsigned)strlen(names)), 0);
    }
    assert_int_equal(bk_tls_start(server, fds[1], &f.s.ssl), BK_OK);
    return f;
}

__attribute__((unused)) static void foreign_shake(struct foreign *f)
{
    for (int i = 0; i < TURNS; i++) {
        step(&f->c);
        step(&f->s);
    }
}

__attribute__((unused)) static void foreign_free(struct foreign *f)
{
    ERR_clear_error();
    SSL_free(f->c.ssl);
    SSL_free(f->s.ssl);
    close(f->c.fd);
    close(f->s.fd);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
