/* Calls that meet something else on their way: a place in the queue given up, an end that was decided
 * already, a caller or a device that the server no longer listens to, timers that come late. */
#include "core/server/call_lab.h"

static void revoke_alice(struct lab *l)
{
    struct bk_server_event e = {.type = BK_SERVER_USER_REVOKED};
    e.user_revoked.user = bk_slice_text("alice");
    lab_input(l, &e);
}

/* Three callers wait for one device and one of them leaves; a fourth comes. */
static void whoever_leaves_the_queue_the_others_keep_their_order(void **state)
{
    (void)state;
    for (uint8_t leaves = 1; leaves <= 3; leaves++) {
        struct call_lab c = call_lab_new();
        for (uint8_t i = 1; i <= 4; i++) {
            uint64_t stream = 30u + i;
            if (i == 4) {
                lab_closed(c.l, 30u + leaves);
                assert_int_equal(lab_audit(c.l), BK_AUDIT_ABANDONED);
            }
            lab_open(c.l, stream, BK_ROLE_USER, 0, "alice");
            lab_connect(c.l, stream, 2133, i);
            lab_found(c.l, lab_query(c.l), 0, 2133);
            expect_notify(&c);
        }
        for (uint8_t i = 1; i <= 4; i++) {
            if (i != leaves) {
                lab_open(c.l, 40u + i, BK_ROLE_DEVICE, 2133, "");
                expect_offer(&c, 40u + i, i);
            }
        }
        lab_open(c.l, 50, BK_ROLE_DEVICE, 2133, "");
        assert_true(lab_closes(c.l, 50)); /* no more of them */
        lab_free(c.l);
    }
}

enum { CALLS = 32, A_STREAM = 16 };

static uint64_t stream_of(size_t call)
{
    return call < A_STREAM ? USER_STREAM : OTHER_USER_STREAM;
}

/* Marks the calls whose caller is told in `out` that the device is revoked: each hears it once. */
static void note_ends(const struct lab *l, bool told[CALLS])
{
    struct bk_stun m;
    uint16_t code;
    assert_null(lab_action(l, BK_SERVER_SEND_DATAGRAM)); /* nobody is rung up any more */
    for (size_t i = 0; i < l->out.n; i++) {
        if (l->out.actions[i].type != BK_SERVER_SEND_MESSAGE) {
            continue;
        }
        assert_int_equal(bk_stun_read(l->out.actions[i].message.bytes, &m), BK_OK);
        assert_int_equal(bk_error_read(&m, &code), BK_OK);
        assert_int_equal(code, BK_CODE_REVOKED);
        assert_in_range(m.txid[1], 0, CALLS - 1);
        assert_int_equal(l->out.actions[i].message.stream, stream_of(m.txid[1]));
        assert_false(told[m.txid[1]]);
        told[m.txid[1]] = true;
    }
    for (size_t i = 0; i < lab_count(l, BK_SERVER_AUDIT); i++) {
        assert_int_equal(lab_must(l, BK_SERVER_AUDIT, i)->audit.how, BK_AUDIT_REVOKED);
    }
}

/* A device is enrolled anew, and so many calls to the old one end by it that some are still to be
 * told. Neither the store's answer about one of those nor a second enrolment changes its end. */
static void a_call_that_is_ending_is_not_brought_back(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    lab_open(c.l, OTHER_USER_STREAM, BK_ROLE_USER, 0, "bob");
    uint64_t queries[CALLS];
    bool told[CALLS] = {false};
    for (uint8_t i = 0; i < CALLS; i++) {
        lab_connect(c.l, stream_of(i), 2133, i);
        queries[i] = lab_query(c.l);
    }
    lab_exception(c.l, 2133, 2, false);
    note_ends(c.l, told);
    lab_exception(c.l, 2133, 3, false);
    note_ends(c.l, told);
    size_t i = 0;
    while (i < CALLS && told[i]) {
        i++;
    }
    assert_true(i < CALLS);
    lab_found(c.l, queries[i], 0, 2133);
    note_ends(c.l, told);
    while (bk_server_deadline(c.l->server) <= c.l->now.mono) {
        lab_timer(c.l);
        note_ends(c.l, told);
    }
    for (i = 0; i < CALLS; i++) {
        assert_true(told[i]);
        lab_found(c.l, queries[i], 0, 2133);
        assert_int_equal(c.l->out.n, 0);
    }
    /* All of them are over: there is room for as many again. */
    for (uint8_t n = 0; n < CALLS; n++) {
        lab_connect(c.l, stream_of(n), 2134, n);
        (void)lab_must(c.l, BK_SERVER_FIND_DEVICE, 0);
    }
    lab_free(c.l);
}

/* A store that does not answer keeps its questions, of callers that have left too; there are as many as
 * the table has places. */
static void without_a_place_for_the_question_there_is_no_call(void **state)
{
    (void)state;
    struct call_lab c = {.l = lab_new_with(10, 8, 2)};
    uint64_t queries[4];
    for (uint8_t i = 0; i < 4; i++) {
        lab_open(c.l, 30u + i, BK_ROLE_USER, 0, "alice");
        lab_connect(c.l, 30u + i, 2133, i);
        queries[i] = lab_query(c.l);
        lab_closed(c.l, 30u + i);
    }
    lab_open(c.l, USER_STREAM, BK_ROLE_USER, 0, "alice");
    for (int i = 0; i < 5; i++) {
        lab_connect(c.l, USER_STREAM, 2133, 9);
        assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OVERLOADED);
        assert_int_equal(lab_audit(c.l), BK_AUDIT_OVERLOADED);
    }
    for (uint8_t i = 0; i < 2; i++) { /* the calls' places were given back */
        lab_found(c.l, queries[i], 0, 2133);
        lab_connect(c.l, USER_STREAM, 2133, i);
        (void)lab_must(c.l, BK_SERVER_FIND_DEVICE, 0);
    }
    lab_free(c.l);
}

