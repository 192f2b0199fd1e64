/* The first bytes that go with a session's handshake: which session is told early, and what becomes of the others. */
#include "core/requester/bench.h"

static void reach_afresh(struct bench *b)
{
    begin(b);
    reach_requested(b);
}

static void early(struct bench *b)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_EARLY});
    assert_int_equal(b->out.n, 0);
}

static void early_session(struct bench *b, uint64_t number)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SESSION_UP,
                                         .session = number,
                                         .kind = BK_CANDIDATE_HOST,
                                         .early = true});
}

static void only_what_would_be_picked_is_told_early(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    request(b);
    assert_true(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_MAPPED)); /* a HOST may come */
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_RELAYED));
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_true(bk_requester_may_be_early(b->r, BK_CANDIDATE_MAPPED));
    early(b);
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_EARLY_LOST});
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    early_session(b, 41);
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
}

static void others_wait_for_the_one_that_was_told(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_afresh(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    early(b);
    session_by(b, 41, BK_CANDIDATE_HOST);
    assert_null(find(b, BK_REQUESTER_USE_SESSION));
    early_session(b, 42);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 42);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 41);
}

static void if_it_is_lost_another_is_used(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int waits = 0; waits < 2; waits++) {
        reach_afresh(b);
        deliver(b);
        early(b);
        result(b, BK_CALL_ACCEPTED, 0);
        session_by(b, 41, BK_CANDIDATE_HOST);
        assert_null(find(b, BK_REQUESTER_USE_SESSION));
        if (waits != 0) { /* it says nothing any more */
            assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                             BK_REQUESTER_EARLY_MS * BK_MS);
            tick(b);
        } else {
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_EARLY_LOST});
        }
        assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
    }
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_EARLY_LOST});
    assert_int_equal(b->out.n, 0);
}

static void each_call_id_has_one(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_afresh(b);
    deliver(b);
    early(b);
    result(b, BK_CALL_STALE, 0);
    take_request(b);
    assert_true(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    session_by(b, 41, BK_CANDIDATE_HOST); /* nothing is waited for */
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_would_be_picked_is_told_early),
        cmocka_unit_test(others_wait_for_the_one_that_was_told),
        cmocka_unit_test(if_it_is_lost_another_is_used),
        cmocka_unit_test(each_call_id_has_one),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bk_requester_free(bench.r);
    return failed;
}
