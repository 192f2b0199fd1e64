/* One outgoing call: carries out what core/requester/requester.h asks for. The listener that the device
 * dials stands before the request leaves; the first connection on which the device proves itself becomes
 * the session. */
#include <assert.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "lib/certs.h"
#include "lib/client.h"
#include "lib/fail.h"
#include "lib/names.h"
#include "lib/outgoing_text.h"
#include "net/listener.h"

enum {
    LATER_MAX = 8,
    SESSIONS_MAX = BK_CANDIDATES_MAX,
    CALL_CONNECTIONS_MAX = 32, /* taken on the callback address at one time, handshakes included */
};

/* A connection on which the device proved itself; the core has not chosen yet. */
struct waiting {
    uint64_t id;
    SSL *ssl;
    struct bk_addr from;
};

struct bk_outgoing {
    struct beckon_client *client;
    struct bk_outgoing_callbacks on;
    struct bk_requester *core;
    struct event *timer;
    bk_time started;
    struct beckon_phases phases;
    struct bk_resolve *question;
    struct bk_conn *server;
    EVP_PKEY *call_key;
    X509 *call_cert;
    uint8_t call_id[BK_CALL_ID_BYTES];
    char call_name[BK_CALL_NAME_BYTES];
    struct bk_listener *listener;
    struct bk_tls *listener_tls;
    struct bk_addr listening;
    struct bk_candidates *candidates;
    char no_candidate[256];     /* why there is none */
    char server_text[BK_TLS_TEXT_BYTES + 64]; /* why the server could not be asked */
    bool expecting;             /* EXPECT was asked for: `device_pin` may come in */
    uint8_t device_pin[BK_PIN_BYTES];
    uint64_t equipment_id;
    uint64_t last_session;
    struct waiting waiting[SESSIONS_MAX];
    struct bk_h2 *session;
    bool busy;                  /* `out` is being carried out */
    size_t n_later;
    struct bk_requester_event later[LATER_MAX];
    char password[BK_PASSWORD_MAX_BYTES]; /* from the user's answer until the core has taken it */
    bool over;                  /* nothing more goes to the core; `status` and `text` are to be told */
    enum beckon_status status;
    char text[BECKON_ERROR_TEXT_BYTES];
    struct bk_requester_out out;
};

static void carry_out(struct bk_outgoing *c);

#define LOG(call, level, ...)                                                                          \
    bk_log((call)->client->options.log, (call)->client->options.ctx, level, __VA_ARGS__)

static void fail(struct bk_outgoing *c, enum beckon_status status, const char *text)
{
    if (!c->over) {
        c->over = true;
        c->status = status;
        snprintf(c->text, sizeof c->text, "%s", text);
    }
}

/* The last step of every way in from the loop; `c` may be gone afterwards. */
static void settle(struct bk_outgoing *c)
{
    if (c->over && !c->busy) {
        c->busy = true; /* told once */
        evtimer_del(c->timer);
        c->on.over(c->on.ctx, c->status, c->text);
    }
}

/* Hands an event to the core and carries out what it wants; what that brings about by itself waits its
 * turn. `c` may be gone afterwards. */
static void tell(struct bk_outgoing *c, const struct bk_requester_event *event)
{
    struct bk_now now = bk_now_sample();

    if (c->busy) {
        assert(c->n_later < LATER_MAX);
        c->later[c->n_later++] = *event;
        return;
    }
    c->busy = true;
    if (!c->over) {
        bk_requester_input(c->core, &now, event, &c->out);
        carry_out(c);
    }
    for (size_t i = 0; i < c->n_later && !c->over; i++) {
        struct bk_requester_event next = c->later[i];

        bk_requester_input(c->core, &now, &next, &c->out);
        carry_out(c);
    }
    c->n_later = 0;
    bk_wipe(c->password, sizeof c->password);
    c->busy = false;
    settle(c);
}

static void tell_type(struct bk_outgoing *c, enum bk_requester_event_type type)
{
    struct bk_requester_event event = {.type = type};

    tell(c, &event);
}

