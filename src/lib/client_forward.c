/* beckon_client_forward: local listeners, and one call that carries every connection. The first call must
 * succeed; afterwards a lost one is made anew by the next connection. */
#include <errno.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/client.h"
#include "lib/fail.h"
#include "lib/forward_spec.h"
#include "lib/stream_text.h"
#include "net/sockaddr.h"

enum {
    FORWARDS_MAX = 64,
    PENDING_MAX = 256, /* connections that wait for the call */
    BACKLOG = 128,
    ACCEPT_PAUSE_MS = 200,
};

struct forwarding;

struct local {
    struct forwarding *owner;
    struct bk_forward_spec spec;
    struct evconnlistener *listener;
};

struct pending {
    int fd;
    const struct local *local;
};

struct forwarding {
    struct beckon_client *client;
    const char *device;
    struct beckon_error *error;
    enum beckon_status status;
    size_t n_locals;
    struct local locals[FORWARDS_MAX];
    struct bk_outgoing *call; /* NULL: none */
    struct event *clear;      /* frees a call that is over, from the loop's top */
    struct event *resume;     /* accepts again after descriptors ran out */
    bool was_up;
    size_t n_pending;
    struct pending pending[PENDING_MAX];
};

/* A local client learns by RST that its connection came to nothing, not by an end of file. */
static void reject(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void open_stream(struct forwarding *f, struct bk_h2 *session, int fd,
                        const struct local *local)
{
    char authority[BK_AUTHORITY_BYTES];
    struct bk_h2_stream *stream;

    bk_authority(local->spec.service, authority);
    if (bk_h2_open(session, authority, fd, fd, (void *)(uintptr_t)local, &stream) != BK_OK) {
        bk_log(f->client->options.log, f->client->options.ctx, 0,
               "a connection to %s could not be opened", local->spec.service);
    }
}

static void on_up(void *ctx, struct bk_h2 *session)
{
    struct forwarding *f = ctx;
    bool first = !f->was_up;

    f->was_up = true;
    for (size_t i = 0; i < f->n_pending; i++) {
        open_stream(f, session, f->pending[i].fd, f->pending[i].local);
    }
    f->n_pending = 0;
    if (first && f->client->options.ready != NULL) {
        f->client->options.ready(f->client->options.ctx);
    }
}

static void on_finished(void *ctx, struct bk_h2_stream *s, const struct bk_h2_outcome *outcome)
{
    struct forwarding *f = ctx;
    const struct local *local = bk_h2_stream_owner(s);
    struct beckon_error error;

    if (bk_stream_error(outcome, local->spec.service, &error) != BECKON_OK) {
        bk_log(f->client->options.log, f->client->options.ctx,
               outcome->how == BK_H2_REFUSED ? 0 : 1, "%s", error.text);
    }
}

static void on_over(void *ctx, enum beckon_status status, const char *text)
{
    struct forwarding *f = ctx;
    struct timeval now = {0};

    for (size_t i = 0; i < f->n_pending; i++) {
        reject(f->pending[i].fd);
    }
    f->n_pending = 0;
    if (!f->was_up) {
        f->status = bk_fail(f->error, status == BECKON_OK ? BECKON_FAILED : status, "%s", text);
        event_base_loopbreak(f->client->base);
        return;
    }
    bk_log(f->client->options.log, f->client->options.ctx, 0, "%s; the next connection calls again",
           status == BECKON_OK ? "the device ended the call" : text);
    evtimer_add(f->clear, &now);
}

static void on_clear(evutil_socket_t fd, short what, void *ctx)
{
    struct forwarding *f = ctx;

    (void)fd;
    (void)what;
    bk_outgoing_free(f->call);
    f->call = NULL;
}

static enum beckon_status call(struct forwarding *f, const char *service,
                               struct beckon_error *error)
{
    struct bk_outgoing_callbacks on = {
        .ctx = f, .up = on_up, .over = on_over, .finished = on_finished};

    return bk_outgoing_new(f->client, f->device, service, &on, &f->call, error);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                      int from_n, void *ctx)
{
    struct local *local = ctx;
    struct forwarding *f = local->owner;
    struct bk_h2 *session;
    struct beckon_error error;

    (void)listener;
    (void)from;
    (void)from_n;
    if (evtimer_pending(f->clear, NULL)) {
        evtimer_del(f->clear);
        on_clear(-1, 0, f);
    }
    session = f->call == NULL ? NULL : bk_outgoing_session(f->call);
    if (session != NULL && bk_h2_is_open(session)) {
        open_stream(f, session, (int)fd, local);
        return;
    }
    if (session != NULL || f->n_pending == PENDING_MAX) { /* going away, or too many wait */
        reject((int)fd);
        return;
    }
    f->pending[f->n_pending++] = (struct pending){.fd = (int)fd, .local = local};
    if (f->call == NULL && call(f, local->spec.service, &error) != BECKON_OK) {
        f->n_pending--;
        reject((int)fd);
        bk_log(f->client->options.log, f->client->options.ctx, 0, "%s", error.text);
    }
}

/* No descriptor is free: to try again at once would only burn the processor. */
static void on_accept_error(struct evconnlistener *listener, void *ctx)
{
    struct local *local = ctx;
    struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000L};

    bk_log(local->owner->client->options.log, local->owner->client->options.ctx, 0,
           "a connection could not be accepted: %s; raise the limit of open files",
           strerror(errno));
    (void)evconnlistener_disable(listener);
    evtimer_add(local->owner->resume, &pause);
}

