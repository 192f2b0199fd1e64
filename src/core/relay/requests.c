/* What clients ask, one function a method. Each returns the code that answers, 0 for success. */
#include <string.h>

#include "core/relay/state.h"
#include "seal/seal.h"
#include "wire/binding.h"

/* A request that is being answered. */
struct asked {
    struct bk_relay_core *c;
    const struct bk_now *now;
    struct relay_conn *conn;
    const struct bk_stun *m;
    struct bk_turn_request request;
    struct relay_login login;
    struct bk_turn_answer answer; /* `code` from what the method's function returns */
    bool later;                   /* the shell's answer comes first */
    struct bk_relay_out *out;
};

static uint32_t lifetime(const struct bk_turn_request *request)
{
    uint32_t s = request->has_lifetime ? request->lifetime_s : BK_TURN_LIFETIME_S;
    if (s < BK_TURN_LIFETIME_S) {
        return BK_TURN_LIFETIME_S;
    }
    return s < BK_TURN_LIFETIME_MAX_S ? s : BK_TURN_LIFETIME_MAX_S;
}

static void hold(struct relay_waiting *w, const struct asked *q)
{
    w->active = true;
    memcpy(w->txid, q->m->txid, sizeof w->txid);
    memcpy(w->key, q->login.key, sizeof w->key);
}

/* Whether one may be made at all, before what it costs is counted. */
static uint16_t check_allocate(const struct asked *q)
{
    const struct bk_turn_request *r = &q->request;
    if (q->conn->alloc != NULL) {
        return BK_CODE_ALLOCATION_MISMATCH;
    }
    if (q->now->unix_s == 0 || q->login.expiry_s < q->now->unix_s) {
        return BK_CODE_UNAUTHENTICATED;
    }
    if (r->transport == 0 || (r->transport == BK_TURN_TRANSPORT_TCP && r->datagram_only)) {
        return BK_CODE_BAD_REQUEST;
    }
    if (r->transport != BK_TURN_TRANSPORT_TCP) {
        return BK_CODE_UNSUPPORTED_TRANSPORT;
    }
    return r->family > BK_FAMILY_IPV6 ? BK_CODE_ADDRESS_FAMILY : 0;
}

static uint16_t allocate(struct asked *q)
{
    struct bk_relay_core *c = q->c;
    uint16_t code = check_allocate(q);
    if (code != 0) {
        return code;
    }
    const struct relay_user *user = relay_user_find(c, q->login.user);
    if (user != NULL && user->allocations >= c->config.max_user_allocations) {
        return BK_CODE_QUOTA;
    }
    struct relay_alloc *a =
        c->n_allocs < c->max_allocations ? relay_alloc_take(c, q->login.user) : NULL;
    if (a == NULL) {
        return BK_CODE_CAPACITY;
    }
    a->v6 = q->request.family == BK_FAMILY_IPV6;
    relay_conn_become(c, q->conn, RELAY_CONTROL, a);
    if (q->request.server_name.n > 0) {
        relay_alloc_name(c, a, q->request.server_name);
    }
    hold(&a->allocate, q);
    a->allocate.lifetime_s = lifetime(&q->request);
    struct bk_relay_action *listen = relay_out_add(q->out, BK_RELAY_LISTEN);
    listen->listen.allocation = a->number;
    listen->listen.control = q->conn->number;
    listen->listen.from = q->conn->from;
    listen->listen.local = q->conn->local;
    listen->listen.v6 = a->v6;
    listen->listen.user = bk_slice_text(a->user->name);
    listen->listen.user_slot = (uint32_t)(a->user - c->users);
    q->later = true;
    return 0;
}

void relay_listening(struct bk_relay_core *c, const struct bk_now *now,
                     const struct bk_relay_event *event, struct bk_relay_out *out)
{
    struct relay_alloc *a = relay_alloc_find(c, event->listening.allocation);
    if (a == NULL || !a->allocate.active || a->control == NULL) {
        return; /* gone meanwhile: the shell was told END */
    }
    struct bk_turn_answer answer = {.method = BK_METHOD_ALLOCATE,
                                    .code = event->listening.code,
                                    .relayed = event->listening.relayed,
                                    .mapped = a->control->from,
                                    .lifetime_s = a->allocate.lifetime_s};
    relay_answer(c, a->control, a->allocate.txid, &answer, a->allocate.key, out);
    bk_wipe(a->allocate.key, sizeof a->allocate.key);
    a->allocate.active = false;
    if (answer.code != 0) {
        relay_alloc_end(c, now, a, BK_RELAY_FAILED, out);
    } else {
        bk_heap_set(&c->heap, &a->timer, bk_time_add(now->mono, answer.lifetime_s * BK_SECOND));
    }
}

