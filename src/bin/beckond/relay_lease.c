/* Allocations: a port that listens, the peers that come to it, the pairs in its name, and the line that tells of it when it
 * has ended. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bin/beckond/relay_private.h"
#include "net/clock.h"
#include "net/conn_private.h"
#include "net/host.h"
#include "net/sockaddr.h"
#include "seal/seal.h"

enum {
    BACKLOG = 16,
    ACCEPTS_PER_TURN = 8,
    PAUSE_MS = 100,
};

/* ---- its port ---- */

static uint8_t *port_bits(struct bk_relay *r, const struct bk_addr *a, uint8_t *bit)
{
    *bit = (uint8_t)(1U << a->port % 8);
    return &r->used_ports[bk_addr_is_v4(a) ? 0 : 1][a->port / 8];
}

/* An address of ours of that family: the one that the client has reached, or the one that leads outside. */
static bool own_address(const struct bk_relay_action *action, struct bk_addr *out)
{
    bool v6 = action->listen.v6;
    struct bk_addr outside = bk_addr_v4(1, 1, 1, 1, 53);

    *out = action->listen.local;
    if (bk_addr_is_v4(out) != v6) {
        return true;
    }
    if (v6) {
        outside = (struct bk_addr){.ip = {0x26, 0x06, 0x47, 0x00}, .port = 53};
    }
    return bk_host_source_toward(&outside, out) == BK_OK && bk_addr_is_v4(out) != v6;
}

/* A free port of the range, by chance. BK_E_NOSPACE, BK_E_IO. */
static enum bk_err bind_port(struct bk_relay *r, struct bk_addr *bound, int *fd)
{
    struct bk_random rng = bk_random_system();
    uint64_t n = (uint64_t)r->config.relay_last_port - r->config.relay_first_port + 1;

    for (int i = 0; i < BK_RELAY_PORT_TRIES; i++) {
        uint8_t bit, *byte;
        int family;
        bound->port = (uint16_t)(r->config.relay_first_port + bk_random_below(&rng, n));
        byte = port_bits(r, bound, &bit);
        if ((*byte & bit) != 0) {
            continue;
        }
        if (bk_socket_bind(SOCK_STREAM, bound, r->config.relay_connect, fd, &family) == BK_OK) {
            if (listen(*fd, BACKLOG) == 0) {
                *byte |= bit;
                return BK_OK;
            }
            close(*fd);
        }
        if (errno != EADDRINUSE) {
            return BK_E_IO;
        }
    }
    return BK_E_NOSPACE;
}

static void on_acceptable(evutil_socket_t fd, short what, void *ctx)
{
    struct relay_lease *lease = ctx;
    struct bk_relay *r = lease->relay;
    uint64_t allocation = lease->allocation;

    (void)what;
    /* What comes may end the allocation. */
    for (int i = 0; i < ACCEPTS_PER_TURN && bk_map_get(&r->leases, allocation) != 0; i++) {
        struct sockaddr_storage ss = {0};
        struct sockaddr *sa = (struct sockaddr *)&ss;
        socklen_t len = sizeof ss;
        struct bk_relay_event event = {.type = BK_RELAY_PEER};
        struct relay_sock *s = NULL;
        int accepted = accept4(fd, sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                (void)event_del(&lease->acceptable);
                bk_conn_arm(&lease->resume, PAUSE_MS);
            }
            return;
        }
        if (bk_sockaddr_read(sa, &event.peer.from) != BK_OK ||
            (s = relay_sock_new(r, accepted, false)) == NULL) {
            close(accepted);
            continue;
        }
        event.peer.allocation = allocation;
        event.peer.conn = s->number;
        relay_feed(r, &event);
    }
}

static void on_resume(evutil_socket_t fd, short what, void *ctx)
{
    struct relay_lease *lease = ctx;

    (void)fd;
    (void)what;
    (void)event_add(&lease->acceptable, NULL);
}

/* ---- made and unmade ---- */

