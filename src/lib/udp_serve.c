/* Datagrams between a stream and a service. Frees itself when the stream ends, which is the case at the latest when the
 * session does. */
#include "lib/udp_serve.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event_struct.h>

#include "net/clock.h"
#include "net/sockaddr.h"

enum {
    DATAGRAM_BYTES = 65536,
    A_TURN = 32, /* datagrams, then others have theirs */
};

struct bk_udp_serve {
    struct event_base *base;
    struct bk_resolve *question;
    bk_udp_serve_fn *done;
    void *ctx;
    unsigned *count;
    int fd; /* -1: none yet */
    struct bk_udp_flow *flow;
    struct event readable, idle;
    uint8_t buf[DATAGRAM_BYTES];
};

static void release(struct bk_udp_serve *u)
{
    --*u->count;
    if (u->question != NULL) {
        bk_resolve_cancel(u->question);
    }
    bk_udp_flow_free(u->flow);
    if (u->fd >= 0) {
        (void)event_del(&u->readable);
        (void)event_del(&u->idle);
        close(u->fd);
    }
    free(u);
}

static void stay(struct bk_udp_serve *u)
{
    struct timeval limit = bk_timeval_ms(BK_UDP_SERVE_IDLE_MS);

    (void)event_add(&u->idle, &limit);
}

static void on_idle(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    release(ctx); /* the stream's end is closed with it */
}

static void on_ended(void *ctx)
{
    release(ctx);
}

/* A service that is not there is told by ICMP: datagrams get lost, no more. */
static void on_datagram(void *ctx, struct bk_slice payload)
{
    struct bk_udp_serve *u = ctx;

    stay(u);
    (void)!send(u->fd, payload.p, payload.n, MSG_NOSIGNAL);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_udp_serve *u = ctx;

    (void)what;
    for (int i = 0; i < A_TURN; i++) {
        ssize_t n = recv((int)fd, u->buf, sizeof u->buf, 0);

        if (n < 0) {
            break;
        }
        stay(u);
        bk_udp_flow_send(u->flow, bk_slice(u->buf, (size_t)n));
    }
}

/* A socket connected to `addr`, in u->fd, and the stream's end in *fd. 0 or an errno. */
static int join(struct bk_udp_serve *u, const struct bk_addr *addr, int *fd)
{
    const struct bk_udp_flow_callbacks on = {.ctx = u, .datagram = on_datagram, .ended = on_ended};
    struct sockaddr_storage sa;
    socklen_t len;
    int family = bk_sockaddr_family(addr);

    if (bk_sockaddr_write(addr, family, &sa, &len) != BK_OK) {
        return EAFNOSUPPORT;
    }
    u->fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (u->fd < 0) {
        return errno;
    }
    event_assign(&u->readable, u->base, u->fd, EV_READ | EV_PERSIST, on_readable, u);
    evtimer_assign(&u->idle, u->base, on_idle, u);
    if (connect(u->fd, (const struct sockaddr *)&sa, len) != 0) {
        return errno;
    }
    if (bk_udp_flow_new(u->base, &on, fd, &u->flow) != BK_OK ||
        event_add(&u->readable, NULL) != 0) {
        return ENOMEM;
    }
    stay(u);
    return 0;
}

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct bk_udp_serve *u = ctx;
    bk_udp_serve_fn *done = u->done;
    void *done_ctx = u->ctx;
    int fd = -1, why = EHOSTUNREACH;

    (void)text;
    u->question = NULL;
    if (err == BK_OK && n > 0) {
        why = join(u, &addrs[0], &fd);
    }
    if (why != 0) {
        if (fd >= 0) {
            close(fd);
        }
        release(u);
    }
    done(done_ctx, why == 0 ? fd : -1, why);
}

enum bk_err bk_udp_serve_new(struct event_base *base, struct bk_resolver *resolver,
                             const struct bk_service *service, bk_udp_serve_fn *done, void *ctx,
                             unsigned *count, struct bk_udp_serve **out)
{
    struct bk_udp_serve *u = calloc(1, sizeof *u);
    enum bk_err err;

    *out = NULL;
    if (u == NULL) {
        return BK_E_NOMEM;
    }
    u->base = base;
    u->done = done;
    u->ctx = ctx;
    u->count = count;
    u->fd = -1;
    err = bk_resolve_start(resolver, service->host, service->port, on_resolved, u, &u->question);
    if (err != BK_OK) {
        free(u);
        return err;
    }
    ++*count;
    *out = u;
    return BK_OK;
}

void bk_udp_serve_cancel(struct bk_udp_serve *u)
{
    if (u != NULL) {
        release(u);
    }
}
