/* What the tests of calls share beside the fixture: a registered device, a user, and the steps of a call. */
#ifndef BK_TESTS_SERVER_CALL_LAB_H
#define BK_TESTS_SERVER_CALL_LAB_H

#include "core/server/fixture.h"

enum {
    USER_STREAM = 10,
    OTHER_USER_STREAM = 11,
    DEVICE_STREAM = 20,
    SECOND_DEVICE_STREAM = 21,
};

struct call_lab {
    struct lab *l;
    struct device d;
    uint8_t notify_txid[BK_STUN_TXID_BYTES];
    struct bk_notify notify; /* the newest; its slices live until the next event */
    uint8_t offer_txid[BK_STUN_TXID_BYTES];
};

static inline struct call_lab call_lab_from(struct lab *l)
{
    struct call_lab c = {.l = l};
    c.d = device_new(c.l, 2133);
    c.d.local = 1;
    device_register(c.l, &c.d);
    lab_open(c.l, USER_STREAM, BK_ROLE_USER, 0, "alice");
    return c;
}

/* Of a server that knows the first form only. */
static inline struct call_lab call_lab_new(void)
{
    return call_lab_from(lab_new());
}

/* Reads the NOTIFY in `out`; asserts where it goes and what it carries. */
static inline void expect_notify(struct call_lab *c)
{
    assert_int_equal(lab_count(c->l, BK_SERVER_SEND_DATAGRAM), 1);
    const struct bk_server_action *a = lab_must(c->l, BK_SERVER_SEND_DATAGRAM, 0);
    assert_true(bk_addr_equal(&a->datagram.to, &c->d.addr));
    assert_int_equal(a->datagram.local, c->d.local);
    struct bk_stun m;
    assert_int_equal(bk_stun_read(a->datagram.bytes, &m), BK_OK);
    assert_int_equal(bk_notify_read(&m, &c->l->config.mac, BK_SLICE_OF(c->d.key), &c->notify),
                     BK_OK);
    assert_true(c->notify.tag.random == c->d.tag.random);
    assert_int_equal(c->notify.tag.counter, c->d.tag.counter);
    memcpy(c->notify_txid, m.txid, sizeof(m.txid));
}

/* As the first form has it. */
static inline void answer_notify(struct call_lab *c, struct bk_addr from, uint8_t local)
{
    const struct bk_notify_answer said = {.taken = false};
    uint8_t buf[128];
    struct bk_slice b;
    assert_int_equal(bk_notify_answer_write(buf, sizeof(buf), c->notify_txid, &said,
                                            &c->l->config.mac, BK_SLICE_OF(c->d.key), &b),
                     BK_OK);
    lab_datagram(c->l, local, from, b);
    assert_int_equal(c->l->out.n, 0); /* an answer is never answered */
}

/* 217 up to the first NOTIFY. */
static inline void ring(struct call_lab *c, uint8_t call)
{
    lab_connect(c->l, USER_STREAM, 2133, call);
    lab_found(c->l, lab_query(c->l), 0, 2133);
    expect_notify(c);
}

static inline void expect_offer(struct call_lab *c, uint64_t stream, uint8_t call)
{
    struct bk_stun m;
    struct bk_connect in;
    assert_true(lab_said(c->l, stream, &m));
    assert_int_equal(bk_connect_read(&m, &in), BK_OK);
    assert_int_equal(in.equipment_id, 2133);
    assert_int_equal(in.call_id[0], call);
    assert_true(bk_slice_equal(in.box, bk_slice_text("sealed")));
    assert_true(bk_slice_equal(in.user, bk_slice_text("alice")));
    struct bk_addr from = bk_addr_v4(4, 17, 168, 2, 7000); /* as lab_open has it */
    assert_true(in.has_observed && bk_addr_equal(&in.observed, &from));
    memcpy(c->offer_txid, m.txid, sizeof(m.txid));
}

static inline void answer_offer(struct call_lab *c, uint64_t stream, uint16_t code)
{
    uint8_t buf[128];
    struct bk_slice b;
    assert_int_equal(
        code == 0
            ? bk_success_write(buf, sizeof(buf), BK_METHOD_CONNECT, c->offer_txid, &b)
            : bk_error_write(buf, sizeof(buf), BK_METHOD_CONNECT, c->offer_txid, code, "no", &b),
        BK_OK);
    lab_message(c->l, stream, b);
}

static inline void send_result(struct call_lab *c, uint64_t stream, uint8_t call)
{
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {9};
    struct bk_result r = {.box = bk_slice_text("verdict")};
    memset(r.call_id, call, sizeof(r.call_id));
    struct bk_slice b;
    assert_int_equal(bk_result_write(buf, sizeof(buf), txid, &r, &b), BK_OK);
    lab_message(c->l, stream, b);
}

/* The whole of it, to the requester's success. */
static inline void deliver(struct call_lab *c, uint8_t call, uint64_t stream)
{
    ring(c, call);
    answer_notify(c, c->d.addr, c->d.local);
    lab_open(c->l, stream, BK_ROLE_DEVICE, 2133, "");
    expect_offer(c, stream, call);
    answer_offer(c, stream, 0);
    assert_int_equal(lab_code(c->l, USER_STREAM), 0);
    assert_int_equal(lab_audit(c->l), BK_AUDIT_DELIVERED);
}

/* Runs the core's timers until `ms` later; counts the datagrams. */
static inline size_t run(struct lab *l, uint64_t ms)
{
    bk_time until = l->now.mono + ms * BK_MS;
    size_t sent = 0;
    while (bk_server_deadline(l->server) <= until) {
        bk_time at = bk_server_deadline(l->server);
        l->now.mono = at > l->now.mono ? at : l->now.mono;
        lab_timer(l);
        sent += lab_count(l, BK_SERVER_SEND_DATAGRAM);
        if (lab_count(l, BK_SERVER_SEND_MESSAGE) > 0) {
            return sent; /* leaves `out` to be looked at */
        }
    }
    l->now.mono = until;
    return sent;
}

#endif
