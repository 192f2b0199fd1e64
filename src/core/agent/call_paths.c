/* Where this device can be reached, and rounds of looking for paths while the call is up.
 *
 * Invariants: a round is begun by the caller alone, one at a time, at most one in BK_CALL_ROUND_EVERY_MS, each with
 * a higher number than all before, and answered once; what it names passes policy and limits like what the box names. */
#include "core/agent/call_state.h"

#include <string.h>

/* ---- own addresses ---- */

static const struct bk_candidate *find_own(const struct bk_call *c, const struct bk_candidate *it)
{
    for (size_t i = 0; i < c->n_own; i++) {
        if (c->own[i].kind == it->kind && bk_addr_equal(&c->own[i].addr, &it->addr)) {
            return &c->own[i];
        }
    }
    return NULL;
}

static size_t room_for(const struct bk_call *c, enum bk_candidate_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_own; i++) {
        n += c->own[i].kind == kind;
    }
    size_t most = kind == BK_CANDIDATE_HOST     ? BK_CALL_OWN_HOSTS_MAX
                  : kind == BK_CANDIDATE_MAPPED ? BK_CALL_OWN_MAPPED_MAX
                                                : 1;
    return most - n;
}

/* Those of `kind`, or only the one at `addr`. */
static void forget_own(struct bk_call *c, enum bk_candidate_kind kind, const struct bk_addr *addr)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->n_own; i++) {
        if (c->own[i].kind != kind || (addr != NULL && !bk_addr_equal(&c->own[i].addr, addr))) {
            c->own[kept++] = c->own[i];
        }
    }
    c->n_own = kept;
}

/* True if it was not known. */
static bool add_own(struct bk_call *c, const struct bk_candidate *it)
{
    if (find_own(c, it) != NULL || room_for(c, it->kind) == 0) {
        return false;
    }
    c->own[c->n_own++] = *it;
    return true;
}

static void say_paths(struct bk_call *c, uint16_t round, size_t link, struct bk_call_out *out)
{
    struct bk_paths paths = {.round = round};
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_slice bytes;
    if (round != 0) {
        paths.n_candidates = c->n_own;
        memcpy(paths.candidates, c->own, c->n_own * sizeof c->own[0]);
    }
    c->config.rng.fill(c->config.rng.ctx, txid, sizeof txid);
    if (bk_paths_write(out->bytes + out->used, sizeof out->bytes - out->used, txid, &paths,
                       &bytes) == BK_OK) {
        struct bk_call_action *a = bk_call_add(out, BK_CALL_SEND_PATHS);
        a->bytes = bytes;
        a->index = link;
        out->used += bytes.n;
    }
}

/* On every session in use: which of them still leads anywhere is not known. */
static void ask_for_a_round(struct bk_call *c, struct bk_call_out *out)
{
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        if (c->links[i].state == BK_LINK_USED) {
            say_paths(c, 0, i, out);
        }
    }
}

void bk_call_own(struct bk_call *c, const struct bk_call_event *event, struct bk_call_out *out)
{
    const struct bk_candidate *it = &event->candidate;
    bool host = it->kind == BK_CANDIDATE_HOST;
    if (c->config.no_port || (!host && it->kind != BK_CANDIDATE_MAPPED) ||
        bk_addr_scope(&it->addr) != BK_SCOPE_GLOBAL || it->addr.port == 0) {
        return;
    }
    if (event->gone) {
        forget_own(c, it->kind, &it->addr);
    } else if (add_own(c, it) && !host) {
        if (c->state == BK_CALL_DIALLING) {
            bk_call_send_result(c, BK_CALL_ACCEPTED, it, 1, out);
        } else if (c->state == BK_CALL_UP && !bk_call_uses_direct(c)) {
            ask_for_a_round(c, out);
        }
    }
}

/* It is this device's router's, from now on also what no caller can have it dial. */
static void never_dial(struct bk_policy *policy, const struct bk_addr *addr)
{
    for (size_t i = 0; i < policy->n_own; i++) {
        if (bk_addr_same_ip(&policy->own[i], addr)) {
            return;
        }
    }
    if (policy->n_own < BK_POLICY_OWN_MAX) {
        policy->own[policy->n_own++] = *addr;
    } else {
        policy->own_unknown = true;
    }
}

void bk_call_observe(struct bk_call *c, const struct bk_addr *addr)
{
    struct bk_candidate it = {BK_CANDIDATE_REFLEXIVE, *addr};
    forget_own(c, BK_CANDIDATE_REFLEXIVE, NULL);
    if (addr->port != 0 && bk_addr_scope(addr) == BK_SCOPE_GLOBAL) {
        never_dial(&c->config.policy, addr);
        if (!c->config.no_port) {
            (void)add_own(c, &it);
        }
    }
}

void bk_call_map(struct bk_call *c, struct bk_call_out *out)
{
    c->map_at = BK_TIME_NEVER;
    if (!c->map_asked && !c->config.no_port) {
        c->map_asked = true;
        bk_call_add(out, BK_CALL_MAP);
    }
}

