/* The handshake of a connection: from TCP that stands to `open`, or to an end. Called by the loop only. Invariant: what a
 * server says before its client is proven is its own flight and what `early` gave; nothing that was heard from that
 * client but its first message has any effect until the handshake is over.
 *
 * Bytes before the proof. TLS 1.3 lets a server write once its own Finished is out (RFC 8446, section 4.4.4), and
 * encrypts that to whoever holds the ephemeral key of the ClientHello: not to a known peer. So `early` may give only what
 * may be told to anybody who knows the server name of a call. That name is derived from the call's ID, which the two
 * ends and their server know, and, in the fast form, whoever listens between server and device; the device's first message
 * carries the name itself in the clear. Who knows it, and reaches our port while the call is being set up, can send a first message of his own, and then reads what `early` gave: for a call, our
 * HTTP/2 settings and the name of the service. He gets no further, because he cannot show the device's certificate;
 * no byte of the service's is among them, because the session sends such after the answer to its CONNECT alone and is
 * given the connection at `open`; and what he takes from the device is a round trip, because its connection is then
 * asked as if there were no such thing. A recorded first message, sent again, brings him not even the name. The other way
 * round nothing changes: the device reads these bytes after it has verified our key and our Finished. */
#include "net/conn_private.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>

#include "net/sockaddr.h"

static void opened(struct bk_conn *c)
{
    int fd = c->fd;
    c->state = BK_CONN_OPEN;
    c->was_open = true;
    (void)event_del(&c->timer);
    bk_tls_count_chatter(c->ssl, &c->chatter);
    if (c->limits.idle_ms != 0) {
        bk_conn_arm(&c->idle, c->limits.idle_ms);
    }
    if (c->hooks.opened != NULL) {
        c->hooks.opened(c->hooks.ctx);
    }
    c->on.open(c->on.ctx, c, &c->peer);
    if (!bk_conn_alive(c)) {
        return;
    }
    if (c->gather) {
        bk_conn_let_go(fd);
    }
    bk_conn_want(c, c->out.n > c->out.at ? EV_READ | EV_WRITE : EV_READ);
    bk_conn_read(c); /* OpenSSL may hold bytes that came with the handshake */
}

/* An accepted peer learns why by an alert. Hanging up at once would send a reset after it, which may
 * overtake it: so we wait until the peer hangs up. */
static void refused(struct bk_conn *c, enum bk_tls_failure failure)
{
    if (c->hooks.refused == NULL || failure == BK_TLS_CUT) {
        bk_conn_end(c, BK_CONN_TLS, failure, 0);
        return;
    }
    struct bk_conn_closed why = {.end = BK_CONN_TLS, .tls = failure};
    const char *text = bk_tls_failure_text(failure);
    memcpy(why.text, text, strlen(text) + 1);
    bk_conn_tell_lost(c);
    c->hooks.refused(c->hooks.ctx, &why);
    c->hooks.refused = NULL;
    c->unwanted = true;
    if (!c->freed) {
        bk_conn_linger(c);
    }
}

