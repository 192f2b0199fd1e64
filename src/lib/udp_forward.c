/* Local senders and their streams. A flow begins with its first datagram; until its stream is open its capsules wait in the
 * socket pair. Invariant: `stream_fd` of a flow is ours until it is given to a session. */
#include "lib/udp_forward.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event_struct.h>

#include "net/clock.h"
#include "net/sockaddr.h"

enum {
    DATAGRAM_BYTES = 65536,
    A_TURN = 32,
    LOOK_MS = 20, /* while a stream waits for its session */
    SWEEP_MS = 5000,
};

struct flow {
    struct bk_udp_forward *forward;
    struct bk_udp_flow *flow; /* NULL: a free place */
    struct bk_addr peer;
    int stream_fd; /* -1: the session has it */
    bk_time began, used;
};

struct bk_udp_forward {
    struct event_base *base;
    struct bk_udp_forward_config config;
    int fd, family;
    struct event readable, look, sweep;
    struct flow flows[BK_UDP_FORWARD_FLOWS_MAX];
    uint8_t buf[DATAGRAM_BYTES];
};

static void arm(struct event *timer, uint32_t ms)
{
    struct timeval tv = bk_timeval_ms(ms);

    (void)event_add(timer, &tv);
}

static void flow_end(struct flow *f)
{
    bk_udp_flow_free(f->flow);
    f->flow = NULL;
    if (f->stream_fd >= 0) {
        close(f->stream_fd);
        f->stream_fd = -1;
    }
}

static void on_ended(void *ctx)
{
    flow_end(ctx);
}

static void on_datagram(void *ctx, struct bk_slice payload)
{
    struct flow *f = ctx;
    struct bk_udp_forward *u = f->forward;
    struct sockaddr_storage sa;
    socklen_t len;

    f->used = bk_clock_mono();
    if (bk_sockaddr_write(&f->peer, u->family, &sa, &len) == BK_OK) {
        (void)!sendto(u->fd, payload.p, payload.n, MSG_NOSIGNAL, (struct sockaddr *)&sa, len);
    }
}

/* Gives the stream's end to the session, if there is one that takes it. False: still waiting. */
static bool open_stream(struct flow *f)
{
    struct bk_udp_forward *u = f->forward;
    bool coming = true;
    struct bk_h2 *session = u->config.session(u->config.ctx, &coming);
    struct bk_h2_stream *stream;
    char path[BK_UDP_PATH_BYTES];
    int fd = f->stream_fd;

    if (f->flow == NULL) { /* asking for a session has ended everything */
        return true;
    }
    if (session == NULL && !coming) {
        flow_end(f);
        return true;
    }
    if (session == NULL || !bk_h2_extended(session)) {
        return false;
    }
    f->stream_fd = -1;
    bk_udp_path(u->config.service, path);
    if (bk_h2_open_extended(session, BK_UDP_PROTOCOL, u->config.service, path, true, fd, fd,
                            u->config.owner, &stream) != BK_OK) {
        flow_end(f);
    }
    return true;
}

static void on_look(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_udp_forward *u = ctx;
    bk_time now = bk_clock_mono();
    bool waiting = false;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < BK_UDP_FORWARD_FLOWS_MAX; i++) {
        struct flow *f = &u->flows[i];

        if (f->flow == NULL || f->stream_fd < 0) {
            continue;
        }
        if (now - f->began >= BK_UDP_FORWARD_OPEN_MS * BK_MS) {
            flow_end(f);
        } else if (!open_stream(f)) {
            waiting = true;
        }
    }
    if (waiting) {
        arm(&u->look, LOOK_MS);
    }
}

static void on_sweep(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_udp_forward *u = ctx;
    bk_time now = bk_clock_mono();

    (void)fd;
    (void)what;
    for (size_t i = 0; i < BK_UDP_FORWARD_FLOWS_MAX; i++) {
        struct flow *f = &u->flows[i];

        if (f->flow != NULL && now - f->used >= BK_UDP_FORWARD_IDLE_MS * BK_MS) {
            flow_end(f);
        }
    }
    arm(&u->sweep, SWEEP_MS);
}

