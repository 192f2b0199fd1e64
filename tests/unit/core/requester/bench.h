/* What the tests of a call on the requester's side share: one core, its server and its device. */
#ifndef BK_TESTS_REQUESTER_BENCH_H
#define BK_TESTS_REQUESTER_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "core/agent/fake.h"
#include "core/requester/requester.h"
#include "wire/paths.h"
#include "wire/result.h"

enum {
    DEVICE = 2133,
};

/* One requester, and the server and device that it talks to. */
struct bench {
    uint64_t seed;
    struct bk_random rng;
    struct bk_requester *r;
    struct bk_requester_out out;
    struct bk_now now;
    struct bk_requester_config config;
    uint8_t device_seed[32];
    struct bk_identity device; /* what its certificate says */
    enum bk_err certificate;   /* how reading it ends */
    struct bk_box_pair box;
    uint64_t box_made_s, box_until_s;
    struct bk_lookup_answer found;
    struct bk_call_request request; /* as opened from the last 217 */
    uint8_t plain[BK_CALL_REQUEST_MAX_BYTES];
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint8_t info_txid[BK_STUN_TXID_BYTES];
    bool keeps_info;       /* INFO is answered by the test, if at all; else by an error at once */
    struct bk_paths paths; /* as read from the last SEND_PATHS */
    uint8_t call_id[BK_CALL_ID_BYTES]; /* of the newest 217 */
    uint16_t device_ms;                /* its round trip to the server, as told with ACCEPTED */
    uint8_t signed_key[BK_BOX_KEY_BYTES];
    uint8_t buf[4096];
};

static struct bench bench;

/* A stand-in certificate: the test says what is in it. */
static inline enum bk_err read_certificate(void *ctx, struct bk_slice der, uint64_t unix_s,
                                           struct bk_identity *out)
{
    struct bench *b = ctx;
    assert_true(bk_slice_equal(der, bk_slice_text("DER")));
    assert_int_equal(unix_s, b->now.unix_s);
    *out = b->device;
    return b->certificate;
}

static inline void sign_box_key(struct bench *b)
{
    struct bk_box_key key = {.made_s = b->box_made_s, .until_s = b->box_until_s};
    memcpy(key.key, b->box.public_key, sizeof key.key);
    bk_box_key_sign(&key, b->device_seed, b->signed_key);
}

static inline void begin(struct bench *b)
{
    bk_requester_free(b->r);
    memset(b, 0, sizeof *b);
    b->seed = 3;
    b->rng = fake_random(&b->seed);
    b->now = fake_now();
    uint8_t secret[64];
    b->device.role = BK_ROLE_DEVICE;
    b->device.equipment_id = DEVICE;
    memset(b->device_seed, 9, sizeof b->device_seed);
    crypto_sign_seed_keypair(b->device.key, secret, b->device_seed);
    bk_box_pair_make(&b->rng, &b->box);
    b->box_made_s = b->now.unix_s;
    b->box_until_s = b->now.unix_s + 1000;
    sign_box_key(b);
    b->found = (struct bk_lookup_answer){
        .equipment_id = DEVICE,
        .certificate = bk_slice_text("DER"),
        .box_key = bk_slice(b->signed_key, sizeof b->signed_key),
        .registered = true,
        .observed = fake_mapped(),
        .tag = {.random = 5, .counter = 6},
    };
    b->config = (struct bk_requester_config){
        .rng = b->rng,
        .certs = {b, read_certificate},
        .equipment_id = DEVICE,
        .service = "ssh",
        .have_pin = true,
    };
    bk_pin_of_key(b->device.key, b->config.pin);
    memset(b->config.call_key, 0xCB, sizeof b->config.call_key);
}

static inline void input(struct bench *b, struct bk_requester_event event)
{
    bk_requester_input(b->r, &b->now, &event, &b->out);
}

static inline const struct bk_requester_action *find(const struct bench *b,
                                                     enum bk_requester_action_type type)
{
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == type) {
            return &b->out.actions[i];
        }
    }
    return NULL;
}

static inline const struct bk_requester_action *must_find(const struct bench *b,
                                                          enum bk_requester_action_type type)
{
    static const struct bk_requester_action none;
    const struct bk_requester_action *a = find(b, type);
    assert_non_null(a);
    return a != NULL ? a : &none;
}

static inline bool phase(const struct bench *b, enum bk_requester_phase wanted)
{
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == BK_REQUESTER_PHASE && b->out.actions[i].phase == wanted) {
            return true;
        }
    }
    return false;
}

static inline void assert_failed(const struct bench *b, enum bk_requester_failure failure)
{
    const struct bk_requester_action *a = must_find(b, BK_REQUESTER_FAILED);
    assert_non_null(a);
    assert_int_equal(a->failure, failure);
    assert_true(bk_requester_deadline(b->r) == BK_TIME_NEVER);
}

