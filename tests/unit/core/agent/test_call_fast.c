/* A call in the fast form on the device's side: the request is there from the start, nobody is connected to but the caller,
 * and what he is to hear goes by the idle part, or over TLS where that does not get through. */
#include "core/agent/bench.h"

static const struct bk_addr seen = {{[10] = 0xFF, [11] = 0xFF, 20, 0, 0, 3}, 2800};

/* The request as NOTIFY brings it. */
static void start_fast(struct bench *b)
{
    struct bk_alloc alloc = bk_alloc_libc();
    assert_int_equal(bk_seal_request(b->config.box[b->sealed_to].public_key, write_request(b),
                                     b->box, sizeof b->box, &b->connect.box),
                     BK_OK);
    assert_int_equal(bk_call_new(&alloc, &b->config, &b->c), BK_OK);
    input(b, (struct bk_call_event){.type = BK_CALL_START, .request = &b->connect});
}

static struct bk_call_result open_box(const struct bench *b, struct bk_slice box)
{
    struct bk_call_result inside;
    uint8_t buf[BK_CALL_RESULT_MAX_BYTES];
    struct bk_slice plain;
    assert_int_equal(bk_open_result(b->reply.secret_key, b->config.box[b->sealed_to].public_key,
                                    box, buf, sizeof buf, &plain),
                     BK_OK);
    assert_int_equal(bk_call_result_read(plain, &inside), BK_OK);
    assert_memory_equal(inside.call_id, b->request.call_id, BK_CALL_ID_BYTES);
    return inside;
}

/* The one that was given to the idle part now. */
static struct bk_call_result said(const struct bench *b)
{
    assert_int_equal(count(b, BK_CALL_SEND_RESULT), 1);
    return open_box(b, must_find(b, BK_CALL_SEND_RESULT)->bytes);
}

static void told(struct bench *b, size_t index, bool good)
{
    input(b, (struct bk_call_event){.type = BK_CALL_RESULT_TOLD, .index = index, .right = good});
}

static void accept_fast(struct bench *b)
{
    start_fast(b);
    admission(b, BK_ADMITTED);
    caller(b, true);
}

static void add_punched(struct bench *b)
{
    b->request.candidates[b->request.n_candidates++] =
        (struct bk_candidate){BK_CANDIDATE_REFLEXIVE, bk_addr_v4(4, 17, 168, 2, 5001)};
}

static void no_server_is_connected_to(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start_fast(b);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_ASK_ADMISSION);
    assert_true(bk_slice_equal(bk_call_user(b->c), bk_slice_text("alice")));
    admission(b, BK_ADMITTED);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_CHECK_CALLER);
    caller(b, true);
    assert_int_equal(b->out.n, 3);
    must_find(b, BK_CALL_LISTEN);
    must_find(b, BK_CALL_ASK_DIALS);
    struct bk_call_result first = said(b);
    assert_int_equal(first.status, BK_CALL_ACCEPTED);
    assert_int_equal(first.tag.random, 99);
    dials(b, ALL);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_DIAL);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    assert_int_equal(b->out.n, 0);
    told(b, 0, true);
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_ENDED, 0);
    assert_ended(b, BK_CALL_END_SERVED);
    assert_int_equal(b->out.n, 1);
}

static void what_does_not_open_is_dropped_without_a_word(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->connect.call_id[3] ^= 1; /* not the one inside */
    start_fast(b);
    assert_int_equal(b->out.n, 1);
    assert_ended(b, BK_CALL_END_BAD_REQUEST);
    begin(b);
    b->request.equipment_id++;
    start_fast(b);
    assert_int_equal(b->out.n, 1);
    assert_ended(b, BK_CALL_END_BAD_REQUEST);
}

static void a_refusal_is_waited_for(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start_fast(b);
    admission(b, BK_ADMITTED);
    caller(b, false);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(said(b).status, BK_CALL_REFUSED);
    size_t index = b->out.actions[0].index;
    assert_null(bk_call_opened(b->c));
    told(b, index + 1, true); /* none of ours */
    assert_int_equal(b->out.n, 0);
    told(b, index, true);
    assert_int_equal(b->out.n, 1);
    assert_ended(b, BK_CALL_END_REFUSED);
}

static void assert_by_tls(const struct bench *b, enum bk_call_status status)
{
    struct bk_stun m;
    struct bk_result outside;
    assert_int_equal(bk_stun_read(must_find(b, BK_CALL_SEND_SERVER)->bytes, &m), BK_OK);
    assert_int_equal(bk_result_read(&m, &outside), BK_OK);
    assert_memory_equal(outside.call_id, b->request.call_id, BK_CALL_ID_BYTES);
    assert_int_equal(open_box(b, outside.box).status, status);
}

