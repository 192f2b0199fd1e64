/* The registrar's outside: making and ending it, handing each datagram to the file that knows it. The order of checks
 * begins here: size, header, method; then each method's own. */
#include "core/registrar/registrar.h"

#include <string.h>

#include "core/registrar/state.h"
#include "seal/seal.h"
#include "wire/register_quick.h"

/* In the value of `awaited`, above the number. */
#define TOLD (UINT64_C(1) << 63)

uint32_t bk_shard_of(uint64_t equipment_id, uint32_t n)
{
    /* A multiple of 2^32 over the golden ratio, so that IDs with a common step spread too. */
    return (uint32_t)((uint32_t)equipment_id * UINT32_C(0x9E3779B1) >> 16) % n;
}

static bool names_a_device(uint16_t method)
{
    return method == BK_METHOD_REGISTER || method == BK_METHOD_PROBE || method == BK_METHOD_RESULT;
}

uint32_t bk_shard_of_datagram(struct bk_slice bytes, uint32_t n)
{
    struct bk_stun m;
    uint64_t equipment_id;
    if (n <= 1 || bytes.n > BK_STUN_DATAGRAM_MAX_BYTES || bk_stun_read(bytes, &m) != BK_OK) {
        return 0;
    }
    if (names_a_device(m.method) && bk_attr_need_equipment_id(&m, &equipment_id) == BK_OK) {
        return bk_shard_of(equipment_id, n);
    }
    return m.txid[BK_STUN_TXID_BYTES - 1] % n;
}

/* ---- making and ending ---- */

_Static_assert((int)BK_REGISTRAR_CHUNK_BYTES == (int)BK_TABLE_CHUNK_BYTES, "chunks are alike");
_Static_assert((int)BK_REGISTRAR_ROWS_MAX == (int)BK_TABLE_ROWS_MAX, "all rows have numbers");

static bool config_fits(const struct bk_registrar_config *c)
{
    return c->mac.hmac_sha256 && (c->mac.prepare == NULL) == (c->mac.prepared == NULL) &&
           c->rng.fill && c->alloc.get && c->alloc.put && (!c->chunks.get || c->chunks.put) &&
           c->max_devices >= 1 && c->max_devices <= BK_REGISTRAR_ROWS_MAX &&
           (c->changes & ~(BK_CHANGE_PORT | BK_CHANGE_IP)) == 0 &&
           (!c->answer_binding || c->binding_per_s >= 1) && c->n_shards >= 1 &&
           c->n_shards <= BK_SHARDS_MAX && c->shard < c->n_shards;
}

static struct bk_bucket *take_buckets(const struct bk_registrar *r)
{
    return r->config.alloc.get(r->config.alloc.ctx,
                               BK_REGISTRAR_BUCKETS * sizeof(struct bk_bucket));
}

static bool make_tables(struct bk_registrar *r)
{
    const struct bk_alloc *a = &r->config.alloc;
    const struct bk_alloc *chunks = r->config.chunks.get ? &r->config.chunks : a;
    if (bk_table_init(&r->table, a, chunks, r->seed, r->config.max_devices) != BK_OK ||
        bk_exceptions_init(&r->exceptions, a, r->seed) != BK_OK ||
        bk_map_init(&r->awaited, a, r->seed, BK_REGISTRAR_AWAITED) != BK_OK ||
        bk_map_init(&r->expected, a, r->seed, BK_REGISTRAR_AWAITED) != BK_OK) {
        return false;
    }
    r->binding = take_buckets(r);
    r->probes = take_buckets(r);
    r->passed = take_buckets(r);
    r->answered = take_buckets(r);
    return r->binding && r->probes && r->passed && r->answered;
}

enum bk_err bk_registrar_new(const struct bk_registrar_config *config, const struct bk_now *now,
                             struct bk_registrar **out)
{
    *out = NULL;
    if (!config_fits(config) || !bk_registrar_epochs_fit(config->master, config->n_master)) {
        return BK_E_RANGE;
    }
    struct bk_registrar *r = config->alloc.get(config->alloc.ctx, sizeof *r);
    if (!r) {
        return BK_E_NOMEM;
    }
    r->config = *config;
    r->config.master = NULL;
    r->started = now->mono;
    r->seed[0] = bk_random_u64(&config->rng);
    r->seed[1] = bk_random_u64(&config->rng);
    uint8_t nonce_key[BK_KEY_BYTES];
    config->rng.fill(config->rng.ctx, nonce_key, sizeof nonce_key);
    bk_mac_prepare(&config->mac, nonce_key, &r->nonce_key);
    bk_wipe(nonce_key, sizeof nonce_key);
    bk_registrar_take_masters(r, config->master, config->n_master);
    if (!make_tables(r)) {
        bk_registrar_free(r);
        return BK_E_NOMEM;
    }
    *out = r;
    return BK_OK;
}

