/* A call on the requester's side: what it believes, and in which order it asks. */
#include "core/requester/bench.h"

static void a_good_call_goes_step_by_step(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    struct bk_lookup lookup = open_server(b);
    assert_int_equal(lookup.equipment_id, DEVICE);
    answer_lookup(b);
    assert_true(phase(b, BK_PHASE_FOUND));
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    assert_null(find(b, BK_REQUESTER_CONFIRM_PIN));
    password(b);
    assert_int_equal(b->out.n, 0); /* candidates are still missing */
    candidates(b, BK_CANDIDATES_MAX + 2);
    const struct bk_requester_action *expect = must_find(b, BK_REQUESTER_EXPECT);
    assert_ptr_equal(expect, &b->out.actions[0]); /* before 217: the device may be quick */
    assert_memory_equal(expect->pin, b->config.pin, BK_PIN_BYTES);
    take_request(b);
    assert_int_equal(b->request.n_candidates, BK_CANDIDATES_MAX);
    assert_int_equal(b->request.unix_s, b->now.unix_s);
    assert_true(b->request.has_tag);
    assert_int_equal(b->request.tag.counter, 6);
    deliver(b);
    assert_true(phase(b, BK_PHASE_DELIVERED));
    result(b, BK_CALL_ACCEPTED, 0);
    assert_true(phase(b, BK_PHASE_ACCEPTED));
    session(b, 41);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
    assert_non_null(find(b, BK_REQUESTER_CLOSE_SERVER));
    assert_true(phase(b, BK_PHASE_UP));
    assert_true(bk_requester_deadline(b->r) == BK_TIME_NEVER);
    session(b, 42);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 42);
}

static void a_device_may_be_asked_for_by_name(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->config.equipment_id = 0;
    strncpy(b->config.device_name, "kiosk", sizeof b->config.device_name - 1);
    start(b);
    struct bk_lookup lookup = open_server(b);
    assert_true(bk_slice_equal(lookup.name, bk_slice_text("kiosk")));
    answer_lookup(b);
    candidates(b, 1);
    password(b);
    take_request(b);
}

static void what_does_not_verify_is_refused(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int wrong = 0; wrong < 9; wrong++) {
        begin(b);
        enum bk_requester_failure failure = BK_FAIL_CERTIFICATE;
        if (wrong == 0) {
            b->certificate = BK_E_AUTH;
        } else if (wrong == 1) {
            b->device.role = BK_ROLE_USER;
        } else if (wrong == 2) {
            b->device.equipment_id = DEVICE + 1;
        } else if (wrong == 3) { /* a true certificate, but of another device */
            b->device.equipment_id = b->found.equipment_id = DEVICE + 1;
        } else if (wrong == 4) {
            b->config.pin[0] ^= 1;
            failure = BK_FAIL_PIN_CHANGED;
        } else if (wrong == 5) { /* the server's own box key */
            b->device_seed[0] ^= 1;
            sign_box_key(b);
        } else if (wrong == 6) {
            b->box_until_s = b->now.unix_s - BK_REQUESTER_SKEW_S;
            sign_box_key(b);
        } else if (wrong == 7) { /* asked for by name, the ID is the server's word alone */
            b->config.equipment_id = 0;
            strncpy(b->config.device_name, "kiosk", sizeof b->config.device_name - 1);
            b->device.equipment_id = DEVICE + 1;
        } else {
            b->signed_key[1] ^= 1;
        }
        start(b);
        candidates(b, 1);
        open_server(b);
        answer_lookup(b);
        assert_failed(b, failure);
        assert_non_null(find(b, BK_REQUESTER_CLOSE_SERVER));
        assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));
        assert_true(must_find(b, BK_REQUESTER_FAILED)->expired == (wrong == 6));
        if (failure == BK_FAIL_PIN_CHANGED) {
            uint8_t pin[BK_PIN_BYTES];
            bk_pin_of_key(b->device.key, pin);
            assert_memory_equal(must_find(b, BK_REQUESTER_FAILED)->pin, pin, sizeof pin);
        }
        password(b);
        assert_int_equal(b->out.n, 0);
    }
}

