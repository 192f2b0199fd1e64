/* Where the device can be reached, and rounds of looking for paths while the call is up: what the caller hears, and what
 * a hostile one cannot do. */
#include "core/agent/bench.h"

#include "wire/paths.h"

static const struct bk_candidate host = {BK_CANDIDATE_HOST,
                                         {{[10] = 0xFF, [11] = 0xFF, 20, 0, 0, 1}, 2600}};
static const struct bk_candidate mapped = {BK_CANDIDATE_MAPPED,
                                           {{[10] = 0xFF, [11] = 0xFF, 20, 0, 0, 2}, 2700}};
static const struct bk_candidate observed = {BK_CANDIDATE_REFLEXIVE,
                                             {{[10] = 0xFF, [11] = 0xFF, 20, 0, 0, 3}, 2800}};

static void own(struct bench *b, struct bk_candidate candidate)
{
    input(b, (struct bk_call_event){.type = BK_CALL_OWN, .candidate = candidate});
}

static void own_gone(struct bench *b, struct bk_candidate candidate)
{
    input(b, (struct bk_call_event){.type = BK_CALL_OWN, .candidate = candidate, .gone = true});
}

static void learnt(struct bench *b, struct bk_addr addr)
{
    input(b, (struct bk_call_event){.type = BK_CALL_OBSERVED, .addr = addr});
}

static bool same(const struct bk_candidate *a, const struct bk_candidate *b)
{
    return a->kind == b->kind && bk_addr_equal(&a->addr, &b->addr);
}

static void says(struct bench *b, size_t link, struct bk_paths paths)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_slice bytes;
    assert_int_equal(bk_paths_write(b->message, sizeof b->message, txid, &paths, &bytes), BK_OK);
    input(b, (struct bk_call_event){.type = BK_CALL_PATHS, .index = link, .bytes = bytes});
}

static struct bk_paths one(uint16_t round, enum bk_candidate_kind kind, uint8_t last)
{
    return (struct bk_paths){.round = round,
                             .round_trip_ms = 80,
                             .n_candidates = 1,
                             .candidates = {{kind, bk_addr_v4(4, 17, 168, last, 6000)}}};
}

static struct bk_paths answer_of(const struct bk_call_action *a)
{
    struct bk_stun m;
    struct bk_paths paths;
    assert_int_equal(a->type, BK_CALL_SEND_PATHS);
    assert_int_equal(bk_stun_read(a->bytes, &m), BK_OK);
    assert_int_equal(bk_paths_read(&m, &paths), BK_OK);
    return paths;
}

/* A relayed call, on link 0. */
static void reach_relayed(struct bench *b)
{
    b->request.candidates[0].kind = BK_CANDIDATE_RELAYED;
    reach_waiting(b);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    fake_pass(&b->now, 2 * BK_SECOND);
}

static void accepted_says_where_we_are(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->connect.has_observed = true;
    b->connect.observed = observed.addr;
    start(b);
    own(b, host);
    own(b, host);
    own(b, (struct bk_candidate){BK_CANDIDATE_HOST,
                                 bk_addr_v4(192, 168, 1, 11, 2600)}); /* not for others */
    own(b, (struct bk_candidate){BK_CANDIDATE_HOST, bk_addr_v4(20, 0, 0, 1, 0)});
    own(b, (struct bk_candidate){BK_CANDIDATE_RELAYED, bk_addr_v4(20, 0, 0, 9, 1)});
    assert_int_equal(b->out.n, 0);
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, true);
    struct bk_call_result first = result(b);
    assert_int_equal(first.status, BK_CALL_ACCEPTED);
    assert_int_equal(first.n_candidates, 2);
    assert_true(same(&first.candidates[0], &host));
    assert_true(same(&first.candidates[1], &observed));
    own(b, mapped); /* by and by */
    assert_int_equal(b->out.n, 1);
    struct bk_call_result second = result(b);
    assert_int_equal(second.status, BK_CALL_ACCEPTED);
    assert_int_equal(second.n_candidates, 1);
    assert_true(same(&second.candidates[0], &mapped));
    own(b, mapped);
    assert_int_equal(b->out.n, 0);
    own_gone(b, mapped);
    assert_int_equal(b->out.n, 0);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_CLOSED});
    own(b, mapped); /* nobody to tell */
    assert_int_equal(b->out.n, 0);
}

