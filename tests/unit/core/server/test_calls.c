/* Calls: 217, the store, NOTIFY until answered, 226, RESULT, and every way in which a call ends. */
#include "core/server/call_lab.h"

static void a_call_is_delivered_and_its_result_comes_back(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    lab_connect(c.l, USER_STREAM, 2133, 1);
    const struct bk_server_action *find = lab_must(c.l, BK_SERVER_FIND_DEVICE, 0);
    assert_true(bk_slice_equal(find->find.user, bk_slice_text("alice")));
    assert_int_equal(find->find.equipment_id, 2133);
    lab_found(c.l, find->find.query, 0, 2133);
    expect_notify(&c);
    lab_pass(c.l, 40);
    answer_notify(&c, c.d.addr, c.d.local);
    lab_pass(c.l, 60);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    assert_false(lab_closes(c.l, DEVICE_STREAM));
    expect_offer(&c, DEVICE_STREAM, 1);
    answer_offer(&c, DEVICE_STREAM, 0);
    struct bk_stun m;
    assert_true(lab_said(c.l, USER_STREAM, &m));
    assert_int_equal(m.cls, BK_STUN_SUCCESS);
    assert_int_equal(m.txid[0], 0xC0); /* the requester's own transaction */
    assert_int_equal(m.txid[1], 1);
    const struct bk_server_action *a = lab_must(c.l, BK_SERVER_AUDIT, 0);
    assert_int_equal(a->audit.how, BK_AUDIT_DELIVERED);
    assert_int_equal(a->audit.equipment_id, 2133);
    assert_int_equal(a->audit.took_ms, 100);
    assert_true(bk_slice_equal(a->audit.user, bk_slice_text("alice")));
    assert_int_equal(a->audit.from.port, 7000);

    send_result(&c, DEVICE_STREAM, 1);
    struct bk_result r;
    assert_true(lab_said(c.l, USER_STREAM, &m));
    assert_int_equal(bk_result_read(&m, &r), BK_OK);
    assert_true(bk_slice_equal(r.box, bk_slice_text("verdict")));

    lab_closed(c.l, USER_STREAM);
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    assert_int_equal(lab_audit(c.l), -1); /* one line a call */
    lab_closed(c.l, DEVICE_STREAM);
    assert_int_equal(c.l->out.n, 0);
    lab_free(c.l);
}

static void notify_is_repeated_with_one_txid_until_the_caller_hears_offline(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    ring(&c, 1);
    uint8_t txid[BK_STUN_TXID_BYTES];
    memcpy(txid, c.notify_txid, sizeof(txid));
    bk_time began = c.l->now.mono;
    const uint32_t at_ms[] = {250, 500, 1000, 2000, 4000, 6000};
    for (size_t i = 0; i < sizeof(at_ms) / sizeof(at_ms[0]); i++) {
        while (c.l->now.mono < began + at_ms[i] * BK_MS) {
            c.l->now.mono = bk_time_min(bk_server_deadline(c.l->server), began + at_ms[i] * BK_MS);
            lab_timer(c.l);
            assert_true(c.l->out.n == 0 || c.l->now.mono == began + at_ms[i] * BK_MS);
        }
        expect_notify(&c);
        assert_memory_equal(c.notify_txid, txid, sizeof(txid));
    }
    assert_int_equal(run(c.l, 2000), 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OFFLINE);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_OFFLINE);
    assert_int_equal(c.l->now.mono, began + BK_SERVER_DELIVERY_MS * BK_MS);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, ""); /* too late: nothing to deliver */
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    lab_free(c.l);
}

static void an_answered_notify_is_not_repeated(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    ring(&c, 1);
    answer_notify(&c, c.d.addr, c.d.local);
    assert_int_equal(run(c.l, 6500), 0);
    assert_int_equal(run(c.l, 1000), 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OFFLINE); /* it never opened its stream */
    lab_free(c.l);
}

static void a_notify_answer_counts_only_from_where_it_was_sent_and_with_integrity(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    ring(&c, 1);
    struct bk_addr elsewhere = c.d.addr;
    elsewhere.port++;
    answer_notify(&c, elsewhere, c.d.local);
    answer_notify(&c, c.d.addr, c.d.local + 1);
    c.d.key[0] ^= 1;
    answer_notify(&c, c.d.addr, c.d.local);
    c.d.key[0] ^= 1;
    c.notify_txid[11] ^= 1;
    answer_notify(&c, c.d.addr, c.d.local);
    c.notify_txid[0] ^= 1;
    answer_notify(&c, c.d.addr, c.d.local);
    assert_true(run(c.l, 300) == 1); /* it goes on */
    lab_free(c.l);
}

