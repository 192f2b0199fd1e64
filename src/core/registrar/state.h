/* The inside of a registrar, shared by the files beside this one and by nobody else. */
#ifndef BK_CORE_REGISTRAR_STATE_H
#define BK_CORE_REGISTRAR_STATE_H

#include "base/bucket.h"
#include "base/map.h"
#include "core/registrar/exceptions.h"
#include "core/registrar/registrar.h"
#include "core/registrar/table.h"
#include "wire/register.h"

enum {
    BK_REGISTRAR_BUCKETS = 4096,
    BK_REGISTRAR_EPOCH_SLOTS = 4, /* an epoch's two lowest bits, all that a row has room for */
    BK_REGISTRAR_AWAITED = 16,    /* devices that calls wait for, and calls, at first */
};

struct bk_registrar_master {
    uint16_t epoch;
    uint8_t raw[BK_KEY_BYTES];
    struct bk_mac_key key;
};

/* A device's registration key. Whoever asks for one wipes it. */
struct bk_device_key {
    uint8_t raw[BK_KEY_BYTES];
    struct bk_mac_key key;
};

struct bk_registrar {
    struct bk_registrar_config config;
    struct bk_registrar_master master[BK_REGISTRAR_EPOCHS_MAX];
    size_t n_master;
    bk_time started;
    uint32_t now_s; /* the newest time heard of, in seconds since the start */
    uint64_t seed[2];
    struct bk_mac_key nonce_key;
    struct bk_table table;
    struct bk_exceptions exceptions;
    struct bk_bucket *binding;
    struct bk_bucket *probes;
    struct bk_bucket *passed;
    struct bk_bucket *answered;
    struct bk_map awaited; /* equipment ID → by how many, and whether its news are on their way */
    struct bk_map expected; /* hash of the ID of a call whose RESULT may come by datagram → 1 */
    /* Rows of a slot that were seen before are of an epoch that had it before. */
    uint32_t slot_since_s[BK_REGISTRAR_EPOCH_SLOTS];

    uint32_t sweep_next; /* row number */
    bk_time sweep_at;
};

/* registrar.c: time never goes back, though the samples of two threads may. */
uint32_t bk_registrar_seconds(const struct bk_registrar *r, const struct bk_now *now);
void bk_registrar_keep_time(struct bk_registrar *r, const struct bk_now *now);

/* epochs.c */
uint8_t bk_registrar_epoch_slot(uint16_t epoch);
/* The accepted epoch that a row was registered under; false if that has gone. */
bool bk_registrar_row_epoch(const struct bk_registrar *r, const struct bk_row *row,
                            uint16_t *epoch);
/* What to write into a row of that slot as the time it was seen. */
uint32_t bk_registrar_seen_now(const struct bk_registrar *r, uint8_t slot);
/* Which fit. */
void bk_registrar_take_masters(struct bk_registrar *r, const struct bk_master_key *master,
                               size_t n);

/* registrar.c: whether a change of that device is to be told; if so, no other is until bk_registrar_heard. */
bool bk_registrar_tell(struct bk_registrar *r, uint64_t equipment_id);

/* key.c: false for an epoch that is not accepted */
BK_NODISCARD bool bk_registrar_device_key(const struct bk_registrar *r, uint16_t epoch,
                                          uint64_t equipment_id, uint32_t generation,
                                          struct bk_device_key *out);

/* rows.c: the table seen through time */
bool bk_registrar_is_live(const struct bk_registrar *r, const struct bk_row *row, uint32_t now_s);
struct bk_row *bk_registrar_live_row(const struct bk_registrar *r, uint64_t equipment_id);
/* The bits of bk_row.mark for such an interval. */
uint8_t bk_registrar_mark_of_interval(uint16_t interval_s);
void bk_registrar_sweep(struct bk_registrar *r, bk_time now);

/* binding.c, probe.c, proven.c: datagrams whose header was checked. True if `out` is to be sent, or the datagram handed
 * on. */
bool bk_registrar_on_binding(struct bk_registrar *r, const struct bk_now *now,
                             const struct bk_arrival *in, const struct bk_stun *m,
                             struct bk_registrar_reply *out);
bool bk_registrar_on_probe(struct bk_registrar *r, const struct bk_now *now,
                           const struct bk_arrival *in, const struct bk_stun *m,
                           struct bk_registrar_reply *out);
/* A device's message that is not for here but for the core: keyed as it should be, of a call that is, and not too often. */
enum bk_registrar_verdict bk_registrar_on_result(struct bk_registrar *r, const struct bk_now *now,
                                                 const struct bk_stun *m,
                                                 struct bk_registrar_reply *out);
/* A message of a device of another shard: likewise. */
bool bk_registrar_on_foreign(struct bk_registrar *r, const struct bk_now *now,
                             const struct bk_stun *m);
/* An answer to a NOTIFY of ours, and not too often. */
bool bk_registrar_on_notify_answer(struct bk_registrar *r, const struct bk_now *now,
                                   const struct bk_stun *m);

/* registration.c: a REGISTER that was read. */
struct bk_registrar_asking {
    const struct bk_arrival *in;
    const struct bk_stun *m; /* NULL: `in->bytes` are as bk_register_quick_read takes them */
    struct bk_register r;
};
/* The fingerprint is right; integrity is not yet checked. True if `out` is to be sent. */
bool bk_registrar_on_register(struct bk_registrar *r, const struct bk_now *now,
                              const struct bk_registrar_asking *a, struct bk_registrar_reply *out);

#endif
