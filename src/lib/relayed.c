/* Carries out the TURN client: one connection to the relay for control, one for each peer that comes. Reads of a data
 * connection exactly the relay's answer and never a byte more: what follows is the peer's.
 * Invariant: callbacks come from the loop only, and nothing of `r` is touched after one that freed it. */
#include "lib/relayed.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/requester/turn.h"
#include "lib/loop.h"
#include "lib/relayed_sockets.h"
#include "net/sockaddr.h"
#include "net/turn_ops.h"
#include "seal/seal.h"

enum {
    PUBLIC_PORTS_BEGIN = 1024,
    HTTPS_PORT = 443,
    NEXT_ADDR_MS = 500, /* an address that does not answer by then is left for the next one */
    DATA_IN_BYTES = 2048,
};

struct data {
    struct bk_relayed *r;
    size_t bind;
    int fd; /* -1: free */
    struct event *event;
    bool open;
    size_t n;
    uint8_t in[DATA_IN_BYTES];
};

struct bk_relayed {
    struct event_base *base;
    struct bk_relayed_callbacks on;
    struct bk_turn_client core;
    struct bk_turn_client_out out;
    struct event *timer, *soon, *next;
    struct bk_resolve *question;
    struct bk_addr addrs[BK_RESOLVE_MAX];
    size_t n_addrs, next_addr;
    int connecting; /* -1: none */
    struct event *ev_connecting;
    struct bufferevent *control;
    struct bk_addr relay; /* the address that took the control connection */
    struct data data[BK_TURN_CLIENT_BINDS_MAX];
    const char *why;                                    /* to be told as `failed` */
    struct bk_addr permits[BK_TURN_CLIENT_PERMITS_MAX]; /* to be told to the core */
    size_t n_permits;
    char name[BK_TURN_SERVER_NAME_MAX_BYTES + 1]; /* likewise; empty: none */
    bool busy, dead;
    bool named_by_server;
};

static void feed(struct bk_relayed *r, const struct bk_turn_client_event *event);
static void try_next(struct bk_relayed *r);

/* ---- Data connections ---- */

static void close_data(struct data *d)
{
    if (d->event != NULL) {
        event_free(d->event);
        d->event = NULL;
    }
    if (d->fd >= 0) {
        close(d->fd);
        d->fd = -1;
    }
}

static void data_lost(struct data *d)
{
    close_data(d);
    const struct bk_turn_client_event event = {.type = BK_TURN_CLIENT_BIND_CLOSED, .bind = d->bind};
    feed(d->r, &event);
}

/* How many more bytes belong to the message that has begun; 0: none, `*ok` false: it is none. */
static size_t missing(const struct data *d, bool *ok)
{
    size_t whole = 0;
    *ok = true;
    if (d->n < BK_STUN_HEADER_BYTES) {
        return BK_STUN_HEADER_BYTES - d->n;
    }
    *ok = bk_stun_frame(bk_slice(d->in, d->n), &whole) == BK_OK && whole <= sizeof d->in &&
          whole >= d->n;
    return *ok ? whole - d->n : 0;
}

static void data_readable(struct data *d)
{
    bool ok;
    size_t want;
    while ((want = missing(d, &ok)) > 0) {
        ssize_t n = recv(d->fd, d->in + d->n, want, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            data_lost(d);
            return;
        }
        d->n += (size_t)n;
    }
    if (!ok) {
        data_lost(d);
        return;
    }
    const struct bk_turn_client_event event = {
        .type = BK_TURN_CLIENT_BIND_MESSAGE, .bind = d->bind, .bytes = bk_slice(d->in, d->n)};
    d->n = 0;
    feed(d->r, &event);
}

static void on_data(evutil_socket_t fd, short what, void *arg)
{
    struct data *d = arg;
    (void)what;
    if (d->open) {
        data_readable(d);
        return;
    }
    event_free(d->event);
    d->event = NULL;
    if (bk_relayed_stands(fd)) {
        d->event = event_new(d->r->base, fd, EV_READ | EV_PERSIST, on_data, d);
    }
    if (d->event == NULL || event_add(d->event, NULL) != 0) {
        data_lost(d);
        return;
    }
    d->open = true;
    bk_relayed_set_alive(fd);
    const struct bk_turn_client_event event = {.type = BK_TURN_CLIENT_BIND_OPEN, .bind = d->bind};
    feed(d->r, &event);
}