void bk_registrar_free(struct bk_registrar *r)
{
    if (!r) {
        return;
    }
    struct bk_alloc a = r->config.alloc;
    bk_table_fini(&r->table);
    bk_exceptions_fini(&r->exceptions);
    bk_map_fini(&r->awaited);
    bk_map_fini(&r->expected);
    a.put(a.ctx, r->binding);
    a.put(a.ctx, r->probes);
    a.put(a.ctx, r->passed);
    a.put(a.ctx, r->answered);
    bk_wipe(r, sizeof *r); /* master and nonce keys */
    a.put(a.ctx, r);
}

/* ---- datagrams ---- */

uint32_t bk_registrar_seconds(const struct bk_registrar *r, const struct bk_now *now)
{
    uint32_t s = (uint32_t)(bk_time_left(r->started, now->mono) / BK_SECOND);
    return s > r->now_s ? s : r->now_s;
}

void bk_registrar_keep_time(struct bk_registrar *r, const struct bk_now *now)
{
    r->now_s = bk_registrar_seconds(r, now);
}

static bool is_foreign(const struct bk_registrar *r, uint64_t equipment_id)
{
    return r->config.n_shards > 1 &&
           bk_shard_of(equipment_id, r->config.n_shards) != r->config.shard;
}

static enum bk_registrar_verdict reply_if(bool sent)
{
    return sent ? BK_REGISTRAR_REPLY : BK_REGISTRAR_NOTHING;
}

static enum bk_registrar_verdict pass_if(bool handed_on)
{
    return handed_on ? BK_REGISTRAR_PASS : BK_REGISTRAR_NOTHING;
}

/* Any STUN message but REGISTER as nearly all devices send it. */
static enum bk_registrar_verdict on_other(struct bk_registrar *r, const struct bk_now *now,
                                          const struct bk_arrival *in, const struct bk_stun *m,
                                          struct bk_registrar_reply *out)
{
    uint64_t equipment_id;
    if (names_a_device(m->method)) {
        if (bk_attr_need_equipment_id(m, &equipment_id) != BK_OK) {
            return BK_REGISTRAR_NOTHING;
        }
        if (is_foreign(r, equipment_id)) {
            return pass_if(bk_registrar_on_foreign(r, now, m));
        }
    }
    struct bk_registrar_asking a = {.in = in, .m = m};
    switch (m->method) {
    case BK_METHOD_REGISTER:
        return reply_if(bk_stun_check_fingerprint(m) == BK_OK &&
                        bk_register_read(m, &a.r) == BK_OK &&
                        bk_registrar_on_register(r, now, &a, out));
    case BK_METHOD_PROBE:
        return reply_if(bk_registrar_on_probe(r, now, in, m, out));
    case BK_METHOD_BINDING:
        return reply_if(bk_registrar_on_binding(r, now, in, m, out));
    case BK_METHOD_NOTIFY:
        return pass_if(bk_registrar_on_notify_answer(r, now, m));
    case BK_METHOD_RESULT:
        return bk_registrar_on_result(r, now, m, out);
    default:
        return BK_REGISTRAR_NOTHING;
    }
}

enum bk_registrar_verdict bk_registrar_datagram(struct bk_registrar *r, const struct bk_now *now,
                                                const struct bk_arrival *in,
                                                struct bk_registrar_reply *out)
{
    out->n = 0;
    out->port = in->from.port;
    out->second = in->second;
    out->change = 0;
    out->news = false;
    bk_registrar_keep_time(r, now);
    struct bk_registrar_asking a = {.in = in};
    if (!in->second && in->local != BK_LOCAL_STREAM && bk_register_quick_read(in->bytes, &a.r) &&
        !is_foreign(r, a.r.equipment_id)) {
        return reply_if(bk_register_quick_fingerprint(in->bytes) &&
                        bk_registrar_on_register(r, now, &a, out));
    }
    struct bk_stun m;
    if (in->local == BK_LOCAL_STREAM || in->bytes.n > BK_STUN_DATAGRAM_MAX_BYTES ||
        bk_stun_read(in->bytes, &m) != BK_OK) {
        return BK_REGISTRAR_NOTHING;
    }
    /* A mapping is good for the port that it was made with: the second one is for looking at NATs only. */
    if (in->second && m.method != BK_METHOD_BINDING) {
        return BK_REGISTRAR_NOTHING;
    }
    return on_other(r, now, in, &m, out);
}

