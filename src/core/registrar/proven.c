/* What is not for the registrar but for the server's core, and must not reach it before its sender is known: RESULT of a device,
 * and messages of a device that belongs to another shard. Invariant: nothing is changed, and nothing answered, from here. */
#include "core/registrar/state.h"
#include "seal/seal.h"
#include "wire/notify.h"

enum {
    /* Of one device, or in answer to one NOTIFY: each call sends a handful, and again what was not answered. A captured one
     * that is sent over and over must not keep the core busy, nor take others' room on the way there. One that a worker
     * passes on is counted again when the core hands it in here. */
    PASSED_PER_S = 20,
    PASSED_BURST = 100,
};

static bool may_pass(struct bk_registrar *r, const struct bk_now *now, uint64_t hash)
{
    return bk_bucket_take(&r->passed[hash % BK_REGISTRAR_BUCKETS], now->mono, PASSED_PER_S,
                          PASSED_BURST);
}

/* Under the key that REGISTRATION names. */
static bool is_keyed(const struct bk_registrar *r, const struct bk_stun *m, uint64_t *equipment_id,
                     struct bk_registration_ref *ref)
{
    if (bk_attr_need_equipment_id(m, equipment_id) != BK_OK ||
        bk_attr_need_registration(m, ref) != BK_OK || bk_stun_check_fingerprint(m) != BK_OK) {
        return false;
    }
    struct bk_device_key key;
    bool right = bk_registrar_device_key(r, ref->epoch, *equipment_id, ref->generation, &key) &&
                 bk_stun_check_sha256(m, &r->config.mac, BK_SLICE_OF(key.raw),
                                      BK_STUN_SHORT_MAC_BYTES) == BK_OK;
    bk_wipe(&key, sizeof key);
    return right;
}

bool bk_registrar_on_foreign(struct bk_registrar *r, const struct bk_now *now,
                             const struct bk_stun *m)
{
    uint64_t equipment_id;
    struct bk_registration_ref ref;
    return is_keyed(r, m, &equipment_id, &ref) &&
           may_pass(r, now, bk_hash_u64(r->seed, equipment_id));
}

/* Its key is the core's to check; what is random in its transaction ID stands for the call. */
bool bk_registrar_on_notify_answer(struct bk_registrar *r, const struct bk_now *now,
                                   const struct bk_stun *m)
{
    return m->cls == BK_STUN_SUCCESS &&
           bk_notify_txid_ours(&r->config.mac, r->config.notify_key, m->txid) &&
           may_pass(r, now, bk_hash_bytes(r->seed, bk_slice(m->txid, BK_STUN_TXID_BYTES)));
}

bool bk_registrar_on_result(struct bk_registrar *r, const struct bk_now *now,
                            const struct bk_stun *m)
{
    uint64_t equipment_id;
    struct bk_registration_ref ref;
    if (m->cls != BK_STUN_REQUEST || !is_keyed(r, m, &equipment_id, &ref) ||
        bk_exceptions_check(&r->exceptions, equipment_id, ref.generation) != BK_STANDING_GOOD) {
        return false;
    }
    return may_pass(r, now, bk_hash_u64(r->seed, equipment_id));
}
