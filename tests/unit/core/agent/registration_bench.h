/* One agent's registration and a hand-moved server, for the tests of that core. */
#ifndef TESTS_CORE_AGENT_REGISTRATION_BENCH_H
#define TESTS_CORE_AGENT_REGISTRATION_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/agent/fake.h"
#include "core/agent/registration.h"
#include "seal/seal.h"
#include "wire/connect.h"
#include "wire/notify.h"
#include "wire/register.h"

/* One agent and a hand-moved server. */
struct bench {
    uint64_t seed;
    struct bk_mac_ops mac;
    struct bk_registration r;
    struct bk_registration_out out;
    struct bk_now now;
    uint8_t buf[1400];
    struct bk_slice key;
    uint32_t generation; /* as the server knows it */
    uint16_t epoch;
};

static inline void begin(struct bench *b, uint64_t seed)
{
    memset(b, 0, sizeof *b);
    b->seed = seed;
    b->mac = bk_mac_sodium();
    b->now = fake_now();
    struct bk_registration_config config = {.rng = fake_random(&b->seed),
                                            .mac = b->mac,
                                            .equipment_id = 2133,
                                            .generation = 7,
                                            .epoch = 3};
    memset(config.key, 0x5A, sizeof config.key);
    bk_registration_init(&b->r, &config);
    b->key = bk_slice(b->r.config.key, sizeof b->r.config.key);
    b->generation = 7;
    b->epoch = 3;
}

static inline void input(struct bench *b, enum bk_registration_event_type type)
{
    struct bk_registration_event event = {.type = type, .addr = fake_server()};
    bk_registration_input(&b->r, &b->now, &event, &b->out);
}

static inline void receive_from(struct bench *b, struct bk_slice bytes, struct bk_addr from)
{
    struct bk_registration_event event = {
        .type = BK_REGISTRATION_DATAGRAM, .addr = from, .bytes = bytes};
    bk_registration_input(&b->r, &b->now, &event, &b->out);
}

static inline void receive(struct bench *b, struct bk_slice bytes)
{
    receive_from(b, bytes, fake_server());
}

static inline size_t count(const struct bench *b, enum bk_registration_action_type type)
{
    size_t n = 0;
    for (size_t i = 0; i < b->out.n; i++) {
        n += b->out.actions[i].type == type;
    }
    return n;
}

static inline const struct bk_registration_action *find(const struct bench *b,
                                                        enum bk_registration_action_type type)
{
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == type) {
            return &b->out.actions[i];
        }
    }
    return NULL;
}

static inline const struct bk_registration_action *must_find(const struct bench *b,
                                                             enum bk_registration_action_type type)
{
    static const struct bk_registration_action none;
    const struct bk_registration_action *a = find(b, type);
    assert_non_null(a);
    return a != NULL ? a : &none;
}

/* The one REGISTER that was just sent by UDP, checked as a server would. */
static inline struct bk_register sent(struct bench *b, struct bk_stun *m)
{
    struct bk_register got;
    assert_int_equal(count(b, BK_REGISTRATION_SEND), 1);
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == BK_REGISTRATION_SEND) {
            struct bk_addr server = fake_server();
            assert_true(bk_addr_equal(&b->out.actions[i].addr, &server));
            assert_int_equal(bk_stun_read(b->out.actions[i].bytes, m), BK_OK);
            assert_int_equal(bk_stun_check_fingerprint(m), BK_OK);
            assert_int_equal(bk_stun_check_sha256(m, &b->mac, b->key, BK_STUN_SHORT_MAC_BYTES),
                             BK_OK);
            assert_int_equal(bk_register_read(m, &got), BK_OK);
        }
    }
    assert_int_equal(got.equipment_id, 2133);
    assert_int_equal(got.generation, b->generation);
    assert_int_equal(got.epoch, b->epoch);
    return got;
}