/* False: it could not begin. */
static bool open_data(struct bk_relayed *r, size_t bind)
{
    struct data *d = &r->data[bind];
    d->open = false;
    d->n = 0;
    d->fd = bk_relayed_begin_connect(&r->relay);
    if (d->fd < 0) {
        return false;
    }
    d->event = event_new(r->base, d->fd, EV_WRITE, on_data, d);
    if (d->event == NULL || event_add(d->event, NULL) != 0) {
        close_data(d);
        return false;
    }
    return true;
}

static void hand_over(struct bk_relayed *r, const struct bk_turn_client_action *a)
{
    struct data *d = &r->data[a->bind];
    int fd = d->fd;
    d->fd = -1;
    close_data(d);
    r->on.connected(r->on.ctx, fd, &a->addr, a->by_name);
}

/* ---- The core ---- */

static void stop(struct bk_relayed *r)
{
    if (r->question != NULL) {
        bk_resolve_cancel(r->question);
        r->question = NULL;
    }
    if (r->ev_connecting != NULL) {
        event_free(r->ev_connecting);
        r->ev_connecting = NULL;
    }
    if (r->connecting >= 0) {
        close(r->connecting);
        r->connecting = -1;
    }
    if (r->control != NULL) {
        bufferevent_free(r->control);
        r->control = NULL;
    }
    for (size_t i = 0; i < BK_TURN_CLIENT_BINDS_MAX; i++) {
        close_data(&r->data[i]);
    }
    if (r->timer != NULL) {
        (void)event_del(r->timer);
    }
    if (r->next != NULL) {
        (void)event_del(r->next);
    }
}

/* Told from the loop, whoever asked for what led here. */
static void fail(struct bk_relayed *r, const char *why)
{
    if (r->why == NULL) {
        stop(r);
        r->why = why;
        event_active(r->soon, EV_TIMEOUT, 0);
    }
}

static void carry_out(struct bk_relayed *r, const struct bk_turn_client_action *a)
{
    struct data *d = &r->data[a->bind];
    switch (a->type) {
    case BK_TURN_CLIENT_SEND:
        if (r->control != NULL && bufferevent_write(r->control, a->bytes.p, a->bytes.n) != 0) {
            fail(r, "no memory for the relay");
        }
        break;
    case BK_TURN_CLIENT_READY:
        r->on.ready(r->on.ctx, &a->addr);
        break;
    case BK_TURN_CLIENT_BIND:
        if (!open_data(r, a->bind)) {
            /* The core gives it up by its own time; the relay as well. */
            close_data(d);
        }
        break;
    case BK_TURN_CLIENT_BIND_SEND: /* a new connection has room for a message, or it is of no use */
        if (d->fd >= 0 &&
            send(d->fd, a->bytes.p, a->bytes.n, MSG_NOSIGNAL) != (ssize_t)a->bytes.n) {
            close_data(d);
        }
        break;
    case BK_TURN_CLIENT_BIND_DONE:
        hand_over(r, a);
        break;
    case BK_TURN_CLIENT_BIND_CLOSE:
        close_data(d);
        break;
    case BK_TURN_CLIENT_FAILED:
        fail(r, a->why);
        break;
    }
}

static void destroy(struct bk_relayed *r)
{
    struct event *events[] = {r->timer, r->soon, r->next};
    stop(r);
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i] != NULL) {
            event_free(events[i]);
        }
    }
    bk_turn_client_fini(&r->core);
    free(r);
}

static void carry_out_all(struct bk_relayed *r, const struct bk_now *now)
{
    r->busy = true;
    for (size_t i = 0; i < r->out.n && !r->dead && r->why == NULL; i++) {
        carry_out(r, &r->out.actions[i]);
    }
    r->busy = false;
    if (r->dead) {
        destroy(r);
    } else if (r->why == NULL) {
        bk_timer_follow(r->timer, now, bk_turn_client_deadline(&r->core));
    }
}