static void a_device_that_moves_meanwhile_is_notified_where_it_is(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    ring(&c, 1);
    lab_pass(c.l, 100);
    c.d.addr.port = 3401;
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(c.l, &c.d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(c.l, &c.d, nonce, NULL), 0);
    assert_int_equal(lab_count(c.l, BK_SERVER_SEND_DATAGRAM),
                     2); /* its answer, and NOTIFY at once */
    const struct bk_server_action *a = lab_must(c.l, BK_SERVER_SEND_DATAGRAM, 1);
    assert_int_equal(a->datagram.to.port, 3401);
    assert_int_equal(run(c.l, 300), 1);
    expect_notify(&c); /* with the current tag */
    lab_free(c.l);
}

static void with_no_row_the_caller_hears_offline_at_once(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    run(c.l, (BK_SERVER_EXPIRY_S + 1) * 1000);
    lab_connect(c.l, USER_STREAM, 2133, 1);
    lab_found(c.l, lab_query(c.l), 0, 2133);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OFFLINE);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_OFFLINE);
    lab_free(c.l);
}

static void a_restarted_server_waits_for_the_row(void **state)
{
    (void)state;
    struct call_lab c = {.l = lab_new()};
    c.d = device_new(c.l, 2133);
    lab_open(c.l, USER_STREAM, BK_ROLE_USER, 0, "alice");
    lab_connect(c.l, USER_STREAM, 2133, 1);
    lab_found(c.l, lab_query(c.l), 0, 2133);
    assert_int_equal(c.l->out.n, 0);
    assert_int_equal(run(c.l, 5000), 0);
    device_register(c.l, &c.d);
    (void)lab_must(c.l, BK_SERVER_SEND_DATAGRAM, 1); /* NOTIFY, after the answer to REGISTER */
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, DEVICE_STREAM, 1);
    answer_offer(&c, DEVICE_STREAM, 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), 0);
    lab_free(c.l);
}

static void unknown_and_ungranted_devices_are_not_found_and_revoked_ones_gone(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    lab_connect(c.l, USER_STREAM, 2133, 1);
    lab_found(c.l, lab_query(c.l), BK_CODE_NOT_FOUND, 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_NOT_FOUND);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_NOT_FOUND);
    lab_connect(c.l, USER_STREAM, 2133, 1);
    lab_found(c.l, lab_query(c.l), BK_CODE_REVOKED, 2133);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_REVOKED);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_REVOKED);
    lab_connect(c.l, USER_STREAM, 2133, 1);
    lab_found(c.l, lab_query(c.l), 0, 9999); /* the store answers for another: never delivered */
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_NOT_FOUND);
    lab_free(c.l);
}

static void a_revocation_ends_what_is_under_way(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    deliver(&c, 1, DEVICE_STREAM);
    ring(&c, 2);
    lab_connect(c.l, USER_STREAM, 2133, 3);
    uint64_t query = lab_query(c.l);
    lab_exception(c.l, 2133, 0, true);
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    assert_int_equal(lab_count(c.l, BK_SERVER_AUDIT), 2);
    struct bk_stun m;
    uint16_t code;
    for (size_t i = 0; i < 2; i++) {
        assert_true(lab_said_nth(c.l, USER_STREAM, i, &m));
        assert_int_equal(bk_error_read(&m, &code), BK_OK);
        assert_int_equal(code, BK_CODE_REVOKED);
    }
    assert_false(lab_said_nth(c.l, USER_STREAM, 2, &m)); /* the delivered one was answered before */
    lab_found(c.l, query, 0, 2133);
    assert_int_equal(c.l->out.n, 0);
    send_result(&c, DEVICE_STREAM, 1);
    assert_int_equal(c.l->out.n, 0);
    lab_open(c.l, SECOND_DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    assert_true(lab_closes(c.l, SECOND_DEVICE_STREAM));
    lab_connect(c.l, USER_STREAM, 2133, 4);
    lab_found(c.l, lab_query(c.l), 0, 2133); /* the store lags behind */
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_REVOKED);
    lab_free(c.l);
}

static void a_device_that_leaves_before_its_answer_is_offline(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    ring(&c, 1);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    lab_closed(c.l, DEVICE_STREAM);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OFFLINE);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_OFFLINE);

    ring(&c, 1); /* the same with a refusal, and with silence */
    lab_open(c.l, 30, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, 30, 1);
    answer_offer(&c, 30, BK_CODE_BAD_REQUEST);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OFFLINE);
    assert_true(lab_closes(c.l, 30));

    ring(&c, 1);
    lab_open(c.l, 31, BK_ROLE_DEVICE, 2133, "");
    run(c.l, BK_SERVER_DELIVERY_MS);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OFFLINE);
    assert_true(lab_closes(c.l, 31));
    lab_free(c.l);
}