/* Clocks differ: a day is let pass, either way, and without a clock everything. */
static void a_box_key_is_of_its_time(void **state)
{
    (void)state;
    static const struct {
        int64_t made_s, until_s; /* from now */
        bool good;
    } rows[] = {
        {0, 1, true},
        {-1000, 1 - BK_REQUESTER_SKEW_S, true},
        {-1000, -BK_REQUESTER_SKEW_S, false},
        {BK_REQUESTER_SKEW_S, BK_REQUESTER_SKEW_S + 1, true},
        {BK_REQUESTER_SKEW_S + 1, BK_REQUESTER_SKEW_S + 2, false},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        bool clock = i < sizeof rows / sizeof rows[0];
        size_t row = i % (sizeof rows / sizeof rows[0]);
        begin(b);
        b->box_made_s = b->now.unix_s + (uint64_t)rows[row].made_s;
        b->box_until_s = b->now.unix_s + (uint64_t)rows[row].until_s;
        sign_box_key(b);
        b->now.unix_s = clock ? b->now.unix_s : 0;
        start(b);
        open_server(b);
        answer_lookup(b);
        if (rows[row].good || !clock) {
            assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
        } else {
            assert_failed(b, BK_FAIL_CERTIFICATE);
            assert_true(must_find(b, BK_REQUESTER_FAILED)->expired);
        }
    }
    for (int end = 0; end < 2; end++) { /* no sum to overflow */
        begin(b);
        b->box_made_s = end == 0 ? UINT64_MAX : 0;
        b->box_until_s = end == 0 ? UINT64_MAX : 0;
        sign_box_key(b);
        start(b);
        open_server(b);
        answer_lookup(b);
        assert_failed(b, BK_FAIL_CERTIFICATE);
    }
}

static void a_first_contact_is_confirmed_before_a_password_is_asked(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int yes = 0; yes < 2; yes++) {
        begin(b);
        b->config.have_pin = false;
        start(b);
        candidates(b, 1);
        open_server(b);
        answer_lookup(b);
        assert_memory_equal(must_find(b, BK_REQUESTER_CONFIRM_PIN)->pin, b->config.pin,
                            BK_PIN_BYTES);
        assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));
        password(b); /* not asked for: not taken */
        assert_int_equal(b->out.n, 0);
        fake_pass(&b->now, 3600 * BK_SECOND); /* people take their time */
        bk_requester_timer(b->r, &b->now, &b->out);
        assert_int_equal(b->out.n, 0);
        input(b, (struct bk_requester_event){.type = yes ? BK_REQUESTER_PIN_ACCEPTED
                                                         : BK_REQUESTER_PIN_REFUSED});
        if (yes) {
            assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
            password(b);
            take_request(b);
        } else {
            assert_failed(b, BK_FAIL_PIN_REFUSED);
        }
    }
}

static void a_first_contact_is_confirmed_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->config.have_pin = false;
    start(b);
    open_server(b);
    answer_lookup(b);
    assert_non_null(find(b, BK_REQUESTER_CONFIRM_PIN));
    candidates(b, 1);
    assert_int_equal(b->out.n, 0); /* neither asked again, nor asked for the password before */
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_ACCEPTED});
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_REFUSED});
    assert_int_equal(b->out.n, 0); /* said is said */
    password(b);
    take_request(b);
}

static void a_server_that_left_meanwhile_is_connected_again(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_int_equal(b->out.n, 0);
    password(b);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_REQUESTER_CONNECT_SERVER);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
    assert_int_equal(b->out.n, 1);
    take_info(b); /* it may see us otherwise now */
    answer_info(b, NULL);
    take_request(b);

    begin(b);
    start(b);
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    password(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_failed(b, BK_FAIL_SERVER);
}

static void a_result_not_from_the_device_is_dropped(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_requested(b);
    deliver(b);
    for (int twist = 1; twist <= 3; twist++) {
        result(b, BK_CALL_REFUSED, twist);
        assert_int_equal(b->out.n, 0);
    }
    result(b, BK_CALL_REFUSED, 0);
    assert_failed(b, BK_FAIL_PASSWORD);
}

static void stale_is_sealed_once_more_with_the_devices_tag(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int early = 0; early < 2; early++) {
        begin(b);
        reach_requested(b);
        if (!early) { /* else RESULT overtakes the server's answer */
            deliver(b);
        }
        struct bk_call_request first = b->request;
        result(b, BK_CALL_STALE, 0);
        take_request(b); /* the same password, another call ID */
        assert_memory_not_equal(b->request.call_id, first.call_id, BK_CALL_ID_BYTES);
        assert_true(b->request.has_tag);
        assert_int_equal(b->request.tag.random, 77);
        assert_int_equal(b->request.tag.counter, 78);
        assert_int_equal(b->request.unix_s, 4711); /* the device's clock, not ours */
        deliver(b);
        if (early) {
            result(b, BK_CALL_STALE, 0);
            assert_failed(b, BK_FAIL_STALE);
        } else {
            result(b, BK_CALL_ACCEPTED, 0);
            assert_true(phase(b, BK_PHASE_ACCEPTED));
            result(b, BK_CALL_STALE, 0); /* said again by the server */
            assert_int_equal(b->out.n, 0);
        }
    }
}

