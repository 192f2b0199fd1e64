/* The server's sockets: UDP for registration, TLS for requests, agents and joining. Here it is decided who
 * is at the other end of a connection, and whether the store still knows that one. */
#include <errno.h>
#include <string.h>

#include "bin/beckond/serve_private.h"
#include "seal/subject.h"
#include "wire/alpn.h"
#include "wire/stun.h"

/* ---- streams and their numbers: the place below, a count that never repeats above ---- */

static struct bk_serve_stream *stream_new(struct bk_serve *s, struct bk_conn *conn)
{
    for (uint32_t i = 0; i < BK_SERVE_STREAMS_MAX; i++) {
        uint32_t place = (s->free_hint + i) % BK_SERVE_STREAMS_MAX;
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

static void stream_close(struct bk_serve_stream *stream)
{
    stream->closing = true;
    bk_conn_close(stream->conn);
}

/* ---- who is there ---- */

/* The role that a protocol name stands for; joining needs no certificate and looks at none. */
static enum bk_role role_of(const char *alpn)
{
    if (strcmp(alpn, BK_ALPN_REQUEST) == 0) {
        return BK_ROLE_USER;
    }
    return strcmp(alpn, BK_ALPN_AGENT) == 0 ? BK_ROLE_DEVICE : BK_ROLE_NONE;
}

/* BK_E_MALFORMED: no certificate, or one of another role; else as bk_store_admit. */
static enum bk_err identify(struct bk_serve *s, const struct bk_tls_peer *peer,
                            struct bk_identity *who)
{
    enum bk_role needed = role_of(peer->alpn);

    memset(who, 0, sizeof *who);
    if (needed == BK_ROLE_NONE) {
        return BK_OK;
    }
    if (!peer->certified || bk_subject_read(bk_slice_text(peer->uri), who) != BK_OK ||
        who->role != needed) {
        return BK_E_MALFORMED;
    }
    memcpy(who->key, peer->key, sizeof who->key);
    return bk_store_admit(s->store, who);
}

static const char *refusal(enum bk_err err)
{
    switch ((int)err) {
    case BK_E_NOTFOUND:
        return "is not enrolled here";
    case BK_E_AUTH:
        return "has been replaced by a newer enrolment";
    case BK_E_EXPIRED:
        return "is revoked";
    case BK_E_MALFORMED:
        return "shows no certificate of the role that it speaks for";
    default:
        return "cannot be checked: the store fails";
    }
}

/* A user hears why, in answer to its first request; others are closed, a device learns by UDP. */
static void refuse(struct bk_serve *s, struct bk_serve_stream *stream,
                   const struct bk_tls_peer *peer, enum bk_err err)
{
    struct bk_addr from = bk_conn_remote(stream->conn);
    char text[BK_ADDR_TEXT_BYTES], who[4 * BK_SUBJECT_TEXT_BYTES];

    bk_addr_format(&from, text);
    bk_say_escape(bk_slice_text(peer->uri), who, sizeof who);
    bk_say_limited(&s->refused_log, bk_serve_now().mono, "%s from %s %s; refused",
                   who[0] == '\0' ? "a peer" : who, text, refusal(err));
    if (role_of(peer->alpn) == BK_ROLE_USER && peer->certified && err != BK_E_MALFORMED) {
        bool gone = err == BK_E_NOTFOUND || err == BK_E_AUTH || err == BK_E_EXPIRED;
        stream->refuse = gone ? BK_CODE_FORBIDDEN : BK_CODE_OVERLOADED;
        bk_conn_set_idle(stream->conn, BK_SERVE_JOIN_IDLE_MS);
    } else {
        stream_close(stream);
    }
}

/* ---- connections ---- */

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_serve *s = ctx;
    struct bk_serve_stream *stream = stream_new(s, conn);
    struct bk_server_event event = {.type = BK_SERVER_STREAM_OPEN};
    enum bk_err err;

    if (stream == NULL) {
        bk_say_limited(&s->overload_log, bk_serve_now().mono,
                       "%d connections are open; one more is refused", BK_SERVE_STREAMS_MAX);
        bk_conn_free(conn);
        return;
    }
    bk_conn_set_ctx(conn, stream);
    stream->not_after_s = peer->not_after_s;
    err = identify(s, peer, &event.open.peer);
    if (err != BK_OK) {
        refuse(s, stream, peer, err);
        return;
    }
    if (event.open.peer.role == BK_ROLE_NONE) {
        bk_conn_set_idle(conn, BK_SERVE_JOIN_IDLE_MS);
    }
    stream->in_core = true;
    event.open.stream = stream->number;
    event.open.from = bk_conn_remote(conn);
    bk_serve_feed(s, &event);
}

/* The one answer to a user who is no longer one. */
static void answer_refused(struct bk_serve_stream *stream, struct bk_slice frame)
{
    uint8_t buf[128];
    struct bk_stun m;
    struct bk_slice answer;
    const char *reason = stream->refuse == BK_CODE_FORBIDDEN ? "revoked" : "overloaded";

    if (bk_stun_read(frame, &m) == BK_OK && m.cls == BK_STUN_REQUEST &&
        bk_error_write(buf, sizeof buf, m.method, m.txid, stream->refuse, reason, &answer) ==
            BK_OK) {
        enum bk_err ignored = bk_conn_send(stream->conn, answer);
        (void)ignored;
    }
    stream_close(stream);
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
        answer_refused(stream, frame);
        return;
    }
    if (stream->not_after_s != 0 && bk_serve_now().unix_s > stream->not_after_s) {
        stream_close(stream); /* it was good at the handshake and is no more */
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
    bk_say_limited(&s->refused_log, bk_serve_now().mono, "connection from %s refused: %s", text,
                   reason);
}

/* ---- datagrams ---- */

static void on_datagram(void *ctx, const struct bk_addr *from, struct bk_slice bytes)
{
    struct bk_serve_local *local = ctx;
    struct bk_server_event event = {.type = BK_SERVER_DATAGRAM};

    event.datagram.local =
        (uint8_t)(local->socket * BK_UDP_WAYS + bk_udp_way(local->serve->udp[local->socket]));
    event.datagram.from = *from;
    event.datagram.bytes = bytes;
    bk_serve_feed(local->serve, &event);
}

/* ---- opening and closing ---- */

/* Which protocols a listener speaks: requests, agents, or both on one port; joining on any. */
static enum bk_err make_tls(const struct bk_serve *s, bool request, bool agent, struct bk_tls **out)
{
    const char *alpns[3];
    struct bk_tls_server config = {
        .cert = s->authority.server,
        .key = s->authority.server_key,
        .ca = s->authority.ca,
        .alpns = alpns,
    };

