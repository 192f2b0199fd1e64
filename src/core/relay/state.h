/* The inside of the relay's core; nobody else includes it.
 *
 * Connections, allocations and users lie in three arrays made at the start. A connection is fresh (a client's, nothing
 * asked of it yet), control (it has an allocation), pending (a peer's, or one dialled, waiting for ConnectionBind) or joined.
 * Pending and joined ones are in their allocation's list; the fresh ones queue by age. */
#ifndef BK_CORE_RELAY_STATE_H
#define BK_CORE_RELAY_STATE_H

#include "base/bucket.h"
#include "base/heap.h"
#include "base/map.h"
#include "core/relay/relay.h"

enum {
    BK_RELAY_SECRET_MAX_BYTES = 128,
    BK_RELAY_NONCE_TEXT_BYTES = 24, /* hexadecimal: 4 bytes of time, 8 of MAC */
};

enum relay_conn_kind {
    RELAY_FREE,
    RELAY_FRESH,
    RELAY_CONTROL,
    RELAY_PENDING,
    RELAY_JOINED,
};

struct relay_alloc;

struct relay_conn {
    struct bk_timer timer; /* first: its address is its connection's */
    enum relay_conn_kind kind;
    uint64_t number;
    struct bk_addr from, local;
    uint32_t connection_id; /* pending */
    struct bk_bucket messages;
    struct relay_alloc *alloc; /* all but fresh */
    struct relay_conn *next;   /* free, or in the allocation's list */
    struct relay_conn **link;
    struct relay_conn *older, *younger; /* fresh */
};

struct relay_user {
    char name[BK_NAME_MAX_BYTES + 1];
    uint64_t hash;
    uint32_t allocations; /* 0: free */
    uint32_t connections; /* of them all: control, pending and joined */
    struct relay_user *next_free;
};

struct relay_permission {
    struct bk_addr peer;
    bk_time until; /* 0: none */
};

/* A request that waits for the shell's answer. */
struct relay_waiting {
    bool active;
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint8_t key[BK_TURN_KEY_BYTES];
    uint32_t lifetime_s;    /* Allocate */
    uint32_t connection_id; /* Connect */
    struct bk_addr peer;
};

struct relay_alloc {
    struct bk_timer timer; /* first */
    bool used;
    bool revoked;
    uint64_t number; /* times used << 32 | place */
    struct relay_conn *control;
    struct relay_user *user;
    bool v6;
    struct relay_waiting allocate, connect;
    struct relay_permission permissions[BK_RELAY_PERMISSIONS_MAX];
    struct relay_conn *conns;
    uint32_t n_pending, n_joined; /* connections, not pairs */
    char server_name[BK_TURN_SERVER_NAME_MAX_BYTES + 1];
    struct relay_alloc *next_free;
};

struct bk_relay_core {
    struct bk_relay_core_config config;
    uint8_t secret[BK_RELAY_SECRET_MAX_BYTES];
    uint64_t seed[2];         /* of hashes and nonces */
    uint32_t max_allocations; /* at this moment; config's is what there is room for */
    struct relay_conn *conns, *free_conns;
    struct relay_alloc *allocs, *free_allocs;
    struct relay_user *users, *free_users;
    uint32_t n_allocs, n_fresh;
    struct relay_conn *oldest, *youngest;
    struct bk_map by_number, by_connection_id, by_user, by_name; /* → place + 1 */
    struct bk_heap heap;
    struct bk_timer **heap_nodes;
};

/* tables.c: places, lists and maps. `take` returns NULL where there is no room. */
BK_NODISCARD enum bk_err relay_tables_init(struct bk_relay_core *c);
void relay_tables_fini(struct bk_relay_core *c);
struct relay_conn *relay_conn_take(struct bk_relay_core *c, enum relay_conn_kind kind,
                                   uint64_t number, const struct bk_addr *from);
struct relay_conn *relay_conn_find(const struct bk_relay_core *c, uint64_t number);
struct relay_conn *relay_conn_pending(const struct bk_relay_core *c, uint32_t connection_id);
void relay_conn_become(struct bk_relay_core *c, struct relay_conn *conn, enum relay_conn_kind kind,
                       struct relay_alloc *alloc);
