/* Frames of a connection under TLS, driven by what the socket allows. Called by the loop only; every function
 * that may reach a callback checks afterwards whether the connection is still wanted. */
#include "net/conn_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "net/sockaddr.h"

enum {
    FIRST_BUFFER_BYTES = 2048,
    KEEP_BUFFER_BYTES = 4096, /* an empty buffer above this is given back */
    READS_PER_TURN = 8,
    LINGER_MAX_BYTES = 256 * 1024, /* a peer that goes on talking is not listened to for ever */
};

static void on_io(evutil_socket_t fd, short what, void *ctx);

/* ---- Waiting ---- */

void bk_conn_want(struct bk_conn *c, short what)
{
    if (c->io_wants == what) {
        return;
    }
    if (c->io_wants != 0) {
        (void)event_del(&c->io);
    }
    c->io_wants = what;
    if (what == 0) {
        return;
    }
    event_assign(&c->io, c->base, c->fd, (short)(what | EV_PERSIST), on_io, c);
    (void)event_add(&c->io, NULL);
}

bool bk_conn_alive(const struct bk_conn *c)
{
    return c->state == BK_CONN_OPEN && !c->freed && !c->end_due;
}

/* ---- Bytes ---- */

/* Room for `more` bytes behind those that count, at most `max` in all. */
static bool make_room(struct bk_conn_bytes *b, size_t more, size_t max)
{
    size_t have = b->n - b->at;
    if (more > max || have > max - more) {
        return false;
    }
    if (b->at > 0) {
        memmove(b->p, b->p + b->at, have);
        b->at = 0;
        b->n = have;
    }
    if (b->cap - b->n >= more) {
        return true;
    }
    size_t cap = b->cap != 0 ? b->cap : FIRST_BUFFER_BYTES;
    while (cap < have + more) {
        cap *= 2; /* cannot overflow: bounded by twice `max` */
    }
    if (cap > max) {
        cap = max;
    }
    uint8_t *p = malloc(cap); /* not realloc: what it moves from stays readable */
    if (p == NULL) {
        return false;
    }
    if (have > 0) {
        memcpy(p, b->p, have);
    }
    bk_conn_forget(b);
    b->p = p;
    b->cap = cap;
    return true;
}

/* What was sent and heard may be secret: join tokens, registration keys. */
void bk_conn_forget(struct bk_conn_bytes *b)
{
    if (b->p != NULL) {
        OPENSSL_cleanse(b->p, b->cap);
    }
    free(b->p);
    b->p = NULL;
    b->cap = 0;
}

void bk_conn_take_bytes(struct bk_conn_bytes *b, size_t n)
{
    b->at += n;
    if (b->at < b->n) {
        return;
    }
    b->at = b->n = 0;
    if (b->cap > KEEP_BUFFER_BYTES) {
        bk_conn_forget(b);
    }
}

enum bk_err bk_conn_append(struct bk_conn_bytes *b, struct bk_slice bytes, size_t max)
{
    if (bytes.n == 0) {
        return BK_OK;
    }
    if (!make_room(b, bytes.n, max)) {
        return BK_E_NOSPACE;
    }
    memcpy(b->p + b->n, bytes.p, bytes.n);
    b->n += bytes.n;
    return BK_OK;
}

/* ---- Reading ---- */

/* Hands out every whole frame. False: the connection is over, or no longer the reader's. */
static bool hand_out(struct bk_conn *c)
{
    while (c->in.n > c->in.at) {
        struct bk_slice got = bk_slice(c->in.p + c->in.at, c->in.n - c->in.at);
        size_t bytes = 0;
        enum bk_err err = c->frame(got, &bytes);
        if (err == BK_E_TRUNCATED && got.n < c->limits.frame_max_bytes) {
            break;
        }
        if (err != BK_OK || bytes == 0 || bytes > c->limits.frame_max_bytes) {
            bk_conn_end(c, BK_CONN_BAD_FRAME, BK_TLS_OK, 0);
            return false;
        }
        if (bytes > got.n) {
            break;
        }
        (void)event_del(&c->timer); /* the next frame has its own time */
        c->on.message(c->on.ctx, c, bk_slice(got.p, bytes));
        if (c->freed) {
            return false;
        }
        bk_conn_take_bytes(&c->in, bytes);
        if (!bk_conn_alive(c)) {
            return false;
        }
    }
    if (c->in.n > c->in.at && !evtimer_pending(&c->timer, NULL)) {
        bk_conn_arm(&c->timer, c->limits.frame_ms);
    }
    return true;
}

