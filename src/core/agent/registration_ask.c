/* REGISTER out, its answers in; and when the next one comes, quiet or not.
 *
 * Nothing that an answer says is believed before its integrity is checked. Invariant: every REGISTER carries a counter
 * never used before with this random part. */
#include <assert.h>
#include <string.h>

#include "core/agent/registration_private.h"

enum {
    FIRST_RETRY_MS = 500,
    RETRY_DOUBLINGS_MAX = 8,
    CHALLENGES_MAX = 3,      /* nonces answered at once between two timed sends */
    EASINGS_MAX = 8,         /* challenges since the last success that make us hurry again */
    NONCE_USE_MS = 4000,     /* the server takes a nonce for about 5 s */
    REVOKED_INTERVALS = 4,   /* a revoked device asks so many times less often */
    TUNNEL_ANSWER_S = 10,    /* a tunnel loses nothing: one that is silent for so long is dead */
    STEADY_BEFORE_QUIET = 2, /* answers that found the mapping where it was */
    QUIET_MAX = 3,           /* quiet keepalives between two that are answered */
    WARM_UP_S =
        3, /* between the two answered ones: some NATs take for a stream what lasts for two seconds */
    CEILING_S = 12 * 3600, /* a mapping that changes twice within this is not for stretching */
    FIRST_AGAIN_S = 600,   /* a server that is not the first is left for it after, */
    FIRST_AGAIN_TUNNEL_S = 3600, /* and where that takes giving up what stands */
};

/* Of all waiting: the fixed interval, or the shortest. */
static uint64_t base_interval(const struct bk_registration *r)
{
    uint64_t s = r->config.keepalive_s != 0 ? r->config.keepalive_s : BK_AGENT_KEEPALIVE_S;
    return s * BK_SECOND;
}

/* Less up to a tenth: never longer, or a NAT could forget us. */
static uint64_t less_a_tenth(const struct bk_registration *r, uint64_t whole)
{
    return whole - bk_random_below(&r->config.rng, whole / 10 + 1);
}

/* By UDP: doubling from half a second, ±20 %, never above the interval. */
uint64_t bk_registration_retry_delay(const struct bk_registration *r,
                                     const struct bk_registration_exchange *x)
{
    uint64_t most = base_interval(r);
    if (r->told_revoked) {
        return REVOKED_INTERVALS * less_a_tenth(r, most);
    }
    if (x == &r->tunnel) {
        return TUNNEL_ANSWER_S * BK_SECOND;
    }
    uint32_t doublings = x->attempt > 0 ? x->attempt - 1 : 0;
    if (doublings > RETRY_DOUBLINGS_MAX) {
        doublings = RETRY_DOUBLINGS_MAX;
    }
    uint64_t base = (FIRST_RETRY_MS * BK_MS) << doublings;
    if (base > most) {
        base = most;
    }
    uint64_t delay = base - base / 5 + bk_random_below(&r->config.rng, 2 * (base / 5) + 1);
    return delay < most ? delay : most;
}

void bk_registration_draw_tag(struct bk_registration *r)
{
    r->tag.random = bk_random_u64(&r->config.rng);
    r->tag.counter = 0;
    memset(r->sent, 0, sizeof r->sent);
    r->sent_next = 0;
}

/* ---- out ---- */

static uint16_t told_interval(const struct bk_registration *r, bool tunnel)
{
    uint32_t s = tunnel ? BK_AGENT_TUNNEL_INTERVAL_S : r->interval_s;
    return (uint16_t)(s < BK_REGISTER_INTERVAL_MAX_S ? s : BK_REGISTER_INTERVAL_MAX_S);
}

static void write_register(struct bk_registration *r, const struct bk_registration_exchange *x,
                           bk_time now, bool quiet, struct bk_registration_out *out)
{
    bool tunnel = x == &r->tunnel;
    bk_registration_raise_counter(r, now);
    struct bk_register message = {
        .quiet = quiet,
        .equipment_id = r->config.equipment_id,
        .generation = r->config.generation,
        .epoch = r->config.epoch,
        .interval_s = told_interval(r, tunnel),
        .tag = r->tag,
    };
    if (!quiet && x->have_nonce && now < x->nonce_until) {
        message.nonce = bk_slice(x->nonce, sizeof x->nonce);
    }
    struct bk_slice bytes;
    enum bk_err err = bk_register_write(bk_registration_room(out), BK_AGENT_DATAGRAM_BYTES,
                                        quiet ? r->quiet_txid : x->txid, &message, &r->config.mac,
                                        bk_registration_key_of(r), &bytes);
    assert(err == BK_OK);
    (void)err;
    bk_registration_add_send(tunnel ? NULL : &r->server, bytes, out);
}

void bk_registration_send(struct bk_registration *r, struct bk_registration_exchange *x,
                          bk_time now, struct bk_registration_out *out)
{
    write_register(r, x, now, false, out);
    x->waiting = true;
    x->due = bk_time_add(now, bk_registration_retry_delay(r, x));
}

