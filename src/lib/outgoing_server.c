/* An outgoing call's connections to the server: resolving, TLS with our certificate, messages. They leave by the
 * listener's port, so that the server sees the address at which our router would let the device in. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/outgoing_private.h"
#include "wire/stun.h"

static void on_server_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_requester_event event = {.type = BK_REQUESTER_SERVER_OPEN,
                                       .ms = bk_conn_round_trip_ms(conn)};

    (void)peer;
    bk_outgoing_tell(ctx, &event);
}

/* What of it is for the record: how the server sees us, and what it offers. */
static void look_at(struct bk_outgoing *c, struct bk_slice frame)
{
    struct bk_stun m;
    struct bk_info info;

    if (bk_stun_read(frame, &m) == BK_OK && m.method == BK_METHOD_INFO &&
        m.cls == BK_STUN_SUCCESS && bk_info_answer_read(&m, &info) == BK_OK) {
        bk_outgoing_observed(c, &info);
    }
}

static void on_server_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct bk_requester_event event = {.type = BK_REQUESTER_SERVER_MESSAGE, .bytes = frame};

    (void)conn;
    look_at(ctx, frame);
    bk_outgoing_tell(ctx, &event);
}

static void server_gone(struct bk_outgoing *c, const char *why)
{
    snprintf(c->server_text, sizeof c->server_text, "%s", why);
    bk_outgoing_say(c, "server %s: %s", c->client->state.servers[c->server_index], why);
    bk_outgoing_tell_type(c, BK_REQUESTER_SERVER_CLOSED);
}

static void connect_now(struct bk_outgoing *c);

static void on_server_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_outgoing *c = ctx;

    if (conn == c->leaving) {
        c->leaving = NULL;
        bk_conn_free(conn);
        return;
    }
    bk_conn_free(conn);
    c->server = NULL;
    if (why->end == BK_CONN_TLS && why->tls == BK_TLS_REFUSED_BY_PEER) {
        bk_outgoing_fail(
            c, BECKON_REVOKED,
            bk_client_expired(c->client)
                ? "our certificate has expired, and the server does not renew it any more; join "
                  "again with a new token"
                : "the server does not accept our certificate: it is of another authority, or "
                  "the server's clock is wrong; ask the operator, or join again");
        return;
    }
    /* A connection of before, from the same port, still stands in the system's books. */
    if (why->end == BK_CONN_UNREACHABLE && !c->own_port && !c->retried_own_port &&
        (why->os_error == EADDRNOTAVAIL || why->os_error == EADDRINUSE)) {
        c->retried_own_port = true;
        bk_outgoing_say(c, "the listener's port is taken towards the server; going by another");
        connect_now(c);
        return;
    }
    server_gone(c, why->text);
}

static void connect_now(struct bk_outgoing *c)
{
    const struct bk_client_state *state = &c->client->state;
    struct bk_tls_client client = {.cert = state->own.cert,
                                   .key = state->own.key,
                                   .ca = state->own.ca,
                                   .host = state->servers[c->server_index],
                                   .peer_uri = "beckon:server",
                                   .alpn = BK_ALPN_REQUEST};
    struct bk_conn_config config = {
        .frame = bk_stun_frame,
        .on = {.ctx = c,
               .open = on_server_open,
               .message = on_server_message,
               .closed = on_server_closed},
        .limits = {.open_ms = BK_REQUESTER_SERVER_MS, .frame_max_bytes = BK_STUN_STREAM_MAX_BYTES},
        .reuse_port = true,
        .fast = true,
    };
    bool own_port = c->own_port || c->retried_own_port;

    enum bk_err err = bk_tls_new_client(&client, &config.tls);

    if (err == BK_OK) {
        bk_sessions_use(c->client->sessions, &client, config.tls);
        err = bk_conn_connect(c->client->base, &config, c->server_addrs, c->n_server_addrs,
                              own_port ? NULL : &c->listening, &c->server);
    }
    if (err != BK_OK) {
        c->server = NULL;
        server_gone(c, "no memory for a connection");
    }
    bk_tls_free(config.tls);
}

static void on_server_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                               const char *text)
{
    struct bk_outgoing *c = ctx;

    c->question = NULL;
    if (err != BK_OK) {
        server_gone(c, text);
        return;
    }
    memcpy(c->server_addrs, addrs, n * sizeof addrs[0]);
    c->n_server_addrs = n;
    connect_now(c);
}

/* The connection of before, of which nothing is told any more. */
static void drop(struct bk_outgoing *c)
{
    if (c->question != NULL) {
        bk_resolve_cancel(c->question);
        c->question = NULL;
    }
    bk_conn_free(c->server);
    c->server = NULL;
}

void bk_outgoing_connect_server(struct bk_outgoing *c, size_t server)
{
    const struct bk_client_state *state = &c->client->state;

    drop(c);
    c->retried_own_port = false;
    c->server_index = server < state->n_servers ? server : 0;
    if (state->n_servers > 1) {
        bk_outgoing_say(c, "asking server %s", state->servers[c->server_index]);
    }
    if (bk_resolve_start(c->client->resolver, state->servers[c->server_index], state->port,
                         on_server_resolved, c, &c->question) != BK_OK) {
        c->question = NULL;
        server_gone(c, "its name cannot be looked up");
    }
}

/* An end in order would keep the listener's port from being used towards the server again for a minute (TIME-WAIT), when
 * the next round needs it. All that was asked has been answered: the connection is broken off. */
static void break_off(struct bk_conn *conn)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    SSL *ssl = bk_conn_borrow_ssl(conn);

    if (ssl != NULL) {
        (void)setsockopt(SSL_get_fd(ssl), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    bk_conn_free(conn);
}

void bk_outgoing_close_server(struct bk_outgoing *c)
{
    struct bk_conn *conn = c->server;

    if (conn == NULL || bk_conn_peer(conn) == NULL) {
        drop(c);
        return;
    }
    c->server = NULL;
    if (!c->own_port && !c->retried_own_port) {
        break_off(conn);
        return;
    }
    bk_conn_free(c->leaving);
    c->leaving = conn;
    bk_conn_close(conn);
}

void bk_outgoing_free_server(struct bk_outgoing *c)
{
    drop(c);
    bk_conn_free(c->leaving);
}
