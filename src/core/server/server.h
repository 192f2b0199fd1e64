/* The server's core: registrations over streams, lookups and calls, and the location table's shards (core/registrar). Bytes
 * in, bytes out, time in; no socket, no clock, no store: what is durable is asked of the shell by action and answered
 * by event.
 *
 * One thread calls this. A shell with more of them has a worker call core/registrar for each shard, and keeps workers and
 * core apart by `lock`.
 *
 * Datagrams and stream messages are checked cheapest first. An unproven sender leaves no state and gets
 * no more bytes than it sent (plain Binding excepted). Connections are numbered by the shell; the
 * identity that it hands in with STREAM_OPEN is verified. Borrowed slices in events are read during the
 * call only; slices in actions live in `out` until its next use. */
#ifndef BK_CORE_SERVER_SERVER_H
#define BK_CORE_SERVER_SERVER_H

#include "base/addr.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mac.h"
#include "base/random.h"
#include "core/registrar/registrar.h"
#include "seal/identity.h"
#include "wire/attrs.h"
#include "wire/enrol.h"

enum {
    BK_SERVER_EPOCHS_MAX = BK_REGISTRAR_EPOCHS_MAX,
    BK_SERVER_OUT_ACTIONS = 32,
    BK_SERVER_OUT_BYTES = 65536,
    BK_SERVER_KEEPALIVE_S = 25, /* below the 30 s that Linux keeps an unreplied mapping */
    BK_SERVER_EXPIRY_S = BK_REGISTRAR_EXPIRY_S,
    BK_SERVER_EXPIRY_MAX_S = BK_REGISTRAR_EXPIRY_MAX_S,
    BK_SERVER_DELIVERY_MS = 7000, /* 217 to 226: afterwards the caller hears "offline" */
    BK_SERVER_RESULTS_MAX = 8,    /* of one call: ACCEPTED comes again with further candidates */
};

/* Keeps those who work on one shard apart. Held for a few microseconds, never two at a time, and never while the shell
 * is called otherwise. */
struct bk_shard_lock {
    void *ctx;
    void (*enter)(void *ctx, uint32_t shard);
    void (*leave)(void *ctx, uint32_t shard);
};

struct bk_server_config {
    struct bk_alloc alloc;
    struct bk_alloc chunks; /* bk_registrar_config.chunks; `get` may be NULL */
    struct bk_random rng;
    struct bk_mac_ops mac;
    struct bk_master_key master[BK_SERVER_EPOCHS_MAX]; /* accepted epochs, the current one first */
    size_t n_master;                                   /* at least 1 */
    /* Rows: a new device beyond it, or beyond its shard's share and some, is not registered. */
    uint64_t max_devices;
    uint32_t shards; /* 1 to BK_SHARDS_MAX; 0: 1 */
    /* Functions NULL: the core is alone with its shards, and does their timers. Otherwise whoever works on a shard does. */
    struct bk_shard_lock lock;
    uint32_t max_streams;
    uint32_t max_calls; /* calls being introduced at one time */
    bool answer_binding;
    uint32_t binding_per_s; /* per rate key (bk_addr_rate_key) and shard */
    uint8_t
        changes;    /* enum bk_binding_change: what plain Binding may ask for; how is the shell's */
    bool fast_form; /* a request that fits goes with NOTIFY */
    /* LOOKUPs, 217s and RENEWs (each as ten) of one peer, ENROLs of one rate key, with a burst of ten times that; 0: no
     * limit. */
    uint32_t requests_per_s;
    struct bk_server_ports ports; /* told to devices that join */
};

/* What a stream is for, beside the role of who opened it. */
enum bk_server_purpose {
    BK_STREAM_PLAIN, /* as the role says: ENROL, or LOOKUP and 217, or taking 226 */
    BK_STREAM_RENEW, /* RENEW, of a device or user */
    /* One WATCH, of a device; then it stays silent and open. Or INFO only, or RESULTs of calls that came by the fast form */
    BK_STREAM_WATCH,
    BK_STREAM_REGISTER, /* REGISTER and NOTIFY of a device that UDP does not carry: its newest such stream only */
};

