/* The core's life: made, fed, timed. An event is carried to whom it concerns; what it names and we have forgotten is passed
 * over. */
#include "core/relay/relay.h"

#include <string.h>

#include "core/relay/state.h"
#include "seal/seal.h"

enum {
    END_ACTIONS = BK_RELAY_PENDING_MAX + 2, /* an allocation's end, at most */
};

enum bk_err bk_relay_core_new(const struct bk_relay_core_config *config, struct bk_relay_core **out)
{
    *out = NULL;
    if (config->secret.n == 0 || config->secret.n > BK_RELAY_SECRET_MAX_BYTES ||
        config->max_connections == 0 || config->max_fresh == 0 || config->max_allocations == 0 ||
        config->max_connections > 1U << 24 || config->max_allocations > 1U << 24) {
        return BK_E_RANGE;
    }
    struct bk_relay_core *c = config->alloc.get(config->alloc.ctx, sizeof *c);
    if (c == NULL) {
        return BK_E_NOMEM;
    }
    c->config = *config;
    memcpy(c->secret, config->secret.p, config->secret.n);
    c->config.secret = bk_slice(c->secret, config->secret.n);
    c->max_allocations = config->max_allocations;
    c->seed[0] = bk_random_u64(&config->rng);
    c->seed[1] = bk_random_u64(&config->rng);
    enum bk_err err = relay_tables_init(c);
    if (err != BK_OK) {
        bk_relay_core_free(c);
        return err;
    }
    *out = c;
    return BK_OK;
}

void bk_relay_core_free(struct bk_relay_core *c)
{
    if (c == NULL) {
        return;
    }
    struct bk_alloc alloc = c->config.alloc;
    relay_tables_fini(c);
    bk_wipe(c, sizeof *c);
    alloc.put(alloc.ctx, c);
}

void bk_relay_core_set_quotas(struct bk_relay_core *c, uint32_t max_allocations,
                              uint32_t max_user_allocations)
{
    uint32_t room = c->config.max_allocations;
    c->max_allocations = max_allocations < room ? max_allocations : room;
    c->config.max_user_allocations = max_user_allocations;
}

void relay_answer(struct bk_relay_core *c, const struct relay_conn *conn,
                  const uint8_t txid[BK_STUN_TXID_BYTES], const struct bk_turn_answer *answer,
                  const uint8_t *key, struct bk_relay_out *out)
{
    struct bk_slice bytes;
    size_t cap;
    uint8_t *buf = relay_out_space(out, &cap);
    if (bk_turn_answer_write(buf, cap, txid, answer, &c->config.ops, key, &bytes) == BK_OK) {
        relay_out_send(out, conn->number, bytes);
    }
}

static void be_fresh(struct bk_relay_core *c, const struct bk_now *now, struct relay_conn *conn)
{
    relay_conn_become(c, conn, RELAY_FRESH, NULL);
    bk_heap_set(&c->heap, &conn->timer, bk_time_add(now->mono, BK_RELAY_FRESH_S * BK_SECOND));
}

void relay_alloc_end(struct bk_relay_core *c, const struct bk_now *now, struct relay_alloc *a,
                     enum bk_relay_end how, struct bk_relay_out *out)
{
    for (struct relay_conn *conn = a->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->kind == RELAY_PENDING) {
            relay_out_close(c, out, conn, true);
        }
    }
    struct bk_relay_action *end = relay_out_add(out, BK_RELAY_END);
    end->end.allocation = a->number;
    end->end.how = how;
    struct relay_conn *control = a->control;
    if (control != NULL && how == BK_RELAY_REVOKED) {
        relay_out_close(c, out, control, false);
    } else if (control != NULL) {
        be_fresh(c, now, control);
    }
    bk_wipe(&a->allocate, sizeof a->allocate);
    bk_wipe(&a->connect, sizeof a->connect);
    relay_alloc_forget(c, a);
}

/* ---- Events ---- */

static void accepted(struct bk_relay_core *c, const struct bk_now *now,
                     const struct bk_relay_event *event, struct bk_relay_out *out)
{
    if (c->n_fresh >= c->config.max_fresh) {
        relay_out_close(c, out, c->oldest, true); /* who floods with silence loses that */
    }
    struct relay_conn *conn =
        relay_conn_take(c, RELAY_FRESH, event->accepted.conn, &event->accepted.from);
    if (conn == NULL) {
        struct bk_relay_action *close = relay_out_add(out, BK_RELAY_CLOSE);
        close->close.conn = event->accepted.conn;
        close->close.reset = true;
        return;
    }
    conn->local = event->accepted.local;
    be_fresh(c, now, conn);
}

