/* Registration over TLS, for where UDP is blocked. The tunnel is the shell's: it carries whole messages, and tells when
 * it stands and when it is gone.
 * Invariant: `tunnel.due` is set while there is a tunnel, and only then. */
#include "core/agent/registration_private.h"

enum {
    SENDS_BEFORE = 4,       /* unanswered by UDP, some 8 s of them, before a first tunnel is made */
    SENDS_BEFORE_AGAIN = 1, /* where UDP was blocked of late */
    OPENING_S = 30,         /* looking up, two ports, TLS: the shell is quicker with its bad news */
    AGAIN_JITTER_S =
        5, /* a server that restarts does not see all of its tunnels in the same moment */
    FAILED_PAUSE_S = 30, /* after failures, doubling: */
    FAILED_DOUBLINGS_MAX = 4,
    FAILED_PAUSE_MAX_S = 600,
};

/* While the registration stands by the tunnel UDP is tried after so long, and then every so often. */
static const uint16_t trial_pauses_s[] = {30, 60, 120, 300, 600};

static uint64_t jittered(const struct bk_registration *r, uint64_t ns)
{
    return ns - bk_random_below(&r->config.rng, ns / 5 + 1);
}

static void forget(struct bk_registration *r)
{
    r->tunnel_state = BK_TUNNEL_NONE;
    r->tunnel.waiting = false;
    r->tunnel.have_nonce = false;
    r->tunnel.due = BK_TIME_NEVER;
}

void bk_registration_tunnel_wanted(struct bk_registration *r, bk_time now,
                                   struct bk_registration_out *out)
{
    uint32_t sends = r->udp_blocked || r->rounds > 0 ? SENDS_BEFORE_AGAIN : SENDS_BEFORE;
    if (r->tunnel_state != BK_TUNNEL_NONE || r->turn_sends < sends || now < r->tunnel_after) {
        return;
    }
    bk_registration_add(out, BK_REGISTRATION_TUNNEL_OPEN)->index = r->index;
    r->tunnel_state = BK_TUNNEL_OPENING;
    r->tunnel_tried = true;
    r->tunnel.due = bk_time_add(now, OPENING_S * BK_SECOND);
}

void bk_registration_tunnel_close(struct bk_registration *r, struct bk_registration_out *out)
{
    if (r->tunnel_state != BK_TUNNEL_NONE) {
        bk_registration_add(out, BK_REGISTRATION_TUNNEL_CLOSE);
        forget(r);
    }
    r->by_tunnel = false;
}

void bk_registration_tunnel_up(struct bk_registration *r, bk_time now,
                               struct bk_registration_out *out)
{
    if (r->tunnel_state == BK_TUNNEL_OPENING) {
        r->tunnel_state = BK_TUNNEL_OPEN;
        bk_registration_begin(r, &r->tunnel, now, out);
    }
}

/* Pauses come when every server has been tried, and grow. */
static void failed(struct bk_registration *r, bk_time now)
{
    if (r->tunnel_failures < UINT32_MAX) {
        r->tunnel_failures++;
    }
    if (r->tunnel_failures % r->config.n_servers != 0) {
        return;
    }
    uint32_t doublings = r->tunnel_failures / r->config.n_servers - 1;
    uint64_t s = doublings > FAILED_DOUBLINGS_MAX ? FAILED_PAUSE_MAX_S
                                                  : (uint64_t)FAILED_PAUSE_S << doublings;
    r->tunnel_after = bk_time_add(now, jittered(r, s * BK_SECOND));
}

void bk_registration_tunnel_down(struct bk_registration *r, bk_time now,
                                 struct bk_registration_out *out)
{
    if (r->tunnel_state == BK_TUNNEL_NONE) {
        return;
    }
    forget(r);
    if (!r->by_tunnel) {
        failed(r, now);
        bk_registration_fail_over(r, now, out);
        return;
    }
    r->by_tunnel = false;
    r->state = BK_REGISTRATION_TRYING;
    r->turn_sends = 0;
    r->tunnel_tried = false;
    r->tunnel_after = bk_time_add(now, bk_random_below(&r->config.rng, AGAIN_JITTER_S * BK_SECOND));
    bk_registration_begin(r, &r->udp, now, out);
}

void bk_registration_tunnel_due(struct bk_registration *r, bk_time now,
                                struct bk_registration_out *out)
{
    if (r->tunnel_state == BK_TUNNEL_OPEN && !r->tunnel.waiting) {
        bk_registration_begin(r, &r->tunnel, now, out);
        return;
    }
    bk_registration_add(out, BK_REGISTRATION_TUNNEL_CLOSE); /* nothing comes of it any more */
    bk_registration_tunnel_down(r, now, out);
}

static void plan_trial(struct bk_registration *r, bk_time now)
{
    size_t last = sizeof trial_pauses_s / sizeof trial_pauses_s[0] - 1;
    uint64_t s = trial_pauses_s[r->trials < last ? r->trials : last];
    r->udp.waiting = false;
    r->udp.due = bk_time_add(now, jittered(r, s * BK_SECOND));
}

void bk_registration_tunnel_taken(struct bk_registration *r, bk_time now)
{
    if (!r->by_tunnel) {
        r->by_tunnel = true;
        r->udp_blocked = true;
        r->trials = 0;
        r->trial_challenged = false;
        r->tunnel_failures = 0;
        bk_registration_fall_back(r);
        r->quiet_open = false;
        plan_trial(r, now);
    }
    r->tunnel.due = bk_time_add(now, jittered(r, BK_AGENT_TUNNEL_INTERVAL_S * BK_SECOND));
}

void bk_registration_trial_ended(struct bk_registration *r, bk_time now)
{
    if (r->trials < UINT32_MAX) {
        r->trials++;
    }
    plan_trial(r, now);
    if (r->trial_challenged && r->tunnel_state == BK_TUNNEL_OPEN && !r->tunnel.waiting) {
        r->tunnel.due = now; /* the server may hold us to be there by now: back */
    }
    r->trial_challenged = false;
}
