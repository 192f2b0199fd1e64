/* The call part of the agent: one process, one call. Carries out what core/agent/call.h asks for:
 * TLS to the server, dials, end-to-end TLS, and HTTP/2 on the connection that the caller picks. The idle
 * part is asked for admission over the channel; the channel's end is the end of everything here. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "core/agent/call.h"
#include "lib/channel.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "lib/loop.h"
#include "lib/names.h"
#include "lib/password.h"
#include "lib/serve.h"
#include "net/conn.h"
#include "net/host.h"

enum {
    LATER_MAX = 2 * BK_CANDIDATES_MAX,
};

struct call_part;

/* One candidate: connecting, or a session that stands. */
struct dial {
    struct call_part *part;
    size_t index;
    struct bk_conn *conn;
    struct bk_h2 *h2;
    bool picked;
};

struct call_part {
    const char *state_dir;
    beckon_log log;
    void *ctx;
    struct bk_agent_config config;
    struct bk_box_pair box;
    EVP_PKEY *key;
    X509 *cert, *ca;
    struct event_base *base;
    struct bk_resolver *resolver;
    struct event *timer, *channel_event;
    int channel;
    struct bk_addr server;
    struct bk_call *core;
    struct bk_conn *server_conn;
    struct dial dials[BK_CANDIDATES_MAX];
    struct bk_serve serve;
    bool ended;
    enum bk_call_end reason;
    bool busy;                              /* `out` is being carried out */
    size_t n_later;
    struct bk_call_event later[LATER_MAX];  /* what happened meanwhile */
    struct bk_call_out out;
};

static void carry_out(struct call_part *p);

/* Hands an event to the core and carries out what it wants. What carrying out brings about by itself
 * (a dial that fails at once, a checked password) waits its turn; such events borrow no bytes. */
static void tell(struct call_part *p, const struct bk_call_event *event)
{
    struct bk_now now = bk_now_sample();

    if (p->core == NULL) {
        return;
    }
    if (p->busy) {
        assert(p->n_later < LATER_MAX && event->bytes.n == 0);
        p->later[p->n_later++] = *event;
        return;
    }
    p->busy = true;
    if (!p->ended) {
        bk_call_input(p->core, &now, event, &p->out);
        carry_out(p);
    }
    for (size_t i = 0; i < p->n_later && !p->ended; i++) {
        struct bk_call_event next = p->later[i];

        bk_call_input(p->core, &now, &next, &p->out);
        carry_out(p);
    }
    p->n_later = 0;
    p->busy = false;
}

static void tell_index(struct call_part *p, enum bk_call_event_type type, size_t index)
{
    struct bk_call_event event = {.type = type, .index = index};

    tell(p, &event);
}

/* ---- the connection to the server ---- */

static void on_server_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_call_event event = {.type = BK_CALL_SERVER_OPEN};

    (void)conn;
    (void)peer;
    tell(ctx, &event);
}

static void on_server_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct bk_call_event event = {.type = BK_CALL_SERVER_MESSAGE, .bytes = frame};

    (void)conn;
    tell(ctx, &event);
}

static void on_server_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct call_part *p = ctx;
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
    tell(p, &event);
}

static void connect_server(struct call_part *p)
{
    struct bk_tls_client client = {.cert = p->cert,
                                   .key = p->key,
                                   .ca = p->ca,
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
    if (bk_tls_new_client(&client, &config.tls) != BK_OK ||
        bk_conn_connect(p->base, &config, &to, 1, NULL, &p->server_conn) != BK_OK) {
        p->server_conn = NULL;
        tell(p, &failed);
    }
    bk_tls_free(config.tls);
}

/* ---- dials and sessions ---- */

static void dial_drop(struct dial *d)
{
    bk_conn_free(d->conn);
    bk_h2_free(d->h2);
    d->conn = NULL;
    d->h2 = NULL;
}

static void on_session_started(void *ctx)
{
    struct dial *d = ctx;

    d->picked = true;
    tell_index(d->part, BK_CALL_SESSION_PICKED, d->index);
}

static void on_session_request(void *ctx, struct bk_h2_stream *stream, const char *authority)
{
    struct dial *d = ctx;

    bk_serve_request(&d->part->serve, stream, authority);
}

static void on_session_finished(void *ctx, struct bk_h2_stream *stream,
                                const struct bk_h2_outcome *outcome)
{
    struct dial *d = ctx;

    bk_serve_finished(&d->part->serve, stream, outcome);
}

static void on_session_ended(void *ctx, enum bk_err why, const char *text)
{
    struct dial *d = ctx;
    struct call_part *p = d->part;
    bool picked = d->picked;

    if (why != BK_OK) {
        bk_log(p->log, p->ctx, 1, "session with the caller: %s", text);
    }
    dial_drop(d);
    tell_index(p, picked ? BK_CALL_SESSION_ENDED : BK_CALL_DIAL_FAILED, d->index);
}

static void on_dial_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct dial *d = ctx;
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
        tell_index(d->part, BK_CALL_DIAL_FAILED, d->index);
        return;
    }
    tell_index(d->part, BK_CALL_SESSION_UP, d->index);
}