static void closed(struct bk_relay_core *c, const struct bk_now *now, uint64_t number,
                   struct bk_relay_out *out)
{
    struct relay_conn *conn = relay_conn_find(c, number);
    if (conn == NULL) {
        return;
    }
    struct relay_alloc *a = conn->kind == RELAY_CONTROL ? conn->alloc : NULL;
    relay_conn_forget(c, conn);
    if (a != NULL) {
        relay_alloc_end(c, now, a, BK_RELAY_LOST, out);
    }
}

/* They end by the timer, a few at a time, as `out` has room. */
static void end_user(struct bk_relay_core *c, const struct bk_now *now, struct bk_slice name)
{
    const struct relay_user *user = relay_user_find(c, name);
    for (uint32_t i = 0; user != NULL && i < c->config.max_allocations; i++) {
        struct relay_alloc *a = &c->allocs[i];
        if (a->used && a->user == user) {
            a->revoked = true;
            bk_heap_set(&c->heap, &a->timer, now->mono);
        }
    }
}

void bk_relay_core_input(struct bk_relay_core *c, const struct bk_now *now,
                         const struct bk_relay_event *event, struct bk_relay_out *out)
{
    struct relay_conn *conn;
    out->n = 0;
    out->used = 0;
    switch (event->type) {
    case BK_RELAY_ACCEPTED:
        accepted(c, now, event, out);
        break;
    case BK_RELAY_MESSAGE:
        conn = relay_conn_find(c, event->message.conn);
        if (conn != NULL && (conn->kind == RELAY_FRESH || conn->kind == RELAY_CONTROL)) {
            relay_message(c, now, conn, event->message.bytes, out);
        }
        break;
    case BK_RELAY_CLOSED:
        closed(c, now, event->closed.conn, out);
        break;
    case BK_RELAY_LISTENING:
        relay_listening(c, now, event, out);
        break;
    case BK_RELAY_PEER:
        relay_peer(c, now, event, out);
        break;
    case BK_RELAY_NAMED:
        relay_named(c, now, event, out);
        break;
    case BK_RELAY_DIALLED:
        relay_dialled(c, now, event, out);
        break;
    case BK_RELAY_END_USER:
        end_user(c, now, event->end_user.user);
        break;
    }
}

/* ---- Time ---- */

/* Both begin with their timer; the array that it lies in says whose it is. */
static struct relay_alloc *alloc_of(const struct bk_relay_core *c, const struct bk_timer *t)
{
    uintptr_t at = (uintptr_t)t, from = (uintptr_t)c->allocs;
    size_t bytes = c->config.max_allocations * sizeof *c->allocs;
    return at >= from && at - from < bytes ? &c->allocs[(at - from) / sizeof *c->allocs] : NULL;
}

static struct relay_conn *conn_of(const struct bk_relay_core *c, const struct bk_timer *t)
{
    return &c->conns[((uintptr_t)t - (uintptr_t)c->conns) / sizeof *c->conns];
}

void bk_relay_core_timer(struct bk_relay_core *c, const struct bk_now *now,
                         struct bk_relay_out *out)
{
    struct bk_timer *t = NULL;
    out->n = 0;
    out->used = 0;
    while (BK_RELAY_OUT_ACTIONS - out->n >= END_ACTIONS &&
           (t = bk_heap_pop_due(&c->heap, now->mono)) != NULL) {
        struct relay_alloc *a = alloc_of(c, t);
        if (a != NULL) {
            relay_alloc_end(c, now, a, a->revoked ? BK_RELAY_REVOKED : BK_RELAY_EXPIRED, out);
        } else {
            struct relay_conn *conn = conn_of(c, t);
            relay_out_close(c, out, conn, conn->kind == RELAY_PENDING);
        }
    }
}

bk_time bk_relay_core_deadline(const struct bk_relay_core *c)
{
    const struct bk_timer *first = bk_heap_first(&c->heap);
    return first == NULL ? BK_TIME_NEVER : first->at;
}

bool bk_relay_core_knows(const struct bk_relay_core *c, struct bk_slice server_name)
{
    const struct relay_alloc *a = relay_alloc_named(c, server_name);
    return a != NULL && a->control != NULL && !a->allocate.active;
}

uint32_t bk_relay_core_allocations(const struct bk_relay_core *c)
{
    return c->n_allocs;
}
