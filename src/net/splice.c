/* Joined connections. Of each way: what is in its pipe is all that we hold; it is written before anything more is read. */
#include "net/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event_struct.h>

#include "net/clock.h"
#include "net/conn_private.h"

enum {
    PIPE_BYTES = 1 << 18,  /* asked for; what a pipe really holds shows */
    TURN_BYTES = 1 << 20,  /* of one way, before others get their turn */
    PAUSE_MS = 20,         /* where a rate is used up, or there is no pipe */
    RATE_MIN_BYTES = 4096, /* not worth moving less */
};

struct way {
    struct bk_splice *pair;
    int from, to;
    int pipe[2];  /* -1: none held */
    size_t held;  /* bytes in it */
    bool ended;   /* no more comes from `from` */
    bool done;    /* and its end was passed on */
    bool dead;    /* `to` takes no more; what comes is left alone */
    bool reading; /* `readable` is waited for */
    uint64_t *moved;
    struct event readable, writable;
};

struct bk_splice {
    struct bk_splice_config config;
    struct way ways[2];
    struct event pause, idle;
    bool moved; /* since the idle timer last looked */
    bool broken;
    bool over; /* told */
};

/* ---- Rates and pipes ---- */

static size_t rate_left(struct bk_byte_rate *r, bk_time now)
{
    uint64_t most = r->per_s / 4 > RATE_MIN_BYTES ? r->per_s / 4 : RATE_MIN_BYTES;
    uint64_t passed_ms = (now - r->at) / BK_MS;
    if (r->at == 0 || passed_ms >= 1000) {
        r->left = most;
        r->at = now;
    } else if (passed_ms > 0) {
        r->left += r->per_s * passed_ms / 1000;
        r->left = r->left < most ? r->left : most;
        r->at += passed_ms * BK_MS;
    }
    return r->left < RATE_MIN_BYTES ? 0 : r->left;
}

/* How much may be read now. */
static size_t allowance(struct bk_splice *s)
{
    size_t n = PIPE_BYTES;
    for (size_t i = 0; i < BK_SPLICE_RATES_MAX; i++) {
        struct bk_byte_rate *r = s->config.rates[i];
        if (r != NULL && r->per_s != 0) {
            size_t left = rate_left(r, bk_clock_mono());
            n = left < n ? left : n;
        }
    }
    return n;
}

static void spend(struct bk_splice *s, size_t n)
{
    for (size_t i = 0; i < BK_SPLICE_RATES_MAX; i++) {
        struct bk_byte_rate *r = s->config.rates[i];
        if (r != NULL && r->per_s != 0) {
            r->left -= n < r->left ? n : r->left;
        }
    }
}

