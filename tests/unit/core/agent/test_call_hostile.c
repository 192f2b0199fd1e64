/* Attacks on a device during a call: by a caller who is let in, by a server that lies to him, and by whoever comes to its
 * port. */
#include "core/agent/bench.h"

static void candidate(struct bench *b, enum bk_candidate_kind kind, struct bk_addr addr)
{
    b->request.candidates[b->request.n_candidates++] = (struct bk_candidate){kind, addr};
}

/* In its own network, private. */
static void at_home(struct bench *b, struct bk_addr server)
{
    struct bk_policy *policy = &b->config.policy;
    policy->own_nets[policy->n_own_nets++] =
        (struct bk_prefix){{[10] = 0xFF, [11] = 0xFF, 192, 168, 1}, 120};
    policy->servers[policy->n_servers++] = server;
    b->request.n_candidates = 0;
}

static uint32_t asked_of(struct bench *b)
{
    reach_accepted(b);
    const struct bk_call_action *ask = find(b, BK_CALL_ASK_DIALS);
    return ask == NULL ? 0 : ask->dials;
}

/* Attack: a server (or its relay) tells a caller that his address, or his relayed one, is a host in the device's own
 * network; he puts it into his request in good faith. Expected: not dialled; what the caller knows of himself is. */
static void servers_word_leads_into_no_private_network(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    at_home(b, bk_addr_v4(202, 120, 2, 30, 0));
    candidate(b, BK_CANDIDATE_REFLEXIVE, bk_addr_v4(192, 168, 1, 20, 8080));
    candidate(b, BK_CANDIDATE_RELAYED, bk_addr_v4(192, 168, 1, 20, 8080));
    candidate(b, BK_CANDIDATE_HOST, bk_addr_v4(192, 168, 1, 21, 8080));
    candidate(b, BK_CANDIDATE_RELAYED, bk_addr_v4(202, 120, 2, 30, 50000));
    candidate(b, BK_CANDIDATE_REFLEXIVE, bk_addr_v4(4, 17, 168, 2, 7000));
    assert_int_equal(asked_of(b), 0x1C);
    begin(b); /* all of it in one private network */
    at_home(b, bk_addr_v4(10, 9, 8, 7, 0));
    candidate(b, BK_CANDIDATE_REFLEXIVE, bk_addr_v4(192, 168, 1, 20, 8080));
    candidate(b, BK_CANDIDATE_RELAYED, bk_addr_v4(192, 168, 1, 20, 8080));
    assert_int_equal(asked_of(b), 0x3);
    begin(b); /* the owner's word goes before */
    at_home(b, bk_addr_v4(202, 120, 2, 30, 0));
    b->config.policy.allow[b->config.policy.n_allow++] =
        (struct bk_prefix){{[10] = 0xFF, [11] = 0xFF, 192, 168, 1}, 120};
    candidate(b, BK_CANDIDATE_RELAYED, bk_addr_v4(192, 168, 1, 20, 8080));
    assert_int_equal(asked_of(b), 0x1);
}

/* Attack: a relay, or who pretends to be one, takes each connection and cuts it. Expected: some redials, then no more,
 * each after a pause. */
static void cuts_without_end_are_answered_by_few_redials(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.n_candidates = 0;
    candidate(b, BK_CANDIDATE_RELAYED, bk_addr_v4(202, 120, 2, 30, 50000));
    reach_accepted(b);
    dials(b, ALL);
    size_t times = count(b, BK_CALL_DIAL);
    for (int i = 0; i < 100; i++) {
        input(b, (struct bk_call_event){.type = BK_CALL_DIAL_FAILED, .index = 0, .cut = true});
        assert_int_equal(count(b, BK_CALL_DIAL), 0);
        b->now.mono += BK_CALL_REDIAL_MS * BK_MS;
        bk_call_timer(b->c, &b->now, &b->out);
        times += count(b, BK_CALL_DIAL);
    }
    assert_int_equal(times, 1 + BK_CALL_REDIALS_MAX);
}

/* Attack: strangers come to the device's port before the call is accepted. Expected: nobody listens there until then. */
static void nothing_listens_before_a_call_is_accepted(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    assert_null(find(b, BK_CALL_LISTEN));
    deliver(b);
    assert_null(find(b, BK_CALL_LISTEN));
    admission(b, BK_ADMITTED);
    assert_null(find(b, BK_CALL_LISTEN));
    caller(b, false);
    assert_null(find(b, BK_CALL_LISTEN));
    begin(b);
    reach_accepted(b);
    assert_int_equal(count(b, BK_CALL_LISTEN), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_word_leads_into_no_private_network),
        cmocka_unit_test(cuts_without_end_are_answered_by_few_redials),
        cmocka_unit_test(nothing_listens_before_a_call_is_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