static uint16_t refresh(struct asked *q)
{
    struct relay_alloc *a = q->conn->alloc;
    const struct bk_turn_request *r = &q->request;
    if (r->family != 0 && r->family != (a->v6 ? BK_FAMILY_IPV6 : BK_FAMILY_IPV4)) {
        return BK_CODE_PEER_ADDRESS_FAMILY;
    }
    if (r->has_lifetime && r->lifetime_s == 0) {
        relay_alloc_end(q->c, q->now, a, BK_RELAY_ENDED, q->out);
        return 0;
    }
    if (r->server_name.n > 0) {
        relay_alloc_name(q->c, a, r->server_name);
    }
    q->answer.lifetime_s = lifetime(r);
    bk_heap_set(&q->c->heap, &a->timer,
                bk_time_add(q->now->mono, q->answer.lifetime_s * BK_SECOND));
    return 0;
}

static uint16_t check_peers(const struct asked *q, bool dial)
{
    for (size_t i = 0; i < q->request.n_peers; i++) {
        const struct bk_addr *peer = &q->request.peers[i];
        if (bk_addr_is_v4(peer) == q->conn->alloc->v6) {
            return BK_CODE_PEER_ADDRESS_FAMILY;
        }
        if (relay_peer_forbidden(q->c, q->conn, peer, dial)) {
            return BK_CODE_FORBIDDEN;
        }
    }
    return 0;
}

static uint16_t create_permission(struct asked *q)
{
    uint16_t code = check_peers(q, false);
    if (code != 0) {
        return code;
    }
    return relay_permit(q->conn->alloc, q->now, q->request.peers, q->request.n_peers);
}

static uint16_t active_open(struct asked *q)
{
    struct relay_alloc *a = q->conn->alloc;
    const struct bk_addr *peer = &q->request.peers[0];
    if (!q->c->config.allow_connect || peer->port == 0) {
        return BK_CODE_FORBIDDEN;
    }
    uint16_t code = check_peers(q, true);
    if (code != 0) {
        return code;
    }
    for (const struct relay_conn *conn = a->conns; conn != NULL; conn = conn->next) {
        if (bk_addr_equal(&conn->from, peer)) {
            return BK_CODE_CONNECTION_EXISTS;
        }
    }
    if (a->connect.active || a->n_pending >= BK_RELAY_PENDING_MAX) {
        return BK_CODE_CAPACITY;
    }
    hold(&a->connect, q);
    a->connect.peer = *peer;
    a->connect.connection_id = relay_connection_id(q->c);
    struct bk_relay_action *dial = relay_out_add(q->out, BK_RELAY_DIAL);
    dial->dial.allocation = a->number;
    dial->dial.connection_id = a->connect.connection_id;
    dial->dial.peer = *peer;
    q->later = true;
    return 0;
}

static uint16_t connection_bind(struct asked *q)
{
    struct relay_conn *peer = relay_conn_pending(q->c, q->request.connection_id);
    if (q->conn->kind != RELAY_FRESH || peer == NULL ||
        !bk_slice_equal(bk_slice_text(peer->alloc->user->name), q->login.user)) {
        return BK_CODE_BAD_REQUEST;
    }
    if (!relay_user_has_room(q->c, peer->alloc, 1)) {
        return BK_CODE_CAPACITY;
    }
    relay_conn_become(q->c, q->conn, RELAY_JOINED, peer->alloc);
    relay_conn_become(q->c, peer, RELAY_JOINED, peer->alloc);
    relay_answer(q->c, q->conn, q->m->txid, &q->answer, q->login.key, q->out);
    struct bk_relay_action *join = relay_out_add(q->out, BK_RELAY_JOIN);
    join->join.allocation = peer->alloc->number;
    join->join.client = q->conn->number;
    join->join.peer = peer->number;
    q->later = true; /* answered: these bytes come before the peer's */
    return 0;
}

