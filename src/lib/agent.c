/* The idle part of the agent: a UDP socket, a timer, and children for what needs TLS. Carries out what
 * core/agent/registration.h asks for. Links neither OpenSSL nor nghttp2. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/agent_private.h"
#include "lib/agent_state.h"
#include "lib/fail.h"
#include "lib/random_kernel.h"
#include "net/privileges.h"
#include "net/resolve.h"
#include "seal/mac_plain.h"
#include "seal/seal.h"

enum {
    STORE_TIME_EVERY_S = 86400,
};

static void carry_out(struct beckon_agent *a, const struct bk_registration_out *out);

void bk_agent_follow(struct beckon_agent *a)
{
    struct bk_now now = bk_now_sample();

    bk_timer_follow(a->timer, &now, bk_registration_deadline(&a->registration));
}

void bk_agent_tell(struct beckon_agent *a, const struct bk_registration_event *event)
{
    struct bk_registration_out out;
    struct bk_now now = bk_now_sample();

    bk_registration_input(&a->registration, &now, event, &out);
    carry_out(a, &out);
}

static void unresolved(struct beckon_agent *a, uint8_t index)
{
    struct bk_registration_event event = {.type = BK_REGISTRATION_UNRESOLVED, .index = index};

    bk_agent_tell(a, &event);
}

static void keep_further(struct beckon_agent *a, const struct bk_addr *addrs, size_t n,
                         const struct bk_addr *used)
{
    a->n_further = 0;
    for (size_t i = 0; i < n && a->n_further < BK_CHANNEL_SERVERS_MAX; i++) {
        if (!bk_addr_equal(&addrs[i], used)) {
            a->further[a->n_further++] = addrs[i];
        }
    }
}

void bk_agent_resolved(struct beckon_agent *a, const struct bk_addr *addrs, size_t n,
                       const char *text)
{
    struct bk_agent_server *server = &a->servers[a->asked];
    struct bk_registration_event event = {.type = BK_REGISTRATION_RESOLVED, .index = a->asked};
    struct bk_addr usable[BK_RESOLVE_MAX];
    size_t n_usable;

    if (n == 0) {
        bk_log(a->log, a->ctx, 0, "server %s: %s", a->config.servers[a->asked], text);
        unresolved(a, a->asked);
        return;
    }
    if (server->unanswered) {
        server->turn++; /* a name with several addresses: the next one may be better */
    }
    server->unanswered = true;
    server->known = true;
    memcpy(usable, addrs, n * sizeof addrs[0]);
    n_usable = bk_host_keep_routed(usable, n, bk_host_has_route);
    server->addr = usable[server->turn % n_usable];
    keep_further(a, addrs, n, &server->addr);
    event.addr = server->addr;
    bk_agent_tell(a, &event);
}

static void resolve(struct beckon_agent *a, uint8_t index)
{
    if (a->question.event != NULL && a->asked == index) {
        return;
    }
    a->asked = index;
    if (!bk_agent_resolve(a, a->config.servers[index], a->config.server_udp_port)) {
        unresolved(a, index);
    }
}

/* Keeps the server's time for the next start, at most once a day: flash wears out. */
static void store_time(struct beckon_agent *a)
{
    uint64_t unix_s = bk_registration_server_unix_s(&a->registration);

    if (unix_s < a->stored_unix_s || unix_s - a->stored_unix_s < STORE_TIME_EVERY_S) {
        return;
    }
    a->stored_unix_s = unix_s;
    if (bk_stored_time_write(a->state_dir, unix_s) != BK_OK) {
        bk_log(a->log, a->ctx, 1, "%s/clock cannot be written: %s", a->state_dir, strerror(errno));
    }
}

static void tell_registered(struct beckon_agent *a, bool tunnel)
{
    char text[BK_ADDR_TEXT_BYTES], at[BK_HOST_MAX_BYTES + 5] = "";

    bk_addr_format(&a->observed, text);
    if (a->config.n_servers > 1) {
        (void)snprintf(at, sizeof at, " at %s", a->config.servers[a->index]);
    }
    bk_log(a->log, a->ctx, 1, "registered%s%s; the server sees %s", at, tunnel ? " over TLS" : "",
           text);
}

static void registered(struct beckon_agent *a, const struct bk_registration_action *action)
{
    struct bk_now now = bk_now_sample();

    a->observed = action->addr;
    a->index = action->index;
    a->by_udp = !action->tunnel;
    a->servers[a->index].unanswered = false;
    tell_registered(a, action->tunnel);
    if (!a->was_registered && a->registered != NULL) {
        a->registered(a->ctx);
    }
    a->was_registered = true;
    bk_agent_lifetime_registered(a, a->by_udp);
    bk_renewal_registered(&a->renewal.core, &now, true);
    bk_agent_renewal_follow(a);
}

static void lost(struct beckon_agent *a)
{
    struct bk_now now = bk_now_sample();

    bk_log(a->log, a->ctx, 0, "the server does not answer; trying on");
    a->by_udp = false;
    bk_agent_lifetime_registered(a, false);
    bk_renewal_registered(&a->renewal.core, &now, false);
    bk_agent_renewal_follow(a);
}