/* The flow of that sender; a new one in the place of him who has been silent longest, if need be. NULL: no memory. */
static struct flow *flow_of(struct bk_udp_forward *u, const struct bk_addr *peer)
{
    struct flow *place = &u->flows[0];

    for (size_t i = 0; i < BK_UDP_FORWARD_FLOWS_MAX; i++) {
        struct flow *f = &u->flows[i];

        if (f->flow != NULL && bk_addr_equal(&f->peer, peer)) {
            return f;
        }
        if (place->flow != NULL && (f->flow == NULL || f->used < place->used)) {
            place = f;
        }
    }
    if (place->flow != NULL) {
        flow_end(place);
    }
    *place = (struct flow){
        .forward = u, .peer = *peer, .stream_fd = -1, .began = bk_clock_mono(), .used = 0};
    const struct bk_udp_flow_callbacks on = {
        .ctx = place, .datagram = on_datagram, .ended = on_ended};
    if (bk_udp_flow_new(u->base, &on, &place->stream_fd, &place->flow) != BK_OK) {
        return NULL;
    }
    return place;
}

static void received(struct bk_udp_forward *u, const struct bk_addr *from, struct bk_slice payload)
{
    struct flow *f = flow_of(u, from);

    if (f == NULL) {
        return;
    }
    f->used = bk_clock_mono();
    bk_udp_flow_send(f->flow, payload);
    if (f->stream_fd >= 0 && !open_stream(f)) {
        arm(&u->look, LOOK_MS);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_udp_forward *u = ctx;

    (void)what;
    for (int i = 0; i < A_TURN; i++) {
        struct sockaddr_storage sa;
        socklen_t len = sizeof sa;
        struct bk_addr from;
        ssize_t n = recvfrom((int)fd, u->buf, sizeof u->buf, 0, (struct sockaddr *)&sa, &len);

        if (n < 0) {
            return;
        }
        if (bk_sockaddr_read((struct sockaddr *)&sa, &from) == BK_OK) {
            received(u, &from, bk_slice(u->buf, (size_t)n));
        }
    }
}

enum bk_err bk_udp_forward_new(struct event_base *base, const struct bk_udp_forward_config *config,
                               struct bk_udp_forward **out)
{
    struct bk_udp_forward *u = calloc(1, sizeof *u);
    enum bk_err err;

    *out = NULL;
    if (u == NULL) {
        return BK_E_NOMEM;
    }
    u->base = base;
    u->config = *config;
    err = bk_socket_bind(SOCK_DGRAM, &config->addr, false, &u->fd, &u->family);
    if (err != BK_OK) {
        free(u);
        return err;
    }
    event_assign(&u->readable, base, u->fd, EV_READ | EV_PERSIST, on_readable, u);
    evtimer_assign(&u->look, base, on_look, u);
    evtimer_assign(&u->sweep, base, on_sweep, u);
    if (event_add(&u->readable, NULL) != 0) {
        close(u->fd);
        free(u);
        return BK_E_NOMEM;
    }
    arm(&u->sweep, SWEEP_MS);
    *out = u;
    return BK_OK;
}

void bk_udp_forward_drop_waiting(struct bk_udp_forward *u)
{
    for (size_t i = 0; i < BK_UDP_FORWARD_FLOWS_MAX; i++) {
        if (u->flows[i].flow != NULL && u->flows[i].stream_fd >= 0) {
            flow_end(&u->flows[i]);
        }
    }
}

void bk_udp_forward_free(struct bk_udp_forward *u)
{
    if (u == NULL) {
        return;
    }
    for (size_t i = 0; i < BK_UDP_FORWARD_FLOWS_MAX; i++) {
        if (u->flows[i].flow != NULL) {
            flow_end(&u->flows[i]);
        }
    }
    (void)event_del(&u->readable);
    (void)event_del(&u->look);
    (void)event_del(&u->sweep);
    close(u->fd);
    free(u);
}
