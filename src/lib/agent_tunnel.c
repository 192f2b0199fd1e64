/* The process of the tunnel: TLS to the server on one side, the channel to the idle part on the other, and whole messages
 * between them, none of which it reads. It tries the server's port for agents, and then 443, which networks let through
 * that let through nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lib/agent_config.h"
#include "lib/agent_state.h"
#include "lib/certs.h"
#include "lib/child.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "lib/loop.h"
#include "lib/names.h"
#include "lib/sessions.h"
#include "lib/tunnel_channel.h"
#include "net/conn.h"
#include "net/resolve.h"
#include "net/sandbox.h"
#include "wire/stun.h"

enum {
    LAST_RESORT_PORT = 443,
    OPEN_MS = 6000, /* for each port */
};

struct tunnel {
    int channel;
    struct bk_agent_config config;
    struct bk_credentials own;
    struct bk_sessions *sessions; /* or NULL */
    struct event_base *base;
    struct event *event; /* on the channel */
    struct bk_resolver *resolver;
    struct bk_resolve *question;
    const char *server; /* set by HELLO */
    uint64_t unix_s;    /* what HELLO told, then */
    bk_time told_at;
    struct bk_addr addrs[BK_RESOLVE_MAX];
    size_t n_addrs;
    uint16_t port; /* being tried, or in use */
    struct bk_conn *conn;
    bool up;
};

static void over(struct tunnel *t)
{
    event_base_loopbreak(t->base);
}

static void down(struct tunnel *t, const char *why)
{
    struct bk_tunnel_message message = {.type = BK_TUNNEL_DOWN, .bytes = bk_slice_text(why)};
    enum bk_err err = bk_tunnel_send(t->channel, &message);

    (void)err; /* gone as well, or it will see our end */
    over(t);
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct tunnel *t = ctx;
    struct bk_tunnel_message message = {.type = BK_TUNNEL_UP, .port = t->port};

    (void)conn;
    (void)peer;
    t->up = true;
    if (bk_tunnel_send(t->channel, &message) != BK_OK) {
        over(t);
    }
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct tunnel *t = ctx;
    struct bk_tunnel_message message = {.type = BK_TUNNEL_MESSAGE, .bytes = frame};
    enum bk_err err = bk_tunnel_send(t->channel, &message);

    (void)conn;
    if (err == BK_E_CLOSED || err == BK_E_IO) {
        over(t);
    } /* else it is too long, or too many: lost, as by UDP */
}

static void connect_to(struct tunnel *t, uint16_t port);

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct tunnel *t = ctx;

    bk_conn_free(conn);
    t->conn = NULL;
    if (!t->up && t->port != LAST_RESORT_PORT) {
        connect_to(t, LAST_RESORT_PORT);
    } else {
        down(t, why->text);
    }
}

static void connect_to(struct tunnel *t, uint16_t port)
{
    struct bk_tls_client client = {.cert = t->own.cert,
                                   .key = t->own.key,
                                   .ca = t->own.ca,
                                   .host = t->server,
                                   .peer_uri = "beckon:server",
                                   .alpn = BK_ALPN_REGISTER};
    struct bk_conn_config config = {
        .frame = bk_stun_frame,
        .on = {.ctx = t, .open = on_open, .message = on_message, .closed = on_closed},
        .limits = {.open_ms = OPEN_MS, .frame_max_bytes = BK_STUN_STREAM_MAX_BYTES},
    };
    struct bk_now now = bk_now_sample();
    uint64_t told_s = t->unix_s + (now.mono - t->told_at) / BK_SECOND;

    t->port = port;
    for (size_t i = 0; i < t->n_addrs; i++) {
        t->addrs[i].port = port;
    }
    if (bk_tls_new_client(&client, &config.tls) != BK_OK) {
        down(t, "this device's certificate cannot be used");
        return;
    }
    if (bk_clock_off(now.unix_s, told_s)) {
        bk_tls_set_time(config.tls, told_s);
    }
    bk_sessions_use(t->sessions, &client, config.tls);
    if (bk_conn_connect(t->base, &config, t->addrs, t->n_addrs, NULL, &t->conn) != BK_OK) {
        t->conn = NULL;
        down(t, "no memory for a connection");
    }
    bk_tls_free(config.tls);
}

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct tunnel *t = ctx;

    t->question = NULL;
    if (err != BK_OK || n == 0) {
        down(t, text);
        return;
    }
    t->n_addrs = n < BK_RESOLVE_MAX ? n : BK_RESOLVE_MAX;
    memcpy(t->addrs, addrs, t->n_addrs * sizeof t->addrs[0]);
    connect_to(t, t->config.server_agent_port);
}

