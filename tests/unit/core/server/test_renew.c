/* RENEW: who may, what is asked of the store, and what the answer carries; exactly one answer each. */
#include "core/server/fixture.h"
#include "wire/renew.h"

enum {
    DEVICE_STREAM = 30,
    USER_STREAM = 31,
};

static struct bk_slice renew_write(struct lab *l, bool csr, bool box, uint8_t *buf, size_t cap)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {0xE0, ++l->last_txid};
    struct bk_renew in = {0};
    struct bk_slice b;
    in.csr = csr ? bk_slice_text("request") : BK_SLICE_EMPTY;
    in.box_key = box ? bk_slice_text("box") : BK_SLICE_EMPTY;
    assert_int_equal(bk_renew_write(buf, cap, txid, &in, &b), BK_OK);
    return b;
}

static void renew(struct lab *l, uint64_t stream, bool csr, bool box)
{
    uint8_t buf[256];
    lab_message(l, stream, renew_write(l, csr, box, buf, sizeof(buf)));
}

static void renewed(struct lab *l, uint64_t query, uint16_t code, uint32_t generation,
                    const char *certificate)
{
    struct bk_server_event e = {.type = BK_SERVER_RENEWED};
    e.renewed.query = query;
    e.renewed.code = code;
    e.renewed.generation = generation;
    e.renewed.certificate = bk_slice_text(certificate);
    lab_input(l, &e);
}

static uint64_t query(const struct lab *l)
{
    return lab_must(l, BK_SERVER_RENEW, 0)->renew.query;
}

static struct lab *lab_with_renewals(void)
{
    struct lab *l = lab_new();
    lab_open_for(l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "", BK_STREAM_RENEW);
    lab_open_for(l, USER_STREAM, BK_ROLE_USER, 0, "alice", BK_STREAM_RENEW);
    assert_int_equal(l->out.n, 0);
    return l;
}

static void a_device_gets_a_key_of_the_current_epoch(void **state)
{
    (void)state;
    struct lab *l = lab_with_renewals();
    renew(l, DEVICE_STREAM, true, true);
    assert_int_equal(l->out.n, 1);
    const struct bk_server_action *a = lab_must(l, BK_SERVER_RENEW, 0);
    assert_int_equal(a->renew.peer.role, BK_ROLE_DEVICE);
    assert_int_equal(a->renew.peer.equipment_id, 2133);
    assert_int_equal(a->renew.peer.key[0], 0x5A); /* what the handshake proved */
    assert_true(bk_slice_equal(a->renew.csr, bk_slice_text("request")));
    assert_true(bk_slice_equal(a->renew.box_key, bk_slice_text("box")));
    renewed(l, a->renew.query, 0, 3, "certificate");
    struct bk_stun m;
    struct bk_renew_answer got;
    assert_true(lab_said(l, DEVICE_STREAM, &m));
    assert_int_equal(m.txid[1], l->last_txid);
    assert_int_equal(bk_renew_answer_read(&m, &got), BK_OK);
    assert_true(got.device);
    assert_int_equal(got.generation, 3);
    assert_int_equal(got.epoch, EPOCH);
    assert_int_equal(got.ports.request, 1201);
    assert_true(bk_slice_equal(got.certificate, bk_slice_text("certificate")));
    struct device d = device_new(l, 2133);
    device_rekey(l, &d, EPOCH, 3);
    assert_true(bk_slice_equal(got.registration_key, BK_SLICE_OF(d.key)));
    assert_false(lab_closes(l, DEVICE_STREAM));
    device_register(l, &d);
    lab_free(l);
}

static void a_certificate_may_be_missing_and_a_user_gets_nothing_else(void **state)
{
    (void)state;
    struct lab *l = lab_with_renewals();
    struct bk_stun m;
    struct bk_renew_answer got;
    renew(l, DEVICE_STREAM, true, false);
    renewed(l, query(l), 0, 1, "");
    assert_true(lab_said(l, DEVICE_STREAM, &m));
    assert_int_equal(bk_renew_answer_read(&m, &got), BK_OK);
    assert_true(got.device && got.certificate.n == 0);
    renew(l, USER_STREAM, true, false);
    const struct bk_server_action *a = lab_must(l, BK_SERVER_RENEW, 0);
    assert_string_equal(a->renew.peer.name, "alice");
    assert_int_equal(a->renew.box_key.n, 0);
    renewed(l, a->renew.query, 0, 0, "certificate");
    assert_true(lab_said(l, USER_STREAM, &m));
    assert_int_equal(bk_renew_answer_read(&m, &got), BK_OK);
    assert_false(got.device);
    assert_true(bk_slice_equal(got.certificate, bk_slice_text("certificate")));
    lab_free(l);
}

