/* Links of a call: dials of every kind, redials, simultaneous opens, what comes in, how many sessions there may be, and
 * when the call is over. */
#include "core/agent/bench.h"

static const struct bk_addr direct = {{[10] = 0xFF, [11] = 0xFF, 4, 17, 168, 2}, 5000};

static void candidate(struct bench *b, enum bk_candidate_kind kind, uint8_t last, uint16_t port)
{
    b->request.candidates[b->request.n_candidates++] =
        (struct bk_candidate){kind, bk_addr_v4(4, 17, 168, last, port)};
}

static void begin_with(struct bench *b, enum bk_candidate_kind kind)
{
    begin(b);
    b->request.n_candidates = 0;
    candidate(b, kind, 2, 5000);
}

static void cut(struct bench *b, size_t link)
{
    input(b, (struct bk_call_event){.type = BK_CALL_DIAL_FAILED, .index = link, .cut = true});
}

static void lost(struct bench *b, size_t link)
{
    input(b, (struct bk_call_event){.type = BK_CALL_SESSION_ENDED, .index = link, .lost = true});
}

static void comes_in(struct bench *b, size_t link, struct bk_addr far, struct bk_addr near)
{
    input(b, (struct bk_call_event){
                 .type = BK_CALL_SESSION_UP, .index = link, .addr = far, .local = near});
}

static void picked(struct bench *b, size_t link)
{
    dial_event(b, BK_CALL_SESSION_PICKED, link);
}

static void each_kind_is_tried_in_its_way(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_with(b, BK_CANDIDATE_HOST);
    candidate(b, BK_CANDIDATE_MAPPED, 3, 5000);
    candidate(b, BK_CANDIDATE_REFLEXIVE, 4, 5000);
    candidate(b, BK_CANDIDATE_RELAYED, 5, 5000);
    reach_accepted(b);
    assert_int_equal(must_find(b, BK_CALL_ASK_DIALS)->dials, 0xF);
    dials(b, ALL);
    assert_int_equal(b->out.n, 4);
    assert_int_equal(count(b, BK_CALL_DIAL), 3);
    const struct bk_call_action *punch = must_find(b, BK_CALL_PUNCH);
    assert_int_equal(punch->index, 2);
    assert_true(bk_addr_equal(&punch->addr, &b->request.candidates[2].addr));
    assert_int_equal(punch->tries, BK_CALL_PUNCH_TRIES);
    assert_int_equal(punch->first_ms, 0); /* nothing is known of the way */
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(bk_call_link_kind(b->c, i), b->request.candidates[i].kind);
    }
}

static void the_policy_holds_for_every_kind(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (unsigned kind = BK_CANDIDATE_HOST; kind <= BK_CANDIDATE_RELAYED; kind++) {
        for (int limit = 0; limit < 2; limit++) {
            begin_with(b, (enum bk_candidate_kind)kind);
            if (limit == 0) {
                b->request.candidates[0].addr = bk_addr_v4(127, 0, 0, 1, 5000);
            }
            reach_accepted(b);
            assert_int_equal(count(b, BK_CALL_ASK_DIALS), limit);
            dials(b, limit == 0 ? ALL : 0);
            assert_int_equal(b->out.n, 0);
        }
    }
}

/* Behind a firewall alone the server sees the host's own address: it is dialled, and met halfway. */
static void an_address_is_tried_once_in_each_way(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_with(b, BK_CANDIDATE_HOST);
    candidate(b, BK_CANDIDATE_MAPPED, 2, 5000);
    candidate(b, BK_CANDIDATE_REFLEXIVE, 2, 5000);
    candidate(b, BK_CANDIDATE_REFLEXIVE, 2, 5000);
    reach_accepted(b);
    assert_int_equal(must_find(b, BK_CALL_ASK_DIALS)->dials, 0x5);
}

