/* Links of a call: dials, simultaneous opens, what comes in, and the sessions that come of them.
 *
 * Invariants: nothing is dialled that policy and the limits on dialling were not asked about; at most
 * BK_CALL_STANDING_MAX sessions, BK_CALL_USED_MAX of them in use; the call ends with its last session in use, at once
 * if that ended in order. */
#include "core/agent/call_state.h"

#include <assert.h>
#include <string.h>

size_t bk_call_count(const struct bk_call *c, enum bk_link_state state)
{
    size_t n = 0;
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        n += c->links[i].state == state;
    }
    return n;
}

static bool any_direct(const struct bk_call *c, enum bk_link_state state)
{
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        if (c->links[i].state == state && c->links[i].kind != BK_CANDIDATE_RELAYED) {
            return true;
        }
    }
    return false;
}

bool bk_call_uses_direct(const struct bk_call *c)
{
    return any_direct(c, BK_LINK_USED);
}

bool bk_call_has_direct(const struct bk_call *c)
{
    return any_direct(c, BK_LINK_USED) || any_direct(c, BK_LINK_STANDING);
}

static void close_link(struct bk_call *c, size_t i, struct bk_call_out *out)
{
    c->links[i].state = BK_LINK_NONE;
    bk_call_add(out, BK_CALL_CLOSE_LINK)->index = i;
}

void bk_call_stop_trying(struct bk_call *c, struct bk_call_out *out)
{
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        if (c->links[i].state == BK_LINK_TRYING || c->links[i].state == BK_LINK_PAUSING) {
            close_link(c, i, out);
        }
    }
}

void bk_call_close_links(struct bk_call *c, struct bk_call_out *out)
{
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        if (c->links[i].state != BK_LINK_NONE) {
            close_link(c, i, out);
        }
    }
}

/* ---- what may be dialled ---- */

static bool is_punched(const struct bk_candidate *candidate)
{
    return candidate->kind == BK_CANDIDATE_REFLEXIVE;
}

/* An address behind a firewall alone is dialled and met halfway; twice the same way leads nowhere else. */
static bool is_first_of_its_kind(const struct bk_call *c, size_t index)
{
    const struct bk_candidate *it = &c->peer[index];
    for (size_t i = 0; i < index; i++) {
        if (bk_addr_equal(&c->peer[i].addr, &it->addr) &&
            is_punched(&c->peer[i]) == is_punched(it)) {
            return false;
        }
    }
    return true;
}

/* Where an observed or a relayed address lies, the caller has it from the server: it must not lead into a private
 * network, ours perhaps, unless the server is in one itself, or our owner has said which addresses are good. */
static bool may_be_told_by_server(const struct bk_call *c, const struct bk_candidate *it)
{
    const struct bk_policy *policy = &c->config.policy;
    bool told = is_punched(it) || it->kind == BK_CANDIDATE_RELAYED;
    if (!told || policy->n_allow > 0 || bk_addr_scope(&it->addr) == BK_SCOPE_GLOBAL) {
        return true;
    }
    for (size_t i = 0; i < policy->n_servers; i++) {
        if (bk_addr_scope(&policy->servers[i]) != BK_SCOPE_GLOBAL) {
            return true;
        }
    }
    return false;
}

void bk_call_ask(struct bk_call *c, struct bk_call_out *out)
{
    uint32_t permitted = 0;
    for (size_t i = 0; i < c->n_peer; i++) {
        if (is_first_of_its_kind(c, i) && !(c->config.no_port && is_punched(&c->peer[i])) &&
            may_be_told_by_server(c, &c->peer[i]) &&
            bk_policy_check(&c->config.policy, &c->peer[i].addr) == BK_POLICY_ALLOWED) {
            permitted |= UINT32_C(1) << i;
        }
    }
    c->asked_dials = permitted;
    if (permitted != 0) {
        bk_call_add(out, BK_CALL_ASK_DIALS)->dials = permitted;
    }
}

/* One that is free, the candidate's own number if it can be. Sessions and attempts together never fill them. */
static size_t free_link(const struct bk_call *c, size_t candidate)
{
    size_t i = c->links[candidate].state == BK_LINK_NONE ? candidate : 0;
    while (i < BK_CALL_DIALS_MAX && c->links[i].state != BK_LINK_NONE) {
        i++;
    }
    assert(i < BK_CALL_DIALS_MAX);
    return i;
}

static void dial_link(struct bk_call *c, size_t i, struct bk_call_out *out)
{
    struct bk_call_action *a = bk_call_add(out, BK_CALL_DIAL);
    a->index = i;
    a->addr = c->links[i].addr;
    c->links[i].state = BK_LINK_TRYING;
}

/* Of both round trips to the server, as told to the caller or by it. */
static uint32_t both_ways_ms(const struct bk_call *c)
{
    uint32_t own_ms = c->server_ms < UINT16_MAX ? c->server_ms : UINT16_MAX;
    return c->round != 0 ? c->round_ms : c->request.server_ms + own_ms;
}

