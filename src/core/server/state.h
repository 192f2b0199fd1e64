/* The inside of the server's core, shared by the files beside this one and by nobody else: each file
 * handles one kind of event and works on this. Tables have fixed sizes, set at the start; only the
 * shards grow (core/registrar), and not at the word of an unproven sender. Invariant: where.c and shards.c alone enter
 * them.
 *
 * Streams, queries and calls refer to each other by their number in their table, 0 for none. */
#ifndef BK_CORE_SERVER_STATE_H
#define BK_CORE_SERVER_STATE_H

#include "base/bucket.h"
#include "base/heap.h"
#include "base/map.h"
#include "core/server/out.h"
#include "core/server/pool.h"
#include "core/server/server.h"
#include "wire/connect.h"

enum {
    BK_SERVER_ASKERS = 4096,
    BK_SERVER_PER_STREAM_MAX = 16, /* queries, and calls, outstanding */
    BK_SERVER_WATCHES_MAX = 64,    /* of one device: more calls at one time it has not */
    BK_SERVER_TABLES_MAX = 1 << 24,
};

enum bk_server_watch {
    BK_WATCH_NONE,
    BK_WATCH_ASKED, /* the store is */
    BK_WATCH_UP,
};

struct bk_server_stream {
    uint64_t number; /* the shell's */
    struct bk_identity peer;
    struct bk_addr from;
    enum bk_server_purpose purpose;
    bool used;
    bool closing;        /* nothing more is sent or heard */
    bool queued;         /* to be closed */
    uint32_t next_close; /* in the queue of CLOSE_STREAM not yet asked for */
    uint32_t n_queries;  /* all but those of CONNECT */
    uint32_t n_calls;
    uint32_t calls;  /* a requester's, doubly linked */
    uint32_t serves; /* a device's: the call it was given */
    enum bk_server_watch watch;
    bk_time watch_since;
    char watches[BK_NAME_MAX_BYTES + 1]; /* the user */
};

enum bk_server_query_kind {
    BK_QUERY_LOOKUP,
    BK_QUERY_CONNECT,
    BK_QUERY_ENROL,
    BK_QUERY_RENEW,
    BK_QUERY_WATCH,
};

struct bk_server_query {
    uint64_t number; /* the shell's: a serial above, the place in the table below; 0 unused */
    enum bk_server_query_kind kind;
    uint64_t stream; /* the shell's number: it may be gone when the answer comes */
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint64_t equipment_id; /* asked for; 0: by name */
    uint32_t call;         /* CONNECT: 0 when the call has ended meanwhile */
};

enum bk_server_call_state {
    BK_SERVER_CALL_FINDING, /* the store is asked */
    BK_SERVER_CALL_WAITING, /* for the device to answer NOTIFY, and to open a stream in the first form */
    BK_SERVER_CALL_TAKEN, /* the device has it from NOTIFY, the requester knows; nothing was said about it yet */
    BK_SERVER_CALL_OFFERED,   /* 226 is out */
    BK_SERVER_CALL_DELIVERED, /* the device has it, the requester knows */
    BK_SERVER_CALL_ENDING,    /* as `end_code` and `end_audit` say, as soon as there is room */
};

struct bk_server_call {
    struct bk_timer timer; /* first: the heap hands out this */
    enum bk_server_call_state state;
    uint64_t equipment_id;
    uint8_t call_id[BK_CALL_ID_BYTES];
    uint64_t call_id_hash;
    uint8_t txid[BK_STUN_TXID_BYTES];       /* of 217 */
    uint8_t offer_txid[BK_STUN_TXID_BYTES]; /* of 226 */
    bk_time began;
    bk_time deadline;
    uint32_t requester; /* its stream; it outlives no call */
    uint32_t next_of_requester, prev_of_requester;
    uint32_t device;                         /* the stream that was given this call */
    uint32_t next_of_device, prev_of_device; /* WAITING or TAKEN of one device, oldest first */
    uint32_t query;

    uint8_t notify_txid[BK_STUN_TXID_BYTES];
    bk_time notify_from; /* when the present round of NOTIFY began */
    uint32_t notify_rounds;
    uint32_t notify_sent;
    bool notify_answered;
    bool notify_boxed; /* one of them had the box in it; so long RESULT by datagram is expected */
    bool awaits;       /* its device, in the shard that it belongs to */
    struct bk_addr notify_to; /* where the newest went */
    uint8_t notify_local;
    uint16_t notify_epoch; /* and under which key */
    uint32_t notify_generation;