static void the_first_try_is_when_accepted_arrives(void **state)
{
    (void)state;
    static const struct {
        uint16_t caller_ms;
        uint32_t device_ms;
        uint32_t first_ms, every_ms;
    } rows[] = {{60, 40, 50, 250},
                {0, 40, 20, 250},
                {UINT16_MAX, UINT32_MAX / 2, BK_CALL_PUNCH_FIRST_MAX_MS, 3250},
                {7, 0, 3, 250},
                {400, 2, 201, 500},
                {3000, 0, 1500, 3250}};
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin_with(b, BK_CANDIDATE_REFLEXIVE);
        b->request.server_ms = rows[i].caller_ms;
        start(b);
        input(b, (struct bk_call_event){.type = BK_CALL_SERVER_OPEN, .ms = rows[i].device_ms});
        deliver(b);
        admission(b, BK_ADMITTED);
        caller(b, true);
        assert_int_equal(result(b).server_ms,
                         rows[i].device_ms < UINT16_MAX ? rows[i].device_ms : UINT16_MAX);
        dials(b, ALL);
        const struct bk_call_action *punch = must_find(b, BK_CALL_PUNCH);
        assert_int_equal(punch->first_ms, rows[i].first_ms);
        assert_int_equal(punch->every_ms, rows[i].every_ms);
        assert_int_equal(punch->tries, bk_paths_grid_tries(rows[i].every_ms));
    }
    begin_with(b, BK_CANDIDATE_REFLEXIVE); /* the idle part took its time */
    b->request.server_ms = 100;
    reach_accepted(b);
    fake_pass(&b->now, 20 * BK_MS);
    dials(b, ALL);
    assert_int_equal(must_find(b, BK_CALL_PUNCH)->first_ms, 30);
}

static void a_relayed_address_that_cuts_is_dialled_again(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_with(b, BK_CANDIDATE_RELAYED);
    candidate(b, BK_CANDIDATE_MAPPED, 3, 5000);
    reach_waiting(b);
    cut(b, 1); /* no relay */
    assert_int_equal(b->out.n, 0);
    for (unsigned i = 0; i < BK_CALL_REDIALS_MAX; i++) {
        bk_time again = b->now.mono + BK_CALL_REDIAL_MS * BK_MS;
        cut(b, 0);
        assert_int_equal(b->out.n, 0);
        assert_true(bk_call_deadline(b->c) == again);
        tick(b);
        assert_int_equal(b->out.n, 1);
        assert_int_equal(b->out.actions[0].type, BK_CALL_DIAL);
        assert_int_equal(b->out.actions[0].index, 0);
        assert_true(bk_addr_equal(&b->out.actions[0].addr, &direct));
    }
    cut(b, 0); /* enough */
    tick(b);
    assert_ended(b, BK_CALL_END_NO_ANSWER);

    begin_with(b, BK_CANDIDATE_RELAYED); /* refused: nobody is there */
    reach_waiting(b);
    dial_event(b, BK_CALL_DIAL_FAILED, 0);
    tick(b);
    assert_ended(b, BK_CALL_END_NO_ANSWER);

    begin_with(b, BK_CANDIDATE_RELAYED); /* a session that is cut is no dial that is */
    reach_waiting(b);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    cut(b, 0);
    tick(b);
    assert_ended(b, BK_CALL_END_NO_ANSWER);
}

/* What stands by then, or comes, does not change when the caller without a session hears that there is no answer. */
static void redials_do_not_move_the_end(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_with(b, BK_CANDIDATE_RELAYED);
    reach_waiting(b);
    bk_time due = bk_call_deadline(b->c);
    fake_pass(&b->now, due - b->now.mono - 100 * BK_MS);
    cut(b, 0);
    assert_true(bk_call_deadline(b->c) == due);
    tick(b);
    assert_int_equal(b->now.mono, due);
    assert_ended(b, BK_CALL_END_NO_ANSWER);
}

static void what_comes_in_is_a_session_like_others(void **state)
{
    (void)state;
    static const struct bk_addr inside = {{[10] = 0xFF, [11] = 0xFF, 192, 168, 1, 11}, 2600};
    struct bench *b = &bench;
    begin(b);
    start(b);
    comes_in(b, BK_CALL_DIALS_MAX, direct, inside); /* nothing is accepted yet */
    picked(b, BK_CALL_DIALS_MAX);
    assert_int_equal(b->out.n, 0);
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, true);
    comes_in(b, BK_CALL_LINKS_MAX, direct, inside); /* there is no such link */
    assert_int_equal(b->out.n, 0);
    comes_in(b, BK_CALL_LINKS_MAX - 1, direct, inside);
    assert_int_equal(b->out.n, 0);
    picked(b, BK_CALL_LINKS_MAX - 1);
    assert_int_equal(count(b, BK_CALL_CLOSE_SERVER), 1);
    dial_event(b, BK_CALL_SESSION_ENDED, BK_CALL_LINKS_MAX - 1);
    assert_ended(b, BK_CALL_END_SERVED);
}

