/* Peers: who may connect, and what happens when one does. */
#include <string.h>

#include "core/relay/state.h"
#include "seal/seal.h"

/* The server itself is a peer only as its own relayed addresses are: what else it serves trusts its own machine,
 * perhaps. A permission has no port; nothing comes from our address but what Connect opens. */
static bool forbidden_here(const struct bk_relay_core *c, const struct bk_addr *peer, bool dial)
{
    return !c->config.allow_connect ||
           (dial && (peer->port < c->config.first_port || peer->port > c->config.last_port));
}

bool relay_peer_forbidden(const struct bk_relay_core *c, const struct relay_conn *control,
                          const struct bk_addr *peer, bool dial)
{
    struct bk_addr inner;
    if (c->config.any_peer) {
        return false;
    }
    if (bk_addr_scope(peer) != BK_SCOPE_GLOBAL) {
        return true;
    }
    if (bk_addr_inner_v4(peer, &inner) && bk_addr_same_ip(&inner, &control->local)) {
        return true;
    }
    return bk_addr_same_ip(peer, &control->local) && forbidden_here(c, peer, dial);
}

static struct relay_permission *permission_of(struct relay_alloc *a, const struct bk_addr *peer)
{
    for (size_t i = 0; i < BK_RELAY_PERMISSIONS_MAX; i++) {
        if (a->permissions[i].until != 0 && bk_addr_same_ip(&a->permissions[i].peer, peer)) {
            return &a->permissions[i];
        }
    }
    return NULL;
}

bool relay_user_has_room(const struct bk_relay_core *c, const struct relay_alloc *a, uint32_t n)
{
    uint32_t most = c->config.max_user_connections;
    return most == 0 || (most >= n && a->user->connections <= most - n);
}

bool relay_permitted(const struct relay_alloc *a, const struct bk_now *now,
                     const struct bk_addr *peer)
{
    for (size_t i = 0; i < BK_RELAY_PERMISSIONS_MAX; i++) {
        const struct relay_permission *p = &a->permissions[i];
        if (p->until > now->mono && bk_addr_same_ip(&p->peer, peer)) {
            return true;
        }
    }
    return false;
}

uint16_t relay_permit(struct relay_alloc *a, const struct bk_now *now, const struct bk_addr *peers,
                      size_t n)
{
    struct relay_permission before[BK_RELAY_PERMISSIONS_MAX];
    bk_time until = bk_time_add(now->mono, BK_TURN_PERMISSION_S * BK_SECOND);
    memcpy(before, a->permissions, sizeof before);
    for (size_t i = 0; i < n; i++) {
        struct relay_permission *p = permission_of(a, &peers[i]);
        for (size_t j = 0; p == NULL && j < BK_RELAY_PERMISSIONS_MAX; j++) {
            if (a->permissions[j].until <= now->mono) {
                p = &a->permissions[j];
            }
        }
        if (p == NULL) {
            memcpy(a->permissions, before, sizeof before);
            return BK_CODE_CAPACITY;
        }
        *p = (struct relay_permission){.peer = peers[i], .until = until};
    }
    return 0;
}

uint32_t relay_connection_id(const struct bk_relay_core *c)
{
    uint32_t id;
    do {
        id = (uint32_t)bk_random_u64(&c->config.rng);
    } while (id == 0 || relay_conn_pending(c, id) != NULL);
    return id;
}

/* A place among those that wait; the connection is closed where there is none. */
static struct relay_conn *pending(struct bk_relay_core *c, const struct bk_now *now,
                                  struct relay_alloc *a, uint64_t number,
                                  const struct bk_addr *from, uint32_t connection_id,
                                  struct bk_relay_out *out)
{
    struct relay_conn *conn = NULL;
    if (a != NULL && a->control != NULL && !a->allocate.active &&
        a->n_pending < BK_RELAY_PENDING_MAX && a->n_joined < 2 * BK_RELAY_JOINED_MAX &&
        relay_user_has_room(c, a, 2)) { /* with the one that binds it */
        conn = relay_conn_take(c, RELAY_PENDING, number, from);
    }
    if (conn == NULL) {
        struct bk_relay_action *close = relay_out_add(out, BK_RELAY_CLOSE);
        close->close.conn = number;
        close->close.reset = true;
        return NULL;
    }
    relay_conn_become(c, conn, RELAY_PENDING, a);
    if (!relay_conn_wait(c, conn, connection_id)) {
        relay_out_close(c, out, conn, true);
        return NULL;
    }
    bk_heap_set(&c->heap, &conn->timer, bk_time_add(now->mono, BK_TURN_BIND_S * BK_SECOND));
    return conn;
}

static void attempt(struct bk_relay_core *c, const struct bk_now *now, struct relay_alloc *a,
                    uint64_t number, const struct bk_addr *from, bool by_name,
                    struct bk_relay_out *out)
{
    struct bk_turn_attempt told = {.connection_id = relay_connection_id(c), .peer = *from};
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_slice bytes;
    size_t cap;
    if (pending(c, now, a, number, from, told.connection_id, out) == NULL) {
        return;
    }
    told.server_name = bk_slice_text(by_name ? a->server_name : "");
    c->config.rng.fill(c->config.rng.ctx, txid, sizeof txid);
    uint8_t *buf = relay_out_space(out, &cap);
    if (bk_turn_attempt_write(buf, cap, txid, &told, &bytes) == BK_OK) {
        relay_out_send(out, a->control->number, bytes);
    }
}

void relay_peer(struct bk_relay_core *c, const struct bk_now *now,
                const struct bk_relay_event *event, struct bk_relay_out *out)
{
    struct relay_alloc *a = relay_alloc_find(c, event->peer.allocation);
    if (a != NULL && !relay_permitted(a, now, &event->peer.from)) {
        a = NULL;
    }
    attempt(c, now, a, event->peer.conn, &event->peer.from, false, out);
}

/* Who knows the name has it from the call's sealed request, or has seen that call's own connections: it stands for a
 * permission, since the address of a device that only gets out by port 443 is not always the one seen before. */
void relay_named(struct bk_relay_core *c, const struct bk_now *now,
                 const struct bk_relay_event *event, struct bk_relay_out *out)
{
    struct relay_alloc *a = relay_alloc_named(c, event->named.name);
    attempt(c, now, a, event->named.conn, &event->named.from, true, out);
}

void relay_dialled(struct bk_relay_core *c, const struct bk_now *now,
                   const struct bk_relay_event *event, struct bk_relay_out *out)
{
    struct relay_alloc *a = relay_alloc_find(c, event->dialled.allocation);
    uint32_t id = event->dialled.connection_id;
    bool asked = a != NULL && a->connect.active && a->connect.connection_id == id;
    struct bk_turn_answer answer = {.method = BK_METHOD_TURN_CONNECT, .connection_id = id};
    bool stands = false;
    if (event->dialled.connected) {
        stands = pending(c, now, asked ? a : NULL, event->dialled.conn,
                         asked ? &a->connect.peer : &(struct bk_addr){.port = 0}, id, out) != NULL;
    }
    if (!asked) {
        return;
    }
    answer.code = stands ? 0 : BK_CODE_CONNECTION_FAILED;
    if (a->control != NULL) {
        relay_answer(c, a->control, a->connect.txid, &answer, a->connect.key, out);
    }
    bk_wipe(&a->connect, sizeof a->connect);
}
