/* The call part of the agent: one process, one call. Carries out what core/agent/call.h asks for:
 * TLS to the server, dials, end-to-end TLS, and HTTP/2 on the connection that the caller picks. The idle
 * part is asked for admission over the channel; the channel's end is the end of everything here. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lib/agent_call_private.h"
#include "lib/channel.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "lib/loop.h"
#include "lib/names.h"
#include "lib/password.h"

_Static_assert((int)BK_AGENT_SERVICES_MAX <= (int)BK_CALL_SERVICES_MAX,
               "the core takes every service");

static void carry_out(struct bk_call_part *p);

/* What carrying out has brought about by itself, and the end of a turn. */
static void finish_turn(struct bk_call_part *p, const struct bk_now *now)
{
    for (size_t i = 0; i < p->n_later && !p->ended; i++) {
        struct bk_call_event next = p->later[i];

        bk_call_input(p->core, now, &next, &p->out);
        carry_out(p);
    }
    p->n_later = 0;
    p->busy = false;
}

/* Hands an event to the core and carries out what it wants. What carrying out brings about by itself
 * (a dial that fails at once, a checked password) waits its turn; such events borrow no bytes. */
static void tell(struct bk_call_part *p, const struct bk_call_event *event)
{
    struct bk_now now = bk_now_sample();

    if (p->core == NULL) {
        return;
    }
    if (p->busy) {
        assert(p->n_later < BK_CALL_LATER_MAX && event->bytes.n == 0);
        p->later[p->n_later++] = *event;
        return;
    }
    p->busy = true;
    if (!p->ended) {
        bk_call_input(p->core, &now, event, &p->out);
        carry_out(p);
    }
    finish_turn(p, &now);
}

void bk_call_part_tell_index(struct bk_call_part *p, enum bk_call_event_type type, size_t index)
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
    tell(p, &event);
}

static void connect_server(struct bk_call_part *p)
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
    if (bk_tls_new_client(&client, &config.tls) != BK_OK) {
        config.tls = NULL;
    } else if (bk_now_sample().unix_s == 0) { /* no clock: the time of an authenticated REGISTER */
        bk_tls_set_time(config.tls, p->started_unix_s);
    }
    if (config.tls == NULL ||
        bk_conn_connect(p->base, &config, &to, 1, NULL, &p->server_conn) != BK_OK) {
        p->server_conn = NULL;
        tell(p, &failed);
    }
    bk_tls_free(config.tls);
}

/* ---- what the core asks for ---- */

static void ask_admission(struct bk_call_part *p, const struct bk_admission_facts *facts)
{
    struct bk_channel_message message = {.type = BK_CHANNEL_ADMIT, .facts = *facts};

    if (bk_channel_send(p->channel, &message) != BK_OK) {
        event_base_loopbreak(p->base);
    }
}

/* Argon2id takes some 10 ms; nobody but this one caller waits for this process. */
static void check_password(struct bk_call_part *p, struct bk_slice password)
{
    enum bk_err err = bk_agent_password_check(p->state_dir, password);
    struct bk_call_event event = {.type = BK_CALL_PASSWORD, .right = err == BK_OK};
    struct bk_channel_message message = {.type = BK_CHANNEL_PASSWORD, .right = event.right};

    if (err != BK_OK && err != BK_E_AUTH) { /* callers are told as little as of a wrong one */
        bk_log(p->log, p->ctx, 0, "%s/password: %s; set it with \"beckon-agent passwd\"",
               p->state_dir, bk_err_text(err));
    }

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

static void end(struct bk_call_part *p, enum bk_call_end reason)
{
    char user[BK_NAME_MAX_BYTES + 1] = "-";

    if (p->ended) {
        return;
    }
    p->ended = true;
    p->reason = reason;
    if (bk_call_user(p->core).n > 0) {
        (void)bk_slice_to_text(bk_call_user(p->core), user, sizeof user);
    }
    bk_log(p->log, p->ctx, 0, "audit call user=%s service=%s result=%s", user,
           p->service[0] == '\0' ? "-" : p->service, end_text(reason));
    for (size_t i = 0; i < BK_CANDIDATES_MAX; i++) {
        bk_call_part_drop(&p->dials[i]);
    }
    if (p->server_conn == NULL) {
        event_base_loopbreak(p->base);
    } else {
        bk_conn_close(p->server_conn); /* what was said is sent first; then on_server_closed */
    }
}

/* Who called for what: the core forgets the request when the call ends. */
static void serve_as(struct bk_call_part *p)
{
    (void)bk_slice_to_text(bk_call_opened(p->core)->service, p->service, sizeof p->service);
    if (!bk_slice_to_text(bk_call_user(p->core), p->serve.caller, sizeof p->serve.caller) ||
        p->serve.caller[0] == '\0') {
        memcpy(p->serve.caller, "caller", sizeof "caller");
    }
}

static void carry_out_one(struct bk_call_part *p, const struct bk_call_action *action)
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
        bk_call_part_dial(p, action->index, &action->addr);
        break;
    case BK_CALL_CLOSE_DIAL:
        bk_call_part_drop(&p->dials[action->index]);
        break;
    case BK_CALL_END:
        end(p, action->reason);
        break;
    }
}

static void carry_out(struct bk_call_part *p)
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
    struct bk_call_part *p = ctx;
    struct bk_now now = bk_now_sample();

    (void)fd;
    (void)what;
    if (!p->ended && p->core != NULL) {
        p->busy = true;
        bk_call_timer(p->core, &now, &p->out);
        carry_out(p);
        finish_turn(p, &now);
    }
}

/* ---- start and end ---- */

static void begin(struct bk_call_part *p, const struct bk_channel_message *hello)
{
    struct bk_call_config config = {.rng = bk_random_system(),
                                    .equipment_id = p->config.equipment_id};
    struct bk_call_event start = {.type = BK_CALL_START};
    struct bk_alloc alloc = bk_alloc_libc();
    enum bk_err err;

    p->server = hello->server;
    p->started_unix_s = hello->unix_s;
    config.box = p->box;
    for (size_t i = 0; i < p->config.n_services; i++) {
        config.services[config.n_services++] = bk_slice_text(p->config.services[i].name);
    }
    bk_call_part_policy(p, &hello->observed, &config.policy);
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
    struct bk_call_part *p = ctx;
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

static enum beckon_status load(struct bk_call_part *p, const char *config_file,
                               struct beckon_error *error)
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
        bk_x509_load(path, &p->cert) != BK_OK ||
        bk_file_path(p->state_dir, "ca.crt", path) != BK_OK ||
        bk_x509_load(path, &p->ca) != BK_OK) {
        return bk_fail(error, BECKON_BAD_CONFIG, "%s cannot be used; join again", path);
    }
    return BECKON_OK;
}

static enum beckon_status open_loop(struct bk_call_part *p, struct beckon_error *error)
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

static void fini(struct bk_call_part *p)
{
    for (size_t i = 0; i < BK_CANDIDATES_MAX; i++) {
        bk_call_part_drop(&p->dials[i]);
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

enum beckon_status beckon_agent_serve_call(int channel, const char *state_dir,
                                           const char *config_file, beckon_log log, void *ctx)
{
    struct bk_call_part *p = calloc(1, sizeof *p);
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
