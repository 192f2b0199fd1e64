/* Connections that come in at the relayed address: each is offered by the relay, bound by a data connection of ours, and
 * handed over. Touches the control connection's transactions in nothing but the nonce. */
#include "core/requester/turn_private.h"

#include <string.h>

void bk_turn_client_attempt(struct bk_turn_client *t, const struct bk_now *now,
                            const struct bk_stun *m, struct bk_turn_client_out *out)
{
    struct bk_turn_attempt attempt;
    if (t->state != BK_TURN_CLIENT_UP || bk_turn_attempt_read(m, &attempt) != BK_OK) {
        return;
    }
    /* Who comes by the name may come from an address that nobody has seen before: the name stands for a permission. */
    bool by_name =
        t->config.server_name.n > 0 && bk_slice_equal(attempt.server_name, t->config.server_name);
    bool permitted_peer = by_name;
    for (size_t i = 0; i < t->n_permits; i++) {
        permitted_peer = permitted_peer || bk_addr_same_ip(&t->permits[i].addr, &attempt.peer);
    }
    size_t i = 0;
    while (i < BK_TURN_CLIENT_BINDS_MAX && t->binds[i].used) {
        i++;
    }
    if (!permitted_peer || i == BK_TURN_CLIENT_BINDS_MAX) {
        return;
    }
    struct bk_turn_client_action *a = bk_turn_client_act(out, BK_TURN_CLIENT_BIND);
    if (a == NULL) {
        return;
    }
    a->bind = i;
    a->addr = attempt.peer;
    t->binds[i].used = true;
    t->binds[i].connection_id = attempt.connection_id;
    t->binds[i].peer = attempt.peer;
    t->binds[i].by_name = by_name;
    t->binds[i].stale = 0;
    t->binds[i].until = bk_time_add(now->mono, BK_TURN_CLIENT_BIND_MS * BK_MS);
}

void bk_turn_client_end_bind(struct bk_turn_client *t, size_t i,
                             enum bk_turn_client_action_type type, struct bk_turn_client_out *out)
{
    struct bk_turn_client_action *a = bk_turn_client_act(out, type);
    if (a != NULL) {
        a->bind = i;
        a->addr = t->binds[i].peer;
        a->by_name = t->binds[i].by_name;
        t->binds[i].used = false;
    }
}

static void send_bind(struct bk_turn_client *t, size_t i, struct bk_turn_client_out *out)
{
    const struct bk_turn_request request = {.method = BK_METHOD_CONNECTION_BIND,
                                            .connection_id = t->binds[i].connection_id};
    struct bk_turn_login login = bk_turn_client_login(t);
    struct bk_slice bytes;
    t->config.rng.fill(t->config.rng.ctx, t->binds[i].txid, sizeof t->binds[i].txid);
    if (bk_turn_request_write(out->bytes, sizeof out->bytes, t->binds[i].txid, &request, &login,
                              &t->config.ops, &bytes) != BK_OK) {
        bk_turn_client_end_bind(t, i, BK_TURN_CLIENT_BIND_CLOSE, out);
        return;
    }
    struct bk_turn_client_action *a = bk_turn_client_act(out, BK_TURN_CLIENT_BIND_SEND);
    if (a != NULL) { /* always: an input about a data connection leads to nothing else */
        a->bind = i;
        a->bytes = bytes;
    }
}

static void take_bind_answer(struct bk_turn_client *t, size_t i, struct bk_slice bytes,
                             struct bk_turn_client_out *out)
{
    struct bk_stun m;
    struct bk_turn_answer answer;
    bool ours = bk_stun_read(bytes, &m) == BK_OK && m.method == BK_METHOD_CONNECTION_BIND &&
                memcmp(m.txid, t->binds[i].txid, sizeof t->binds[i].txid) == 0 &&
                bk_turn_answer_read(&m, &t->config.ops, t->key, &answer) == BK_OK;
    if (ours && answer.code == 0) {
        bk_turn_client_end_bind(t, i, BK_TURN_CLIENT_BIND_DONE, out);
    } else if (ours && bk_turn_client_challenged(t, &answer, &t->binds[i].stale)) {
        send_bind(t, i, out);
    } else {
        bk_turn_client_end_bind(t, i, BK_TURN_CLIENT_BIND_CLOSE, out);
    }
}

void bk_turn_client_bind_event(struct bk_turn_client *t, const struct bk_turn_client_event *event,
                               struct bk_turn_client_out *out)
{
    size_t i = event->bind;
    if (i >= BK_TURN_CLIENT_BINDS_MAX || !t->binds[i].used) {
        return;
    }
    if (event->type == BK_TURN_CLIENT_BIND_OPEN) {
        send_bind(t, i, out);
    } else if (event->type == BK_TURN_CLIENT_BIND_MESSAGE) {
        take_bind_answer(t, i, event->bytes, out);
    } else {
        t->binds[i].used = false;
    }
}