static void the_way_of_what_comes_in(void **state)
{
    (void)state;
    struct bk_addr inside = bk_addr_v4(192, 168, 1, 11, 2600);
    struct bk_addr global = bk_addr_v4(20, 0, 0, 1, 2600);
    struct bk_addr met = bk_addr_v4(4, 17, 168, 2, 5000);
    struct bk_addr neighbour = bk_addr_v4(192, 168, 1, 12, 4000);
    size_t at = BK_CALL_DIALS_MAX;
    struct bench *b = &bench;
    begin_with(b, BK_CANDIDATE_REFLEXIVE);
    reach_dialling(b);
    comes_in(b, at, met, inside);
    assert_int_equal(bk_call_link_kind(b->c, at), BK_CANDIDATE_REFLEXIVE);
    comes_in(b, at + 1, met, global);
    assert_int_equal(bk_call_link_kind(b->c, at + 1), BK_CANDIDATE_HOST);
    comes_in(b, at + 2, neighbour, inside);
    assert_int_equal(bk_call_link_kind(b->c, at + 2), BK_CANDIDATE_HOST);
    input(b,
          (struct bk_call_event){.type = BK_CALL_OWN, .candidate = {BK_CANDIDATE_MAPPED, global}});
    comes_in(b, at + 3, met, inside);
    assert_int_equal(bk_call_link_kind(b->c, at + 3), BK_CANDIDATE_MAPPED);
}

static void so_many_sessions_may_stand(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_dialling(b);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    for (size_t i = 0; i < BK_CALL_STANDING_MAX - 1; i++) {
        comes_in(b, BK_CALL_DIALS_MAX + i, direct, direct);
        assert_int_equal(b->out.n, 0);
    }
    comes_in(b, BK_CALL_LINKS_MAX - 1, direct, direct);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_CALL_CLOSE_LINK)->index, BK_CALL_LINKS_MAX - 1);
    for (size_t i = 0; i < BK_CALL_USED_MAX; i++) {
        picked(b, BK_CALL_DIALS_MAX + i);
        assert_int_equal(count(b, BK_CALL_CLOSE_LINK), 0);
        assert_int_equal(count(b, BK_CALL_CLOSE_SERVER), i == 0 ? 1 : 0);
    }
    picked(b, 0); /* one too many in use */
    assert_int_equal(must_find(b, BK_CALL_CLOSE_LINK)->index, 0);
    for (size_t i = 0; i < BK_CALL_USED_MAX; i++) {
        assert_int_equal(count(b, BK_CALL_END), 0);
        dial_event(b, BK_CALL_SESSION_ENDED, BK_CALL_DIALS_MAX + i);
    }
    assert_ended(b, BK_CALL_END_SERVED);
    assert_int_equal(count(b, BK_CALL_CLOSE_LINK), BK_CALL_STANDING_MAX - 1 - BK_CALL_USED_MAX);
}

/* A relayed pick leaves the search for better ones alone; a direct one ends it. */
static void a_relayed_pick_goes_on_looking(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int direct_first = 0; direct_first < 2; direct_first++) {
        begin_with(b, BK_CANDIDATE_RELAYED);
        candidate(b, BK_CANDIDATE_MAPPED, 3, 5000);
        candidate(b, BK_CANDIDATE_REFLEXIVE, 4, 5000);
        candidate(b, BK_CANDIDATE_RELAYED, 6, 5000);
        reach_dialling(b);
        cut(b, 3);
        size_t first = direct_first ? 1 : 0;
        dial_event(b, BK_CALL_SESSION_UP, first);
        picked(b, first);
        assert_int_equal(count(b, BK_CALL_CLOSE_LINK), direct_first ? 3 : 0);
        assert_int_equal(count(b, BK_CALL_CLOSE_SERVER), 1);
        dial_event(b, BK_CALL_SESSION_UP, 2);
        picked(b, 2);
        dial_event(b, BK_CALL_SESSION_ENDED, first);
        assert_int_equal(count(b, BK_CALL_END), direct_first ? 1 : 0);
        if (!direct_first) {
            dial_event(b, BK_CALL_SESSION_ENDED, 2);
        }
        assert_ended(b, BK_CALL_END_SERVED);
    }
}