static void a_caller_that_leaves_ends_the_call(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    lab_connect(c.l, USER_STREAM, 2133, 1);
    uint64_t query = lab_query(c.l);
    lab_closed(c.l, USER_STREAM);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_ABANDONED);
    lab_found(c.l, query, 0, 2133);
    assert_int_equal(c.l->out.n, 0);

    lab_open(c.l, 40, BK_ROLE_USER, 0, "alice");
    lab_connect(c.l, 40, 2133, 1);
    lab_found(c.l, lab_query(c.l), 0, 2133);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    lab_closed(c.l, 40);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_ABANDONED);
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    assert_int_equal(run(c.l, 10000), 0);
    lab_free(c.l);
}

static void waiting_calls_are_delivered_oldest_first_one_a_stream(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    ring(&c, 1);
    ring(&c, 2);
    ring(&c, 3);
    lab_open(c.l, 20, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, 20, 1);
    lab_open(c.l, 21, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, 21, 2);
    lab_open(c.l, 22, BK_ROLE_DEVICE, 2134, ""); /* another device gets nothing of it */
    assert_true(lab_closes(c.l, 22));
    lab_open(c.l, 23, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, 23, 3);
    lab_open(c.l, 24, BK_ROLE_DEVICE, 2133, "");
    assert_true(lab_closes(c.l, 24));
    lab_free(c.l);
}

static void a_device_speaks_of_its_own_call_only(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    deliver(&c, 1, DEVICE_STREAM);
    ring(&c, 2);
    lab_open(c.l, SECOND_DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, SECOND_DEVICE_STREAM, 2);
    send_result(&c, SECOND_DEVICE_STREAM, 2); /* before it has answered 226 */
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_true(lab_closes(c.l, SECOND_DEVICE_STREAM));
    send_result(&c, DEVICE_STREAM, 2);
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    lab_free(c.l);
}

static void an_answer_to_another_226_is_no_answer(void **state)
{
    (void)state;
    for (uint16_t code = 0; code <= BK_CODE_BAD_REQUEST; code += BK_CODE_BAD_REQUEST) {
        struct call_lab c = call_lab_new();
        ring(&c, 1);
        lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
        expect_offer(&c, DEVICE_STREAM, 1);
        c.offer_txid[11] ^= 1;
        answer_offer(&c, DEVICE_STREAM, code);
        assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
        assert_true(lab_closes(c.l, DEVICE_STREAM));
        lab_free(c.l);
    }
}

static void a_device_asks_for_no_other_device(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {0x10};
    struct bk_lookup in = {.equipment_id = 2134};
    struct bk_slice b;
    deliver(&c, 1, DEVICE_STREAM);
    assert_int_equal(bk_lookup_write(buf, sizeof(buf), txid, &in, &b), BK_OK);
    lab_message(c.l, DEVICE_STREAM, b);
    assert_null(lab_action(c.l, BK_SERVER_FIND_DEVICE));
    assert_int_equal(lab_code(c.l, DEVICE_STREAM), BK_CODE_BAD_REQUEST);
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    lab_free(c.l);

    c = call_lab_new();
    deliver(&c, 1, DEVICE_STREAM);
    lab_connect(c.l, DEVICE_STREAM, 2134, 2);
    assert_null(lab_action(c.l, BK_SERVER_FIND_DEVICE));
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    lab_free(c.l);
}

static void a_call_id_in_use_is_refused(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    lab_open(c.l, OTHER_USER_STREAM, BK_ROLE_USER, 0, "bob");
    ring(&c, 1);
    lab_connect(c.l, USER_STREAM, 2133, 1); /* unanswered yet */
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_BAD_REQUEST);
    lab_connect(c.l, OTHER_USER_STREAM, 2133, 1);
    assert_int_equal(lab_code(c.l, OTHER_USER_STREAM), BK_CODE_BAD_REQUEST);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, DEVICE_STREAM, 1);
    answer_offer(&c, DEVICE_STREAM, 0);
    lab_connect(c.l, OTHER_USER_STREAM, 2133, 1);
    assert_int_equal(lab_code(c.l, OTHER_USER_STREAM), BK_CODE_BAD_REQUEST);
    lab_free(c.l);
}