/* What stands against any request of that user on that connection. */
static uint16_t check_owner(const struct asked *q)
{
    const struct relay_alloc *a = q->conn->alloc;
    if (a != NULL && !bk_slice_equal(bk_slice_text(a->user->name), q->login.user)) {
        return BK_CODE_WRONG_CREDENTIALS;
    }
    bool needs = q->m->method != BK_METHOD_ALLOCATE && q->m->method != BK_METHOD_CONNECTION_BIND;
    bool usable = a == NULL ? !needs : !a->allocate.active && !a->revoked;
    return usable ? 0 : BK_CODE_ALLOCATION_MISMATCH;
}

static uint16_t carry_out(struct asked *q)
{
    uint16_t code = check_owner(q);
    if (code != 0) {
        return code;
    }
    switch (q->m->method) {
    case BK_METHOD_ALLOCATE:
        return allocate(q);
    case BK_METHOD_REFRESH:
        return refresh(q);
    case BK_METHOD_CREATE_PERMISSION:
        return create_permission(q);
    case BK_METHOD_TURN_CONNECT:
        return active_open(q);
    case BK_METHOD_CONNECTION_BIND:
        return connection_bind(q);
    default:
        return BK_CODE_BAD_REQUEST;
    }
}

static void reply(struct asked *q, uint16_t code, bool known)
{
    char nonce[BK_RELAY_NONCE_TEXT_BYTES + 1];
    q->answer.code = code;
    if (code == BK_CODE_UNAUTHENTICATED || code == BK_CODE_STALE_NONCE) {
        relay_nonce_write(q->c, q->now, &q->conn->from, nonce);
        q->answer.realm = bk_slice_text(BK_RELAY_REALM);
        q->answer.nonce = bk_slice_text(nonce);
        known = false; /* the client may have used another key */
    }
    relay_answer(q->c, q->conn, q->m->txid, &q->answer, known ? q->login.key : NULL, q->out);
}

static void request(struct asked *q)
{
    enum bk_err err = bk_turn_request_read(q->m, &q->request);
    q->answer.method = q->m->method;
    uint16_t code = BK_CODE_BAD_REQUEST;
    bool known = false;
    if (q->request.method != 0) {
        code = relay_login_check(q->c, q->now, q->conn, q->m, &q->request, &q->login);
        known = code == 0;
    }
    if (known && err == BK_E_MALFORMED) {
        code = BK_CODE_BAD_REQUEST;
    } else if (known && err == BK_E_UNKNOWN_ATTR) {
        code = BK_CODE_UNKNOWN_ATTRIBUTE;
        q->answer.unknown = q->request.unknown;
        q->answer.n_unknown = q->request.n_unknown;
    } else if (known && err != BK_OK) {
        code = BK_CODE_CAPACITY;
    } else if (known) {
        code = carry_out(q);
    }
    if (!q->later) {
        reply(q, code, known);
    }
    bk_wipe(&q->login, sizeof q->login);
}

static void binding(struct asked *q)
{
    struct bk_slice bytes;
    size_t cap;
    uint8_t *buf = relay_out_space(q->out, &cap);
    if (bk_binding_response_write(buf, cap, q->m->txid, &q->conn->from, &bytes) == BK_OK) {
        relay_out_send(q->out, q->conn->number, bytes);
    }
}

void relay_message(struct bk_relay_core *c, const struct bk_now *now, struct relay_conn *conn,
                   struct bk_slice bytes, struct bk_relay_out *out)
{
    struct bk_stun m;
    struct asked q = {.c = c, .now = now, .conn = conn, .m = &m, .out = out};
    if (bk_stun_read(bytes, &m) != BK_OK ||
        !bk_bucket_take(&conn->messages, now->mono, BK_RELAY_MESSAGES_PER_S,
                        4 * BK_RELAY_MESSAGES_PER_S)) {
        struct relay_alloc *a = conn->kind == RELAY_CONTROL ? conn->alloc : NULL;
        relay_out_close(c, out, conn, false);
        if (a != NULL) {
            relay_alloc_end(c, now, a, BK_RELAY_LOST, out);
        }
        return;
    }
    if (m.cls != BK_STUN_REQUEST) {
        return; /* a keepalive, perhaps */
    }
    if (m.method == BK_METHOD_BINDING) {
        binding(&q);
    } else {
        request(&q);
    }
}