/* ---- the server ---- */

static void on_server_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    (void)conn;
    (void)peer;
    tell_type(ctx, BK_REQUESTER_SERVER_OPEN);
}

static void on_server_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct bk_requester_event event = {.type = BK_REQUESTER_SERVER_MESSAGE, .bytes = frame};

    (void)conn;
    tell(ctx, &event);
}

static void server_gone(struct bk_outgoing *c, const char *why)
{
    snprintf(c->server_text, sizeof c->server_text, "%s", why);
    tell_type(c, BK_REQUESTER_SERVER_CLOSED);
}

static void on_server_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_outgoing *c = ctx;

    bk_conn_free(conn);
    c->server = NULL;
    if (why->end == BK_CONN_ENDED_BY_US) {
        return;
    }
    if (why->end == BK_CONN_TLS && why->tls == BK_TLS_REFUSED_BY_PEER) {
        fail(c, BECKON_REVOKED,
             "the server does not accept our certificate: it was revoked or replaced; join again");
        settle(c);
        return;
    }
    server_gone(c, why->text);
}

static void on_server_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                               const char *text)
{
    struct bk_outgoing *c = ctx;
    const struct bk_client_state *state = &c->client->state;
    struct bk_tls_client client = {.cert = state->cert,
                                   .key = state->key,
                                   .ca = state->ca,
                                   .host = state->server,
                                   .peer_uri = "beckon:server",
                                   .alpn = BK_ALPN_REQUEST};
    struct bk_conn_config config = {
        .frame = bk_stun_frame,
        .on = {.ctx = c,
               .open = on_server_open,
               .message = on_server_message,
               .closed = on_server_closed},
        .limits = {.open_ms = BK_REQUESTER_SERVER_MS, .frame_max_bytes = BK_STUN_STREAM_MAX_BYTES},
    };

    c->question = NULL;
    if (err != BK_OK) {
        server_gone(c, text);
        return;
    }
    if (bk_tls_new_client(&client, &config.tls) != BK_OK ||
        bk_conn_connect(c->client->base, &config, addrs, n, NULL, &c->server) != BK_OK) {
        c->server = NULL;
        server_gone(c, "no memory for a connection");
    }
    bk_tls_free(config.tls);
}

static void connect_server(struct bk_outgoing *c)
{
    const struct bk_client_state *state = &c->client->state;

    if (bk_resolve_start(c->client->resolver, state->server, state->port, on_server_resolved, c,
                         &c->question) != BK_OK) {
        c->question = NULL;
        server_gone(c, "its name cannot be looked up");
    }
}

/* ---- where the device dials ---- */

static bool choose(void *ctx, const char *server_name, struct bk_tls_call *out)
{
    struct bk_outgoing *c = ctx;

    if (!c->expecting || c->session != NULL || strcmp(server_name, c->call_name) != 0) {
        return false;
    }
    out->cert = c->call_cert;
    out->key = c->call_key;
    memcpy(out->peer_pin, c->device_pin, sizeof out->peer_pin);
    return true;
}

static void on_dialled(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_outgoing *c = ctx;
    struct bk_requester_event event = {.type = BK_REQUESTER_SESSION_UP};

    (void)peer;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct waiting *w = &c->waiting[i];

        if (w->ssl == NULL) {
            *w = (struct waiting){.id = ++c->last_session, .from = bk_conn_remote(conn)};
            w->ssl = bk_conn_take_ssl(conn);
            event.session = w->id;
            tell(c, &event);
            return;
        }
    }
    bk_conn_free(conn);
}

static void on_dialled_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    (void)ctx;
    (void)why;
    bk_conn_free(conn);
}

static void on_refused(void *ctx, const struct bk_addr *from, const struct bk_conn_closed *why)
{
    struct bk_outgoing *c = ctx;
    char text[BK_ADDR_TEXT_BYTES];

    bk_addr_format(from, text);
    LOG(c, 1, "a connection from %s is not the device: %s", text, why->text);
}