    uint32_t results;                     /* forwarded, */
    uint64_t said[BK_SERVER_RESULTS_MAX]; /* hashes of their boxes */
    uint16_t end_code;
    bool fast;    /* delivered by NOTIFY */
    bool audited; /* and 217 answered */
    enum bk_server_audit end_audit;
    size_t box_n;
    uint8_t box[BK_BOX_MAX_BYTES];
};

/* Who asks, or several by chance (requests.c). */
struct bk_server_asker {
    struct bk_bucket requests;
    struct bk_bucket refusals; /* that are written in the audit */
    uint32_t left_out;         /* since the last one that was */
};

struct bk_server {
    struct bk_server_config config;
    bk_time started;
    struct bk_now now; /* of the newest event */
    uint64_t seed[2];
    uint8_t notify_key[BK_KEY_BYTES]; /* bk_notify_txid_make */
    uint32_t n_shards;
    struct bk_registrar *shards[BK_SHARDS_MAX];
    struct bk_server_asker *askers;

    struct bk_pool stream_pool;
    struct bk_server_stream *streams;
    struct bk_map stream_numbers;
    struct bk_map registering; /* equipment ID → its stream of REGISTER */
    uint32_t close_first, close_last;

    struct bk_pool query_pool;
    struct bk_server_query *queries;
    uint32_t query_serial;

    struct bk_pool call_pool;
    struct bk_server_call *calls;
    struct bk_map call_ids;      /* hash of the call ID → call */
    struct bk_map notify_txids;  /* first 8 bytes → call */
    struct bk_map waiting_first; /* equipment ID → oldest call WAITING or TAKEN */
    struct bk_map waiting_last;
    struct bk_timer **timer_nodes;
    struct bk_heap timers;
};

/* An answer to NOTIFY or the like, by UDP (the registrar let it pass) or on a stream of REGISTER. */
struct bk_datagram {
    uint8_t local, shard;
    struct bk_addr from;
    struct bk_stun message;
};

/* where.c: what is asked of the shards, each within its lock. */
/* At the newest event's time; live rows only. */
bool bk_server_where(const struct bk_server *s, uint64_t equipment_id, struct bk_location *out);
/* The same for a call that waits: how the device moves from now on is news again. */
bool bk_server_look(const struct bk_server *s, uint64_t equipment_id, struct bk_location *out);
enum bk_standing bk_server_standing(const struct bk_server *s, uint64_t equipment_id,
                                    uint32_t generation);
/* The same where no generation is named. */
enum bk_standing bk_server_device_standing(const struct bk_server *s, uint64_t equipment_id);
/* Drop the device's row where it is refused from now on. True if that is news. */
bool bk_server_except(struct bk_server *s, uint64_t equipment_id, uint32_t lowest_generation,
                      bool revoked);
bool bk_server_raise(struct bk_server *s, uint64_t equipment_id, uint32_t generation);
/* From now on bk_server_row_changed is called for that device, or not any more; counted. False: no memory. */
bool bk_server_await(struct bk_server *s, uint64_t equipment_id);
void bk_server_await_no_more(struct bk_server *s, uint64_t equipment_id);
/* RESULT of that call may come by datagram, or not any more. False: no memory. */
bool bk_server_expect_result(struct bk_server *s, const struct bk_server_call *c);
void bk_server_expect_no_result(struct bk_server *s, const struct bk_server_call *c);
void bk_server_drop_stream_row(struct bk_server *s, uint64_t equipment_id);
BK_NODISCARD enum bk_err bk_server_register_by_stream(struct bk_server *s, const struct bk_now *now,
                                                      uint32_t stream, const struct bk_stun *m,
                                                      struct bk_server_out *out);
void bk_server_on_datagram(struct bk_server *s, const struct bk_now *now,
                           const struct bk_server_event *event, struct bk_server_out *out);
/* The device's registration key; false for an epoch that is not accepted. Whoever asks for one wipes it. */
BK_NODISCARD bool bk_server_device_key(const struct bk_server *s, uint16_t epoch,
                                       uint64_t equipment_id, uint32_t generation,
                                       uint8_t key[BK_KEY_BYTES]);

/* shards.c: making and ending them, and what is set in all of them. */
BK_NODISCARD enum bk_err bk_server_make_shards(struct bk_server *s);
void bk_server_free_shards(struct bk_server *s);
void bk_server_enter(const struct bk_server *s, uint32_t shard);
void bk_server_leave(const struct bk_server *s, uint32_t shard);
/* Their timers, if they are ours. */
void bk_server_shards_timer(struct bk_server *s);
bk_time bk_server_shards_deadline(const struct bk_server *s);

