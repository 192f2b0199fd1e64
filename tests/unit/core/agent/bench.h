/* What the tests of a call on the device's side share: one call core, its server and its caller. */
#ifndef BK_TESTS_AGENT_BENCH_H
#define BK_TESTS_AGENT_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/agent/call.h"
#include "core/agent/fake.h"
#include "seal/caller_key.h"
#include "wire/result.h"

enum {
    DEVICE = 2133,
    ALL = 0xFF, /* every candidate that may be asked for */
};

/* One call core, and the caller whose request it gets. */
struct bench {
    uint64_t seed;
    struct bk_random rng;
    struct bk_call *c;
    struct bk_call_out out;
    struct bk_now now;
    struct bk_call_config config;
    struct bk_box_pair reply;
    struct bk_call_request request;
    struct bk_connect connect;
    size_t sealed_to; /* which of the device's boxes */
    uint8_t key_seed[BK_SIGN_SEED_BYTES];
    uint8_t plain[BK_CALL_REQUEST_MAX_BYTES];
    uint8_t box[BK_BOX_MAX_BYTES];
    uint8_t message[2048];
};

static struct bench bench; /* too large for a stack frame */

static inline void begin(struct bench *b)
{
    if (b->c != NULL) {
        bk_call_free(b->c);
    }
    memset(b, 0, sizeof *b);
    b->seed = 1;
    b->rng = fake_random(&b->seed);
    b->now = fake_now();
    b->config.rng = b->rng;
    b->config.equipment_id = DEVICE;
    b->config.n_boxes = BK_CALL_BOXES_MAX;
    for (size_t i = 0; i < b->config.n_boxes; i++) {
        bk_box_pair_make(&b->rng, &b->config.box[i]);
    }
    memset(b->config.device_pin, 0xD1, sizeof b->config.device_pin);
    b->config.services[0] = bk_slice_text("web");
    b->config.services[1] = bk_slice_text("ssh");
    b->config.n_services = 2;
    bk_box_pair_make(&b->rng, &b->reply);
    b->request = (struct bk_call_request){
        .equipment_id = DEVICE,
        .unix_s = b->now.unix_s,
        .service = bk_slice_text("ssh"),
        .password = bk_slice_text("open sesame"),
        .n_candidates = 1,
    };
    memset(b->request.call_id, 7, sizeof b->request.call_id);
    memset(b->request.call_key, 8, sizeof b->request.call_key);
    memcpy(b->request.reply_key, b->reply.public_key, sizeof b->request.reply_key);
    b->request.candidates[0] =
        (struct bk_candidate){BK_CANDIDATE_MAPPED, bk_addr_v4(4, 17, 168, 2, 5000)};
    b->connect.equipment_id = DEVICE;
    memcpy(b->connect.call_id, b->request.call_id, sizeof b->connect.call_id);
    b->connect.user = bk_slice_text("alice");
}

/* From here on the caller signs instead of naming a password. */
static inline void with_key(struct bench *b)
{
    memset(b->key_seed, 0x5E, sizeof b->key_seed);
    b->request.password = BK_SLICE_EMPTY;
    b->request.has_signature = true;
    bk_caller_key_of(b->key_seed, b->request.caller_key);
}

static inline void input(struct bench *b, struct bk_call_event event)
{
    bk_call_input(b->c, &b->now, &event, &b->out);
}

static inline void start_with(struct bench *b, struct bk_alloc alloc)
{
    assert_int_equal(bk_call_new(&alloc, &b->config, &b->c), BK_OK);
    input(b, (struct bk_call_event){.type = BK_CALL_START});
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_CONNECT_SERVER);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_OPEN});
    assert_int_equal(b->out.n, 0);
}

static inline void start(struct bench *b)
{
    start_with(b, bk_alloc_libc());
}

/* Brings what is in `plain`, sealed, as 226. */
static inline void deliver_plain(struct bench *b, struct bk_slice plain)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {2, 2, 6};
    struct bk_slice bytes;
    assert_int_equal(bk_seal_request(b->config.box[b->sealed_to].public_key, plain, b->box,
                                     sizeof b->box, &b->connect.box),
                     BK_OK);
    assert_int_equal(bk_connect_write(b->message, sizeof b->message, txid, &b->connect, &bytes),
                     BK_OK);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_MESSAGE, .bytes = bytes});
}

static inline struct bk_slice write_request(struct bench *b)
{
    struct bk_slice plain;
    assert_int_equal(bk_call_request_write(b->plain, sizeof b->plain, &b->request, &plain), BK_OK);
    if (b->request.has_signature) {
        uint8_t signature[BK_CALLER_SIGNATURE_BYTES];
        bk_caller_sign(b->key_seed, b->config.device_pin, bk_call_request_to_sign(plain),
                       signature);
        bk_call_request_set_signature(b->plain, plain, signature);
    }
    return plain;
}

static inline void deliver(struct bench *b)
{
    deliver_plain(b, write_request(b));
}