static void on_dial_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct dial *d = ctx;

    bk_log(d->part->log, d->part->ctx, 1, "candidate %zu: %s", d->index, why->text);
    bk_conn_free(conn);
    d->conn = NULL;
    tell_index(d->part, BK_CALL_DIAL_FAILED, d->index);
}

static void dial(struct call_part *p, size_t index, const struct bk_addr *to)
{
    const struct bk_call_request *request = bk_call_opened(p->core);
    struct dial *d = &p->dials[index];
    char name[BK_CALL_NAME_BYTES];
    struct bk_tls_call_client client = {.cert = p->cert,
                                        .key = p->key,
                                        .peer_pin = request->call_key,
                                        .server_name = name,
                                        .alpn = BK_ALPN_CALL};
    struct bk_conn_config config = {
        .on = {.ctx = d, .open = on_dial_open, .closed = on_dial_closed},
        .limits = {.open_ms = BK_CALL_NO_ANSWER_MS},
    };

    bk_call_name(request->call_id, name);
    *d = (struct dial){.part = p, .index = index};
    if (bk_tls_new_call_client(&client, &config.tls) != BK_OK ||
        bk_conn_connect(p->base, &config, to, 1, NULL, &d->conn) != BK_OK) {
        d->conn = NULL;
        tell_index(p, BK_CALL_DIAL_FAILED, index);
    }
    bk_tls_free(config.tls);
}

/* ---- what the core asks for ---- */

static void ask_admission(struct call_part *p, const struct bk_admission_facts *facts)
{
    struct bk_channel_message message = {.type = BK_CHANNEL_ADMIT, .facts = *facts};

    if (bk_channel_send(p->channel, &message) != BK_OK) {
        event_base_loopbreak(p->base);
    }
}

/* Argon2id takes some 10 ms; nobody but this one caller waits for this process. */
static void check_password(struct call_part *p, struct bk_slice password)
{
    struct bk_call_event event = {.type = BK_CALL_PASSWORD,
                                  .right = bk_agent_password_right(p->state_dir, password)};
    struct bk_channel_message message = {.type = BK_CHANNEL_PASSWORD, .right = event.right};

    if (bk_channel_send(p->channel, &message) != BK_OK) {
        event_base_loopbreak(p->base);
        return;
    }
    tell(p, &event);
}

static const char *end_text(enum bk_call_end reason)
{
    switch (reason) {
    case BK_CALL_END_SERVED:
        return "served";
    case BK_CALL_END_NO_SERVER:
        return "no-request";
    case BK_CALL_END_BAD_REQUEST:
        return "bad-request";
    case BK_CALL_END_REPEATED:
        return "repeated";
    case BK_CALL_END_STALE:
        return "stale";
    case BK_CALL_END_REFUSED:
        return "refused";
    case BK_CALL_END_BACK_OFF:
        return "back-off";
    case BK_CALL_END_BUSY:
        return "busy";
    case BK_CALL_END_NO_SERVICE:
        return "no-service";
    case BK_CALL_END_NO_ANSWER:
        return "no-answer";
    }
    return "unknown";
}

static void end(struct call_part *p, enum bk_call_end reason)
{
    const struct bk_call_request *request = bk_call_opened(p->core);
    char service[BK_NAME_MAX_BYTES + 1] = "-";
    char user[BK_NAME_MAX_BYTES + 1] = "-";

    if (p->ended) {
        return;
    }
    p->ended = true;
    p->reason = reason;
    if (request != NULL) {
        (void)bk_slice_to_text(request->service, service, sizeof service);
    }
    if (bk_call_user(p->core).n > 0) {
        (void)bk_slice_to_text(bk_call_user(p->core), user, sizeof user);
    }
    bk_log(p->log, p->ctx, 0, "audit call user=%s service=%s result=%s", user, service,
           end_text(reason));
    for (size_t i = 0; i < BK_CANDIDATES_MAX; i++) {
        dial_drop(&p->dials[i]);
    }
    if (p->server_conn == NULL) {
        event_base_loopbreak(p->base);
    } else {
        bk_conn_close(p->server_conn); /* what was said is sent first; then on_server_closed */
    }
}

