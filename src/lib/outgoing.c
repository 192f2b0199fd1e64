/* One outgoing call: carries out what core/requester/requester.h asks for. The listener that the device dials stands
 * before the request leaves. The call is over when the core says so, and only then. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "lib/certs.h"
#include "lib/outgoing_private.h"
#include "lib/outgoing_text.h"

static void carry_out(struct bk_outgoing *c);

uint64_t bk_outgoing_us(const struct bk_outgoing *c)
{
    return (bk_now_sample().mono - c->started) / 1000;
}

void bk_outgoing_say(struct bk_outgoing *c, const char *format, ...)
{
    uint64_t us = bk_outgoing_us(c);
    char text[1024];
    va_list args;

    if (c->client->options.log == NULL) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); // NOLINT(clang-analyzer-valist.Uninitialized)
    va_end(args);
    BK_OUTGOING_LOG(c, 1, "%4llu.%llu ms  %s", (unsigned long long)(us / 1000),
                    (unsigned long long)(us / 100 % 10), text);
}

bool bk_outgoing_wants(const struct bk_outgoing *c, enum bk_candidate_kind kind)
{
    return (c->client->kinds & 1U << kind) != 0;
}

void bk_outgoing_fail(struct bk_outgoing *c, enum beckon_status status, const char *text)
{
    if (!c->over) {
        c->over = true;
        c->status = status;
        snprintf(c->text, sizeof c->text, "%s", text);
        c->record->report.ended_us = bk_outgoing_us(c);
        event_active(c->end, EV_TIMEOUT, 0);
    }
}

/* What became of each candidate, at the end of the call. */
static void summarize(struct bk_outgoing *c)
{
    struct beckon_report *report;
    char line[BK_RECORD_LINE_BYTES];

    /* Who interrupts a call before it is anything wants to hear nothing of it. */
    if (c->client->options.log == NULL || (!c->over && !c->up)) {
        return;
    }
    report = calloc(1, sizeof *report);
    if (report == NULL) {
        return;
    }
    bk_record_report(c->record, report);
    for (size_t i = 0; i < report->n_candidates; i++) {
        bk_record_line(&report->candidates[i], line, sizeof line);
        BK_OUTGOING_LOG(c, 1, "summary: %s", line);
    }
    free(report);
}

static void on_end(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_outgoing *c = ctx;

    (void)fd;
    (void)what;
    evtimer_del(c->timer);
    c->on.over(c->on.ctx, c->status, c->text); /* `c` may be gone */
}

/* What carrying out has brought about by itself, and the end of a turn. */
static void finish_turn(struct bk_outgoing *c, const struct bk_now *now)
{
    while (c->n_later > 0 && !c->over) {
        struct bk_requester_event next = c->later[0];

        c->n_later--;
        memmove(c->later, c->later + 1, c->n_later * sizeof c->later[0]);
        bk_requester_input(c->core, now, &next, &c->out);
        carry_out(c);
    }
    c->n_later = 0;
    bk_wipe(c->password, sizeof c->password);
    c->busy = false;
}

void bk_outgoing_tell(struct bk_outgoing *c, const struct bk_requester_event *event)
{
    struct bk_now now = bk_now_sample();

    if (c->over) {
        return;
    }
    if (c->busy) {
        assert(c->n_later < BK_OUTGOING_LATER_MAX);
        c->later[c->n_later++] = *event;
        return;
    }
    c->busy = true;
    bk_requester_input(c->core, &now, event, &c->out);
    carry_out(c);
    finish_turn(c, &now);
}

void bk_outgoing_tell_type(struct bk_outgoing *c, enum bk_requester_event_type type)
{
    struct bk_requester_event event = {.type = type};

    bk_outgoing_tell(c, &event);
}

/* ---- what the core asks for ---- */