/* Last thing its callers do: `r` may be gone. */
static void feed(struct bk_relayed *r, const struct bk_turn_client_event *event)
{
    struct bk_now now = bk_now_sample();
    bk_turn_client_input(&r->core, &now, event, &r->out);
    carry_out_all(r, &now);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct bk_relayed *r = arg;
    struct bk_now now = bk_now_sample();
    (void)fd;
    (void)what;
    bk_turn_client_timer(&r->core, &now, &r->out);
    carry_out_all(r, &now);
}

/* What must not happen within a call from outside, or while actions are carried out. */
static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    struct bk_relayed *r = arg;
    (void)fd;
    (void)what;
    if (r->why != NULL) {
        r->on.failed(r->on.ctx, r->why);
        return;
    }
    if (r->name[0] != '\0') {
        char name[sizeof r->name];
        memcpy(name, r->name, sizeof name);
        r->name[0] = '\0';
        const struct bk_turn_client_event event = {.type = BK_TURN_CLIENT_NAME,
                                                   .bytes = bk_slice_text(name)};
        event_active(r->soon, EV_TIMEOUT, 0); /* what else is to be told */
        feed(r, &event);
        return;
    }
    if (r->n_permits > 0) {
        const struct bk_turn_client_event event = {.type = BK_TURN_CLIENT_PERMIT,
                                                   .addr = r->permits[--r->n_permits]};
        event_active(r->soon, EV_TIMEOUT, 0); /* the next one */
        feed(r, &event);
    }
}

/* ---- The control connection ---- */

static void on_control_read(struct bufferevent *control, void *arg)
{
    struct evbuffer *in = bufferevent_get_input(control);
    uint8_t bytes[1024];
    int n = evbuffer_remove(in, bytes, sizeof bytes);
    if (evbuffer_get_length(in) > 0) {
        bufferevent_trigger(control, EV_READ, BEV_TRIG_DEFER_CALLBACKS); /* the rest, if we live */
    }
    if (n > 0) {
        const struct bk_turn_client_event event = {.type = BK_TURN_CLIENT_BYTES,
                                                   .bytes = bk_slice(bytes, (size_t)n)};
        feed(arg, &event);
    }
}

static void on_control_event(struct bufferevent *control, short what, void *arg)
{
    (void)control;
    if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) {
        const struct bk_turn_client_event event = {.type = BK_TURN_CLIENT_CLOSED};
        feed(arg, &event);
    }
}

static void on_connecting(evutil_socket_t fd, short what, void *arg)
{
    struct bk_relayed *r = arg;
    (void)what;
    event_free(r->ev_connecting);
    r->ev_connecting = NULL;
    if (!bk_relayed_stands(fd)) {
        try_next(r);
        return;
    }
    (void)event_del(r->next);
    r->control = bufferevent_socket_new(r->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (r->control == NULL) {
        fail(r, "no memory for the relay");
        return;
    }
    r->connecting = -1;
    bk_relayed_set_alive(fd);
    r->relay = r->addrs[r->next_addr - 1];
    bufferevent_setcb(r->control, on_control_read, NULL, on_control_event, r);
    (void)bufferevent_enable(r->control, EV_READ | EV_WRITE);
    const struct bk_turn_client_event event = {.type = BK_TURN_CLIENT_OPEN};
    feed(r, &event);
}

static void try_next(struct bk_relayed *r)
{
    const struct timeval patience = {0, NEXT_ADDR_MS * 1000L};
    if (r->connecting >= 0) {
        close(r->connecting);
        r->connecting = -1;
    }
    while (r->connecting < 0 && r->next_addr < r->n_addrs) {
        r->connecting = bk_relayed_begin_connect(&r->addrs[r->next_addr++]);
    }
    if (r->connecting < 0) {
        fail(r, "the relay cannot be reached");
        return;
    }
    r->ev_connecting = event_new(r->base, r->connecting, EV_WRITE, on_connecting, r);
    if (r->ev_connecting == NULL || event_add(r->ev_connecting, NULL) != 0) {
        fail(r, "no memory for the relay");
    } else if (r->next_addr < r->n_addrs) {
        (void)event_add(r->next, &patience);
    }
}

static void on_next(evutil_socket_t fd, short what, void *arg)
{
    struct bk_relayed *r = arg;
    (void)fd;
    (void)what;
    event_free(r->ev_connecting);
    r->ev_connecting = NULL;
    try_next(r);
}

/* A lying server must not have us knock in our own network, nor at what is no relay. */
static bool is_public(const struct bk_addr *a)
{
    return bk_addr_scope(a) == BK_SCOPE_GLOBAL &&
           (a->port >= PUBLIC_PORTS_BEGIN || a->port == HTTPS_PORT);
}

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct bk_relayed *r = ctx;
    (void)err;
    (void)text;
    r->question = NULL;
    if (n == 0) {
        fail(r, "the relay's name cannot be resolved");
        return;
    }
    for (size_t i = 0; i < n && r->n_addrs < BK_RESOLVE_MAX; i++) {
        if (!r->named_by_server || is_public(&addrs[i])) {
            r->addrs[r->n_addrs++] = addrs[i];
        }
    }
    if (r->n_addrs == 0) {
        fail(r, "the server names an address that no relay has");
        return;
    }
    try_next(r);
}