/* OpenSSL returned `ret` <= 0: waits, or ends. */
static void stopped(struct bk_conn *c, int ret)
{
    int os_error = errno;
    switch (SSL_get_error(c->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        bk_conn_want(c, EV_READ);
        return;
    case SSL_ERROR_WANT_WRITE:
        bk_conn_want(c, EV_WRITE);
        return;
    default:
        break;
    }
    enum bk_tls_failure failure = bk_tls_why(c->ssl, ret);
    if (failure == BK_TLS_CUT && bk_conn_nothing_heard(c)) {
        c->last_error = os_error;
        bk_conn_dial_again(c);
        return;
    }
    refused(c, failure);
}

/* ---- A server's bytes before the proof ---- */

/* The client's first message is read and our flight written. False: wait, or it is over. */
static bool answer_first(struct bk_conn *c)
{
    uint8_t none[1];
    size_t n = 0;
    int got = SSL_read_early_data(c->ssl, none, sizeof none, &n);
    if (got == SSL_READ_EARLY_DATA_FINISH) {
        return true;
    }
    if (got == SSL_READ_EARLY_DATA_SUCCESS) {
        refused(c, BK_TLS_OTHER); /* we allow none, and OpenSSL skips what comes all the same */
    } else {
        stopped(c, -1);
    }
    return false;
}

static bool ask_early(struct bk_conn *c)
{
    struct bk_slice bytes = c->on.early(c->on.ctx, c);
    if (c->freed) {
        return false;
    }
    assert(bytes.n <= BK_CONN_EARLY_MAX_BYTES);
    c->early_given = bytes.n > 0;
    if (bk_conn_append(&c->out, bytes, BK_CONN_EARLY_MAX_BYTES) != BK_OK) {
        refused(c, BK_TLS_OTHER); /* no memory */
        return false;
    }
    return true;
}

static bool write_early(struct bk_conn *c)
{
    while (c->out.n > c->out.at) {
        size_t n = 0;
        ERR_clear_error();
        errno = 0;
        if (SSL_write_early_data(c->ssl, c->out.p + c->out.at, c->out.n - c->out.at, &n) != 1) {
            stopped(c, 0);
            return false;
        }
        bk_conn_take_bytes(&c->out, n);
    }
    return true;
}

/* Everything up to there; the rest of the handshake is SSL_do_handshake's. */
static bool early_is_over(struct bk_conn *c)
{
    if (c->early == BK_CONN_EARLY_FIRST) {
        if (!answer_first(c)) {
            return false;
        }
        c->early = BK_CONN_EARLY_WRITING;
        if (!ask_early(c)) {
            return false;
        }
    }
    if (c->early == BK_CONN_EARLY_WRITING) {
        if (!write_early(c)) {
            return false;
        }
        c->early = BK_CONN_EARLY_NONE;
    }
    return true;
}

/* ---- The handshake ---- */

static void cork(int fd, int on)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

void bk_conn_let_go(int fd)
{
    cork(fd, 0);
}

void bk_conn_shake(struct bk_conn *c)
{
    ERR_clear_error();
    errno = 0;
    if (!early_is_over(c)) {
        return;
    }
    ERR_clear_error();
    errno = 0;
    if (c->gather) {
        cork(c->fd, 1); /* our first message leaves below, the last one waits for what follows it */
    }
    int ret = SSL_do_handshake(c->ssl);
    if (c->gather && ret != 1) {
        int os_error = errno;
        cork(c->fd, 0);
        errno = os_error;
    }
    if (ret != 1) {
        stopped(c, ret);
        return;
    }
    enum bk_err err = bk_tls_peer_of(c->ssl, &c->peer);
    if (err == BK_OK) {
        opened(c);
    } else {
        refused(c, err == BK_E_NOTFOUND ? BK_TLS_NO_ALPN : BK_TLS_OTHER);
    }
}

void bk_conn_begin_tls(struct bk_conn *c, int fd)
{
    bool is_server = SSL_is_server(c->ssl) == 1;
    c->fd = fd;
    c->state = BK_CONN_SHAKING;
    c->remote = bk_sockaddr_remote(fd);
    c->early = is_server && c->on.early != NULL ? BK_CONN_EARLY_FIRST : BK_CONN_EARLY_NONE;
    c->gather = c->gather && !is_server;
    bk_conn_set_no_delay(fd);
    if (c->limits.dead_ms != 0) {
        bk_conn_set_tcp_keepalive(fd, c->limits.dead_ms);
    }
    if (SSL_set_fd(c->ssl, fd) != 1) {
        /* No memory for a BIO: the opening timer ends it. */
        ERR_clear_error();
        return;
    }
    /* A client speaks first; a server waits. Either way the loop calls bk_conn_shake. */
    bk_conn_want(c, is_server ? EV_READ : EV_WRITE);
}
