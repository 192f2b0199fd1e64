/* Who calls and what he may: signatures, the services of each, the limits on dialling, and both boxes. */
#include "core/agent/bench.h"

static void a_caller_with_a_key_is_asked_about_by_it(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    with_key(b);
    start(b);
    deliver(b);
    assert_answered(b, BK_STUN_SUCCESS);
    const struct bk_admission_facts *facts = &must_find(b, BK_CALL_ASK_ADMISSION)->facts;
    assert_true(facts->has_key);
    assert_memory_equal(facts->key, b->request.caller_key, BK_KEY_BYTES);
    admission(b, BK_ADMITTED);
    const struct bk_call_action *check = must_find(b, BK_CALL_CHECK_CALLER);
    assert_int_equal(check->bytes.n, 0);
    assert_true(check->facts.has_key);
    assert_memory_equal(check->facts.key, b->request.caller_key, BK_KEY_BYTES);
    assert_memory_equal(check->facts.call_id, b->request.call_id, BK_CALL_ID_BYTES);
    caller(b, true);
    assert_int_equal(result(b).status, BK_CALL_ACCEPTED);
    assert_non_null(find(b, BK_CALL_ASK_DIALS));

    begin(b);
    with_key(b);
    start(b);
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, false); /* signed well, by nobody we know */
    assert_int_equal(result(b).status, BK_CALL_REFUSED);
    assert_ended(b, BK_CALL_END_REFUSED);
}

/* No memory to check the password with: the caller hears nothing of it, right or wrong. */
static void a_caller_who_cannot_be_checked_is_told_that_we_are_busy(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int right = 0; right < 2; right++) {
        begin(b);
        start(b);
        deliver(b);
        admission(b, BK_ADMITTED);
        input(b, (struct bk_call_event){.type = BK_CALL_CALLER,
                                        .untold = true,
                                        .right = right != 0,
                                        .services = UINT64_MAX});
        assert_int_equal(result(b).status, BK_CALL_BUSY);
        assert_null(find(b, BK_CALL_ASK_DIALS));
        assert_ended(b, BK_CALL_END_BUSY);
    }
}

static void assert_signature_refused(struct bench *b)
{
    assert_answered(b, BK_STUN_SUCCESS);
    assert_null(find(b, BK_CALL_ASK_ADMISSION));
    assert_int_equal(count(b, BK_CALL_SEND_SERVER), 2);
    assert_ended(b, BK_CALL_END_REFUSED);
    b->out.actions[0] = b->out.actions[1]; /* the result, without the answer to 226 */
    assert_int_equal(open_result(b).status, BK_CALL_REFUSED);
}

static void a_wrong_signature_is_refused_before_anything_is_asked(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b); /* for another device */
    with_key(b);
    start(b);
    b->config.device_pin[31] ^= 1;
    deliver(b);
    assert_signature_refused(b);

    begin(b); /* by another key than the one it names */
    with_key(b);
    b->key_seed[0] ^= 1;
    start(b);
    deliver(b);
    assert_signature_refused(b);

    begin(b); /* not at all */
    with_key(b);
    start(b);
    struct bk_slice plain = write_request(b);
    memset(b->plain + plain.n - BK_SIGNATURE_BYTES, 0, BK_SIGNATURE_BYTES);
    deliver_plain(b, plain);
    assert_signature_refused(b);
}

/* Taken from one request and put under another: every byte of the text counts, the call ID first. */
static void a_signature_is_good_for_its_own_request_alone(void **state)
{
    (void)state;
    struct bench *b = &bench;
    uint8_t signature[BK_SIGNATURE_BYTES];
    for (int how = 0; how < 5; how++) {
        begin(b);
        with_key(b);
        start(b);
        struct bk_slice plain = write_request(b);
        memcpy(signature, b->plain + plain.n - BK_SIGNATURE_BYTES, sizeof signature);
        if (how == 0) {
            b->request.call_id[5] ^= 1;
            memcpy(b->connect.call_id, b->request.call_id, sizeof b->connect.call_id);
        } else if (how == 1) {
            b->request.unix_s++;
        } else if (how == 2) {
            b->request.service = bk_slice_text("web");
        } else if (how == 3) {
            b->request.call_key[0] ^= 1;
        } else {
            b->request.candidates[0].addr.port++;
        }
        plain = write_request(b);
        bk_call_request_set_signature(b->plain, plain, signature);
        deliver_plain(b, plain);
        assert_signature_refused(b);
    }
}