static void no_more_addresses_than_fit_are_kept(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->connect.has_observed = true;
    b->connect.observed = observed.addr;
    start(b);
    for (uint8_t i = 0; i < 20; i++) {
        own(b, (struct bk_candidate){BK_CANDIDATE_HOST, bk_addr_v4(20, 0, 1, i, 2600)});
        own(b, (struct bk_candidate){BK_CANDIDATE_MAPPED, bk_addr_v4(20, 0, 2, i, 2600)});
    }
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, true);
    assert_int_equal(result(b).n_candidates, BK_CALL_OWN_MAX);
}

/* As the server sees us, our router does; the caller has nobody dial that. */
static void what_the_server_sees_is_not_dialled(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.candidates[0].addr = observed.addr;
    b->request.candidates[0].addr.port = 5000;
    b->connect.has_observed = true;
    b->connect.observed = observed.addr;
    reach_accepted(b);
    assert_null(find(b, BK_CALL_ASK_DIALS));
    assert_int_equal(result(b).n_candidates, 1);

    begin(b); /* what the server makes up is not offered */
    b->connect.has_observed = true;
    b->connect.observed = bk_addr_v4(127, 0, 0, 1, 2600);
    reach_accepted(b);
    assert_int_equal(result(b).n_candidates, 0);
}

static void the_router_is_asked_only_where_nothing_stands(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_dialling(b);
    bk_time at = b->now.mono + BK_CALL_MAP_AFTER_MS * BK_MS;
    assert_true(bk_call_deadline(b->c) == at);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    tick(b);
    assert_true(b->now.mono == at);
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    says(b, 0, one(1, BK_CANDIDATE_HOST, 9)); /* a direct call needs none either */
    assert_null(find(b, BK_CALL_MAP));

    for (int how = 0; how < 3; how++) {
        begin(b);
        b->request.candidates[0].kind = BK_CANDIDATE_RELAYED;
        reach_dialling(b);
        dial_event(b, BK_CALL_SESSION_UP, 0);
        if (how > 0) {
            dial_event(b, BK_CALL_SESSION_PICKED, 0);
        }
        if (how == 1) {
            says(b, 0, one(1, BK_CANDIDATE_HOST, 9)); /* sooner than by time */
        } else {
            tick(b);
        }
        assert_int_equal(count(b, BK_CALL_MAP), 1);
        fake_pass(&b->now, BK_SECOND);
        bk_call_timer(b->c, &b->now, &b->out);
        assert_null(find(b, BK_CALL_MAP)); /* once */
    }
}

static void a_round_goes_step_by_step(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_relayed(b);
    own(b, host);
    struct bk_paths paths = one(1, BK_CANDIDATE_HOST, 9);
    paths.n_candidates = 2;
    paths.candidates[1] = one(1, BK_CANDIDATE_REFLEXIVE, 10).candidates[0];
    says(b, 0, paths);
    assert_int_equal(b->out.n, 2);
    assert_int_equal(must_find(b, BK_CALL_ASK_DIALS)->dials, 3);
    assert_non_null(find(b, BK_CALL_LEARN));
    size_t n;
    const struct bk_candidate *list = bk_call_candidates(b->c, &n);
    assert_int_equal(n, 2);
    assert_true(same(&list[1], &paths.candidates[1]));
    dials(b, ALL); /* what is dialled is dialled at once */
    assert_int_equal(b->out.n, 1);
    const struct bk_call_action *dial = must_find(b, BK_CALL_DIAL);
    assert_true(bk_addr_equal(&dial->addr, &paths.candidates[0].addr));
    assert_int_not_equal(dial->index, 0); /* the session's */
    size_t direct = dial->index;
    fake_pass(&b->now, 100 * BK_MS);
    learnt(b, observed.addr); /* and what is met halfway when the caller hears of us */
    assert_int_equal(b->out.n, 2);
    struct bk_paths answer = answer_of(&b->out.actions[0]);
    assert_int_equal(b->out.actions[0].index, 0);
    assert_int_equal(answer.round, 1);
    assert_int_equal(answer.n_candidates, 2);
    assert_true(same(&answer.candidates[0], &host));
    assert_true(same(&answer.candidates[1], &observed));
    assert_int_equal(b->out.actions[1].type, BK_CALL_PUNCH);
    assert_int_equal(b->out.actions[1].first_ms, 40);
    learnt(b, observed.addr); /* once */
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_UP, direct);
    dial_event(b, BK_CALL_SESSION_PICKED, direct);
    assert_int_equal(b->out.n, 0); /* both serve */
    dial_event(b, BK_CALL_SESSION_ENDED, 0);
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_ENDED, direct);
    assert_ended(b, BK_CALL_END_SERVED);
}