/* ---- From outside ---- */

static enum bk_err start(struct bk_relayed *r, struct bk_resolver *resolver,
                         const struct bk_relayed_config *config)
{
    struct bk_now now = bk_now_sample();
    const struct bk_turn_client_event event = {.type = BK_TURN_CLIENT_START};
    const struct bk_turn_client_config core = {
        .rng = bk_random_system(),
        .ops = bk_turn_openssl(),
        .family = config->v6 ? BK_FAMILY_IPV6 : BK_FAMILY_IPV4,
        .username = bk_slice_text(config->username),
        .password = bk_slice_text(config->password),
        .server_name = bk_slice_text(config->server_name),
        .permits = config->permits,
        .n_permits = config->n_permits,
    };
    if (bk_turn_client_init(&r->core, &core) != BK_OK) {
        fail(r, "the relay's credentials are too long");
        return BK_OK;
    }
    bk_turn_client_input(&r->core, &now, &event, &r->out);
    bk_timer_follow(r->timer, &now, bk_turn_client_deadline(&r->core));
    enum bk_err err =
        bk_resolve_start(resolver, config->host, config->port, on_resolved, r, &r->question);
    if (err == BK_E_MALFORMED) {
        fail(r, "the relay's name is none");
        return BK_OK;
    }
    return err;
}

enum bk_err bk_relayed_new(struct event_base *base, struct bk_resolver *resolver,
                           const struct bk_relayed_config *config, struct bk_relayed **out)
{
    *out = NULL;
    struct bk_relayed *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return BK_E_NOMEM;
    }
    r->base = base;
    r->on = config->on;
    r->named_by_server = config->named_by_server;
    r->connecting = -1;
    for (size_t i = 0; i < BK_TURN_CLIENT_BINDS_MAX; i++) {
        r->data[i].r = r;
        r->data[i].bind = i;
        r->data[i].fd = -1;
    }
    r->timer = evtimer_new(base, on_timer, r);
    r->soon = evtimer_new(base, on_soon, r);
    r->next = evtimer_new(base, on_next, r);
    if (r->timer == NULL || r->soon == NULL || r->next == NULL ||
        start(r, resolver, config) != BK_OK) {
        bk_relayed_free(r);
        return BK_E_NOMEM;
    }
    *out = r;
    return BK_OK;
}

void bk_relayed_permit(struct bk_relayed *r, const struct bk_addr *peer)
{
    if (r->n_permits < BK_TURN_CLIENT_PERMITS_MAX) {
        r->permits[r->n_permits++] = *peer;
        event_active(r->soon, EV_TIMEOUT, 0);
    }
}

void bk_relayed_name(struct bk_relayed *r, const char *server_name)
{
    if (bk_slice_to_text(bk_slice_text(server_name), r->name, sizeof r->name)) {
        event_active(r->soon, EV_TIMEOUT, 0);
    }
}

void bk_relayed_free(struct bk_relayed *r)
{
    if (r == NULL) {
        return;
    }
    if (r->busy) {
        r->dead = true; /* carry_out_all does the rest */
        return;
    }
    destroy(r);
}
