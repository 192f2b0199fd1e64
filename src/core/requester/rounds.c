/* Rounds: looking for another path inside the call (wire/paths.h).
 *
 * One is begun at the times of a table while the session in use is relayed, when the network of either side has
 * changed, and to have a renewed port mapping tried. It collects our addresses as they are now, the server's view of us
 * included, tells them to the device, and goes to those that it answers with. Invariants: one round at a time, with a
 * gap between two whoever wants them; its number is above all before; only the first answer to it counts. */
#include "core/requester/state.h"

enum {
    ROUND_LATER_S = 300,
    ASKED_GAP_MS = 30000, /* between two rounds that the device asks for */
};

/* After the relayed session was first used. */
static const uint16_t times_s[] = {2, 10, 30, 60, 120};

static bk_time timed(const struct bk_requester_rounds *q)
{
    size_t n = sizeof times_s / sizeof times_s[0];
    uint64_t s = q->n_timed < n ? times_s[q->n_timed]
                                : times_s[n - 1] + ROUND_LATER_S * (q->n_timed - n + 1);
    return bk_time_add(q->relayed_since, s * BK_SECOND);
}

void bk_requester_rounds_follow(struct bk_requester *r, const struct bk_now *now)
{
    struct bk_requester_rounds *q = &r->rounds;
    if (!bk_requester_relayed(r)) {
        q->relayed_since = q->next = BK_TIME_NEVER;
        q->wanted = q->wanted_after_change || q->verify;
    } else if (q->relayed_since == BK_TIME_NEVER) {
        q->relayed_since = now->mono;
        q->n_timed = 0;
        q->next = timed(q);
    }
}

static bool relayed_session(const struct bk_requester *r)
{
    for (size_t i = 0; i < BK_REQUESTER_SESSIONS_MAX; i++) {
        if (r->sessions[i].state != SESSION_NONE && r->sessions[i].kind == BK_CANDIDATE_RELAYED) {
            return true;
        }
    }
    return false;
}

static void begin(struct bk_requester *r, const struct bk_now *now, struct bk_requester_out *out)
{
    struct bk_requester_rounds *q = &r->rounds;
    q->state = ROUND_COLLECTING;
    q->number++;
    q->collect_until = bk_time_add(now->mono, BK_REQUESTER_ROUND_SERVER_MS * BK_MS);
    q->until = bk_time_add(now->mono, BK_REQUESTER_ROUND_MS * BK_MS);
    q->after_change = q->wanted_after_change;
    q->verifying = q->verify && !q->gather; /* after a change it is another mapping */
    q->relay = q->gather && !relayed_session(r);
    q->wanted = q->wanted_after_change = q->verify = false;
    r->n_dialled = 0;
    if (q->relay) {
        bk_requester_forget_relay(r);
    }
    if (q->gather) {
        q->gather = false;
        bk_requester_gather(r, now, out);
    }
    r->has_reflexive = false;
    r->info_done = r->config.no_reflexive && !q->relay;
    if (!r->info_done) {
        r->info_until = q->collect_until;
        bk_requester_close_server(r, out);
        bk_requester_connect_server(r, out);
    }
    bk_requester_round_go_on(r, now, out);
}

static bool may_begin(const struct bk_requester *r)
{
    const struct bk_requester_rounds *q = &r->rounds;
    return r->state == STATE_UP && q->state == ROUND_NONE && q->wanted && q->number < UINT16_MAX &&
           r->current != BK_REQUESTER_NO_SESSION;
}

static void try_begin(struct bk_requester *r, const struct bk_now *now,
                      struct bk_requester_out *out)
{
    if (may_begin(r) && now->mono >= r->rounds.not_before) {
        begin(r, now, out);
    }
}

void bk_requester_want_round(struct bk_requester *r, const struct bk_now *now, bool after_change,
                             struct bk_requester_out *out)
{
    r->rounds.wanted = true;
    r->rounds.wanted_after_change = r->rounds.wanted_after_change || after_change;
    try_begin(r, now, out);
}

void bk_requester_end_round(struct bk_requester *r, const struct bk_now *now,
                            struct bk_requester_out *out)
{
    struct bk_requester_rounds *q = &r->rounds;
    if (q->state == ROUND_NONE) {
        return;
    }
    q->state = ROUND_NONE;
    q->not_before = bk_time_add(now->mono, BK_REQUESTER_ROUND_GAP_MS * BK_MS);
    r->info_done = true;
    bk_requester_close_server(r, out);
    if (!r->relays_lent) {
        bk_requester_wipe_relays(r);
    }
    if (r->n_dialled > 0) {
        bk_requester_add(out, BK_REQUESTER_STOP_DIALS);
    }
    if (q->verifying) {
        q->verifying = false;
        bk_requester_add(out, BK_REQUESTER_MAPPING_DOUBTED)->candidate = q->mapping;
        bk_requester_forget(r, &q->mapping);
    }
}

