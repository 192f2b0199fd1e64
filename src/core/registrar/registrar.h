/* One shard of the location table and all that datagrams may do to it: REGISTER, PROBE, plain Binding, checked cheapest
 * first, applied or challenged, answered. Bytes in, bytes out, time in; no socket, no clock, no lock.
 *
 * A device belongs to the shard that bk_shard_of names, for good. A shard is worked on by one thread at a time: the
 * worker whose socket its datagrams are steered to, or the server's core, which asks where a device is; who keeps them
 * apart is the shell's affair (struct bk_shard_lock in core/server/server.h). Random bytes are drawn by
 * bk_registrar_new only; the allocators and the MAC are called by whoever works on the shard.
 *
 * An unproven sender leaves no state and gets no more bytes than it sent (plain Binding excepted). Nothing is allocated
 * but for rows that are new. */
#ifndef BK_CORE_REGISTRAR_REGISTRAR_H
#define BK_CORE_REGISTRAR_REGISTRAR_H

#include "base/addr.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mac.h"
#include "base/random.h"
#include "wire/attrs.h"

enum {
    BK_SHARDS_MAX = 64,
    BK_REGISTRAR_EPOCHS_MAX = 4,
    BK_REGISTRAR_REPLY_BYTES = 128,     /* the largest answer */
    BK_REGISTRAR_BATCH_MAX = 64,        /* datagrams looked ahead at by bk_registrar_prefetch */
    BK_REGISTRAR_CHUNK_BYTES = 6 << 20, /* what `chunks` is asked for: three pages of 2 MiB */
    /* Of one shard: row numbers have 24 bits in the index, less one for "empty". */
    BK_REGISTRAR_ROWS_MAX = 0xFFFFFE,
    /* A row of a device with the usual interval, not refreshed for so long, is gone; longer intervals: rows.c. */
    BK_REGISTRAR_EXPIRY_S = 90,
    BK_REGISTRAR_EXPIRY_MAX_S = 1080,
    /* In place of the number of a local address: registered over a stream. The shell's numbers are smaller. */
    BK_LOCAL_STREAM = 255,
};

/* From where else plain Binding may ask to be answered: bits of CHANGE-REQUEST (RFC 5780, 7.2). */
enum bk_binding_change {
    BK_CHANGE_PORT = 2,
    BK_CHANGE_IP = 4,
};

struct bk_master_key {
    uint16_t epoch;
    uint8_t key[BK_KEY_BYTES];
};

struct bk_registrar_config {
    struct bk_alloc alloc;
    /* For what a large table consists of, BK_REGISTRAR_CHUNK_BYTES each time, given back at the end only; good if it
     * lies on huge pages. `get` NULL: `alloc` takes its place. */
    struct bk_alloc chunks;
    struct bk_random rng; /* used by bk_registrar_new only */
    struct bk_mac_ops mac;
    const struct bk_master_key *master; /* read by bk_registrar_new only; the current one first */
    size_t n_master;
    uint64_t max_devices; /* rows of this shard; a new device beyond it is not registered */
    bool answer_binding;
    uint32_t binding_per_s; /* per rate key (bk_addr_rate_key) */
    uint8_t changes;        /* enum bk_binding_change: what plain Binding may ask for */
    uint32_t shard, n_shards;
    uint8_t notify_key[BK_KEY_BYTES]; /* of all shards alike: bk_notify_txid_* */
};

/* A datagram as it came. */
struct bk_arrival {
    struct bk_addr from;
    struct bk_slice bytes;
    /* The shell's number of the address that it came to, the same in all shards; not BK_LOCAL_STREAM. */
    uint8_t local;
    bool second; /* to the second port of that address: there only Binding is answered */
};

enum bk_registrar_verdict {
    BK_REGISTRAR_NOTHING,
    BK_REGISTRAR_REPLY, /* to the sender */
    BK_REGISTRAR_PASS, /* for the server's core, unchanged, as a datagram event: an answer to one of our NOTIFYs, a
                         * proven RESULT of a call that is, or what belongs to another shard and is proven */
};

struct bk_registrar_reply {
    size_t n;       /* bytes */
    uint16_t port;  /* of the sender's IP address, to send to; mostly the one that it sent from */
    bool second;    /* leaves from the second port */
    uint8_t change; /* BK_CHANGE_IP: and from another IP address, or not at all */
    /* Whatever the verdict: the device `equipment_id`, which bk_registrar_await named, has come, or is elsewhere. Tell the
     * server's core (BK_SERVER_ROW_NEWS); it must not get lost. */
    bool news;
    uint64_t equipment_id; /* with `news` only */
    uint8_t bytes[BK_REGISTRAR_REPLY_BYTES];
};

/* Where a device can be reached: a copy of its row. */
struct bk_location {
    uint64_t equipment_id;
    struct bk_addr addr;
    struct bk_tag tag; /* of its newest REGISTER */
    uint32_t generation;
    uint16_t epoch; /* of the registration key that it registered with; accepted at this time */
    uint8_t local;  /* BK_LOCAL_STREAM: by a stream */
    bk_time last_seen;
};

enum bk_standing {
    BK_STANDING_GOOD,
    BK_STANDING_REVOKED, /* revoked, or a generation that has a successor */
    BK_STANDING_UNKNOWN, /* an exception was lost: nobody without one is believed any more */
};

struct bk_registrar;

