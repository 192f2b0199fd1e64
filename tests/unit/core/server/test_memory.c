/* Memory that runs out. A server is led through its life again and again, and in the nth life its nth
 * allocation fails, once. Whatever needed it is refused whole and may be asked for again; nobody else
 * notices. */
#include "core/server/fixture.h"
#include "wire/renew.h"
#include "wire/watch.h"

enum {
    DEVICES = 1100, /* beyond the first page and the first segment of the table */
    REVOKED = 1600, /* beyond the room that the map of exceptions has at the start */
    REVOKED_BASE = 100000,
    USER_STREAM = 1,
    DEVICE_STREAM = 100,
};

/* 226 on a stream that the device opens, its answer, the requester's success, and the end. */
static void take_call(struct lab *l, const struct device *d, uint8_t call)
{
    uint64_t stream = DEVICE_STREAM + call;
    struct bk_stun m;
    struct bk_connect offer;
    uint8_t buf[128];
    struct bk_slice b;
    lab_open(l, stream, BK_ROLE_DEVICE, d->id, "");
    assert_true(lab_said(l, stream, &m));
    assert_int_equal(bk_connect_read(&m, &offer), BK_OK);
    assert_int_equal(offer.call_id[0], call);
    assert_int_equal(bk_success_write(buf, sizeof(buf), BK_METHOD_CONNECT, m.txid, &b), BK_OK);
    lab_message(l, stream, b);
    assert_int_equal(lab_code(l, USER_STREAM), 0);
    assert_int_equal(lab_audit(l), BK_AUDIT_DELIVERED);
    lab_closed(l, stream);
}

static void expect_notify(const struct lab *l, size_t nth)
{
    struct bk_stun m;
    assert_int_equal(bk_stun_read(lab_must(l, BK_SERVER_SEND_DATAGRAM, nth)->datagram.bytes, &m),
                     BK_OK);
    assert_int_equal(m.method, BK_METHOD_NOTIFY);
}

/* Registers; true if that failed at first. Then somebody calls at once, and is put through as soon as
 * the device has asked again, with the nonce it has. */
static bool join(struct lab *l, struct device *d)
{
    char nonce[BK_NONCE_BYTES + 1];
    uint64_t rows = bk_server_rows(l->server);
    assert_int_equal(device_send(l, d, NULL, nonce), BK_CODE_STALE_NONCE);
    if (device_send(l, d, nonce, NULL) == 0) {
        return false;
    }
    struct bk_server_row row;
    assert_int_equal(l->out.n, 0);
    assert_false(bk_server_find(l->server, d->id, &row));
    assert_int_equal(bk_server_rows(l->server), rows);
    lab_connect(l, USER_STREAM, d->id, 1);
    lab_found(l, lab_query(l), 0, d->id);
    assert_int_equal(l->out.n, 0);
    assert_int_equal(device_send(l, d, nonce, NULL), 0);
    expect_notify(l, 1);
    take_call(l, d, 1);
    return true;
}

/* A new registration key, and a call watched until grants change. */
static void renew_and_watch(struct lab *l, const struct device *d)
{
    enum { RENEW_STREAM = 200, WATCH_STREAM = 201 };
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {7};
    struct bk_renew renew = {.csr = bk_slice_text("request")};
    struct bk_watch watch = {.user = bk_slice_text("alice")};
    struct bk_server_event e = {.type = BK_SERVER_RENEWED};
    struct bk_slice b;
    lab_open_for(l, RENEW_STREAM, BK_ROLE_DEVICE, d->id, "", BK_STREAM_RENEW);
    assert_int_equal(bk_renew_write(buf, sizeof(buf), txid, &renew, &b), BK_OK);
    lab_message(l, RENEW_STREAM, b);
    e.renewed.query = lab_must(l, BK_SERVER_RENEW, 0)->renew.query;
    e.renewed.generation = 1;
    lab_input(l, &e);
    assert_int_equal(lab_code(l, RENEW_STREAM), 0);
    lab_closed(l, RENEW_STREAM);
    lab_open_for(l, WATCH_STREAM, BK_ROLE_DEVICE, d->id, "", BK_STREAM_WATCH);
    assert_int_equal(bk_watch_write(buf, sizeof(buf), txid, &watch, &b), BK_OK);
    lab_message(l, WATCH_STREAM, b);
    lab_found(l, lab_query(l), 0, d->id);
    assert_int_equal(lab_code(l, WATCH_STREAM), 0);
    e = (struct bk_server_event){.type = BK_SERVER_GRANTS_CHANGED};
    e.grants_changed.user = bk_slice_text("alice");
    lab_input(l, &e);
    assert_true(lab_closes(l, WATCH_STREAM));
    lab_closed(l, WATCH_STREAM);
}

