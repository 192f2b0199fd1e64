/* An outgoing call's connection to the server: resolving, TLS with our certificate, messages. */
#include <stdio.h>

#include "lib/outgoing_private.h"

static void on_server_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    (void)conn;
    (void)peer;
    bk_outgoing_tell_type(ctx, BK_REQUESTER_SERVER_OPEN);
}

static void on_server_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct bk_requester_event event = {.type = BK_REQUESTER_SERVER_MESSAGE, .bytes = frame};

    (void)conn;
    bk_outgoing_tell(ctx, &event);
}

static void server_gone(struct bk_outgoing *c, const char *why)
{
    snprintf(c->server_text, sizeof c->server_text, "%s", why);
    bk_outgoing_tell_type(c, BK_REQUESTER_SERVER_CLOSED);
}

static void on_server_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_outgoing *c = ctx;

    bk_conn_free(conn);
    c->server = NULL;
    if (why->end == BK_CONN_ENDED_BY_US) {
        return;
    }
    if (why->end == BK_CONN_TLS && why->tls == BK_TLS_REFUSED_BY_PEER) {
        bk_outgoing_fail(
            c, BECKON_REVOKED,
            bk_client_expired(c->client)
                ? "our certificate has expired, and the server does not renew it any more; join "
                  "again with a new token"
                : "the server does not accept our certificate: it was revoked or replaced; join "
                  "again");
        bk_outgoing_settle(c);
        return;
    }
    server_gone(c, why->text);
}

static void on_server_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                               const char *text)
{
    struct bk_outgoing *c = ctx;
    const struct bk_client_state *state = &c->client->state;
    struct bk_tls_client client = {.cert = state->own.cert,
                                   .key = state->own.key,
                                   .ca = state->own.ca,
                                   .host = state->server,
                                   .peer_uri = "beckon:server",
                                   .alpn = BK_ALPN_REQUEST};
    struct bk_conn_config config = {
        .frame = bk_stun_frame,
        .on = {.ctx = c,
               .open = on_server_open,
               .message = on_server_message,
               .closed = on_server_closed},
        .limits = {.open_ms = BK_REQUESTER_SERVER_MS, .frame_max_bytes = BK_STUN_STREAM_MAX_BYTES},
    };

    c->question = NULL;
    if (err != BK_OK) {
        server_gone(c, text);
        return;
    }
    if (bk_tls_new_client(&client, &config.tls) != BK_OK ||
        bk_conn_connect(c->client->base, &config, addrs, n, NULL, &c->server) != BK_OK) {
        c->server = NULL;
        server_gone(c, "no memory for a connection");
    }
    bk_tls_free(config.tls);
}

void bk_outgoing_connect_server(struct bk_outgoing *c)
{
    const struct bk_client_state *state = &c->client->state;

    if (bk_resolve_start(c->client->resolver, state->server, state->port, on_server_resolved, c,
                         &c->question) != BK_OK) {
        c->question = NULL;
        server_gone(c, "its name cannot be looked up");
    }
}
