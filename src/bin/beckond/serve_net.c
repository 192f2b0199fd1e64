/* The server's TLS sockets, for requests, agents and joining; those of UDP are in serve_udp.c. Who is at the other end is
 * decided in serve_peer.c. */
#include <errno.h>
#include <string.h>

#include "bin/beckond/serve_private.h"
#include "net/clock.h"
#include "wire/alpn.h"
#include "wire/stun.h"

/* ---- streams and their numbers: the place below, a count that never repeats above ---- */

static struct bk_serve_stream *stream_new(struct bk_serve *s, struct bk_conn *conn)
{
    for (uint32_t i = 0; i < s->max_streams; i++) {
        uint32_t place = (s->free_hint + i) % s->max_streams;
        struct bk_serve_stream *stream = &s->streams[place];
        if (stream->conn != NULL) {
            continue;
        }
        s->free_hint = place + 1;
        *stream = (struct bk_serve_stream){.serve = s, .conn = conn};
        stream->number = ++s->next_number * BK_SERVE_STREAMS_MAX + place;
        return stream;
    }
    return NULL;
}

struct bk_serve_stream *bk_serve_stream_find(struct bk_serve *s, uint64_t number)
{
    struct bk_serve_stream *stream = &s->streams[number % BK_SERVE_STREAMS_MAX];

    return stream->conn != NULL && stream->number == number ? stream : NULL;
}

void bk_serve_stream_close(struct bk_serve_stream *stream)
{
    stream->closing = true;
    bk_conn_close(stream->conn);
}

/* ---- connections ---- */

static bool stays(enum bk_server_purpose purpose)
{
    return purpose == BK_STREAM_WATCH || purpose == BK_STREAM_REGISTER;
}

/* What stays has a share of its own; it ends with the connection. */
static bool enter(struct bk_serve *s, enum bk_server_purpose purpose, struct bk_conn *conn)
{
    return !stays(purpose) || bk_serve_watch_enter(s, conn);
}

static void leave(struct bk_serve *s, enum bk_server_purpose purpose, const struct bk_conn *conn)
{
    if (stays(purpose)) {
        struct bk_addr from = bk_conn_remote(conn);
        bk_serve_watch_leave(s, &from);
    }
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_serve *s = ctx;
    struct bk_serve_stream *stream;
    struct bk_server_event event = {.type = BK_SERVER_STREAM_OPEN};
    enum bk_server_purpose purpose = bk_serve_purpose(peer->alpn);
    enum bk_err err;

    if (!enter(s, purpose, conn)) {
        bk_say_limited(
            &s->overload_log, bk_clock_now().mono,
            "as many connections that stay are open as there is room for; one more is not");
        bk_conn_free(conn);
        return;
    }
    stream = stream_new(s, conn);
    if (stream == NULL) {
        bk_say_limited(&s->overload_log, bk_clock_now().mono,
                       "%u connections are open; one more is refused", s->max_streams);
        leave(s, purpose, conn);
        bk_conn_free(conn);
        return;
    }
    bk_conn_set_ctx(conn, stream);
    stream->purpose = purpose;
    /* RENEW is what an expired certificate is good for. */
    stream->not_after_s = purpose == BK_STREAM_RENEW ? 0 : peer->not_after_s;
    /* Also if the session was resumed: who has been revoked or replaced since is found here, as always. */
    err = bk_serve_identify(s, peer, &event.open.peer);
    if (err != BK_OK) {
        bk_serve_refuse(s, stream, peer, err);
        return;
    }
    if (event.open.peer.role == BK_ROLE_NONE || purpose != BK_STREAM_PLAIN) {
        bk_conn_set_idle(conn, BK_SERVE_JOIN_IDLE_MS);
    }
    stream->equipment_id = event.open.peer.equipment_id;
    stream->in_core = true;
    event.open.stream = stream->number;
    event.open.from = bk_conn_remote(conn);
    event.open.purpose = purpose;
    bk_serve_feed(s, &event);
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct bk_serve_stream *stream = ctx;
    struct bk_server_event event = {.type = BK_SERVER_STREAM_MESSAGE};

    (void)conn;
    if (stream->closing) {
        return;
    }
    if (stream->refuse != 0) {
        bk_serve_answer_refused(stream, frame);
        return;
    }
    if (stream->not_after_s != 0 && bk_clock_now().unix_s > stream->not_after_s) {
        bk_serve_stream_close(stream); /* it was good at the handshake and is no more */
        return;
    }
    if (stream->purpose == BK_STREAM_WATCH && bk_serve_watch_asks(stream, frame)) {
        return;
    }
    event.message.stream = stream->number;
    event.message.bytes = frame;
    bk_serve_feed(stream->serve, &event);
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_serve_stream *stream = ctx;
    struct bk_serve *s = stream->serve;
    struct bk_server_event event = {.type = BK_SERVER_STREAM_CLOSED};

    (void)why;
    event.closed.stream = stream->number;
    /* First the place, so that nothing more is sent on it. */
    stream->conn = NULL;
    leave(s, stream->purpose, conn);
    bk_conn_free(conn);
    if (stream->in_core) {
        bk_serve_feed(s, &event);
    }
}

static void on_refused(void *ctx, const struct bk_addr *from, const struct bk_conn_closed *why)
{
    struct bk_serve *s = ctx;
    char text[BK_ADDR_TEXT_BYTES], reason[2 * BK_TLS_TEXT_BYTES];

    bk_addr_format(from, text);
    /* The phrase may quote the peer; spaces are its own. */
    if (!bk_slice_to_text(bk_slice_text(why->text), reason, sizeof reason)) {
        bk_say_escape(bk_slice_text(why->text), reason, sizeof reason);
    }
    bk_say_limited(&s->refused_log, bk_clock_now().mono, "connection from %s refused: %s", text,
                   reason);
}