static void a_lost_session_leaves_time_for_another(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_waiting(b);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    picked(b, 0);
    lost(b, 0);
    assert_int_equal(b->out.n, 0);
    assert_true(bk_call_deadline(b->c) == b->now.mono + BK_CALL_LINGER_MS * BK_MS);
    fake_pass(&b->now, BK_SECOND);
    comes_in(b, BK_CALL_DIALS_MAX, direct, direct);
    picked(b, BK_CALL_DIALS_MAX);
    assert_int_equal(b->out.n, 0);
    assert_true(bk_call_deadline(b->c) == BK_TIME_NEVER);
    lost(b, BK_CALL_DIALS_MAX);
    tick(b);
    assert_ended(b, BK_CALL_END_SERVED);
    assert_int_equal(b->out.n, 1);
}

static void a_caller_who_may_no_longer_call_loses_all(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_dialling(b);
    input(b, (struct bk_call_event){.type = BK_CALL_STOP}); /* there is nothing to be cut yet */
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    comes_in(b, BK_CALL_DIALS_MAX, direct, direct);
    picked(b, 0);
    input(b, (struct bk_call_event){.type = BK_CALL_STOP});
    assert_int_equal(count(b, BK_CALL_CLOSE_LINK), 2);
    assert_ended(b, BK_CALL_END_SERVED);

    begin(b); /* also while none is in use */
    reach_waiting(b);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    picked(b, 0);
    lost(b, 0);
    input(b, (struct bk_call_event){.type = BK_CALL_STOP});
    assert_ended(b, BK_CALL_END_SERVED);
}

static void without_a_port_it_only_dials(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_with(b, BK_CANDIDATE_REFLEXIVE);
    candidate(b, BK_CANDIDATE_MAPPED, 2, 5000);
    b->config.no_port = true;
    b->connect.has_observed = true;
    b->connect.observed = bk_addr_v4(20, 0, 0, 1, 2600);
    start(b);
    input(b,
          (struct bk_call_event){.type = BK_CALL_OWN,
                                 .candidate = {BK_CANDIDATE_HOST, bk_addr_v4(20, 0, 0, 1, 2600)}});
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, true);
    assert_null(find(b, BK_CALL_LISTEN));
    assert_int_equal(result(b).n_candidates, 0);
    assert_int_equal(must_find(b, BK_CALL_ASK_DIALS)->dials, 0x2);
    tick(b);
    assert_null(find(b, BK_CALL_MAP));
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_kind_is_tried_in_its_way, tear_down),
        cmocka_unit_test_teardown(the_policy_holds_for_every_kind, tear_down),
        cmocka_unit_test_teardown(an_address_is_tried_once_in_each_way, tear_down),
        cmocka_unit_test_teardown(the_first_try_is_when_accepted_arrives, tear_down),
        cmocka_unit_test_teardown(a_relayed_address_that_cuts_is_dialled_again, tear_down),
        cmocka_unit_test_teardown(redials_do_not_move_the_end, tear_down),
        cmocka_unit_test_teardown(what_comes_in_is_a_session_like_others, tear_down),
        cmocka_unit_test_teardown(the_way_of_what_comes_in, tear_down),
        cmocka_unit_test_teardown(so_many_sessions_may_stand, tear_down),
        cmocka_unit_test_teardown(a_relayed_pick_goes_on_looking, tear_down),
        cmocka_unit_test_teardown(a_lost_session_leaves_time_for_another, tear_down),
        cmocka_unit_test_teardown(a_caller_who_may_no_longer_call_loses_all, tear_down),
        cmocka_unit_test_teardown(without_a_port_it_only_dials, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