static inline void start_with(struct bench *b, struct bk_alloc alloc)
{
    assert_int_equal(bk_requester_new(&alloc, &b->config, &b->r), BK_OK);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_START});
    assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
    assert_non_null(find(b, BK_REQUESTER_GATHER));
}

static inline void start(struct bench *b)
{
    start_with(b, bk_alloc_libc());
}

static inline void message(struct bench *b, struct bk_slice bytes)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_MESSAGE, .bytes = bytes});
}

/* The message to the server of this method. */
static inline struct bk_stun sent(const struct bench *b, uint16_t method)
{
    struct bk_stun m;
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == BK_REQUESTER_SEND_SERVER) {
            assert_int_equal(bk_stun_read(b->out.actions[i].bytes, &m), BK_OK);
            if (m.method == method) {
                return m;
            }
        }
    }
    fail();
    return m;
}

static inline void take_info(struct bench *b)
{
    struct bk_stun m = sent(b, BK_METHOD_INFO);
    assert_int_equal(bk_info_read(&m), BK_OK);
    memcpy(b->info_txid, m.txid, sizeof b->info_txid);
}

static inline void answer_info(struct bench *b, const struct bk_info *info)
{
    uint8_t buf[1024];
    struct bk_slice bytes;
    if (info == NULL) {
        assert_int_equal(bk_error_write(buf, sizeof buf, BK_METHOD_INFO, b->info_txid,
                                        BK_CODE_OVERLOADED, "no", &bytes),
                         BK_OK);
    } else {
        assert_int_equal(bk_info_answer_write(buf, sizeof buf, b->info_txid, info, &bytes), BK_OK);
    }
    message(b, bytes);
}

/* The server's connection opens; LOOKUP and INFO are taken from it. */
static inline struct bk_lookup open_server(struct bench *b)
{
    struct bk_lookup lookup;
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN, .ms = 30});
    assert_true(phase(b, BK_PHASE_SERVER));
    struct bk_stun m = sent(b, BK_METHOD_LOOKUP);
    assert_int_equal(bk_lookup_read(&m, &lookup), BK_OK);
    memcpy(b->txid, m.txid, sizeof b->txid);
    take_info(b);
    if (!b->keeps_info) {
        answer_info(b, NULL);
        assert_int_equal(b->out.n, 0);
    }
    return lookup;
}

static inline void answer_lookup(struct bench *b)
{
    struct bk_slice bytes;
    assert_int_equal(bk_lookup_answer_write(b->buf, sizeof b->buf, b->txid, &b->found, &bytes),
                     BK_OK);
    message(b, bytes);
}

static inline void answer_error(struct bench *b, uint16_t method, uint16_t code)
{
    struct bk_slice bytes;
    assert_int_equal(bk_error_write(b->buf, sizeof b->buf, method, b->txid, code, "no", &bytes),
                     BK_OK);
    message(b, bytes);
}

static inline void candidate(struct bench *b, enum bk_requester_source source,
                             enum bk_candidate_kind kind, struct bk_addr addr)
{
    input(b, (struct bk_requester_event){
                 .type = BK_REQUESTER_CANDIDATE, .source = source, .candidate = {kind, addr}});
}

static inline void gathered(struct bench *b, enum bk_requester_source source)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_GATHERED, .source = source});
}

static inline struct bk_addr own_address(size_t i)
{
    return bk_addr_v4(4, 17, 168, 2, (uint16_t)(5000 + i));
}

/* So many mappings, and nothing more to come. */
static inline void candidates(struct bench *b, size_t n)
{
    gathered(b, BK_SOURCE_HOST);
    for (size_t i = 0; i < n; i++) {
        candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_MAPPED, own_address(i));
    }
    gathered(b, BK_SOURCE_MAPPING);
}

static inline void password(struct bench *b)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PASSWORD,
                                         .bytes = bk_slice_text("open sesame")});
}

/* Takes the 217 that was just sent and opens its box as the device would. It has a call ID that none had before,
 * which EXPECT told of first. */
