/* How often one user may ask. */
#include "core/server/fixture.h"
#include "wire/renew.h"

enum {
    ALICE = 1,
    ALICE_TOO = 2,
    BOB = 3,
    RATE = 2,
    BURST = 20,
};

static struct lab *lab_limited(void)
{
    struct lab *l = lab_new();
    bk_server_set_requests(l->server, RATE);
    lab_open(l, ALICE, BK_ROLE_USER, 0, "alice");
    lab_open(l, ALICE_TOO, BK_ROLE_USER, 0, "alice");
    lab_open(l, BOB, BK_ROLE_USER, 0, "bob");
    return l;
}

/* True if the store was asked; the answer has been given by then. */
static bool lookup(struct lab *l, uint64_t stream)
{
    uint8_t buf[128];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1, ++l->last_txid};
    struct bk_lookup in = {.equipment_id = 2133};
    struct bk_slice b;
    assert_int_equal(bk_lookup_write(buf, sizeof(buf), txid, &in, &b), BK_OK);
    lab_message(l, stream, b);
    if (!lab_action(l, BK_SERVER_FIND_DEVICE)) {
        assert_int_equal(l->out.n, 1);
        assert_int_equal(lab_code(l, stream), BK_CODE_OVERLOADED);
        assert_false(lab_closes(l, stream));
        return false;
    }
    lab_found(l, lab_query(l), BK_CODE_NOT_FOUND, 0);
    return true;
}

static bool connect_to(struct lab *l, uint64_t stream, uint8_t call)
{
    lab_connect(l, stream, 2133, call);
    if (!lab_action(l, BK_SERVER_FIND_DEVICE)) {
        assert_int_equal(lab_code(l, stream), BK_CODE_OVERLOADED);
        assert_int_equal(lab_audit(l), BK_AUDIT_OVERLOADED);
        return false;
    }
    lab_found(l, lab_query(l), BK_CODE_NOT_FOUND, 0);
    return true;
}

static void a_burst_and_then_the_rate_over_all_streams_of_a_user(void **state)
{
    (void)state;
    struct lab *l = lab_limited();
    size_t asked = 0;
    for (uint8_t i = 0; i < 3 * BURST; i++) {
        uint64_t stream = i % 2 == 0 ? ALICE : ALICE_TOO;
        asked += i % 3 == 0 ? connect_to(l, stream, i) : lookup(l, stream);
    }
    assert_int_equal(asked, BURST);
    assert_true(lookup(l, BOB)); /* nobody else suffers */
    lab_pass(l, 1000);
    asked = 0;
    for (uint8_t i = 0; i < 10; i++) {
        asked += lookup(l, ALICE);
    }
    assert_int_equal(asked, RATE);
    /* Nothing is gained by another connection. */
    lab_closed(l, ALICE);
    lab_open(l, 10, BK_ROLE_USER, 0, "alice");
    assert_false(lookup(l, 10));
    assert_false(connect_to(l, 10, 200));
    lab_pass(l, 60000);
    for (size_t i = 0; i < BURST; i++) {
        assert_true(lookup(l, 10));
    }
    assert_false(lookup(l, 10));
    lab_free(l);
}

static void the_limit_is_set_while_it_runs_and_may_be_none(void **state)
{
    (void)state;
    struct lab *l = lab_limited();
    bk_server_set_requests(l->server, 0);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(lookup(l, ALICE));
    }
    bk_server_set_requests(l->server, UINT32_MAX); /* a burst of more than can be counted */
    for (size_t i = 0; i < 1000; i++) {
        assert_true(lookup(l, ALICE));
    }
    lab_pass(l, 1000);
    bk_server_set_requests(l->server, 1);
    size_t asked = 0;
    for (size_t i = 0; i < 100; i++) {
        asked += lookup(l, ALICE);
    }
    assert_int_equal(asked, 10);
    lab_free(l);
}

static struct bk_slice renew_request(uint8_t *buf, size_t cap)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_renew in = {.csr = bk_slice_text("request")};
    struct bk_slice b;
    assert_int_equal(bk_renew_write(buf, cap, txid, &in, &b), BK_OK);
    return b;
}

