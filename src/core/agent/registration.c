/* Keeps one registration alive: events and timers, and which of the servers is in use.
 *
 * Nothing that a datagram says is believed before its sender's address and its integrity are checked.
 * Invariant: while the server's address is known exactly one send by UDP is due at `udp.due`. */
#include "core/agent/registration.h"

#include <assert.h>
#include <string.h>

#include "core/agent/registration_private.h"

enum {
    RESOLVE_WAIT_S = 5,   /* a resolver that says nothing for so long is asked again */
    TRIAL_SENDS = 3,      /* of UDP beside the tunnel, and of the first server beside another */
    TURN_SENDS = 4,       /* unanswered, before another server is tried, */
    TURN_SENDS_LATER = 1, /* and once all have been */
    FIRST_WAIT_S = 600,   /* the first server did not answer: tried again after */
};

struct bk_registration_action *bk_registration_add(struct bk_registration_out *out,
                                                   enum bk_registration_action_type type)
{
    assert(out->n < BK_AGENT_OUT_ACTIONS);
    struct bk_registration_action *a = &out->actions[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

uint8_t *bk_registration_room(struct bk_registration_out *out)
{
    assert(sizeof out->bytes - out->used >= BK_AGENT_DATAGRAM_BYTES);
    return out->bytes + out->used;
}

void bk_registration_add_send(const struct bk_addr *to, struct bk_slice bytes,
                              struct bk_registration_out *out)
{
    struct bk_registration_action *a = bk_registration_add(out, BK_REGISTRATION_SEND);
    a->tunnel = to == NULL;
    if (to != NULL) {
        a->addr = *to;
    }
    a->bytes = bytes;
    out->used += bytes.n;
}

/* ---- servers ---- */

void bk_registration_ask_for_address(struct bk_registration *r, bk_time now,
                                     struct bk_registration_out *out)
{
    bk_registration_add(out, BK_REGISTRATION_RESOLVE)->index = r->index;
    if (r->udp.attempt < UINT32_MAX) {
        r->udp.attempt++;
    }
    r->udp.due = bk_time_add(now, RESOLVE_WAIT_S * BK_SECOND);
}

void bk_registration_turn_to(struct bk_registration *r, uint8_t index)
{
    r->index = index;
    r->have_server = false;
    r->udp.waiting = false;
    r->udp.have_nonce = false;
    r->turn_sends = 0;
    r->tunnel_tried = false;
    if (r->rounds == 0) {
        r->udp.attempt = 0;
    }
}

static void next_server(struct bk_registration *r)
{
    uint8_t next = (uint8_t)((r->index + 1) % r->config.n_servers);
    if (next == 0 && r->rounds < UINT32_MAX) {
        r->rounds++;
    }
    bk_registration_turn_to(r, next);
}

void bk_registration_fail_over(struct bk_registration *r, bk_time now,
                               struct bk_registration_out *out)
{
    uint32_t sends = r->rounds == 0 ? TURN_SENDS : TURN_SENDS_LATER;
    if (r->udp_blocked) {
        sends = TURN_SENDS_LATER;
    }
    if (r->config.n_servers > 1 && r->have_server && r->state == BK_REGISTRATION_TRYING &&
        !r->told_revoked && r->turn_sends >= sends && r->tunnel_state == BK_TUNNEL_NONE &&
        (r->tunnel_tried || now < r->tunnel_after)) {
        next_server(r);
        bk_registration_ask_for_address(r, now, out);
    }
}

/* The first server again, beside the one in use. */
static void try_first(struct bk_registration *r, bk_time now, const struct bk_addr *first,
                      struct bk_registration_out *out)
{
    r->wants_first = false;
    r->back.on = true;
    r->back.index = r->index;
    r->back.server = r->server;
    r->index = 0;
    r->server = *first;
    bk_registration_begin(r, &r->udp, now, out);
}

/* It does not answer. One answered exchange where we were, and all is as before. */
static void go_back(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    r->back.on = false;
    r->index = r->back.index;
    r->server = r->back.server;
    r->turn_sends = 0;
    bk_registration_begin(r, &r->udp, now, out);
}

static void first_due(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    r->first_at = BK_TIME_NEVER;
    if (r->state != BK_REGISTRATION_UP || r->index == 0 || r->back.on) {
        return;
    }
    if (!r->by_tunnel) {
        r->first_at = bk_time_add(now, FIRST_WAIT_S * BK_SECOND);
        r->wants_first = true;
        bk_registration_add(out, BK_REGISTRATION_RESOLVE)->index = 0;
        return;
    }
    bk_registration_tunnel_close(r, out); /* there is one tunnel only */
    r->state = BK_REGISTRATION_TRYING;
    bk_registration_turn_to(r, 0);
    bk_registration_ask_for_address(r, now, out);
}

static void resolved(struct bk_registration *r, bk_time now,
                     const struct bk_registration_event *event, struct bk_registration_out *out)
{
    if (event->index == 0 && r->wants_first && r->index != 0 && !r->by_tunnel &&
        r->state == BK_REGISTRATION_UP) {
        try_first(r, now, &event->addr, out);
        return;
    }
    if (event->index != r->index || r->back.on) {
        return;
    }
    bool moved = !r->have_server || !bk_addr_equal(&r->server, &event->addr);
    bool was_known = r->have_server;
    r->server = event->addr;
    r->have_server = true;
    if (moved) {
        r->udp.attempt = was_known || r->rounds == 0 ? 0 : r->udp.attempt;
        bk_registration_begin(r, &r->udp, now, out);
    }
}

static void unresolved(struct bk_registration *r, bk_time now, uint8_t index)
{
    if (index != r->index || r->have_server) {
        return;
    }
    r->udp.due =
        bk_time_add(now, bk_registration_retry_delay(r, &r->udp)); /* the timer asks again */
    if (r->config.n_servers > 1) {
        uint32_t attempt = r->udp.attempt;
        next_server(r);
        r->udp.attempt = attempt;
    }
}

/* ---- timers and datagrams ---- */

static void unanswered(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    struct bk_registration_exchange *x = &r->udp;
    if (x->attempt >= BK_AGENT_UNANSWERED_MAX) {
        r->state = BK_REGISTRATION_TRYING;
        bk_registration_fall_back(r);
        if (!r->told_lost) { /* once, also where it never stood */
            r->told_lost = true;
            r->told_up = false;
            bk_registration_add(out, BK_REGISTRATION_LOST);
        }
        if (x->attempt % BK_AGENT_UNANSWERED_MAX == 0) {
            bk_registration_add(out, BK_REGISTRATION_RESOLVE)->index = r->index;
        }
    }
    if (r->state == BK_REGISTRATION_TRYING) {
        bk_registration_tunnel_wanted(r, now, out);
        uint8_t index = r->index;
        bk_registration_fail_over(r, now, out);
        if (r->index != index) {
            return;
        }
    }
    if (x->attempt < UINT32_MAX) {
        x->attempt++;
    }
    r->turn_sends++;
    x->challenges = 0;
    bk_registration_send(r, x, now, out);
}

static void udp_due(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    struct bk_registration_exchange *x = &r->udp;
    if (!r->have_server) {
        bk_registration_ask_for_address(r, now, out);
    } else if (!x->waiting) {
        bk_registration_keep_alive(r, now, out);
    } else if (r->back.on && x->attempt >= TRIAL_SENDS) {
        go_back(r, now, out);
    } else if (r->by_tunnel && x->attempt >= TRIAL_SENDS) {
        bk_registration_trial_ended(r, now);
    } else {
        unanswered(r, now, out);
    }
}

static void datagram(struct bk_registration *r, const struct bk_now *now,
                     const struct bk_registration_event *event, struct bk_registration_out *out)
{
    struct bk_stun m;
    const struct bk_addr *from = event->tunnel ? NULL : &event->addr;
    bool in_use = event->tunnel ? r->tunnel_state == BK_TUNNEL_OPEN
                                : r->have_server && bk_addr_equal(&event->addr, &r->server);
    bool of_back = !event->tunnel && r->back.on && bk_addr_equal(&event->addr, &r->back.server);
    if (bk_stun_read(event->bytes, &m) != BK_OK) {
        return;
    }
    if (from != NULL && m.method == BK_METHOD_RESULT) { /* of any server that called */
        bk_registration_result_answered(r, &m, from, out);
    } else if (!in_use && !of_back) {
        return;
    } else if (m.method == BK_METHOD_NOTIFY && m.cls == BK_STUN_REQUEST) {
        bk_registration_notified(r, now->mono, &m, from, in_use ? r->index : r->back.index,
                                 event->full, out);
    } else if (m.method == BK_METHOD_REGISTER && in_use) {
        if (m.cls == BK_STUN_SUCCESS || m.cls == BK_STUN_ERROR) {
            bk_registration_answered(r, now, &m, event->tunnel ? &r->tunnel : &r->udp, out);
        } else if (m.cls == BK_STUN_INDICATION && !event->tunnel) {
            bk_registration_quiet_challenged(r, now->mono, &m, out);
        }
    }
}

static void network_changed(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    if (r->state == BK_REGISTRATION_IDLE && !r->have_server) {
        return;
    }
    bk_registration_fall_back(r);
    r->changed_at = 0;
    r->ceiling_until = 0;
    r->rounds = 0;
    r->tunnel_failures = 0;
    r->tunnel_after = 0;
    r->udp.attempt = 0;
    if (r->have_server) {
        bk_registration_begin(r, &r->udp, now, out);
    } else {
        bk_registration_ask_for_address(r, now, out);
    }
    if (r->tunnel_state == BK_TUNNEL_OPEN && !r->tunnel.waiting) {
        bk_registration_begin(r, &r->tunnel, now, out); /* does it still stand? */
    }
}

/* ---- entry points ---- */

void bk_registration_init(struct bk_registration *r, const struct bk_registration_config *config)
{
    memset(r, 0, sizeof *r);
    r->config = *config;
    if (r->config.n_servers == 0) {
        r->config.n_servers = 1;
    }
    assert(r->config.n_servers <= BK_AGENT_SERVERS_MAX);
    r->udp.due = BK_TIME_NEVER;
    r->tunnel.due = BK_TIME_NEVER;
    r->first_at = BK_TIME_NEVER;
    bk_registration_fall_back(r);
    bk_registration_draw_tag(r);
}

void bk_registration_input(struct bk_registration *r, const struct bk_now *now,
                           const struct bk_registration_event *event,
                           struct bk_registration_out *out)
{
    out->n = 0;
    out->used = 0;
    switch (event->type) {
    case BK_REGISTRATION_START:
        r->state = BK_REGISTRATION_TRYING;
        bk_registration_ask_for_address(r, now->mono, out);
        break;
    case BK_REGISTRATION_RESOLVED:
        resolved(r, now->mono, event, out);
        break;
    case BK_REGISTRATION_UNRESOLVED:
        unresolved(r, now->mono, event->index);
        break;
    case BK_REGISTRATION_DATAGRAM:
        datagram(r, now, event, out);
        break;
    case BK_REGISTRATION_NETWORK_CHANGED:
        network_changed(r, now->mono, out);
        break;
    case BK_REGISTRATION_TUNNEL_UP:
        bk_registration_tunnel_up(r, now->mono, out);
        break;
    case BK_REGISTRATION_TUNNEL_DOWN:
        bk_registration_tunnel_down(r, now->mono, out);
        break;
    case BK_REGISTRATION_KEPT:
        bk_registration_kept(r, now->mono, event->kept_s);
        break;
    case BK_REGISTRATION_RESULT:
        bk_registration_result(r, now->mono, event, out);
        break;
    }
}

void bk_registration_timer(struct bk_registration *r, const struct bk_now *now,
                           struct bk_registration_out *out)
{
    out->n = 0;
    out->used = 0;
    if (now->mono >= r->first_at) {
        first_due(r, now->mono, out);
    }
    if (now->mono >= r->udp.due) {
        udp_due(r, now->mono, out);
    }
    if (now->mono >= r->tunnel.due) {
        bk_registration_tunnel_due(r, now->mono, out);
    }
    bk_registration_results_due(r, now->mono, out);
}

bk_time bk_registration_deadline(const struct bk_registration *r)
{
    bk_time at = bk_time_min(bk_time_min(r->udp.due, r->tunnel.due), r->first_at);
    return bk_time_min(at, bk_registration_results_deadline(r));
}

void bk_registration_rekey(struct bk_registration *r, const struct bk_now *now, uint32_t generation,
                           uint16_t epoch, const uint8_t key[BK_KEY_BYTES])
{
    r->config.generation = generation;
    r->config.epoch = epoch;
    memcpy(r->config.key, key, sizeof r->config.key);
    r->told_revoked = false;
    r->udp.attempt = 0;
    r->udp.waiting = false; /* what was sent under the old key has no answer any more */
    r->quiet_open = false;
    r->quiet_run = UINT32_MAX; /* the next one is answered */
    if (r->have_server && !r->by_tunnel) {
        r->udp.due = now->mono;
    }
    if (r->tunnel_state == BK_TUNNEL_OPEN) {
        r->tunnel.waiting = false;
        r->tunnel.due = now->mono;
    }
}
