/* Which way a call takes, and what becomes of it when ways open and close. */
#include "sim.h"

static struct device *one_device(struct world *w)
{
    w->relays = true;
    struct device *d = scene_device(w);
    return d;
}

/* One whom nobody can dial; he may be met, and has a relay. */
static struct caller *behind_nat(struct world *w, struct device *d, bool punched, bool relayed)
{
    struct caller *c = caller_add(w, d);
    c->reachable = false;
    c->silent = true;
    c->n_candidates = 0;
    c->punches = true;
    c->punched = punched;
    c->relays = c->relayed = relayed;
    return c;
}

static void call(struct world *w, struct caller *c)
{
    caller_start(c);
    scene_run_to_end(w, c, 60);
    CHECK(w, c->up);
}

static size_t open_sessions(const struct world *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_sessions; i++) {
        n += w->sessions[i].open;
    }
    return n;
}

static bool goes_by(const struct world *w, const struct caller *c, enum bk_candidate_kind kind)
{
    return c->session != 0 && w->sessions[c->session - 1].open &&
           w->sessions[c->session - 1].kind == kind;
}

static void all_quiet(struct world *w)
{
    scene_all_quiet(w, 40);
    CHECK(w, open_sessions(w) == 0);
}

static void hang_up(struct world *w, struct caller *c)
{
    caller_hang_up(c);
    all_quiet(w);
}

static void the_best_of_all_ways(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = caller_add(w, d);
    d->maps = c->punches = c->relays = c->dials_back = true;
    call(w, c);
    world_run(w, 30 * BK_SECOND);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_MAPPED) && c->uses == 1);
    CHECK(w, open_sessions(w) == 1 && c->rounds == 0); /* losers are closed */
    CHECK(w, device_calls_open(d) == 1);
    hang_up(w, c);
}

static void both_meet(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = behind_nat(w, d, true, false);
    call(w, c);
    world_run(w, 30 * BK_SECOND);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_REFLEXIVE) && open_sessions(w) == 1);
    hang_up(w, c);
}

static void the_device_is_dialled(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = behind_nat(w, d, false, false);
    d->maps = c->dials_back = true;
    call(w, c);
    world_run(w, 30 * BK_SECOND);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_MAPPED) && open_sessions(w) == 1);
    hang_up(w, c);
}

static void a_direct_way_comes_before_the_relay_has_waited_enough(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = behind_nat(w, d, false, true);
    caller_start(c);
    while (w->n_sessions == 0 && w->now - c->began < 10 * BK_SECOND) {
        world_run(w, 10 * BK_MS);
    }
    CHECK(w, w->n_sessions == 1 && w->sessions[0].kind == BK_CANDIDATE_RELAYED && !c->up);
    c->punched = true;
    world_run(w, BK_REQUESTER_RELAY_PATIENCE_MS * BK_MS);
    CHECK(w, c->up && goes_by(w, c, BK_CANDIDATE_REFLEXIVE) && c->uses == 1);
    world_run(w, 10 * BK_SECOND);
    CHECK(w, open_sessions(w) == 1);
    hang_up(w, c);
}

/* Up by the relay, better later, back when that is lost, and over when all is. */
static void an_upgrade_and_back(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = behind_nat(w, d, false, true);
    call(w, c);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_RELAYED));
    uint64_t relayed = c->session;
    world_run(w, 15 * BK_SECOND);
    CHECK(w, c->rounds >= 1 && c->session == relayed && open_sessions(w) == 1);
    c->punched = true;
    world_run(w, 40 * BK_SECOND);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_REFLEXIVE) && w->sessions[relayed - 1].open);
    uint32_t rounds = c->rounds;
    world_run(w, 1000 * BK_SECOND);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_REFLEXIVE) && w->sessions[relayed - 1].open);
    CHECK(w, c->rounds == rounds && open_sessions(w) == 2);
    c->punched = false;
    CHECK(w, sessions_cut(w, BK_CANDIDATE_REFLEXIVE) == 1);
    world_run(w, BK_SECOND);
    CHECK(w, c->session == relayed && !c->ended);
    world_run(w, 30 * BK_SECOND);
    CHECK(w, c->rounds > rounds && c->session == relayed);
    CHECK(w, sessions_cut(w, BK_CANDIDATE_RELAYED) == 1);
    world_run(w, 20 * BK_SECOND);
    CHECK(w, c->ended);
    caller_hang_up(c);
    all_quiet(w);
}

static void no_rounds_without_end(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = behind_nat(w, d, false, true);
    call(w, c);
    uint64_t dials = w->stats.dials;
    world_run(w, 3600 * BK_SECOND);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_RELAYED) && open_sessions(w) == 1);
    CHECK(w, c->rounds >= 15 && c->rounds <= 17);
    CHECK(w, w->stats.dials - dials <= 4 * c->rounds);
    hang_up(w, c);
}

