/* The relay's core: TURN over TCP (RFC 8656, RFC 6062) as a state machine. Events in, actions out, time in; no socket, no
 * clock. What it leases, to whom, who may connect there and what is joined with what is decided here; bytes that are
 * relayed never come by.
 *
 * Connections are numbered by the shell, never twice. A plain connection to the server's own ports is a client's; it makes
 * an allocation (and is its control connection from then on) or binds a peer's connection. Borrowed slices in events are
 * read during the call only; slices in actions live in `out` until its next use. */
#ifndef BK_CORE_RELAY_RELAY_H
#define BK_CORE_RELAY_RELAY_H

#include "base/addr.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/random.h"
#include "wire/turn.h"

enum {
    BK_RELAY_OUT_ACTIONS = 32,
    BK_RELAY_OUT_BYTES = 4096,
    BK_RELAY_FRESH_S = 10,    /* a connection that has neither allocated nor bound */
    BK_RELAY_PENDING_MAX = 8, /* peers of one allocation that wait for ConnectionBind */
    BK_RELAY_JOINED_MAX = 64, /* pairs of one allocation */
    BK_RELAY_PERMISSIONS_MAX = 16,
    BK_RELAY_NONCE_S = 1800,
    BK_RELAY_MESSAGES_PER_S = 50, /* of one connection, after a burst of four times as many */
};

#define BK_RELAY_REALM "beckon"

struct bk_relay_core_config {
    struct bk_alloc alloc;
    struct bk_random rng;
    struct bk_turn_ops ops;
    struct bk_slice secret;   /* 1 to 128 bytes, copied: passwords are made of it */
    uint32_t max_connections; /* clients' and peers' */
    uint32_t max_fresh; /* of these, such that have not authenticated: the oldest makes room */
    uint32_t max_allocations, max_user_allocations;
    uint32_t
        max_user_connections; /* of all his allocations, they included; 0: as many as there are */
    bool allow_connect;       /* Connect: active opens towards peers. False: 403 */
    uint16_t first_port,
        last_port; /* where relayed addresses lie: all of the server itself that may be a peer */
    bool any_peer; /* laboratory: loopback and private peers too */
};

enum bk_relay_event_type {
    BK_RELAY_ACCEPTED,  /* a client's connection */
    BK_RELAY_MESSAGE,   /* on one that has not been joined */
    BK_RELAY_CLOSED,    /* by the other end; of a joined pair each */
    BK_RELAY_LISTENING, /* answers LISTEN */
    BK_RELAY_PEER,      /* somebody connected to an allocation's port */
    BK_RELAY_NAMED, /* somebody connected to the server's port with a TLS server name; bk_relay_core_knows it */
    BK_RELAY_DIALLED,  /* answers DIAL */
    BK_RELAY_END_USER, /* that user's allocations end */
};

struct bk_relay_event {
    enum bk_relay_event_type type;
    union {
        struct {
            uint64_t conn;
            struct bk_addr from, local;
        } accepted;
        struct {
            uint64_t conn;
            struct bk_slice bytes; /* one whole STUN message */
        } message;
        struct {
            uint64_t conn;
        } closed;
        struct {
            uint64_t allocation;
            uint16_t code;          /* 0, or an enum bk_code: nothing listens */
            struct bk_addr relayed; /* as others reach it */
        } listening;
        struct {
            uint64_t allocation;
            uint64_t conn;
            struct bk_addr from;
        } peer;
        struct {
            uint64_t conn;
            struct bk_addr from;
            struct bk_slice name;
        } named;
        struct {
            uint64_t allocation;
            uint32_t connection_id; /* DIAL's */
            bool connected;
            uint64_t conn; /* if connected */
        } dialled;
        struct {
            struct bk_slice user;
        } end_user;
    };
};

enum bk_relay_action_type {
    BK_RELAY_SEND,
    /* After what was sent. The core has forgotten that connection. */
    BK_RELAY_CLOSE,
    BK_RELAY_LISTEN, /* a port for that allocation; LISTENING answers, before any other event */
    BK_RELAY_JOIN,   /* each other's bytes from now on, both ways; unread ones too */
    BK_RELAY_DIAL, /* from the allocation's port; DIALLED answers, at the latest after BK_TURN_BIND_S */
    /* The allocation's port closes, and what is joined in its name. The core has forgotten these. */
    BK_RELAY_END,
};

enum bk_relay_end {
    BK_RELAY_ENDED,   /* given back */
    BK_RELAY_EXPIRED, /* not refreshed */
    BK_RELAY_LOST,    /* its control connection ended */
    BK_RELAY_REVOKED, /* END_USER */
    BK_RELAY_FAILED,  /* never listened */
};

struct bk_relay_action {
    enum bk_relay_action_type type;
    union {
        struct {
            uint64_t conn;
            struct bk_slice bytes;
        } send;
        struct {
            uint64_t conn;
            bool reset; /* so that nobody takes it for a clean end */
        } close;
        struct {
            uint64_t allocation;
            uint64_t control;
            struct bk_addr from, local; /* of the control connection */
            bool v6;
            struct bk_slice user;
            uint32_t
                user_slot; /* below max_allocations; all allocations of one user have the same */
        } listen;
        struct {
            uint64_t allocation;
            uint64_t client, peer;
        } join;
        struct {
            uint64_t allocation;
            uint32_t connection_id;
            struct bk_addr peer;
        } dial;
        struct {
            uint64_t allocation;
            enum bk_relay_end how;
        } end;
    };
};

struct bk_relay_out {
    size_t n;
    struct bk_relay_action actions[BK_RELAY_OUT_ACTIONS];
    size_t used;
    uint8_t bytes[BK_RELAY_OUT_BYTES];
};

struct bk_relay_core;

/* Copies the configuration and takes all its memory at once. BK_E_NOMEM, BK_E_RANGE. */
BK_NODISCARD enum bk_err bk_relay_core_new(const struct bk_relay_core_config *config,
                                           struct bk_relay_core **out);
void bk_relay_core_free(struct bk_relay_core *c);
/* For new allocations; at most what the core was made for. */
void bk_relay_core_set_quotas(struct bk_relay_core *c, uint32_t max_allocations,
                              uint32_t max_user_allocations);

/* Both start `out` afresh. */
void bk_relay_core_input(struct bk_relay_core *c, const struct bk_now *now,
                         const struct bk_relay_event *event, struct bk_relay_out *out);
void bk_relay_core_timer(struct bk_relay_core *c, const struct bk_now *now,
                         struct bk_relay_out *out);
bk_time bk_relay_core_deadline(const struct bk_relay_core *c);

/* An allocation goes by that name. */
bool bk_relay_core_knows(const struct bk_relay_core *c, struct bk_slice server_name);
uint32_t bk_relay_core_allocations(const struct bk_relay_core *c);

#endif