static struct bk_addr told_address(const struct bk_relay *r, const struct bk_addr *bound)
{
    bool v4 = bk_addr_is_v4(bound);
    struct bk_addr told = v4 ? r->config.relay_address4 : r->config.relay_address6;

    if (told.port == 0) {
        told = *bound;
    }
    told.port = bound->port;
    return told;
}

static uint16_t code_of(struct bk_relay *r, enum bk_err err)
{
    if (err == BK_E_NOTFOUND) {
        return BK_CODE_ADDRESS_FAMILY;
    }
    bk_say_limited(&r->port_log, bk_clock_mono(), "relay: no port to listen on: %s",
                   err == BK_E_IO ? strerror(errno) : bk_err_text(err));
    return BK_CODE_CAPACITY;
}

static struct relay_lease *lease_new(struct bk_relay *r, const struct bk_relay_action *a,
                                     uint16_t *code)
{
    struct relay_lease *lease = calloc(1, sizeof *lease);
    enum bk_err err = lease == NULL ? BK_E_NOMEM : BK_OK;

    if (err == BK_OK && !own_address(a, &lease->bound)) {
        err = BK_E_NOTFOUND;
    }
    if (err == BK_OK) {
        err = bind_port(r, &lease->bound, &lease->fd);
    }
    if (err != BK_OK) {
        *code = code_of(r, err);
        free(lease);
        return NULL;
    }
    lease->relay = r;
    lease->allocation = a->listen.allocation;
    lease->from = a->listen.from;
    lease->told = told_address(r, &lease->bound);
    lease->user_slot = a->listen.user_slot;
    lease->since = bk_clock_mono();
    (void)bk_slice_to_text(a->listen.user, lease->user, sizeof lease->user);
    event_assign(&lease->acceptable, r->base, lease->fd, EV_READ | EV_PERSIST, on_acceptable,
                 lease);
    evtimer_assign(&lease->resume, r->base, on_resume, lease);
    if (bk_map_put(&r->leases, lease->allocation, (uint64_t)(uintptr_t)lease) != BK_OK) {
        *code = BK_CODE_CAPACITY;
        relay_lease_free(lease);
        return NULL;
    }
    (void)event_add(&lease->acceptable, NULL);
    return lease;
}

void relay_listen(struct bk_relay *r, const struct bk_relay_action *action)
{
    struct bk_relay_event event = {.type = BK_RELAY_LISTENING};
    struct relay_lease *lease = NULL;

    event.listening.allocation = action->listen.allocation;
    if (r->may_use != NULL && !r->may_use(r->ctx, action->listen.user)) {
        event.listening.code = BK_CODE_FORBIDDEN;
    } else {
        lease = lease_new(r, action, &event.listening.code);
    }
    if (lease != NULL) {
        event.listening.relayed = lease->told;
    }
    relay_later(r, &event);
}

static void pair_free(struct relay_pair *pair)
{
    *pair->link = pair->next;
    if (pair->next != NULL) {
        pair->next->link = pair->link;
    }
    bk_splice_free(pair->splice);
    free(pair);
}

void relay_lease_free(struct relay_lease *lease)
{
    struct bk_relay *r = lease->relay;
    uint8_t bit, *byte = port_bits(r, &lease->bound, &bit);

    for (struct relay_pair *pair = lease->pairs, *next = NULL; pair != NULL; pair = next) {
        next = pair->next;
        pair_free(pair);
    }
    while (lease->dials != NULL) {
        relay_dial_free(lease->dials);
    }
    (void)event_del(&lease->acceptable);
    (void)event_del(&lease->resume);
    close(lease->fd);
    *byte &= (uint8_t)~bit;
    free(lease);
}

static const char *how_text(enum bk_relay_end how)
{
    switch (how) {
    case BK_RELAY_ENDED:
        return "ended";
    case BK_RELAY_EXPIRED:
        return "expired";
    case BK_RELAY_LOST:
        return "lost";
    case BK_RELAY_REVOKED:
        return "revoked";
    case BK_RELAY_FAILED:
        return "failed";
    }
    return "unknown";
}