static void renew(struct beckon_agent *a)
{
    struct bk_now now = bk_now_sample();

    bk_renewal_hint(&a->renewal.core, &now);
    bk_agent_renewal_follow(a);
}

static void carry_out_one(struct beckon_agent *a, const struct bk_registration_action *action)
{
    switch (action->type) {
    case BK_REGISTRATION_SEND:
        if (action->tunnel) {
            bk_agent_tunnel_send(a, action->bytes);
        } else {
            (void)bk_udp_send(a->udp, &action->addr, action->bytes); /* lost: the core retries */
        }
        break;
    case BK_REGISTRATION_RESOLVE:
        resolve(a, action->index);
        break;
    case BK_REGISTRATION_REGISTERED:
        registered(a, action);
        break;
    case BK_REGISTRATION_LOST:
        lost(a);
        break;
    case BK_REGISTRATION_REVOKED:
        bk_log(a->log, a->ctx, 0,
               "the server has revoked this device; join again with a new token");
        break;
    case BK_REGISTRATION_CALL:
        bk_agent_call(a, action);
        break;
    case BK_REGISTRATION_FULL:
        bk_agent_full(a);
        break;
    case BK_REGISTRATION_RESULT_TOLD:
        bk_agent_result_told(a, action);
        break;
    case BK_REGISTRATION_RENEW:
        renew(a);
        break;
    case BK_REGISTRATION_TUNNEL_OPEN:
        bk_agent_tunnel_open(a, action->index);
        break;
    case BK_REGISTRATION_TUNNEL_CLOSE:
        bk_agent_tunnel_close(a);
        break;
    }
}

static void carry_out(struct beckon_agent *a, const struct bk_registration_out *out)
{
    bk_agent_follow(a);
    store_time(a);
    for (size_t i = 0; i < out->n; i++) {
        carry_out_one(a, &out->actions[i]);
    }
}

static void on_datagram(void *ctx, const struct bk_addr *from, struct bk_slice bytes)
{
    struct bk_registration_event event = {.type = BK_REGISTRATION_DATAGRAM,
                                          .addr = *from,
                                          .bytes = bytes,
                                          .full = !bk_agent_has_room(ctx)};

    bk_agent_tell(ctx, &event);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct beckon_agent *a = ctx;
    struct bk_registration_out out;
    struct bk_now now = bk_now_sample();

    (void)fd;
    (void)what;
    bk_registration_timer(&a->registration, &now, &out);
    carry_out(a, &out);
    bk_renewal_clock(&a->renewal.core, &now, bk_registration_calendar_s(&a->registration, &now));
    bk_agent_renewal_follow(a);
}

static void on_network(void *ctx)
{
    struct beckon_agent *a = ctx;
    struct bk_registration_event event = {.type = BK_REGISTRATION_NETWORK_CHANGED};

    bk_agent_tell(a, &event);
    bk_agent_lifetime_registered(a, a->by_udp); /* anew, also where the server sees no change */
}

static bool copy_path(char out[BK_PATH_BYTES], const char *path)
{
    size_t n = path == NULL ? 0 : strlen(path);

    if (n >= BK_PATH_BYTES) {
        return false;
    }
    memcpy(out, path == NULL ? "" : path, n + 1);
    return true;
}

/* Loop, socket, timer. */
static enum beckon_status open_loop(struct beckon_agent *a, struct beckon_error *error)
{
    struct bk_addr any = {.port = a->config.port};
    struct bk_udp_callbacks on = {.ctx = a, .received = on_datagram};

    a->base = event_base_new();
    if (a->base == NULL || bk_stop_init(&a->stop, a->base) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory or descriptors for the event loop");
    }
    a->timer = evtimer_new(a->base, on_timer, a);
    if (a->timer == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory for the event loop");
    }
    if (bk_udp_new(a->base, &any, false, true, &on, &a->udp) != BK_OK) {
        return bk_fail(error, BECKON_FAILED,
                       "UDP port %u: %s; set another \"port\" under [agent] in agent.conf",
                       (unsigned)a->config.port, strerror(errno));
    }
    if (bk_host_watch_new(a->base, on_network, a, &a->watch) != BK_OK) {
        a->watch = NULL; /* without it, a changed network is noticed at the next keepalive */
    }
    return BECKON_OK;
}

/* From here on we are the user of the configuration, if it names one. */
static enum beckon_status drop_privileges(struct beckon_agent *a, struct beckon_error *error)
{
    char why[BK_PRIVILEGES_WHY_BYTES];

    return bk_privileges_drop(a->config.user, why, sizeof why) == BK_OK
               ? BECKON_OK
               : bk_fail(error, BECKON_FAILED, "%s", why);
}

/* The registration key. One that is damaged is replaced by a renewal; until then we try with one that no server takes. */
static enum beckon_status load_secret(struct beckon_agent *a, struct bk_registration_secret *out,
                                      struct beckon_error *error)
{
    struct bk_random rng = bk_random_kernel();
    enum beckon_status status = bk_registration_secret_read(a->state_dir, out, error);