static void send_paths(struct bk_requester *r, const struct bk_now *now,
                       struct bk_requester_out *out)
{
    struct bk_requester_rounds *q = &r->rounds;
    const struct bk_requester_session *s = &r->sessions[r->current];
    struct bk_paths paths = {.round = q->number};
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_slice bytes;
    r->both_ms = s->ms < UINT16_MAX ? s->ms : UINT16_MAX;
    paths.round_trip_ms = (uint16_t)r->both_ms;
    paths.n_candidates = bk_requester_choose(r, paths.candidates);
    r->config.rng.fill(r->config.rng.ctx, txid, sizeof txid);
    if (bk_paths_write(out->bytes + out->used, sizeof out->bytes - out->used, txid, &paths,
                       &bytes) != BK_OK) {
        bk_requester_end_round(r, now, out); /* an address that no message can hold */
        return;
    }
    q->state = ROUND_ASKED;
    r->dials_until = bk_time_add(now->mono, BK_REQUESTER_LOST_MS * BK_MS);
    struct bk_requester_action *a = bk_requester_add(out, BK_REQUESTER_SEND_PATHS);
    a->session = s->id;
    a->bytes = bytes;
    out->used += bytes.n;
}

void bk_requester_round_go_on(struct bk_requester *r, const struct bk_now *now,
                              struct bk_requester_out *out)
{
    struct bk_requester_rounds *q = &r->rounds;
    if (q->state != ROUND_COLLECTING) {
        return;
    }
    if (q->relay) {
        bk_requester_gather_relay(r, now, out);
    }
    if (!bk_requester_gathered_all(r, now) && now->mono < q->collect_until) {
        return;
    }
    if (r->current == BK_REQUESTER_NO_SESSION) {
        bk_requester_end_round(r, now, out);
    } else {
        send_paths(r, now, out);
    }
}

void bk_requester_round_timer(struct bk_requester *r, const struct bk_now *now,
                              struct bk_requester_out *out)
{
    struct bk_requester_rounds *q = &r->rounds;
    if (now->mono >= q->next) {
        while (q->next <= now->mono) { /* after a sleep: those missed are not made up for */
            q->n_timed++;
            q->next = timed(q);
        }
        q->wanted = true;
    }
    if (now->mono >= q->asked_next && q->asked) {
        q->asked = false;
        q->asked_next = bk_time_add(now->mono, ASKED_GAP_MS * BK_MS);
        q->wanted = q->wanted_after_change = true;
    }
    bk_requester_round_go_on(r, now, out);
    if (q->state != ROUND_NONE && now->mono >= q->until) {
        bk_requester_end_round(r, now, out);
    }
    try_begin(r, now, out);
}

bk_time bk_requester_round_deadline(const struct bk_requester *r)
{
    const struct bk_requester_rounds *q = &r->rounds;
    bk_time t = q->next;
    if (q->asked) {
        t = bk_time_min(t, q->asked_next);
    }
    if (q->state == ROUND_COLLECTING) {
        t = bk_time_min(t, q->collect_until);
    } else if (q->state != ROUND_NONE) {
        t = bk_time_min(t, q->until);
    }
    return may_begin(r) ? bk_time_min(t, q->not_before) : t;
}

void bk_requester_paths(struct bk_requester *r, const struct bk_now *now, uint64_t session,
                        struct bk_slice bytes, struct bk_requester_out *out)
{
    struct bk_requester_rounds *q = &r->rounds;
    struct bk_stun m;
    struct bk_paths said;
    size_t i = bk_requester_find_session(r, session);
    if (r->state != STATE_UP || i == BK_REQUESTER_NO_SESSION ||
        r->sessions[i].state == SESSION_HELD || bk_stun_read(bytes, &m) != BK_OK ||
        bk_paths_read(&m, &said) != BK_OK) {
        return;
    }
    if (said.round == 0) {
        q->asked = true;
        bk_requester_round_timer(r, now, out);
    } else if (q->state == ROUND_ASKED && said.round == q->number) {
        q->state = ROUND_DIALLING;
        if (q->after_change || bk_requester_relayed(r)) { /* else a mapping is tried, and no more */
            bk_requester_dial(r, now, said.candidates, said.n_candidates, out);
        }
    }
}

/* Only where the device has come through it before: if it does not come now, it is the mapping's fault, and not that the
 * device may not dial there. */
void bk_requester_renewed(struct bk_requester *r, const struct bk_now *now,
                          const struct bk_requester_own *own, struct bk_requester_out *out)
{
    struct bk_requester_rounds *q = &r->rounds;
    if (own->proven && !q->verifying) {
        q->verify = true;
        q->mapping = own->candidate;
        bk_requester_want_round(r, now, false, out);
    }
}

void bk_requester_came_by_mapping(struct bk_requester *r, struct bk_requester_out *out)
{
    struct bk_requester_rounds *q = &r->rounds;
    for (size_t i = 0; i < r->n_pool; i++) {
        r->pool[i].proven = r->pool[i].proven || r->pool[i].source == BK_SOURCE_MAPPING;
    }
    if (q->verifying) {
        q->verifying = false;
        bk_requester_add(out, BK_REQUESTER_MAPPING_PROVEN)->candidate = q->mapping;
    }
}