/* The same steps, and the same result. */
static void a_service_of_others_is_answered_as_one_that_is_not_there(void **state)
{
    (void)state;
    static const struct {
        const char *service;
        uint64_t may;
        enum bk_call_status status;
    } rows[] = {
        {"ssh", 2, BK_CALL_ACCEPTED},
        {"web", 1, BK_CALL_ACCEPTED},
        {"ssh", 3, BK_CALL_ACCEPTED},
        {"", 0, BK_CALL_ACCEPTED}, /* only measures the path */
        {"ssh", 1, BK_CALL_NO_SERVICE},
        {"web", 2, BK_CALL_NO_SERVICE},
        {"ssh", ~UINT64_C(2), BK_CALL_NO_SERVICE},
        {"ssh", 0, BK_CALL_NO_SERVICE},
        {"telnet", UINT64_MAX, BK_CALL_NO_SERVICE},
        {"telnet", 0, BK_CALL_NO_SERVICE},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(b);
        b->request.service = bk_slice_text(rows[i].service);
        start(b);
        deliver(b);
        admission(b, BK_ADMITTED);
        caller_may(b, rows[i].may);
        assert_int_equal(result(b).status, rows[i].status);
        if (rows[i].status == BK_CALL_NO_SERVICE) {
            assert_int_equal(b->out.n, 3); /* RESULT, the server dropped, over */
            assert_ended(b, BK_CALL_END_NO_SERVICE);
        }
    }
}

static void the_last_of_the_services_has_its_bit(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int may = 0; may < 2; may++) {
        begin(b);
        b->config.n_services = BK_CALL_SERVICES_MAX;
        for (size_t i = 0; i + 1 < BK_CALL_SERVICES_MAX; i++) {
            b->config.services[i] = bk_slice_text("web");
        }
        b->config.services[BK_CALL_SERVICES_MAX - 1] = bk_slice_text("ssh");
        start(b);
        deliver(b);
        admission(b, BK_ADMITTED);
        caller_may(b, may == 1 ? UINT64_C(1) << 63 : ~(UINT64_C(1) << 63));
        assert_int_equal(result(b).status, may == 1 ? BK_CALL_ACCEPTED : BK_CALL_NO_SERVICE);
    }
}

static void four_candidates(struct bench *b)
{
    b->request.n_candidates = 4;
    for (uint8_t i = 0; i < 4; i++) {
        b->request.candidates[i] =
            (struct bk_candidate){BK_CANDIDATE_HOST, bk_addr_v4(4, 17, 168, i, 5000)};
    }
    b->request.candidates[2].addr = bk_addr_v4(192, 168, 1, 1, 5000); /* against policy */
}

static void only_what_was_asked_for_and_permitted_is_dialled(void **state)
{
    (void)state;
    static const struct {
        uint32_t permitted;
        uint32_t dialled;
    } rows[] = {
        {0x0, 0x0}, {0x1, 0x1}, {0x8, 0x8}, {0xA, 0xA}, {0xB, 0xB}, {0x4, 0x0}, {UINT32_MAX, 0xB},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t dialled = 0;
        begin(b);
        four_candidates(b);
        reach_accepted(b);
        assert_int_equal(must_find(b, BK_CALL_ASK_DIALS)->dials, 0xB);
        dials(b, rows[i].permitted);
        for (size_t k = 0; k < b->out.n; k++) {
            assert_int_equal(b->out.actions[k].type, BK_CALL_DIAL);
            dialled |= 1U << b->out.actions[k].index;
        }
        assert_int_equal(dialled, rows[i].dialled);
        dials(b, UINT32_MAX); /* what was refused stays refused */
        assert_int_equal(b->out.n, 0);
        dial_event(b, BK_CALL_SESSION_UP, 2);
        dial_event(b, BK_CALL_SESSION_PICKED, 2);
        assert_int_equal(b->out.n, 0);
    }
}

