/* The shards of the location table that a server has: making and ending them, what concerns all of them. Invariant: a
 * shard is touched between enter and leave only; before the first event and after the last nobody else has it. */
#include <string.h>

#include "core/server/state.h"
#include "seal/seal.h"

enum {
    WALK_ROWS = 512, /* row numbers looked at before others get a turn */
    SPARE_ROWS = 1024,
    SHARD_BITS = 32, /* of a cursor: the shard above, the place in it below */
};

void bk_server_enter(const struct bk_server *s, uint32_t shard)
{
    if (s->config.lock.enter) {
        s->config.lock.enter(s->config.lock.ctx, shard);
    }
}

void bk_server_leave(const struct bk_server *s, uint32_t shard)
{
    if (s->config.lock.leave) {
        s->config.lock.leave(s->config.lock.ctx, shard);
    }
}

/* Its share, and an eighth: equipment IDs do not spread evenly. */
static uint64_t rows_of_shard(const struct bk_server_config *c)
{
    uint64_t share = (c->max_devices - 1) / c->shards + 1;
    if (c->shards > 1) {
        share += share / 8 + SPARE_ROWS;
    }
    share = share < c->max_devices ? share : c->max_devices;
    return share < BK_REGISTRAR_ROWS_MAX ? share : BK_REGISTRAR_ROWS_MAX;
}

enum bk_err bk_server_make_shards(struct bk_server *s)
{
    struct bk_registrar_config c = {
        .alloc = s->config.alloc,
        .chunks = s->config.chunks,
        .rng = s->config.rng,
        .mac = s->config.mac,
        .master = s->config.master,
        .n_master = s->config.n_master,
        .max_devices = rows_of_shard(&s->config),
        .answer_binding = s->config.answer_binding,
        .binding_per_s = s->config.binding_per_s,
        .changes = s->config.changes,
        .n_shards = s->config.shards,
    };
    memcpy(c.notify_key, s->notify_key, sizeof c.notify_key);
    enum bk_err err = BK_OK;
    while (err == BK_OK && s->n_shards < s->config.shards) {
        c.shard = s->n_shards;
        err = bk_registrar_new(&c, &s->now, &s->shards[s->n_shards]);
        s->n_shards += err == BK_OK;
    }
    bk_wipe(&c, sizeof c);
    return err;
}

void bk_server_free_shards(struct bk_server *s)
{
    for (uint32_t i = 0; i < s->n_shards; i++) {
        bk_registrar_free(s->shards[i]);
    }
    s->n_shards = 0;
}

struct bk_registrar *bk_server_shard(const struct bk_server *s, uint32_t shard)
{
    return s->shards[shard];
}

void bk_server_shards_timer(struct bk_server *s)
{
    for (uint32_t i = 0; !s->config.lock.enter && i < s->n_shards; i++) {
        bk_registrar_timer(s->shards[i], &s->now);
    }
}

bk_time bk_server_shards_deadline(const struct bk_server *s)
{
    bk_time at = BK_TIME_NEVER;
    for (uint32_t i = 0; !s->config.lock.enter && i < s->n_shards; i++) {
        at = bk_time_min(at, bk_registrar_deadline(s->shards[i]));
    }
    return at;
}

void bk_server_set_binding(struct bk_server *s, bool answer, uint32_t per_s)
{
    for (uint32_t i = 0; i < s->n_shards; i++) {
        bk_server_enter(s, i);
        bk_registrar_set_binding(s->shards[i], answer, per_s);
        bk_server_leave(s, i);
    }
}

enum bk_err bk_server_set_masters(struct bk_server *s, const struct bk_master_key *master, size_t n)
{
    enum bk_err err = BK_OK; /* all shards take them, or none does: they are alike */
    for (uint32_t i = 0; err == BK_OK && i < s->n_shards; i++) {
        bk_server_enter(s, i);
        err = bk_registrar_set_masters(s->shards[i], &s->now, master, n);
        bk_server_leave(s, i);
    }
    if (err == BK_OK) {
        bk_wipe(s->config.master, sizeof s->config.master);
        memcpy(s->config.master, master, n * sizeof *master);
        s->config.n_master = n;
    }
    return err;
}

/* ---- reading ---- */

uint64_t bk_server_rows(const struct bk_server *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->n_shards; i++) {
        bk_server_enter(s, i);
        n += bk_registrar_rows(s->shards[i]);
        bk_server_leave(s, i);
    }
    return n;
}

static void show(const struct bk_location *where, struct bk_server_row *out)
{
    *out = (struct bk_server_row){
        .equipment_id = where->equipment_id,
        .addr = where->addr,
        .last_seen = where->last_seen,
        .epoch = where->epoch,
        .by_stream = where->local == BK_LOCAL_STREAM,
    };
}

bool bk_server_find(const struct bk_server *s, uint64_t equipment_id, struct bk_server_row *out)
{
    struct bk_location where;
    if (!bk_server_where(s, equipment_id, &where)) {
        return false;
    }
    show(&where, out);
    return true;
}

bool bk_server_next(const struct bk_server *s, uint64_t *cursor, struct bk_server_row *out)
{
    for (;;) {
        uint32_t shard = (uint32_t)(*cursor >> SHARD_BITS);
        uint64_t place = *cursor & UINT32_MAX;
        struct bk_location where;
        bool found;
        if (shard >= s->n_shards) {
            return false;
        }
        bk_server_enter(s, shard);
        bool more = bk_registrar_walk(s->shards[shard], &s->now, &place, WALK_ROWS, &found, &where);
        bk_server_leave(s, shard);
        *cursor =
            more ? (uint64_t)shard << SHARD_BITS | place : (uint64_t)(shard + 1) << SHARD_BITS;
        if (found) {
            show(&where, out);
            return true;
        }
    }
}
