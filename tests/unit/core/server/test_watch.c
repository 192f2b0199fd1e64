/* WATCH: what is asked of the store, what keeps the stream open, what closes it, and what the audit says. */
#include "core/server/fixture.h"
#include "wire/watch.h"

enum {
    WATCH_STREAM = 30,
    WATCHES_MAX = 64, /* of one device */
};

static void watch(struct lab *l, uint64_t stream, const char *user)
{
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {0xA0, ++l->last_txid};
    struct bk_watch in = {.user = bk_slice_text(user)};
    struct bk_slice b;
    assert_int_equal(bk_watch_write(buf, sizeof(buf), txid, &in, &b), BK_OK);
    lab_message(l, stream, b);
}

static void open_watch(struct lab *l, uint64_t stream, uint64_t device)
{
    lab_open_for(l, stream, BK_ROLE_DEVICE, device, "", BK_STREAM_WATCH);
    assert_int_equal(l->out.n, 0);
}

static void watch_up(struct lab *l, uint64_t stream, uint64_t device, const char *user)
{
    open_watch(l, stream, device);
    watch(l, stream, user);
    lab_found(l, lab_query(l), 0, device);
    assert_int_equal(lab_code(l, stream), 0);
    assert_int_equal(l->out.n, 1);
}

static void user_event(struct lab *l, enum bk_server_event_type type, const char *user)
{
    struct bk_server_event e = {.type = type};
    e.user_revoked.user = bk_slice_text(user);
    lab_input(l, &e);
}

static void expect_audit(const struct lab *l, enum bk_server_audit how, uint64_t took_ms)
{
    const struct bk_server_action *a = lab_must(l, BK_SERVER_AUDIT, 0);
    assert_int_equal(lab_audit(l), how);
    assert_true(bk_slice_equal(a->audit.user, bk_slice_text("alice")));
    assert_int_equal(a->audit.equipment_id, 2133);
    assert_int_equal(a->audit.took_ms, took_ms);
    assert_int_equal(a->audit.from.port, 7000);
}

static void a_watch_stays_open_and_its_end_is_audited(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    open_watch(l, WATCH_STREAM, 2133);
    watch(l, WATCH_STREAM, "alice");
    assert_int_equal(l->out.n, 1);
    const struct bk_server_action *a = lab_must(l, BK_SERVER_FIND_DEVICE, 0);
    assert_true(bk_slice_equal(a->find.user, bk_slice_text("alice")));
    assert_int_equal(a->find.equipment_id, 2133);
    assert_int_equal(a->find.name.n, 0);
    lab_found(l, a->find.query, 0, 2133);
    struct bk_stun m;
    assert_true(lab_said(l, WATCH_STREAM, &m));
    assert_int_equal(m.method, BK_METHOD_WATCH);
    assert_int_equal(m.cls, BK_STUN_SUCCESS);
    assert_int_equal(m.txid[1], l->last_txid);
    for (int hour = 0; hour < 48; hour++) {
        lab_pass(l, 3600 * 1000);
        lab_timer(l);
        assert_int_equal(l->out.n, 0);
    }
    assert_true(bk_server_deadline(l->server) > l->now.mono); /* it costs nothing */
    lab_closed(l, WATCH_STREAM);
    expect_audit(l, BK_AUDIT_CALL_ENDED, UINT64_C(48) * 3600 * 1000);
    lab_free(l);
}

static void whoever_may_not_call_is_refused_and_that_is_audited(void **state)
{
    (void)state;
    static const uint16_t codes[] = {BK_CODE_NOT_FOUND, BK_CODE_REVOKED, BK_CODE_FORBIDDEN};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct lab *l = lab_new();
        open_watch(l, WATCH_STREAM, 2133);
        watch(l, WATCH_STREAM, "alice");
        lab_found(l, lab_query(l), codes[i], 0);
        assert_int_equal(lab_code(l, WATCH_STREAM), codes[i]);
        assert_true(lab_closes(l, WATCH_STREAM));
        expect_audit(l, BK_AUDIT_CALL_REVOKED, 0);
        lab_closed(l, WATCH_STREAM);
        assert_int_equal(lab_audit(l), -1);
        lab_free(l);
    }
}

/* What a stolen device makes up does not fill the audit; all calls that a device can have are written at once. */
static void refused_watches_do_not_fill_the_audit(void **state)
{
    (void)state;
    enum { MORE = 30 };
    struct lab *l = lab_new();
    for (size_t i = 0; i <= WATCHES_MAX + MORE; i++) {
        uint64_t stream = 100 + i;
        if (i == WATCHES_MAX + MORE) {
            lab_pass(l, 1000);
        }
        open_watch(l, stream, 2133);
        watch(l, stream, "alice");
        lab_found(l, lab_query(l), BK_CODE_NOT_FOUND, 0);
        assert_int_equal(lab_code(l, stream), BK_CODE_NOT_FOUND); /* refused all the same */
        bool written = i < WATCHES_MAX || i == WATCHES_MAX + MORE;
        assert_int_equal(lab_audit(l), written ? BK_AUDIT_CALL_REVOKED : -1);
        if (written) {
            assert_int_equal(lab_must(l, BK_SERVER_AUDIT, 0)->audit.left_out,
                             i < WATCHES_MAX ? 0 : MORE);
        }
        lab_closed(l, stream);
    }
    lab_free(l);
}

