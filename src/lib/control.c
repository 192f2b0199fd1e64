/* One end of a socket pair whose other end a stream carries. Frames what comes; a peer that says too much, or what is no
 * frame, loses the stream and nothing else. Invariant: after `ended` nothing is told any more. */
#include "lib/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bucket.h"
#include "net/clock.h"
#include "wire/paths.h"

enum {
    BURST = 32,    /* messages, */
    PER_SECOND = 1 /* and from then on */
};

struct bk_control {
    struct bk_control_callbacks on;
    int fd;
    struct event *event;
    struct bk_bucket bucket;
    bool over;
    bool telling, freed; /* freed while telling of a message: it goes after that */
    size_t n;
    uint8_t buf[BK_PATHS_MAX_BYTES];
};

static void end(struct bk_control *c)
{
    c->over = true;
    (void)event_del(c->event);
    shutdown(c->fd, SHUT_RDWR);
    c->on.ended(c->on.ctx, c); /* c may be gone */
}

static void destroy(struct bk_control *c)
{
    if (c->event != NULL) {
        event_free(c->event);
    }
    close(c->fd);
    free(c);
}

/* False: freed, or ended. */
static bool tell(struct bk_control *c, struct bk_slice message)
{
    if (!bk_bucket_take(&c->bucket, bk_clock_mono(), PER_SECOND, BURST)) {
        end(c);
        return false;
    }
    c->telling = true;
    c->on.message(c->on.ctx, c, message);
    c->telling = false;
    if (c->freed) {
        destroy(c);
        return false;
    }
    return !c->over;
}

/* All that is whole; false if nothing may be done any more. */
static bool tell_whole(struct bk_control *c)
{
    size_t at = 0, length;
    enum bk_err err = BK_OK;

    while (at < c->n) {
        err = bk_stun_frame(bk_slice(c->buf + at, c->n - at), &length);
        if (err != BK_OK || length > sizeof c->buf || length > c->n - at) {
            break;
        }
        if (!tell(c, bk_slice(c->buf + at, length))) {
            return false;
        }
        at += length;
    }
    if ((err != BK_OK && err != BK_E_TRUNCATED) ||
        (at < c->n && err == BK_OK && length > sizeof c->buf)) {
        end(c);
        return false;
    }
    memmove(c->buf, c->buf + at, c->n - at);
    c->n -= at;
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_control *c = ctx;
    ssize_t n = recv((int)fd, c->buf + c->n, sizeof c->buf - c->n, MSG_DONTWAIT);

    (void)what;
    if (n > 0) {
        c->n += (size_t)n;
        (void)tell_whole(c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        end(c);
    }
}

enum bk_err bk_control_new(struct event_base *base, const struct bk_control_callbacks *on, int *fd,
                           struct bk_control **out)
{
    struct bk_control *c = calloc(1, sizeof *c);
    int pair[2];

    *out = NULL;
    if (c == NULL) {
        return BK_E_NOMEM;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        free(c);
        return BK_E_IO;
    }
    c->on = *on;
    c->fd = pair[0];
    c->event = event_new(base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
    if (c->event == NULL || event_add(c->event, NULL) != 0) {
        close(pair[1]);
        bk_control_free(c);
        return BK_E_NOMEM;
    }
    *fd = pair[1];
    *out = c;
    return BK_OK;
}

bool bk_control_send(struct bk_control *c, struct bk_slice message)
{
    ssize_t n;

    if (c->over) {
        return false;
    }
    n = send(c->fd, message.p, message.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0 && (size_t)n < message.n) {
        shutdown(c->fd, SHUT_RDWR); /* half a message: nothing that follows would be understood */
    }
    return n >= 0 && (size_t)n == message.n;
}

void bk_control_free(struct bk_control *c)
{
    if (c == NULL) {
        return;
    }
    c->freed = true;
    if (!c->telling) {
        destroy(c);
    }
}
