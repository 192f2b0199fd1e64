/* The local end of a stream. Waits by one-shot events only, so that a side nobody asks for costs nothing
 * and never spins. Invariant: something is queued only while `ev_out` is pending, the pump is not attached yet,
 * or it is broken. */
#include "net/pump.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUEUE_FIRST_BYTES = 16 * 1024 };

void bk_pump_init(struct bk_pump *p, struct event_base *base, const struct bk_pump_callbacks *on,
                  void *ctx)
{
    *p = (struct bk_pump){.base = base,
                          .on = on,
                          .ctx = ctx,
                          .fd_in = -1,
                          .fd_out = -1,
                          .in_flags = -1,
                          .out_flags = -1};
}

/* ---- Writing ---- */

static long write_some(struct bk_pump *p, const uint8_t *bytes, size_t n)
{
    for (;;) {
        ssize_t done = send(p->fd_out, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && errno == ENOTSOCK) {
            done = write(p->fd_out, bytes, n);
        }
        if (done >= 0) {
            return done;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return 0;
        }
        if (errno != EINTR) {
            return -1;
        }
    }
}

static bool queue_room(struct bk_pump *p, size_t n)
{
    if (n <= p->q_cap - p->q_off - p->q_len) {
        return true;
    }
    if (p->q_off >= p->q_len && n <= p->q_cap - p->q_len) {
        memmove(p->queue, p->queue + p->q_off, p->q_len);
        p->q_off = 0;
        return true;
    }
    size_t cap = p->q_cap == 0 ? QUEUE_FIRST_BYTES : p->q_cap;
    while (cap - p->q_len < n) {
        cap *= 2;
    }
    uint8_t *grown = malloc(cap);
    if (grown == NULL) {
        return false;
    }
    if (p->q_len > 0) {
        memcpy(grown, p->queue + p->q_off, p->q_len);
    }
    free(p->queue);
    p->queue = grown;
    p->q_cap = cap;
    p->q_off = 0;
    return true;
}

static void queue_drop(struct bk_pump *p)
{
    free(p->queue);
    p->queue = NULL;
    p->q_off = p->q_len = p->q_cap = 0;
}

/* The end was passed on, or could not be. */
static enum bk_err shut_out(struct bk_pump *p)
{
    p->out_done = true;
    if (p->fd_out < 0) {
        return BK_OK;
    }
    bool failed = shutdown(p->fd_out, SHUT_WR) != 0 && errno != ENOTSOCK;
    if (p->fd_out == p->fd_in) {
        return failed ? BK_E_IO : BK_OK;
    }
    int error = errno;
    if (p->out_polled) {
        event_del(&p->ev_out);
    }
    if (p->out_flags >= 0) {
        (void)fcntl(p->fd_out, F_SETFL, p->out_flags);
    }
    if (close(p->fd_out) != 0) { /* delayed write errors of files come here */
        error = errno;
        failed = true;
    }
    p->fd_out = -1;
    errno = error;
    return failed ? BK_E_IO : BK_OK;
}

/* Writes what is queued as far as it goes. */
static enum bk_err drain(struct bk_pump *p, size_t *written)
{
    *written = 0;
    while (p->q_len > 0) {
        long n = write_some(p, p->queue + p->q_off, p->q_len);
        if (n < 0) {
            return BK_E_IO;
        }
        if (n == 0) {
            return event_add(&p->ev_out, NULL) == 0 ? BK_OK : BK_E_IO;
        }
        p->q_off += (size_t)n;
        p->q_len -= (size_t)n;
        *written += (size_t)n;
    }
    queue_drop(p); /* an idle stream holds no memory */
    return p->ending && !p->out_done ? shut_out(p) : BK_OK;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct bk_pump *p = arg;
    size_t written = 0;
    bool was_done = p->out_done;
    enum bk_err err;
    if (p->fd_out < 0 && p->fd_in < 0) { /* nothing there: everything is dropped */
        written = p->q_len;
        queue_drop(p);
        p->out_done = p->out_done || p->ending;
        err = BK_OK;
    } else {
        err = drain(p, &written);
    }
    int error = errno;
    bool done = p->out_done && !was_done;
    if (err != BK_OK) {
        p->broken = true;
        queue_drop(p);
    }
    if (written > 0) {
        p->on->written(p->ctx, written);
    }
    if (err != BK_OK) {
        p->on->failed(p->ctx, error);
    } else if (done) {
        p->on->out_done(p->ctx);
    }
}