static bool take_pipe(struct way *w)
{
    struct bk_pipes *pipes = w->pair->config.pipes;
    if (w->pipe[0] >= 0) {
        return true;
    }
    if (pipes->n > 0) {
        pipes->n--;
        w->pipe[0] = pipes->fds[pipes->n][0];
        w->pipe[1] = pipes->fds[pipes->n][1];
        return true;
    }
    if (pipe2(w->pipe, O_NONBLOCK | O_CLOEXEC) != 0) {
        w->pipe[0] = w->pipe[1] = -1;
        return false;
    }
    (void)fcntl(w->pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
    return true;
}

static void leave_pipe(struct way *w)
{
    struct bk_pipes *pipes = w->pair->config.pipes;
    if (w->pipe[0] < 0) {
        return;
    }
    if (w->held == 0 && pipes->n < BK_PIPES_KEPT_MAX) {
        pipes->fds[pipes->n][0] = w->pipe[0];
        pipes->fds[pipes->n][1] = w->pipe[1];
        pipes->n++;
    } else {
        close(w->pipe[0]);
        close(w->pipe[1]);
    }
    w->pipe[0] = w->pipe[1] = -1;
    w->held = 0;
}

void bk_pipes_close(struct bk_pipes *pipes)
{
    while (pipes->n > 0) {
        pipes->n--;
        close(pipes->fds[pipes->n][0]);
        close(pipes->fds[pipes->n][1]);
    }
}

/* ---- The end ---- */

static void close_both(struct bk_splice *s, bool reset)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    for (size_t i = 0; i < 2; i++) {
        struct way *w = &s->ways[i];
        (void)event_del(&w->readable);
        (void)event_del(&w->writable);
        leave_pipe(w);
    }
    (void)event_del(&s->pause);
    (void)event_del(&s->idle);
    for (size_t i = 0; i < 2; i++) {
        int fd = s->ways[i].from;
        if (fd >= 0) {
            if (reset) {
                (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            }
            close(fd);
        }
        s->ways[i].from = s->ways[1 - i].to = -1;
    }
}

/* The last thing that is done with it, as `ended` may free it. */
static void finish(struct bk_splice *s, bool reset)
{
    s->over = true;
    close_both(s, reset);
    s->config.ended(s->config.ctx, s);
}

/* ---- Moving ---- */

static void want_read(struct way *w, bool on)
{
    if (on != w->reading) {
        w->reading = on;
        (void)(on ? event_add(&w->readable, NULL) : event_del(&w->readable));
    }
}

/* What is held goes out. False: not all of it, now. */
static bool drain(struct way *w)
{
    while (w->held > 0) {
        ssize_t n =
            splice(w->pipe[0], NULL, w->to, NULL, w->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n > 0) {
            w->held -= (size_t)n;
            w->pair->moved = true;
            if (w->moved != NULL) {
                *w->moved += (uint64_t)n;
            }
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            want_read(w, false);
            (void)event_add(&w->writable, NULL);
            return false;
        } else {
            w->dead = true; /* it went away; what it said before still comes by the other way */
            return false;
        }
    }
    return true;
}

/* True: something was read, or the end. */
static bool fill(struct way *w)
{
    size_t n = allowance(w->pair);
    if (n == 0 || !take_pipe(w)) {
        want_read(w, false);
        if (!event_pending(&w->pair->pause, EV_TIMEOUT, NULL)) {
            bk_conn_arm(&w->pair->pause, PAUSE_MS);
        }
        return false;
    }
    ssize_t got;
    do {
        got = splice(w->from, NULL, w->pipe[1], NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        w->held += (size_t)got;
        spend(w->pair, (size_t)got);
        return true;
    }
    if (got < 0 && errno == EAGAIN) {
        want_read(w, true);
        return false;
    }
    w->ended = true;
    w->pair->broken = w->pair->broken || got < 0;
    want_read(w, false);
    return true;
}

static void move(struct way *w)
{
    for (size_t turn = 0; turn < TURN_BYTES;) {
        if (!drain(w) || w->ended) {
            break;
        }
        size_t before = w->held;
        if (!fill(w)) {
            break;
        }
        turn += w->held - before;
        if (turn >= TURN_BYTES && drain(w)) {
            want_read(w, !w->ended);
        }
    }
    if (w->dead) {
        want_read(w, false);
        (void)event_del(&w->writable);
        w->pair->broken = true;
        w->done = true;
    } else if (w->held == 0 && w->ended && !w->done) {
        w->done = true;
        if (!w->pair->broken) {
            (void)shutdown(w->to, SHUT_WR);
        }
    }
    if (w->held == 0 || w->dead) {
        leave_pipe(w);
    }
}

/* Moves, and ends the pair where its time has come. False: it has ended. */
static bool turn(struct way *w)
{
    struct bk_splice *s = w->pair;
    if (!w->done) {
        move(w);
    }
    struct way *other = &s->ways[w == &s->ways[0]];
    /* Read to a reset: the other way has nobody to go to. Written into one: what was said before is yet to be read. */
    bool over = w->done && (other->done || (s->broken && w->ended));
    if (over) {
        finish(s, s->broken);
    }
    return !over;
}

static void on_ready(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    (void)turn(ctx);
}

static void on_pause_over(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct bk_splice *s = ctx;
    (void)(turn(&s->ways[0]) && turn(&s->ways[1]));
}

static void on_idle(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct bk_splice *s = ctx;
    if (!s->moved) {
        finish(s, true);
        return;
    }
    s->moved = false;
    bk_conn_arm(&s->idle, s->config.idle_ms);
}

/* ---- The owner's verbs ---- */

enum bk_err bk_splice_new(struct event_base *base, const struct bk_splice_config *config, int a,
                          int b, struct bk_splice **out)
{
    struct bk_splice *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s == NULL) {
        close(a);
        close(b);
        return BK_E_NOMEM;
    }
    s->config = *config;
    for (size_t i = 0; i < 2; i++) {
        struct way *w = &s->ways[i];
        w->pair = s;
        w->from = i == 0 ? a : b;
        w->to = i == 0 ? b : a;
        w->pipe[0] = w->pipe[1] = -1;
        w->moved = config->moved[i];
        event_assign(&w->readable, base, w->from, EV_READ | EV_PERSIST, on_ready, w);
        event_assign(&w->writable, base, w->to, EV_WRITE, on_ready, w);
        want_read(w, true);
        bk_conn_set_no_delay(w->from);
        if (config->dead_ms != 0) {
            bk_conn_set_tcp_keepalive(w->from, config->dead_ms);
        }
    }
    evtimer_assign(&s->pause, base, on_pause_over, s);
    evtimer_assign(&s->idle, base, on_idle, s);
    if (config->idle_ms != 0) {
        bk_conn_arm(&s->idle, config->idle_ms);
    }
    *out = s;
    return BK_OK;
}

void bk_splice_free(struct bk_splice *s)
{
    if (s == NULL) {
        return;
    }
    if (!s->over) {
        close_both(s, true);
    }
    free(s);
}
