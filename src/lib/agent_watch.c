/* WATCH, again and again. Invariant: at any time there is one connection, or one question for an address, or the timer
 * is armed for the next try; or all is over. */
#include "lib/agent_watch.h"

#include <stdlib.h>

#include "lib/fail.h"
#include "lib/loop.h"
#include "lib/names.h"
#include "net/clock.h"
#include "net/conn.h"
#include "seal/seal.h"
#include "wire/stun.h"
#include "wire/watch.h"

enum {
    ASK_AGAIN_MS = 1000, /* after the server closed what it had granted: within */
    RETRY_MS = 1000,     /* after a failure, doubling */
    RETRY_MAX_MS = 60000,
    ANSWER_MS = 8000,
    MESSAGE_BYTES = 256,
    SETTLED_MS = 10000, /* what is closed sooner than that is asked again ever later */
    DOUBLINGS_MAX = 3,
    /* Routers forget connections that are silent, and then the server's word would be lost. */
    DEAD_MS = 90000,
};

struct bk_agent_watch {
    struct bk_agent_watch_config config;
    struct bk_random rng;
    struct event *timer;
    struct bk_resolve *question;
    struct bk_conn *conn;
    bool granted;       /* on this connection */
    bk_time granted_at; /* when it was */
    uint32_t failures;  /* since it was last granted */
    uint32_t hurried;   /* grants in a row that were closed at once */
};

static void retry_in(struct bk_agent_watch *w, uint64_t ms)
{
    struct timeval tv = bk_timeval_ms(ms);

    evtimer_add(w->timer, &tv);
}

static void failed(struct bk_agent_watch *w)
{
    uint64_t ms = RETRY_MAX_MS;

    if (w->failures < 6) {
        ms = (uint64_t)RETRY_MS << w->failures;
    }
    w->failures += w->failures < UINT32_MAX;
    retry_in(w, ms / 2 + bk_random_below(&w->rng, ms / 2 + 1));
}

/* The server has closed what it had granted: grants have changed, perhaps. No fleet asks in the same moment. */
static void ask_again(struct bk_agent_watch *w)
{
    uint64_t ms;

    if (bk_now_sample().mono - w->granted_at >= SETTLED_MS * BK_MS) {
        w->hurried = 0;
    }
    ms = (uint64_t)ASK_AGAIN_MS << w->hurried;
    if (w->hurried == 0) {
        retry_in(w, bk_random_below(&w->rng, ms + 1));
    } else {
        retry_in(w, ms / 2 + bk_random_below(&w->rng, ms / 2 + 1));
    }
    w->hurried += w->hurried < DOUBLINGS_MAX;
}

static void drop(struct bk_agent_watch *w)
{
    bk_conn_free(w->conn);
    w->conn = NULL;
    w->granted = false;
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_agent_watch *w = ctx;
    struct bk_watch ask = {.user = bk_slice_text(w->config.user)};
    uint8_t buf[MESSAGE_BYTES], txid[BK_STUN_TXID_BYTES];
    struct bk_slice message;

    (void)peer;
    w->rng.fill(w->rng.ctx, txid, sizeof txid);
    if (bk_watch_write(buf, sizeof buf, txid, &ask, &message) != BK_OK ||
        bk_conn_send(conn, message) != BK_OK) {
        drop(w);
        failed(w);
        return;
    }
    bk_conn_set_idle(conn, ANSWER_MS);
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct bk_agent_watch *w = ctx;
    struct bk_stun m;
    uint16_t code = 0;

    if (bk_stun_read(frame, &m) == BK_OK && m.method == BK_METHOD_WATCH) {
        if (m.cls == BK_STUN_SUCCESS) {
            w->granted = true;
            w->granted_at = bk_now_sample().mono;
            w->failures = 0;
            bk_conn_set_idle(conn, 0);
            return;
        }
        if (m.cls == BK_STUN_ERROR && bk_error_read(&m, &code) == BK_OK &&
            (code == BK_CODE_FORBIDDEN || code == BK_CODE_NOT_FOUND || code == BK_CODE_REVOKED)) {
            drop(w);
            w->config.revoked(w->config.revoked_ctx);
            return;
        }
    }
    bk_log(w->config.log, w->config.ctx, 1,
           "the server does not say whether the caller may still call (error %u)", (unsigned)code);
    drop(w);
    failed(w);
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_agent_watch *w = ctx;
    bool granted = w->granted;

    (void)conn;
    drop(w);
    if (granted) {
        ask_again(w);
    } else {
        bk_log(w->config.log, w->config.ctx, 1, "watching the call: %s", why->text);
        failed(w);
    }
}

static void connect_to(struct bk_agent_watch *w, const struct bk_addr *addrs, size_t n)
{
    const struct bk_agent_watch_config *c = &w->config;
    struct bk_tls_client client = {.cert = c->own->cert,
                                   .key = c->own->key,
                                   .ca = c->own->ca,
                                   .host = c->server,
                                   .peer_uri = "beckon:server",
                                   .alpn = BK_ALPN_WATCH};
    struct bk_conn_config config = {
        .frame = bk_stun_frame,
        .on = {.ctx = w, .open = on_open, .message = on_message, .closed = on_closed},
        .limits = {.frame_max_bytes = BK_STUN_STREAM_MAX_BYTES, .dead_ms = DEAD_MS},
        .fast = true,
    };

    if (bk_tls_new_client(&client, &config.tls) != BK_OK) {
        failed(w);
        return;
    }
    bk_sessions_use(c->sessions, &client, config.tls);
    bk_tls_set_time(config.tls, c->unix_s(c->time_ctx));
    if (bk_conn_connect(c->base, &config, addrs, n, NULL, &w->conn) != BK_OK) {
        w->conn = NULL;
        failed(w);
    }
    bk_tls_free(config.tls);
}

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct bk_agent_watch *w = ctx;

    (void)text;
    w->question = NULL;
    if (err != BK_OK || n == 0) {
        failed(w);
    } else {
        connect_to(w, addrs, n);
    }
}

/* Where the server was the last time, and where its name leads to once that has failed. */
static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_agent_watch *w = ctx;

    (void)fd;
    (void)what;
    if (w->failures == 0) {
        connect_to(w, &w->config.at, 1);
    } else if (bk_resolve_start(w->config.resolver, w->config.server, w->config.at.port,
                                on_resolved, w, &w->question) != BK_OK) {
        w->question = NULL;
        failed(w);
    }
}

enum bk_err bk_agent_watch_new(const struct bk_agent_watch_config *config,
                               struct bk_agent_watch **out)
{
    struct bk_agent_watch *w = calloc(1, sizeof *w);

    if (w == NULL) {
        return BK_E_NOMEM;
    }
    w->config = *config;
    w->rng = bk_random_system();
    w->timer = evtimer_new(config->base, on_timer, w);
    if (w->timer == NULL) {
        free(w);
        return BK_E_NOMEM;
    }
    retry_in(w, config->after_ms);
    *out = w;
    return BK_OK;
}

void bk_agent_watch_free(struct bk_agent_watch *w)
{
    if (w == NULL) {
        return;
    }
    if (w->question != NULL) {
        bk_resolve_cancel(w->question);
    }
    bk_conn_free(w->conn);
    event_free(w->timer);
    free(w);
}