void bk_registration_begin(struct bk_registration *r, struct bk_registration_exchange *x,
                           bk_time now, struct bk_registration_out *out)
{
    r->config.rng.fill(r->config.rng.ctx, x->txid, sizeof x->txid);
    x->challenges = 0;
    x->have_nonce = false;
    if (x == &r->udp) {
        r->quiet_open = false;
        r->turn_sends++;
        if (r->rounds > 0 && x->attempt > 0) {
            x->attempt++; /* one after the other, none of them answers: ever slower */
        } else {
            x->attempt = 1;
        }
    } else {
        x->attempt = 1;
    }
    bk_registration_send(r, x, now, out);
}

static void send_quiet(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    r->config.rng.fill(r->config.rng.ctx, r->quiet_txid, sizeof r->quiet_txid);
    r->quiet_open = true;
    r->quiet_run++;
    write_register(r, &r->udp, now, true, out);
    r->udp.due = bk_time_add(now, less_a_tenth(r, r->interval_s * BK_SECOND));
}

void bk_registration_keep_alive(struct bk_registration *r, bk_time now,
                                struct bk_registration_out *out)
{
    if (r->state == BK_REGISTRATION_UP && !r->by_tunnel && !r->back.on && !r->warming &&
        r->steady >= STEADY_BEFORE_QUIET && r->quiet_run < QUIET_MAX) {
        send_quiet(r, now, out);
    } else {
        bk_registration_begin(r, &r->udp, now, out);
    }
}

/* ---- intervals ---- */

void bk_registration_fall_back(struct bk_registration *r)
{
    r->interval_s = (uint32_t)(base_interval(r) / BK_SECOND);
    r->steady = 0;
    r->quiet_run = 0;
    r->warming = false;
}

void bk_registration_kept(struct bk_registration *r, bk_time now, uint32_t kept_s)
{
    uint32_t s = kept_s > BK_REGISTER_INTERVAL_MAX_S ? BK_REGISTER_INTERVAL_MAX_S : kept_s;
    s -= s / 10;
    if (s > BK_AGENT_KEEPALIVE_MAX_S) {
        s = BK_AGENT_KEEPALIVE_MAX_S;
    }
    if (s < BK_AGENT_KEEPALIVE_S || now < r->ceiling_until) {
        s = BK_AGENT_KEEPALIVE_S;
    }
    if (r->config.keepalive_s != 0 || r->state != BK_REGISTRATION_UP || r->by_tunnel ||
        s == r->interval_s) {
        return;
    }
    bool shorter = s < r->interval_s;
    r->interval_s = s;
    r->steady = STEADY_BEFORE_QUIET - 1; /* the next one is answered, and tells the server */
    if (shorter && !r->udp.waiting) {
        r->udp.due = bk_time_min(r->udp.due, now);
    }
}

/* Once may be a new address for the whole house; twice, and mappings do not last. */
static void mapping_changed(struct bk_registration *r, bk_time now)
{
    if (r->interval_s > base_interval(r) / BK_SECOND) {
        if (r->changed_at != 0 && now - r->changed_at < CEILING_S * BK_SECOND) {
            r->ceiling_until = bk_time_add(now, CEILING_S * BK_SECOND);
        }
        r->changed_at = now;
    }
    bk_registration_fall_back(r);
}

/* After an answer by UDP. */
static void plan_keepalive(struct bk_registration *r, bk_time now)
{
    r->warming = !r->warming && r->interval_s > base_interval(r) / BK_SECOND;
    r->udp.due = r->warming ? bk_time_add(now, WARM_UP_S * BK_SECOND)
                            : bk_time_add(now, less_a_tenth(r, r->interval_s * BK_SECOND));
}

/* ---- in ---- */

static void taken_by_udp(struct bk_registration *r, bk_time now, const struct bk_addr *mapped,
                         struct bk_registration_out *out)
{
    bool comparable = r->told_up && !r->told_by_tunnel && !r->back.on;
    bool same = comparable && bk_addr_equal(&r->observed, mapped);
    bk_registration_tunnel_close(r, out);
    r->udp_blocked = false;
    r->tunnel_failures = 0;
    r->quiet_run = 0;
    r->udp.attempt = 0;
    if (comparable && !same) {
        mapping_changed(r, now);
    } else if (!same) {
        bk_registration_fall_back(r);
    } else if (r->steady < STEADY_BEFORE_QUIET) {
        r->steady++;
    }
    plan_keepalive(r, now);
}

