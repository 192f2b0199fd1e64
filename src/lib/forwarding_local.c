/* Local ports: TCP to one service, UDP to one service, SOCKS5 to whatever service its clients name. A connection is ours until a
 * stream takes its descriptor; its record lives until the stream has finished. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/fail.h"
#include "lib/forwarding.h"
#include "lib/stream_text.h"
#include "net/sockaddr.h"

enum {
    BACKLOG = 128,
    ACCEPT_PAUSE_MS = 200,
};

/* ---- connections ---- */

static struct bk_forward_connection *connection_new(struct bk_forwarding *f, int fd,
                                                    const char *service)
{
    struct bk_forward_connection *c = calloc(1, sizeof *c);

    if (c == NULL) {
        return NULL;
    }
    c->f = f;
    c->fd = fd;
    c->reply_fd = -1;
    memcpy(c->service, service, strlen(service) + 1);
    c->link = &f->connections;
    c->next = f->connections;
    if (c->next != NULL) {
        c->next->link = &c->next;
    }
    f->connections = c;
    return c;
}

/* A local client learns by RST that its connection came to nothing, not by an end of file. */
static void reset_close(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

/* What a SOCKS client hears, once. */
static void reply(struct bk_forward_connection *c, enum bk_socks_reply what)
{
    struct linger orderly = {.l_onoff = 0};

    if (c->reply_fd < 0) {
        return;
    }
    if (what != BK_SOCKS_SUCCEEDED) { /* the stream's end of it may have asked for a RST */
        (void)setsockopt(c->reply_fd, SOL_SOCKET, SO_LINGER, &orderly, sizeof orderly);
    }
    bk_socks_answer(c->reply_fd, what);
    if (what != BK_SOCKS_SUCCEEDED) {
        (void)shutdown(c->reply_fd, SHUT_WR);
    }
    close(c->reply_fd);
    c->reply_fd = -1;
}

static void connection_free(struct bk_forward_connection *c)
{
    *c->link = c->next;
    if (c->next != NULL) {
        c->next->link = c->link;
    }
    bk_socks_free(c->socks);
    if (c->waiting) {
        c->f->n_waiting--;
        if (c->reply_fd >= 0) {
            close(c->fd);
        } else {
            reset_close(c->fd);
        }
    }
    reply(c, BK_SOCKS_FAILURE);
    free(c);
}

static void open_stream(struct bk_forward_connection *c, struct bk_h2 *session)
{
    char authority[BK_AUTHORITY_BYTES];
    struct bk_h2_stream *stream;

    if (c->waiting) {
        c->waiting = false;
        c->f->n_waiting--;
    }
    bk_authority(c->service, authority);
    if (bk_h2_open(session, authority, c->fd, c->fd, c, &stream) != BK_OK) {
        BK_FORWARD_LOG(c->f, 0, "a connection to %s could not be opened", c->service);
        connection_free(c);
    }
}

/* Its service is known: a stream now, or when there is a call. */
static void serve(struct bk_forward_connection *c)
{
    struct bk_forwarding *f = c->f;
    bool coming;

    c->waiting = true; /* before a call is asked for: it may fail at once */
    f->n_waiting++;
    struct bk_h2 *session = bk_forward_session(f, c->service, &coming);

    if (session != NULL) {
        open_stream(c, session);
    } else if (!coming || f->n_waiting > BK_FORWARD_PENDING_MAX) {
        connection_free(c);
    }
}

void bk_forward_settle_waiting(struct bk_forwarding *f, struct bk_h2 *session)
{
    struct bk_forward_connection *next = NULL;

    for (struct bk_forward_connection *c = f->connections; c != NULL; c = next) {
        next = c->next;
        if (!c->waiting) {
            continue;
        }
        if (session != NULL) {
            open_stream(c, session);
        } else {
            connection_free(c);
        }
    }
    for (size_t i = 0; i < f->n_locals && session == NULL; i++) {
        if (f->locals[i].udp != NULL) {
            bk_udp_forward_drop_waiting(f->locals[i].udp);
        }
    }
}

void bk_forward_answered(struct bk_forwarding *f, struct bk_h2_stream *s, int status)
{
    struct bk_forward_connection *c = bk_h2_stream_owner(s);

    (void)f;
    if (status == 200) {
        reply(c, BK_SOCKS_SUCCEEDED);
    }
}

void bk_forward_finished(struct bk_forwarding *f, struct bk_h2_stream *s,
                         const struct bk_h2_outcome *outcome)
{
    struct bk_forward_connection *c = bk_h2_stream_owner(s);
    struct beckon_error error;

    if (bk_stream_error(outcome, c->service, &error) != BECKON_OK) {
        BK_FORWARD_LOG(f, outcome->how == BK_H2_REFUSED ? 0 : 1, "%s", error.text);
    }
    if (c->kept) {
        return;
    }
    if (outcome->how == BK_H2_REFUSED) {
        reply(c, outcome->status == 404 ? BK_SOCKS_NOT_ALLOWED : BK_SOCKS_HOST_UNREACHABLE);
    }
    connection_free(c);
}

/* ---- SOCKS ---- */

static void on_socks(void *ctx, struct bk_socks *socks, int fd, const char *service)
{
    struct bk_forward_connection *c = ctx;

    (void)socks;
    c->socks = NULL; /* it frees itself */
    if (fd < 0) {
        connection_free(c);
        return;
    }
    c->fd = fd;
    memcpy(c->service, service, strlen(service) + 1);
    c->reply_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    serve(c);
}

/* ---- accepting ---- */

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                      int from_n, void *ctx)
{
    struct bk_forward_local *local = ctx;
    struct bk_forward_connection *c = connection_new(local->owner, (int)fd, local->spec.service);

    (void)listener;
    (void)from;
    (void)from_n;
    if (c == NULL) {
        reset_close((int)fd);
    } else if (local->spec.kind != BK_FORWARD_SOCKS) {
        serve(c);
    } else if (bk_socks_new(local->owner->client->base, (int)fd, on_socks, c, &c->socks) != BK_OK) {
        connection_free(c);
    }
}

