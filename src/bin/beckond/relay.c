/* The relay's life, and its core's: an event goes in, the actions are carried out, and what these led to at once goes in
 * afterwards, until nothing is left. */
#include "bin/beckond/relay.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "bin/beckond/relay_private.h"
#include "net/clock.h"
#include "net/sockaddr.h"
#include "net/turn_ops.h"
#include "seal/seal.h"
#include "wire/alpn.h"

enum {
    USERS_SHARE = 8, /* of all connections, one user may hold that part */
};

/* ---- the core ---- */

void relay_later(struct bk_relay *r, const struct bk_relay_event *event)
{
    assert(r->n_events <
           BK_RELAY_EVENTS_MAX); /* a list of actions has one LISTEN or DIAL at most */
    r->events[r->n_events++] = *event;
}

static void carry_out(struct bk_relay *r)
{
    for (size_t i = 0; i < r->out.n; i++) {
        const struct bk_relay_action *a = &r->out.actions[i];
        struct relay_sock *sock;
        switch (a->type) {
        case BK_RELAY_SEND:
            sock = relay_sock_find(r, a->send.conn);
            if (sock != NULL) {
                relay_sock_send(sock, a->send.bytes);
            }
            break;
        case BK_RELAY_CLOSE:
            sock = relay_sock_find(r, a->close.conn);
            if (sock != NULL) {
                relay_sock_close(sock, a->close.reset);
            }
            break;
        case BK_RELAY_LISTEN:
            relay_listen(r, a);
            break;
        case BK_RELAY_JOIN:
            relay_join(r, a);
            break;
        case BK_RELAY_DIAL:
            relay_dial(r, a);
            break;
        case BK_RELAY_END:
            relay_end(r, a);
            break;
        }
    }
}

static void set_timer(struct bk_relay *r)
{
    bk_time at = bk_relay_core_deadline(r->core);

    if (at == BK_TIME_NEVER) {
        (void)event_del(&r->timer);
    } else {
        struct timeval tv = bk_timeval_ms(bk_time_left(bk_clock_mono(), at) / BK_MS + 1);
        (void)event_add(&r->timer, &tv);
    }
}

/* What came of the last actions; then, when nothing is left, the timer. */
static void settle(struct bk_relay *r)
{
    while (r->n_events > 0) {
        struct bk_relay_event event = r->events[0];
        struct bk_now now = bk_clock_now();
        r->n_events--;
        memmove(r->events, r->events + 1, r->n_events * sizeof r->events[0]);
        bk_relay_core_input(r->core, &now, &event, &r->out);
        carry_out(r);
    }
    set_timer(r);
}

void relay_feed(struct bk_relay *r, const struct bk_relay_event *event)
{
    struct bk_now now = bk_clock_now();

    assert(!r->feeding);
    r->feeding = true;
    bk_relay_core_input(r->core, &now, event, &r->out);
    carry_out(r);
    settle(r);
    r->feeding = false;
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_relay *r = ctx;
    struct bk_now now = bk_clock_now();

    (void)fd;
    (void)what;
    r->feeding = true;
    bk_relay_core_timer(r->core, &now, &r->out);
    carry_out(r);
    settle(r);
    r->feeding = false;
}

/* ---- made and unmade ---- */

static void take_limits(struct bk_relay *r)
{
    r->total_rate.per_s = r->config.relay_bytes_per_s;
    for (uint32_t i = 0; i < r->n_user_rates; i++) {
        r->user_rates[i].per_s = r->config.relay_user_bytes_per_s;
    }
    bk_relay_core_set_quotas(r->core, r->config.relay ? r->config.relay_allocations : 0,
                             r->config.relay_user_allocations);
}

static enum bk_err make_core(struct bk_relay *r, uint32_t max_connections)
{
    struct bk_relay_core_config config = {
        .alloc = bk_alloc_libc(),
        .rng = bk_random_system(),
        .ops = bk_turn_openssl(),
        .secret = BK_SLICE_OF(r->secret),
        .max_connections = max_connections,
        .max_fresh = max_connections / 4 + 1,
        .max_allocations = r->config.relay_allocations,
        .max_user_allocations = r->config.relay_user_allocations,
        .max_user_connections = max_connections / USERS_SHARE,
        .allow_connect = r->config.relay_connect,
        .first_port = r->config.relay_first_port,
        .last_port = r->config.relay_last_port,
        .any_peer = r->any_peer,
    };

    return bk_relay_core_new(&config, &r->core);
}

static enum bk_err make_tables(struct bk_relay *r, uint32_t max_connections)
{
    struct bk_random rng = bk_random_system();
    struct bk_alloc alloc = bk_alloc_libc();
    uint64_t seed[2] = {bk_random_u64(&rng), bk_random_u64(&rng)};
    enum bk_err err = bk_map_init(&r->socks, &alloc, seed, max_connections);