static void what_the_store_refuses_is_refused_with_its_code(void **state)
{
    (void)state;
    static const uint16_t codes[] = {BK_CODE_BAD_REQUEST, BK_CODE_FORBIDDEN, BK_CODE_OVERLOADED};
    struct lab *l = lab_with_renewals();
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        renew(l, DEVICE_STREAM, true, false);
        renewed(l, query(l), codes[i], 1, "certificate");
        assert_int_equal(lab_code(l, DEVICE_STREAM), codes[i]);
    }
    lab_free(l);
}

static void revoked_devices_are_refused_without_asking(void **state)
{
    (void)state;
    struct lab *l = lab_with_renewals();
    lab_exception(l, 2133, 0, true);
    assert_true(lab_closes(l, DEVICE_STREAM)); /* as every stream of its */
    lab_open_for(l, 40, BK_ROLE_DEVICE, 2133, "", BK_STREAM_RENEW);
    assert_false(lab_closes(l, 40)); /* it shall hear why */
    renew(l, 40, true, true);
    assert_int_equal(lab_code(l, 40), BK_CODE_FORBIDDEN);
    assert_null(lab_action(l, BK_SERVER_RENEW));
    lab_free(l);
}

static void a_device_replaced_while_the_store_thinks_is_refused(void **state)
{
    (void)state;
    struct lab *l = lab_with_renewals();
    renew(l, DEVICE_STREAM, true, true);
    uint64_t q = query(l);
    lab_exception(l, 2133, 2, false);
    assert_true(lab_closes(l, DEVICE_STREAM));
    renewed(l, q, 0, 1, "certificate");
    assert_int_equal(l->out.n, 0);
    /* The same where the store answers with a generation that is no more. */
    lab_open_for(l, 40, BK_ROLE_DEVICE, 2133, "", BK_STREAM_RENEW);
    renew(l, 40, true, true);
    renewed(l, query(l), 0, 1, "certificate");
    assert_int_equal(lab_code(l, 40), BK_CODE_FORBIDDEN);
    renew(l, 40, true, true);
    renewed(l, query(l), 0, 2, "certificate");
    assert_int_equal(lab_code(l, 40), 0);
    lab_free(l);
}