static void limits_answer_after_the_server_does(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_relayed(b);
    says(b, 0, one(1, BK_CANDIDATE_REFLEXIVE, 10));
    learnt(b, (struct bk_addr){{0}, 0}); /* it does not say */
    assert_int_equal(b->out.n, 1);
    assert_int_equal(answer_of(&b->out.actions[0]).n_candidates, 0);
    fake_pass(&b->now, 10 * BK_MS);
    dials(b, ALL);
    assert_int_equal(must_find(b, BK_CALL_PUNCH)->first_ms, 30);
}

static void a_server_that_is_silent_is_not_waited_for(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_relayed(b);
    says(b, 0, one(1, BK_CANDIDATE_REFLEXIVE, 10));
    dials(b, ALL);
    assert_int_equal(b->out.n, 0);
    assert_true(bk_call_deadline(b->c) == b->now.mono + BK_CALL_LEARN_MS * BK_MS);
    tick(b);
    assert_int_equal(count(b, BK_CALL_SEND_PATHS), 1);
    assert_int_equal(count(b, BK_CALL_PUNCH), 1);
    assert_true(bk_call_deadline(b->c) == BK_TIME_NEVER);
    learnt(b, observed.addr); /* too late */
    assert_int_equal(b->out.n, 0);
}

static void policy_and_limits_hold_in_the_call(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_relayed(b);
    struct bk_paths paths = {.round = 1, .n_candidates = BK_CANDIDATES_MAX};
    for (size_t i = 0; i < BK_CANDIDATES_MAX; i++) {
        paths.candidates[i] = (struct bk_candidate){(enum bk_candidate_kind)(1 + i % 4),
                                                    i < 4 ? bk_addr_v4(127, 0, 0, 1, 5000)
                                                          : bk_addr_v4(192, 168, 7, 7, 5000)};
    }
    says(b, 0, paths);
    assert_null(find(b, BK_CALL_ASK_DIALS));
    dials(b, ALL);
    assert_int_equal(b->out.n, 0);
    learnt(b, observed.addr);
    assert_int_equal(b->out.n, 1); /* but answered */

    fake_pass(&b->now, 2 * BK_SECOND);
    paths = one(2, BK_CANDIDATE_HOST, 9);
    paths.candidates[0].addr = observed.addr; /* what was learnt counts from then on */
    says(b, 0, paths);
    assert_null(find(b, BK_CALL_ASK_DIALS));
    learnt(b, observed.addr);

    fake_pass(&b->now, 2 * BK_SECOND);
    struct bk_policy *policy = &b->config.policy;
    policy->deny[0] = (struct bk_prefix){.bits = 0};
    policy->deny[1] = (struct bk_prefix){{[10] = 0xFF, [11] = 0xFF}, 96};
    policy->n_deny = 2;
    bk_call_set_policy(b->c, policy);
    says(b, 0, one(3, BK_CANDIDATE_HOST, 9));
    assert_null(find(b, BK_CALL_ASK_DIALS));
    learnt(b, observed.addr);

    fake_pass(&b->now, 2 * BK_SECOND);
    policy->n_deny = 0;
    bk_call_set_policy(b->c, policy);
    says(b, 0, one(4, BK_CANDIDATE_HOST, 9));
    assert_non_null(find(b, BK_CALL_ASK_DIALS));
    dials(b, 0); /* too many of late */
    assert_int_equal(b->out.n, 0);
}