/* ---- opening and closing ---- */

/* Which protocols a listener speaks: requests, agents (their watches and registrations too), or all on one port; joining and
 * renewing on any. */
static enum bk_err make_tls(const struct bk_serve *s, bool request, bool agent, struct bk_tls **out)
{
    const char *alpns[6];
    struct bk_tls_server config = {
        .cert = s->authority.server,
        .key = s->authority.server_key,
        .ca = s->authority.ca,
        .alpns = alpns,
        .alpn_expired = BK_ALPN_RENEW,
        .tickets = s->tickets,
    };

    if (request) {
        alpns[config.n_alpns++] = BK_ALPN_REQUEST;
    }
    if (agent) {
        alpns[config.n_alpns++] = BK_ALPN_AGENT;
        alpns[config.n_alpns++] = BK_ALPN_WATCH;
        alpns[config.n_alpns++] = BK_ALPN_REGISTER;
    }
    alpns[config.n_alpns++] = BK_ALPN_RENEW;
    alpns[config.n_alpns++] = BK_ALPN_JOIN;
    return bk_tls_new_server(&config, out);
}

static size_t n_listeners(const struct bk_serve *s)
{
    return s->config.request_port == s->config.agent_port ? 1 : 2;
}

enum bk_err bk_serve_renew_tls(struct bk_serve *s)
{
    struct bk_tls *fresh[BK_SERVE_LISTENERS] = {NULL};
    size_t n = n_listeners(s);
    enum bk_err err = BK_OK;

    for (size_t i = 0; i < n && err == BK_OK; i++) {
        err = make_tls(s, i == 0, i == 1 || n == 1, &fresh[i]);
    }
    for (size_t i = 0; i < n; i++) {
        struct bk_tls *old = s->tls[i];
        if (err != BK_OK) {
            bk_tls_free(fresh[i]);
            continue;
        }
        s->tls[i] = fresh[i];
        if (s->listeners[i] != NULL) {
            bk_listener_set_tls(s->listeners[i], fresh[i]);
        }
        bk_tls_free(old);
    }
    return err;
}

enum beckon_status bk_serve_cannot_bind(const struct bk_addr *addr, const char *what,
                                        enum bk_err err)
{
    char text[BK_ADDR_TEXT_BYTES];

    bk_addr_format(addr, text);
    bk_say("%s %s: %s; choose another port or address in beckond.conf, or stop what uses it", what,
           text, err == BK_E_IO ? strerror(errno) : bk_err_text(err));
    return BECKON_FAILED;
}

static enum beckon_status open_listener(struct bk_serve *s, size_t which, uint16_t port)
{
    const struct bk_listener_config config = {
        .conn = {.tls = s->tls[which],
                 .frame = bk_stun_frame,
                 .on = {.ctx = s, .open = on_open, .message = on_message, .closed = on_closed},
                 .limits = {.idle_ms = BK_SERVE_STREAM_IDLE_MS,
                            .frame_max_bytes = BK_STUN_STREAM_MAX_BYTES}},
        .refused = on_refused,
        .first = bk_serve_first(s),
        .fast = true,
        .max_total = s->max_streams,
        .max_handshakes = BK_SERVE_HANDSHAKES_MAX,
        .max_per_address = BK_SERVE_PER_ADDRESS_MAX,
    };

    if (bk_listener_new(s->base, &config, &s->listeners[which]) != BK_OK) {
        bk_say("out of memory; free some and start again");
        return BECKON_FAILED;
    }
    for (size_t i = 0; i < s->config.n_listen; i++) {
        struct bk_addr addr = s->config.listen[i];
        addr.port = port;
        enum bk_err err = bk_listener_add(s->listeners[which], &addr, NULL);
        if (err != BK_OK) {
            return bk_serve_cannot_bind(&addr, "TCP", err);
        }
    }
    return BECKON_OK;
}

enum beckon_status bk_serve_open_sockets(struct bk_serve *s)
{
    enum beckon_status status = BECKON_OK;

    if (bk_tls_tickets_new(0, &s->tickets) != BK_OK) {
        bk_say("out of memory; free some and start again");
        return BECKON_FAILED;
    }
    if (bk_serve_renew_tls(s) != BK_OK) {
        bk_say(
            "the server's certificate cannot be used for TLS; restore server.crt and server.key");
        return BECKON_BAD_CONFIG;
    }
    status = bk_serve_open_udp(s);
    if (status == BECKON_OK) {
        status = open_listener(s, 0, s->config.request_port);
    }
    if (status == BECKON_OK && n_listeners(s) == 2) {
        status = open_listener(s, 1, s->config.agent_port);
    }
    return status;
}

void bk_serve_close_sockets(struct bk_serve *s)
{
    for (size_t i = 0; i < BK_SERVE_LISTENERS; i++) {
        bk_listener_free(s->listeners[i]);
        s->listeners[i] = NULL;
    }
    for (size_t i = 0; s->streams != NULL && i < BK_SERVE_STREAMS_MAX; i++) {
        bk_conn_free(s->streams[i].conn);
        s->streams[i].conn = NULL;
    }
    for (size_t i = 0; i < BK_SERVE_LISTENERS; i++) {
        bk_tls_free(s->tls[i]);
        s->tls[i] = NULL;
    }
    bk_tls_tickets_free(s->tickets);
    s->tickets = NULL;
    bk_serve_close_udp(s);
}