/* Every sealing has a call ID of its own, also the one after "stale": the old call is not disturbed. */
static void a_delivered_call_cannot_be_sent_again(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    deliver(&c, 1, DEVICE_STREAM);
    send_result(&c, DEVICE_STREAM, 1); /* "stale" */
    lab_connect(c.l, USER_STREAM, 2133, 1);
    assert_int_equal(c.l->out.n, 1);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_BAD_REQUEST);
    send_result(&c, DEVICE_STREAM, 1);
    struct bk_stun m;
    assert_true(lab_said(c.l, USER_STREAM, &m));
    assert_int_equal(m.method, BK_METHOD_RESULT);
    deliver(&c, 2, SECOND_DEVICE_STREAM);
    lab_free(c.l);
}

static void too_many_calls_are_refused_and_all_of_them_end(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    for (uint8_t i = 1; i <= 16; i++) {
        ring(&c, i);
    }
    lab_connect(c.l, USER_STREAM, 2133, 17);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OVERLOADED);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_OVERLOADED);
    for (uint64_t stream = 50; stream < 52; stream++) { /* max_calls is 32 */
        lab_open(c.l, stream, BK_ROLE_USER, 0, "bob");
        for (uint8_t i = 0; i < 8; i++) {
            lab_connect(c.l, stream, 2133, (uint8_t)(100 + (stream - 50) * 8 + i));
        }
    }
    lab_open(c.l, 52, BK_ROLE_USER, 0, "bob");
    lab_connect(c.l, 52, 2133, 255);
    assert_int_equal(lab_code(c.l, 52), BK_CODE_OVERLOADED);
    /* More ends than one `out` holds: the rest follows at once. */
    lab_exception(c.l, 2133, 0, true);
    size_t ended = 0;
    for (int i = 0; i < 20 && ended < 32; i++) {
        ended += lab_count(c.l, BK_SERVER_AUDIT);
        if (bk_server_deadline(c.l->server) <= c.l->now.mono) {
            lab_timer(c.l);
        }
    }
    assert_int_equal(ended, 32);
    lab_free(c.l);
}

static void a_store_that_does_not_answer_costs_the_caller_the_delivery_time(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    lab_connect(c.l, USER_STREAM, 2133, 1);
    uint64_t query = lab_query(c.l);
    run(c.l, BK_SERVER_DELIVERY_MS);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OVERLOADED);
    lab_found(c.l, query, 0, 2133);
    assert_int_equal(c.l->out.n, 0);
    lab_free(c.l);
}

static void a_row_that_comes_back_to_life_is_notified(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    lab_pass(c.l, 89000);
    ring(&c, 1);
    lab_pass(c.l, 3000); /* the row has expired, the call still waits */
    c.d.tag.counter++;
    device_register(c.l, &c.d); /* as before: same address, same run */
    assert_int_equal(lab_count(c.l, BK_SERVER_SEND_DATAGRAM), 2);
    struct bk_stun m;
    assert_int_equal(bk_stun_read(lab_must(c.l, BK_SERVER_SEND_DATAGRAM, 1)->datagram.bytes, &m),
                     BK_OK);
    assert_int_equal(m.method, BK_METHOD_NOTIFY);
    lab_free(c.l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_delivered_and_its_result_comes_back),
        cmocka_unit_test(notify_is_repeated_with_one_txid_until_the_caller_hears_offline),
        cmocka_unit_test(an_answered_notify_is_not_repeated),
        cmocka_unit_test(a_notify_answer_counts_only_from_where_it_was_sent_and_with_integrity),
        cmocka_unit_test(a_device_that_moves_meanwhile_is_notified_where_it_is),
        cmocka_unit_test(with_no_row_the_caller_hears_offline_at_once),
        cmocka_unit_test(a_restarted_server_waits_for_the_row),
        cmocka_unit_test(unknown_and_ungranted_devices_are_not_found_and_revoked_ones_gone),
        cmocka_unit_test(a_revocation_ends_what_is_under_way),
        cmocka_unit_test(a_device_that_leaves_before_its_answer_is_offline),
        cmocka_unit_test(a_caller_that_leaves_ends_the_call),
        cmocka_unit_test(waiting_calls_are_delivered_oldest_first_one_a_stream),
        cmocka_unit_test(a_device_speaks_of_its_own_call_only),
        cmocka_unit_test(an_answer_to_another_226_is_no_answer),
        cmocka_unit_test(a_device_asks_for_no_other_device),
        cmocka_unit_test(a_call_id_in_use_is_refused),
        cmocka_unit_test(a_delivered_call_cannot_be_sent_again),
        cmocka_unit_test(too_many_calls_are_refused_and_all_of_them_end),
        cmocka_unit_test(a_store_that_does_not_answer_costs_the_caller_the_delivery_time),
        cmocka_unit_test(a_row_that_comes_back_to_life_is_notified),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
