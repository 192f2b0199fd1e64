/* beckon_client_ping: one call without a service, and round trips on its session. */
#include "lib/client.h"
#include "lib/fail.h"

enum {
    PING_EVERY_MS = 1000,
};

struct pinging {
    struct beckon_client *client;
    unsigned count, done;
    void (*each)(void *ctx, unsigned n, uint64_t rtt_us);
    struct bk_outgoing *call;
    struct event *next;
    bool again; /* the session that was asked is gone; the next one is to be asked */
    struct beckon_error *error;
    enum beckon_status status;
};

static void ping(struct pinging *x)
{
    enum bk_err err = bk_outgoing_ping(x->call);

    if (err == BK_OK || bk_outgoing_session(x->call) != NULL) {
        return;
    }
    x->again = bk_outgoing_is_coming(x->call);
    if (!x->again) {
        x->status = bk_fail(x->error, BECKON_FAILED, "the connection to the device was lost");
        event_base_loopbreak(x->client->base);
    }
}

static void on_next(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    ping(ctx);
}

static void on_up(void *ctx)
{
    struct pinging *x = ctx;
    struct timeval now = {0};

    evtimer_add(x->next, &now);
}

/* The one that was measured, perhaps: asked again, of another. Where there is none yet, it is asked when it is there
 * (on_moved), or `over` says why none came. */
static void on_session_over(void *ctx, bool lost, const char *text)
{
    struct pinging *x = ctx;
    struct timeval now = {0};

    (void)lost;
    (void)text;
    if (x->done == x->count || evtimer_pending(x->next, NULL)) {
        return;
    }
    if (bk_outgoing_session(x->call) != NULL) {
        evtimer_add(x->next, &now);
    } else {
        x->again = true;
    }
}

static void on_moved(void *ctx)
{
    struct pinging *x = ctx;

    if (x->again) {
        x->again = false;
        on_up(x);
    }
}

static void on_pong(void *ctx, bk_time round_trip)
{
    struct pinging *x = ctx;
    struct timeval pause = {.tv_sec = PING_EVERY_MS / 1000};

    x->done++;
    if (x->each != NULL) {
        x->each(x->client->options.ctx, x->done, round_trip / 1000);
    }
    if (x->done < x->count) {
        evtimer_add(x->next, &pause);
        return;
    }
    bk_outgoing_end(x->call);
}

static void on_over(void *ctx, enum beckon_status status, const char *text)
{
    struct pinging *x = ctx;

    if (status == BECKON_OK && x->done < x->count) {
        x->status = bk_fail(x->error, BECKON_FAILED, "the device ended the call");
    } else {
        x->status = status == BECKON_OK ? BECKON_OK : bk_fail(x->error, status, "%s", text);
    }
    event_base_loopbreak(x->client->base);
}

enum beckon_status beckon_client_ping(struct beckon_client *client, const char *device,
                                      unsigned count,
                                      void (*each)(void *ctx, unsigned n, uint64_t rtt_us),
                                      struct beckon_phases *phases, struct beckon_error *error)
{
    struct pinging x = {.client = client,
                        .count = count,
                        .each = each,
                        .error = error,
                        .status = BECKON_INTERRUPTED};
    struct bk_outgoing_callbacks on = {.ctx = &x,
                                       .up = on_up,
                                       .session_over = on_session_over,
                                       .moved = on_moved,
                                       .over = on_over,
                                       .pong = on_pong};
    enum beckon_status status;

    *phases = (struct beckon_phases){0};
    if (count == 0) {
        return bk_fail(error, BECKON_USAGE, "at least one round trip must be asked for");
    }
    (void)bk_fail(error, BECKON_INTERRUPTED, "interrupted");
    x.next = evtimer_new(client->base, on_next, &x);
    if (x.next == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    status = bk_outgoing_new(client, device, "", &on, &x.call, error);
    if (status == BECKON_OK) {
        event_base_dispatch(client->base);
        status = x.status;
    }
    *phases = client->record.report.phases;
    event_free(x.next);
    bk_outgoing_free(x.call);
    return status;
}