/* notify.c */
/* Draws the call's NOTIFY transaction ID; forgets it. */
void bk_server_notify_begin(struct bk_server *s, uint32_t call);
void bk_server_notify_forget(struct bk_server *s, uint32_t call);
void bk_server_on_notify_answer(struct bk_server *s, bk_time now, const struct bk_datagram *d,
                                struct bk_server_out *out);
/* Whom to tell the device as calling; empty where no message can carry it: a note only, and no reason to hold the call back. */
struct bk_slice bk_server_caller_name(const struct bk_server *s, const struct bk_server_call *c);
/* Sends the call's NOTIFY if it is due and the device has a row; sets the call's timer. */
void bk_server_notify(struct bk_server *s, bk_time now, struct bk_server_call *c,
                      struct bk_server_out *out);

/* registering.c: streams in place of UDP. Its device's newest from now on; the one before is closed. False: no room. */
bool bk_server_registering_open(struct bk_server *s, uint32_t stream);
/* It is no longer: a row that it led to is gone. */
void bk_server_registering_ended(struct bk_server *s, uint32_t stream);
/* One message of it. */
BK_NODISCARD enum bk_err bk_server_on_registering(struct bk_server *s, const struct bk_now *now,
                                                  uint32_t stream, const struct bk_stun *m,
                                                  struct bk_server_out *out);
/* To there, by datagram or stream. */
void bk_server_send_to(struct bk_server *s, const struct bk_location *where, struct bk_slice bytes,
                       struct bk_server_out *out);

/* streams.c */
void bk_server_on_open(struct bk_server *s, const struct bk_now *now,
                       const struct bk_server_event *event, struct bk_server_out *out);
void bk_server_on_closed(struct bk_server *s, const struct bk_now *now, uint64_t number,
                         struct bk_server_out *out);
void bk_server_on_user_revoked(struct bk_server *s, struct bk_slice user);
uint32_t bk_server_stream(const struct bk_server *s, uint64_t number); /* 0: gone */
/* Asks for CLOSE_STREAM as soon as there is room. */
void bk_server_close(struct bk_server *s, uint32_t stream);
void bk_server_flush_closes(struct bk_server *s, struct bk_server_out *out);
void bk_server_send_success(struct bk_server *s, uint32_t stream, uint16_t method,
                            const uint8_t txid[BK_STUN_TXID_BYTES], struct bk_server_out *out);
void bk_server_send_error(struct bk_server *s, uint32_t stream, uint16_t method,
                          const uint8_t txid[BK_STUN_TXID_BYTES], uint16_t code,
                          struct bk_server_out *out);

/* messages.c: one whole message of a stream */
void bk_server_on_message(struct bk_server *s, const struct bk_now *now, uint64_t number,
                          struct bk_slice bytes, struct bk_server_out *out);

/* queries.c: a query's number, 0 when the table is full */
uint32_t bk_server_query_start(struct bk_server *s, enum bk_server_query_kind kind, uint32_t stream,
                               const uint8_t txid[BK_STUN_TXID_BYTES]);
/* Ends it: copies it out and frees its place. False if there is no such query. */
bool bk_server_query_end(struct bk_server *s, uint64_t number, struct bk_server_query *out);

/* requests.c: false when that peer has asked too often of late. `cost` is in plain requests. */
enum { BK_SERVER_COST_PLAIN = 1, BK_SERVER_COST_RENEW = 10 };
bool bk_server_may_ask(struct bk_server *s, bk_time now, uint32_t stream, uint32_t cost);
/* Whether a refusal that costs that peer next to nothing is to be written in the audit, and how many were not
 * since the last that was. */
bool bk_server_may_write(struct bk_server *s, bk_time now, uint32_t stream, uint32_t *left_out);

/* lookup.c, enrol.c, renew.c, info.c, watch.c, calls.c: requests of a stream that may make them, and the answers of the shell.
 * The former return what bk_..._read said. */
BK_NODISCARD enum bk_err bk_server_on_lookup(struct bk_server *s, const struct bk_now *now,
                                             uint32_t stream, const struct bk_stun *m,
                                             struct bk_server_out *out);
void bk_server_on_device(struct bk_server *s, const struct bk_now *now,
                         const struct bk_server_event *event, struct bk_server_out *out);