    if (status == BECKON_BAD_CONFIG || status == BECKON_NOT_JOINED) {
        bk_log(a->log, a->ctx, 0, "%s", error->text);
        *out = (struct bk_registration_secret){0};
        rng.fill(rng.ctx, out->key, sizeof out->key);
        a->renewal.wanted = true;
        status = BECKON_OK;
    }
    return status;
}

/* Registration key and cores: read as the user we stay, so that what he cannot read is known at once. */
static enum beckon_status load(struct beckon_agent *a, struct beckon_error *error)
{
    struct bk_registration_secret state;
    struct bk_registration_config config = {.rng = bk_random_kernel(), .mac = bk_mac_plain()};
    struct bk_now now = bk_now_sample();
    enum beckon_status status = bk_identity_check(a->state_dir, error);

    if (status == BECKON_OK) {
        status = load_secret(a, &state, error);
    }
    if (status == BECKON_OK) {
        status = bk_agent_renewal_look(a, error);
    }
    if (status != BECKON_OK) {
        return status;
    }
    config.equipment_id = a->config.equipment_id;
    config.generation = state.generation;
    config.epoch = state.epoch;
    config.keepalive_s = a->config.keepalive_s;
    config.n_servers = (uint8_t)a->config.n_servers;
    a->stored_unix_s = bk_stored_time_read(a->state_dir);
    config.newest_unix_s = a->stored_unix_s;
    memcpy(config.key, state.key, sizeof config.key);
    bk_registration_init(&a->registration, &config);
    bk_admission_init(&a->admission);
    bk_dials_init(&a->dials, &now);
    bk_wipe(&state, sizeof state);
    bk_wipe(&config, sizeof config);
    return bk_agent_renewal_begin(a) == BK_OK && bk_agent_lifetime_begin(a) == BK_OK
               ? BECKON_OK
               : bk_fail(error, BECKON_FAILED, "no memory for the event loop");
}

static enum beckon_status read_config(struct beckon_agent *a, struct beckon_error *error)
{
    return bk_agent_config_read(a->state_dir, a->config_file[0] != '\0' ? a->config_file : NULL,
                                &a->config, error);
}

/* Configuration, socket, state; in the order that privileges ask for. */
static enum beckon_status begin(struct beckon_agent *a, bool confined, struct beckon_error *error)
{
    enum beckon_status status = read_config(a, error);

    if (status == BECKON_OK) {
        status = open_loop(a, error);
    }
    if (status == BECKON_OK && confined) {
        status = drop_privileges(a, error);
        if (status == BECKON_OK) { /* calls will: that they cannot is to be known at once */
            status = read_config(a, error);
        }
    }
    if (status == BECKON_OK) {
        status = load(a, error);
    }
    if (status == BECKON_OK && confined) {
        bk_agent_confine(a);
    }
    return status;
}

enum beckon_status beckon_agent_new(const struct beckon_agent_options *options,
                                    struct beckon_agent **out, struct beckon_error *error)
{
    struct beckon_agent *a;
    enum beckon_status status;

    *out = NULL;
    if (options->state_dir == NULL || options->call_program == NULL) {
        return bk_fail(error, BECKON_USAGE, "state_dir and call_program must be given");
    }
    if (bk_random_kernel_check() != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "this kernel gives no random bytes (getrandom)");
    }
    a = calloc(1, sizeof *a);
    if (a == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    a->stop.fd = -1;
    a->log = options->log;
    a->registered = options->registered;
    a->ctx = options->ctx;
    if (!copy_path(a->state_dir, options->state_dir) ||
        !copy_path(a->config_file, options->config_file) ||
        !copy_path(a->call_program, options->call_program)) {
        status = bk_fail(error, BECKON_USAGE, "a path is longer than %d bytes", BK_PATH_BYTES - 1);
    } else {
        status = begin(a, options->confined != 0, error);
    }
    if (status != BECKON_OK) {
        beckon_agent_free(a);
        return status;
    }
    *out = a;
    return BECKON_OK;
}

enum beckon_status beckon_agent_run(struct beckon_agent *a, struct beckon_error *error)
{
    struct bk_registration_event start = {.type = BK_REGISTRATION_START};

    bk_agent_tell(a, &start);
    if (event_base_dispatch(a->base) < 0) {
        return bk_fail(error, BECKON_FAILED, "the event loop failed");
    }
    return BECKON_OK;
}

void beckon_agent_stop(struct beckon_agent *a)
{
    bk_stop_raise(&a->stop);
}

void beckon_agent_free(struct beckon_agent *a)
{
    if (a == NULL) {
        return;
    }
    bk_agent_children_end(a);
    bk_agent_tunnel_end(a);
    bk_agent_renewal_end(a);
    bk_agent_lifetime_end(a);
    bk_agent_resolve_end(a);
    bk_host_watch_free(a->watch);
    bk_udp_free(a->udp);
    if (a->timer != NULL) {
        event_free(a->timer);
    }
    bk_stop_fini(&a->stop);
    if (a->base != NULL) {
        event_base_free(a->base);
    }
    bk_wipe(&a->registration, sizeof a->registration);
    free(a);
}
