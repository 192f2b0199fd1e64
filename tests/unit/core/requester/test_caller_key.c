/* A caller with a key of his own: what is signed, for whom, and the one change to the password. */
#include "core/requester/bench.h"

static void begin_with_key(struct bench *b)
{
    begin(b);
    b->config.have_key = true;
    memset(b->config.key_seed, 0x5E, sizeof b->config.key_seed);
}

/* One with a signature that holds for this device's key and for no other. */
static void take_signed_request(struct bench *b)
{
    uint8_t key[BK_KEY_BYTES], pin[BK_PIN_BYTES];
    take_any_request(b);
    assert_true(b->request.has_signature);
    assert_int_equal(b->request.password.n, 0);
    bk_caller_key_of(b->config.key_seed, key);
    assert_memory_equal(b->request.caller_key, key, sizeof key);
    bk_pin_of_key(b->device.key, pin);
    assert_int_equal(bk_caller_check(key, pin, b->request.signed_text, b->request.signature),
                     BK_OK);
    pin[31] ^= 1;
    assert_int_equal(bk_caller_check(key, pin, b->request.signed_text, b->request.signature),
                     BK_E_AUTH);
}

static void reach_signed(struct bench *b)
{
    begin_with_key(b);
    start(b);
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    take_signed_request(b);
    deliver(b);
}

static void a_call_with_a_key_asks_for_no_password(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_signed(b);
    password(b); /* nobody asked */
    assert_int_equal(b->out.n, 0);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_true(phase(b, BK_PHASE_ACCEPTED));
    session(b, 41);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
}

static void nothing_is_signed_before_a_first_contact_is_confirmed(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int yes = 0; yes < 2; yes++) {
        begin_with_key(b);
        b->config.have_pin = false;
        start(b);
        candidates(b, 1);
        open_server(b);
        answer_lookup(b);
        assert_non_null(find(b, BK_REQUESTER_CONFIRM_PIN));
        assert_null(find(b, BK_REQUESTER_SEND_SERVER));
        input(b, (struct bk_requester_event){.type = yes ? BK_REQUESTER_PIN_ACCEPTED
                                                         : BK_REQUESTER_PIN_REFUSED});
        if (yes) {
            take_signed_request(b);
        } else {
            assert_failed(b, BK_FAIL_PIN_REFUSED);
        }
    }
}

static void stale_is_signed_anew(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_signed(b);
    result(b, BK_CALL_STALE, 0);
    take_signed_request(b);
    assert_int_equal(b->request.unix_s, 4711);
    deliver(b);
    result(b, BK_CALL_STALE, 0);
    assert_failed(b, BK_FAIL_STALE);
}

static void a_key_that_is_not_taken_gives_way_to_the_password_once(void **state)
{
    (void)state;
    static const enum bk_call_status refusals[] = {BK_CALL_REFUSED, BK_CALL_BACK_OFF};
    struct bench *b = &bench;
    for (size_t i = 0; i < 2; i++) {
        reach_signed(b);
        result(b, refusals[i], 0);
        assert_int_equal(b->out.n, 1);
        assert_true(must_find(b, BK_REQUESTER_NEED_PASSWORD)->key_refused);
        assert_true(bk_requester_deadline(b->r) == BK_TIME_NEVER);
        session(b, 3); /* there is no call that it could belong to */
        assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 3);
        result(b, BK_CALL_ACCEPTED, 0);
        assert_int_equal(b->out.n, 0);
        password(b);
        take_request(b);
        deliver(b);
        result(b, refusals[i], 0);
        assert_failed(b, i == 0 ? BK_FAIL_PASSWORD : BK_FAIL_BACK_OFF);
    }
}

/* Each proof may be stale once: four requests at the very most. */
static void each_proof_has_its_own_second_try(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_signed(b);
    result(b, BK_CALL_STALE, 0);
    take_signed_request(b);
    deliver(b);
    result(b, BK_CALL_REFUSED, 0);
    fake_pass(&b->now, 1000 * BK_SECOND); /* people take their time */
    password(b);
    take_request(b);
    assert_int_equal(b->request.unix_s, 4711 + 1000); /* the device's clock has gone on */
    deliver(b);
    result(b, BK_CALL_STALE, 0);
    take_request(b);
    assert_int_equal(b->request.unix_s, 4711);
    deliver(b);
    result(b, BK_CALL_STALE, 0);
    assert_failed(b, BK_FAIL_STALE);
}

static void a_refusal_before_the_servers_answer_counts(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_with_key(b);
    start(b);
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    take_signed_request(b);
    result(b, BK_CALL_REFUSED, 0);
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    deliver(b); /* of the request that is over */
    assert_int_equal(b->out.n, 0);
    password(b);
    take_request(b);
    tick(b);
    assert_failed(b, BK_FAIL_OFFLINE);
}