    if (request) {
        alpns[config.n_alpns++] = BK_ALPN_REQUEST;
    }
    if (agent) {
        alpns[config.n_alpns++] = BK_ALPN_AGENT;
    }
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

static enum beckon_status cannot_bind(const struct bk_addr *addr, const char *what, enum bk_err err)
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
        .max_total = BK_SERVE_STREAMS_MAX,
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
            return cannot_bind(&addr, "TCP", err);
        }
    }
    return BECKON_OK;
}

enum beckon_status bk_serve_open_sockets(struct bk_serve *s)
{
    enum beckon_status status = BECKON_OK;

    if (bk_serve_renew_tls(s) != BK_OK) {
        bk_say(
            "the server's certificate cannot be used for TLS; restore server.crt and server.key");
        return BECKON_BAD_CONFIG;
    }
    for (size_t i = 0; i < s->config.n_listen; i++) {
        struct bk_addr addr = s->config.listen[i];
        struct bk_udp_callbacks on = {.ctx = &s->locals[i], .received = on_datagram};
        addr.port = s->config.udp_port;
        s->locals[i] = (struct bk_serve_local){.serve = s, .socket = (uint8_t)i};
        enum bk_err err = bk_udp_new(s->base, &addr, false, false, &on, &s->udp[i]);
        if (err != BK_OK) {
            return cannot_bind(&addr, "UDP", err);
        }
    }
    status = open_listener(s, 0, s->config.request_port);
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
    for (size_t i = 0; i < BK_CONFIG_LISTEN_MAX; i++) {
        if (s->udp[i] != NULL) {
            bk_udp_free(s->udp[i]);
            s->udp[i] = NULL;
        }
    }
}