static void serve_as(struct call_part *p)
{
    if (!bk_slice_to_text(bk_call_user(p->core), p->serve.caller, sizeof p->serve.caller) ||
        p->serve.caller[0] == '\0') {
        memcpy(p->serve.caller, "caller", sizeof "caller");
    }
}

static void carry_out_one(struct call_part *p, const struct bk_call_action *action)
{
    switch (action->type) {
    case BK_CALL_CONNECT_SERVER:
        connect_server(p);
        break;
    case BK_CALL_SEND_SERVER:
        if (p->server_conn != NULL && bk_conn_send(p->server_conn, action->bytes) != BK_OK) {
            bk_log(p->log, p->ctx, 1, "the server takes no more");
        }
        break;
    case BK_CALL_CLOSE_SERVER:
        if (p->server_conn != NULL) {
            bk_conn_close(p->server_conn);
        }
        break;
    case BK_CALL_ASK_ADMISSION:
        ask_admission(p, &action->facts);
        break;
    case BK_CALL_CHECK_PASSWORD:
        check_password(p, action->bytes);
        break;
    case BK_CALL_DIAL:
        serve_as(p);
        dial(p, action->index, &action->addr);
        break;
    case BK_CALL_CLOSE_DIAL:
        dial_drop(&p->dials[action->index]);
        break;
    case BK_CALL_END:
        end(p, action->reason);
        break;
    }
}

static void carry_out(struct call_part *p)
{
    for (size_t i = 0; i < p->out.n; i++) {
        carry_out_one(p, &p->out.actions[i]);
    }
    if (!p->ended) {
        struct bk_now now = bk_now_sample();

        bk_timer_follow(p->timer, &now, bk_call_deadline(p->core));
    }
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct call_part *p = ctx;
    struct bk_now now = bk_now_sample();

    (void)fd;
    (void)what;
    if (!p->ended && p->core != NULL) {
        p->busy = true;
        bk_call_timer(p->core, &now, &p->out);
        carry_out(p);
        p->busy = false;
    }
}

/* ---- start and end ---- */

static void own(struct bk_policy *policy, const struct bk_addr *addr)
{
    if (policy->n_own < BK_POLICY_ADDRS_MAX) {
        policy->own[policy->n_own++] = *addr;
    }
}

/* What this device must not dial, from what it knows of itself now. */
static void policy_make(const struct call_part *p, const struct bk_addr *observed,
                        struct bk_policy *policy)
{
    const uint16_t ports[] = {p->config.server_udp_port, BK_SERVER_REQUEST_PORT,
                              p->config.server_agent_port};
    struct bk_host_addr addrs[BK_POLICY_ADDRS_MAX];
    struct bk_addr gateways[4];
    size_t n;

    *policy = (struct bk_policy){.server = p->server, .n_server_ports = sizeof ports / sizeof ports[0]};
    memcpy(policy->server_ports, ports, sizeof ports);
    own(policy, observed);
    if (bk_host_gateways(gateways, sizeof gateways / sizeof gateways[0], &n) == BK_OK) {
        for (size_t i = 0; i < n; i++) {
            own(policy, &gateways[i]);
        }
    }
    if (bk_host_addresses(addrs, BK_POLICY_ADDRS_MAX, &n) != BK_OK) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        own(policy, &addrs[i].addr);
        policy->own_nets[policy->n_own_nets++] = addrs[i].prefix;
    }
}

static void begin(struct call_part *p, const struct bk_channel_message *hello)
{
    struct bk_call_config config = {.rng = bk_random_system(), .equipment_id = p->config.equipment_id};
    struct bk_call_event start = {.type = BK_CALL_START};
    struct bk_alloc alloc = bk_alloc_libc();
    enum bk_err err;

    p->server = hello->server;
    config.box = p->box;
    for (size_t i = 0; i < p->config.n_services; i++) {
        config.services[config.n_services++] = bk_slice_text(p->config.services[i].name);
    }
    policy_make(p, &hello->observed, &config.policy);
    err = bk_call_new(&alloc, &config, &p->core);
    bk_wipe(&config.box, sizeof config.box);
    if (err != BK_OK) {
        event_base_loopbreak(p->base);
        return;
    }
    tell(p, &start);
}

