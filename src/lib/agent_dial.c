/* The call part's dials: one connection a candidate, end-to-end TLS on each, HTTP/2 on the one that the
 * caller picks. */
#include "lib/agent_call_private.h"
#include "lib/fail.h"
#include "lib/names.h"

void bk_call_part_drop(struct bk_call_dial *d)
{
    if (d->picked) {
        bk_serve_cancel(&d->part->serve); /* streams end without a word below */
    }
    bk_conn_free(d->conn);
    bk_h2_free(d->h2);
    d->conn = NULL;
    d->h2 = NULL;
}

static void on_session_started(void *ctx)
{
    struct bk_call_dial *d = ctx;

    d->picked = true;
    bk_call_part_tell_index(d->part, BK_CALL_SESSION_PICKED, d->index);
    bk_call_part_guard(d->part, d->index);
}

static void on_session_request(void *ctx, struct bk_h2_stream *stream, const char *authority)
{
    struct bk_call_dial *d = ctx;

    bk_serve_request(&d->part->serve, stream, authority);
}

static void on_session_finished(void *ctx, struct bk_h2_stream *stream,
                                const struct bk_h2_outcome *outcome)
{
    struct bk_call_dial *d = ctx;

    bk_serve_finished(&d->part->serve, stream, outcome);
}

static void on_session_ended(void *ctx, enum bk_err why, const char *text)
{
    struct bk_call_dial *d = ctx;
    struct bk_call_part *p = d->part;
    bool picked = d->picked;

    if (why != BK_OK) {
        bk_log(p->log, p->ctx, 1, "session with the caller: %s", text);
    }
    bk_call_part_drop(d);
    bk_call_part_tell_index(p, picked ? BK_CALL_SESSION_ENDED : BK_CALL_DIAL_FAILED, d->index);
}

static void on_dial_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_call_dial *d = ctx;
    struct bk_h2_config config = {
        .server = true,
        .on = {.started = on_session_started,
               .request = on_session_request,
               .finished = on_session_finished,
               .ended = on_session_ended},
        .ctx = d,
    };
    SSL *ssl = bk_conn_take_ssl(conn);

    (void)peer;
    d->conn = NULL;
    if (bk_h2_new(d->part->base, ssl, &config, &d->h2) != BK_OK) {
        d->h2 = NULL;
        bk_call_part_tell_index(d->part, BK_CALL_DIAL_FAILED, d->index);
        return;
    }
    bk_call_part_tell_index(d->part, BK_CALL_SESSION_UP, d->index);
}

static void on_dial_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_call_dial *d = ctx;

    bk_log(d->part->log, d->part->ctx, 1, "candidate %zu: %s", d->index, why->text);
    bk_conn_free(conn);
    d->conn = NULL;
    bk_call_part_tell_index(d->part, BK_CALL_DIAL_FAILED, d->index);
}

void bk_call_part_dial(struct bk_call_part *p, size_t index, const struct bk_addr *to)
{
    const struct bk_call_request *request = bk_call_opened(p->core);
    struct bk_call_dial *d = &p->dials[index];
    char name[BK_CALL_NAME_BYTES];
    struct bk_tls_call_client client = {.cert = p->own.cert,
                                        .key = p->own.key,
                                        .peer_pin = request->call_key,
                                        .server_name = name,
                                        .alpn = BK_ALPN_CALL};
    struct bk_conn_config config = {
        .on = {.ctx = d, .open = on_dial_open, .closed = on_dial_closed},
        .limits = {.open_ms = BK_CALL_NO_ANSWER_MS},
    };

    bk_call_name(request->call_id, name);
    *d = (struct bk_call_dial){.part = p, .index = index};
    if (bk_tls_new_call_client(&client, &config.tls) != BK_OK ||
        bk_conn_connect(p->base, &config, to, 1, NULL, &d->conn) != BK_OK) {
        d->conn = NULL;
        bk_call_part_tell_index(p, BK_CALL_DIAL_FAILED, index);
    }
    bk_tls_free(config.tls);
}