static inline struct bk_slice answer(struct bench *b, const uint8_t *txid, uint16_t code,
                                     const char *nonce, struct bk_addr mapped, uint64_t unix_s)
{
    struct bk_register_answer a = {
        .code = code, .mapped = mapped, .unix_s = unix_s, .nonce = bk_slice_text(nonce)};
    struct bk_slice bytes;
    assert_int_equal(
        bk_register_answer_write(b->buf, sizeof b->buf, txid, &a, &b->mac, b->key, &bytes), BK_OK);
    return bytes;
}

static inline void succeed(struct bench *b, const uint8_t *txid)
{
    receive(b, answer(b, txid, 0, NULL, fake_mapped(), 1700000000));
}

static inline void challenge(struct bench *b, const uint8_t *txid)
{
    receive(b, answer(b, txid, BK_CODE_STALE_NONCE, "abcdefghijklmnopqrst", fake_mapped(), 0));
}

/* Tunnels fail in these tests; test_registration_ways.c has others. */
static inline void tick(struct bench *b)
{
    static struct bk_registration_out ignored;
    struct bk_registration_event down = {.type = BK_REGISTRATION_TUNNEL_DOWN};
    uint64_t wait = bk_time_left(b->now.mono, bk_registration_deadline(&b->r));
    assert_true(wait != BK_TIME_NEVER);
    fake_pass(&b->now, wait);
    bk_registration_timer(&b->r, &b->now, &b->out);
    if (count(b, BK_REGISTRATION_TUNNEL_OPEN) > 0) {
        bk_registration_input(&b->r, &b->now, &down, &ignored);
        assert_int_equal(ignored.n, 0);
    }
}

/* To the next keepalive that asks for an answer. */
static inline void tick_answered(struct bench *b)
{
    do {
        tick(b);
    } while (!b->r.udp.waiting);
}

static inline void come_up(struct bench *b, uint64_t seed)
{
    struct bk_stun m;
    begin(b, seed);
    input(b, BK_REGISTRATION_START);
    assert_int_equal(count(b, BK_REGISTRATION_RESOLVE), 1);
    input(b, BK_REGISTRATION_RESOLVED);
    sent(b, &m);
    succeed(b, b->r.udp.txid);
    assert_int_equal(count(b, BK_REGISTRATION_REGISTERED), 1);
}

static inline struct bk_slice notify(struct bench *b, uint8_t txid_byte, const struct bk_tag *tag)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {txid_byte};
    struct bk_slice bytes;
    struct bk_notify in = {.tag = *tag};
    assert_int_equal(bk_notify_write(b->buf, sizeof b->buf, txid, &in, &b->mac, b->key, &bytes),
                     BK_OK);
    return bytes;
}

/* The fast form, with a box of `n` bytes that all have the value of the call ID's. */
static inline struct bk_slice notify_fast(struct bench *b, uint8_t txid_byte, uint8_t call,
                                          size_t n)
{
    static uint8_t box[BK_BOX_MAX_BYTES];
    uint8_t txid[BK_STUN_TXID_BYTES] = {txid_byte};
    struct bk_notify in = {
        .tag = b->r.tag, .fast = true, .box = bk_slice(box, n), .user = bk_slice_text("alice")};
    struct bk_slice bytes;
    memset(box, call, sizeof box);
    memset(in.call_id, call, sizeof in.call_id);
    assert_int_equal(bk_notify_write(b->buf, sizeof b->buf, txid, &in, &b->mac, b->key, &bytes),
                     BK_OK);
    return bytes;
}

/* The answer to NOTIFY that has just been given, the first of what was done. */
static inline struct bk_notify_answer notify_answer(const struct bench *b, uint8_t txid_byte)
{
    struct bk_notify_answer said;
    struct bk_stun m;
    assert_true(b->out.n > 0);
    assert_int_equal(b->out.actions[0].type, BK_REGISTRATION_SEND);
    assert_int_equal(bk_stun_read(b->out.actions[0].bytes, &m), BK_OK);
    assert_int_equal(m.txid[0], txid_byte);
    assert_int_equal(bk_notify_answer_read(&m, &b->mac, b->key, &said), BK_OK);
    return said;
}

#endif