static void each_is_answered_once_and_answers_may_come_late(void **state)
{
    (void)state;
    struct lab *l = lab_with_renewals();
    renew(l, DEVICE_STREAM, true, false);
    uint64_t q = query(l);
    renewed(l, q, 0, 1, "certificate");
    assert_int_equal(l->out.n, 1);
    renewed(l, q, 0, 1, "certificate"); /* said twice */
    assert_int_equal(l->out.n, 0);
    renewed(l, 12345, 0, 1, "certificate"); /* never asked */
    assert_int_equal(l->out.n, 0);
    renew(l, DEVICE_STREAM, true, false);
    q = query(l);
    lab_closed(l, DEVICE_STREAM);
    renewed(l, q, 0, 1, "certificate"); /* the device has gone */
    assert_int_equal(l->out.n, 0);
    renew(l, USER_STREAM, true, false); /* answered as something else: dropped */
    lab_found(l, query(l), 0, 2133);
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void too_many_at_a_time_are_refused(void **state)
{
    (void)state;
    enum { MAX = 16 };
    struct lab *l = lab_with_renewals();
    uint64_t first = 0;
    for (size_t i = 0; i < MAX; i++) {
        renew(l, DEVICE_STREAM, false, true);
        first = i == 0 ? query(l) : first;
        assert_int_equal(lab_count(l, BK_SERVER_RENEW), 1);
    }
    renew(l, DEVICE_STREAM, false, true);
    assert_int_equal(lab_code(l, DEVICE_STREAM), BK_CODE_OVERLOADED);
    renewed(l, first, 0, 1, "");
    renew(l, DEVICE_STREAM, false, true);
    assert_int_equal(lab_count(l, BK_SERVER_RENEW), 1);
    lab_free(l);
}

static void only_devices_and_users_may_open_one_and_say_only_this(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    uint8_t buf[512];
    lab_open_for(l, 1, BK_ROLE_NONE, 0, "", BK_STREAM_RENEW);
    assert_true(lab_closes(l, 1));
    lab_open_for(l, 2, BK_ROLE_SERVER, 0, "", BK_STREAM_RENEW);
    assert_true(lab_closes(l, 2));
    lab_open_for(l, 3, BK_ROLE_USER, 0, "alice", BK_STREAM_RENEW);
    lab_connect(l, 3, 2133, 1);
    assert_int_equal(lab_code(l, 3), BK_CODE_BAD_REQUEST);
    assert_true(lab_closes(l, 3));
    /* Nor may RENEW be said elsewhere. */
    lab_open(l, 4, BK_ROLE_USER, 0, "alice");
    renew(l, 4, true, false);
    assert_int_equal(lab_code(l, 4), BK_CODE_BAD_REQUEST);
    assert_true(lab_closes(l, 4));
    lab_open_for(l, 5, BK_ROLE_DEVICE, 2133, "", BK_STREAM_WATCH);
    renew(l, 5, true, false);
    assert_int_equal(lab_code(l, 5), BK_CODE_BAD_REQUEST);
    assert_true(lab_closes(l, 5));
    /* Truncated, it is malformed. */
    struct bk_slice b = renew_write(l, true, true, buf, sizeof(buf));
    for (size_t n = 0; n < b.n; n++) {
        lab_open_for(l, 100 + n, BK_ROLE_DEVICE, 2133, "", BK_STREAM_RENEW);
        lab_message(l, 100 + n, bk_slice(buf, n));
        assert_true(lab_closes(l, 100 + n));
        assert_null(lab_action(l, BK_SERVER_RENEW));
        lab_closed(l, 100 + n);
    }
    lab_open_for(l, 6, BK_ROLE_USER, 0, "alice", (enum bk_server_purpose)77);
    assert_true(lab_closes(l, 6));
    lab_free(l);
}

static void a_device_with_a_call_waiting_is_not_given_it_here(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lab_connect(l, 1, 2133, 1);
    lab_found(l, lab_query(l), 0, 2133);
    lab_open_for(l, 2, BK_ROLE_DEVICE, 2133, "", BK_STREAM_RENEW);
    lab_open_for(l, 3, BK_ROLE_DEVICE, 2133, "", BK_STREAM_WATCH);
    assert_int_equal(lab_count(l, BK_SERVER_SEND_MESSAGE), 0);
    lab_open(l, 4, BK_ROLE_DEVICE, 2133, "");
    struct bk_stun m;
    assert_true(lab_said(l, 4, &m));
    assert_int_equal(m.method, BK_METHOD_CONNECT);
    lab_free(l);
}

static void a_revoked_user_hears_nothing_more(void **state)
{
    (void)state;
    struct lab *l = lab_with_renewals();
    renew(l, USER_STREAM, true, false);
    uint64_t q = query(l);
    struct bk_server_event e = {.type = BK_SERVER_USER_REVOKED};
    e.user_revoked.user = bk_slice_text("alice");
    lab_input(l, &e);
    assert_true(lab_closes(l, USER_STREAM));
    renewed(l, q, 0, 0, "certificate");
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void an_answer_too_large_for_a_message_is_not_sent(void **state)
{
    (void)state;
    static char big[BK_STUN_STREAM_MAX_BYTES + 1];
    memset(big, 'x', sizeof(big) - 1);
    struct lab *l = lab_with_renewals();
    renew(l, DEVICE_STREAM, true, false);
    renewed(l, query(l), 0, 1, big);
    assert_int_equal(lab_code(l, DEVICE_STREAM), BK_CODE_OVERLOADED);
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_gets_a_key_of_the_current_epoch),
        cmocka_unit_test(a_certificate_may_be_missing_and_a_user_gets_nothing_else),
        cmocka_unit_test(what_the_store_refuses_is_refused_with_its_code),
        cmocka_unit_test(revoked_devices_are_refused_without_asking),
        cmocka_unit_test(a_device_replaced_while_the_store_thinks_is_refused),
        cmocka_unit_test(each_is_answered_once_and_answers_may_come_late),
        cmocka_unit_test(too_many_at_a_time_are_refused),
        cmocka_unit_test(only_devices_and_users_may_open_one_and_say_only_this),
        cmocka_unit_test(a_device_with_a_call_waiting_is_not_given_it_here),
        cmocka_unit_test(a_revoked_user_hears_nothing_more),
        cmocka_unit_test(an_answer_too_large_for_a_message_is_not_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
