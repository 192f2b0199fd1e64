/* The core's outside: making and ending it, handing each event to the file that knows it, timers. The
 * order of checks on a datagram begins here: size, header, method; then each method's own. */

#include "core/server/state.h"
#include "seal/seal.h"

static bool config_fits(const struct bk_server_config *c)
{
    return bk_server_epochs_fit(c->master, c->n_master) && c->mac.hmac_sha256 && c->rng.fill &&
           c->alloc.get && c->alloc.put && c->max_devices >= 1 &&
           c->max_devices <= BK_TABLE_ROWS_MAX && c->max_streams >= 1 &&
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
    if (bk_table_init(&s->table, a, s->seed, s->config.max_devices) != BK_OK ||
        bk_exceptions_init(&s->exceptions, a, s->seed) != BK_OK ||
        bk_pool_init(&s->stream_pool, a, streams) != BK_OK ||
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
    s->binding = take(s, BK_SERVER_BINDING_BUCKETS, sizeof *s->binding);
    s->askers = take(s, BK_SERVER_ASKERS, sizeof *s->askers);
    s->streams = take(s, (size_t)streams + 1, sizeof *s->streams);
    s->queries = take(s, (size_t)queries + 1, sizeof *s->queries);
    s->calls = take(s, (size_t)calls + 1, sizeof *s->calls);
    s->timer_nodes = take(s, calls, sizeof(struct bk_timer *));
    if (!s->binding || !s->askers || !s->streams || !s->queries || !s->calls || !s->timer_nodes) {
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
    s->started = now->mono;
    s->seed[0] = bk_random_u64(&config->rng);
    s->seed[1] = bk_random_u64(&config->rng);
    config->rng.fill(config->rng.ctx, s->nonce_key, sizeof s->nonce_key);
    if (!make_tables(s)) {
        bk_server_free(s);
        return BK_E_NOMEM;
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
    bk_table_fini(&s->table);
    bk_exceptions_fini(&s->exceptions);
    bk_map_fini(&s->stream_numbers);
    bk_map_fini(&s->registering);
    bk_map_fini(&s->call_ids);
    bk_map_fini(&s->notify_txids);
    bk_map_fini(&s->waiting_first);
    bk_map_fini(&s->waiting_last);
    bk_pool_fini(&s->stream_pool, &a);
    bk_pool_fini(&s->query_pool, &a);
    bk_pool_fini(&s->call_pool, &a);
    a.put(a.ctx, s->binding);
    a.put(a.ctx, s->askers);
    a.put(a.ctx, s->streams);
    a.put(a.ctx, s->queries);
    a.put(a.ctx, s->calls);
    a.put(a.ctx, s->timer_nodes);
    bk_wipe(s, sizeof *s); /* master and nonce keys */
    a.put(a.ctx, s);
}

void bk_server_set_binding(struct bk_server *s, bool answer, uint32_t per_s)
{
    s->config.answer_binding = answer;
    s->config.binding_per_s = per_s > 0 ? per_s : 1;
}

static void on_datagram(struct bk_server *s, const struct bk_now *now,
                        const struct bk_server_event *event, struct bk_server_out *out)
{
    struct bk_datagram d = {.local = event->datagram.local,
                            .second = event->datagram.second,
                            .from = event->datagram.from};
    if (d.local == BK_SERVER_LOCAL_STREAM || event->datagram.bytes.n > BK_STUN_DATAGRAM_MAX_BYTES ||
        bk_stun_read(event->datagram.bytes, &d.message) != BK_OK) {
        return;
    }
    /* A mapping is good for the port that it was made with: the second one is for looking at NATs only. */
    if (d.second && d.message.method != BK_METHOD_BINDING) {
        return;
    }
    switch (d.message.method) {
    case BK_METHOD_REGISTER:
        (void)bk_server_on_register(s, now, &d, out);
        break;
    case BK_METHOD_NOTIFY:
        bk_server_on_notify_answer(s, &d);
        break;
    case BK_METHOD_PROBE:
        bk_server_on_probe(s, now, &d, out);
        break;
    case BK_METHOD_BINDING:
        bk_server_on_binding(s, now, &d, out);
        break;
    default:
        break;
    }
}

static void keep_time(struct bk_server *s, const struct bk_now *now)
{
    s->now_s = (uint32_t)(bk_time_left(s->started, now->mono) / BK_SECOND);
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
    keep_time(s, now);
    switch (event->type) {
    case BK_SERVER_DATAGRAM:
        on_datagram(s, now, event, out);
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
    keep_time(s, now);
    bk_server_sweep(s, now->mono);
    work(s, now->mono, out);
}

bk_time bk_server_deadline(const struct bk_server *s)
{
    if (s->close_first != 0) {
        return 0;
    }
    bk_time at = s->table.rows > 0 ? s->sweep_at : BK_TIME_NEVER;
    const struct bk_timer *first = bk_heap_first(&s->timers);
    return first ? bk_time_min(at, first->at) : at;
}
