/* A call on the requester's side: every way in which it fails, and the name that each has. */
#include "core/requester/bench.h"

static void the_servers_errors_have_their_names(void **state)
{
    (void)state;
    static const struct {
        uint16_t code;
        enum bk_requester_failure failure;
    } rows[] = {
        {BK_CODE_NOT_FOUND, BK_FAIL_UNKNOWN_DEVICE}, {BK_CODE_REVOKED, BK_FAIL_REVOKED},
        {BK_CODE_FORBIDDEN, BK_FAIL_USER_REVOKED},   {BK_CODE_OFFLINE, BK_FAIL_OFFLINE},
        {BK_CODE_OVERLOADED, BK_FAIL_OVERLOADED},    {BK_CODE_BAD_REQUEST, BK_FAIL_SERVER_PROTOCOL},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(b);
        start(b);
        open_server(b);
        answer_error(b, BK_METHOD_LOOKUP, rows[i].code);
        assert_failed(b, rows[i].failure);
        begin(b);
        reach_requested(b);
        answer_error(b, BK_METHOD_CONNECT, rows[i].code);
        assert_failed(b, rows[i].failure);
    }
}

static void no_candidate_is_told_before_anybody_is_asked(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    candidates(b, 0);
    assert_int_equal(b->out.n, 0); /* an unknown device is the better news */
    open_server(b);
    answer_lookup(b);
    assert_failed(b, BK_FAIL_NO_CANDIDATE);
    assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));

    begin(b); /* gathering that never ends */
    start(b);
    open_server(b);
    answer_lookup(b);
    assert_int_equal(bk_requester_deadline(b->r),
                     b->now.mono + BK_REQUESTER_MAPPING_ALONE_MS * BK_MS);
    tick(b);
    assert_failed(b, BK_FAIL_NO_CANDIDATE);
}

static void each_status_has_its_failure(void **state)
{
    (void)state;
    static const struct {
        enum bk_call_status status;
        enum bk_requester_failure failure;
    } rows[] = {
        {BK_CALL_REFUSED, BK_FAIL_PASSWORD},
        {BK_CALL_BACK_OFF, BK_FAIL_BACK_OFF},
        {BK_CALL_NO_SERVICE, BK_FAIL_NO_SERVICE},
        {BK_CALL_NO_ANSWER, BK_FAIL_NO_ANSWER},
        {BK_CALL_BUSY, BK_FAIL_BUSY},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(b);
        reach_requested(b);
        deliver(b);
        result(b, rows[i].status, 0);
        assert_failed(b, rows[i].failure);
        session(b, 1);
        assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 1);
        assert_null(find(b, BK_REQUESTER_USE_SESSION));
    }
}

static void each_wait_has_its_end(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    candidates(b, 1);
    bk_time due = b->now.mono + BK_REQUESTER_SERVER_MS * BK_MS;
    assert_int_equal(bk_requester_deadline(b->r), due);
    open_server(b);
    assert_int_equal(bk_requester_deadline(b->r), due);
    tick(b);
    assert_failed(b, BK_FAIL_SERVER);

    begin(b);
    reach_requested(b);
    assert_int_equal(bk_requester_deadline(b->r), b->now.mono + BK_REQUESTER_DELIVERY_MS * BK_MS);
    tick(b);
    assert_failed(b, BK_FAIL_OFFLINE);

    begin(b);
    reach_requested(b);
    deliver(b);
    assert_int_equal(bk_requester_deadline(b->r), b->now.mono + BK_REQUESTER_SESSION_MS * BK_MS);
    fake_pass(&b->now, BK_SECOND);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_int_equal(bk_requester_deadline(b->r), b->now.mono + BK_REQUESTER_SESSION_MS * BK_MS);
    tick(b);
    assert_failed(b, BK_FAIL_NO_ANSWER);
}

