/* What may end a call before its time: the caller's access expires, or the server says that he may no longer call. */
#include "lib/agent_call_private.h"
#include "lib/fail.h"
#include "net/clock.h"

enum {
    WATCH_AFTER_MS = 5000, /* shorter calls cost the server no TLS of ours */
    LOOK_MAX_S = 30,       /* clocks are set: never sleep through to an expiry that is far away */
};

static void cut(struct bk_call_part *p, enum bk_call_cut why)
{
    p->cut = why;
    bk_log(p->log, p->ctx, 1, "the call is ended: %s",
           why == BK_CALL_REVOKED ? "the caller may no longer call" : "the access has expired");
    bk_call_part_tell_index(p, BK_CALL_STOP, 0); /* all of its sessions */
}

static void on_expiry(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_call_part *p = ctx;
    uint64_t now = bk_call_part_unix_s(p);
    uint64_t left;
    struct timeval tv;

    (void)fd;
    (void)what;
    if (p->ended) {
        return;
    }
    if (!bk_caller_is_open(&p->serve.access, now)) {
        cut(p, BK_CALL_EXPIRED);
        return;
    }
    left = p->serve.access.expires_s - now;
    tv = bk_timeval_ms((left < LOOK_MAX_S ? left : LOOK_MAX_S) * 1000);
    evtimer_add(p->expiry, &tv);
}

static void on_revoked(void *ctx)
{
    struct bk_call_part *p = ctx;

    if (!p->ended) {
        cut(p, BK_CALL_REVOKED);
    }
}

void bk_call_part_guard(struct bk_call_part *p)
{
    struct bk_agent_watch_config config = {.base = p->base,
                                           .resolver = p->resolver,
                                           .own = &p->own,
                                           .sessions = p->sessions,
                                           .after_ms = WATCH_AFTER_MS,
                                           .server = p->config.server,
                                           .at = p->server,
                                           .user = p->user,
                                           .unix_s = bk_call_part_unix_s,
                                           .time_ctx = p,
                                           .revoked = on_revoked,
                                           .revoked_ctx = p,
                                           .log = p->log,
                                           .ctx = p->ctx};

    if (p->ended || p->expiry != NULL) {
        return;
    }
    p->expiry = evtimer_new(p->base, on_expiry, p);
    if (p->expiry == NULL) { /* what cannot be watched over is not served */
        event_base_loopbreak(p->base);
        return;
    }
    if (p->serve.access.expires_s != 0) {
        struct timeval now = {0};

        evtimer_add(p->expiry, &now);
    }
    config.at.port = p->agent_port;
    if (p->user[0] != '\0' && bk_agent_watch_new(&config, &p->watch) != BK_OK) {
        p->watch = NULL;
        event_base_loopbreak(p->base);
    }
}

void bk_call_part_unguard(struct bk_call_part *p)
{
    bk_agent_watch_free(p->watch);
    p->watch = NULL;
    if (p->expiry != NULL) {
        event_free(p->expiry);
        p->expiry = NULL;
    }
}
