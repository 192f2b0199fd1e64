/* A call from 217 to its end, on the requester's side. Every path ends in bk_server_call_end, which
 * takes the call out of everything that refers to it; every call is audited exactly once, and 217 answered at most so
 * often. Call IDs in use are unique. */
#include <assert.h>
#include <string.h>

#include "core/server/state.h"

enum {
    ACCEPTED_LIFE_MS = 60000, /* a delivered call that neither side ends; dialling takes seconds */
};

void bk_server_set_timer(struct bk_server *s, struct bk_server_call *c, bk_time at)
{
    bk_heap_set(&s->timers, &c->timer, at);
}

static struct bk_server_action *audit(struct bk_server *s, uint32_t requester,
                                      uint64_t equipment_id, enum bk_server_audit how,
                                      uint64_t took_ms, struct bk_server_out *out)
{
    const struct bk_server_stream *t = &s->streams[requester];
    struct bk_server_action *a = bk_out_add(out, BK_SERVER_AUDIT);
    a->audit.how = how;
    a->audit.user = bk_out_copy(out, bk_slice_text(t->peer.name));
    a->audit.equipment_id = equipment_id;
    a->audit.from = t->from;
    a->audit.took_ms = took_ms;
    return a;
}

/* A call that never was. Its caller could write such lines as fast as he can ask. */
static void audit_refused(struct bk_server *s, bk_time now, uint32_t requester,
                          uint64_t equipment_id, struct bk_server_out *out)
{
    uint32_t left_out = 0;
    if (bk_server_may_write(s, now, requester, &left_out)) {
        audit(s, requester, equipment_id, BK_AUDIT_OVERLOADED, 0, out)->audit.left_out = left_out;
    }
}

/* Once per call; what comes later is not written. */
static void audit_call(struct bk_server *s, bk_time now, struct bk_server_call *c,
                       enum bk_server_audit how, struct bk_server_out *out)
{
    if (!c->audited) {
        c->audited = true;
        struct bk_server_action *a =
            audit(s, c->requester, c->equipment_id, how, bk_time_left(c->began, now) / BK_MS, out);
        a->audit.fast = c->fast;
    }
}

static void join_requester(struct bk_server *s, uint32_t call)
{
    struct bk_server_call *c = &s->calls[call];
    struct bk_server_stream *t = &s->streams[c->requester];
    c->next_of_requester = t->calls;
    if (t->calls != 0) {
        s->calls[t->calls].prev_of_requester = call;
    }
    t->calls = call;
    t->n_calls++;
}

static void leave_requester(struct bk_server *s, uint32_t call)
{
    const struct bk_server_call *c = &s->calls[call];
    struct bk_server_stream *t = &s->streams[c->requester];
    if (c->prev_of_requester != 0) {
        s->calls[c->prev_of_requester].next_of_requester = c->next_of_requester;
    } else {
        t->calls = c->next_of_requester;
    }
    if (c->next_of_requester != 0) {
        s->calls[c->next_of_requester].prev_of_requester = c->prev_of_requester;
    }
    t->n_calls--;
}

void bk_server_call_end(struct bk_server *s, bk_time now, uint32_t call, uint16_t code,
                        enum bk_server_audit how, struct bk_server_out *out)
{
    struct bk_server_call *c = &s->calls[call];
    if (c->state == BK_SERVER_CALL_ENDING) { /* decided before */
        code = c->end_code;
        how = c->end_audit;
    }
    if (code != 0 && !c->audited) { /* else 217 has been answered */
        bk_server_send_error(s, c->requester, BK_METHOD_CONNECT, c->txid, code, out);
    }
    audit_call(s, now, c, how, out);
    bk_server_stop_waiting(s, call);
    if (c->notify_boxed) {
        bk_server_expect_no_result(s, c);
    }
    leave_requester(s, call);
    if (c->device != 0) {
        s->streams[c->device].serves = 0;
        bk_server_close(s, c->device);
    }
    if (c->query != 0) {
        s->queries[c->query].call = 0;
    }
    (void)bk_map_remove(&s->call_ids, c->call_id_hash);
    bk_heap_clear(&s->timers, &c->timer);
    memset(c, 0, offsetof(struct bk_server_call, box)); /* the box is as sealed as it came */
    bk_pool_give(&s->call_pool, call);
}

void bk_server_end_calls_of_device(struct bk_server *s, bk_time now, uint64_t equipment_id)
{
    for (uint32_t i = 1; i <= s->call_pool.high; i++) {
        struct bk_server_call *c = &s->calls[i];
        if (c->equipment_id != equipment_id || c->state == BK_SERVER_CALL_ENDING) {
            continue;
        }
        bk_server_stop_waiting(s, i);
        c->state = BK_SERVER_CALL_ENDING;
        c->end_code = BK_CODE_REVOKED;
        c->end_audit = BK_AUDIT_REVOKED;
        bk_server_set_timer(s, c, now);
    }
}

