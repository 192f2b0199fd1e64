/* The call part of the agent: one process, one call. Carries out what core/agent/call.h asks for:
 * TLS to the server, dials and what comes in, end-to-end TLS, and HTTP/2 on the connections that the caller uses. The
 * idle part is asked over the channel; the channel's end is the end of everything here. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lib/agent_call_private.h"
#include "lib/agent_state.h"
#include "lib/fail.h"
#include "lib/loop.h"
#include "net/sandbox.h"

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

/* What carrying out brings about by itself: a dial that fails at once, a checked password. It waits its turn. */
void bk_call_part_tell(struct bk_call_part *p, const struct bk_call_event *event)
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

    bk_call_part_tell(p, &event);
}

uint64_t bk_call_part_unix_s(void *ctx)
{
    const struct bk_call_part *p = ctx;
    struct bk_now now = bk_now_sample();
    uint64_t told_s =
        p->told_unix_s == 0 ? 0 : p->told_unix_s + (now.mono - p->told_at) / BK_SECOND;

    return now.unix_s > told_s ? now.unix_s : told_s;
}

/* ---- what the core asks for ---- */

static const char *end_text(enum bk_call_end reason, enum bk_call_cut cut)
{
    switch (reason) {
    case BK_CALL_END_SERVED:
        return cut == BK_CALL_REVOKED ? "revoked" : cut == BK_CALL_EXPIRED ? "expired" : "served";
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

static const char *or_dash(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

/* The core forgets it when the call ends. */
static void learn_user(struct bk_call_part *p)
{
    if (bk_call_user(p->core).n > 0) {
        (void)bk_slice_to_text(bk_call_user(p->core), p->user, sizeof p->user);
    }
}

static const char *path_text(enum bk_candidate_kind path)
{
    switch (path) {
    case BK_CANDIDATE_HOST:
        return " path=host";
    case BK_CANDIDATE_MAPPED:
        return " path=mapped";
    case BK_CANDIDATE_REFLEXIVE:
        return " path=punched";
    case BK_CANDIDATE_RELAYED:
        return " path=relayed";
    }
    return ""; /* none was picked */
}

static void end(struct bk_call_part *p, enum bk_call_end reason)
{
    if (p->ended) {
        return;
    }
    p->ended = true;
    p->reason = reason;
    learn_user(p);
    bk_serve_tell_left_out(&p->serve);
    bk_log(p->log, p->ctx, 0, "audit call user=%s by=%s service=%s result=%s%s", or_dash(p->user),
           or_dash(p->serve.access.label), or_dash(p->service), end_text(reason, p->cut),
           path_text(p->path));
    bk_call_part_unguard(p);
    bk_call_part_learned(p);
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        bk_call_part_drop(&p->ways[i]);
    }
    if (p->server_conn == NULL) {
        event_base_loopbreak(p->base);
    } else {
        bk_conn_close(p->server_conn); /* what was said is sent first; then on_server_closed */
    }
}

/* Who called for what: once the call is accepted, dialled or not. */
static void serve_as(struct bk_call_part *p)
{
    static const char nobody[] = "caller";

    (void)bk_slice_to_text(bk_call_opened(p->core)->service, p->service, sizeof p->service);
    learn_user(p);
    memcpy(p->serve.caller, p->user, sizeof p->user);
    if (p->user[0] == '\0') {
        memcpy(p->serve.caller, nobody, sizeof nobody);
    }
}

static void carry_out_one(struct bk_call_part *p, const struct bk_call_action *action)
{
    switch (action->type) {
    case BK_CALL_CONNECT_SERVER:
        bk_call_part_connect_server(p, action->result);
        break;
    case BK_CALL_SEND_SERVER:
        if (p->server_conn != NULL && bk_conn_send(p->server_conn, action->bytes) != BK_OK) {
            bk_log(p->log, p->ctx, 1, "the server takes no more");
        }
        break;
    case BK_CALL_CLOSE_SERVER:
        bk_call_part_close_server(p, action->abort);
        break;
    case BK_CALL_ASK_ADMISSION:
        bk_call_part_ask_admission(p, &action->facts);
        break;
    case BK_CALL_CHECK_CALLER:
        bk_call_part_check_caller(p, action);
        break;
    case BK_CALL_ASK_DIALS:
        bk_call_part_ask_dials(p, action->dials);
        break;
    case BK_CALL_DIAL:
        bk_call_part_dial(p, action->index, &action->addr);
        break;
    case BK_CALL_PUNCH:
        bk_call_part_punch(p, action);
        break;
    case BK_CALL_LISTEN:
        bk_call_part_listen(p);
        break;
    case BK_CALL_CLOSE_LINK:
        bk_call_part_drop(&p->ways[action->index]);
        break;
    case BK_CALL_MAP:
        bk_call_part_map(p);
        break;
    case BK_CALL_LEARN:
        bk_call_part_learn(p, action->move);
        break;
    case BK_CALL_SEND_RESULT:
        bk_call_part_send_result(p, action);
        break;
    case BK_CALL_SEND_PATHS:
        bk_call_part_send_paths(p, action->index, action->bytes);
        break;
    case BK_CALL_PING:
        bk_call_part_ping(p);
        break;
    case BK_CALL_END:
        end(p, action->reason);
        break;
    }
}

static void carry_out(struct bk_call_part *p)
{
    if (p->serve.caller[0] == '\0' && bk_call_opened(p->core) != NULL) {
        serve_as(p);
    }
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

static enum bk_err own_pin(const struct bk_call_part *p, uint8_t pin[BK_PIN_BYTES])
{
    uint8_t raw[BK_X509_KEY_BYTES];
    enum bk_err err = bk_x509_key_raw(p->own.key, raw);

    if (err == BK_OK) {
        bk_pin_of_key(raw, pin);
    }
    return err;
}

/* Every pair that a caller may have been given: lib/box_keys.h. */
static void take_boxes(struct bk_call_part *p, struct bk_call_config *config)
{
    uint64_t host_s = bk_now_sample().unix_s; /* the change was noted by that, if there is one */

    config->box[config->n_boxes++] = p->box.current;
    if (p->box.has_next) {
        config->box[config->n_boxes++] = p->box.next;
    }
    if (p->box.has_previous &&
        !bk_box_keys_outdated(&p->box, host_s != 0 ? host_s : bk_call_part_unix_s(p))) {
        config->box[config->n_boxes++] = p->box.previous;
    }
}

/* The core of this call, from what the idle part and the files say; the box keys go with it. */
static enum bk_err new_core(struct bk_call_part *p)
{
    struct bk_call_config *config = calloc(1, sizeof *config);
    struct bk_alloc alloc = bk_alloc_libc();
    enum bk_err err;

    if (config == NULL) {
        return BK_E_NOMEM;
    }
    config->rng = bk_random_system();
    config->equipment_id = p->config.equipment_id;
    err = own_pin(p, config->device_pin);
    take_boxes(p, config);
    for (size_t i = 0; i < p->config.n_services; i++) {
        config->services[config->n_services++] = bk_slice_text(p->config.services[i].name);
    }
    bk_call_part_policy(p, &config->policy);
    config->no_port = p->port_fd < 0;
    if (err == BK_OK) {
        err = bk_call_new(&alloc, config, &p->core);
    }
    bk_wipe(config, sizeof *config);
    free(config);
    bk_wipe(&p->box, sizeof p->box);
    return err;
}

static void begin(struct bk_call_part *p, const struct bk_channel_message *hello)
{
    struct bk_connect request = {.equipment_id = p->config.equipment_id,
                                 .box = bk_slice(hello->box, hello->box_n),
                                 .user = bk_slice_text(hello->user)};
    struct bk_call_event start = {.type = BK_CALL_START};
    enum bk_err err;

    if (hello->server_index >= p->config.n_servers) { /* agent.conf has changed since */
        event_base_loopbreak(p->base);
        return;
    }
    /* From here on "the server" is the one that called. */
    memcpy(p->config.server, p->config.servers[hello->server_index], sizeof p->config.server);
    p->server = hello->servers[0];
    p->n_servers = hello->n_servers;
    memcpy(p->servers, hello->servers, sizeof p->servers);
    p->agent_port = hello->agent_port != 0 ? hello->agent_port : p->config.server_agent_port;
    p->told_unix_s = hello->unix_s;
    p->told_at = bk_now_sample().mono;
    p->observed = hello->observed;
    bk_call_part_take_port(p);
    err = new_core(p);
    if (err != BK_OK) {
        bk_log(p->log, p->ctx, 0, "a call cannot be taken: %s", bk_err_text(err));
        event_base_loopbreak(p->base);
        return;
    }
    bk_call_part_tell_hosts(p);
    bk_call_part_watch_host(p);
    if (hello->fast) {
        memcpy(request.call_id, hello->call_id, sizeof request.call_id);
        start.request = &request;
    }
    bk_call_part_tell(p, &start);
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
    } else if (err != BK_OK || p->core == NULL || !bk_call_part_answered(p, &message)) {
        event_base_loopbreak(p->base);
    }
}

static enum beckon_status load(struct bk_call_part *p, const char *config_file,
                               struct beckon_error *error)
{
    char path[BK_PATH_BYTES];
    enum beckon_status status = bk_agent_config_read(p->state_dir, config_file, &p->config, error);

    if (status == BECKON_OK) {
        status = bk_box_keys_read(p->state_dir, &p->box, error);
        if (status == BECKON_BAD_CONFIG || status == BECKON_NOT_JOINED) {
            status = BECKON_KEY_CHANGED; /* to the idle part it is all one: nothing can be opened */
        }
    }
    if (status == BECKON_OK &&
        bk_credentials_load(p->state_dir, "device", &p->own, path) != BK_OK) {
        status = bk_fail(error, BECKON_BAD_CONFIG, "%s cannot be used; " BK_JOIN_ANEW, path);
    }
    return status;
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
                                 .unix_s = bk_call_part_unix_s,
                                 .time_ctx = p,
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
    bk_call_part_unguard(p);
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        bk_call_part_drop(&p->ways[i]);
    }
    bk_serve_drop_prepared(&p->serve);
    bk_call_part_learned(p);
    bk_call_part_give_back(p);
    bk_tls_free(p->call_tls);
    if (p->pongs != NULL) {
        event_free(p->pongs);
    }
    if (p->pulse != NULL) {
        event_free(p->pulse);
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
    bk_sessions_close(p->sessions);
    bk_credentials_fini(&p->own);
    bk_wipe(&p->box, sizeof p->box);
}

/* Nobody has been heard yet. What openssl.cnf may name is loaded before. */
static void confine(const struct bk_call_part *p)
{
    char why[BK_SANDBOX_WHY_BYTES];

    OPENSSL_init_ssl(0, NULL);
    if (bk_sandbox_agent_call(why, sizeof why) != BK_OK) {
        bk_log(p->log, p->ctx, 0, "%s", why);
    }
}

/* For the idle part, which renews the box key if none of ours opens what callers send. */
static enum beckon_status status_of_end(const struct bk_call_part *p)
{
    if (!p->ended) {
        return BECKON_FAILED;
    }
    return p->reason == BK_CALL_END_SERVED        ? BECKON_OK
           : p->reason == BK_CALL_END_BAD_REQUEST ? BECKON_KEY_CHANGED
                                                  : BECKON_FAILED;
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
    p->port_fd = -1;
    (void)signal(SIGPIPE, SIG_IGN); /* services may be pipes' ends; this process is ours alone */
    status = load(p, config_file, &error);
    if (status == BECKON_OK) {
        status = open_loop(p, &error);
    }
    if (status == BECKON_OK) {
        p->sessions = bk_sessions_open(p->state_dir);
        confine(p);
        event_base_dispatch(p->base);
        status = status_of_end(p);
    } else {
        bk_log(log, ctx, 0, "%s", error.text);
    }
    fini(p);
    free(p);
    return status;
}
