/* The inside of the relay's shell, shared by relay*.c and by nobody else.
 *
 * A sock is one connection under the core's number for it: a client's, read message by message and never a byte further, or
 * a peer's, not read at all. Two of them become a pair: the bytes are net/splice's then, and the socks are gone. A lease is
 * an allocation's port and what is joined in its name. */
#ifndef BK_BECKOND_RELAY_PRIVATE_H
#define BK_BECKOND_RELAY_PRIVATE_H

#include <event2/event_struct.h>

#include "base/map.h"
#include "bin/beckond/relay.h"
#include "bin/beckond/say.h"
#include "core/relay/relay.h"
#include "net/splice.h"

enum {
    BK_RELAY_SECRET_BYTES = 32,
    BK_RELAY_MESSAGE_MAX_BYTES = 2048, /* of a client's; ours have some 300 */
    BK_RELAY_CONNECTIONS_MAX = 4096,
    BK_RELAY_DEAD_MS = 180000,   /* a peer that TCP no longer reaches */
    BK_RELAY_IDLE_MS = 14400000, /* a pair without a byte */
    BK_RELAY_DIAL_MS = 10000,
    BK_RELAY_CREDENTIAL_S = 3600, /* for making an allocation; one that stands outlives them */
    BK_RELAY_EXTERNAL_CREDENTIAL_S = 86400, /* coturn asks for them again at every refresh */
    BK_RELAY_EVENTS_MAX = 8,
    BK_RELAY_PORT_TRIES = 64,
};

struct relay_sock {
    struct bk_relay *relay;
    uint64_t number;
    int fd;
    bool client;
    struct event readable;
    size_t have;
    uint8_t *message; /* BK_RELAY_MESSAGE_MAX_BYTES of a client's */
};

struct relay_lease;

struct relay_pair {
    struct relay_lease *lease;
    struct bk_splice *splice;
    uint64_t client, peer;
    struct relay_pair *next, **link;
};

struct relay_dial {
    struct relay_lease *lease;
    uint32_t connection_id;
    int fd;
    struct bk_addr peer;
    struct event connected;
    struct relay_dial *next, **link;
};

struct relay_lease {
    struct bk_relay *relay;
    uint64_t allocation;
    int fd;
    struct bk_addr bound; /* where it listens; peers may know it by another address */
    struct bk_addr told, from;
    struct event acceptable, resume;
    char user[BK_NAME_MAX_BYTES + 1];
    uint32_t user_slot;
    bk_time since;
    uint64_t out_bytes, in_bytes; /* from the client, to the client */
    uint32_t n_pairs;             /* so far */
    struct relay_pair *pairs;
    struct relay_dial *dials;
};

struct bk_relay {
    struct event_base *base;
    struct bk_config config;
    bool (*may_use)(void *ctx, struct bk_slice user);
    void *ctx;
    bool any_peer;
    uint8_t secret[BK_RELAY_SECRET_BYTES];

    struct bk_relay_core *core;
    struct bk_relay_out out;
    struct bk_relay_event events[BK_RELAY_EVENTS_MAX]; /* that carrying out led to */
    size_t n_events;
    bool feeding;
    struct event timer;

    uint64_t next_number;
    uint32_t n_socks;
    struct bk_map socks, leases;      /* number → where it is */
    uint8_t used_ports[2][65536 / 8]; /* IPv4, IPv6 */
    struct bk_pipes pipes;
    struct bk_byte_rate total_rate, *user_rates; /* by user slot */
    uint32_t n_user_rates;
    struct bk_say_limit port_log;
};

/* relay.c */
void relay_feed(struct bk_relay *r, const struct bk_relay_event *event);

/* relay_socks.c: connections, one by one */
struct relay_sock *relay_sock_new(struct bk_relay *r, int fd, bool client);
struct relay_sock *relay_sock_find(const struct bk_relay *r, uint64_t number);
void relay_sock_send(struct relay_sock *s, struct bk_slice bytes);
void relay_sock_close(struct relay_sock *s, bool reset);
void relay_reset(int fd); /* closes it so */
/* The descriptor is the caller's, the sock is gone. */
int relay_sock_take(struct relay_sock *s);

/* relay_lease.c: allocations. What LISTEN, DIAL and JOIN ask; the answers come as events. */
void relay_listen(struct bk_relay *r, const struct bk_relay_action *action);
void relay_join(struct bk_relay *r, const struct bk_relay_action *action);
void relay_end(struct bk_relay *r, const struct bk_relay_action *action);
void relay_lease_free(struct relay_lease *lease);

/* relay_dial.c */
void relay_dial(struct bk_relay *r, const struct bk_relay_action *action);
void relay_dial_free(struct relay_dial *dial);
/* An event for after the present ones. */
void relay_later(struct bk_relay *r, const struct bk_relay_event *event);

/* relay_offer.c. BK_E_IO, BK_E_MALFORMED. */
BK_NODISCARD enum bk_err relay_secret_load(const char *dir, uint8_t secret[BK_RELAY_SECRET_BYTES]);

#endif