/* True if the store was asked; the answer has been given by then. */
static bool renew(struct lab *l, uint64_t stream)
{
    uint8_t buf[128];
    lab_message(l, stream, renew_request(buf, sizeof(buf)));
    const struct bk_server_action *a = lab_action(l, BK_SERVER_RENEW);
    if (!a) {
        assert_int_equal(lab_code(l, stream), BK_CODE_OVERLOADED);
        return false;
    }
    struct bk_server_event e = {.type = BK_SERVER_RENEWED};
    e.renewed.query = a->renew.query;
    e.renewed.generation = 1;
    lab_input(l, &e);
    assert_int_equal(lab_code(l, stream), 0);
    return true;
}

/* A renewal is a signature and a transaction on disk, a lookup is read from memory. */
static void a_renewal_counts_as_ten(void **state)
{
    (void)state;
    struct lab *l = lab_limited();
    lab_open_for(l, 10, BK_ROLE_DEVICE, 2133, "", BK_STREAM_RENEW);
    lab_open_for(l, 11, BK_ROLE_DEVICE, 2134, "", BK_STREAM_RENEW);
    for (size_t i = 0; i < BURST; i++) {
        assert_int_equal(renew(l, 10), i < BURST / 10);
    }
    assert_true(renew(l, 11));
    lab_pass(l, 10000 / RATE - 1);
    assert_false(renew(l, 10));
    lab_pass(l, 1);
    assert_true(renew(l, 10));
    assert_false(renew(l, 10));
    lab_free(l);
}

/* However low the limit: who renews in passing has something left for the call. */
static void a_renewal_leaves_half_of_a_burst(void **state)
{
    (void)state;
    struct lab *l = lab_limited();
    bk_server_set_requests(l->server, 1);
    lab_open_for(l, 10, BK_ROLE_USER, 0, "alice", BK_STREAM_RENEW);
    assert_true(renew(l, 10));
    for (size_t i = 0; i < 5; i++) {
        assert_true(lookup(l, ALICE));
    }
    assert_false(lookup(l, ALICE));
    lab_free(l);
}

/* The first ones are written, then one a second, which says how many were not. */
static void refusals_do_not_fill_the_audit(void **state)
{
    (void)state;
    enum { WRITTEN = 64, MORE = 100 };
    struct lab *l = lab_limited();
    bk_server_set_requests(l->server, 1);
    for (size_t i = 0; i < 10; i++) {
        assert_true(lookup(l, ALICE));
    }
    size_t written = 0;
    for (size_t i = 0; i < WRITTEN + MORE; i++) {
        lab_connect(l, i % 2 == 0 ? ALICE : ALICE_TOO, 2133, (uint8_t)i);
        assert_int_equal(lab_code(l, i % 2 == 0 ? ALICE : ALICE_TOO), BK_CODE_OVERLOADED);
        const struct bk_server_action *a = lab_action(l, BK_SERVER_AUDIT);
        written += a != NULL;
        assert_true(!a || a->audit.left_out == 0);
    }
    assert_int_equal(written, WRITTEN);
    bk_server_set_requests(l->server, RATE);
    for (size_t i = 0; i < BURST; i++) {
        (void)lookup(l, BOB);
    }
    lab_connect(l, BOB, 2133, 0);
    assert_int_equal(lab_audit(l), BK_AUDIT_OVERLOADED); /* nobody else is left out */
    assert_int_equal(lab_must(l, BK_SERVER_AUDIT, 0)->audit.left_out, 0);
    lab_pass(l, 1000);
    while (lookup(l, ALICE)) {
    }
    lab_connect(l, ALICE, 2133, 0);
    assert_int_equal(lab_must(l, BK_SERVER_AUDIT, 0)->audit.left_out, MORE);
    lab_connect(l, ALICE, 2133, 0);
    assert_int_equal(lab_audit(l), -1);
    lab_pass(l, 1000);
    while (lookup(l, ALICE)) {
    }
    lab_connect(l, ALICE, 2133, 0);
    assert_int_equal(lab_must(l, BK_SERVER_AUDIT, 0)->audit.left_out, 1);
    lab_free(l);
}

static void open_joining(struct lab *l, uint64_t stream, struct bk_addr from)
{
    struct bk_server_event e = {.type = BK_SERVER_STREAM_OPEN};
    e.open.stream = stream;
    e.open.from = from;
    lab_input(l, &e);
}