void bk_call_meet(struct bk_call *c, struct bk_call_out *out)
{
    if (c->config.no_port) {
        return; /* nobody can meet us */
    }
    c->meeting = BK_MEETING_ASKED;
    c->meet_at = BK_TIME_NEVER;
    c->learn_until = bk_time_add(c->entered, BK_CALL_LEARN_MS * BK_MS);
    bk_call_add(out, BK_CALL_LEARN);
}

/* The caller is told where to meet us, and on our side it begins too. */
static void met(struct bk_call *c, const struct bk_now *now, const struct bk_call_event *event,
                struct bk_call_out *out)
{
    c->meeting = BK_MEETING_KNOWN;
    c->learn_until = BK_TIME_NEVER;
    c->server_ms = event->ms;
    bk_call_observe(c, &event->addr);
    if (c->state == BK_CALL_DIALLING) { /* else it goes with ACCEPTED */
        c->told_at = now->mono;
        bk_call_send_result(c, BK_CALL_ACCEPTED, c->own, c->n_own, out);
        bk_call_punch_waiting(c, now, out);
    }
}

/* ---- rounds ---- */

static void answer(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out)
{
    size_t link = c->round_link;
    c->answering = false;
    c->learn_until = BK_TIME_NEVER;
    c->answered_at = now->mono;
    for (size_t i = 0; i < BK_CALL_LINKS_MAX && c->links[link].state != BK_LINK_USED; i++) {
        link = i; /* the one that asked is gone */
    }
    if (c->links[link].state == BK_LINK_USED) {
        say_paths(c, c->round, link, out);
    }
    bk_call_punch_waiting(c, now, out);
}

static bool may_begin(const struct bk_call *c, const struct bk_now *now, size_t link,
                      const struct bk_paths *paths)
{
    return c->state == BK_CALL_UP && link < BK_CALL_LINKS_MAX &&
           c->links[link].state == BK_LINK_USED && paths->round > c->round && !c->answering &&
           c->asked_dials == 0 && now->mono >= c->round_free_at;
}

void bk_call_paths(struct bk_call *c, const struct bk_now *now, const struct bk_call_event *event,
                   struct bk_call_out *out)
{
    struct bk_stun m;
    struct bk_paths paths;
    if (bk_stun_read(event->bytes, &m) != BK_OK || bk_paths_read(&m, &paths) != BK_OK ||
        !may_begin(c, now, event->index, &paths)) {
        return;
    }
    c->round = paths.round;
    c->round_link = event->index;
    c->round_ms = paths.round_trip_ms;
    c->round_free_at = bk_time_add(now->mono, BK_CALL_ROUND_EVERY_MS * BK_MS);
    bk_call_stop_trying(c, out);
    c->n_peer = paths.n_candidates;
    memcpy(c->peer, paths.candidates, sizeof c->peer);
    c->to_punch = 0;
    bk_call_ask(c, out);
    if (!bk_call_uses_direct(c)) {
        bk_call_map(c, out);
    }
    if (c->config.no_port) {
        answer(c, now, out);
        return;
    }
    c->answering = true;
    c->learn_until = bk_time_add(now->mono, BK_CALL_LEARN_MS * BK_MS);
    bk_call_add(out, BK_CALL_LEARN)->move = true;
}

void bk_call_observed(struct bk_call *c, const struct bk_now *now,
                      const struct bk_call_event *event, struct bk_call_out *out)
{
    if (c->answering) {
        bk_call_observe(c, &event->addr);
        answer(c, now, out);
    } else if (c->meeting == BK_MEETING_ASKED) {
        met(c, now, event, out);
    }
}

void bk_call_network_changed(struct bk_call *c, struct bk_call_out *out)
{
    forget_own(c, BK_CANDIDATE_HOST, NULL);
    forget_own(c, BK_CANDIDATE_REFLEXIVE, NULL);
    if (c->state == BK_CALL_UP) {
        ask_for_a_round(c, out);
        bk_call_add(out, BK_CALL_PING);
    }
}

/* ---- time ---- */

void bk_call_paths_timer(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out)
{
    static const struct bk_call_event unknown = {.type = BK_CALL_OBSERVED};
    if (c->map_at <= now->mono) {
        c->map_at = BK_TIME_NEVER;
        if (!bk_call_has_direct(c)) {
            bk_call_map(c, out);
        }
    }
    if (c->learn_until <= now->mono) {
        c->learn_until = BK_TIME_NEVER;
        bk_call_observed(c, now, &unknown, out);
    }
    if (c->meet_at <= now->mono) {
        c->meet_at = bk_time_add(now->mono, BK_CALL_MEET_AFTER_MS * BK_MS);
        if (!bk_call_has_direct(c)) { /* else: it may be lost before it is picked */
            bk_call_meet(c, out);
        }
    }
}

bk_time bk_call_paths_deadline(const struct bk_call *c)
{
    return bk_time_min(bk_time_min(c->map_at, c->meet_at), c->learn_until);
}
