/* How links come about: dials from any port, simultaneous opens from the port of our own, and what comes in there. On
 * all of them this device is TLS client, with its certificate, to the caller's key for this call. */
#include "lib/agent_call_private.h"
#include "lib/fail.h"
#include "lib/names.h"

enum {
    /* Strangers may come by: this is one call's port. */
    LISTENER_TOTAL = 32,
    LISTENER_HANDSHAKES = 16,
    LISTENER_PER_ADDRESS = 8,
    LISTENER_RATE = 4,
};

void bk_call_part_drop(struct bk_call_way *way)
{
    bk_call_part_end_session(way);
    bk_conn_free(way->conn);
    bk_punch_free(way->punch);
    way->conn = NULL;
    way->punch = NULL;
}

/* TLS of this call; NULL: no memory. */
static struct bk_tls *call_tls(struct bk_call_part *p)
{
    const struct bk_call_request *request = bk_call_opened(p->core);
    char name[BK_CALL_NAME_BYTES];
    struct bk_tls_call_client client = {.cert = p->own.cert,
                                        .key = p->own.key,
                                        .peer_pin = request->call_key,
                                        .server_name = name,
                                        .alpn = BK_ALPN_CALL};

    if (p->call_tls == NULL) {
        bk_call_name(request->call_id, name);
        if (bk_tls_new_call_client(&client, &p->call_tls) != BK_OK) {
            p->call_tls = NULL;
        }
    }
    return p->call_tls;
}

/* `ssl` is taken. */
static void came_about(struct bk_call_way *way, SSL *ssl, const struct bk_call_event *up)
{
    if (bk_call_part_session(way, ssl)) {
        bk_call_part_tell(way->part, up);
    } else if (way->index < BK_CALL_DIALS_MAX) {
        bk_call_part_tell_index(way->part, BK_CALL_DIAL_FAILED, way->index);
    }
}

/* ---- dials ---- */

static void on_dial_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_call_way *way = ctx;
    struct bk_call_event up = {.type = BK_CALL_SESSION_UP, .index = way->index};
    SSL *ssl = bk_conn_take_ssl(conn);

    (void)peer;
    way->conn = NULL;
    came_about(way, ssl, &up);
}

static void on_dial_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_call_way *way = ctx;
    struct bk_call_event failed = {.type = BK_CALL_DIAL_FAILED,
                                   .index = way->index,
                                   .cut = why->end == BK_CONN_TLS && why->tls == BK_TLS_CUT};

    bk_log(way->part->log, way->part->ctx, 1, "link %zu: %s", way->index, why->text);
    bk_conn_free(conn);
    way->conn = NULL;
    bk_call_part_tell(way->part, &failed);
}

/* The caller is known and let in, and about to come: what he asked for is connected to meanwhile. */
static void prepare(struct bk_call_part *p)
{
    if (p->service[0] != '\0') {
        bk_serve_prepare(&p->serve, p->service);
    }
}

void bk_call_part_dial(struct bk_call_part *p, size_t index, const struct bk_addr *to)
{
    struct bk_call_way *way = &p->ways[index];
    struct bk_conn_config config = {
        .tls = call_tls(p),
        .on = {.ctx = way, .open = on_dial_open, .closed = on_dial_closed},
        .limits = {.open_ms = BK_CALL_TRYING_MS},
        .gather = true, /* until HTTP/2 has said what it had */
    };

    *way = (struct bk_call_way){.part = p, .index = index};
    if (config.tls == NULL || bk_conn_connect(p->base, &config, to, 1, NULL, &way->conn) != BK_OK) {
        way->conn = NULL;
        bk_call_part_tell_index(p, BK_CALL_DIAL_FAILED, index);
    }
    prepare(p);
}

/* ---- simultaneous opens ---- */

static void on_punch_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_call_way *way = ctx;
    struct bk_call_event up = {.type = BK_CALL_SESSION_UP, .index = way->index};
    SSL *ssl = bk_conn_take_ssl(conn);

    (void)peer;
    bk_log(way->part->log, way->part->ctx, 1, "link %zu: met at try %u", way->index,
           (unsigned)bk_punch_tries(way->punch));
    bk_punch_free(way->punch);
    way->punch = NULL;
    came_about(way, ssl, &up);
}

