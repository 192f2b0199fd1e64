/* beckon_client_forward and beckon_client_socks: one call that carries every connection of some local ports. The first call must
 * succeed; afterwards a lost one is made anew by the next connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fail.h"
#include "lib/forwarding.h"

static void on_up(void *ctx)
{
    struct bk_forwarding *f = ctx;
    bool first = !f->was_up;

    f->was_up = true;
    bk_forward_settle_waiting(f, bk_outgoing_session(f->call));
    if (first && f->client->options.ready != NULL) {
        f->client->options.ready(f->client->options.ctx);
    }
}

static void on_answered(void *ctx, struct bk_h2_stream *s, int status)
{
    bk_forward_answered(ctx, s, status);
}

static void on_finished(void *ctx, struct bk_h2_stream *s, const struct bk_h2_outcome *outcome)
{
    bk_forward_finished(ctx, s, outcome);
}

/* One of several: new connections go to those that are left. */
static void on_session_over(void *ctx, bool lost, const char *text)
{
    struct bk_forwarding *f = ctx;

    if (lost && bk_outgoing_session(f->call) != NULL) {
        BK_FORWARD_LOG(f, 0, "a connection to the device was lost: %s; going on by another", text);
    }
}

static void on_moved(void *ctx)
{
    struct bk_forwarding *f = ctx;

    bk_forward_settle_waiting(f, bk_outgoing_session(f->call));
}

static void on_over(void *ctx, enum beckon_status status, const char *text)
{
    struct bk_forwarding *f = ctx;
    struct timeval now = {0};

    bk_forward_settle_waiting(f, NULL);
    if (!f->was_up) {
        f->status = bk_fail(f->error, status == BECKON_OK ? BECKON_FAILED : status, "%s", text);
        event_base_loopbreak(f->client->base);
        return;
    }
    BK_FORWARD_LOG(f, 0, "%s; the next connection calls again",
                   status == BECKON_OK ? "the device ended the call" : text);
    evtimer_add(f->clear, &now);
}

static void on_clear(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_forwarding *f = ctx;

    (void)fd;
    (void)what;
    bk_outgoing_free(f->call);
    f->call = NULL;
}

static void on_resume(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    bk_forward_resume(ctx);
}

static enum beckon_status call(struct bk_forwarding *f, const char *service,
                               struct beckon_error *error)
{
    struct bk_outgoing_callbacks on = {.ctx = f,
                                       .up = on_up,
                                       .session_over = on_session_over,
                                       .moved = on_moved,
                                       .over = on_over,
                                       .answered = on_answered,
                                       .finished = on_finished};

    return bk_outgoing_new(f->client, f->device, service, &on, &f->call, error);
}

struct bk_h2 *bk_forward_session(struct bk_forwarding *f, const char *service, bool *coming)
{
    struct bk_h2 *session;
    struct beckon_error error;

    if (evtimer_pending(f->clear, NULL)) {
        evtimer_del(f->clear);
        on_clear(-1, 0, f);
    }
    *coming = true;
    if (f->call == NULL) {
        *coming = call(f, service, &error) == BECKON_OK;
        if (!*coming) {
            BK_FORWARD_LOG(f, 0, "%s", error.text);
        }
        return NULL;
    }
    session = bk_outgoing_session(f->call);
    if (session == NULL) {
        *coming = bk_outgoing_is_coming(f->call); /* else it is going away */
    }
    return session;
}

static enum beckon_status begin(struct bk_forwarding *f, const char *const *specs, size_t n_specs,
                                struct beckon_error *error)
{
    enum beckon_status status = BECKON_OK;

    if (n_specs == 0 || n_specs > BK_FORWARDS_MAX) {
        return bk_fail(error, BECKON_USAGE, "1 to %d of [ADDR:]PORT:SERVICE must be given",
                       BK_FORWARDS_MAX);
    }
    f->clear = evtimer_new(f->client->base, on_clear, f);
    f->resume = evtimer_new(f->client->base, on_resume, f);
    if (f->clear == NULL || f->resume == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    for (size_t i = 0; i < n_specs && status == BECKON_OK; i++) {
        status = bk_forward_listen(f, specs[i], error);
    }
    return status == BECKON_OK ? call(f, f->locals[0].spec.service, error) : status;
}

enum beckon_status beckon_client_forward(struct beckon_client *client, const char *device,
                                         const char *const *specs, size_t n_specs,
                                         struct beckon_error *error)
{
    struct bk_forwarding *f = calloc(1, sizeof *f);
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
    bk_outgoing_free(f->call);
    bk_forward_close(f);
    if (f->clear != NULL) {
        event_free(f->clear);
    }
    if (f->resume != NULL) {
        event_free(f->resume);
    }
    free(f);
    return status;
}

enum beckon_status beckon_client_socks(struct beckon_client *client, const char *device,
                                       const char *listen, struct beckon_error *error)
{
    char spec[BK_ADDR_TEXT_BYTES + sizeof BK_FORWARD_SOCKS_PREFIX];
    const char *specs[] = {spec};

    if (strlen(listen) >= BK_ADDR_TEXT_BYTES) {
        return bk_fail(error, BECKON_USAGE, "\"%.80s\" is not [ADDR:]PORT", listen);
    }
    (void)snprintf(spec, sizeof spec, "%s%s", BK_FORWARD_SOCKS_PREFIX, listen);
    return beckon_client_forward(client, device, specs, 1, error);
}
