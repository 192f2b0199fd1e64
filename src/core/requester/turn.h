/* A TURN client over TCP (RFC 8656, RFC 6062), for one relayed address: gets it, permits peers, keeps both alive, and
 * binds the connections that come in. It sees the bytes of the control connection as they come, and of each data
 * connection the one message that the relay answers there; it opens nothing itself.
 *
 * One transaction at a time on the control connection. Whatever the relay sends ends at worst this client. */
#ifndef BK_CORE_REQUESTER_TURN_H
#define BK_CORE_REQUESTER_TURN_H

#include "base/clock.h"
#include "base/random.h"
#include "wire/turn.h"

enum {
    BK_TURN_CLIENT_READY_MS = 5000, /* from START to READY */
    BK_TURN_CLIENT_ANSWER_MS = 5000,
    BK_TURN_CLIENT_BIND_MS = 5000,
    BK_TURN_CLIENT_PERMITS_MAX = 8,
    BK_TURN_CLIENT_BINDS_MAX = 8,      /* data connections at a time until they are handed over */
    BK_TURN_CLIENT_STALE_MAX = 3,      /* new nonces in a row for one request */
    BK_TURN_CLIENT_REFRESH_MIN_S = 10, /* whatever lifetime the relay grants */
    BK_TURN_CLIENT_PERMISSION_S = BK_TURN_PERMISSION_S / 2,
    BK_TURN_CLIENT_OUT_ACTIONS = 16,
    BK_TURN_CLIENT_WHY_BYTES = 96,
};

struct bk_turn_client_config {
    struct bk_random rng;
    struct bk_turn_ops ops;
    uint8_t family;                     /* BK_FAMILY_..., of the relayed address */
    struct bk_slice username, password; /* copied by init */
    struct bk_slice server_name;        /* copied; may be empty */
    const struct bk_addr *permits;      /* copied; those above the maximum are dropped */
    size_t n_permits;
};

enum bk_turn_client_event_type {
    BK_TURN_CLIENT_START, /* the connection is being opened: the time for READY runs */
    BK_TURN_CLIENT_OPEN,
    BK_TURN_CLIENT_BYTES, /* of the control connection, as they came */
    BK_TURN_CLIENT_CLOSED,
    BK_TURN_CLIENT_PERMIT,
    BK_TURN_CLIENT_NAME,         /* `bytes`: another server name, in place of the former */
    BK_TURN_CLIENT_BIND_OPEN,    /* data connection `bind` stands */
    BK_TURN_CLIENT_BIND_MESSAGE, /* its next message, whole, and no byte beyond was read */
    BK_TURN_CLIENT_BIND_CLOSED,  /* it failed or ended */
};

struct bk_turn_client_event {
    enum bk_turn_client_event_type type;
    struct bk_slice bytes; /* BYTES, NAME, BIND_MESSAGE */
    struct bk_addr addr;   /* PERMIT */
    size_t bind;
};

enum bk_turn_client_action_type {
    BK_TURN_CLIENT_SEND,  /* `bytes` on the control connection */
    BK_TURN_CLIENT_READY, /* `addr` is the relayed address; all peers given so far are permitted */
    BK_TURN_CLIENT_BIND,  /* open data connection `bind` to the relay */
    BK_TURN_CLIENT_BIND_SEND, /* `bytes` on it */
    /* It is the peer's at `addr` now, which came by our server name (`by_name`); the number is free again. */
    BK_TURN_CLIENT_BIND_DONE,
    BK_TURN_CLIENT_BIND_CLOSE, /* close it; likewise */
    BK_TURN_CLIENT_FAILED,     /* `why`: last, close everything that was not handed over */
};

struct bk_turn_client_action {
    enum bk_turn_client_action_type type;
    struct bk_slice bytes;
    struct bk_addr addr;
    size_t bind;
    bool by_name;
    const char *why; /* a phrase; lives as long as the client */
};

struct bk_turn_client_out {
    size_t n;
    struct bk_turn_client_action actions[BK_TURN_CLIENT_OUT_ACTIONS];
    uint8_t bytes
        [BK_TURN_MESSAGE_MAX_BYTES]; /* of the one SEND or BIND_SEND that an input can lead to */
};

/* Held by value. Fields belong to turn.c. */
struct bk_turn_client {
    struct bk_turn_client_config config;
    uint8_t username[BK_TURN_TEXT_MAX_BYTES], password[BK_TURN_TEXT_MAX_BYTES];
    uint8_t server_name[BK_TURN_SERVER_NAME_MAX_BYTES];
    enum bk_turn_client_state {
        BK_TURN_CLIENT_NEW,
        BK_TURN_CLIENT_ALLOCATING,
        BK_TURN_CLIENT_PERMITTING, /* the address is there, the first permissions are not */
        BK_TURN_CLIENT_UP,
        BK_TURN_CLIENT_OVER,
    } state;
    bk_time ready_until;
    /* As the relay told. */
    bool has_key;
    uint8_t key[BK_TURN_KEY_BYTES];
    uint8_t realm[BK_TURN_TEXT_MAX_BYTES], nonce[BK_TURN_TEXT_MAX_BYTES];
    size_t realm_n, nonce_n;
    struct bk_addr relayed;
    /* The transaction under way; method 0: none. */
    uint16_t method;
    uint8_t txid[BK_STUN_TXID_BYTES];
    bk_time answer_until;
    unsigned stale;
    bk_time refresh_at, permission_at;
    bool name_due; /* the relay has not been told the newest one */
    struct {
        struct bk_addr addr;
        bool asked, granted;
    } permits[BK_TURN_CLIENT_PERMITS_MAX];
    size_t n_permits;
    struct {
        bool used;
        uint32_t connection_id;
        struct bk_addr peer;
        bool by_name;
        uint8_t txid[BK_STUN_TXID_BYTES];
        unsigned stale;
        bk_time until;
    } binds[BK_TURN_CLIENT_BINDS_MAX];
    /* The control connection's input up to the end of a message. */
    size_t in_n;
    uint8_t in[BK_TURN_MESSAGE_MAX_BYTES];
    char why[BK_TURN_CLIENT_WHY_BYTES];
};

/* BK_E_RANGE: credentials or a server name that are longer than TURN takes. */
BK_NODISCARD enum bk_err bk_turn_client_init(struct bk_turn_client *t,
                                             const struct bk_turn_client_config *config);
/* Wipes the secrets. */
void bk_turn_client_fini(struct bk_turn_client *t);
/* Both start `out` afresh; its slices live until its next use. After FAILED nothing comes any more. */
void bk_turn_client_input(struct bk_turn_client *t, const struct bk_now *now,
                          const struct bk_turn_client_event *event, struct bk_turn_client_out *out);
void bk_turn_client_timer(struct bk_turn_client *t, const struct bk_now *now,
                          struct bk_turn_client_out *out);
bk_time bk_turn_client_deadline(const struct bk_turn_client *t);

#endif