static void the_server_may_leave_while_the_password_is_asked(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_signed(b);
    result(b, BK_CALL_REFUSED, 0);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_int_equal(b->out.n, 0);
    password(b);
    assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
    take_info(b);
    answer_info(b, NULL);
    take_request(b);
}

static void without_a_password_the_failure_says_what_was_tried(void **state)
{
    (void)state;
    struct bench *b = &bench;
    const struct bk_requester_event none = {.type = BK_REQUESTER_NO_PASSWORD};
    reach_signed(b);
    input(b, none); /* nobody asked */
    assert_int_equal(b->out.n, 0);
    result(b, BK_CALL_REFUSED, 0);
    input(b, none);
    assert_failed(b, BK_FAIL_KEY);

    reach_signed(b);
    result(b, BK_CALL_BACK_OFF, 0);
    input(b, none);
    assert_failed(b, BK_FAIL_BACK_OFF);

    begin(b); /* no key either */
    start(b);
    open_server(b);
    answer_lookup(b);
    assert_false(must_find(b, BK_REQUESTER_NEED_PASSWORD)->key_refused);
    input(b, none);
    assert_failed(b, BK_FAIL_NO_PASSWORD);
}

/* A device that says yes and then no has had its say. */
static void a_refusal_after_acceptance_ends_the_call(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_signed(b);
    result(b, BK_CALL_ACCEPTED, 0);
    result(b, BK_CALL_REFUSED, 0);
    assert_failed(b, BK_FAIL_PASSWORD);
}

static void other_answers_to_a_key_end_the_call(void **state)
{
    (void)state;
    static const struct {
        enum bk_call_status status;
        enum bk_requester_failure failure;
    } rows[] = {{BK_CALL_NO_SERVICE, BK_FAIL_NO_SERVICE},
                {BK_CALL_NO_ANSWER, BK_FAIL_NO_ANSWER},
                {BK_CALL_BUSY, BK_FAIL_BUSY}};
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reach_signed(b);
        result(b, rows[i].status, 0);
        assert_failed(b, rows[i].failure);
    }
}

static uint8_t memory[65536];

static void *get_static(void *ctx, size_t n)
{
    (void)ctx;
    assert_true(n <= sizeof memory);
    memset(memory, 0, sizeof memory);
    return memory;
}

static void put_static(void *ctx, void *p)
{
    (void)ctx;
    (void)p;
}

static bool memory_holds(const void *what, size_t n)
{
    for (size_t i = 0; i <= sizeof memory - n; i++) {
        if (memcmp(memory + i, what, n) == 0) {
            return true;
        }
    }
    return false;
}

static void the_key_is_kept_no_longer_than_needed(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int how = 0; how < 5; how++) {
        begin_with_key(b);
        start_with(b, (struct bk_alloc){NULL, get_static, put_static});
        candidates(b, 1);
        open_server(b);
        answer_lookup(b);
        take_signed_request(b);
        deliver(b);
        assert_true(memory_holds(b->config.key_seed, BK_SIGN_SEED_BYTES));
        if (how == 0) {
            result(b, BK_CALL_ACCEPTED, 0);
        } else if (how == 1) {
            result(b, BK_CALL_REFUSED, 0);
        } else if (how == 2) {
            result(b, BK_CALL_BUSY, 0);
        } else if (how == 3) {
            session(b, 1);
        } else {
            bk_requester_free(b->r);
            b->r = NULL;
        }
        assert_false(memory_holds(b->config.key_seed, BK_SIGN_SEED_BYTES));
    }
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_call_with_a_key_asks_for_no_password, tear_down),
        cmocka_unit_test_teardown(nothing_is_signed_before_a_first_contact_is_confirmed, tear_down),
        cmocka_unit_test_teardown(stale_is_signed_anew, tear_down),
        cmocka_unit_test_teardown(a_key_that_is_not_taken_gives_way_to_the_password_once,
                                  tear_down),
        cmocka_unit_test_teardown(each_proof_has_its_own_second_try, tear_down),
        cmocka_unit_test_teardown(a_refusal_before_the_servers_answer_counts, tear_down),
        cmocka_unit_test_teardown(the_server_may_leave_while_the_password_is_asked, tear_down),
        cmocka_unit_test_teardown(without_a_password_the_failure_says_what_was_tried, tear_down),
        cmocka_unit_test_teardown(a_refusal_after_acceptance_ends_the_call, tear_down),
        cmocka_unit_test_teardown(other_answers_to_a_key_end_the_call, tear_down),
        cmocka_unit_test_teardown(the_key_is_kept_no_longer_than_needed, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
