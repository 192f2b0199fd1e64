/* Where the device dials an outgoing call: the listener and its TLS, the candidates that lead to it, the
 * connections on which the device proved itself, and the one that becomes the session. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/outgoing_private.h"
#include "net/sockaddr.h"

static bool choose(void *ctx, const char *server_name, struct bk_tls_call *out)
{
    struct bk_outgoing *c = ctx;

    if (!c->expecting || c->session != NULL || strcmp(server_name, c->call_name) != 0) {
        return false;
    }
    out->cert = c->call_cert;
    out->key = c->call_key;
    memcpy(out->peer_pin, c->device_pin, sizeof out->peer_pin);
    return true;
}

static void on_dialled(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_outgoing *c = ctx;
    struct bk_requester_event event = {.type = BK_REQUESTER_SESSION_UP};
    const char *name = SSL_get_servername(bk_conn_borrow_ssl(conn), TLSEXT_NAMETYPE_host_name);

    (void)peer;
    if (name == NULL || strcmp(name, c->call_name) != 0) { /* begun for a call ID that is past */
        bk_conn_free(conn);
        return;
    }
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        struct bk_outgoing_waiting *w = &c->waiting[i];

        if (w->ssl == NULL) {
            *w =
                (struct bk_outgoing_waiting){.id = ++c->last_session, .from = bk_conn_remote(conn)};
            w->ssl = bk_conn_take_ssl(conn);
            event.session = w->id;
            bk_outgoing_tell(c, &event);
            return;
        }
    }
    bk_conn_free(conn);
}

static void on_dialled_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    (void)ctx;
    (void)why;
    bk_conn_free(conn);
}

static void on_refused(void *ctx, const struct bk_addr *from, const struct bk_conn_closed *why)
{
    struct bk_outgoing *c = ctx;
    char text[BK_ADDR_TEXT_BYTES];

    if (c->strangers == BK_OUTGOING_STRANGERS_TOLD_MAX) {
        return;
    }
    c->strangers++;
    bk_addr_format(from, text);
    BK_OUTGOING_LOG(c, 1, "a connection from %s is not the device: %s", text, why->text);
}

static void on_candidates(void *ctx, const struct bk_candidate *list, size_t n, const char *text)
{
    struct bk_outgoing *c = ctx;
    struct bk_requester_event event = {
        .type = BK_REQUESTER_CANDIDATES, .candidates = list, .n_candidates = n};
    char line[80];

    for (size_t i = 0; i < n && i < BK_CANDIDATES_MAX; i++) {
        c->told[c->n_told++] = list[i];
        bk_candidate_format(&list[i], line, sizeof line);
        BK_OUTGOING_LOG(c, 1, "candidate: %s", line);
    }
    snprintf(c->no_candidate, sizeof c->no_candidate, "%s", text);
    bk_outgoing_tell(c, &event);
}

enum beckon_status bk_outgoing_listen(struct bk_outgoing *c, struct beckon_error *error)
{
    struct bk_listener_config config = {
        .conn = {.on = {.ctx = c, .open = on_dialled, .closed = on_dialled_closed}},
        .refused = on_refused,
        .max_total = BK_OUTGOING_CONNECTIONS_MAX,
        .max_handshakes = BK_OUTGOING_CONNECTIONS_MAX,
        .max_per_address = BK_OUTGOING_PER_ADDRESS_MAX,
    };
    char text[BK_ADDR_TEXT_BYTES];

    if (bk_tls_new_call_server(BK_ALPN_CALL, choose, c, &c->listener_tls) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory for the callback listener");
    }
    config.conn.tls = c->listener_tls;
    if (bk_listener_new(c->client->base, &config, &c->listener) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory for the callback listener");
    }
    if (bk_listener_add(c->listener, &c->client->listen, &c->listening) != BK_OK) {
        bk_addr_format(&c->client->listen, text);
        return bk_fail(error, BECKON_FAILED, "cannot listen on %s; give another --listen", text);
    }
    return BECKON_OK;
}

static void close_ssl(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    if (fd >= 0) {
        close(fd);
    }
}

static struct bk_outgoing_waiting *waiting_find(struct bk_outgoing *c, uint64_t id)
{
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        if (c->waiting[i].ssl != NULL && c->waiting[i].id == id) {
            return &c->waiting[i];
        }
    }
    return NULL;
}