/* SSL_read said `ret` <= 0. */
static void read_stopped(struct bk_conn *c, int ret)
{
    int os_error = errno;
    switch (SSL_get_error(c->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: /* only if TLS itself has something to say; the next read tries again */
        return;
    case SSL_ERROR_ZERO_RETURN:
        bk_conn_end(c, c->in.n > c->in.at ? BK_CONN_CUT : BK_CONN_ENDED_BY_PEER, BK_TLS_OK, 0);
        return;
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        bk_conn_end(c, BK_CONN_CUT, BK_TLS_OK, os_error);
        return;
    default:
        break;
    }
    enum bk_tls_failure failure = bk_tls_why(c->ssl, ret);
    bk_conn_end(c, failure == BK_TLS_CUT ? BK_CONN_CUT : BK_CONN_TLS,
                failure == BK_TLS_CUT ? BK_TLS_OK : failure, 0);
}

void bk_conn_read(struct bk_conn *c)
{
    assert(c->frame != NULL && c->on.message != NULL);
    for (int i = 0; i < READS_PER_TURN; i++) {
        if (!make_room(&c->in, 1, c->limits.frame_max_bytes)) {
            bk_conn_end(c, BK_CONN_BAD_FRAME, BK_TLS_OK, ENOMEM);
            return;
        }
        ERR_clear_error();
        errno = 0;
        int ret = SSL_read(c->ssl, c->in.p + c->in.n, (int)(c->in.cap - c->in.n));
        if (c->chatter > BK_TLS_CHATTER_MAX) {
            ERR_clear_error();
            bk_conn_end(c, BK_CONN_BAD_FRAME, BK_TLS_OK, 0);
            return;
        }
        if (ret <= 0) {
            read_stopped(c, ret);
            return;
        }
        c->in.n += (size_t)ret;
        if (c->limits.idle_ms != 0) {
            bk_conn_arm(&c->idle, c->limits.idle_ms);
        }
        if (!hand_out(c)) {
            return;
        }
    }
    /* Others have their turn first; OpenSSL may hold bytes the socket no longer shows. */
    event_active(&c->io, EV_READ, 0);
}

/* ---- Writing ---- */

/* What is queued, as far as it goes. False: it cannot go any more. */
static bool write_queued(struct bk_conn *c)
{
    while (c->out.n > c->out.at) {
        ERR_clear_error();
        errno = 0;
        int ret = SSL_write(c->ssl, c->out.p + c->out.at, (int)(c->out.n - c->out.at));
        if (ret <= 0) {
            int kind = SSL_get_error(c->ssl, ret);
            c->last_error = errno;
            return kind == SSL_ERROR_WANT_WRITE || kind == SSL_ERROR_WANT_READ;
        }
        bk_conn_take_bytes(&c->out, (size_t)ret);
    }
    return true;
}

static void write_open(struct bk_conn *c)
{
    if (write_queued(c)) {
        bk_conn_want(c, c->out.n > c->out.at ? EV_READ | EV_WRITE : EV_READ);
        return;
    }
    /* The peer is gone; what it said before (why it refused us, perhaps) may still be there to read. */
    int error = c->last_error;
    bk_conn_read(c);
    if (bk_conn_alive(c)) {
        bk_conn_end(c, BK_CONN_CUT, BK_TLS_OK, error);
    }
}

static void write_last(struct bk_conn *c)
{
    if (!write_queued(c)) {
        bk_conn_end(c, BK_CONN_CUT, BK_TLS_OK, c->last_error);
        return;
    }
    if (c->out.n > c->out.at) {
        return;
    }
    (void)SSL_shutdown(c->ssl);
    ERR_clear_error();
    bk_conn_linger(c);
}

/* ---- Lingering ---- */

void bk_conn_linger(struct bk_conn *c)
{
    c->state = BK_CONN_LINGERING;
    c->lingered = 0;
    (void)shutdown(c->fd, SHUT_WR);
    (void)event_del(&c->idle);
    bk_conn_want(c, EV_READ);
    bk_conn_arm(&c->timer, BK_CONN_LINGER_MS);
}

static void discard(struct bk_conn *c)
{
    uint8_t waste[2048];
    ssize_t n = recv(c->fd, waste, sizeof waste, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0) {
        c->lingered += (size_t)n;
    }
    if (n <= 0 || c->lingered > LINGER_MAX_BYTES) {
        bk_conn_end(c, BK_CONN_ENDED_BY_US, BK_TLS_OK, 0);
    }
}

static void on_io(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    struct bk_conn *c = ctx;
    bk_conn_enter(c);
    switch (c->state) {
    case BK_CONN_SHAKING:
        bk_conn_shake(c);
        break;
    case BK_CONN_OPEN:
        if ((what & EV_WRITE) != 0 && bk_conn_alive(c)) {
            write_open(c);
        }
        if ((what & EV_READ) != 0 && bk_conn_alive(c)) {
            bk_conn_read(c);
        }
        break;
    case BK_CONN_FLUSHING:
        write_last(c);
        break;
    case BK_CONN_LINGERING:
        discard(c);
        break;
    case BK_CONN_DIALLING:
    case BK_CONN_DONE:
        break;
    }
    bk_conn_leave(c);
}