/* Half of the way between the two after our word has left, theirs starts: when it arrives. */
static uint32_t first_punch_ms(const struct bk_call *c, const struct bk_now *now)
{
    bool again = c->round != 0;
    uint32_t half_ms = both_ways_ms(c) / 2;
    if (half_ms > BK_CALL_PUNCH_FIRST_MAX_MS) {
        half_ms = BK_CALL_PUNCH_FIRST_MAX_MS;
    }
    bk_time at = bk_time_add(again ? c->answered_at : c->told_at, half_ms * BK_MS);
    return (uint32_t)(bk_time_left(now->mono, at) / BK_MS);
}

static void begin_link(struct bk_call *c, const struct bk_now *now, size_t candidate,
                       struct bk_call_out *out)
{
    size_t i = free_link(c, candidate);
    c->links[i] =
        (struct bk_call_link){.kind = c->peer[candidate].kind, .addr = c->peer[candidate].addr};
    if (!is_punched(&c->peer[candidate])) {
        dial_link(c, i, out);
        return;
    }
    c->links[i].state = BK_LINK_TRYING;
    struct bk_call_action *a = bk_call_add(out, BK_CALL_PUNCH);
    a->index = i;
    a->addr = c->links[i].addr;
    a->first_ms = first_punch_ms(c, now);
    a->every_ms = bk_paths_grid_ms(both_ways_ms(c));
    a->tries = bk_paths_grid_tries(a->every_ms);
}

static void begin_links(struct bk_call *c, const struct bk_now *now, uint32_t which,
                        struct bk_call_out *out)
{
    for (size_t i = 0; i < c->n_peer; i++) {
        if ((which >> i & 1) != 0) {
            begin_link(c, now, i, out);
        }
    }
}

/* To meet us the caller must know our address, and in the fast form nobody has asked the server for it: if a session
 * may come about without, that has a moment's time for it. */
static void plan_meeting(struct bk_call *c, struct bk_call_out *out)
{
    if (c->meeting != BK_MEETING_NONE || c->to_punch == 0) {
        return;
    }
    for (size_t i = 0; i < BK_CALL_DIALS_MAX; i++) {
        const struct bk_call_link *l = &c->links[i];
        if (l->state == BK_LINK_TRYING && l->kind != BK_CANDIDATE_RELAYED &&
            bk_addr_scope(&l->addr) == BK_SCOPE_GLOBAL) {
            c->meeting = BK_MEETING_LATER;
            c->meet_at = bk_time_add(c->entered, BK_CALL_MEET_AFTER_MS * BK_MS);
            return;
        }
    }
    bk_call_meet(c, out);
}

void bk_call_dials_answered(struct bk_call *c, const struct bk_now *now, uint32_t dials,
                            struct bk_call_out *out)
{
    uint32_t permitted = dials & c->asked_dials; /* none while nothing is asked for */
    bool unmet = c->fast && c->state == BK_CALL_DIALLING && c->meeting != BK_MEETING_KNOWN;
    c->asked_dials = 0;
    for (size_t i = 0; (c->answering || unmet) && i < c->n_peer; i++) {
        c->to_punch |= is_punched(&c->peer[i]) ? permitted & UINT32_C(1) << i : 0;
    }
    begin_links(c, now, permitted & ~c->to_punch, out);
    if (unmet) {
        plan_meeting(c, out);
    }
}

void bk_call_punch_waiting(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out)
{
    uint32_t which = c->to_punch;
    c->to_punch = 0;
    begin_links(c, now, which, out);
}

/* ---- sessions ---- */

static bool owns(const struct bk_call *c, enum bk_candidate_kind kind)
{
    for (size_t i = 0; i < c->n_own; i++) {
        if (c->own[i].kind == kind) {
            return true;
        }
    }
    return false;
}

/* Of a connection that came in. Where it was meant to go, only the caller knows. */
static enum bk_candidate_kind kind_of_arrival(const struct bk_call *c,
                                              const struct bk_call_event *event)
{
    bool met = false;
    for (size_t i = 0; i < c->n_peer; i++) {
        met = met || (is_punched(&c->peer[i]) && bk_addr_equal(&c->peer[i].addr, &event->addr));
    }
    if (bk_addr_scope(&event->local) == BK_SCOPE_GLOBAL) {
        return BK_CANDIDATE_HOST;
    }
    if (owns(c, BK_CANDIDATE_MAPPED)) {
        return BK_CANDIDATE_MAPPED;
    }
    return met || bk_addr_scope(&event->addr) == BK_SCOPE_GLOBAL ? BK_CANDIDATE_REFLEXIVE
                                                                 : BK_CANDIDATE_HOST;
}