/* Which shard of `n` (1 to BK_SHARDS_MAX) a device belongs to. net/steer.h computes the same in the kernel. */
uint32_t bk_shard_of(uint64_t equipment_id, uint32_t n);
/* Which shard is to be given that datagram: its device's, if it names one and is well-formed; else any, but always the
 * same for one transaction ID. For whoever gets datagrams that were not steered. */
uint32_t bk_shard_of_datagram(struct bk_slice bytes, uint32_t n);

/* K = HMAC-SHA-256(master[epoch], "beckon registration key 1" | equipment ID | generation), integers
 * in network order. */
void bk_registration_key(const struct bk_mac_ops *mac, const uint8_t master[BK_KEY_BYTES],
                         uint64_t equipment_id, uint32_t generation, uint8_t key[BK_KEY_BYTES]);

/* Copies the configuration. BK_E_NOMEM, BK_E_RANGE. */
BK_NODISCARD enum bk_err bk_registrar_new(const struct bk_registrar_config *config,
                                          const struct bk_now *now, struct bk_registrar **out);
void bk_registrar_free(struct bk_registrar *r);

/* ---- on the way of every datagram ---- */

/* Has the rows that these datagrams will touch brought near, before they are handed in one by one: at ten million
 * devices the wait for memory is most of a registration. At most BK_REGISTRAR_BATCH_MAX; more are passed over. */
void bk_registrar_prefetch(const struct bk_registrar *r, const struct bk_slice *datagrams,
                           size_t n);

/* Sets n, port, second and change of `out` where it is to be sent, and `news` always. */
enum bk_registrar_verdict bk_registrar_datagram(struct bk_registrar *r, const struct bk_now *now,
                                                const struct bk_arrival *in,
                                                struct bk_registrar_reply *out);

/* Takes away what has expired, a bounded number of rows at a time; due at the deadline. */
void bk_registrar_timer(struct bk_registrar *r, const struct bk_now *now);
bk_time bk_registrar_deadline(const struct bk_registrar *r);

/* ---- for the server's core ---- */

/* A REGISTER that came over the stream of that device, whose identity TLS has proven, from that address: under the same
 * rules. `out->n` 0: no answer. What is wrong with the message otherwise: BK_E_NOTFOUND and BK_E_AUTH (fingerprint),
 * BK_E_MALFORMED, BK_E_UNKNOWN_ATTR; BK_E_STATE: it speaks for another device. */
BK_NODISCARD enum bk_err
bk_registrar_stream_message(struct bk_registrar *r, const struct bk_now *now, uint64_t equipment_id,
                            const struct bk_addr *from, const struct bk_stun *m,
                            struct bk_registrar_reply *out);

/* Live rows only. */
bool bk_registrar_find(const struct bk_registrar *r, const struct bk_now *now,
                       uint64_t equipment_id, struct bk_location *out);
/* Walks live rows from *cursor (0 at first) on, at most `max_rows` row numbers at a time: true while there are more;
 * `*found` says whether `out` holds one. */
bool bk_registrar_walk(const struct bk_registrar *r, const struct bk_now *now, uint64_t *cursor,
                       size_t max_rows, bool *found, struct bk_location *out);
uint64_t
bk_registrar_rows(const struct bk_registrar *r); /* expired ones too, until they are swept */

/* Takes the device's row away if it points at a stream. */
void bk_registrar_stream_ended(struct bk_registrar *r, uint64_t equipment_id);

/* From now on a new row of that device, or another address or run of it, is news; as often taken back as asked for.
 * Whoever asks first and then looks where the device is misses nothing. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_registrar_await(struct bk_registrar *r, uint64_t equipment_id);
/* What was news is said once, however often the device moves: not again before this, by whoever then looks where it is. */
void bk_registrar_heard(struct bk_registrar *r, uint64_t equipment_id);
void bk_registrar_await_no_more(struct bk_registrar *r, uint64_t equipment_id);

/* RESULTs of that call, of whichever device, are passed on from now on, until taken back. Those of other calls are answered
 * at once, and tell nobody. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_registrar_expect(struct bk_registrar *r,
                                             const uint8_t call_id[BK_CALL_ID_BYTES]);
void bk_registrar_expect_no_more(struct bk_registrar *r, const uint8_t call_id[BK_CALL_ID_BYTES]);

/* The devices that are not as usual: revoked, or enrolled again so that older generations of their key are refused. */
enum bk_standing bk_registrar_standing(const struct bk_registrar *r, uint64_t equipment_id,
                                       uint32_t generation);
/* Both drop the row of whom it concerns. True if it is news. The latter raises the lowest generation, never lowers it;
 * a revocation stays. */
bool bk_registrar_set_exception(struct bk_registrar *r, uint64_t equipment_id,
                                uint32_t lowest_generation, bool revoked);
bool bk_registrar_raise(struct bk_registrar *r, uint64_t equipment_id, uint32_t generation);

/* Whether these epochs can be told apart by what a row keeps of them: their two lowest bits. */
bool bk_registrar_epochs_fit(const struct bk_master_key *master, size_t n);
/* Other epochs from now on, the current one first. Rows of an epoch that is no longer there are dropped. BK_E_RANGE. */
BK_NODISCARD enum bk_err bk_registrar_set_masters(struct bk_registrar *r, const struct bk_now *now,
                                                  const struct bk_master_key *master, size_t n);
/* Changes what the configuration said about plain Binding; `per_s` at least 1. */
void bk_registrar_set_binding(struct bk_registrar *r, bool answer, uint32_t per_s);

#endif