static void on_channel(evutil_socket_t fd, short what, void *ctx)
{
    struct call_part *p = ctx;
    struct bk_channel_message message;
    enum bk_err err = bk_channel_receive((int)fd, &message);

    (void)what;
    if (err == BK_E_TRUNCATED) {
        return;
    }
    if (err == BK_OK && message.type == BK_CHANNEL_HELLO && p->core == NULL) {
        begin(p, &message);
    } else if (err == BK_OK && message.type == BK_CHANNEL_VERDICT && p->core != NULL) {
        struct bk_call_event event = {.type = BK_CALL_ADMISSION,
                                      .verdict = message.verdict,
                                      .tag = message.tag,
                                      .unix_s = message.unix_s};

        tell(p, &event);
    } else {
        event_base_loopbreak(p->base);
    }
}

static enum beckon_status load(struct call_part *p, const char *config_file, struct beckon_error *error)
{
    char path[BK_PATH_BYTES];
    enum beckon_status status = bk_agent_config_read(p->state_dir, config_file, &p->config, error);

    if (status == BECKON_OK) {
        status = bk_box_pair_read(p->state_dir, &p->box, error);
    }
    if (status != BECKON_OK) {
        return status;
    }
    if (bk_file_path(p->state_dir, "device.key", path) != BK_OK ||
        bk_x509_key_load(path, &p->key) != BK_OK ||
        bk_file_path(p->state_dir, "device.crt", path) != BK_OK ||
        bk_x509_load(path, &p->cert) != BK_OK || bk_file_path(p->state_dir, "ca.crt", path) != BK_OK ||
        bk_x509_load(path, &p->ca) != BK_OK) {
        return bk_fail(error, BECKON_BAD_CONFIG, "%s cannot be used; join again", path);
    }
    return BECKON_OK;
}

static enum beckon_status open_loop(struct call_part *p, struct beckon_error *error)
{
    p->base = event_base_new();
    if (p->base == NULL || bk_resolver_new(p->base, &p->resolver) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory or descriptors for the event loop");
    }
    p->serve = (struct bk_serve){.base = p->base,
                                 .resolver = p->resolver,
                                 .config = &p->config,
                                 .log = p->log,
                                 .ctx = p->ctx};
    p->timer = evtimer_new(p->base, on_timer, p);
    fcntl(p->channel, F_SETFL, O_NONBLOCK);
    p->channel_event = event_new(p->base, p->channel, EV_READ | EV_PERSIST, on_channel, p);
    if (p->timer == NULL || p->channel_event == NULL || event_add(p->channel_event, NULL) != 0) {
        return bk_fail(error, BECKON_FAILED, "channel %d: %s", p->channel, strerror(errno));
    }
    return BECKON_OK;
}

static void fini(struct call_part *p)
{
    for (size_t i = 0; i < BK_CANDIDATES_MAX; i++) {
        dial_drop(&p->dials[i]);
    }
    bk_conn_free(p->server_conn);
    bk_call_free(p->core);
    bk_resolver_free(p->resolver);
    if (p->timer != NULL) {
        event_free(p->timer);
    }
    if (p->channel_event != NULL) {
        event_free(p->channel_event);
    }
    if (p->base != NULL) {
        event_base_free(p->base);
    }
    EVP_PKEY_free(p->key);
    X509_free(p->cert);
    X509_free(p->ca);
    bk_wipe(&p->box, sizeof p->box);
}

enum beckon_status beckon_agent_serve_call(int channel, const char *state_dir, const char *config_file,
                                           beckon_log log, void *ctx)
{
    struct call_part *p = calloc(1, sizeof *p);
    struct beckon_error error;
    enum beckon_status status;

    if (p == NULL || bk_seal_init() != BK_OK) {
        free(p);
        return BECKON_FAILED;
    }
    p->state_dir = state_dir;
    p->log = log;
    p->ctx = ctx;
    p->channel = channel;
    signal(SIGPIPE, SIG_IGN); /* services may be pipes' ends; this process is ours alone */
    status = load(p, config_file, &error);
    if (status == BECKON_OK) {
        status = open_loop(p, &error);
    }
    if (status == BECKON_OK) {
        event_base_dispatch(p->base);
        status = p->ended && p->reason == BK_CALL_END_SERVED ? BECKON_OK : BECKON_FAILED;
    } else {
        bk_log(log, ctx, 0, "%s", error.text);
    }
    fini(p);
    free(p);
    return status;
}