static void session_up(struct bk_call *c, const struct bk_now *now,
                       const struct bk_call_event *event, struct bk_call_out *out)
{
    struct bk_call_link *l = &c->links[event->index];
    bool came = event->index >= BK_CALL_DIALS_MAX;
    if (l->state != (came ? BK_LINK_NONE : BK_LINK_TRYING) ||
        (came && c->state != BK_CALL_DIALLING && c->state != BK_CALL_UP)) {
        return;
    }
    if (came) {
        *l = (struct bk_call_link){.kind = kind_of_arrival(c, event), .addr = event->addr};
    }
    size_t standing = bk_call_count(c, BK_LINK_STANDING);
    if (standing + bk_call_count(c, BK_LINK_USED) >= BK_CALL_STANDING_MAX) {
        close_link(c, event->index, out);
        return;
    }
    l->state = BK_LINK_STANDING;
    l->at = bk_time_add(now->mono, BK_CALL_PICK_MS * BK_MS);
    if (standing == 0) {
        c->pick_until = l->at;
    }
}

/* The first ends the wait for one; a relayed one still leaves room for better ones that are under way. */
static void first_picked(struct bk_call *c, struct bk_call_out *out)
{
    c->state = BK_CALL_UP;
    bk_call_forget_untold(c);
    if (c->meeting == BK_MEETING_LATER || c->meeting == BK_MEETING_ASKED) {
        c->meeting = BK_MEETING_KNOWN; /* there are rounds for that from now on */
        c->meet_at = BK_TIME_NEVER;
        c->to_punch = 0;
    }
    if (bk_call_uses_direct(c)) {
        bk_call_stop_trying(c, out);
        c->map_at = BK_TIME_NEVER;
        c->to_punch = 0;
        c->asked_dials = 0;
    }
    bk_call_close_server(c, true, out);
}

static void session_picked(struct bk_call *c, size_t i, struct bk_call_out *out)
{
    struct bk_call_link *l = &c->links[i];
    if (l->state != BK_LINK_TRYING && l->state != BK_LINK_STANDING) {
        return;
    }
    if (bk_call_count(c, BK_LINK_USED) >= BK_CALL_USED_MAX) {
        close_link(c, i, out);
        return;
    }
    l->state = BK_LINK_USED;
    c->linger_until = BK_TIME_NEVER;
    if (c->state == BK_CALL_DIALLING) {
        first_picked(c, out);
    }
}

static void link_over(struct bk_call *c, const struct bk_now *now,
                      const struct bk_call_event *event, struct bk_call_out *out)
{
    struct bk_call_link *l = &c->links[event->index];
    bool used = l->state == BK_LINK_USED;
    if (l->state == BK_LINK_TRYING && event->cut && l->kind == BK_CANDIDATE_RELAYED &&
        l->redials < BK_CALL_REDIALS_MAX) {
        l->redials++;
        l->state = BK_LINK_PAUSING;
        l->at = bk_time_add(now->mono, BK_CALL_REDIAL_MS * BK_MS);
        return;
    }
    l->state = BK_LINK_NONE; /* before a session is up the caller hears of it when the time is up */
    if (!used || bk_call_count(c, BK_LINK_USED) > 0) {
        return;
    }
    if (event->lost) {
        c->linger_until = bk_time_add(now->mono, BK_CALL_LINGER_MS * BK_MS);
    } else {
        bk_call_finish(c, BK_CALL_END_SERVED, out);
    }
}

void bk_call_link_event(struct bk_call *c, const struct bk_now *now,
                        const struct bk_call_event *event, struct bk_call_out *out)
{
    if (event->index >= BK_CALL_LINKS_MAX) {
        return;
    }
    if (event->type == BK_CALL_SESSION_UP) {
        session_up(c, now, event, out);
    } else if (event->type == BK_CALL_SESSION_PICKED) {
        session_picked(c, event->index, out);
    } else if (c->links[event->index].state != BK_LINK_NONE) {
        link_over(c, now, event, out);
    }
}

enum bk_candidate_kind bk_call_link_kind(const struct bk_call *c, size_t index)
{
    return c->links[index].kind;
}

/* ---- time ---- */

void bk_call_links_timer(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out)
{
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        struct bk_call_link *l = &c->links[i];
        if (l->state == BK_LINK_PAUSING && l->at <= now->mono) {
            dial_link(c, i, out);
        } else if (l->state == BK_LINK_STANDING && c->state == BK_CALL_UP && l->at <= now->mono) {
            close_link(c, i, out);
        }
    }
}

bk_time bk_call_links_deadline(const struct bk_call *c)
{
    bk_time at = BK_TIME_NEVER;
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        const struct bk_call_link *l = &c->links[i];
        if (l->state == BK_LINK_PAUSING ||
            (l->state == BK_LINK_STANDING && c->state == BK_CALL_UP)) {
            at = bk_time_min(at, l->at);
        }
    }
    return at;
}