static void a_store_that_refuses_for_another_reason_is_overloaded(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    lab_connect(c.l, USER_STREAM, 2133, 1);
    lab_found(c.l, lab_query(c.l), BK_CODE_OVERLOADED, 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OVERLOADED);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_OVERLOADED);
    lab_free(c.l);
}

/* Who calls is a note for the device's log, and no reason to hold the call back. */
static void a_caller_whose_name_no_message_can_carry_calls_without_one(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    lab_open(c.l, OTHER_USER_STREAM, BK_ROLE_USER, 0, "Alice B.");
    lab_connect(c.l, OTHER_USER_STREAM, 2133, 1);
    lab_found(c.l, lab_query(c.l), 0, 2133);
    expect_notify(&c);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    struct bk_stun m;
    struct bk_connect in;
    assert_true(lab_said(c.l, DEVICE_STREAM, &m));
    assert_int_equal(bk_connect_read(&m, &in), BK_OK);
    assert_int_equal(in.call_id[0], 1);
    assert_int_equal(in.user.n, 0);
    lab_free(c.l);
}

static void a_result_that_cannot_be_read_ends_the_devices_stream(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    uint8_t buf[128];
    uint8_t txid[BK_STUN_TXID_BYTES] = {9};
    struct bk_slice b;
    deliver(&c, 1, DEVICE_STREAM);
    struct bk_stun_writer w =
        bk_stun_begin(buf, sizeof(buf), BK_METHOD_RESULT, BK_STUN_INDICATION, txid);
    assert_int_equal(bk_stun_end(&w, &b), BK_OK);
    lab_message(c.l, DEVICE_STREAM, b);
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_int_equal(lab_code(c.l, DEVICE_STREAM), SILENCE);
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    lab_free(c.l);
}

/* ACCEPTED comes again with further candidates; a device that never ends is no device of ours. */
static void eight_results_pass_and_the_ninth_ends_the_devices_stream(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    struct bk_stun m;
    deliver(&c, 1, DEVICE_STREAM);
    for (int i = 0; i < BK_SERVER_RESULTS_MAX; i++) {
        (void)run(c.l, 1500); /* twelve seconds, in all */
        send_result(&c, DEVICE_STREAM, 1);
        assert_true(lab_said(c.l, USER_STREAM, &m));
        assert_int_equal(m.method, BK_METHOD_RESULT);
        assert_false(lab_closes(c.l, DEVICE_STREAM) || lab_closes(c.l, USER_STREAM));
    }
    send_result(&c, DEVICE_STREAM, 1);
    assert_false(lab_said(c.l, USER_STREAM, &m));
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    assert_false(lab_closes(c.l, USER_STREAM));
    lab_free(c.l);
}

static void a_revoked_caller_hears_no_result(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    struct bk_stun m;
    deliver(&c, 1, DEVICE_STREAM);
    ring(&c, 2);
    lab_open(c.l, SECOND_DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, SECOND_DEVICE_STREAM, 2);
    revoke_alice(c.l);
    assert_true(lab_closes(c.l, USER_STREAM));
    send_result(&c, DEVICE_STREAM, 1);
    assert_false(lab_said(c.l, USER_STREAM, &m));
    answer_offer(&c, SECOND_DEVICE_STREAM, 0); /* nor that the device has it */
    assert_false(lab_said(c.l, USER_STREAM, &m));
    lab_closed(c.l, USER_STREAM); /* with it go the device's streams */
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    assert_true(lab_closes(c.l, SECOND_DEVICE_STREAM));
    lab_free(c.l);
}

static void a_late_timer_does_not_make_up_for_what_it_missed(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    ring(&c, 1);
    bk_time began = c.l->now.mono;
    lab_pass(c.l, 1100); /* those of 250, 500 and 1000 ms are overdue */
    lab_timer(c.l);
    expect_notify(&c);
    assert_int_equal(bk_server_deadline(c.l->server), began + 2000 * BK_MS);
    lab_pass(c.l, 5500); /* all are */
    lab_timer(c.l);
    expect_notify(&c);
    assert_int_equal(run(c.l, 300), 0);
    assert_int_equal(run(c.l, 1000), 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OFFLINE);
    lab_free(c.l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_leaves_the_queue_the_others_keep_their_order),
        cmocka_unit_test(a_call_that_is_ending_is_not_brought_back),
        cmocka_unit_test(without_a_place_for_the_question_there_is_no_call),
        cmocka_unit_test(a_store_that_refuses_for_another_reason_is_overloaded),
        cmocka_unit_test(a_caller_whose_name_no_message_can_carry_calls_without_one),
        cmocka_unit_test(a_result_that_cannot_be_read_ends_the_devices_stream),
        cmocka_unit_test(eight_results_pass_and_the_ninth_ends_the_devices_stream),
        cmocka_unit_test(a_revoked_caller_hears_no_result),
        cmocka_unit_test(a_late_timer_does_not_make_up_for_what_it_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
