/* A call by what is known of the device that comes to nothing: the server is asked after all, once, and it is made anew. */
#include "core/requester/known_bench.h"

static void an_unknown_device_is_asked_for_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    answer_error(b, BK_METHOD_CONNECT, BK_CODE_NOT_FOUND);
    asked_anew(b);
    answer_error(b, BK_METHOD_CONNECT, BK_CODE_NOT_FOUND);
    assert_failed(b, BK_FAIL_UNKNOWN_DEVICE);
}

/* The question after the key, in the middle of the call. */
static void asked_for_the_key(struct bench *b)
{
    struct bk_stun m = sent(b, BK_METHOD_LOOKUP);
    assert_false(asks(b, BK_METHOD_INFO));
    assert_false(asks(b, BK_METHOD_CONNECT));
    memcpy(b->txid, m.txid, sizeof b->txid);
}

static void an_accepted_call_that_nobody_comes_for_is_made_anew(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    fake_pass(&b->now, 1500 * BK_MS);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                     BK_REQUESTER_DOUBT_MS * BK_MS);
    tick(b);
    asked_anew(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    session(b, 41);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
}

/* A device that checks a password slowly, or cannot open the request. */
static void silence_is_doubted(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int other_key = 0; other_key < 2; other_key++) {
        reach_called(b);
        assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                         BK_REQUESTER_DELIVERY_MS * BK_MS);
        fake_pass(&b->now, 1500 * BK_MS);
        deliver(b);
        assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                         BK_REQUESTER_DOUBT_MS * BK_MS);
        tick(b);
        asked_for_the_key(b);
        if (other_key != 0) {
            bk_box_pair_make(&b->rng, &b->box);
            sign_box_key(b);
        }
        answer_lookup(b);
        if (other_key == 0) { /* it will say something yet */
            assert_int_equal(b->out.n, 0);
            assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                             (BK_REQUESTER_SESSION_MS - BK_REQUESTER_DOUBT_MS) * BK_MS);
            result(b, BK_CALL_ACCEPTED, 0);
        } else {
            asked_anew(b);
            deliver(b);
            result(b, BK_CALL_ACCEPTED, 0);
        }
        session(b, 41);
        assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
    }
}

static void a_server_that_does_not_answer_that_is_asked_as_at_first(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    tick(b);
    asked_for_the_key(b);
    tick(b);
    asked_anew(b);
}

static void twice_takes_no_longer_than_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    uint64_t accepted = b->now.mono;
    tick(b);
    asked_anew(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_int_equal(bk_requester_deadline(b->r), accepted + BK_REQUESTER_ANEW_MS * BK_MS);
    tick(b);
    assert_failed(b, BK_FAIL_NO_ANSWER);
}

static void a_password_serves_twice(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_known(b);
    start(b);
    candidates(b, 1);
    server_opens(b);
    password(b);
    take_request(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    tick(b);
    take_questions(b);
    answer_info(b, NULL);
    answer_lookup(b);
    assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    take_request(b);
}

static void who_comes_while_the_server_is_asked_is_taken(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    tick(b);
    assert_true(asks(b, BK_METHOD_LOOKUP));
    session(b, 41);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
    assert_non_null(find(b, BK_REQUESTER_CLOSE_SERVER));
    assert_true(phase(b, BK_PHASE_UP));
}

/* Nobody else was told to come, who could. */
static void one_that_is_lost_is_not_waited_for(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    session(b, 41);
    session_ends(b, 41, true);
    assert_true(must_find(b, BK_REQUESTER_ENDED)->lost);
}

static void a_device_without_a_way_to_us_is_told_of_more(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    result(b, BK_CALL_NO_ANSWER, 0);
    asked_anew(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    result(b, BK_CALL_NO_ANSWER, 0);
    assert_failed(b, BK_FAIL_NO_ANSWER);
}

static void a_stale_request_is_made_again_without_the_server(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_STALE, 0);
    assert_false(asks(b, BK_METHOD_LOOKUP));
    take_any_request(b);
    assert_true(b->request.has_tag);
}

static void a_server_that_left_is_asked_on_another_connection(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    tick(b);
    assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
    assert_null(find(b, BK_REQUESTER_FAILED));
    server_opens(b);
    asked_anew(b);
}

static void the_next_server_is_asked(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_known_with_key(b);
    b->config.n_servers = 2;
    start(b);
    candidates(b, 1);
    server_opens(b);
    take_any_request(b);
    answer_error(b, BK_METHOD_CONNECT, BK_CODE_OFFLINE);
    assert_int_equal(must_find(b, BK_REQUESTER_CONNECT_SERVER)->server, 1);
    server_opens(b);
    asked_anew(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_device_is_asked_for_once),
        cmocka_unit_test(an_accepted_call_that_nobody_comes_for_is_made_anew),
        cmocka_unit_test(silence_is_doubted),
        cmocka_unit_test(a_server_that_does_not_answer_that_is_asked_as_at_first),
        cmocka_unit_test(twice_takes_no_longer_than_once),
        cmocka_unit_test(a_password_serves_twice),
        cmocka_unit_test(who_comes_while_the_server_is_asked_is_taken),
        cmocka_unit_test(one_that_is_lost_is_not_waited_for),
        cmocka_unit_test(a_device_without_a_way_to_us_is_told_of_more),
        cmocka_unit_test(a_stale_request_is_made_again_without_the_server),
        cmocka_unit_test(a_server_that_left_is_asked_on_another_connection),
        cmocka_unit_test(the_next_server_is_asked),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bk_requester_free(bench.r);
    return failed;
}