static void an_answer_about_dials_comes_late(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_accepted(b);
    tick(b); /* the router is asked */
    bk_time due = bk_call_deadline(b->c);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_CLOSED});
    assert_int_equal(b->out.n, 0);
    fake_pass(&b->now, 4 * BK_SECOND);
    dials(b, ALL); /* the time to answer is not prolonged */
    assert_int_equal(count(b, BK_CALL_DIAL), 1);
    assert_true(bk_call_deadline(b->c) == due);
    tick(b);
    assert_int_equal(count(b, BK_CALL_CLOSE_LINK), 1);
    assert_ended(b, BK_CALL_END_NO_ANSWER);

    begin(b);
    reach_accepted(b);
    tick(b); /* the router is asked */
    tick(b);
    assert_int_equal(result(b).status, BK_CALL_NO_ANSWER);
    assert_int_equal(count(b, BK_CALL_CLOSE_LINK), 0);
    assert_ended(b, BK_CALL_END_NO_ANSWER);
    dials(b, ALL);
    assert_int_equal(b->out.n, 0);
    caller(b, true);
    assert_int_equal(b->out.n, 0);
}

/* The caller looked the device up before its box key was renewed; the answer bears the key that he knows. */
static void the_box_before_opens_too(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (size_t box = 0; box < BK_CALL_BOXES_MAX; box++) {
        begin(b);
        b->sealed_to = box;
        reach_accepted(b);
        assert_int_equal(result(b).status, BK_CALL_ACCEPTED);
    }
    begin(b); /* destroyed by now */
    b->config.n_boxes = 1;
    b->sealed_to = 1;
    start(b);
    deliver(b);
    assert_ended(b, BK_CALL_END_BAD_REQUEST);
    assert_null(find(b, BK_CALL_ASK_ADMISSION));
    begin(b);
    b->config.n_boxes = 0;
    start(b);
    deliver(b);
    assert_ended(b, BK_CALL_END_BAD_REQUEST);
}

/* The memory of the call core, as long as it lives. */
static struct {
    uint8_t *p;
    size_t n;
} core_memory;

static void *core_get(void *ctx, size_t n)
{
    (void)ctx;
    core_memory.n = n;
    core_memory.p = bk_alloc_libc().get(NULL, n);
    return core_memory.p;
}

static void core_put(void *ctx, void *p)
{
    (void)ctx;
    bk_alloc_libc().put(NULL, p);
}

static bool core_holds(const uint8_t *secret, size_t n)
{
    for (size_t i = 0; i + n <= core_memory.n; i++) {
        if (memcmp(core_memory.p + i, secret, n) == 0) {
            return true;
        }
    }
    return false;
}

/* A session may last for weeks, and box keys are destroyed weekly. */
static void box_keys_are_kept_no_longer_than_results_may_be_sent(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int how = 0; how < 3; how++) {
        begin(b);
        start_with(b, (struct bk_alloc){.get = core_get, .put = core_put});
        deliver(b);
        admission(b, BK_ADMITTED);
        caller(b, how != 0);
        if (how != 0) {
            assert_true(core_holds(b->config.box[0].secret_key, BK_KEY_BYTES));
            dials(b, ALL);
        }
        if (how == 1) {
            dial_event(b, BK_CALL_SESSION_UP, 0);
            dial_event(b, BK_CALL_SESSION_PICKED, 0);
        } else if (how == 2) {
            input(b, (struct bk_call_event){.type = BK_CALL_SERVER_CLOSED});
        }
        for (size_t i = 0; i < b->config.n_boxes; i++) {
            assert_false(core_holds(b->config.box[i].secret_key, BK_KEY_BYTES));
        }
    }
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_caller_with_a_key_is_asked_about_by_it, tear_down),
        cmocka_unit_test_teardown(a_caller_who_cannot_be_checked_is_told_that_we_are_busy,
                                  tear_down),
        cmocka_unit_test_teardown(a_wrong_signature_is_refused_before_anything_is_asked, tear_down),
        cmocka_unit_test_teardown(a_signature_is_good_for_its_own_request_alone, tear_down),
        cmocka_unit_test_teardown(a_service_of_others_is_answered_as_one_that_is_not_there,
                                  tear_down),
        cmocka_unit_test_teardown(the_last_of_the_services_has_its_bit, tear_down),
        cmocka_unit_test_teardown(only_what_was_asked_for_and_permitted_is_dialled, tear_down),
        cmocka_unit_test_teardown(an_answer_about_dials_comes_late, tear_down),
        cmocka_unit_test_teardown(the_box_before_opens_too, tear_down),
        cmocka_unit_test_teardown(box_keys_are_kept_no_longer_than_results_may_be_sent, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