/* No descriptor is free: to try again at once would only burn the processor. */
static void on_accept_error(struct evconnlistener *listener, void *ctx)
{
    struct bk_forward_local *local = ctx;
    struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000L};

    BK_FORWARD_LOG(local->owner, 0,
                   "a connection could not be accepted: %s; raise the limit of open files",
                   strerror(errno));
    (void)evconnlistener_disable(listener);
    evtimer_add(local->owner->resume, &pause);
}

void bk_forward_resume(struct bk_forwarding *f)
{
    for (size_t i = 0; i < f->n_locals; i++) {
        if (f->locals[i].listener != NULL) {
            (void)evconnlistener_enable(f->locals[i].listener);
        }
    }
}

/* ---- ports ---- */

static struct bk_h2 *udp_session(void *ctx, bool *coming)
{
    struct bk_forward_local *local = ctx;

    return bk_forward_session(local->owner, local->spec.service, coming);
}

/* BK_E_IO: errno tells. */
static enum bk_err listen_udp(struct bk_forward_local *local)
{
    struct bk_forwarding *f = local->owner;
    struct bk_forward_connection *shared = connection_new(f, -1, local->spec.service);
    const struct bk_udp_forward_config config = {.addr = local->spec.addr,
                                                 .service = local->spec.service,
                                                 .session = udp_session,
                                                 .ctx = local,
                                                 .owner = shared};

    if (shared == NULL) {
        return BK_E_NOMEM;
    }
    shared->kept = true;
    return bk_udp_forward_new(f->client->base, &config, &local->udp);
}

static enum bk_err listen_tcp(struct bk_forward_local *local)
{
    int fd, family;
    enum bk_err err = bk_socket_bind(SOCK_STREAM, &local->spec.addr, false, &fd, &family);

    if (err != BK_OK) {
        return err;
    }
    local->listener =
        evconnlistener_new(local->owner->client->base, on_accept, local,
                           LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG, fd);
    if (local->listener == NULL) {
        int why = errno;

        close(fd);
        errno = why;
        return BK_E_IO;
    }
    evconnlistener_set_error_cb(local->listener, on_accept_error);
    return BK_OK;
}

enum beckon_status bk_forward_listen(struct bk_forwarding *f, const char *spec,
                                     struct beckon_error *error)
{
    struct bk_forward_local *local = &f->locals[f->n_locals];
    enum bk_err err;

    *local = (struct bk_forward_local){.owner = f};
    if (bk_forward_spec_read(spec, &local->spec) != BK_OK) {
        return bk_fail(error, BECKON_USAGE, "\"%.80s\" is not [ADDR:]PORT:SERVICE", spec);
    }
    err = local->spec.kind == BK_FORWARD_UDP ? listen_udp(local) : listen_tcp(local);
    if (err != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "cannot listen on %.80s: %s; choose another port",
                       spec, err == BK_E_IO ? strerror(errno) : bk_err_text(err));
    }
    f->n_locals++;
    return BECKON_OK;
}

void bk_forward_close(struct bk_forwarding *f)
{
    for (size_t i = 0; i < f->n_locals; i++) {
        bk_udp_forward_free(f->locals[i].udp);
        if (f->locals[i].listener != NULL) {
            evconnlistener_free(f->locals[i].listener);
        }
    }
    for (struct bk_forward_connection *c = f->connections, *next = NULL; c != NULL; c = next) {
        next = c->next;
        connection_free(c);
    }
}