/* A server may hand the first box on once more, say its answer again, or hold it back until now. */
static void what_belongs_to_an_earlier_call_id_is_void(void **state)
{
    (void)state;
    static const enum bk_call_status all[] = {
        BK_CALL_ACCEPTED,   BK_CALL_STALE,     BK_CALL_REFUSED, BK_CALL_BACK_OFF,
        BK_CALL_NO_SERVICE, BK_CALL_NO_ANSWER, BK_CALL_BUSY};
    struct bench *b = &bench;
    begin(b);
    reach_requested(b);
    uint8_t first[BK_CALL_ID_BYTES], txid[BK_STUN_TXID_BYTES];
    memcpy(first, b->call_id, sizeof first);
    memcpy(txid, b->txid, sizeof txid);
    result(b, BK_CALL_STALE, 0);
    take_request(b);
    uint8_t second[BK_CALL_ID_BYTES], newest[BK_STUN_TXID_BYTES];
    memcpy(second, b->call_id, sizeof second);
    memcpy(newest, b->txid, sizeof newest);
    memcpy(b->call_id, first, sizeof first);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        result(b, all[i], 0);
        assert_int_equal(b->out.n, 0);
    }
    memcpy(b->txid, txid, sizeof txid);
    deliver(b);
    assert_int_equal(b->out.n, 0);
    memcpy(b->txid, newest, sizeof newest);
    deliver(b);
    assert_true(phase(b, BK_PHASE_DELIVERED));
    memcpy(b->call_id, second, sizeof second);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_true(phase(b, BK_PHASE_ACCEPTED));
}

static void without_a_clock_the_tag_of_lookup_goes_along(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->now.unix_s = 0;
    reach_requested(b);
    assert_int_equal(b->request.unix_s, 0);
    assert_true(b->request.has_tag);
    begin(b);
    b->found.registered = false;
    reach_requested(b);
    assert_false(b->request.has_tag);
}

static void answers_that_nobody_asked_for_change_nothing(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_START});
    assert_int_equal(b->out.n, 0);
    password(b); /* before anybody asked for it */
    assert_int_equal(b->out.n, 0);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_REFUSED});
    assert_int_equal(b->out.n, 0);
    session(b, 7); /* before 217 is out nobody can have been invited */
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 7);
    open_server(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
    assert_int_equal(b->out.n, 0); /* no second LOOKUP */
    candidates(b, 1);
    candidates(b, 0); /* a late second answer takes none away */
    assert_int_equal(b->out.n, 0);
    answer_lookup(b);
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_REFUSED});
    assert_int_equal(b->out.n, 0); /* the pin was known */
    password(b);
    take_request(b);
    assert_int_equal(b->request.n_candidates, 1);
    password(b);
    assert_int_equal(b->out.n, 0);
}

/* Once more, with the same word: the server may repeat what the device said. */
static void accepted_is_heard_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_requested(b);
    result(b, BK_CALL_ACCEPTED, 0); /* the device may be quicker than the server */
    assert_true(phase(b, BK_PHASE_ACCEPTED));
    bk_time deadline = bk_requester_deadline(b->r);
    fake_pass(&b->now, BK_SECOND);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_int_equal(b->out.n, 0);
    deliver(b);
    assert_true(bk_requester_deadline(b->r) == deadline);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_good_call_goes_step_by_step, tear_down),
        cmocka_unit_test_teardown(a_device_may_be_asked_for_by_name, tear_down),
        cmocka_unit_test_teardown(what_does_not_verify_is_refused, tear_down),
        cmocka_unit_test_teardown(a_box_key_is_of_its_time, tear_down),
        cmocka_unit_test_teardown(a_first_contact_is_confirmed_before_a_password_is_asked,
                                  tear_down),
        cmocka_unit_test_teardown(a_first_contact_is_confirmed_once, tear_down),
        cmocka_unit_test_teardown(a_server_that_left_meanwhile_is_connected_again, tear_down),
        cmocka_unit_test_teardown(a_result_not_from_the_device_is_dropped, tear_down),
        cmocka_unit_test_teardown(stale_is_sealed_once_more_with_the_devices_tag, tear_down),
        cmocka_unit_test_teardown(what_belongs_to_an_earlier_call_id_is_void, tear_down),
        cmocka_unit_test_teardown(without_a_clock_the_tag_of_lookup_goes_along, tear_down),
        cmocka_unit_test_teardown(answers_that_nobody_asked_for_change_nothing, tear_down),
        cmocka_unit_test_teardown(accepted_is_heard_once, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