enum bk_server_event_type {
    BK_SERVER_DATAGRAM, /* any; with workers, what they were told to pass on (BK_REGISTRAR_PASS) */
    BK_SERVER_ROW_NEWS, /* as bk_registrar_reply said */
    BK_SERVER_STREAM_OPEN,
    BK_SERVER_STREAM_MESSAGE,
    BK_SERVER_STREAM_CLOSED,
    BK_SERVER_DEVICE,    /* answers FIND_DEVICE */
    BK_SERVER_ENROLLED,  /* answers ENROL; a device's older generations are refused from then on */
    BK_SERVER_EXCEPTION, /* a device's lowest generation or revocation; loaded before serving */
    BK_SERVER_RENEWED,   /* answers RENEW */
    BK_SERVER_USER_REVOKED, /* closes that user's streams, and the watches of calls of that user */
    BK_SERVER_GRANTS_CHANGED, /* closes the watches of that user's calls: their devices ask again */
};

struct bk_server_event {
    enum bk_server_event_type type;
    union {
        struct {
            /* The shell's number of the address and port it came to; never BK_LOCAL_STREAM. */
            uint8_t local;
            uint8_t shard; /* whose socket it came to; comes back in the answer */
            bool second;   /* to the second port of that address: there only Binding is answered */
            struct bk_addr from;
            struct bk_slice bytes;
        } datagram;
        struct {
            uint64_t equipment_id;
        } row_news;
        struct {
            uint64_t stream; /* the shell's number, never used twice */
            struct bk_identity peer;
            struct bk_addr from;
            enum bk_server_purpose purpose;
        } open;
        struct {
            uint64_t stream;
            struct bk_slice bytes; /* one whole message */
        } message;
        struct {
            uint64_t stream;
        } closed;
        struct {
            uint64_t query;
            uint16_t code; /* 0, or BK_CODE_NOT_FOUND, BK_CODE_REVOKED */
            uint64_t equipment_id;
            struct bk_slice certificate;
            struct bk_slice box_key;
        } device;
        struct {
            uint64_t query;
            uint16_t code;         /* 0, or an enum bk_code */
            uint64_t equipment_id; /* 0 for a user */
            uint32_t generation;
            struct bk_slice user;
            struct bk_slice certificate;
            struct bk_slice ca_certificate;
        } enrolled;
        struct {
            uint64_t query;
            uint16_t code;               /* 0, or an enum bk_code */
            uint32_t generation;         /* of a device */
            struct bk_slice certificate; /* empty: none was asked for, or it is yet to be signed */
        } renewed;
        struct {
            uint64_t equipment_id;
            uint32_t lowest_generation;
            bool revoked;
        } exception;
        struct {
            struct bk_slice user;
        } user_revoked, grants_changed;
    };
};

enum bk_server_action_type {
    BK_SERVER_SEND_DATAGRAM,
    BK_SERVER_SEND_MESSAGE,
    BK_SERVER_CLOSE_STREAM, /* after what was sent on it; the shell still reports STREAM_CLOSED */
    BK_SERVER_FIND_DEVICE,  /* for that user: not granted is not found */
    BK_SERVER_ENROL,
    BK_SERVER_RENEW, /* this and the last two must each be answered once, by DEVICE, ENROLLED, RENEWED */
    BK_SERVER_SEND_INFO, /* answer INFO on that stream: what is on offer, and credentials for `user`, are the shell's */
    BK_SERVER_AUDIT,
};

/* How a call ended. */
enum bk_server_audit {
    BK_AUDIT_DELIVERED, /* the device has the request */
    BK_AUDIT_NOT_FOUND, /* unknown or not granted */
    BK_AUDIT_REVOKED,
    BK_AUDIT_OFFLINE,
    BK_AUDIT_ABANDONED, /* the caller left before */
    BK_AUDIT_OVERLOADED,
    BK_AUDIT_CALL_ENDED, /* a call that was up: its device has let go of its watch, `took_ms` long */
    BK_AUDIT_CALL_REVOKED, /* its device asked (again) and was told that the caller may not call it */
};