static void a_lost_server_matters_until_the_device_has_the_request(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_failed(b, BK_FAIL_SERVER);

    begin(b);
    reach_requested(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_failed(b, BK_FAIL_SERVER);

    begin(b);
    reach_requested(b);
    deliver(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_int_equal(b->out.n, 0);
    session(b, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
    assert_null(find(b, BK_REQUESTER_CLOSE_SERVER));

    begin(b);
    reach_requested(b);
    deliver(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    tick(b);
    assert_failed(b, BK_FAIL_SERVER);
}

static void nonsense_from_the_server_ends_the_call_and_strays_do_not(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    open_server(b);
    b->txid[0] ^= 1;
    answer_lookup(b); /* an answer to a question nobody asked */
    assert_int_equal(b->out.n, 0);
    message(b, bk_slice_text("GET / HTTP/1.1"));
    assert_failed(b, BK_FAIL_SERVER_PROTOCOL);
}

static void an_answer_that_cannot_be_read_ends_the_call(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_slice bytes;
    begin(b);
    start(b);
    open_server(b);
    assert_int_equal(bk_success_write(b->buf, sizeof b->buf, BK_METHOD_LOOKUP, b->txid, &bytes),
                     BK_OK);
    message(b, bytes); /* found, and nothing about what */
    assert_failed(b, BK_FAIL_SERVER_PROTOCOL);

    begin(b);
    start(b);
    open_server(b);
    struct bk_stun_writer s =
        bk_stun_begin(b->buf, sizeof b->buf, BK_METHOD_LOOKUP, BK_STUN_ERROR, b->txid);
    assert_int_equal(bk_stun_end(&s, &bytes), BK_OK);
    message(b, bytes); /* refused, and no word why */
    assert_failed(b, BK_FAIL_SERVER_PROTOCOL);

    begin(b);
    start(b);
    open_server(b);
    s = bk_stun_begin(b->buf, sizeof b->buf, BK_METHOD_LOOKUP, BK_STUN_REQUEST, b->txid);
    assert_int_equal(bk_stun_end(&s, &bytes), BK_OK);
    message(b, bytes); /* neither: as good as no answer */
    assert_int_equal(b->out.n, 0);
    answer_lookup(b);
    assert_true(phase(b, BK_PHASE_FOUND));
}

static void a_password_longer_than_any_is_wrong(void **state)
{
    (void)state;
    struct bench *b = &bench;
    static const uint8_t longest[BK_PASSWORD_MAX_BYTES + 1];
    begin(b);
    start(b);
    open_server(b);
    answer_lookup(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PASSWORD,
                                         .bytes = bk_slice(longest, sizeof longest)});
    assert_failed(b, BK_FAIL_PASSWORD);
}

static void what_no_request_can_hold_is_refused_before_it_is_sent(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->config.equipment_id = 0; /* a name that no device can have */
    strncpy(b->config.device_name, "no name", sizeof b->config.device_name - 1);
    start(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
    assert_failed(b, BK_FAIL_UNKNOWN_DEVICE);

    begin(b); /* a rightly signed box key that is no point of the curve */
    memset(b->box.public_key, 0, sizeof b->box.public_key);
    sign_box_key(b);
    start(b);
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    if (find(b, BK_REQUESTER_NEED_PASSWORD)) {
        password(b);
    }
    assert_null(find(b, BK_REQUESTER_SEND_SERVER));
    assert_failed(b, BK_FAIL_CERTIFICATE);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_servers_errors_have_their_names, tear_down),
        cmocka_unit_test_teardown(no_candidate_is_told_before_anybody_is_asked, tear_down),
        cmocka_unit_test_teardown(each_status_has_its_failure, tear_down),
        cmocka_unit_test_teardown(each_wait_has_its_end, tear_down),
        cmocka_unit_test_teardown(a_lost_server_matters_until_the_device_has_the_request,
                                  tear_down),
        cmocka_unit_test_teardown(nonsense_from_the_server_ends_the_call_and_strays_do_not,
                                  tear_down),
        cmocka_unit_test_teardown(an_answer_that_cannot_be_read_ends_the_call, tear_down),
        cmocka_unit_test_teardown(a_password_longer_than_any_is_wrong, tear_down),
        cmocka_unit_test_teardown(what_no_request_can_hold_is_refused_before_it_is_sent, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
