/* INFO: on which streams it may be asked, what of it is the shell's, and how often. */
#include "core/server/call_lab.h"
#include "wire/info.h"
#include "wire/watch.h"

static void ask(struct lab *l, uint64_t stream)
{
    uint8_t buf[64];
    uint8_t txid[BK_STUN_TXID_BYTES] = {0x1F, ++l->last_txid};
    struct bk_slice b;
    assert_int_equal(bk_info_write(buf, sizeof(buf), txid, &b), BK_OK);
    lab_message(l, stream, b);
}

/* The shell is to answer for that user, or a device. */
static void expect(const struct lab *l, uint64_t stream, const char *user)
{
    const struct bk_server_action *a = lab_must(l, BK_SERVER_SEND_INFO, 0);
    struct bk_addr from = bk_addr_v4(4, 17, 168, 2, 7000);
    assert_int_equal(l->out.n, 1);
    assert_int_equal(a->info.stream, stream);
    assert_int_equal(a->info.txid[0], 0x1F);
    assert_int_equal(a->info.txid[1], l->last_txid);
    assert_true(bk_addr_equal(&a->info.from, &from));
    assert_true(bk_slice_equal(a->info.user, bk_slice_text(user)));
}

static void users_and_watching_devices_may_ask(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    ask(l, 1);
    expect(l, 1, "alice");
    ask(l, 1);
    expect(l, 1, "alice");

    lab_open_for(l, 2, BK_ROLE_DEVICE, 2133, "", BK_STREAM_WATCH);
    ask(l, 2);
    expect(l, 2, "");
    lab_closed(l, 2); /* it watched nothing: nothing is written */
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void a_watch_may_follow(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    uint8_t buf[128];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_watch watch = {.user = bk_slice_text("alice")};
    struct bk_slice b;
    lab_open_for(l, 2, BK_ROLE_DEVICE, 2133, "", BK_STREAM_WATCH);
    ask(l, 2);
    expect(l, 2, "");
    assert_int_equal(bk_watch_write(buf, sizeof(buf), txid, &watch, &b), BK_OK);
    lab_message(l, 2, b);
    lab_found(l, lab_query(l), 0, 2133);
    assert_int_equal(lab_code(l, 2), 0);
    ask(l, 2);
    expect(l, 2, "");
    lab_closed(l, 2);
    assert_int_equal(lab_audit(l), BK_AUDIT_CALL_ENDED);
    lab_free(l);
}

static void a_called_device_may_ask_on_its_stream(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    ring(&c, 5);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, DEVICE_STREAM, 5);
    ask(c.l, DEVICE_STREAM);
    expect(c.l, DEVICE_STREAM, "");
    answer_offer(&c, DEVICE_STREAM, 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), 0);
    lab_free(c.l);
}

static void others_may_not(void **state)
{
    (void)state;
    static const struct {
        enum bk_role role;
        enum bk_server_purpose purpose;
    } streams[] = {{BK_ROLE_NONE, BK_STREAM_PLAIN},
                   {BK_ROLE_DEVICE, BK_STREAM_RENEW},
                   {BK_ROLE_USER, BK_STREAM_RENEW},
                   {BK_ROLE_DEVICE, BK_STREAM_REGISTER}};
    struct lab *l = lab_new();
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        lab_open_for(l, 10 + i, streams[i].role, 2133, "alice", streams[i].purpose);
        assert_int_equal(l->out.n, 0);
        ask(l, 10 + i);
        assert_null(lab_action(l, BK_SERVER_SEND_INFO));
        assert_int_equal(lab_code(l, 10 + i), BK_CODE_BAD_REQUEST);
        assert_true(lab_closes(l, 10 + i));
    }
    lab_free(l);
}

static void a_revoked_device_is_refused(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_exception(l, 2133, 0, true);
    lab_open_for(l, 2, BK_ROLE_DEVICE, 2133, "", BK_STREAM_WATCH);
    ask(l, 2);
    assert_int_equal(lab_code(l, 2), BK_CODE_FORBIDDEN);
    assert_null(lab_action(l, BK_SERVER_SEND_INFO));
    lab_free(l);
}

static void it_counts_as_a_request(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    bk_server_set_requests(l->server, 2);
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    for (int i = 0; i < 20; i++) { /* the burst */
        ask(l, 1);
        expect(l, 1, "alice");
    }
    ask(l, 1);
    assert_null(lab_action(l, BK_SERVER_SEND_INFO));
    assert_int_equal(lab_code(l, 1), BK_CODE_OVERLOADED);
    assert_false(lab_closes(l, 1));
    lab_pass(l, 500);
    ask(l, 1);
    expect(l, 1, "alice");
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_and_watching_devices_may_ask),
        cmocka_unit_test(a_watch_may_follow),
        cmocka_unit_test(a_called_device_may_ask_on_its_stream),
        cmocka_unit_test(others_may_not),
        cmocka_unit_test(a_revoked_device_is_refused),
        cmocka_unit_test(it_counts_as_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
