/* The end-to-end sessions: which one new streams go to.
 *
 * The best kind that may come is used at once; another waits for it, a direct one for a moment, a relayed one for a while
 * (which may come: chances.c). A better one that comes later is used from then on; one other is kept for the day that it is lost, a relayed one rather, for it goes another way. After a
 * change of the network those of before are in doubt until they are heard of again, and any new one is better.
 * Invariants: new streams go to one session, `current`, or to none while all are lost; at most BK_REQUESTER_IN_USE_MAX
 * have HTTP/2 on them; one that was used is retired, one that never was is closed. */
#include <string.h>

#include "core/requester/state.h"

static struct bk_requester_session *at(struct bk_requester *r, size_t i)
{
    return &r->sessions[i];
}

size_t bk_requester_find_session(const struct bk_requester *r, uint64_t id)
{
    for (size_t i = 0; i < BK_REQUESTER_SESSIONS_MAX; i++) {
        if (r->sessions[i].state != SESSION_NONE && r->sessions[i].id == id) {
            return i;
        }
    }
    return BK_REQUESTER_NO_SESSION;
}

static size_t find_state(const struct bk_requester *r, enum session_state state)
{
    size_t i = 0;
    while (i < BK_REQUESTER_SESSIONS_MAX &&
           (r->sessions[i].state != state || (state == SESSION_USED && i == r->current))) {
        i++;
    }
    return i;
}

static size_t count_in_use(const struct bk_requester *r)
{
    size_t n = 0;
    for (size_t i = 0; i < BK_REQUESTER_SESSIONS_MAX; i++) {
        n += r->sessions[i].state == SESSION_USED || r->sessions[i].state == SESSION_RETIRED;
    }
    return n;
}

bool bk_requester_has_held(const struct bk_requester *r)
{
    return find_state(r, SESSION_HELD) != BK_REQUESTER_NO_SESSION;
}

bool bk_requester_relayed(const struct bk_requester *r)
{
    return r->current != BK_REQUESTER_NO_SESSION &&
           r->sessions[r->current].kind == BK_CANDIDATE_RELAYED;
}

static bool better(const struct bk_requester_session *a, const struct bk_requester_session *b)
{
    return a->doubtful != b->doubtful ? b->doubtful : a->kind < b->kind;
}

/* As standby: another way counts for more than a good one. */
static bool better_standby(const struct bk_requester_session *a,
                           const struct bk_requester_session *b)
{
    bool relayed = a->kind == BK_CANDIDATE_RELAYED;
    if (a->doubtful != b->doubtful) {
        return b->doubtful;
    }
    return relayed != (b->kind == BK_CANDIDATE_RELAYED) ? relayed : a->kind < b->kind;
}

static void close_unused(struct bk_requester *r, size_t i, struct bk_requester_out *out)
{
    bk_requester_add(out, BK_REQUESTER_CLOSE_SESSION)->session = at(r, i)->id;
    memset(at(r, i), 0, sizeof *at(r, i));
}

void bk_requester_close_held(struct bk_requester *r, struct bk_requester_out *out)
{
    for (size_t i = 0; i < BK_REQUESTER_SESSIONS_MAX; i++) {
        if (at(r, i)->state == SESSION_HELD) {
            close_unused(r, i, out);
        }
    }
}

static void use(struct bk_requester *r, size_t i, struct bk_requester_out *out)
{
    at(r, i)->state = SESSION_USED;
    r->current = i;
    r->lost_until = BK_TIME_NEVER;
    bk_requester_add(out, BK_REQUESTER_USE_SESSION)->session = at(r, i)->id;
}

/* Of those used besides the current one, all but one. */
static void retire_surplus(struct bk_requester *r, struct bk_requester_out *out)
{
    size_t keep = find_state(r, SESSION_USED);
    for (size_t i = 0; i < BK_REQUESTER_SESSIONS_MAX; i++) {
        if (i == r->current || i == keep || at(r, i)->state != SESSION_USED) {
            continue;
        }
        size_t worse = better_standby(at(r, i), at(r, keep)) ? keep : i;
        keep = worse == keep ? i : keep;
        at(r, worse)->state = SESSION_RETIRED;
        bk_requester_add(out, BK_REQUESTER_RETIRE_SESSION)->session = at(r, worse)->id;
    }
}

/* New streams go there from now on; what is not needed for that any more is stopped. */
static void move_to(struct bk_requester *r, const struct bk_now *now, size_t i,
                    struct bk_requester_out *out)
{
    if (at(r, i)->state == SESSION_HELD && count_in_use(r) == BK_REQUESTER_IN_USE_MAX) {
        close_unused(r, i, out);
        return;
    }
    use(r, i, out);
    retire_surplus(r, out);
    if (!bk_requester_relayed(r)) {
        bk_requester_close_held(r, out);
        bk_requester_add(out, BK_REQUESTER_STOP_DIALS);
        r->n_dialled = 0;
        if (!r->rounds.verifying) {
            bk_requester_end_round(r, now, out);
        }
    }
    bk_requester_rounds_follow(r, now);
}