static void a_store_that_is_busy_ends_no_call(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    open_watch(l, WATCH_STREAM, 2133);
    watch(l, WATCH_STREAM, "alice");
    lab_found(l, lab_query(l), BK_CODE_OVERLOADED, 0);
    assert_int_equal(lab_code(l, WATCH_STREAM), BK_CODE_OVERLOADED);
    assert_true(lab_closes(l, WATCH_STREAM));
    assert_int_equal(lab_audit(l), -1);
    lab_free(l);
}

static void a_change_of_grants_closes_the_watches_of_that_user(void **state)
{
    (void)state;
    static const enum bk_server_event_type types[] = {BK_SERVER_GRANTS_CHANGED,
                                                      BK_SERVER_USER_REVOKED};
    for (size_t i = 0; i < 2; i++) {
        struct lab *l = lab_new();
        watch_up(l, 30, 2133, "alice");
        watch_up(l, 31, 2133, "bob");
        watch_up(l, 32, 2134, "alice");
        open_watch(l, 33, 2133); /* has not asked yet */
        user_event(l, types[i], "alice");
        assert_int_equal(lab_count(l, BK_SERVER_CLOSE_STREAM), 2);
        assert_true(lab_closes(l, 30) && lab_closes(l, 32));
        /* The calls are not over: their devices ask again. */
        lab_closed(l, 30);
        assert_int_equal(l->out.n, 0);
        watch_up(l, 40, 2133, "alice");
        lab_closed(l, 31);
        assert_int_equal(lab_audit(l), BK_AUDIT_CALL_ENDED);
        user_event(l, types[i], "carol");
        assert_int_equal(l->out.n, 0);
        user_event(l, types[i], "");
        assert_int_equal(l->out.n, 0);
        lab_free(l);
    }
}

