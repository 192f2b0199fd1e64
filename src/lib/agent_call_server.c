/* The call part's connections to the server: one on which 226 comes and answers leave, or, in the fast form, one for RESULTs
 * that UDP did not bring; and one that asks how the server sees our port (core/agent/call.h: LEARN). The first and the
 * last leave by the port of our own, and are reset in the end where nothing depends on it: the port must be able to go
 * to the same place again at once. */
#include "lib/agent_call_private.h"
#include "lib/fail.h"
#include "lib/loop.h"
#include "lib/names.h"
#include "wire/info.h"

enum {
    INFO_BYTES = 64,
};

/* Without TIME_WAIT. */
static void reset(struct bk_conn *conn)
{
    static const struct linger at_once = {.l_onoff = 1};
    SSL *ssl = bk_conn_borrow_ssl(conn);

    if (ssl != NULL) {
        (void)setsockopt(SSL_get_fd(ssl), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    bk_conn_free(conn);
}

static void on_server_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_call_event event = {.type = BK_CALL_SERVER_OPEN, .ms = bk_conn_round_trip_ms(conn)};

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

struct bk_tls *bk_call_part_server_tls(struct bk_call_part *p, const char *alpn)
{
    struct bk_tls_client client = {.cert = p->own.cert,
                                   .key = p->own.key,
                                   .ca = p->own.ca,
                                   .host = p->config.server,
                                   .peer_uri = "beckon:server",
                                   .alpn = alpn};
    struct bk_tls *tls;

    if (bk_tls_new_client(&client, &tls) != BK_OK) {
        return NULL;
    }
    bk_sessions_use(p->sessions, &client, tls);
    bk_tls_set_time(tls, bk_call_part_unix_s(p));
    return tls;
}

/* `fast`: without proving first that the path is there. False: no memory. */
static bool connect_to(struct bk_call_part *p, const char *alpn, const struct bk_conn_callbacks *on,
                       const struct bk_addr *from, bool fast, struct bk_conn **out)
{
    struct bk_conn_config config = {
        .tls = bk_call_part_server_tls(p, alpn),
        .frame = bk_stun_frame,
        .on = *on,
        .limits = {.frame_max_bytes = BK_STUN_STREAM_MAX_BYTES},
        .reuse_port = true,
        .fast = fast,
    };
    struct bk_addr to = p->server;
    bool good;

    to.port = p->agent_port;
    good = config.tls != NULL && bk_conn_connect(p->base, &config, &to, 1, from, out) == BK_OK;
    bk_tls_free(config.tls);
    if (!good) {
        *out = NULL;
    }
    return good;
}

void bk_call_part_connect_server(struct bk_call_part *p, bool result)
{
    const struct bk_conn_callbacks on = {
        .ctx = p, .open = on_server_open, .message = on_server_message, .closed = on_server_closed};
    struct bk_call_event failed = {.type = BK_CALL_SERVER_CLOSED};
    struct bk_addr local;
    const struct bk_addr *from = !result && bk_call_part_own_port(p, &local) ? &local : NULL;

    if (!connect_to(p, result ? BK_ALPN_WATCH : BK_ALPN_AGENT, &on, from, true, &p->server_conn)) {
        bk_call_part_tell(p, &failed);
    }
}

void bk_call_part_close_server(struct bk_call_part *p, bool abort)
{
    if (p->server_conn != NULL && abort) {
        reset(p->server_conn);
        p->server_conn = NULL;
    } else if (p->server_conn != NULL) {
        bk_conn_close(p->server_conn);
    }
}

/* ---- how the server sees our port ---- */

void bk_call_part_learned(struct bk_call_part *p)
{
    if (p->learner != NULL) {
        reset(p->learner);
        p->learner = NULL;
    }
}

static void tell_observed(struct bk_call_part *p, const struct bk_addr *addr, uint32_t ms)
{
    struct bk_call_event event = {.type = BK_CALL_OBSERVED, .addr = *addr, .ms = ms};

    bk_call_part_learned(p);
    bk_call_part_tell(p, &event);
}

static void on_learner_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    static const struct bk_addr unknown;
    struct bk_random rng = bk_random_system();
    uint8_t buf[INFO_BYTES], txid[BK_STUN_TXID_BYTES];
    struct bk_slice message;

    (void)peer;
    rng.fill(rng.ctx, txid, sizeof txid);
    if (bk_info_write(buf, sizeof buf, txid, &message) != BK_OK ||
        bk_conn_send(conn, message) != BK_OK) {
        tell_observed(ctx, &unknown, 0);
    }
}

static void on_learner_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct bk_addr observed = {0};
    struct bk_stun m;
    struct bk_info info;

    if (bk_stun_read(frame, &m) == BK_OK && m.cls == BK_STUN_SUCCESS &&
        bk_info_answer_read(&m, &info) == BK_OK) {
        observed = info.observed;
    }
    tell_observed(ctx, &observed, bk_conn_round_trip_ms(conn));
}

static void on_learner_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    static const struct bk_addr unknown;
    struct bk_call_part *p = ctx;

    (void)conn;
    bk_log(p->log, p->ctx, 1, "asking the server for our address: %s", why->text);
    tell_observed(p, &unknown, 0);
}

void bk_call_part_learn(struct bk_call_part *p, bool move)
{
    const struct bk_conn_callbacks on = {.ctx = p,
                                         .open = on_learner_open,
                                         .message = on_learner_message,
                                         .closed = on_learner_closed};
    struct bk_call_event failed = {.type = BK_CALL_OBSERVED};
    struct bk_addr local;
    const struct bk_addr *from;

    bk_call_part_learned(p);
    if (move) {
        bk_call_part_move(p);
    }
    from = bk_call_part_own_port(p, &local) ? &local : NULL;
    if (!connect_to(p, BK_ALPN_WATCH, &on, from, false, &p->learner)) {
        bk_call_part_tell(p, &failed);
    }
}
