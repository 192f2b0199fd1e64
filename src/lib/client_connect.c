/* beckon_client_connect: one call, one stream, two descriptors. */
#include <unistd.h>

#include "lib/client.h"
#include "lib/fail.h"
#include "lib/stream_text.h"

struct connecting {
    struct beckon_client *client;
    const char *service;
    int in_fd, out_fd; /* -1 once the stream has them */
    struct bk_outgoing *call;
    struct bk_h2_stream *stream; /* that one; a session that comes too late may hold another */
    struct beckon_error *error;
    enum beckon_status status;
    bool stream_ended;
    bool
        stream_lost; /* with its session; the call may have others, but the stream stays where it was opened */
};

static void finish(struct connecting *x, enum beckon_status status)
{
    x->status = status;
    event_base_loopbreak(x->client->base);
}

static void on_up(void *ctx)
{
    struct connecting *x = ctx;
    struct bk_h2 *session = bk_outgoing_session(x->call);
    char authority[BK_AUTHORITY_BYTES];
    int in_fd = x->in_fd, out_fd = x->out_fd;

    x->in_fd = x->out_fd = -1;
    x->stream = bk_outgoing_take_early(x->call);
    bk_authority(x->service, authority);
    if (x->stream != NULL) {
        /* After another error it finishes by itself. */
        if (bk_h2_join(x->stream, in_fd, out_fd) == BK_E_STATE) {
            finish(x, bk_fail(x->error, BECKON_FAILED, "the stream could not be opened"));
        }
    } else if (session == NULL) {
        if (in_fd >= 0) {
            close(in_fd);
        }
        if (out_fd != in_fd && out_fd >= 0) {
            close(out_fd);
        }
        finish(x, bk_fail(x->error, BECKON_FAILED, "the device takes no streams"));
    } else if (bk_h2_open(session, authority, in_fd, out_fd, NULL, &x->stream) != BK_OK) {
        finish(x, bk_fail(x->error, BECKON_FAILED, "the stream could not be opened"));
    }
}

static void on_answered(void *ctx, struct bk_h2_stream *s, int status)
{
    struct connecting *x = ctx;

    if (s == x->stream && status == 200 && x->client->options.ready != NULL) {
        x->client->options.ready(x->client->options.ctx);
    }
}

static void on_finished(void *ctx, struct bk_h2_stream *s, const struct bk_h2_outcome *outcome)
{
    struct connecting *x = ctx;

    if (s != x->stream) {
        return;
    }
    if (outcome->how == BK_H2_LOST) {
        x->stream_lost = true; /* on_session_over says why */
        return;
    }
    x->stream_ended = true;
    x->status = bk_stream_error(outcome, x->service, x->error);
    bk_outgoing_end(x->call);
}

static void on_session_over(void *ctx, bool lost, const char *text)
{
    struct connecting *x = ctx;

    if (!x->stream_lost || x->stream_ended) {
        return;
    }
    finish(x, lost ? bk_fail(x->error, BECKON_FAILED, "the connection to the device was lost: %s",
                             text)
                   : bk_fail(x->error, BECKON_FAILED, "the device ended the call"));
}

static void on_over(void *ctx, enum beckon_status status, const char *text)
{
    struct connecting *x = ctx;

    if (x->stream_ended) {
        finish(x, x->status);
    } else if (status == BECKON_OK) {
        finish(x, bk_fail(x->error, BECKON_FAILED, "the device ended the call"));
    } else {
        finish(x, bk_fail(x->error, status, "%s", text));
    }
}

enum beckon_status beckon_client_connect(struct beckon_client *client, const char *device,
                                         const char *service, int in_fd, int out_fd,
                                         struct beckon_error *error)
{
    struct connecting x = {.client = client,
                           .service = service,
                           .in_fd = in_fd,
                           .out_fd = out_fd,
                           .error = error,
                           .status = BECKON_INTERRUPTED};
    struct bk_outgoing_callbacks on = {.ctx = &x,
                                       .early = true,
                                       .up = on_up,
                                       .session_over = on_session_over,
                                       .over = on_over,
                                       .answered = on_answered,
                                       .finished = on_finished};
    enum beckon_status status;

    (void)bk_fail(error, BECKON_INTERRUPTED, "interrupted");
    status = service[0] == '\0' ? bk_fail(error, BECKON_USAGE, "a service must be named")
                                : bk_outgoing_new(client, device, service, &on, &x.call, error);
    if (status == BECKON_OK) {
        event_base_dispatch(client->base);
        status = x.status;
    }
    bk_outgoing_free(x.call);
    if (x.in_fd >= 0) {
        close(x.in_fd);
    }
    if (x.out_fd >= 0 && out_fd != in_fd) {
        close(x.out_fd);
    }
    return status;
}