    if (err == BK_OK) {
        err = bk_map_init(&r->leases, &alloc, seed, r->config.relay_allocations);
    }
    r->n_user_rates = r->config.relay_allocations;
    r->user_rates = calloc(r->n_user_rates, sizeof *r->user_rates);
    return err == BK_OK && r->user_rates == NULL ? BK_E_NOMEM : err;
}

enum bk_err bk_relay_new(const struct bk_relay_start *start, struct bk_relay **out)
{
    struct bk_relay *r = calloc(1, sizeof *r);
    uint32_t max = start->max_connections != 0 ? start->max_connections : BK_RELAY_CONNECTIONS_MAX;
    enum bk_err err;

    *out = NULL;
    if (r == NULL) {
        return BK_E_NOMEM;
    }
    r->base = start->base;
    r->config = *start->config;
    r->may_use = start->may_use;
    r->ctx = start->ctx;
    r->any_peer = start->any_peer;
    evtimer_assign(&r->timer, r->base, on_timer, r);
    err = relay_secret_load(start->dir, r->secret);
    if (err == BK_OK) {
        err = make_tables(r, max);
    }
    if (err == BK_OK) {
        err = make_core(r, max);
    }
    if (err != BK_OK) {
        bk_relay_free(r);
        return err;
    }
    take_limits(r);
    *out = r;
    return BK_OK;
}

static void end_all(struct bk_relay *r)
{
    for (size_t i = 0; i < r->leases.cap; i++) {
        if (r->leases.entries[i].value != 0) {
            relay_lease_free((struct relay_lease *)(uintptr_t)r->leases.entries[i].value);
        }
    }
    for (size_t i = 0; i < r->socks.cap; i++) {
        struct relay_sock *s = (struct relay_sock *)(uintptr_t)r->socks.entries[i].value;
        if (s != NULL) {
            (void)event_del(&s->readable);
            close(s->fd);
            free(s->message);
            free(s);
        }
    }
}

void bk_relay_free(struct bk_relay *r)
{
    if (r == NULL) {
        return;
    }
    end_all(r);
    (void)event_del(&r->timer);
    bk_pipes_close(&r->pipes);
    bk_relay_core_free(r->core);
    bk_map_fini(&r->socks);
    bk_map_fini(&r->leases);
    free(r->user_rates);
    bk_wipe(r, sizeof *r);
    free(r);
}

void bk_relay_reload(struct bk_relay *r, const struct bk_config *config)
{
    bool may_connect = r->config.relay_connect; /* the core knows it from the start */

    r->config = *config;
    r->config.relay_connect = may_connect;
    take_limits(r);
}

/* ---- what comes in ---- */

bool bk_relay_take(void *relay, int fd, const struct bk_addr *from)
{
    struct bk_relay *r = relay;
    struct bk_relay_event event = {.type = BK_RELAY_ACCEPTED};
    struct relay_sock *s = r->config.relay ? relay_sock_new(r, fd, true) : NULL;

    if (s == NULL) {
        return false;
    }
    event.accepted.conn = s->number;
    event.accepted.from = *from;
    event.accepted.local = bk_sockaddr_local(fd);
    relay_feed(r, &event);
    return true;
}

static bool is_call_name(const char *name)
{
    size_t n = strlen(name), suffix = sizeof BK_CALL_NAME_SUFFIX - 1;

    return n > suffix && strcasecmp(name + n - suffix, BK_CALL_NAME_SUFFIX) == 0;
}

bool bk_relay_take_named(void *relay, int fd, const struct bk_addr *from, const char *server_name)
{
    struct bk_relay *r = relay;
    struct bk_relay_event event = {.type = BK_RELAY_NAMED};
    struct relay_sock *s;

    if (!bk_relay_core_knows(r->core, bk_slice_text(server_name)) ||
        (s = relay_sock_new(r, fd, false)) == NULL) {
        if (is_call_name(server_name)) {
            relay_reset(fd);
            return true;
        }
        return false;
    }
    event.named.conn = s->number;
    event.named.from = *from;
    event.named.name = bk_slice_text(server_name);
    relay_feed(r, &event);
    return true;
}

void bk_relay_end_user(struct bk_relay *r, struct bk_slice user)
{
    struct bk_relay_event event = {.type = BK_RELAY_END_USER};

    event.end_user.user = user;
    relay_feed(r, &event);
}

void bk_relay_count(const struct bk_relay *r, uint32_t *connections, uint32_t *allocations)
{
    *connections = r->n_socks;
    *allocations = bk_relay_core_allocations(r->core);
}