struct bk_server_action {
    enum bk_server_action_type type;
    union {
        struct {
            uint8_t local;
            uint8_t shard; /* whose socket: an answer's, that which was asked; else the device's */
            bool second;   /* from the second port of that address */
            uint8_t
                change; /* BK_CHANGE_IP: and from another IP address than that of `local`, or not at all */
            struct bk_addr to;
            struct bk_slice bytes;
        } datagram;
        struct {
            uint64_t stream;
            struct bk_slice bytes;
        } message;
        struct {
            uint64_t stream;
            uint8_t txid[BK_STUN_TXID_BYTES];
            struct bk_addr from;  /* of the connection */
            struct bk_slice user; /* empty: a device asks */
        } info;
        struct {
            uint64_t stream;
        } close;
        struct {
            uint64_t query;
            struct bk_slice user;
            uint64_t equipment_id; /* 0: by name */
            struct bk_slice name;
        } find;
        struct {
            uint64_t query;
            struct bk_slice token;
            struct bk_slice csr;
            struct bk_slice box_key;
        } enrol;
        struct {
            uint64_t query;
            struct bk_identity peer; /* who renews: role, ID or name, and the key that it proved */
            struct bk_slice csr;     /* or empty */
            struct bk_slice box_key; /* or empty */
        } renew;
        struct {
            enum bk_server_audit how;
            struct bk_slice user;
            uint64_t equipment_id;
            struct bk_addr from; /* the caller's connection; CALL_...: the device's */
            uint64_t took_ms;
            bool fast;         /* DELIVERED: in the fast form */
            uint32_t left_out; /* refusals before this one, of that caller or device, not written */
        } audit;
    };
};

struct bk_server_out {
    size_t n;
    struct bk_server_action actions[BK_SERVER_OUT_ACTIONS];
    size_t used;
    uint8_t bytes[BK_SERVER_OUT_BYTES];
};

struct bk_server;

/* Copies the configuration; draws seeds and keys of this run. At most BK_REGISTRAR_ROWS_MAX devices in each shard.
 * BK_E_NOMEM, BK_E_RANGE. */
BK_NODISCARD enum bk_err bk_server_new(const struct bk_server_config *config,
                                       const struct bk_now *now, struct bk_server **out);
void bk_server_free(struct bk_server *s);

/* Number `shard`, for its worker: to be used inside `lock` only. */
struct bk_registrar *bk_server_shard(const struct bk_server *s, uint32_t shard);

/* Changes what the configuration said about plain Binding; `per_s` at least 1. */
void bk_server_set_binding(struct bk_server *s, bool answer, uint32_t per_s);
void bk_server_set_requests(struct bk_server *s, uint32_t per_s);
/* Other epochs from now on, the current one first. Rows of an epoch that is no longer there are dropped. An epoch
 * keeps its place in the rows by its two lowest bits: those of all accepted ones must differ. BK_E_RANGE. */
BK_NODISCARD enum bk_err bk_server_set_masters(struct bk_server *s,
                                               const struct bk_master_key *master, size_t n);

/* Both start `out` afresh. What does not fit into `out` is deferred: deadline() then is in the past. */
void bk_server_input(struct bk_server *s, const struct bk_now *now,
                     const struct bk_server_event *event, struct bk_server_out *out);
void bk_server_timer(struct bk_server *s, const struct bk_now *now, struct bk_server_out *out);
bk_time bk_server_deadline(const struct bk_server *s);

/* Reading the location table (figure 9); each enters and leaves the shards that it looks at. */
struct bk_server_row {
    uint64_t equipment_id;
    struct bk_addr addr;
    bk_time last_seen;
    uint16_t epoch; /* of the registration key that it was registered with */
    bool by_stream; /* over TLS, in place of UDP */
};
uint64_t bk_server_rows(const struct bk_server *s); /* expired ones too, until they are swept */
/* Both leave out rows that had expired by the newest event. */
bool bk_server_find(const struct bk_server *s, uint64_t equipment_id, struct bk_server_row *out);
/* Walks all rows; start with *cursor = 0. Rows may be missed or repeated only if the table changes
 * between the calls. */
bool bk_server_next(const struct bk_server *s, uint64_t *cursor, struct bk_server_row *out);

#endif