/* For that user. */
void bk_server_ask_device(struct bk_server *s, uint32_t query, struct bk_slice user,
                          struct bk_slice name, struct bk_server_out *out);
BK_NODISCARD enum bk_err bk_server_on_enrol(struct bk_server *s, const struct bk_now *now,
                                            uint32_t stream, const struct bk_stun *m,
                                            struct bk_server_out *out);
void bk_server_on_enrolled(struct bk_server *s, const struct bk_now *now,
                           const struct bk_server_event *event, struct bk_server_out *out);
BK_NODISCARD enum bk_err bk_server_on_renew(struct bk_server *s, const struct bk_now *now,
                                            uint32_t stream, const struct bk_stun *m,
                                            struct bk_server_out *out);
void bk_server_on_renewed(struct bk_server *s, const struct bk_server_event *event,
                          struct bk_server_out *out);
BK_NODISCARD enum bk_err bk_server_on_info(struct bk_server *s, const struct bk_now *now,
                                           uint32_t stream, const struct bk_stun *m,
                                           struct bk_server_out *out);
BK_NODISCARD enum bk_err bk_server_on_watch(struct bk_server *s, const struct bk_now *now,
                                            uint32_t stream, const struct bk_stun *m,
                                            struct bk_server_out *out);
/* The store's word on it: 0, or why not. */
void bk_server_watch_found(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                           const struct bk_server_query *q, uint16_t code,
                           struct bk_server_out *out);
/* The stream has ended: says so in the audit if it was a watch. */
void bk_server_watch_ended(const struct bk_server *s, bk_time now, uint32_t stream,
                           struct bk_server_out *out);
/* Closes the watches of that user's calls; their devices ask again. */
void bk_server_close_watches(struct bk_server *s, struct bk_slice user);
void bk_server_on_exception(struct bk_server *s, const struct bk_now *now,
                            const struct bk_server_event *event);

BK_NODISCARD enum bk_err bk_server_on_connect(struct bk_server *s, const struct bk_now *now,
                                              uint32_t stream, const struct bk_stun *m,
                                              struct bk_server_out *out);
/* The store's word on the called device: 0, or why not. */
void bk_server_call_found(struct bk_server *s, const struct bk_now *now, uint32_t call,
                          uint16_t code, struct bk_server_out *out);
/* Tells the requester (code 0: nothing), writes the audit, closes the device's stream, frees. */
void bk_server_call_end(struct bk_server *s, bk_time now, uint32_t call, uint16_t code,
                        enum bk_server_audit how, struct bk_server_out *out);
/* All calls to a revoked device, at the next work: there may be no room for them now. */
void bk_server_end_calls_of_device(struct bk_server *s, bk_time now, uint64_t equipment_id);
void bk_server_call_due(struct bk_server *s, bk_time now, struct bk_server_call *c,
                        struct bk_server_out *out);
/* The device has it (TAKEN or DELIVERED): tells the requester, once. */
void bk_server_call_delivered(struct bk_server *s, bk_time now, uint32_t call,
                              enum bk_server_call_state state, struct bk_server_out *out);
void bk_server_set_timer(struct bk_server *s, struct bk_server_call *c, bk_time at);

/* delivery.c: the device's side of a call */
void bk_server_wait(struct bk_server *s, uint32_t call); /* joins the device's queue */
void bk_server_stop_waiting(struct bk_server *s, uint32_t call);
void bk_server_row_changed(struct bk_server *s, bk_time now, uint64_t equipment_id);
/* It came with NOTIFY. */
void bk_server_taken(struct bk_server *s, bk_time now, uint32_t call, struct bk_server_out *out);
/* RESULT of such calls: as a datagram that the registrar has found good, or on a stream of WATCH. */
void bk_server_on_result_datagram(struct bk_server *s, bk_time now, const struct bk_datagram *d,
                                  struct bk_server_out *out);
BK_NODISCARD enum bk_err bk_server_on_result_by_stream(struct bk_server *s,
                                                       const struct bk_now *now, uint32_t stream,
                                                       const struct bk_stun *m,
                                                       struct bk_server_out *out);
/* False if no call waits for the device of that stream. */
bool bk_server_offer(struct bk_server *s, bk_time now, uint32_t stream, struct bk_server_out *out);
BK_NODISCARD enum bk_err bk_server_on_device_message(struct bk_server *s, const struct bk_now *now,
                                                     uint32_t stream, const struct bk_stun *m,
                                                     struct bk_server_out *out);

#endif
