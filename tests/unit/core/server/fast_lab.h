/* What the tests of the fast form share beside call_lab.h: a server that uses it, and what a device says in it. */
#ifndef BK_TESTS_SERVER_FAST_LAB_H
#define BK_TESTS_SERVER_FAST_LAB_H

#include "core/server/call_lab.h"

enum {
    WATCH_STREAM = 60,
};

static inline struct lab *fast_server_new(uint32_t shards)
{
    struct lab *l = lab_new();
    bk_server_free(l->server);
    l->config.fast_form = true;
    l->config.shards = shards;
    assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
    return l;
}

static inline struct call_lab fast_lab_new(void)
{
    return call_lab_from(fast_server_new(1));
}

/* The newest NOTIFY brings that call with it. */
static inline void expect_boxed(const struct call_lab *c, uint8_t call)
{
    assert_true(c->notify.fast);
    for (size_t i = 0; i < BK_CALL_ID_BYTES; i++) {
        assert_int_equal(c->notify.call_id[i], call);
    }
}

/* Answers the newest NOTIFY: `call` is taken. */
static inline void take(struct call_lab *c, uint8_t call)
{
    struct bk_notify_answer said = {.taken = true};
    uint8_t buf[128];
    struct bk_slice b;
    memset(said.call_id, call, sizeof(said.call_id));
    assert_int_equal(bk_notify_answer_write(buf, sizeof(buf), c->notify_txid, &said,
                                            &c->l->config.mac, BK_SLICE_OF(c->d.key), &b),
                     BK_OK);
    lab_datagram(c->l, c->d.local, c->d.addr, b);
}

/* 217 to its success. */
static inline void deliver_fast(struct call_lab *c, uint8_t call)
{
    ring(c, call);
    expect_boxed(c, call);
    take(c, call);
    assert_int_equal(lab_code(c->l, USER_STREAM), 0);
    assert_int_equal(lab_audit(c->l), BK_AUDIT_DELIVERED);
    assert_int_equal(c->l->out.n, 2);
}

/* RESULT as a datagram of `d`, from anywhere. */
static inline void say_as(struct call_lab *c, const struct device *d, uint8_t call,
                          const char *what)
{
    struct bk_result_datagram r = {.equipment_id = d->id,
                                   .generation = d->generation,
                                   .epoch = d->epoch,
                                   .result = {.box = bk_slice_text(what)}};
    uint8_t txid[BK_STUN_TXID_BYTES] = {0x77, call};
    uint8_t buf[256];
    struct bk_slice b;
    memset(r.result.call_id, call, sizeof(r.result.call_id));
    assert_int_equal(bk_result_datagram_write(buf, sizeof(buf), txid, &r, &c->l->config.mac,
                                              BK_SLICE_OF(d->key), &b),
                     BK_OK);
    lab_datagram(c->l, 3, bk_addr_v4(203, 0, 113, 9, 1700), b);
}

static inline void say(struct call_lab *c, uint8_t call, const char *what)
{
    say_as(c, &c->d, call, what);
}

/* True if the RESULT in `out` was answered, to whom sent it and under his key. */
static inline bool is_answered(struct call_lab *c)
{
    const struct bk_server_action *a = lab_action(c->l, BK_SERVER_SEND_DATAGRAM);
    struct bk_stun m;
    if (!a) {
        return false;
    }
    struct bk_addr from = bk_addr_v4(203, 0, 113, 9, 1700);
    assert_true(bk_addr_equal(&a->datagram.to, &from));
    assert_int_equal(a->datagram.local, 3);
    assert_int_equal(bk_stun_read(a->datagram.bytes, &m), BK_OK);
    assert_int_equal(m.txid[0], 0x77);
    assert_int_equal(bk_result_answer_read(&m, &c->l->config.mac, BK_SLICE_OF(c->d.key)), BK_OK);
    return true;
}

/* The RESULT in `out` to the caller, after `before` other messages to him; whether there is one with that box. */
static inline bool is_told(struct call_lab *c, size_t before, const char *what)
{
    struct bk_stun m;
    struct bk_result r;
    if (!lab_said_nth(c->l, USER_STREAM, before, &m)) {
        return false;
    }
    assert_int_equal(bk_result_read(&m, &r), BK_OK);
    return bk_slice_equal(r.box, bk_slice_text(what));
}

static inline void say_by_stream(struct call_lab *c, uint64_t stream, uint8_t call,
                                 const char *what)
{
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {0x78};
    struct bk_result r = {.box = bk_slice_text(what)};
    struct bk_slice b;
    memset(r.call_id, call, sizeof(r.call_id));
    assert_int_equal(bk_result_write(buf, sizeof(buf), txid, &r, &b), BK_OK);
    lab_message(c->l, stream, b);
}

/* The agent starts anew: another tag. The NOTIFYs that follow its registration lie in `out`. */
static inline void restart_device(struct call_lab *c)
{
    char nonce[BK_NONCE_BYTES + 1];
    c->d.tag.random += 77;
    c->d.tag.counter = 0;
    assert_int_equal(device_send(c->l, &c->d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(c->l, &c->d, nonce, NULL), 0);
}

/* The nth datagram in `out` is a NOTIFY for the device; reads it. */
static inline void expect_nth_notify(struct call_lab *c, size_t nth)
{
    struct bk_stun m;
    const struct bk_server_action *a = lab_must(c->l, BK_SERVER_SEND_DATAGRAM, nth);
    assert_int_equal(bk_stun_read(a->datagram.bytes, &m), BK_OK);
    assert_int_equal(bk_notify_read(&m, &c->l->config.mac, BK_SLICE_OF(c->d.key), &c->notify),
                     BK_OK);
    assert_true(c->notify.tag.random == c->d.tag.random);
    memcpy(c->notify_txid, m.txid, sizeof(m.txid));
}

#endif