static void unanswered_it_goes_over_tls(void **state)
{
    (void)state;
    struct bench *b = &bench;
    uint8_t box[BK_CALL_RESULT_MAX_BYTES + BK_REPLY_OVERHEAD_BYTES];
    begin(b);
    start_fast(b);
    admission(b, BK_ADMISSION_STALE);
    assert_int_equal(said(b).status, BK_CALL_STALE);
    struct bk_slice first = b->out.actions[0].bytes;
    memcpy(box, first.p, first.n);
    first.p = box;
    told(b, b->out.actions[0].index, false);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_CONNECT_SERVER);
    assert_true(b->out.actions[0].result);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_OPEN, .ms = 40});
    assert_by_tls(b, BK_CALL_STALE);
    struct bk_stun m;
    struct bk_result outside;
    assert_int_equal(bk_stun_read(b->out.actions[0].bytes, &m), BK_OK);
    assert_int_equal(bk_result_read(&m, &outside), BK_OK);
    assert_true(bk_slice_equal(outside.box, first)); /* the very same: the server knows a repeat */
    assert_int_equal(b->out.actions[1].type, BK_CALL_CLOSE_SERVER);
    assert_false(b->out.actions[1].abort); /* what was said leaves before */
    assert_int_equal(b->out.n, 3);
    assert_ended(b, BK_CALL_END_STALE);
}

static void where_no_way_leads_there_the_call_ends(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start_fast(b);
    admission(b, BK_ADMISSION_BUSY);
    told(b, b->out.actions[0].index, false);
    must_find(b, BK_CALL_CONNECT_SERVER);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_CLOSED});
    assert_int_equal(b->out.n, 1);
    assert_ended(b, BK_CALL_END_BUSY);

    begin(b); /* nor may an idle part that says nothing hold it for ever */
    start_fast(b);
    admission(b, BK_ADMISSION_BUSY);
    bk_time began = b->now.mono;
    tick(b);
    assert_true(b->now.mono - began == BK_CALL_TELL_MS * BK_MS);
    assert_ended(b, BK_CALL_END_BUSY);
}

/* While it dials the connection stays, and later results leave by it. */
static void over_tls_later_results_leave_at_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    static const struct bk_candidate mapped = {BK_CANDIDATE_MAPPED,
                                               {{[10] = 0xFF, [11] = 0xFF, 20, 0, 0, 2}, 2700}};
    begin(b);
    accept_fast(b);
    size_t index = must_find(b, BK_CALL_SEND_RESULT)->index;
    dials(b, ALL);
    tick(b);
    must_find(b, BK_CALL_MAP);
    told(b, index, false);
    must_find(b, BK_CALL_CONNECT_SERVER);
    input(b, (struct bk_call_event){.type = BK_CALL_OWN, .candidate = mapped});
    assert_int_equal(b->out.n, 0); /* waits for it too */
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_OPEN, .ms = 40});
    assert_int_equal(b->out.n, 2);
    assert_by_tls(b, BK_CALL_ACCEPTED);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_MESSAGE, .bytes = bk_slice_text("?")});
    assert_int_equal(b->out.n, 0); /* it has nothing to bring */
    while (find(b, BK_CALL_END) == NULL) {
        tick(b);
    }
    assert_by_tls(b, BK_CALL_NO_ANSWER);
    assert_null(find(b, BK_CALL_SEND_RESULT));
    assert_ended(b, BK_CALL_END_NO_ANSWER);
}

static void a_picked_session_needs_no_result(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    accept_fast(b);
    size_t index = must_find(b, BK_CALL_SEND_RESULT)->index;
    dials(b, ALL);
    told(b, index, false);
    must_find(b, BK_CALL_CONNECT_SERVER);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_CLOSE_SERVER);
    assert_true(b->out.actions[0].abort);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_OPEN, .ms = 40}); /* was under way */
    assert_int_equal(b->out.n, 0);
}

/* ---- meeting halfway ---- */

static void our_address_is_asked_for_only_where_it_may_be_needed(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b); /* a direct way that may lead there has a moment's time */
    add_punched(b);
    accept_fast(b);
    assert_null(find(b, BK_CALL_LEARN));
    dials(b, ALL);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_DIAL);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    tick(b); /* it stands, and is not picked yet */
    assert_null(find(b, BK_CALL_LEARN));
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    assert_true(bk_call_deadline(b->c) == BK_TIME_NEVER);
}