static void first_use(struct bk_requester *r, const struct bk_now *now, size_t i,
                      struct bk_requester_out *out)
{
    r->state = STATE_UP;
    r->early = false;
    if (r->quick) { /* nothing else is on its way */
        r->dials_until = 0;
    }
    r->deadline = BK_TIME_NEVER;
    bk_requester_wipe_secrets(r);
    bk_requester_wipe_relays(r);
    move_to(r, now, i, out);
    bk_requester_close_held(r, out);
    bk_requester_close_server(r, out);
    bk_requester_phase(out, BK_PHASE_UP);
}

/* One direct and one relayed one are enough; the first to come says until when. */
static void hold(struct bk_requester *r, const struct bk_now *now, size_t i,
                 struct bk_requester_out *out)
{
    bool relayed = at(r, i)->kind == BK_CANDIDATE_RELAYED;
    uint64_t wait_ms = r->early  ? BK_REQUESTER_EARLY_MS
                       : relayed ? BK_REQUESTER_RELAY_PATIENCE_MS
                                 : BK_REQUESTER_BETTER_MS;
    bk_time until = bk_time_add(now->mono, wait_ms * BK_MS);
    for (size_t k = 0; k < BK_REQUESTER_SESSIONS_MAX; k++) {
        if (k == i || at(r, k)->state != SESSION_HELD) {
            continue;
        }
        until = bk_time_min(until, r->patience_until);
        if (relayed == (at(r, k)->kind == BK_CANDIDATE_RELAYED)) {
            bool it_is_better = better(at(r, i), at(r, k));
            close_unused(r, it_is_better ? k : i, out);
            break;
        }
    }
    r->patience_until = until;
}

bool bk_requester_may_be_early(const struct bk_requester *r, enum bk_candidate_kind kind)
{
    return r->state == STATE_REQUESTED && !r->had_early && !bk_requester_has_held(r) &&
           !bk_requester_better_may_come(r, kind);
}

/* `early`: the device has been told already that this is the one. While such a one is to come, others wait. */
static void came_first(struct bk_requester *r, const struct bk_now *now, size_t i, bool early,
                       struct bk_requester_out *out)
{
    r->accepted = r->delivered = true; /* whatever the server says, or does not */
    if (!r->quick) {                   /* else, if it is lost again, they are needed once more */
        bk_requester_wipe_secrets(r);
    }
    if (early || r->state == STATE_PREPARING) {
        first_use(r, now, i, out);
    } else if (r->early || bk_requester_better_may_come(r, at(r, i)->kind)) {
        hold(r, now, i, out);
    } else {
        first_use(r, now, i, out);
    }
}

static void came_later(struct bk_requester *r, const struct bk_now *now, size_t i,
                       struct bk_requester_out *out)
{
    size_t current = r->current;
    if (current == BK_REQUESTER_NO_SESSION) {
        move_to(r, now, i, out);
    } else if (better(at(r, i), at(r, current))) {
        bool relayed = at(r, i)->kind == BK_CANDIDATE_RELAYED;
        if (relayed
                ? !bk_requester_relayed(r)
                : !at(r, current)->doubtful && bk_requester_better_may_come(r, at(r, i)->kind)) {
            hold(r, now, i, out); /* a better one may come yet, or the current one be heard of */
        } else {
            move_to(r, now, i, out);
        }
    } else if (r->rounds.state != ROUND_NONE && r->rounds.after_change &&
               find_state(r, SESSION_USED) == BK_REQUESTER_NO_SESSION &&
               count_in_use(r) < BK_REQUESTER_IN_USE_MAX) {
        use(r, i, out); /* HTTP/2 on it, or the device would close it */
        use(r, current, out);
    } else {
        close_unused(r, i, out);
    }
}

/* Of a call that is being made once more, what comes of the first is as good. */
static bool takes_sessions(const struct bk_requester *r)
{
    return r->state == STATE_REQUESTED || r->state == STATE_UP ||
           (r->state == STATE_PREPARING && r->asked_anew && r->n_told > 0);
}

void bk_requester_session_up(struct bk_requester *r, const struct bk_now *now,
                             const struct bk_requester_event *event, struct bk_requester_out *out)
{
    size_t i = find_state(r, SESSION_NONE);
    if (event->early) {
        r->early = false;
    }
    if (!takes_sessions(r) || i == BK_REQUESTER_NO_SESSION) {
        bk_requester_add(out, BK_REQUESTER_CLOSE_SESSION)->session = event->session;
        return;
    }
    if (bk_requester_find_session(r, event->session) != BK_REQUESTER_NO_SESSION) {
        return;
    }
    *at(r, i) = (struct bk_requester_session){
        .state = SESSION_HELD, .id = event->session, .kind = event->kind};
    if (event->kind == BK_CANDIDATE_MAPPED && !event->ours) {
        bk_requester_came_by_mapping(r, out);
    }
    if (r->state == STATE_UP) {
        came_later(r, now, i, out);
    } else {
        came_first(r, now, i, event->early, out);
    }
}