static inline const struct bk_call_action *find(const struct bench *b,
                                                enum bk_call_action_type type)
{
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == type) {
            return &b->out.actions[i];
        }
    }
    return NULL;
}

static inline const struct bk_call_action *must_find(const struct bench *b,
                                                     enum bk_call_action_type type)
{
    static const struct bk_call_action none;
    const struct bk_call_action *a = find(b, type);
    assert_non_null(a);
    return a != NULL ? a : &none;
}

static inline size_t count(const struct bench *b, enum bk_call_action_type type)
{
    size_t n = 0;
    for (size_t i = 0; i < b->out.n; i++) {
        n += b->out.actions[i].type == type;
    }
    return n;
}

static inline void assert_answered(const struct bench *b, enum bk_stun_class cls)
{
    struct bk_stun m;
    assert_true(b->out.n > 0);
    assert_int_equal(b->out.actions[0].type, BK_CALL_SEND_SERVER);
    assert_int_equal(bk_stun_read(b->out.actions[0].bytes, &m), BK_OK);
    assert_int_equal(m.method, BK_METHOD_CONNECT);
    assert_int_equal(m.cls, cls);
    assert_int_equal(m.txid[2], 6);
}

static inline void assert_ended(const struct bench *b, enum bk_call_end reason)
{
    assert_true(b->out.n > 0);
    assert_int_equal(b->out.actions[b->out.n - 1].type, BK_CALL_END);
    assert_int_equal(b->out.actions[b->out.n - 1].reason, reason);
    assert_true(bk_call_deadline(b->c) == BK_TIME_NEVER);
}

/* The RESULT that was sent, opened as the caller would. */
static inline struct bk_call_result open_result(const struct bench *b)
{
    const struct bk_call_action *a = must_find(b, BK_CALL_SEND_SERVER);
    struct bk_stun m;
    struct bk_result outside;
    struct bk_call_result inside;
    uint8_t buf[BK_CALL_RESULT_MAX_BYTES];
    struct bk_slice plain;
    assert_non_null(a);
    assert_int_equal(bk_stun_read(a->bytes, &m), BK_OK);
    assert_int_equal(bk_result_read(&m, &outside), BK_OK);
    assert_memory_equal(outside.call_id, b->request.call_id, BK_CALL_ID_BYTES);
    assert_int_equal(bk_open_result(b->reply.secret_key, b->config.box[b->sealed_to].public_key,
                                    outside.box, buf, sizeof buf, &plain),
                     BK_OK);
    assert_int_equal(bk_call_result_read(plain, &inside), BK_OK);
    assert_memory_equal(inside.call_id, b->request.call_id, BK_CALL_ID_BYTES);
    return inside;
}

/* One that was said after admission, with what that brought. */
static inline struct bk_call_result result(const struct bench *b)
{
    struct bk_call_result inside = open_result(b);
    assert_int_equal(inside.tag.random, 99);
    assert_int_equal(inside.unix_s, 4711);
    return inside;
}

static inline void admission(struct bench *b, enum bk_admission_verdict verdict)
{
    input(b, (struct bk_call_event){.type = BK_CALL_ADMISSION,
                                    .verdict = verdict,
                                    .tag = {.random = 99, .counter = 5},
                                    .unix_s = 4711});
}

static inline void caller_may(struct bench *b, uint64_t services)
{
    input(b, (struct bk_call_event){.type = BK_CALL_CALLER, .right = true, .services = services});
}

static inline void caller(struct bench *b, bool right)
{
    input(b, (struct bk_call_event){
                 .type = BK_CALL_CALLER, .right = right, .services = right ? UINT64_MAX : 0});
}

static inline void dials(struct bench *b, uint32_t permitted)
{
    input(b, (struct bk_call_event){.type = BK_CALL_DIALS, .dials = permitted});
}

static inline void dial_event(struct bench *b, enum bk_call_event_type type, size_t index)
{
    input(b, (struct bk_call_event){.type = type, .index = index});
}

static inline void tick(struct bench *b)
{
    uint64_t wait = bk_time_left(b->now.mono, bk_call_deadline(b->c));
    assert_true(wait != BK_TIME_NEVER);
    fake_pass(&b->now, wait);
    bk_call_timer(b->c, &b->now, &b->out);
}

/* Up to ACCEPTED, and to ASK_DIALS where there is something to ask. */
static inline void reach_accepted(struct bench *b)
{
    start(b);
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, true);
}

static inline void reach_dialling(struct bench *b)
{
    reach_accepted(b);
    dials(b, ALL);
}

/* The same, and past the moment at which the own router is asked. */
static inline void reach_waiting(struct bench *b)
{
    reach_dialling(b);
    tick(b);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_MAP);
}

static inline bool holds(const void *p, size_t n, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i + len <= n; i++) {
        if (memcmp((const uint8_t *)p + i, text, len) == 0) {
            return true;
        }
    }
    return false;
}

/* After a test that used `bench`. */
static inline int tear_down(void **state)
{
    (void)state;
    bk_call_free(bench.c);
    bench.c = NULL;
    return 0;
}

#endif