static void expect_all_is_well(struct lab *l, struct device *devices)
{
    struct bk_server_row row;
    assert_int_equal(bk_server_rows(l->server), DEVICES);
    for (size_t i = 0; i < DEVICES; i++) {
        assert_true(device_is_at(l, &devices[i], devices[i].addr));
    }
    size_t walked = 0;
    for (uint64_t cursor = 0; bk_server_next(l->server, &cursor, &row); walked++) {
    }
    assert_int_equal(walked, DEVICES);
    for (uint64_t i = 0; i < REVOKED; i += 37) {
        struct device d = device_new(l, REVOKED_BASE + i);
        assert_int_equal(device_send(l, &d, NULL, NULL), BK_CODE_FORBIDDEN);
    }
    uint64_t before = l->memory.calls;
    struct device *last = &devices[DEVICES - 1];
    assert_int_equal(device_send(l, last, NULL, NULL), 0);
    lab_connect(l, USER_STREAM, last->id, 2);
    lab_found(l, lab_query(l), 0, last->id);
    expect_notify(l, 0);
    take_call(l, last, 2);
    renew_and_watch(l, last);
    assert_int_equal(bk_server_set_masters(l->server, l->config.master, 2), BK_OK);
    assert_int_equal(l->memory.calls, before); /* nothing of a registered device's life allocates */
}

/* True if nothing failed in it. */
static bool live(uint64_t nth)
{
    struct lab *l = lab_new_with(DEVICES, 64, 32);
    bk_server_free(l->server);
    l->memory = (struct failing){.fail_at = nth};
    enum bk_err err = bk_server_new(&l->config, &l->now, &l->server);
    if (err != BK_OK) {
        assert_int_equal(err, BK_E_NOMEM);
        assert_null(l->server);
        assert_int_equal(l->memory.alive, 0);
        assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
        lab_free(l);
        return false;
    }
    assert_true(nth > l->memory.calls); /* or it would have failed */
    lab_open(l, USER_STREAM, BK_ROLE_USER, 0, "alice");
    uint64_t at_start = l->memory.calls;
    for (uint64_t i = 0; i < REVOKED; i++) {
        lab_exception(l, REVOKED_BASE + i, 0, true);
    }
    bool in_exceptions = nth > at_start && nth <= l->memory.calls;
    static struct device devices[DEVICES];
    size_t refused = 0;
    for (size_t i = 0; i < DEVICES; i++) {
        devices[i] = device_new(l, i + 1);
        refused += join(l, &devices[i]);
    }
    bool failed = nth <= l->memory.calls;
    assert_int_equal(refused, failed && !in_exceptions);
    expect_all_is_well(l, devices);
    lab_free(l);
    return !failed;
}

static void each_allocation_of_a_servers_life_fails_once(void **state)
{
    (void)state;
    uint64_t nth = 1;
    while (!live(nth)) {
        nth++;
    }
    assert_true(nth > 15 + 5); /* of the start, and of what grows */
}

/* When a revocation could not be kept, nobody is believed who might be meant by it. */
static void with_a_revocation_lost_no_device_is_believed_any_more(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    uint8_t buf[128];
    struct bk_slice b;
    struct bk_stun m;
    device_register(l, &d);
    lab_open(l, USER_STREAM, BK_ROLE_USER, 0, "alice");
    lab_connect(l, USER_STREAM, 2133, 1);
    lab_found(l, lab_query(l), 0, 2133);
    lab_open(l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    assert_true(lab_said(l, DEVICE_STREAM, &m));
    lab_exception(l, 5555, 3, false); /* of this one all is known */

    l->memory.fail_from = 1;
    for (uint64_t id = 10000; id < 20000; id++) {
        lab_exception(l, id, 0, true);
    }
    assert_int_equal(bk_success_write(buf, sizeof(buf), BK_METHOD_CONNECT, m.txid, &b), BK_OK);
    lab_message(l, DEVICE_STREAM, b);
    assert_true(lab_closes(l, DEVICE_STREAM));
    lab_open(l, DEVICE_STREAM + 1, BK_ROLE_DEVICE, 2133, "");
    assert_true(lab_closes(l, DEVICE_STREAM + 1));
    assert_int_equal(device_send(l, &d, NULL, NULL), SILENCE);
    lab_closed(l, DEVICE_STREAM);
    assert_int_equal(lab_code(l, USER_STREAM), BK_CODE_OFFLINE);
    lab_connect(l, USER_STREAM, 2133, 2);
    lab_found(l, lab_query(l), 0, 2133);
    assert_int_equal(lab_code(l, USER_STREAM), BK_CODE_OVERLOADED);
    assert_int_equal(lab_audit(l), BK_AUDIT_OVERLOADED);

    d = device_new(l, 5555);
    device_rekey(l, &d, EPOCH, 3);
    assert_int_equal(device_send(l, &d, NULL, NULL), BK_CODE_STALE_NONCE);
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_a_servers_life_fails_once),
        cmocka_unit_test(with_a_revocation_lost_no_device_is_believed_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