/* Puts a pending one where ConnectionBind finds it. False: no memory. */
bool relay_conn_wait(struct bk_relay_core *c, struct relay_conn *conn, uint32_t connection_id);
void relay_conn_forget(struct bk_relay_core *c, struct relay_conn *conn);
struct relay_alloc *relay_alloc_take(struct bk_relay_core *c, struct bk_slice name);
struct relay_alloc *relay_alloc_find(const struct bk_relay_core *c, uint64_t number);
/* By lower case; one name leads to one allocation: that of the user who had it first which named it last. In place of the
 * allocation's former name, unless the name is somebody else's: of that the client learns nothing. */
void relay_alloc_name(struct bk_relay_core *c, struct relay_alloc *a, struct bk_slice name);
struct relay_alloc *relay_alloc_named(const struct bk_relay_core *c, struct bk_slice name);
/* With what is in its list. */
void relay_alloc_forget(struct bk_relay_core *c, struct relay_alloc *a);
struct relay_user *relay_user_find(const struct bk_relay_core *c, struct bk_slice name);

/* out.c */
struct bk_relay_action *relay_out_add(struct bk_relay_out *out, enum bk_relay_action_type type);
void relay_out_send(struct bk_relay_out *out, uint64_t conn, struct bk_slice bytes);
/* Closes, and forgets. */
void relay_out_close(struct bk_relay_core *c, struct bk_relay_out *out, struct relay_conn *conn,
                     bool reset);
uint8_t *relay_out_space(struct bk_relay_out *out, size_t *cap);

/* login.c */
void relay_nonce_write(const struct bk_relay_core *c, const struct bk_now *now,
                       const struct bk_addr *from, char out[BK_RELAY_NONCE_TEXT_BYTES + 1]);
bool relay_nonce_good(const struct bk_relay_core *c, const struct bk_now *now,
                      const struct bk_addr *from, struct bk_slice nonce);
struct relay_login {
    struct bk_slice user; /* NAME of "EXPIRY:NAME" */
    uint64_t expiry_s;
    uint8_t key[BK_TURN_KEY_BYTES];
};
/* 0, or the code that answers. Wipe `out->key`. */
uint16_t relay_login_check(const struct bk_relay_core *c, const struct bk_now *now,
                           const struct relay_conn *conn, const struct bk_stun *m,
                           const struct bk_turn_request *request, struct relay_login *out);

/* requests.c: what clients ask */
void relay_message(struct bk_relay_core *c, const struct bk_now *now, struct relay_conn *conn,
                   struct bk_slice bytes, struct bk_relay_out *out);
void relay_listening(struct bk_relay_core *c, const struct bk_now *now,
                     const struct bk_relay_event *event, struct bk_relay_out *out);

/* peers.c: whom they hear of */
bool relay_peer_forbidden(const struct bk_relay_core *c, const struct relay_conn *control,
                          const struct bk_addr *peer, bool dial);
/* Its user may hold `n` connections more. */
bool relay_user_has_room(const struct bk_relay_core *c, const struct relay_alloc *a, uint32_t n);
bool relay_permitted(const struct relay_alloc *a, const struct bk_now *now,
                     const struct bk_addr *peer);
/* 0 or 508: all of them or none. */
uint16_t relay_permit(struct relay_alloc *a, const struct bk_now *now, const struct bk_addr *peers,
                      size_t n);
uint32_t relay_connection_id(const struct bk_relay_core *c);
void relay_peer(struct bk_relay_core *c, const struct bk_now *now,
                const struct bk_relay_event *event, struct bk_relay_out *out);
void relay_named(struct bk_relay_core *c, const struct bk_now *now,
                 const struct bk_relay_event *event, struct bk_relay_out *out);
void relay_dialled(struct bk_relay_core *c, const struct bk_now *now,
                   const struct bk_relay_event *event, struct bk_relay_out *out);

/* relay.c: ends an allocation; its control connection, if there, is fresh again. */
void relay_alloc_end(struct bk_relay_core *c, const struct bk_now *now, struct relay_alloc *a,
                     enum bk_relay_end how, struct bk_relay_out *out);
void relay_answer(struct bk_relay_core *c, const struct relay_conn *conn,
                  const uint8_t txid[BK_STUN_TXID_BYTES], const struct bk_turn_answer *answer,
                  const uint8_t *key, struct bk_relay_out *out);

#endif