static void audit(const struct relay_lease *lease, enum bk_relay_end how)
{
    char user[4 * BK_NAME_MAX_BYTES + 8];
    char from[BK_ADDR_TEXT_BYTES], relayed[BK_ADDR_TEXT_BYTES];
    bk_time now = bk_clock_mono();

    bk_say_escape(bk_slice_text(lease->user), user, sizeof user);
    bk_addr_format(&lease->from, from);
    bk_addr_format(&lease->told, relayed);
    bk_say_bare("audit relay user=%s from=%s relayed=%s result=%s ms=%llu connections=%lu in=%llu "
                "out=%llu",
                user, from, relayed, how_text(how),
                (unsigned long long)((now - lease->since) / BK_MS), (unsigned long)lease->n_pairs,
                (unsigned long long)lease->in_bytes, (unsigned long long)lease->out_bytes);
}

void relay_end(struct bk_relay *r, const struct bk_relay_action *action)
{
    uint64_t place = bk_map_get(&r->leases, action->end.allocation);
    struct relay_lease *lease = (struct relay_lease *)(uintptr_t)place;

    if (lease != NULL) {
        audit(lease, action->end.how);
        (void)bk_map_remove(&r->leases, action->end.allocation);
        relay_lease_free(lease);
    }
}

/* ---- pairs ---- */

static void tell_closed(struct bk_relay *r, uint64_t conn)
{
    struct bk_relay_event event = {.type = BK_RELAY_CLOSED};

    event.closed.conn = conn;
    relay_feed(r, &event);
}

static void pair_ended(void *ctx, struct bk_splice *splice)
{
    struct relay_pair *pair = ctx;
    struct bk_relay *r = pair->lease->relay;
    uint64_t client = pair->client, peer = pair->peer;

    (void)splice;
    pair_free(pair);
    tell_closed(r, client);
    tell_closed(r, peer);
}

static void closed_later(struct bk_relay *r, uint64_t conn)
{
    struct bk_relay_event event = {.type = BK_RELAY_CLOSED};

    event.closed.conn = conn;
    relay_later(r, &event);
}

void relay_join(struct bk_relay *r, const struct bk_relay_action *action)
{
    uint64_t place = bk_map_get(&r->leases, action->join.allocation);
    struct relay_lease *lease = (struct relay_lease *)(uintptr_t)place;
    struct relay_sock *client = relay_sock_find(r, action->join.client);
    struct relay_sock *peer = relay_sock_find(r, action->join.peer);
    struct relay_pair *pair = NULL;
    bool ok = lease != NULL && client != NULL && peer != NULL;

    pair = ok ? calloc(1, sizeof *pair) : NULL;
    if (pair != NULL) {
        struct bk_splice_config config = {
            .pipes = &r->pipes,
            .rates = {&r->user_rates[lease->user_slot], &r->total_rate},
            .moved = {&lease->out_bytes, &lease->in_bytes},
            .idle_ms = BK_RELAY_IDLE_MS,
            .dead_ms = BK_RELAY_DEAD_MS,
            .ctx = pair,
            .ended = pair_ended,
        };
        int client_fd = relay_sock_take(client), peer_fd = relay_sock_take(peer);
        pair->lease = lease;
        pair->client = action->join.client;
        pair->peer = action->join.peer;
        ok = bk_splice_new(r->base, &config, client_fd, peer_fd, &pair->splice) == BK_OK;
    }
    if (pair == NULL || !ok) {
        closed_later(r, action->join.client);
        closed_later(r, action->join.peer);
        free(pair);
        return;
    }
    lease->n_pairs++;
    pair->link = &lease->pairs;
    pair->next = lease->pairs;
    if (pair->next != NULL) {
        pair->next->link = &pair->next;
    }
    lease->pairs = pair;
}