enum bk_err bk_registrar_stream_message(struct bk_registrar *r, const struct bk_now *now,
                                        uint64_t equipment_id, const struct bk_addr *from,
                                        const struct bk_stun *m, struct bk_registrar_reply *out)
{
    struct bk_arrival in = {.from = *from, .bytes = m->raw, .local = BK_LOCAL_STREAM};
    struct bk_registrar_asking a = {.in = &in, .m = m};
    out->n = 0;
    out->news = false;
    bk_registrar_keep_time(r, now);
    enum bk_err err = bk_stun_check_fingerprint(m);
    if (err == BK_OK) {
        err = bk_register_read(m, &a.r);
    }
    if (err == BK_OK && a.r.equipment_id != equipment_id) {
        err = BK_E_STATE;
    }
    if (err == BK_OK && !bk_registrar_on_register(r, now, &a, out)) {
        out->n = 0;
    }
    return err;
}

void bk_registrar_prefetch(const struct bk_registrar *r, const struct bk_slice *datagrams, size_t n)
{
    uint64_t hashes[BK_REGISTRAR_BATCH_MAX];
    size_t devices = 0;
    for (size_t i = 0; i < n && i < BK_REGISTRAR_BATCH_MAX; i++) {
        uint64_t equipment_id = bk_register_quick_device(datagrams[i]);
        if (equipment_id != 0) {
            hashes[devices++] = bk_table_near(&r->table, equipment_id);
        }
    }
    for (size_t i = 0; i < devices; i++) {
        bk_table_near_row(&r->table, hashes[i]);
    }
}

/* ---- time, and what is set from outside ---- */

void bk_registrar_timer(struct bk_registrar *r, const struct bk_now *now)
{
    bk_registrar_keep_time(r, now);
    bk_registrar_sweep(r, now->mono);
}

bk_time bk_registrar_deadline(const struct bk_registrar *r)
{
    return r->table.rows > 0 ? r->sweep_at : BK_TIME_NEVER;
}

void bk_registrar_set_binding(struct bk_registrar *r, bool answer, uint32_t per_s)
{
    r->config.answer_binding = answer;
    r->config.binding_per_s = per_s > 0 ? per_s : 1;
}

enum bk_err bk_registrar_await(struct bk_registrar *r, uint64_t equipment_id)
{
    return bk_map_put(&r->awaited, equipment_id, bk_map_get(&r->awaited, equipment_id) + 1);
}

static void set_awaited(struct bk_registrar *r, uint64_t equipment_id, uint64_t value)
{
    enum bk_err err = bk_map_put(&r->awaited, equipment_id, value);
    (void)err; /* it is there */
}

void bk_registrar_await_no_more(struct bk_registrar *r, uint64_t equipment_id)
{
    uint64_t awaited = bk_map_get(&r->awaited, equipment_id);
    if ((awaited & ~TOLD) <= 1) {
        (void)bk_map_remove(&r->awaited, equipment_id);
    } else {
        set_awaited(r, equipment_id, awaited - 1);
    }
}

bool bk_registrar_tell(struct bk_registrar *r, uint64_t equipment_id)
{
    uint64_t awaited = r->awaited.len > 0 ? bk_map_get(&r->awaited, equipment_id) : 0;
    if (awaited == 0 || (awaited & TOLD) != 0) {
        return false;
    }
    set_awaited(r, equipment_id, awaited | TOLD);
    return true;
}

void bk_registrar_heard(struct bk_registrar *r, uint64_t equipment_id)
{
    uint64_t awaited = bk_map_get(&r->awaited, equipment_id);
    if ((awaited & TOLD) != 0) {
        set_awaited(r, equipment_id, awaited & ~TOLD);
    }
}

/* ---- the devices that are not as usual ---- */

enum bk_standing bk_registrar_standing(const struct bk_registrar *r, uint64_t equipment_id,
                                       uint32_t generation)
{
    return bk_exceptions_check(&r->exceptions, equipment_id, generation);
}

static void drop_if_refused(struct bk_registrar *r, uint64_t equipment_id)
{
    const struct bk_row *row = bk_table_find(&r->table, equipment_id);
    if (row &&
        bk_exceptions_check(&r->exceptions, equipment_id, row->generation) != BK_STANDING_GOOD) {
        (void)bk_table_remove(&r->table, equipment_id);
    }
}

bool bk_registrar_set_exception(struct bk_registrar *r, uint64_t equipment_id,
                                uint32_t lowest_generation, bool revoked)
{
    bool news = bk_exceptions_set(&r->exceptions, equipment_id, lowest_generation, revoked);
    if (news) {
        drop_if_refused(r, equipment_id);
    }
    return news;
}

bool bk_registrar_raise(struct bk_registrar *r, uint64_t equipment_id, uint32_t generation)
{
    bool news = bk_exceptions_raise(&r->exceptions, equipment_id, generation);
    if (news) {
        drop_if_refused(r, equipment_id);
    }
    return news;
}