static void on_punch_over(void *ctx, uint32_t tries, const char *why)
{
    struct bk_call_way *way = ctx;

    bk_log(way->part->log, way->part->ctx, 1, "link %zu: not met in %u tries: %s", way->index,
           (unsigned)tries, why);
    bk_punch_free(way->punch);
    way->punch = NULL;
    bk_call_part_tell_index(way->part, BK_CALL_DIAL_FAILED, way->index);
}

void bk_call_part_punch(struct bk_call_part *p, const struct bk_call_action *action)
{
    struct bk_call_way *way = &p->ways[action->index];
    struct bk_punch_config config = {
        .conn = {.tls = call_tls(p),
                 .on = {.ctx = way, .open = on_punch_open},
                 .limits = {.open_ms = BK_CALL_TRYING_MS},
                 .gather = true},
        .peer = action->addr,
        .first_ms = action->first_ms,
        .every_ms = action->every_ms,
        .tries = action->tries,
        .over = on_punch_over,
    };

    *way = (struct bk_call_way){.part = p, .index = action->index};
    if (config.conn.tls == NULL || !bk_call_part_own_port(p, &config.local) ||
        bk_punch_new(p->base, &config, &way->punch) != BK_OK) {
        way->punch = NULL;
        bk_call_part_tell_index(p, BK_CALL_DIAL_FAILED, action->index);
    }
    prepare(p);
}

/* ---- what comes in ---- */

static struct bk_call_way *free_way(struct bk_call_part *p)
{
    for (size_t i = BK_CALL_DIALS_MAX; i < BK_CALL_LINKS_MAX; i++) {
        struct bk_call_way *way = &p->ways[i];

        if (way->h2 == NULL) {
            *way = (struct bk_call_way){.part = p, .index = i};
            return way;
        }
    }
    return NULL;
}

static void on_arrival_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_call_part *p = ctx;
    struct bk_call_way *way = p->ended ? NULL : free_way(p);
    struct bk_call_event up = {
        .type = BK_CALL_SESSION_UP, .addr = bk_conn_remote(conn), .local = bk_conn_local(conn)};

    (void)peer;
    if (way == NULL) {
        bk_conn_free(conn);
        return;
    }
    up.index = way->index;
    came_about(way, bk_conn_take_ssl(conn), &up);
}

/* Not reached: whoever is let in is taken over at once. */
static void on_arrival_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    (void)ctx;
    (void)why;
    bk_conn_free(conn);
}

void bk_call_part_listen(struct bk_call_part *p)
{
    struct bk_listener_config config = {
        .conn = {.tls = call_tls(p),
                 .on = {.ctx = p, .open = on_arrival_open, .closed = on_arrival_closed}},
        .max_total = LISTENER_TOTAL,
        .max_handshakes = LISTENER_HANDSHAKES,
        .max_per_address = LISTENER_PER_ADDRESS,
        .rate_per_address = LISTENER_RATE,
        .reuse_port = true,
    };
    struct bk_addr at;

    if (p->listener != NULL || config.conn.tls == NULL || !bk_call_part_own_port(p, &at) ||
        bk_listener_new(p->base, &config, &p->listener) != BK_OK) {
        return;
    }
    if (bk_listener_add(p->listener, &at, NULL) != BK_OK) {
        bk_log(p->log, p->ctx, 1, "nobody can connect to port %u here", (unsigned)at.port);
        bk_listener_free(p->listener);
        p->listener = NULL;
    } else if (p->n_hosts > 0) {
        prepare(p);
    }
}

/* What an earlier attempt left in routers and kernels, on the way between the same two ports, may stand in the way of the
 * next one for two minutes (decision 11). Where there is no further port the newest serves on: by then rounds are rare. */
void bk_call_part_move(struct bk_call_part *p)
{
    static const struct bk_addr any;
    struct bk_addr at;

    if (p->listener != NULL && bk_listener_add(p->listener, &any, &at) == BK_OK) {
        p->meeting_port = at.port;
    }
}