/* Who joins has no name yet: a token that waits for its certificate is good for many an ENROL that is stored. */
static void joins_count_by_where_they_come_from(void **state)
{
    (void)state;
    struct lab *l = lab_limited();
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_enrol in = {.token = bk_slice_text("0123456789abcdef"), .csr = bk_slice_text("csr")};
    struct bk_slice b;
    assert_int_equal(bk_enrol_write(buf, sizeof(buf), txid, &in, &b), BK_OK);
    open_joining(l, 10, bk_addr_v4(198, 51, 100, 1, 7000));
    open_joining(l, 11, bk_addr_v4(198, 51, 100, 1, 7001));
    open_joining(l, 12, bk_addr_v4(198, 51, 100, 2, 7000));
    for (size_t i = 0; i < 2 * BURST; i++) {
        uint64_t stream = 10 + i % 2;
        lab_message(l, stream, b);
        const struct bk_server_action *a = lab_action(l, BK_SERVER_ENROL);
        assert_int_equal(a != NULL, i < BURST);
        if (a) {
            struct bk_server_event e = {.type = BK_SERVER_ENROLLED};
            e.enrolled.query = a->enrol.query;
            e.enrolled.code = BK_CODE_PENDING;
            lab_input(l, &e);
            assert_int_equal(lab_code(l, stream), BK_CODE_PENDING);
        } else {
            assert_int_equal(lab_code(l, stream), BK_CODE_OVERLOADED);
        }
    }
    lab_message(l, 12, b);
    assert_non_null(lab_action(l, BK_SERVER_ENROL));
    lab_free(l);
}

/* Refused before anything is asked: neither the answer nor its time tells of any device. */
static void a_refusal_says_nothing_about_the_device(void **state)
{
    (void)state;
    struct lab *l = lab_limited();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    for (size_t i = 0; i < BURST; i++) {
        assert_true(lookup(l, ALICE));
    }
    for (uint64_t id = 2133; id < 2135; id++) {
        lab_connect(l, ALICE, id, (uint8_t)id);
        assert_int_equal(lab_code(l, ALICE), BK_CODE_OVERLOADED);
        assert_int_equal(lab_count(l, BK_SERVER_SEND_MESSAGE), 1);
        assert_null(lab_action(l, BK_SERVER_FIND_DEVICE));
    }
    lab_free(l);
}

/* What a caller can see of a device that is missing and of one that it was not granted, byte for byte, for every
 * request; with a row or without. */
static void missing_and_ungranted_are_the_same(void **state)
{
    (void)state;
    enum { REQUESTS = 2 };
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133); /* there, and registered, but not granted */
    device_register(l, &d);
    lab_open(l, ALICE, BK_ROLE_USER, 0, "alice");
    uint8_t seen[2][REQUESTS][128];
    size_t n[2][REQUESTS];
    for (size_t missing = 0; missing < 2; missing++) {
        uint64_t id = 2133 + missing;
        uint8_t buf[128];
        uint8_t txid[BK_STUN_TXID_BYTES] = {1};
        struct bk_lookup in = {.equipment_id = id};
        struct bk_slice b;
        assert_int_equal(bk_lookup_write(buf, sizeof(buf), txid, &in, &b), BK_OK);
        for (size_t i = 0; i < REQUESTS; i++) {
            if (i == 0) {
                lab_message(l, ALICE, b);
            } else {
                lab_connect(l, ALICE, id, 1);
            }
            lab_found(l, lab_query(l), BK_CODE_NOT_FOUND, 0);
            assert_int_equal(lab_count(l, BK_SERVER_SEND_DATAGRAM), 0); /* nobody is rung */
            struct bk_slice m = lab_must(l, BK_SERVER_SEND_MESSAGE, 0)->message.bytes;
            n[missing][i] = m.n;
            memcpy(seen[missing][i], m.p, m.n);
        }
    }
    for (size_t i = 0; i < REQUESTS; i++) {
        assert_int_equal(n[0][i], n[1][i]);
        assert_memory_equal(seen[0][i], seen[1][i], n[0][i]);
    }
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_and_then_the_rate_over_all_streams_of_a_user),
        cmocka_unit_test(the_limit_is_set_while_it_runs_and_may_be_none),
        cmocka_unit_test(a_renewal_counts_as_ten),
        cmocka_unit_test(a_renewal_leaves_half_of_a_burst),
        cmocka_unit_test(refusals_do_not_fill_the_audit),
        cmocka_unit_test(joins_count_by_where_they_come_from),
        cmocka_unit_test(a_refusal_says_nothing_about_the_device),
        cmocka_unit_test(missing_and_ungranted_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