static void the_server_goes_in_mid_call(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = behind_nat(w, d, false, true);
    call(w, c);
    server_stop(w);
    world_run(w, 100 * BK_SECOND);
    CHECK(w, c->rounds >= 3 && goes_by(w, c, BK_CANDIDATE_RELAYED));
    CHECK(w, device_calls_open(d) == 1);
    server_start(w);
    c->punched = true;
    world_run(w, 400 * BK_SECOND);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_REFLEXIVE));
    hang_up(w, c);
}

static void the_second_server_knows(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = caller_add(w, d);
    c->n_servers = 2;
    c->first_server_gone = true;
    call(w, c);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_MAPPED));
    hang_up(w, c);
    struct caller *late = caller_add(w, d);
    late->n_servers = 2;
    late->first_server_gone = true;
    server_stop(w);
    caller_start(late);
    world_run(w, 20 * BK_SECOND);
    CHECK(w, late->failed && late->failure == BK_FAIL_SERVER);
}

static void a_changed_network_is_looked_into_at_once(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = behind_nat(w, d, false, true);
    call(w, c);
    world_run(w, 500 * BK_SECOND);
    uint32_t rounds = c->rounds;
    c->reachable = true; /* the new one has a public address */
    c->n_candidates = 1;
    caller_input(c, (struct bk_requester_event){.type = BK_REQUESTER_NETWORK_CHANGED});
    world_run(w, 10 * BK_SECOND);
    CHECK(w, c->gathers == 2 && c->rounds == rounds + 1);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_MAPPED));
    hang_up(w, c);
}

static void a_renewed_mapping_is_tried(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = caller_add(w, d);
    struct bk_requester_event renewed = {
        .type = BK_REQUESTER_CANDIDATE, .source = BK_SOURCE_MAPPING, .candidate = c->candidate};
    call(w, c);
    for (uint32_t i = 1; i <= 3; i++) {
        world_run(w, 1800 * BK_SECOND);
        caller_input(c, renewed);
        world_run(w, 20 * BK_SECOND);
        CHECK(w, c->proven == i && c->doubted == 0 && open_sessions(w) == 1);
    }
    c->reachable = false; /* the router says that it did, and forwards no more */
    caller_input(c, renewed);
    world_run(w, 20 * BK_SECOND);
    CHECK(w, c->proven == 3 && c->doubted == 1);
    CHECK(w, goes_by(w, c, BK_CANDIDATE_MAPPED) && c->uses == 1); /* what stands, stands */
    hang_up(w, c);
}

/* Ways open and close as they like: the call goes on by one that is open, or it is over, never neither. */
static void ways_come_and_go(struct world *w)
{
    struct device *d = one_device(w);
    struct caller *c = behind_nat(w, d, true, true);
    d->maps = true;
    call(w, c);
    bk_time none_since = w->now;
    for (int i = 0; i < 2000 && !c->ended; i++) {
        bool *ways[] = {&c->punched, &c->relayed, &c->dials_back};
        static const enum bk_candidate_kind kinds[] = {BK_CANDIDATE_REFLEXIVE, BK_CANDIDATE_RELAYED,
                                                       BK_CANDIDATE_MAPPED};
        size_t way = world_draw(w, 3);
        uint64_t what = world_draw(w, 200);
        if (what < 4) {
            *ways[way] = what < 3;
        } else if (what < 6 && open_sessions(w) > 0) {
            *ways[way] = false;
            (void)sessions_cut(w, kinds[way]);
        } else if (what == 6) {
            caller_input(c, (struct bk_requester_event){.type = BK_REQUESTER_NETWORK_CHANGED});
        } else if (what == 7 && w->server != NULL) {
            server_stop(w);
        } else if (what == 8 && w->server == NULL) {
            server_start(w);
        }
        world_run(w, world_draw(w, BK_SECOND));
        if (c->session != 0 && w->sessions[c->session - 1].open) {
            none_since = w->now;
        }
        CHECK(w, c->ended || w->now - none_since <= (BK_REQUESTER_LOST_MS + 1500) * BK_MS);
        CHECK(w, open_sessions(w) <= BK_REQUESTER_IN_USE_MAX);
    }
    if (w->server == NULL) {
        server_start(w);
    }
    hang_up(w, c);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"the_best_of_all_ways", the_best_of_all_ways, 10},
        {"both_meet", both_meet, 10},
        {"the_device_is_dialled", the_device_is_dialled, 10},
        {"a_direct_way_comes_before_the_relay_has_waited_enough",
         a_direct_way_comes_before_the_relay_has_waited_enough, 10},
        {"an_upgrade_and_back", an_upgrade_and_back, 10},
        {"no_rounds_without_end", no_rounds_without_end, 3},
        {"the_server_goes_in_mid_call", the_server_goes_in_mid_call, 10},
        {"the_second_server_knows", the_second_server_knows, 5},
        {"a_changed_network_is_looked_into_at_once", a_changed_network_is_looked_into_at_once, 5},
        {"a_renewed_mapping_is_tried", a_renewed_mapping_is_tried, 5},
        {"ways_come_and_go", ways_come_and_go, 40},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