/* However often he says it: one round at a time, and each later than the one before. */
static void rounds_are_few(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_relayed(b);
    says(b, 0, one(7, BK_CANDIDATE_HOST, 9));
    assert_int_equal(count(b, BK_CALL_LEARN), 1);
    dials(b, ALL);
    fake_pass(&b->now, 2 * BK_SECOND);
    says(b, 0, one(8, BK_CANDIDATE_HOST, 10)); /* the one before is not answered */
    assert_int_equal(b->out.n, 0);
    learnt(b, observed.addr);
    says(b, 0, one(7, BK_CANDIDATE_HOST, 10)); /* again */
    assert_int_equal(b->out.n, 0);
    says(b, 0, one(6, BK_CANDIDATE_HOST, 10));
    assert_int_equal(b->out.n, 0);
    says(b, 0, one(0, BK_CANDIDATE_HOST, 10)); /* ours to say */
    assert_int_equal(b->out.n, 0);
    says(b, 0, one(8, BK_CANDIDATE_HOST, 10));
    assert_int_equal(count(b, BK_CALL_LEARN), 1);
    assert_int_equal(count(b, BK_CALL_CLOSE_LINK), 1); /* what the one before has under way */
    dials(b, ALL);
    learnt(b, observed.addr);
    fake_pass(&b->now, BK_CALL_ROUND_EVERY_MS * BK_MS - 1);
    says(b, 0, one(9, BK_CANDIDATE_HOST, 11));
    assert_int_equal(b->out.n, 0);
    fake_pass(&b->now, 1);
    says(b, 0, one(9, BK_CANDIDATE_HOST, 11));
    assert_int_equal(count(b, BK_CALL_LEARN), 1);
    learnt(b, observed.addr);
    fake_pass(&b->now, 2 * BK_SECOND);
    says(b, 0, one(10, BK_CANDIDATE_HOST, 12)); /* the limits are still asked about */
    assert_int_equal(b->out.n, 0);
}

static void only_sessions_in_use_are_heard(void **state)
{
    (void)state;
    static const uint8_t junk[] = "no message at all, and long enough to be one";
    struct bench *b = &bench;
    begin(b);
    b->request.n_candidates = 2;
    b->request.candidates[1] =
        (struct bk_candidate){BK_CANDIDATE_RELAYED, bk_addr_v4(4, 17, 168, 3, 5000)};
    b->request.candidates[0].kind = BK_CANDIDATE_RELAYED;
    reach_waiting(b);
    says(b, 0, one(1, BK_CANDIDATE_HOST, 9));
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_UP, 1);
    says(b, 0, one(1, BK_CANDIDATE_HOST, 9));
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    says(b, 1, one(1, BK_CANDIDATE_HOST, 9));
    assert_int_equal(b->out.n, 0);
    says(b, BK_CALL_LINKS_MAX, one(1, BK_CANDIDATE_HOST, 9));
    assert_int_equal(b->out.n, 0);
    input(b, (struct bk_call_event){
                 .type = BK_CALL_PATHS, .bytes = bk_slice(junk, sizeof junk), .index = 0});
    assert_int_equal(b->out.n, 0);
    says(b, 0, one(1, BK_CANDIDATE_HOST, 9));
    assert_int_equal(count(b, BK_CALL_LEARN), 1);
    dial_event(b, BK_CALL_SESSION_PICKED, 1);
    input(b, (struct bk_call_event){.type = BK_CALL_SESSION_ENDED, .index = 0, .lost = true});
    learnt(b, observed.addr); /* answered where it can be */
    assert_int_equal(must_find(b, BK_CALL_SEND_PATHS)->index, 1);
}