static void on_candidates(void *ctx, const struct bk_candidate *list, size_t n, const char *text)
{
    struct bk_outgoing *c = ctx;
    struct bk_requester_event event = {
        .type = BK_REQUESTER_CANDIDATES, .candidates = list, .n_candidates = n};
    char line[80];

    for (size_t i = 0; i < n; i++) {
        bk_candidate_format(&list[i], line, sizeof line);
        LOG(c, 1, "candidate: %s", line);
    }
    snprintf(c->no_candidate, sizeof c->no_candidate, "%s", text);
    tell(c, &event);
}

static enum beckon_status listen_for_device(struct bk_outgoing *c, struct beckon_error *error)
{
    struct bk_listener_config config = {
        .conn = {.on = {.ctx = c, .open = on_dialled, .closed = on_dialled_closed}},
        .refused = on_refused,
        .max_total = CALL_CONNECTIONS_MAX,
        .max_handshakes = CALL_CONNECTIONS_MAX,
        .max_per_address = CALL_CONNECTIONS_MAX,
    };
    char text[BK_ADDR_TEXT_BYTES];

    if (bk_tls_new_call_server(BK_ALPN_CALL, choose, c, &c->listener_tls) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory for the callback listener");
    }
    config.conn.tls = c->listener_tls;
    if (bk_listener_new(c->client->base, &config, &c->listener) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory for the callback listener");
    }
    if (bk_listener_add(c->listener, &c->client->listen, &c->listening) != BK_OK) {
        bk_addr_format(&c->client->listen, text);
        return bk_fail(error, BECKON_FAILED, "cannot listen on %s; give another --listen", text);
    }
    return BECKON_OK;
}

/* ---- sessions ---- */

static void close_ssl(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    if (fd >= 0) {
        close(fd);
    }
}

static struct waiting *waiting_find(struct bk_outgoing *c, uint64_t id)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (c->waiting[i].ssl != NULL && c->waiting[i].id == id) {
            return &c->waiting[i];
        }
    }
    return NULL;
}

static void on_session_answered(void *ctx, struct bk_h2_stream *s, int status)
{
    struct bk_outgoing *c = ctx;

    if (c->on.answered != NULL) {
        c->on.answered(c->on.ctx, s, status);
    }
}

static void on_session_finished(void *ctx, struct bk_h2_stream *s,
                                const struct bk_h2_outcome *outcome)
{
    struct bk_outgoing *c = ctx;

    if (c->on.finished != NULL) {
        c->on.finished(c->on.ctx, s, outcome);
    }
}

static void on_session_pong(void *ctx, bk_time round_trip)
{
    struct bk_outgoing *c = ctx;

    if (c->on.pong != NULL) {
        c->on.pong(c->on.ctx, round_trip);
    }
}

static void on_session_ended(void *ctx, enum bk_err why, const char *text)
{
    struct bk_outgoing *c = ctx;

    bk_h2_free(c->session);
    c->session = NULL;
    if (why == BK_OK) {
        fail(c, BECKON_OK, "");
    } else {
        char line[BECKON_ERROR_TEXT_BYTES];

        snprintf(line, sizeof line, "the connection to the device was lost: %s", text);
        fail(c, BECKON_FAILED, line);
    }
    settle(c);
}

static void use_session(struct bk_outgoing *c, uint64_t id)
{
    struct waiting *w = waiting_find(c, id);
    struct bk_h2_config config = {
        .on = {.answered = on_session_answered,
               .finished = on_session_finished,
               .pong = on_session_pong,
               .ended = on_session_ended},
        .ctx = c,
    };
    SSL *ssl;

    assert(w != NULL);
    ssl = w->ssl;
    w->ssl = NULL;
    if (bk_h2_new(c->client->base, ssl, &config, &c->session) != BK_OK) {
        c->session = NULL;
        fail(c, BECKON_FAILED, "no memory for the session");
        return;
    }
    bk_addr_format(&w->from, c->phases.path);
    LOG(c, 1, "the session with the device stands; it dialled from %s", c->phases.path);
    c->on.up(c->on.ctx, c->session);
}