static void what_the_store_says_after_a_change_is_not_believed(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    open_watch(l, WATCH_STREAM, 2133);
    watch(l, WATCH_STREAM, "alice");
    uint64_t query = lab_query(l);
    user_event(l, BK_SERVER_GRANTS_CHANGED, "alice");
    assert_true(lab_closes(l, WATCH_STREAM));
    lab_found(l, query, 0, 2133); /* looked up before the change */
    assert_int_equal(l->out.n, 0);
    lab_closed(l, WATCH_STREAM);
    assert_int_equal(l->out.n, 0);
    /* Nor after the stream has gone. */
    open_watch(l, 40, 2133);
    watch(l, 40, "alice");
    query = lab_query(l);
    lab_closed(l, 40);
    lab_found(l, query, 0, 2133);
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void a_device_that_is_revoked_or_replaced_loses_its_watches(void **state)
{
    (void)state;
    for (unsigned replaced = 0; replaced < 2; replaced++) {
        struct lab *l = lab_new();
        watch_up(l, 30, 2133, "alice");
        watch_up(l, 31, 2133, "bob");
        watch_up(l, 32, 2134, "alice");
        lab_exception(l, 2133, replaced != 0 ? 2 : 0, replaced == 0);
        assert_int_equal(lab_count(l, BK_SERVER_CLOSE_STREAM), 2);
        assert_false(lab_closes(l, 32));
        lab_closed(l, 30);
        assert_int_equal(l->out.n, 0);
        open_watch(l, 40, 2133);
        watch(l, 40, "alice");
        if (replaced != 0) { /* certificates name no generation: the store knows its key */
            assert_int_equal(lab_count(l, BK_SERVER_FIND_DEVICE), 1);
        } else {
            assert_int_equal(lab_code(l, 40), BK_CODE_FORBIDDEN);
            assert_true(lab_closes(l, 40));
            expect_audit(l, BK_AUDIT_CALL_REVOKED, 0);
        }
        lab_free(l);
    }
}

static void a_device_revoked_while_the_store_thinks_is_not_told_yes(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    open_watch(l, WATCH_STREAM, 2133);
    watch(l, WATCH_STREAM, "alice");
    uint64_t query = lab_query(l);
    lab_exception(l, 2133, 0, true);
    assert_true(lab_closes(l, WATCH_STREAM));
    lab_found(l, query, 0, 2133);
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

/* More than `out` holds: the rest follows at once, and nobody is forgotten. */
static void thousands_of_watches_are_closed_bit_by_bit(void **state)
{
    (void)state;
    enum { WATCHES = 5000, EACH = 50 };
    struct lab *l = lab_new_with(1000, WATCHES, 32);
    static bool closed[WATCHES + 1];
    memset(closed, 0, sizeof(closed));
    for (uint64_t i = 1; i <= WATCHES; i++) {
        watch_up(l, i, 1 + i / EACH, i % 2 == 0 ? "alice" : "bob");
    }
    user_event(l, BK_SERVER_GRANTS_CHANGED, "alice");
    size_t rounds = 0;
    for (size_t n = 0; n < WATCHES / 2; rounds++) {
        assert_true(l->out.n > 0 && lab_count(l, BK_SERVER_CLOSE_STREAM) == l->out.n);
        for (size_t i = 0; i < l->out.n; i++) {
            uint64_t stream = l->out.actions[i].close.stream;
            assert_true(stream % 2 == 0 && !closed[stream]);
            closed[stream] = true;
            n++;
        }
        assert_true(n == WATCHES / 2 || bk_server_deadline(l->server) <= l->now.mono);
        lab_timer(l);
    }
    assert_int_equal(l->out.n, 0);
    assert_true(bk_server_deadline(l->server) > l->now.mono);
    for (uint64_t i = 2; i <= WATCHES; i += 2) {
        lab_closed(l, i);
        assert_int_equal(l->out.n, 0);
    }
    lab_free(l);
}

static void a_stream_asks_once_and_for_nothing_else(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    watch_up(l, 30, 2133, "alice");
    watch(l, 30, "bob");
    assert_int_equal(lab_code(l, 30), BK_CODE_BAD_REQUEST);
    assert_true(lab_closes(l, 30));
    open_watch(l, 31, 2133);
    watch(l, 31, "alice");
    uint64_t query = lab_query(l);
    watch(l, 31, "alice");
    assert_int_equal(lab_code(l, 31), BK_CODE_BAD_REQUEST);
    assert_true(lab_closes(l, 31));
    lab_found(l, query, 0, 2133);
    assert_int_equal(l->out.n, 0);
    open_watch(l, 32, 2133);
    lab_connect(l, 32, 2133, 1);
    assert_true(lab_closes(l, 32));
    static const struct {
        enum bk_role role;
        enum bk_server_purpose purpose;
    } others[] = {{BK_ROLE_USER, BK_STREAM_WATCH},
                  {BK_ROLE_NONE, BK_STREAM_WATCH},
                  {BK_ROLE_SERVER, BK_STREAM_WATCH}};
    for (uint64_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        lab_open_for(l, 40 + i, others[i].role, 0, "alice", others[i].purpose);
        assert_true(lab_closes(l, 40 + i));
    }
    lab_open(l, 50, BK_ROLE_USER, 0, "alice");
    watch(l, 50, "alice"); /* on another stream */
    assert_int_equal(lab_code(l, 50), BK_CODE_BAD_REQUEST);
    lab_free(l);
}

static void one_device_does_not_take_all_streams(void **state)
{
    (void)state;
    struct lab *l = lab_new_with(1000, 200, 100);
    uint64_t stream = 1;
    for (; stream <= WATCHES_MAX; stream++) {
        watch_up(l, stream, 2133, "alice");
    }
    open_watch(l, stream, 2133);
    watch(l, stream, "alice");
    assert_int_equal(lab_code(l, stream), BK_CODE_OVERLOADED);
    assert_true(lab_closes(l, stream));
    watch_up(l, stream + 1, 2134, "alice"); /* others may */
    lab_closed(l, 1);
    watch_up(l, stream + 2, 2133, "alice");
    lab_free(l);
}

static void with_an_exception_lost_calls_live_on(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    l->memory.fail_from = l->memory.calls + 1;
    for (uint64_t id = 10000; id < 20000; id++) {
        lab_exception(l, id, 0, true);
    }
    open_watch(l, WATCH_STREAM, 2133);
    watch(l, WATCH_STREAM, "alice");
    assert_int_equal(lab_code(l, WATCH_STREAM), BK_CODE_OVERLOADED);
    l->memory.fail_from = 0;
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_stays_open_and_its_end_is_audited),
        cmocka_unit_test(whoever_may_not_call_is_refused_and_that_is_audited),
        cmocka_unit_test(refused_watches_do_not_fill_the_audit),
        cmocka_unit_test(a_store_that_is_busy_ends_no_call),
        cmocka_unit_test(a_change_of_grants_closes_the_watches_of_that_user),
        cmocka_unit_test(what_the_store_says_after_a_change_is_not_believed),
        cmocka_unit_test(a_device_that_is_revoked_or_replaced_loses_its_watches),
        cmocka_unit_test(a_device_revoked_while_the_store_thinks_is_not_told_yes),
        cmocka_unit_test(thousands_of_watches_are_closed_bit_by_bit),
        cmocka_unit_test(a_stream_asks_once_and_for_nothing_else),
        cmocka_unit_test(one_device_does_not_take_all_streams),
        cmocka_unit_test(with_an_exception_lost_calls_live_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