static inline void take_any_request(struct bench *b)
{
    struct bk_stun m;
    struct bk_connect outside;
    struct bk_slice plain;
    assert_non_null(find(b, BK_REQUESTER_SEND_SERVER));
    assert_true(phase(b, BK_PHASE_REQUESTED));
    const struct bk_requester_action *expect = must_find(b, BK_REQUESTER_EXPECT);
    assert_true(expect < must_find(b, BK_REQUESTER_SEND_SERVER));
    assert_memory_not_equal(expect->call_id, b->call_id, BK_CALL_ID_BYTES);
    assert_int_equal(expect->equipment_id, DEVICE);
    m = sent(b, BK_METHOD_CONNECT);
    assert_int_equal(bk_connect_read(&m, &outside), BK_OK);
    memcpy(b->txid, m.txid, sizeof b->txid);
    memcpy(b->call_id, outside.call_id, sizeof b->call_id);
    assert_int_equal(outside.equipment_id, DEVICE);
    assert_memory_equal(expect->call_id, b->call_id, BK_CALL_ID_BYTES);
    assert_int_equal(bk_open_request(&b->box, outside.box, b->plain, sizeof b->plain, &plain),
                     BK_OK);
    assert_int_equal(bk_call_request_read(plain, &b->request), BK_OK);
    assert_memory_equal(b->request.call_id, b->call_id, BK_CALL_ID_BYTES);
    assert_memory_equal(b->request.call_key, b->config.call_key, BK_KEY_BYTES);
    assert_true(bk_slice_equal(b->request.service, bk_slice_text("ssh")));
}

/* One with the password. */
static inline void take_request(struct bench *b)
{
    take_any_request(b);
    assert_false(b->request.has_signature);
    assert_true(bk_slice_equal(b->request.password, bk_slice_text("open sesame")));
}

/* From the first word of the server to 217. */
static inline void request(struct bench *b)
{
    candidates(b, 1);
    assert_int_equal(b->out.n, 0);
    open_server(b);
    answer_lookup(b);
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    password(b);
    take_request(b);
}

static inline void reach_requested(struct bench *b)
{
    start(b);
    request(b);
}

static inline void deliver(struct bench *b)
{
    struct bk_slice bytes;
    assert_int_equal(bk_success_write(b->buf, sizeof b->buf, BK_METHOD_CONNECT, b->txid, &bytes),
                     BK_OK);
    message(b, bytes);
}

/* RESULT from the device; `twist` makes it wrong in one way. */
static inline void result_with(struct bench *b, enum bk_call_status status, int twist,
                               const struct bk_candidate *list, size_t n)
{
    struct bk_call_result inside = {.status = status, .tag = {77, 78}, .unix_s = 4711};
    inside.n_candidates = n;
    inside.server_ms = status == BK_CALL_ACCEPTED ? b->device_ms : 0;
    for (size_t i = 0; i < n; i++) {
        inside.candidates[i] = list[i];
    }
    struct bk_result outside;
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {9};
    uint8_t plain_buf[BK_CALL_RESULT_MAX_BYTES];
    uint8_t box[BK_CALL_RESULT_MAX_BYTES + BK_REPLY_OVERHEAD_BYTES];
    struct bk_slice plain;
    struct bk_slice bytes;
    struct bk_box_pair other;
    bk_box_pair_make(&b->rng, &other);
    memcpy(inside.call_id, b->call_id, BK_CALL_ID_BYTES);
    memcpy(outside.call_id, b->call_id, BK_CALL_ID_BYTES);
    inside.call_id[0] ^= twist == 1;
    outside.call_id[0] ^= twist == 2;
    assert_int_equal(bk_call_result_write(plain_buf, sizeof plain_buf, &inside, &plain), BK_OK);
    assert_int_equal(bk_seal_result(twist == 3 ? other.secret_key : b->box.secret_key,
                                    b->request.reply_key, &b->rng, plain, box, sizeof box,
                                    &outside.box),
                     BK_OK);
    assert_int_equal(bk_result_write(b->buf, sizeof b->buf, txid, &outside, &bytes), BK_OK);
    message(b, bytes);
}

static inline void result(struct bench *b, enum bk_call_status status, int twist)
{
    result_with(b, status, twist, NULL, 0);
}

static inline void session_by(struct bench *b, uint64_t number, enum bk_candidate_kind kind)
{
    input(b, (struct bk_requester_event){
                 .type = BK_REQUESTER_SESSION_UP, .session = number, .kind = kind});
}

static inline void session(struct bench *b, uint64_t number)
{
    session_by(b, number, BK_CANDIDATE_MAPPED);
}

static inline void session_ends(struct bench *b, uint64_t number, bool lost)
{
    input(b, (struct bk_requester_event){
                 .type = BK_REQUESTER_SESSION_ENDED, .session = number, .lost = lost});
}

/* How many actions of a type there are. */
static inline size_t count(const struct bench *b, enum bk_requester_action_type type)
{
    size_t n = 0;
    for (size_t i = 0; i < b->out.n; i++) {
        n += b->out.actions[i].type == type;
    }
    return n;
}

static inline void tick(struct bench *b)
{
    uint64_t wait = bk_time_left(b->now.mono, bk_requester_deadline(b->r));
    assert_true(wait != BK_TIME_NEVER);
    fake_pass(&b->now, wait);
    bk_requester_timer(b->r, &b->now, &b->out);
}

/* After a test that used `bench`. */
static inline int tear_down(void **state)
{
    (void)state;
    bk_requester_free(bench.r);
    bench.r = NULL;
    return 0;
}

#endif