/* Every round fills all the places there are, with as many sessions as may stand. */
static void there_is_always_a_link_for_an_attempt(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_relayed(b);
    size_t standing = 1;
    for (uint16_t round = 1; round < 40; round++) {
        struct bk_paths paths = {.round = round, .n_candidates = BK_CANDIDATES_MAX};
        for (uint8_t i = 0; i < BK_CANDIDATES_MAX; i++) {
            paths.candidates[i] = (struct bk_candidate){(enum bk_candidate_kind)(1 + i % 4),
                                                        bk_addr_v4(4, 17, (uint8_t)round, i, 5000)};
        }
        fake_pass(&b->now, BK_SECOND);
        says(b, 0, paths);
        assert_int_equal(must_find(b, BK_CALL_ASK_DIALS)->dials, ALL);
        learnt(b, observed.addr);
        dials(b, ALL);
        assert_int_equal(count(b, BK_CALL_DIAL) + count(b, BK_CALL_PUNCH), BK_CANDIDATES_MAX);
        size_t last = b->out.actions[b->out.n - 1].index;
        dial_event(b, BK_CALL_SESSION_UP, last);
        if (standing < BK_CALL_STANDING_MAX) {
            standing++;
            assert_int_equal(b->out.n, 0);
            if (standing <= BK_CALL_USED_MAX) {
                dial_event(b, BK_CALL_SESSION_PICKED, last);
            }
        } else {
            assert_int_equal(count(b, BK_CALL_CLOSE_LINK), 1);
        }
        bk_call_timer(b->c, &b->now, &b->out);
        standing -= count(b, BK_CALL_CLOSE_LINK); /* nobody has picked it */
    }
}

static void a_changed_network_asks_for_a_round(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    own(b, host);
    input(b, (struct bk_call_event){.type = BK_CALL_NETWORK_CHANGED});
    assert_int_equal(b->out.n, 0);
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, true);
    assert_int_equal(result(b).n_candidates, 0); /* it is told anew if it is still so */
    dials(b, ALL);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    own(b, host);
    input(b, (struct bk_call_event){.type = BK_CALL_NETWORK_CHANGED});
    assert_int_equal(b->out.n, 2);
    assert_int_equal(answer_of(&b->out.actions[0]).round, 0);
    assert_int_equal(answer_of(&b->out.actions[0]).n_candidates, 0);
    assert_int_equal(b->out.actions[1].type, BK_CALL_PING);
}

static void a_mapping_that_comes_late_asks_for_a_round(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_relayed(b);
    own(b, host); /* told where it changes anything */
    assert_int_equal(b->out.n, 0);
    own(b, mapped);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(answer_of(&b->out.actions[0]).round, 0);
    says(b, 0, one(1, BK_CANDIDATE_HOST, 9));
    dials(b, ALL);
    learnt(b, (struct bk_addr){{0}, 0});
    assert_int_equal(answer_of(&b->out.actions[0]).n_candidates, 2);

    begin(b);
    reach_waiting(b); /* a direct call has no use for it */
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    own(b, mapped);
    assert_int_equal(b->out.n, 0);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(accepted_says_where_we_are, tear_down),
        cmocka_unit_test_teardown(no_more_addresses_than_fit_are_kept, tear_down),
        cmocka_unit_test_teardown(what_the_server_sees_is_not_dialled, tear_down),
        cmocka_unit_test_teardown(the_router_is_asked_only_where_nothing_stands, tear_down),
        cmocka_unit_test_teardown(a_round_goes_step_by_step, tear_down),
        cmocka_unit_test_teardown(limits_answer_after_the_server_does, tear_down),
        cmocka_unit_test_teardown(a_server_that_is_silent_is_not_waited_for, tear_down),
        cmocka_unit_test_teardown(policy_and_limits_hold_in_the_call, tear_down),
        cmocka_unit_test_teardown(rounds_are_few, tear_down),
        cmocka_unit_test_teardown(only_sessions_in_use_are_heard, tear_down),
        cmocka_unit_test_teardown(there_is_always_a_link_for_an_attempt, tear_down),
        cmocka_unit_test_teardown(a_changed_network_asks_for_a_round, tear_down),
        cmocka_unit_test_teardown(a_mapping_that_comes_late_asks_for_a_round, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
