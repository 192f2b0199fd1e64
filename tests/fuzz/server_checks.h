/* The world around the server's core that fuzz_server.c writes its scripts in: what devices and streams
 * there are, and what a given event may bring about. server_checks.c holds the core against it. */
#ifndef TESTS_FUZZ_SERVER_CHECKS_H
#define TESTS_FUZZ_SERVER_CHECKS_H

#include "core/server/server.h"

#include "feed.h"
#include "seal/seal.h"
#include "wire/connect.h"
#include "wire/info.h"
#include "wire/lookup.h"
#include "wire/notify.h"
#include "wire/probe.h"
#include "wire/register.h"
#include "wire/renew.h"
#include "wire/result.h"
#include "wire/watch.h"

enum {
    DEVICES = 3, /* known ones, IDs 1 to 3; the table takes one less */
    PLACES = 5,  /* addresses, times the server's two */
    LOCALS = 2,
    WAYS = LOCALS + 1, /* the last one: a stream */
    STREAMS = 12,      /* that the shell may have open; the core takes two less */
    CALL_IDS = 6,
    QUERIES = 64,
    EPOCH = 7, /* at the start the current one, and the one before is accepted too */
    OLD_EPOCH = 6,
    EPOCHS =
        8, /* numbers from OLD_EPOCH on that the operator uses; some share a place in the rows */
    BINDING_GAIN_BYTES = 24,
    NO_SHARD = UINT8_MAX,
};

extern const char *const server_users[2];

struct device {
    uint32_t generation; /* that it names */
    uint16_t epoch;
    uint32_t lowest; /* that is accepted */
    bool revoked;
    bool granted; /* the store has said yes to somebody's question */
    struct bk_tag tag;
    bool has_nonce[PLACES][WAYS];
    uint8_t nonce[PLACES][WAYS][BK_NONCE_BYTES]; /* newest sent there */
    bool has_row;
    struct bk_server_row row; /* after the event before */
    bool row_accepted; /* the key that it was last registered under is of an accepted epoch */
    uint8_t row_key[BK_KEY_BYTES];
    uint16_t row_epoch;
    struct { /* the newest NOTIFY by datagram */
        bool is, fast;
        uint8_t txid[BK_STUN_TXID_BYTES];
        uint8_t call_id[BK_CALL_ID_BYTES];
        struct bk_addr at;
        uint8_t local;
        uint8_t key[BK_KEY_BYTES];
    } heard;
};

struct stream {
    uint64_t number; /* 0: none */
    struct bk_identity peer;
    enum bk_server_purpose purpose;
    struct bk_addr from;
    bool closing;    /* CLOSE_STREAM was asked for */
    bool gone_quiet; /* its user was revoked, or what it watches has changed */
    bool watches;    /* asked, or up */
    size_t user;     /* of server_users, that it watches */
    bool sent_bad;   /* not only requests that are well formed */
    uint32_t asked, answered;
    bool has_offer;
    uint8_t offer_txid[BK_STUN_TXID_BYTES];
    uint8_t offer_call;
    uint32_t called; /* bits of CALL_IDS */
};

struct query {
    uint64_t number;
    enum bk_server_action_type type;
    uint64_t stream;       /* that asked */
    uint64_t equipment_id; /* asked for, 0 by name */
};

struct world {
    struct feed f;
    struct feed_memory memory;
    uint64_t seed;
    struct bk_server_config config;
    struct bk_server *server;
    uint32_t in_shard; /* that the core, or its worker, is in; NO_SHARD: none */
    struct bk_now now;
    struct device devices[DEVICES];
    struct stream streams[STREAMS];
    uint64_t next_stream;
    struct query queries[QUERIES];
    uint64_t newest_query;
    const struct stream *speaker;       /* whose message is being read */
    const struct stream *watch_granted; /* the store is just saying yes to its question */
    bool taking;                        /* a device is just saying that it has a call */
    uint32_t txid;
    uint8_t last[256]; /* the newest REGISTER, for replays */
    size_t last_n;
    size_t last_device;
};

/* What a datagram may do: everything but this is refused. */
struct licence {
    bool is_datagram;
    uint8_t shard;
    bool second; /* to the second port */
    struct bk_addr from;
    uint8_t local;
    uint64_t stream;     /* it came by, if it is no datagram */
    uint16_t probe_port; /* an echo may go there */
    bool result;         /* RESULT, of `device` */
    size_t bytes;
    size_t device; /* DEVICES: of none */
    uint32_t generation;
    bool may_move;
};

extern const struct licence no_licence;

/* The place in has_nonce for that `local`. */
size_t way_of(uint8_t local);

struct bk_addr place(size_t i);
size_t place_of(const struct bk_addr *a);
bool accepted(const struct world *w, uint16_t epoch);
/* The master key of an epoch, accepted or not. */
struct bk_master_key master_of(uint16_t epoch);
/* The registration key that the device has now. */
void key_of(const struct world *w, size_t device, uint8_t key[BK_KEY_BYTES]);
/* The lock of a shell with workers: it only looks that shards are entered and left as they should be. */
struct bk_shard_lock shard_lock(struct world *w);
/* What a worker does with a datagram that came to its shard, and then the core with what it passes on. */
void worker(struct world *w, uint8_t shard, const struct bk_server_event *event,
            const struct licence *l);
/* Hands the core an event, or lets it do what is due, and checks what came out. */
void input(struct world *w, const struct bk_server_event *event, const struct licence *l);
void timer(struct world *w);

#endif