static void close_session(struct bk_outgoing *c, uint64_t id)
{
    struct waiting *w = waiting_find(c, id);

    if (w != NULL) {
        close_ssl(w->ssl);
        w->ssl = NULL;
    }
}

/* ---- questions to the user ---- */

static void ask_pin(struct bk_outgoing *c, uint64_t equipment_id, const uint8_t pin[BK_PIN_BYTES])
{
    const struct beckon_client_options *options = &c->client->options;
    char text[BK_PIN_TEXT_BYTES], device[21];
    uint8_t known[BK_PIN_BYTES];
    struct beckon_error error;
    bool found;

    bk_pin_format(pin, text);
    bk_number_format(equipment_id, device);
    if (bk_known_find(c->client->state_dir, equipment_id, &found, known, &error) != BECKON_OK) {
        fail(c, error.status, error.text);
    } else if (found && memcmp(known, pin, BK_PIN_BYTES) != 0) { /* called by name: only now we know */
        (void)bk_key_changed(c->client->state_dir, equipment_id, &error);
        fail(c, error.status, error.text);
    } else if (found) {
        tell_type(c, BK_REQUESTER_PIN_ACCEPTED);
    } else if (!options->accept_new &&
               (options->confirm == NULL || options->confirm(options->ctx, device, text) == 0)) {
        tell_type(c, BK_REQUESTER_PIN_REFUSED);
    } else if (bk_known_add(c->client->state_dir, equipment_id, pin, &error) != BECKON_OK) {
        fail(c, error.status, error.text);
    } else {
        LOG(c, 1, "pinned device %s with key %s", device, text);
        tell_type(c, BK_REQUESTER_PIN_ACCEPTED);
    }
}

static void ask_password(struct bk_outgoing *c)
{
    const struct beckon_client_options *options = &c->client->options;
    struct bk_requester_event event = {.type = BK_REQUESTER_PASSWORD};
    char device[21];
    int n;

    bk_number_format(c->equipment_id, device);
    n = options->password == NULL
            ? -1
            : options->password(options->ctx, device, c->password, sizeof c->password);
    if (n < 0 || (size_t)n > sizeof c->password) {
        fail(c, BECKON_REFUSED, "a password is needed; give --password-file or BECKON_PASSWORD");
        return;
    }
    event.bytes = bk_slice(c->password, (size_t)n);
    tell(c, &event);
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
        [BK_PHASE_SERVER] = &c->phases.server_us,       [BK_PHASE_FOUND] = &c->phases.found_us,
        [BK_PHASE_REQUESTED] = &c->phases.requested_us, [BK_PHASE_DELIVERED] = &c->phases.delivered_us,
        [BK_PHASE_ACCEPTED] = &c->phases.accepted_us,   [BK_PHASE_UP] = &c->phases.up_us,
    };

    *fields[which] = us;
    LOG(c, 1, "%4llu.%llu ms  %s", (unsigned long long)(us / 1000),
        (unsigned long long)(us / 100 % 10), texts[which]);
}

static void gather(struct bk_outgoing *c)
{
    const struct bk_addr *advertise =
        c->client->advertise.port != 0 ? &c->client->advertise : NULL;

    if (bk_candidates_new(c->client->base, c->listening.port, advertise, on_candidates, c,
                          &c->candidates) != BK_OK) {
        c->candidates = NULL;
        fail(c, BECKON_FAILED, "no memory or threads for finding a callback address");
    }
}

static void failed(struct bk_outgoing *c, enum bk_requester_failure failure,
                   const uint8_t pin[BK_PIN_BYTES])
{
    struct bk_outgoing_facts facts = {.server = c->client->state.server,
                                      .server_text = c->server_text,
                                      .no_candidate = c->no_candidate,
                                      .state_dir = c->client->state_dir,
                                      .equipment_id = c->equipment_id,
                                      .pin = pin};
    struct beckon_error error;

    bk_outgoing_error(failure, &facts, &error);
    fail(c, error.status, error.text);
}

