/* One outgoing call: carries out what core/requester/requester.h asks for. The listener that the device
 * dials stands before the request leaves; the first connection on which the device proves itself becomes
 * the session. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "lib/certs.h"
#include "lib/outgoing_private.h"
#include "lib/outgoing_text.h"

static void carry_out(struct bk_outgoing *c);

void bk_outgoing_fail(struct bk_outgoing *c, enum beckon_status status, const char *text)
{
    if (!c->over) {
        c->over = true;
        c->status = status;
        snprintf(c->text, sizeof c->text, "%s", text);
    }
}

/* The last step of every way in from the loop; `c` may be gone afterwards. */
void bk_outgoing_settle(struct bk_outgoing *c)
{
    if (c->over && !c->busy) {
        c->busy = true; /* told once */
        evtimer_del(c->timer);
        c->on.over(c->on.ctx, c->status, c->text);
    }
}

/* What carrying out has brought about by itself, and the end of a turn. `c` may be gone afterwards. */
static void finish_turn(struct bk_outgoing *c, const struct bk_now *now)
{
    for (size_t i = 0; i < c->n_later && !c->over; i++) {
        struct bk_requester_event next = c->later[i];

        bk_requester_input(c->core, now, &next, &c->out);
        carry_out(c);
    }
    c->n_later = 0;
    bk_wipe(c->password, sizeof c->password);
    c->busy = false;
    bk_outgoing_settle(c);
}

/* Hands an event to the core and carries out what it wants; what that brings about by itself waits its
 * turn. `c` may be gone afterwards. */
void bk_outgoing_tell(struct bk_outgoing *c, const struct bk_requester_event *event)
{
    struct bk_now now = bk_now_sample();

    if (c->busy && c->over) {
        return; /* the end is being told: connections may still say something before they are freed */
    }
    if (c->busy) {
        assert(c->n_later < BK_OUTGOING_LATER_MAX);
        c->later[c->n_later++] = *event;
        return;
    }
    c->busy = true;
    if (!c->over) {
        bk_requester_input(c->core, &now, event, &c->out);
        carry_out(c);
    }
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
    uint64_t us = (bk_now_sample().mono - c->started) / 1000;
    uint64_t *const fields[] = {
        [BK_PHASE_SERVER] = &c->phases.server_us,
        [BK_PHASE_FOUND] = &c->phases.found_us,
        [BK_PHASE_REQUESTED] = &c->phases.requested_us,
        [BK_PHASE_DELIVERED] = &c->phases.delivered_us,
        [BK_PHASE_ACCEPTED] = &c->phases.accepted_us,
        [BK_PHASE_UP] = &c->phases.up_us,
    };

    *fields[which] = us;
    BK_OUTGOING_LOG(c, 1, "%4llu.%llu ms  %s", (unsigned long long)(us / 1000),
                    (unsigned long long)(us / 100 % 10), texts[which]);
}

static void failed(struct bk_outgoing *c, const struct bk_requester_action *action)
{
    struct bk_outgoing_facts facts = {.server = c->client->state.server,
                                      .server_text = c->server_text,
                                      .no_candidate = c->no_candidate,
                                      .state_dir = c->client->state_dir,
                                      .equipment_id = c->equipment_id,
                                      .pin = action->pin,
                                      .expired = action->expired};
    struct beckon_error error;

    bk_outgoing_error(action->failure, &facts, &error);
    bk_outgoing_fail(c, error.status, error.text);
}

static void carry_out_one(struct bk_outgoing *c, const struct bk_requester_action *action)
{
    switch (action->type) {
    case BK_REQUESTER_CONNECT_SERVER:
        bk_outgoing_connect_server(c);
        break;
    case BK_REQUESTER_SEND_SERVER:
        if (c->server != NULL && bk_conn_send(c->server, action->bytes) != BK_OK) {
            BK_OUTGOING_LOG(c, 1, "the server takes no more");
        }
        break;
    case BK_REQUESTER_CLOSE_SERVER:
        if (c->server != NULL) {
            bk_conn_close(c->server);
        }
        break;
    case BK_REQUESTER_GATHER:
        bk_outgoing_gather(c);
        break;
    case BK_REQUESTER_CONFIRM_PIN:
        c->equipment_id = action->equipment_id;
        bk_outgoing_ask_pin(c, action->equipment_id, action->pin);
        break;
    case BK_REQUESTER_NEED_PASSWORD:
        bk_outgoing_ask_password(c, action->key_refused);
        break;
    case BK_REQUESTER_EXPECT:
        c->expecting = true;
        bk_call_name(action->call_id, c->call_name);
        c->equipment_id = action->equipment_id;
        memcpy(c->device_pin, action->pin, sizeof c->device_pin);
        break;
    case BK_REQUESTER_USE_SESSION:
        bk_outgoing_use_session(c, action->session);
        break;
    case BK_REQUESTER_CLOSE_SESSION:
        bk_outgoing_close_session(c, action->session);
        break;
    case BK_REQUESTER_PHASE:
        phase(c, action->phase);
        break;
    case BK_REQUESTER_FAILED:
        failed(c, action);
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
    status = configure(c, device, service, &config, error);
    if (status == BECKON_OK) {
        status = bk_outgoing_listen(c, error);
    }
    if (status == BECKON_OK) {
        c->timer = evtimer_new(client->base, on_timer, c);
        if (c->timer == NULL || bk_requester_new(&alloc, &config, &c->core) != BK_OK) {
            status = bk_fail(error, BECKON_FAILED, "no memory");
        }
    }
    bk_wipe(&config, sizeof config);
    if (status != BECKON_OK) {
        bk_outgoing_free(c);
        return status;
    }
    *out = c;
    event_active(c->timer, EV_TIMEOUT, 0); /* START from the loop: it may fail at once */
    return BECKON_OK;
}

void bk_outgoing_free(struct bk_outgoing *c)
{
    if (c == NULL) {
        return;
    }
    c->busy = true;
    bk_h2_free(c->session);
    bk_outgoing_close_sessions(c);
    bk_candidates_free(c->candidates);
    bk_listener_free(c->listener);
    bk_tls_free(c->listener_tls);
    bk_conn_free(c->server);
    if (c->question != NULL) {
        bk_resolve_cancel(c->question);
    }
    if (c->timer != NULL) {
        event_free(c->timer);
    }
    bk_requester_free(c->core);
    EVP_PKEY_free(c->call_key);
    X509_free(c->call_cert);
    free(c);
}

struct bk_h2 *bk_outgoing_session(const struct bk_outgoing *c)
{
    return c->session;
}

void bk_outgoing_phases(const struct bk_outgoing *c, struct beckon_phases *out)
{
    *out = c->phases;
}