enum bk_err bk_pump_push(struct bk_pump *p, struct bk_slice bytes, size_t *written)
{
    *written = 0;
    assert(!p->ending);
    if (p->broken) {
        errno = EPIPE;
        return BK_E_IO;
    }
    if (p->attached && p->fd_out < 0) {
        *written = bytes.n;
        return BK_OK;
    }
    while (p->attached && p->q_len == 0 && *written < bytes.n) {
        long n = write_some(p, bytes.p + *written, bytes.n - *written);
        if (n < 0) {
            p->broken = true;
            return BK_E_IO;
        }
        if (n == 0) {
            if (event_add(&p->ev_out, NULL) != 0) {
                p->broken = true;
                return BK_E_IO;
            }
            break;
        }
        *written += (size_t)n;
    }
    size_t rest = bytes.n - *written;
    if (rest == 0) {
        return BK_OK;
    }
    if (!queue_room(p, rest)) {
        p->broken = true;
        return BK_E_NOMEM;
    }
    memcpy(p->queue + p->q_off + p->q_len, bytes.p + *written, rest);
    p->q_len += rest;
    return BK_OK;
}

enum bk_err bk_pump_end(struct bk_pump *p)
{
    p->ending = true;
    if (!p->attached || p->q_len > 0 || p->out_done) {
        return BK_OK;
    }
    enum bk_err err = shut_out(p);
    p->broken = p->broken || err != BK_OK;
    return err;
}

/* ---- Reading ---- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct bk_pump *p = arg;
    p->on->readable(p->ctx);
}

long bk_pump_read(struct bk_pump *p, uint8_t *buf, size_t n)
{
    if (p->fd_in < 0) {
        return BK_PUMP_WAIT;
    }
    for (;;) {
        ssize_t got = read(p->fd_in, buf, n);
        if (got >= 0) {
            return (long)got;
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            return BK_PUMP_ERROR;
        }
        return event_add(&p->ev_in, NULL) == 0 ? BK_PUMP_WAIT : BK_PUMP_ERROR;
    }
}

/* ---- Descriptors ---- */

/* Regular files, /dev/null and their like are always ready, and epoll refuses them. */
static bool can_poll(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode))) {
        return true;
    }
    int ep = epoll_create1(EPOLL_CLOEXEC);
    if (ep < 0) {
        return true;
    }
    struct epoll_event none = {.events = 0};
    bool can = epoll_ctl(ep, EPOLL_CTL_ADD, fd, &none) == 0;
    close(ep);
    return can;
}

/* Do both lead to the same file, and so perhaps to one open file description with one set of flags? */
static bool same_file(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

enum bk_err bk_pump_attach(struct bk_pump *p, int fd_in, int fd_out)
{
    assert(!p->attached);
    p->fd_in = fd_in;
    p->fd_out = fd_out;
    p->attached = true;
    if (fd_in < 0 && fd_out < 0) {
        event_assign(&p->ev_out, p->base, -1, 0, on_writable, p);
        p->out_polled = true;
        event_active(&p->ev_out, EV_WRITE, 0);
        return BK_OK;
    }
    int in_flags = fcntl(fd_in, F_GETFL);
    int out_flags = fcntl(fd_out, F_GETFL);
    if (in_flags < 0 || out_flags < 0) {
        bk_pump_close(p, true);
        return BK_E_IO;
    }
    p->in_polled = can_poll(fd_in);
    p->out_polled = can_poll(fd_out);
    if (p->in_polled && (in_flags & O_NONBLOCK) == 0) {
        p->in_flags = in_flags;
        (void)fcntl(fd_in, F_SETFL, in_flags | O_NONBLOCK);
    }
    if (p->out_polled && (out_flags & O_NONBLOCK) == 0 && fd_out != fd_in) {
        p->out_flags = out_flags;
        (void)fcntl(fd_out, F_SETFL, out_flags | O_NONBLOCK);
    }
    if (p->in_flags >= 0 && p->out_flags >= 0 && same_file(fd_in, fd_out)) {
        p->out_flags = -1; /* put back once, at the end, not while the other is still in use */
    }
    int on = 1;
    (void)setsockopt(fd_out, IPPROTO_TCP, TCP_NODELAY, &on,
                     sizeof on); /* fails for what is not TCP */
    event_assign(&p->ev_in, p->base, fd_in, EV_READ, on_readable, p);
    event_assign(&p->ev_out, p->base, fd_out, EV_WRITE, on_writable, p);
    if (p->q_len > 0 || p->ending) {
        event_active(&p->ev_out, EV_WRITE, 0);
    }
    return BK_OK;
}

static void close_one(int fd, int flags, bool reset)
{
    if (fd < 0) {
        return;
    }
    if (reset) {
        struct linger abort_it = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof abort_it);
    }
    if (flags >= 0) {
        (void)fcntl(fd, F_SETFL, flags);
    }
    close(fd);
}

void bk_pump_close(struct bk_pump *p, bool reset)
{
    if (event_initialized(&p->ev_in)) {
        event_del(&p->ev_in);
    }
    if (event_initialized(&p->ev_out)) {
        event_del(&p->ev_out);
    }
    if (p->fd_out != p->fd_in) {
        close_one(p->fd_out, p->out_flags, reset);
    }
    close_one(p->fd_in, p->in_flags, reset);
    p->fd_in = p->fd_out = -1;
    p->in_flags = p->out_flags = -1;
    p->broken = true;
    queue_drop(p);
}