static void phase(struct bk_outgoing *c, enum bk_requester_phase which)
{
    static const char *const texts[] = {
        [BK_PHASE_SERVER] = "connected to the server",
        [BK_PHASE_FOUND] = "the device's certificate and key are right",
        [BK_PHASE_REQUESTED] = "the sealed request is out",
        [BK_PHASE_DELIVERED] = "the device has the request",
        [BK_PHASE_ACCEPTED] = "the device accepts us and dials",
        [BK_PHASE_UP] = "the device is connected",
    };
    struct beckon_phases *phases = &c->record->report.phases;
    uint64_t *const fields[] = {
        [BK_PHASE_SERVER] = &phases->server_us,       [BK_PHASE_FOUND] = &phases->found_us,
        [BK_PHASE_REQUESTED] = &phases->requested_us, [BK_PHASE_DELIVERED] = &phases->delivered_us,
        [BK_PHASE_ACCEPTED] = &phases->accepted_us,   [BK_PHASE_UP] = &phases->up_us,
    };

    *fields[which] = bk_outgoing_us(c);
    bk_outgoing_say(c, "%s", texts[which]);
}

static void failed(struct bk_outgoing *c, const struct bk_requester_action *action)
{
    char why[BK_RECORD_WHY_BYTES];
    struct bk_outgoing_facts facts = {.server = c->client->state.servers[c->server_index],
                                      .server_text = c->server_text,
                                      .why = why,
                                      .state_dir = c->client->state_dir,
                                      .equipment_id = c->equipment_id,
                                      .pin = action->pin,
                                      .accepted = c->record->report.phases.accepted_us != 0,
                                      .expired = action->expired,
                                      .untimely = action->untimely};
    struct beckon_error error;

    bk_record_why(c->record, why, sizeof why);
    bk_outgoing_error(action->failure, &facts, &error);
    bk_outgoing_fail(c, error.status, error.text);
}

/* The last session is over. */
static void ended(struct bk_outgoing *c, bool lost)
{
    char line[BECKON_ERROR_TEXT_BYTES];

    if (!lost) {
        bk_outgoing_fail(c, BECKON_OK, "");
        return;
    }
    (void)snprintf(line, sizeof line, "the connection to the device was lost%s%.400s",
                   c->lost[0] != '\0' ? ": " : "", c->lost);
    bk_outgoing_fail(c, BECKON_FAILED, line);
}

static void expect(struct bk_outgoing *c, const struct bk_requester_action *action)
{
    bk_outgoing_drop_early(c); /* of the call ID before */
    c->expecting = true;
    bk_call_name(action->call_id, c->call_name);
    bk_outgoing_name_call(c);
    c->equipment_id = action->equipment_id;
    memcpy(c->device_pin, action->pin, sizeof c->device_pin);
}

static void ask_pin(struct bk_outgoing *c, const struct bk_requester_action *action)
{
    c->equipment_id = action->equipment_id;
    bk_outgoing_ask_pin(c, action->equipment_id, action->pin);
}

static void send_server(struct bk_outgoing *c, struct bk_slice bytes)
{
    if (c->server != NULL && bk_conn_send(c->server, bytes) != BK_OK) {
        bk_outgoing_say(c, "the server takes no more");
    }
}