static void on_session_answered(void *ctx, struct bk_h2_stream *s, int status)
{
    struct bk_outgoing *c = ctx;

    if (c->on.answered != NULL) {
        c->on.answered(c->on.ctx, s, status);
    }
}

static void on_session_finished(void *ctx, struct bk_h2_stream *s,
                                const struct bk_h2_outcome *outcome)
{
    struct bk_outgoing *c = ctx;

    if (c->on.finished != NULL) {
        c->on.finished(c->on.ctx, s, outcome);
    }
}

static void on_session_pong(void *ctx, bk_time round_trip)
{
    struct bk_outgoing *c = ctx;

    if (c->on.pong != NULL) {
        c->on.pong(c->on.ctx, round_trip);
    }
}

static void on_session_ended(void *ctx, enum bk_err why, const char *text)
{
    struct bk_outgoing *c = ctx;

    bk_h2_free(c->session);
    c->session = NULL;
    if (why == BK_OK) {
        bk_outgoing_fail(c, BECKON_OK, "");
    } else {
        char line[BECKON_ERROR_TEXT_BYTES];

        snprintf(line, sizeof line, "the connection to the device was lost: %s", text);
        bk_outgoing_fail(c, BECKON_FAILED, line);
    }
    bk_outgoing_settle(c);
}

/* Is this the candidate by which a connection came whose end here is `local`? An address of our own shows; the
 * rest came through the mapping. */
static bool came_by(const struct bk_outgoing *c, const struct bk_candidate *candidate,
                    const struct bk_addr *local)
{
    bool host = false;

    for (size_t i = 0; i < c->n_told; i++) {
        host = host ||
               (c->told[i].kind == BK_CANDIDATE_HOST && bk_addr_same_ip(&c->told[i].addr, local));
    }
    return candidate->kind == BK_CANDIDATE_HOST ? bk_addr_same_ip(&candidate->addr, local) : !host;
}

/* Notes which candidate won, and says so of each. */
static void tell_path(struct bk_outgoing *c, const struct bk_addr *local,
                      const struct bk_addr *from)
{
    char remote[BK_ADDR_TEXT_BYTES], line[sizeof c->phases.path];

    bk_addr_format(from, remote);
    for (size_t i = 0; i < c->n_told; i++) {
        bk_candidate_format(&c->told[i], line, sizeof line);
        if (c->phases.path[0] == '\0' && came_by(c, &c->told[i], local)) {
            memcpy(c->phases.path, line, sizeof line);
            BK_OUTGOING_LOG(c, 1, "path: %s; the device dialled it from %s", line, remote);
        } else {
            BK_OUTGOING_LOG(c, 1, "not %s: another was up first", line);
        }
    }
}

void bk_outgoing_use_session(struct bk_outgoing *c, uint64_t id)
{
    struct bk_outgoing_waiting *w = waiting_find(c, id);
    struct bk_h2_config config = {
        .on = {.answered = on_session_answered,
               .finished = on_session_finished,
               .pong = on_session_pong,
               .ended = on_session_ended},
        .ctx = c,
    };
    struct bk_addr local;
    SSL *ssl;

    assert(w != NULL);
    ssl = w->ssl;
    w->ssl = NULL;
    local = bk_sockaddr_local(SSL_get_fd(ssl));
    if (bk_h2_new(c->client->base, ssl, &config, &c->session) != BK_OK) {
        c->session = NULL;
        bk_outgoing_fail(c, BECKON_FAILED, "no memory for the session");
        return;
    }
    tell_path(c, &local, &w->from);
    c->on.up(c->on.ctx, c->session);
}

void bk_outgoing_close_session(struct bk_outgoing *c, uint64_t id)
{
    struct bk_outgoing_waiting *w = waiting_find(c, id);

    if (w != NULL) {
        close_ssl(w->ssl);
        w->ssl = NULL;
    }
}

void bk_outgoing_close_sessions(struct bk_outgoing *c)
{
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        if (c->waiting[i].ssl != NULL) {
            close_ssl(c->waiting[i].ssl);
            c->waiting[i].ssl = NULL;
        }
    }
}

void bk_outgoing_gather(struct bk_outgoing *c)
{
    const struct bk_addr *advertise = c->client->advertise.port != 0 ? &c->client->advertise : NULL;

    if (bk_candidates_new(c->client->base, c->listening.port, advertise, on_candidates, c,
                          &c->candidates) != BK_OK) {
        c->candidates = NULL;
        bk_outgoing_fail(c, BECKON_FAILED, "no memory or threads for finding a callback address");
    }
}