static void where_nothing_leads_there_soon_it_is_asked_for(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    add_punched(b);
    b->request.server_ms = 60;
    accept_fast(b);
    bk_time began = b->now.mono;
    dials(b, ALL);
    tick(b);
    assert_true(b->now.mono - began == BK_CALL_MEET_AFTER_MS * BK_MS);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_LEARN);
    assert_false(b->out.actions[0].move); /* of the port that the caller knows by then */
    input(b, (struct bk_call_event){.type = BK_CALL_OBSERVED, .addr = seen, .ms = 40});
    assert_int_equal(b->out.n, 2);
    struct bk_call_result second = said(b);
    assert_int_equal(second.status, BK_CALL_ACCEPTED);
    assert_int_equal(second.server_ms, 40);
    assert_int_equal(second.n_candidates, 1);
    assert_int_equal(second.candidates[0].kind, BK_CANDIDATE_REFLEXIVE);
    assert_true(bk_addr_equal(&second.candidates[0].addr, &seen));
    const struct bk_call_action *punch = must_find(b, BK_CALL_PUNCH);
    assert_int_equal(punch->first_ms, 50); /* from now on: half of both ways */
    input(b, (struct bk_call_event){.type = BK_CALL_OBSERVED, .addr = seen, .ms = 40});
    assert_int_equal(b->out.n, 0); /* once */
}

static void where_both_are_behind_routers_it_is_asked_for_at_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.n_candidates = 0;
    add_punched(b);
    start_fast(b);
    admission(b, BK_ADMITTED);
    assert_int_equal(b->out.n, 2);
    assert_int_equal(b->out.actions[0].type, BK_CALL_LEARN);
    assert_int_equal(b->out.actions[1].type, BK_CALL_CHECK_CALLER);
    input(b, (struct bk_call_event){.type = BK_CALL_OBSERVED, .addr = seen, .ms = 40});
    assert_int_equal(b->out.n, 0);
    caller(b, true);
    struct bk_call_result first = said(b);
    assert_int_equal(first.server_ms, 40);
    assert_int_equal(first.n_candidates, 1);
    dials(b, ALL);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_PUNCH);

    begin(b); /* and the answer may come after the password's */
    b->request.n_candidates = 0;
    add_punched(b);
    accept_fast(b);
    assert_int_equal(said(b).n_candidates, 0);
    dials(b, ALL);
    assert_int_equal(b->out.n, 0);
    input(b, (struct bk_call_event){.type = BK_CALL_OBSERVED}); /* in vain: we try alone */
    must_find(b, BK_CALL_PUNCH);
}

static void a_refused_caller_meets_nobody(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.n_candidates = 0;
    add_punched(b);
    start_fast(b);
    admission(b, BK_ADMITTED);
    caller(b, false);
    assert_int_equal(said(b).status, BK_CALL_REFUSED);
    input(b, (struct bk_call_event){.type = BK_CALL_OBSERVED, .addr = seen, .ms = 40});
    assert_int_equal(b->out.n, 0);
}

static void without_a_port_of_its_own_it_asks_nothing(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->config.no_port = true;
    b->request.n_candidates = 0;
    add_punched(b);
    start_fast(b);
    admission(b, BK_ADMITTED);
    assert_null(find(b, BK_CALL_LEARN));
    caller(b, true);
    assert_null(find(b, BK_CALL_ASK_DIALS));
    assert_int_equal(said(b).status, BK_CALL_ACCEPTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(no_server_is_connected_to, tear_down),
        cmocka_unit_test_teardown(what_does_not_open_is_dropped_without_a_word, tear_down),
        cmocka_unit_test_teardown(a_refusal_is_waited_for, tear_down),
        cmocka_unit_test_teardown(unanswered_it_goes_over_tls, tear_down),
        cmocka_unit_test_teardown(where_no_way_leads_there_the_call_ends, tear_down),
        cmocka_unit_test_teardown(over_tls_later_results_leave_at_once, tear_down),
        cmocka_unit_test_teardown(a_picked_session_needs_no_result, tear_down),
        cmocka_unit_test_teardown(our_address_is_asked_for_only_where_it_may_be_needed, tear_down),
        cmocka_unit_test_teardown(where_nothing_leads_there_soon_it_is_asked_for, tear_down),
        cmocka_unit_test_teardown(where_both_are_behind_routers_it_is_asked_for_at_once, tear_down),
        cmocka_unit_test_teardown(a_refused_caller_meets_nobody, tear_down),
        cmocka_unit_test_teardown(without_a_port_of_its_own_it_asks_nothing, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