static void carry_out_one(struct bk_outgoing *c, const struct bk_requester_action *action)
{
    switch (action->type) {
    case BK_REQUESTER_CONNECT_SERVER:
        connect_server(c);
        break;
    case BK_REQUESTER_SEND_SERVER:
        if (c->server != NULL && bk_conn_send(c->server, action->bytes) != BK_OK) {
            LOG(c, 1, "the server takes no more");
        }
        break;
    case BK_REQUESTER_CLOSE_SERVER:
        if (c->server != NULL) {
            bk_conn_close(c->server);
        }
        break;
    case BK_REQUESTER_GATHER:
        gather(c);
        break;
    case BK_REQUESTER_CONFIRM_PIN:
        c->equipment_id = action->equipment_id;
        ask_pin(c, action->equipment_id, action->pin);
        break;
    case BK_REQUESTER_NEED_PASSWORD:
        ask_password(c);
        break;
    case BK_REQUESTER_EXPECT:
        c->expecting = true;
        c->equipment_id = action->equipment_id;
        memcpy(c->device_pin, action->pin, sizeof c->device_pin);
        break;
    case BK_REQUESTER_USE_SESSION:
        use_session(c, action->session);
        break;
    case BK_REQUESTER_CLOSE_SESSION:
        close_session(c, action->session);
        break;
    case BK_REQUESTER_PHASE:
        phase(c, action->phase);
        break;
    case BK_REQUESTER_FAILED:
        failed(c, action->failure, action->pin);
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
    c->busy = true;
    bk_requester_timer(c->core, &now, &c->out);
    carry_out(c);
    c->busy = false;
    settle(c);
}

/* ---- beginning and end ---- */

/* The device as given on a command line, its pin if we have one, and fresh keys for this call. */
static enum beckon_status configure(struct bk_outgoing *c, const char *device, const char *service,
                                    struct bk_requester_config *config, struct beckon_error *error)
{
    struct bk_slice text = bk_slice_text(device);
    struct bk_now now = bk_now_sample();
    uint8_t raw[BK_X509_KEY_BYTES];
    enum beckon_status status = BECKON_OK;

    config->rng = bk_random_system();
    config->certs = bk_certs_of(c->client->state.ca);
    if (bk_equipment_id_parse(text, &config->equipment_id) == BK_OK) {
        c->equipment_id = config->equipment_id;
        status = bk_known_find(c->client->state_dir, config->equipment_id, &config->have_pin,
                               config->pin, error);
    } else {
        config->equipment_id = 0;
        if (!bk_name_valid(text) ||
            !bk_slice_to_text(text, config->device_name, sizeof config->device_name)) {
            status = bk_fail(error, BECKON_USAGE, "\"%.80s\" is neither an equipment ID nor a name",
                             device);
        }
    }
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
    config->rng.fill(config->rng.ctx, c->call_id, sizeof c->call_id);
    memcpy(config->call_id, c->call_id, sizeof config->call_id);
    bk_call_name(c->call_id, c->call_name);
    return BECKON_OK;
}

enum beckon_status bk_outgoing_new(struct beckon_client *client, const char *device,
                                   const char *service, const struct bk_outgoing_callbacks *on,
                                   struct bk_outgoing **out, struct beckon_error *error)
{
    struct bk_outgoing *c = calloc(1, sizeof *c);
    struct bk_requester_config config = {0};
    struct bk_alloc alloc = bk_alloc_libc();
    enum beckon_status status;

    *out = NULL;
    if (c == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    c->client = client;
    c->on = *on;
    c->started = bk_now_sample().mono;
    status = configure(c, device, service, &config, error);
    if (status == BECKON_OK) {
        status = listen_for_device(c, error);
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
    tell_type(c, BK_REQUESTER_START);
    return BECKON_OK;
}

void bk_outgoing_free(struct bk_outgoing *c)
{
    if (c == NULL) {
        return;
    }
    c->busy = true;
    bk_h2_free(c->session);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (c->waiting[i].ssl != NULL) {
            close_ssl(c->waiting[i].ssl);
        }
    }
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
