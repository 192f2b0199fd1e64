/* The core's outside: making and ending it, handing each event to the file that knows it, timers. */

#include "core/server/state.h"
#include "seal/seal.h"

static bool config_fits(const struct bk_server_config *c)
{
    uint32_t shards = c->shards == 0 ? 1 : c->shards;
    return bk_registrar_epochs_fit(c->master, c->n_master) && c->mac.hmac_sha256 && c->rng.fill &&
           c->alloc.get && c->alloc.put && shards <= BK_SHARDS_MAX &&
           (c->lock.enter == NULL) == (c->lock.leave == NULL) && c->max_devices >= 1 &&
           c->max_devices <= (uint64_t)shards * BK_REGISTRAR_ROWS_MAX && c->max_streams >= 1 &&
           c->max_streams <= BK_SERVER_TABLES_MAX && c->max_calls >= 1 &&
           c->max_calls <= BK_SERVER_TABLES_MAX / 2 &&
           (c->changes & ~(BK_CHANGE_PORT | BK_CHANGE_IP)) == 0 &&
           (!c->answer_binding || c->binding_per_s >= 1);
}

static void *take(const struct bk_server *s, size_t n, size_t bytes)
{
    return s->config.alloc.get(s->config.alloc.ctx, n * bytes);
}

static bool make_tables(struct bk_server *s)
{
    const struct bk_alloc *a = &s->config.alloc;
    uint32_t calls = s->config.max_calls;
    uint32_t streams = s->config.max_streams;
    uint32_t queries = 2 * calls; /* one of each call, and as many others */
    if (bk_pool_init(&s->stream_pool, a, streams) != BK_OK ||
        bk_pool_init(&s->query_pool, a, queries) != BK_OK ||
        bk_pool_init(&s->call_pool, a, calls) != BK_OK ||
        bk_map_init(&s->stream_numbers, a, s->seed, streams) != BK_OK ||
        bk_map_init(&s->registering, a, s->seed, streams) != BK_OK ||
        bk_map_init(&s->call_ids, a, s->seed, calls) != BK_OK ||
        bk_map_init(&s->notify_txids, a, s->seed, calls) != BK_OK ||
        bk_map_init(&s->waiting_first, a, s->seed, calls) != BK_OK ||
        bk_map_init(&s->waiting_last, a, s->seed, calls) != BK_OK) {
        return false;
    }
    s->askers = take(s, BK_SERVER_ASKERS, sizeof *s->askers);
    s->streams = take(s, (size_t)streams + 1, sizeof *s->streams);
    s->queries = take(s, (size_t)queries + 1, sizeof *s->queries);
    s->calls = take(s, (size_t)calls + 1, sizeof *s->calls);
    s->timer_nodes = take(s, calls, sizeof(struct bk_timer *));
    if (!s->askers || !s->streams || !s->queries || !s->calls || !s->timer_nodes) {
        return false;
    }
    bk_heap_init(&s->timers, s->timer_nodes, calls);
    return true;
}

enum bk_err bk_server_new(const struct bk_server_config *config, const struct bk_now *now,
                          struct bk_server **out)
{
    *out = NULL;
    if (!config_fits(config)) {
        return BK_E_RANGE;
    }
    struct bk_server *s = config->alloc.get(config->alloc.ctx, sizeof *s);
    if (!s) {
        return BK_E_NOMEM;
    }
    s->config = *config;
    s->config.shards = config->shards == 0 ? 1 : config->shards;
    s->started = now->mono;
    s->now = *now;
    s->seed[0] = bk_random_u64(&config->rng);
    s->seed[1] = bk_random_u64(&config->rng);
    config->rng.fill(config->rng.ctx, s->notify_key, sizeof s->notify_key);
    enum bk_err err = make_tables(s) ? bk_server_make_shards(s) : BK_E_NOMEM;
    if (err != BK_OK) {
        bk_server_free(s);
        return err;
    }
    *out = s;
    return BK_OK;
}

void bk_server_free(struct bk_server *s)
{
    if (!s) {
        return;
    }
    struct bk_alloc a = s->config.alloc;
    bk_server_free_shards(s);
    bk_map_fini(&s->stream_numbers);
    bk_map_fini(&s->registering);
    bk_map_fini(&s->call_ids);
    bk_map_fini(&s->notify_txids);
    bk_map_fini(&s->waiting_first);
    bk_map_fini(&s->waiting_last);
    bk_pool_fini(&s->stream_pool, &a);
    bk_pool_fini(&s->query_pool, &a);
    bk_pool_fini(&s->call_pool, &a);
    a.put(a.ctx, s->askers);
    a.put(a.ctx, s->streams);
    a.put(a.ctx, s->queries);
    a.put(a.ctx, s->calls);
    a.put(a.ctx, s->timer_nodes);
    bk_wipe(s, sizeof *s); /* master keys */
    a.put(a.ctx, s);
}

/* What is due, as far as it fits into `out`. */
static void work(struct bk_server *s, bk_time now, struct bk_server_out *out)
{
    while (bk_out_has_room(out)) {
        struct bk_timer *t = bk_heap_pop_due(&s->timers, now);
        if (!t) {
            break;
        }
        bk_server_call_due(s, now, (struct bk_server_call *)(void *)t, out);
    }
    bk_server_flush_closes(s, out);
}

void bk_server_input(struct bk_server *s, const struct bk_now *now,
                     const struct bk_server_event *event, struct bk_server_out *out)
{
    bk_out_start(out);
    s->now = *now;
    switch (event->type) {
    case BK_SERVER_DATAGRAM:
        bk_server_on_datagram(s, now, event, out);
        break;
    case BK_SERVER_ROW_NEWS:
        bk_server_row_changed(s, now->mono, event->row_news.equipment_id);
        break;
    case BK_SERVER_STREAM_OPEN:
        bk_server_on_open(s, now, event, out);
        break;
    case BK_SERVER_STREAM_MESSAGE:
        bk_server_on_message(s, now, event->message.stream, event->message.bytes, out);
        break;
    case BK_SERVER_STREAM_CLOSED:
        bk_server_on_closed(s, now, event->closed.stream, out);
        break;
    case BK_SERVER_DEVICE:
        bk_server_on_device(s, now, event, out);
        break;
    case BK_SERVER_ENROLLED:
        bk_server_on_enrolled(s, now, event, out);
        break;
    case BK_SERVER_EXCEPTION:
        bk_server_on_exception(s, now, event);
        break;
    case BK_SERVER_RENEWED:
        bk_server_on_renewed(s, event, out);
        break;
    case BK_SERVER_GRANTS_CHANGED:
        bk_server_close_watches(s, event->grants_changed.user);
        break;
    case BK_SERVER_USER_REVOKED:
        bk_server_on_user_revoked(s, event->user_revoked.user);
        break;
    }
    work(s, now->mono, out);
}

void bk_server_timer(struct bk_server *s, const struct bk_now *now, struct bk_server_out *out)
{
    bk_out_start(out);
    s->now = *now;
    bk_server_shards_timer(s);
    work(s, now->mono, out);
}

bk_time bk_server_deadline(const struct bk_server *s)
{
    if (s->close_first != 0) {
        return 0;
    }
    bk_time at = bk_server_shards_deadline(s);
    const struct bk_timer *first = bk_heap_first(&s->timers);
    return first ? bk_time_min(at, first->at) : at;
}