static void carry_out_one(struct bk_outgoing *c, const struct bk_requester_action *action)
{
    switch (action->type) {
    case BK_REQUESTER_CONNECT_SERVER:
        bk_outgoing_connect_server(c, action->server);
        break;
    case BK_REQUESTER_SEND_SERVER:
        send_server(c, action->bytes);
        break;
    case BK_REQUESTER_CLOSE_SERVER:
        bk_outgoing_close_server(c);
        break;
    case BK_REQUESTER_GATHER:
        bk_outgoing_gather(c);
        break;
    case BK_REQUESTER_GATHER_RELAY:
        bk_outgoing_gather_relay(c, action->info, &action->addr);
        break;
    case BK_REQUESTER_PERMIT:
        bk_outgoing_permit(c, &action->addr);
        break;
    case BK_REQUESTER_DIAL:
        bk_outgoing_dial(c, &action->candidate);
        break;
    case BK_REQUESTER_PUNCH:
        bk_outgoing_punch(c, action);
        break;
    case BK_REQUESTER_STOP_DIALS:
        bk_outgoing_stop_dials(c);
        break;
    case BK_REQUESTER_CONFIRM_PIN:
        ask_pin(c, action);
        break;
    case BK_REQUESTER_NEED_PASSWORD:
        bk_outgoing_ask_password(c, action->key_refused);
        break;
    case BK_REQUESTER_EXPECT:
        expect(c, action);
        break;
    case BK_REQUESTER_USE_SESSION:
        bk_outgoing_use_session(c, action->session);
        break;
    case BK_REQUESTER_CLOSE_SESSION:
        bk_outgoing_close_session(c, action->session);
        break;
    case BK_REQUESTER_RETIRE_SESSION:
        bk_outgoing_retire_session(c, action->session);
        break;
    case BK_REQUESTER_SEND_PATHS:
        bk_outgoing_send_paths(c, action->session, action->bytes);
        break;
    case BK_REQUESTER_MAPPING_PROVEN:
        bk_outgoing_say(c, "the renewed port mapping works");
        break;
    case BK_REQUESTER_MAPPING_DOUBTED:
        bk_outgoing_doubt(c, &action->candidate.addr);
        break;
    case BK_REQUESTER_REMEMBER:
        bk_outgoing_learn(c, action->known);
        break;
    case BK_REQUESTER_PHASE:
        phase(c, action->phase);
        break;
    case BK_REQUESTER_FAILED:
        failed(c, action);
        break;
    case BK_REQUESTER_ENDED:
        ended(c, action->lost);
        break;
    }
}

static void carry_out(struct bk_outgoing *c)
{
    struct bk_now now;

    for (size_t i = 0; i < c->out.n; i++) {
        carry_out_one(c, &c->out.actions[i]);
    }
    now = bk_now_sample();
    bk_timer_follow(c->timer, &now, bk_requester_deadline(c->core));
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_outgoing *c = ctx;
    struct bk_now now = bk_now_sample();

    (void)fd;
    (void)what;
    if (c->over) {
        return;
    }
    if (!c->begun) {
        c->begun = true;
        bk_outgoing_tell_type(c, BK_REQUESTER_START);
        return;
    }
    c->busy = true;
    bk_requester_timer(c->core, &now, &c->out);
    carry_out(c);
    finish_turn(c, &now);
}

/* ---- beginning and end ---- */

/* The device as given on a command line, and its pin if we have one. A name that was used before stands for
 * the ID that it stood for then, whatever the server would say now. */
static enum beckon_status name_device(struct bk_outgoing *c, const char *device,
                                      struct bk_requester_config *config,
                                      struct beckon_error *error)
{
    struct bk_slice text = bk_slice_text(device);
    const char *dir = c->client->state_dir;
    enum beckon_status status;

    if (bk_equipment_id_parse(text, &config->equipment_id) != BK_OK) {
        config->equipment_id = 0;
        if (!bk_name_valid(text) ||
            !bk_slice_to_text(text, config->device_name, sizeof config->device_name)) {
            return bk_fail(error, BECKON_USAGE, "\"%.80s\" is neither an equipment ID nor a name",
                           device);
        }
        status = bk_known_name(dir, device, &config->equipment_id, error);
        if (status != BECKON_OK || config->equipment_id == 0) {
            memcpy(c->name, config->device_name, sizeof c->name);
            return status;
        }
    }
    c->equipment_id = config->equipment_id;
    return bk_known_find(dir, config->equipment_id, &config->have_pin, config->pin, error);
}

/* The device and the service, and fresh keys for this call. */
static enum beckon_status configure(struct bk_outgoing *c, const char *device, const char *service,
                                    struct bk_requester_config *config, struct beckon_error *error)
{
    struct bk_now now = bk_now_sample();
    uint8_t raw[BK_X509_KEY_BYTES];
    enum beckon_status status = name_device(c, device, config, error);