/* No session, and none to come; those that are retired may still have streams. */
static void finish(struct bk_requester *r, struct bk_requester_out *out)
{
    r->lost_until = BK_TIME_NEVER;
    for (size_t i = 0; i < BK_REQUESTER_SESSIONS_MAX; i++) {
        if (at(r, i)->state != SESSION_NONE) {
            return;
        }
    }
    bk_requester_close_server(r, out);
    r->state = STATE_OVER;
    bk_requester_add(out, BK_REQUESTER_ENDED)->lost = r->lost;
}

static size_t best(const struct bk_requester *r)
{
    size_t found = BK_REQUESTER_NO_SESSION;
    for (size_t i = 0; i < BK_REQUESTER_SESSIONS_MAX; i++) {
        const struct bk_requester_session *s = &r->sessions[i];
        if ((s->state == SESSION_USED || s->state == SESSION_HELD) &&
            (found == BK_REQUESTER_NO_SESSION || better(s, &r->sessions[found]))) {
            found = i;
        }
    }
    return found;
}

static void current_ended(struct bk_requester *r, const struct bk_now *now,
                          struct bk_requester_out *out)
{
    r->current = BK_REQUESTER_NO_SESSION;
    size_t i = best(r);
    if (i != BK_REQUESTER_NO_SESSION) {
        move_to(r, now, i, out);
        return;
    }
    bk_requester_rounds_follow(r, now);
    if (r->lost && now->mono < r->dials_until) { /* one that ended in order is not to be replaced */
        r->lost_until = bk_time_add(now->mono, BK_REQUESTER_LOST_MS * BK_MS);
    } else {
        finish(r, out);
    }
}

void bk_requester_session_ended(struct bk_requester *r, const struct bk_now *now, uint64_t id,
                                bool lost, struct bk_requester_out *out)
{
    size_t i = bk_requester_find_session(r, id);
    if (i == BK_REQUESTER_NO_SESSION) {
        return;
    }
    memset(at(r, i), 0, sizeof *at(r, i));
    if (r->state != STATE_UP) {
        return;
    }
    r->lost = lost;
    if (i == r->current) {
        current_ended(r, now, out);
    } else if (r->current == BK_REQUESTER_NO_SESSION && r->lost_until == BK_TIME_NEVER) {
        finish(r, out);
    }
}

void bk_requester_round_trip(struct bk_requester *r, uint64_t id, uint32_t ms)
{
    size_t i = bk_requester_find_session(r, id);
    if (i != BK_REQUESTER_NO_SESSION) {
        at(r, i)->ms = ms;
        at(r, i)->doubtful = false;
    }
}

static size_t best_held(const struct bk_requester *r)
{
    size_t found = find_state(r, SESSION_HELD);
    for (size_t i = found; i < BK_REQUESTER_SESSIONS_MAX; i++) {
        if (r->sessions[i].state == SESSION_HELD && better(&r->sessions[i], &r->sessions[found])) {
            found = i;
        }
    }
    return found;
}

void bk_requester_use_held(struct bk_requester *r, const struct bk_now *now,
                           struct bk_requester_out *out)
{
    size_t i = best_held(r);
    if (r->state != STATE_UP) {
        first_use(r, now, i, out);
    } else if (r->current == BK_REQUESTER_NO_SESSION || better(at(r, i), at(r, r->current))) {
        move_to(r, now, i, out);
    } else {
        close_unused(r, i, out);
    }
}

void bk_requester_consider_held(struct bk_requester *r, const struct bk_now *now,
                                struct bk_requester_out *out)
{
    size_t i = best_held(r);
    if (i != BK_REQUESTER_NO_SESSION && !r->early &&
        !bk_requester_better_may_come(r, at(r, i)->kind)) {
        bk_requester_use_held(r, now, out);
    }
}

void bk_requester_early_lost(struct bk_requester *r, const struct bk_now *now,
                             struct bk_requester_out *out)
{
    if (r->early) {
        r->early = false;
        r->patience_until = bk_time_add(now->mono, BK_REQUESTER_BETTER_MS * BK_MS);
        bk_requester_consider_held(r, now, out);
    }
}

void bk_requester_patience(struct bk_requester *r, const struct bk_now *now,
                           struct bk_requester_out *out)
{
    while (bk_requester_has_held(r) &&
           now->mono >= r->patience_until) { /* each is used or closed */
        r->early = false;                    /* it may stand later, like any other */
        bk_requester_use_held(r, now, out);
    }
    if (now->mono >= r->lost_until) {
        finish(r, out);
    }
}
