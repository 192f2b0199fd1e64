/* The call part's connection to the server: 226 comes on it, answers leave on it. */
#include "lib/agent_call_private.h"
#include "lib/fail.h"
#include "lib/loop.h"
#include "lib/names.h"

static void on_server_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_call_event event = {.type = BK_CALL_SERVER_OPEN};

    (void)conn;
    (void)peer;
    bk_call_part_tell(ctx, &event);
}

static void on_server_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct bk_call_event event = {.type = BK_CALL_SERVER_MESSAGE, .bytes = frame};

    (void)conn;
    bk_call_part_tell(ctx, &event);
}

static void on_server_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_call_part *p = ctx;
    struct bk_call_event event = {.type = BK_CALL_SERVER_CLOSED};

    bk_conn_free(conn);
    p->server_conn = NULL;
    if (p->ended) {
        event_base_loopbreak(p->base);
        return;
    }
    if (why->end != BK_CONN_ENDED_BY_US) {
        bk_log(p->log, p->ctx, 1, "connection to the server: %s", why->text);
    }
    bk_call_part_tell(p, &event);
}

void bk_call_part_connect_server(struct bk_call_part *p)
{
    struct bk_tls_client client = {.cert = p->own.cert,
                                   .key = p->own.key,
                                   .ca = p->own.ca,
                                   .host = p->config.server,
                                   .peer_uri = "beckon:server",
                                   .alpn = BK_ALPN_AGENT};
    struct bk_conn_config config = {
        .frame = bk_stun_frame,
        .on = {.ctx = p,
               .open = on_server_open,
               .message = on_server_message,
               .closed = on_server_closed},
        .limits = {.frame_max_bytes = BK_STUN_STREAM_MAX_BYTES},
    };
    struct bk_call_event failed = {.type = BK_CALL_SERVER_CLOSED};
    struct bk_addr to = p->server;

    to.port = p->config.server_agent_port;
    if (bk_tls_new_client(&client, &config.tls) != BK_OK) {
        config.tls = NULL;
    } else if (bk_now_sample().unix_s == 0) { /* no clock: the time of an authenticated REGISTER */
        bk_tls_set_time(config.tls, bk_call_part_unix_s(p));
    }
    if (config.tls == NULL ||
        bk_conn_connect(p->base, &config, &to, 1, NULL, &p->server_conn) != BK_OK) {
        p->server_conn = NULL;
        bk_call_part_tell(p, &failed);
    }
    bk_tls_free(config.tls);
}