    config->rng = bk_random_system();
    config->certs = bk_certs_of(c->client->state.own.ca);
    if (status != BECKON_OK) {
        return status;
    }
    if (service[0] != '\0' &&
        (!bk_name_valid(bk_slice_text(service)) ||
         !bk_slice_to_text(bk_slice_text(service), config->service, sizeof config->service))) {
        return bk_fail(error, BECKON_USAGE, "\"%.80s\" is no service name", service);
    }
    memcpy(c->service, config->service, sizeof c->service);
    bk_outgoing_load_known(c, &config->known);
    if (bk_x509_key_make(&c->call_key) != BK_OK ||
        bk_x509_make_call(c->call_key, now.unix_s, &c->call_cert) != BK_OK ||
        bk_x509_key_raw(c->call_key, raw) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no key could be made for the call");
    }
    bk_pin_of_key(raw, config->call_key);
    if (c->client->state.caller != NULL && !c->client->options.password_first) {
        if (bk_x509_key_seed(c->client->state.caller, config->key_seed) != BK_OK) {
            return bk_fail(error, BECKON_BAD_CONFIG, "caller.key holds no private key");
        }
        config->have_key = true;
    }
    return BECKON_OK;
}

enum beckon_status bk_outgoing_new(struct beckon_client *client, const char *device,
                                   const char *service, const struct bk_outgoing_callbacks *on,
                                   struct bk_outgoing **out, struct beckon_error *error)
{
    struct bk_requester_config config = {0};
    struct bk_alloc alloc = bk_alloc_libc();
    struct bk_outgoing *c;
    enum beckon_status status;

    *out = NULL;
    status = bk_client_renew(client, error);
    if (status != BECKON_OK) {
        return status;
    }
    c = calloc(1, sizeof *c);
    if (c == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    c->client = client;
    c->on = *on;
    c->started = bk_now_sample().mono;
    c->record = &client->record;
    *c->record = (struct bk_record){0};
    config.n_servers = client->state.n_servers;
    status = configure(c, device, service, &config, error);
    if (status == BECKON_OK) {
        status = bk_outgoing_ready_early(c, error);
    }
    if (status == BECKON_OK) {
        status = bk_outgoing_listen(c, error);
    }
    if (status == BECKON_OK) {
        c->own_port = client->advertise.port != 0 ||
                      !bk_outgoing_wants(c, BK_CANDIDATE_REFLEXIVE) ||
                      bk_addr_scope(&c->listening) == BK_SCOPE_LOOPBACK;
        config.no_reflexive = c->own_port;
        c->timer = evtimer_new(client->base, on_timer, c);
        c->end = evtimer_new(client->base, on_end, c);
        if (c->timer == NULL || c->end == NULL ||
            bk_requester_new(&alloc, &config, &c->core) != BK_OK) {
            status = bk_fail(error, BECKON_FAILED, "no memory");
        }
    }
    bk_wipe(&config, sizeof config);
    if (status != BECKON_OK) {
        bk_outgoing_free(c);
        return status;
    }
    *out = c;
    bk_outgoing_watch(c);
    event_active(c->timer, EV_TIMEOUT, 0); /* START from the loop: it may fail at once */
    return BECKON_OK;
}

void bk_outgoing_free(struct bk_outgoing *c)
{
    if (c == NULL) {
        return;
    }
    if (c->core != NULL) {
        summarize(c);
    }
    bk_outgoing_settle_known(c);
    c->over = true; /* whatever says something while it is freed finds no core any more */
    bk_outgoing_drop_early(c);
    bk_outgoing_free_watch(c);
    bk_outgoing_free_sessions(c);
    bk_outgoing_free_dials(c);
    bk_outgoing_free_server(c);
    bk_listener_free(c->listener);
    bk_outgoing_free_gathered(c);
    bk_tls_free(c->call_tls);
    if (c->timer != NULL) {
        event_free(c->timer);
    }
    if (c->end != NULL) {
        event_free(c->end);
    }
    if (c->early_lost != NULL) {
        event_free(c->early_lost);
    }
    if (c->settle != NULL) {
        event_free(c->settle);
    }
    bk_requester_free(c->core);
    EVP_PKEY_free(c->call_key);
    X509_free(c->call_cert);
    bk_wipe(c->relay.password, sizeof c->relay.password);
    free(c);
}