static void hello(struct tunnel *t, const struct bk_tunnel_message *message)
{
    if (message->index >= t->config.n_servers) {
        down(t, "agent.conf lists fewer servers by now");
        return;
    }
    t->server = t->config.servers[message->index];
    /* Our own certificate is valid, or it will not do anyway. */
    t->unix_s = bk_cert_time(t->own.cert, message->unix_s);
    t->told_at = bk_now_sample().mono;
    if (bk_resolve_start(t->resolver, t->server, t->config.server_agent_port, on_resolved, t,
                         &t->question) != BK_OK) {
        t->question = NULL;
        down(t, "its name cannot be looked up");
    }
}

static void on_channel(evutil_socket_t fd, short what, void *ctx)
{
    struct tunnel *t = ctx;
    struct bk_tunnel_message message;
    enum bk_err err = bk_tunnel_receive((int)fd, &message);

    (void)what;
    if (err == BK_E_TRUNCATED) {
        return;
    }
    if (err == BK_OK && message.type == BK_TUNNEL_HELLO && t->server == NULL) {
        hello(t, &message);
    } else if (err == BK_OK && message.type == BK_TUNNEL_MESSAGE && t->up) {
        if (t->conn != NULL && bk_conn_send(t->conn, message.bytes) != BK_OK) {
            down(t, "the server takes no more");
        }
    } else {
        over(t);
    }
}

static enum beckon_status load(struct tunnel *t, const char *state_dir, const char *config_file,
                               struct beckon_error *error)
{
    char path[BK_PATH_BYTES];
    enum beckon_status status = bk_agent_config_read(state_dir, config_file, &t->config, error);

    if (status == BECKON_OK && bk_credentials_load(state_dir, "device", &t->own, path) != BK_OK) {
        status = bk_fail(error, BECKON_BAD_CONFIG, "%s cannot be used; " BK_JOIN_ANEW, path);
    }
    if (status == BECKON_OK) {
        t->sessions = bk_sessions_open(state_dir);
    }
    return status;
}

static enum beckon_status open_loop(struct tunnel *t, struct beckon_error *error)
{
    t->base = event_base_new();
    if (t->base == NULL || bk_resolver_new(t->base, &t->resolver) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory or descriptors for the event loop");
    }
    fcntl(t->channel, F_SETFL, O_NONBLOCK);
    t->event = event_new(t->base, t->channel, EV_READ | EV_PERSIST, on_channel, t);
    if (t->event == NULL || event_add(t->event, NULL) != 0) {
        return bk_fail(error, BECKON_FAILED, "channel %d: %s", t->channel, strerror(errno));
    }
    return BECKON_OK;
}

static void confine(beckon_log log, void *ctx)
{
    char why[BK_SANDBOX_WHY_BYTES];

    OPENSSL_init_ssl(0, NULL); /* what openssl.cnf may name is loaded before */
    if (bk_sandbox_agent_call(why, sizeof why) != BK_OK) {
        bk_log(log, ctx, 0, "%s", why);
    }
}

static void fini(struct tunnel *t)
{
    if (t->question != NULL) {
        bk_resolve_cancel(t->question);
    }
    bk_conn_free(t->conn);
    bk_resolver_free(t->resolver);
    if (t->event != NULL) {
        event_free(t->event);
    }
    if (t->base != NULL) {
        event_base_free(t->base);
    }
    bk_sessions_close(t->sessions);
    bk_credentials_fini(&t->own);
}

enum beckon_status beckon_agent_tunnel(int channel, const char *state_dir, const char *config_file,
                                       beckon_log log, void *ctx)
{
    struct tunnel *t = calloc(1, sizeof *t);
    struct beckon_error error;
    enum beckon_status status;

    if (t == NULL) {
        return BECKON_FAILED;
    }
    t->channel = channel;
    (void)signal(SIGPIPE, SIG_IGN);
    status = load(t, state_dir, config_file, &error);
    if (status == BECKON_OK) {
        status = open_loop(t, &error);
    }
    if (status == BECKON_OK) {
        confine(log, ctx);
        event_base_dispatch(t->base);
        status = t->up ? BECKON_OK : BECKON_SERVER_DOWN;
    } else {
        bk_log(log, ctx, 0, "%s", error.text);
    }
    fini(t);
    free(t);
    return status;
}
