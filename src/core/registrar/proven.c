/* What is not for the registrar but for the server's core, and must not reach it before its sender is known: RESULT of a device,
 * and messages of a device that belongs to another shard. Invariant: nothing is changed from here, and nothing answered but
 * a RESULT that comes too late. */
#include "core/registrar/state.h"
#include "seal/seal.h"
#include "wire/notify.h"
#include "wire/result.h"

enum {
    /* Of one device, or in answer to one NOTIFY: each call sends a handful, and again what was not answered. A captured one
     * that is sent over and over must not keep the core busy, nor take others' room on the way there. One that a worker
     * passes on is counted again when the core hands it in here. */
    PASSED_PER_S = 20,
    PASSED_BURST = 100,
};

/* `of`: what is proven has room of its own, which answers to NOTIFY, whose key is not checked here, cannot take. */
static bool may_pass(struct bk_bucket *of, const struct bk_now *now, uint64_t hash)
{
    return bk_bucket_take(&of[hash % BK_REGISTRAR_BUCKETS], now->mono, PASSED_PER_S, PASSED_BURST);
}

/* Under the key that REGISTRATION names; then `key`, which the caller wipes. */
static bool is_keyed(const struct bk_registrar *r, const struct bk_stun *m, uint64_t *equipment_id,
                     struct bk_registration_ref *ref, struct bk_device_key *key)
{
    return bk_attr_need_equipment_id(m, equipment_id) == BK_OK &&
           bk_attr_need_registration(m, ref) == BK_OK && bk_stun_check_fingerprint(m) == BK_OK &&
           bk_registrar_device_key(r, ref->epoch, *equipment_id, ref->generation, key) &&
           bk_stun_check_sha256(m, &r->config.mac, BK_SLICE_OF(key->raw),
                                BK_STUN_SHORT_MAC_BYTES) == BK_OK;
}

bool bk_registrar_on_foreign(struct bk_registrar *r, const struct bk_now *now,
                             const struct bk_stun *m)
{
    uint64_t equipment_id;
    struct bk_registration_ref ref;
    struct bk_device_key key;
    bool right = is_keyed(r, m, &equipment_id, &ref, &key);
    bk_wipe(&key, sizeof key);
    return right && may_pass(r->passed, now, bk_hash_u64(r->seed, equipment_id));
}

/* Its key is the core's to check; what is random in its transaction ID stands for the call. */
bool bk_registrar_on_notify_answer(struct bk_registrar *r, const struct bk_now *now,
                                   const struct bk_stun *m)
{
    return m->cls == BK_STUN_SUCCESS &&
           bk_notify_txid_ours(&r->config.mac, r->config.notify_key, m->txid) &&
           may_pass(r->answered, now,
                    bk_hash_bytes(r->seed, bk_slice(m->txid, BK_STUN_TXID_BYTES)));
}

static uint64_t hash_of_call(const struct bk_registrar *r, const uint8_t call_id[BK_CALL_ID_BYTES])
{
    return bk_hash_bytes(r->seed, bk_slice(call_id, BK_CALL_ID_BYTES));
}

enum bk_err bk_registrar_expect(struct bk_registrar *r, const uint8_t call_id[BK_CALL_ID_BYTES])
{
    return bk_map_put(&r->expected, hash_of_call(r, call_id), 1);
}

void bk_registrar_expect_no_more(struct bk_registrar *r, const uint8_t call_id[BK_CALL_ID_BYTES])
{
    (void)bk_map_remove(&r->expected, hash_of_call(r, call_id));
}

/* Of a call that is no more: one that was heard before does not use up what its device may send now. */
static enum bk_registrar_verdict on_late(const struct bk_registrar *r, const struct bk_stun *m,
                                         const struct bk_device_key *key,
                                         struct bk_registrar_reply *out)
{
    struct bk_slice bytes;
    if (bk_result_answer_write(out->bytes, sizeof out->bytes, m->txid, &r->config.mac,
                               BK_SLICE_OF(key->raw), &bytes) != BK_OK) {
        return BK_REGISTRAR_NOTHING;
    }
    out->n = bytes.n;
    return BK_REGISTRAR_REPLY;
}

enum bk_registrar_verdict bk_registrar_on_result(struct bk_registrar *r, const struct bk_now *now,
                                                 const struct bk_stun *m,
                                                 struct bk_registrar_reply *out)
{
    uint64_t id;
    struct bk_registration_ref ref;
    struct bk_result_datagram in;
    struct bk_device_key key;
    enum bk_registrar_verdict verdict = BK_REGISTRAR_NOTHING;
    if (bk_result_datagram_read(m, &in) == BK_OK && is_keyed(r, m, &id, &ref, &key) &&
        bk_exceptions_check(&r->exceptions, id, ref.generation) == BK_STANDING_GOOD) {
        if (bk_map_get(&r->expected, hash_of_call(r, in.result.call_id)) == 0) {
            verdict = on_late(r, m, &key, out);
        } else if (may_pass(r->passed, now, bk_hash_u64(r->seed, id))) {
            verdict = BK_REGISTRAR_PASS;
        }
    }
    bk_wipe(&key, sizeof key);
    return verdict;
}