/* 0: no room for another call or question. */
static uint32_t begin(struct bk_server *s, bk_time now, uint32_t stream, const struct bk_stun *m,
                      const struct bk_connect *in, uint64_t hash)
{
    if (s->streams[stream].n_calls >= BK_SERVER_PER_STREAM_MAX) {
        return 0;
    }
    uint32_t call = bk_pool_take(&s->call_pool);
    if (call == 0) {
        return 0;
    }
    uint32_t query = bk_server_query_start(s, BK_QUERY_CONNECT, stream, m->txid);
    if (query == 0) {
        bk_pool_give(&s->call_pool, call);
        return 0;
    }
    s->queries[query].equipment_id = in->equipment_id;
    s->queries[query].call = call;
    struct bk_server_call *c = &s->calls[call];
    c->state = BK_SERVER_CALL_FINDING;
    c->equipment_id = in->equipment_id;
    memcpy(c->call_id, in->call_id, sizeof c->call_id);
    c->call_id_hash = hash;
    memcpy(c->txid, m->txid, sizeof c->txid);
    c->began = now;
    c->deadline = bk_time_add(now, BK_SERVER_DELIVERY_MS * BK_MS);
    c->requester = stream;
    c->query = query;
    c->box_n = in->box.n;
    memcpy(c->box, in->box.p, in->box.n);
    enum bk_err err = bk_map_put(&s->call_ids, hash, call);
    assert(err == BK_OK); /* the map has room for every call */
    (void)err;
    join_requester(s, call);
    bk_server_set_timer(s, c, c->deadline);
    return call;
}

enum bk_err bk_server_on_connect(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                                 const struct bk_stun *m, struct bk_server_out *out)
{
    struct bk_connect in;
    enum bk_err err = bk_connect_read(m, &in);
    if (err != BK_OK) {
        return err;
    }
    uint64_t hash = bk_hash_bytes(s->seed, BK_SLICE_OF(in.call_id));
    if (bk_map_get(&s->call_ids, hash) != 0) { /* whoever asks anew, draws anew */
        bk_server_send_error(s, stream, BK_METHOD_CONNECT, m->txid, BK_CODE_BAD_REQUEST, out);
        return BK_OK;
    }
    uint32_t call = bk_server_may_ask(s, now->mono, stream, BK_SERVER_COST_PLAIN)
                        ? begin(s, now->mono, stream, m, &in, hash)
                        : 0;
    if (call == 0) {
        bk_server_send_error(s, stream, BK_METHOD_CONNECT, m->txid, BK_CODE_OVERLOADED, out);
        audit_refused(s, now->mono, stream, in.equipment_id, out);
        return BK_OK;
    }
    bk_server_ask_device(s, s->calls[call].query, bk_slice_text(s->streams[stream].peer.name),
                         BK_SLICE_EMPTY, out);
    return BK_OK;
}

static enum bk_server_audit audit_of(uint16_t code)
{
    switch (code) {
    case BK_CODE_NOT_FOUND:
        return BK_AUDIT_NOT_FOUND;
    case BK_CODE_REVOKED:
        return BK_AUDIT_REVOKED;
    default:
        return BK_AUDIT_OVERLOADED;
    }
}

void bk_server_call_found(struct bk_server *s, const struct bk_now *now, uint32_t call,
                          uint16_t code, struct bk_server_out *out)
{
    struct bk_server_call *c = &s->calls[call];
    c->query = 0;
    if (c->state == BK_SERVER_CALL_ENDING) {
        return;
    }
    if (code != 0) {
        bk_server_call_end(s, now->mono, call, code, audit_of(code), out);
        return;
    }
    /* A server that has just started waits for the next keepalive; later, no row means offline. */
    struct bk_location where;
    if (!bk_server_where(s, c->equipment_id, &where) &&
        bk_time_left(s->started, now->mono) / BK_SECOND > BK_SERVER_KEEPALIVE_S + 5) {
        bk_server_call_end(s, now->mono, call, BK_CODE_OFFLINE, BK_AUDIT_OFFLINE, out);
        return;
    }
    bk_server_wait(s, call);
    bk_server_notify(s, now->mono, c, out);
}

void bk_server_call_due(struct bk_server *s, bk_time now, struct bk_server_call *c,
                        struct bk_server_out *out)
{
    uint32_t call = (uint32_t)(c - s->calls);
    switch (c->state) {
    case BK_SERVER_CALL_FINDING:
        bk_server_call_end(s, now, call, BK_CODE_OVERLOADED, BK_AUDIT_OVERLOADED, out);
        break;
    case BK_SERVER_CALL_WAITING:
        if (now < c->deadline) {
            bk_server_notify(s, now, c, out);
            break;
        }
        bk_server_call_end(s, now, call, BK_CODE_OFFLINE, BK_AUDIT_OFFLINE, out);
        break;
    case BK_SERVER_CALL_OFFERED:
        bk_server_call_end(s, now, call, BK_CODE_OFFLINE, BK_AUDIT_OFFLINE, out);
        break;
    case BK_SERVER_CALL_TAKEN:
    case BK_SERVER_CALL_DELIVERED:
    case BK_SERVER_CALL_ENDING:
        bk_server_call_end(s, now, call, 0, BK_AUDIT_DELIVERED, out);
        break;
    }
}

void bk_server_call_delivered(struct bk_server *s, bk_time now, uint32_t call,
                              enum bk_server_call_state state, struct bk_server_out *out)
{
    struct bk_server_call *c = &s->calls[call];
    c->state = state;
    if (!c->audited) {
        bk_server_send_success(s, c->requester, BK_METHOD_CONNECT, c->txid, out);
        audit_call(s, now, c, BK_AUDIT_DELIVERED, out);
        c->deadline = bk_time_add(now, ACCEPTED_LIFE_MS * BK_MS);
    }
    bk_server_set_timer(s, c, c->deadline);
}