static void on_resume(evutil_socket_t fd, short what, void *ctx)
{
    struct forwarding *f = ctx;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < f->n_locals; i++) {
        (void)evconnlistener_enable(f->locals[i].listener);
    }
}

static enum beckon_status listen_on(struct forwarding *f, const char *text,
                                    struct beckon_error *error)
{
    struct local *local = &f->locals[f->n_locals];
    int fd, family;

    local->owner = f;
    if (bk_forward_spec_read(text, &local->spec) != BK_OK) {
        return bk_fail(error, BECKON_USAGE, "\"%.80s\" is not [ADDR:]PORT:SERVICE", text);
    }
    if (bk_socket_bind(SOCK_STREAM, &local->spec.addr, false, &fd, &family) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "cannot listen on %.80s: %s; choose another port",
                       text, strerror(errno));
    }
    local->listener =
        evconnlistener_new(f->client->base, on_accept, local,
                           LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG, fd);
    if (local->listener == NULL) {
        int why = errno;

        close(fd);
        return bk_fail(error, BECKON_FAILED, "cannot listen on %.80s: %s; choose another port",
                       text, strerror(why));
    }
    evconnlistener_set_error_cb(local->listener, on_accept_error);
    f->n_locals++;
    return BECKON_OK;
}

static enum beckon_status begin(struct forwarding *f, const char *const *specs, size_t n_specs,
                                struct beckon_error *error)
{
    enum beckon_status status = BECKON_OK;

    if (n_specs == 0 || n_specs > FORWARDS_MAX) {
        return bk_fail(error, BECKON_USAGE, "1 to %d of [ADDR:]PORT:SERVICE must be given",
                       FORWARDS_MAX);
    }
    f->clear = evtimer_new(f->client->base, on_clear, f);
    f->resume = evtimer_new(f->client->base, on_resume, f);
    if (f->clear == NULL || f->resume == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    for (size_t i = 0; i < n_specs && status == BECKON_OK; i++) {
        status = listen_on(f, specs[i], error);
    }
    return status == BECKON_OK ? call(f, f->locals[0].spec.service, error) : status;
}

enum beckon_status beckon_client_forward(struct beckon_client *client, const char *device,
                                         const char *const *specs, size_t n_specs,
                                         struct beckon_error *error)
{
    struct forwarding *f = calloc(1, sizeof *f);
    enum beckon_status status;

    if (f == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    f->client = client;
    f->device = device;
    f->error = error;
    status = begin(f, specs, n_specs, error);
    if (status == BECKON_OK) {
        f->status = bk_fail(error, BECKON_INTERRUPTED, "interrupted");
        event_base_dispatch(client->base);
        status = f->status;
    }
    for (size_t i = 0; i < f->n_locals; i++) {
        evconnlistener_free(f->locals[i].listener);
    }
    bk_outgoing_free(f->call);
    for (size_t i = 0; i < f->n_pending; i++) {
        reject(f->pending[i].fd);
    }
    if (f->clear != NULL) {
        event_free(f->clear);
    }
    if (f->resume != NULL) {
        event_free(f->resume);
    }
    free(f);
    return status;
}