static void registered(struct bk_registration *r, const struct bk_now *now,
                       const struct bk_register_answer *answer, struct bk_registration_exchange *x,
                       struct bk_registration_out *out)
{
    bool tunnel = x == &r->tunnel;
    bool news = !r->told_up || r->told_by_tunnel != tunnel || r->back.on ||
                !bk_addr_equal(&r->observed, &answer->mapped);
    x->waiting = false;
    x->have_nonce = false;
    if (tunnel) {
        bk_registration_tunnel_taken(r, now->mono);
    } else {
        taken_by_udp(r, now->mono, &answer->mapped, out);
    }
    r->state = BK_REGISTRATION_UP;
    r->observed = answer->mapped;
    r->told_up = true;
    r->told_by_tunnel = tunnel;
    r->told_lost = false;
    r->told_revoked = false;
    r->back.on = false;
    r->easings = 0;
    r->rounds = 0;
    r->turn_sends = 0;
    if (r->index == 0) {
        r->first_at = BK_TIME_NEVER;
    } else if (r->first_at == BK_TIME_NEVER) {
        uint64_t s = tunnel ? FIRST_AGAIN_TUNNEL_S : FIRST_AGAIN_S;
        r->first_at = bk_time_add(now->mono, less_a_tenth(r, s * BK_SECOND));
    }
    bk_registration_take_time(r, now->mono, answer->unix_s);
    if (news) {
        struct bk_registration_action *a = bk_registration_add(out, BK_REGISTRATION_REGISTERED);
        a->addr = answer->mapped;
        a->index = r->index;
        a->tunnel = tunnel;
    }
    if (answer->renew) { /* each time: when to follow it is core/agent/renewal.h's to say */
        bk_registration_add(out, BK_REGISTRATION_RENEW);
    }
}

static void take_nonce(struct bk_registration *r, struct bk_registration_exchange *x, bk_time now,
                       struct bk_slice nonce, struct bk_registration_out *out)
{
    assert(nonce.n == sizeof x->nonce); /* its reader saw to it */
    memcpy(x->nonce, nonce.p, sizeof x->nonce);
    x->have_nonce = true;
    x->nonce_until = bk_time_add(now, NONCE_USE_MS * BK_MS);
    /* Under a new transaction ID a duplicate of this challenge is no answer any more. */
    r->config.rng.fill(r->config.rng.ctx, x->txid, sizeof x->txid);
    bk_registration_send(r, x, now, out);
}

static void challenged(struct bk_registration *r, struct bk_registration_exchange *x, bk_time now,
                       struct bk_slice nonce, struct bk_registration_out *out)
{
    if (x->challenges == CHALLENGES_MAX) {
        return; /* something is turning in circles: leave it to the timer, which slows down */
    }
    x->challenges++;
    if (r->easings < EASINGS_MAX) {
        r->easings++;
        x->attempt = 1; /* the server is there: what gets lost now is worth repeating soon */
        r->turn_sends = 0;
    }
    r->trial_challenged = r->by_tunnel && x == &r->udp;
    take_nonce(r, x, now, nonce, out);
}

static void revoked(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    if (!r->told_revoked) {
        bk_registration_add(out, BK_REGISTRATION_REVOKED);
    }
    bk_registration_tunnel_close(r, out);
    r->told_revoked = true;
    r->told_up = false;
    r->state = BK_REGISTRATION_TRYING;
    r->back.on = false;
    r->udp.waiting = false;
    r->udp.attempt = 0;
    r->turn_sends = 0;
    r->udp.due = bk_time_add(now, bk_registration_retry_delay(r, &r->udp));
}

void bk_registration_answered(struct bk_registration *r, const struct bk_now *now,
                              const struct bk_stun *m, struct bk_registration_exchange *x,
                              struct bk_registration_out *out)
{
    struct bk_register_answer answer;
    if (!x->waiting || memcmp(m->txid, x->txid, sizeof x->txid) != 0 ||
        bk_register_answer_read(m, &r->config.mac, bk_registration_key_of(r), &answer) != BK_OK) {
        return;
    }
    if (answer.code == 0) {
        registered(r, now, &answer, x, out);
    } else if (answer.code == BK_CODE_STALE_NONCE) {
        challenged(r, x, now->mono, answer.nonce, out);
    } else if (answer.code == BK_CODE_FORBIDDEN) {
        revoked(r, now->mono, out);
    } /* anything else is as good as no answer */
}

/* Once for each quiet keepalive, and only while nothing newer is under way. */
void bk_registration_quiet_challenged(struct bk_registration *r, bk_time now,
                                      const struct bk_stun *m, struct bk_registration_out *out)
{
    struct bk_slice nonce;
    if (!r->quiet_open || r->udp.waiting ||
        memcmp(m->txid, r->quiet_txid, sizeof r->quiet_txid) != 0 ||
        bk_register_challenge_read(m, &r->config.mac, bk_registration_key_of(r), &nonce) != BK_OK) {
        return;
    }
    r->quiet_open = false;
    r->udp.attempt = 1;
    r->udp.challenges = 1;
    r->turn_sends = 1;
    take_nonce(r, &r->udp, now, nonce, out);
}
