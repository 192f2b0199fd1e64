/* One shard as its worker sees it: what it answers, what it passes on and to whom, what is news. What devices may do to
 * their rows is tested through the whole core (tests/unit/core/server). */
#include "core/registrar/registrar.h"

#include "core/server/fixture.h"
#include "wire/probe.h"

enum { SHARDS = 4, RESULTS_BURST = 100, TXID_AT = 8 };

static const uint8_t notify_key[BK_KEY_BYTES] = {0x77};
static const uint8_t call_id[BK_CALL_ID_BYTES]; /* of write_result */

struct post {
    struct failing memory;
    struct seeded seed;
    struct bk_registrar_config config;
    struct bk_master_key master;
    struct bk_registrar *r;
    struct bk_now now;
    struct bk_registrar_reply reply;
    uint8_t buf[256];
    uint8_t serial;
};

static void post_open(struct post *p, uint32_t shard, uint32_t n_shards)
{
    assert_int_equal(bk_seal_init(), BK_OK);
    *p = (struct post){.seed = {1}, .master = {.epoch = EPOCH, .key = {0xA7}}};
    p->config = (struct bk_registrar_config){
        .alloc = {&p->memory, failing_get, failing_put},
        .rng = {&p->seed, seeded_fill},
        .mac = bk_mac_sodium(),
        .master = &p->master,
        .n_master = 1,
        .max_devices = 10000,
        .answer_binding = true,
        .binding_per_s = 10,
        .shard = shard,
        .n_shards = n_shards,
    };
    memcpy(p->config.notify_key, notify_key, sizeof notify_key);
    p->now = (struct bk_now){.mono = 1000 * BK_SECOND, .unix_s = 1700000000};
    assert_int_equal(bk_registrar_new(&p->config, &p->now, &p->r), BK_OK);
}

static void post_close(struct post *p)
{
    bk_registrar_free(p->r);
    assert_int_equal(p->memory.alive, 0);
}

static struct device device_of(const struct post *p, uint64_t id)
{
    struct device d = {
        .id = id,
        .generation = 1,
        .epoch = EPOCH,
        .addr = bk_addr_v4(202, 204, 16, 13, 3400),
        .tag = {.random = id * 1000 + 5},
    };
    bk_registration_key(&p->config.mac, p->master.key, id, 1, d.key);
    return d;
}

static struct bk_slice write_register(struct post *p, const struct device *d, const char *nonce)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {[BK_STUN_TXID_BYTES - 1] = ++p->serial};
    struct bk_register in = {
        .quiet = d->quiet,
        .equipment_id = d->id,
        .generation = d->generation,
        .epoch = d->epoch,
        .tag = d->tag,
        .nonce = nonce ? bk_slice(nonce, BK_NONCE_BYTES) : BK_SLICE_EMPTY,
    };
    struct bk_slice out;
    assert_int_equal(bk_register_write(p->buf, sizeof p->buf, txid, &in, &p->config.mac,
                                       BK_SLICE_OF(d->key), &out),
                     BK_OK);
    return out;
}

static enum bk_registrar_verdict hand_in(struct post *p, const struct device *d,
                                         struct bk_slice bytes)
{
    struct bk_arrival in = {.from = d->addr, .bytes = bytes, .local = d->local};
    return bk_registrar_datagram(p->r, &p->now, &in, &p->reply);
}

/* The code of the answer. */
static int say(struct post *p, struct device *d, const char *nonce, char got[BK_NONCE_BYTES + 1])
{
    struct bk_register_answer a;
    struct bk_stun m;
    d->tag.counter++;
    struct bk_slice bytes = write_register(p, d, nonce);
    assert_int_equal(hand_in(p, d, bytes), BK_REGISTRAR_REPLY);
    assert_true(p->reply.n <= bytes.n && p->reply.port == d->addr.port);
    assert_false(p->reply.second || p->reply.change != 0);
    assert_int_equal(bk_stun_read(bk_slice(p->reply.bytes, p->reply.n), &m), BK_OK);
    assert_int_equal(bk_register_answer_read(&m, &p->config.mac, BK_SLICE_OF(d->key), &a), BK_OK);
    if (a.code == BK_CODE_STALE_NONCE && got) {
        memcpy(got, a.nonce.p, BK_NONCE_BYTES);
    }
    return a.code;
}

static void enter(struct post *p, struct device *d)
{
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(say(p, d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_false(p->reply.news);
    assert_int_equal(say(p, d, nonce, NULL), 0);
}

static void devices_spread_over_shards_whatever_their_step(void **state)
{
    (void)state;
    enum { N = 7, IDS = 70000 };
    static const uint64_t steps[] = {1, 2, 7, 16, 256, 1000, 4096};
    assert_int_equal(bk_shard_of(2133, 1), 0);
    for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
        unsigned n[N] = {0};
        for (uint64_t i = 0; i < IDS; i++) {
            uint32_t shard = bk_shard_of(5 + i * steps[s], N);
            assert_true(shard < N);
            n[shard]++;
        }
        for (size_t i = 0; i < N; i++) {
            assert_in_range(n[i], IDS / N * 8 / 10, IDS / N * 12 / 10);
        }
    }
    /* What net/steer.h computes in the kernel; changing it moves devices to other workers. */
    assert_int_equal(bk_shard_of(2133, 64), (uint32_t)(2133 * UINT32_C(0x9E3779B1)) / 65536 % 64);
}

static void a_datagram_goes_to_the_shard_of_the_device_it_names(void **state)
{
    (void)state;
    struct post p;
    uint8_t txid[BK_STUN_TXID_BYTES] = {[BK_STUN_TXID_BYTES - 1] = 6};
    uint8_t buf[256];
    struct bk_slice b;
    post_open(&p, 0, 1);
    for (uint64_t id = 1; id < 50; id++) {
        struct device d = device_of(&p, id);
        uint32_t shard = bk_shard_of(id, SHARDS);
        assert_int_equal(bk_shard_of_datagram(write_register(&p, &d, NULL), SHARDS), shard);
        struct bk_probe probe = {.equipment_id = id, .generation = 1, .epoch = EPOCH, .port = 2000};
        assert_int_equal(
            bk_probe_write(buf, sizeof buf, txid, &probe, &p.config.mac, BK_SLICE_OF(d.key), &b),
            BK_OK);
        assert_int_equal(bk_shard_of_datagram(b, SHARDS), shard);
        struct bk_result_datagram result = {.equipment_id = id, .result.box = BK_SLICE_OF(txid)};
        assert_int_equal(bk_result_datagram_write(buf, sizeof buf, txid, &result, &p.config.mac,
                                                  BK_SLICE_OF(d.key), &b),
                         BK_OK);
        assert_int_equal(bk_shard_of_datagram(b, SHARDS), shard);
        assert_int_equal(bk_shard_of_datagram(b, 1), 0);
    }
    assert_int_equal(bk_binding_request_write(buf, sizeof buf, txid, &b), BK_OK);
    assert_int_equal(bk_shard_of_datagram(b, SHARDS), 6 % SHARDS);
    assert_int_equal(bk_shard_of_datagram(bk_slice(buf, b.n - 1), SHARDS), 0);
    assert_int_equal(bk_shard_of_datagram(BK_SLICE_EMPTY, SHARDS), 0);
    post_close(&p);
}

static void what_is_not_its_own_is_passed_on_if_it_is_keyed(void **state)
{
    (void)state;
    struct post p;
    post_open(&p, bk_shard_of(2133, SHARDS), SHARDS);
    uint64_t foreign = 2134;
    while (bk_shard_of(foreign, SHARDS) == p.config.shard) {
        foreign++;
    }
    struct device own = device_of(&p, 2133);
    struct device other = device_of(&p, foreign);
    enter(&p, &own);
    assert_int_equal(hand_in(&p, &other, write_register(&p, &other, NULL)), BK_REGISTRAR_PASS);
    assert_int_equal(p.reply.n, 0);
    other.quiet = true;
    assert_int_equal(hand_in(&p, &other, write_register(&p, &other, NULL)), BK_REGISTRAR_PASS);
    other.key[3] ^= 1;
    assert_int_equal(hand_in(&p, &other, write_register(&p, &other, NULL)), BK_REGISTRAR_NOTHING);
    assert_int_equal(bk_registrar_rows(p.r), 1);
    post_close(&p);
}

static void only_what_a_call_waits_for_is_news(void **state)
{
    (void)state;
    struct post p;
    post_open(&p, 0, 1);
    struct device d = device_of(&p, 2133);
    struct device e = device_of(&p, 2134);
    enter(&p, &d);
    assert_false(p.reply.news); /* nobody waits */
    assert_int_equal(bk_registrar_await(p.r, 2134), BK_OK);
    assert_int_equal(bk_registrar_await(p.r, 2133), BK_OK);
    assert_int_equal(bk_registrar_await(p.r, 2133), BK_OK);
    assert_int_equal(say(&p, &d, NULL, NULL), 0);
    assert_false(p.reply.news); /* it is where it was */
    enter(&p, &e);
    assert_true(p.reply.news && p.reply.equipment_id == 2134);
    d.addr.port++;
    enter(&p, &d);
    assert_true(p.reply.news && p.reply.equipment_id == 2133);
    bk_registrar_heard(p.r, 2133);
    bk_registrar_await_no_more(p.r, 2133); /* one of two */
    d.tag.random++;
    enter(&p, &d);
    assert_true(p.reply.news);
    bk_registrar_heard(p.r, 2133);
    p.now.mono += (BK_REGISTRAR_EXPIRY_S + 1) * BK_SECOND;
    enter(&p, &d);
    assert_true(p.reply.news); /* it had gone */
    bk_registrar_await_no_more(p.r, 2133);
    bk_registrar_await_no_more(p.r, 2133); /* once too often does no harm */
    d.addr.port++;
    enter(&p, &d);
    assert_false(p.reply.news);
    post_close(&p);
}

/* One device that moves without end must not fill the room that all news share. */
static void news_are_said_once_until_they_are_heard(void **state)
{
    (void)state;
    struct post p;
    post_open(&p, 0, 1);
    struct device d = device_of(&p, 2133);
    struct device e = device_of(&p, 2134);
    assert_int_equal(bk_registrar_await(p.r, 2133), BK_OK);
    assert_int_equal(bk_registrar_await(p.r, 2134), BK_OK);
    unsigned news = 0;
    for (int i = 0; i < 100; i++) {
        d.addr.port++;
        enter(&p, &d);
        news += p.reply.news;
    }
    assert_int_equal(news, 1);
    enter(&p, &e); /* others are heard of all the same */
    assert_true(p.reply.news);
    assert_int_equal(bk_registrar_await(p.r, 2133), BK_OK); /* who asks now will look */
    bk_registrar_await_no_more(p.r, 2133);
    d.tag.random++;
    enter(&p, &d);
    assert_false(p.reply.news);
    bk_registrar_heard(p.r, 2133);
    d.tag.random++;
    enter(&p, &d);
    assert_true(p.reply.news);
    bk_registrar_await_no_more(p.r, 2133); /* the last one, with news under way */
    d.tag.random++;
    enter(&p, &d);
    assert_false(p.reply.news);
    assert_int_equal(bk_registrar_await(p.r, 2133), BK_OK);
    d.tag.random++;
    enter(&p, &d);
    assert_true(p.reply.news);
    bk_registrar_heard(p.r, 4711); /* nobody's */
    post_close(&p);
}

static struct bk_slice write_result(struct post *p, const struct device *d)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_result_datagram in = {
        .equipment_id = d->id,
        .generation = d->generation,
        .epoch = d->epoch,
        .result.box = bk_slice_text("sealed"),
    };
    struct bk_slice out;
    assert_int_equal(bk_result_datagram_write(p->buf, sizeof p->buf, txid, &in, &p->config.mac,
                                              BK_SLICE_OF(d->key), &out),
                     BK_OK);
    return out;
}

static void a_result_is_passed_on_if_it_is_keyed_and_not_too_often(void **state)
{
    (void)state;
    struct post p;
    post_open(&p, 0, 1);
    struct device d = device_of(&p, 2133);
    struct device forged = d;
    forged.key[0] ^= 1;
    assert_int_equal(bk_registrar_expect(p.r, call_id), BK_OK);
    assert_int_equal(hand_in(&p, &d, write_result(&p, &d)), BK_REGISTRAR_PASS);
    for (int i = 0; i < 2 * RESULTS_BURST; i++) {
        assert_int_equal(hand_in(&p, &d, write_result(&p, &forged)), BK_REGISTRAR_NOTHING);
    }
    int passed = 0; /* the forged ones were not counted against the device */
    while (passed < 2 * RESULTS_BURST &&
           hand_in(&p, &d, write_result(&p, &d)) == BK_REGISTRAR_PASS) {
        passed++;
    }
    assert_int_equal(passed, RESULTS_BURST - 1);
    struct device e = device_of(&p, 2134);
    assert_int_equal(hand_in(&p, &e, write_result(&p, &e)), BK_REGISTRAR_PASS);
    p.now.mono += BK_SECOND;
    assert_int_equal(hand_in(&p, &d, write_result(&p, &d)), BK_REGISTRAR_PASS);
    assert_true(bk_registrar_set_exception(p.r, 2134, 0, true));
    assert_int_equal(hand_in(&p, &e, write_result(&p, &e)), BK_REGISTRAR_NOTHING);
    struct bk_arrival second = {
        .from = d.addr, .bytes = write_result(&p, &d), .local = d.local, .second = true};
    assert_int_equal(bk_registrar_datagram(p.r, &p.now, &second, &p.reply), BK_REGISTRAR_NOTHING);
    post_close(&p);
}

/* Whoever has heard one of an earlier call could else keep those of the present one from the core. */
static void a_result_of_a_call_that_is_over_is_answered_and_uses_up_nothing(void **state)
{
    (void)state;
    struct post p;
    post_open(&p, 0, 1);
    struct device d = device_of(&p, 2133);
    struct device forged = d;
    forged.key[0] ^= 1;
    for (int i = 0; i < 2 * RESULTS_BURST; i++) {
        struct bk_slice bytes = write_result(&p, &d);
        struct bk_stun m;
        assert_int_equal(hand_in(&p, &d, bytes), BK_REGISTRAR_REPLY);
        assert_true(p.reply.n < bytes.n && p.reply.port == d.addr.port);
        assert_int_equal(bk_stun_read(bk_slice(p.reply.bytes, p.reply.n), &m), BK_OK);
        assert_int_equal(m.txid[0], 1);
        assert_int_equal(bk_result_answer_read(&m, &p.config.mac, BK_SLICE_OF(d.key)), BK_OK);
        assert_int_equal(hand_in(&p, &d, write_result(&p, &forged)), BK_REGISTRAR_NOTHING);
    }
    assert_int_equal(bk_registrar_expect(p.r, call_id), BK_OK);
    assert_int_equal(hand_in(&p, &d, write_result(&p, &d)), BK_REGISTRAR_PASS);
    bk_registrar_expect_no_more(p.r, call_id);
    bk_registrar_expect_no_more(p.r, call_id); /* once too often does no harm */
    assert_int_equal(hand_in(&p, &d, write_result(&p, &d)), BK_REGISTRAR_REPLY);
    assert_true(bk_registrar_set_exception(p.r, 2133, 0, true));
    assert_int_equal(hand_in(&p, &d, write_result(&p, &d)), BK_REGISTRAR_NOTHING);
    post_close(&p);
}

static void an_answer_to_notify_is_passed_on_if_the_server_asked(void **state)
{
    (void)state;
    static const uint8_t random[4] = {1, 2, 3, 4};
    struct post p;
    post_open(&p, 3, SHARDS); /* any shard: it names no device */
    struct device d = device_of(&p, 2133);
    struct bk_notify_answer answer = {.taken = false};
    struct bk_slice b;
    uint8_t txid[BK_STUN_TXID_BYTES];
    bk_notify_txid_make(&p.config.mac, notify_key, random, txid);
    for (size_t at = 0; at <= sizeof txid; at++) {
        if (at < sizeof txid) {
            txid[at] ^= 1;
        }
        assert_int_equal(bk_notify_answer_write(p.buf, sizeof p.buf, txid, &answer, &p.config.mac,
                                                BK_SLICE_OF(d.key), &b),
                         BK_OK);
        assert_int_equal(hand_in(&p, &d, b),
                         at < sizeof txid ? BK_REGISTRAR_NOTHING : BK_REGISTRAR_PASS);
        if (at < sizeof txid) {
            txid[at] ^= 1;
        }
    }
    post_close(&p);
}

/* What reaches the server's core by way of the workers has to share the room there: nobody may fill it by sending over and
 * over what was good once. */
static void what_is_passed_on_is_passed_on_so_often_and_no_more(void **state)
{
    (void)state;
    static const uint8_t random[4] = {1, 2, 3, 4}, another[4] = {1, 2, 3, 5};
    struct post p;
    post_open(&p, bk_shard_of(2133, SHARDS), SHARDS);
    struct device d = device_of(&p, 2134);
    while (bk_shard_of(d.id, SHARDS) == p.config.shard) {
        d = device_of(&p, d.id + 1);
    }
    struct bk_notify_answer answer = {.taken = false};
    struct bk_slice b;
    uint8_t txid[BK_STUN_TXID_BYTES];
    bk_notify_txid_make(&p.config.mac, notify_key, random, txid);
    assert_int_equal(bk_notify_answer_write(p.buf, sizeof p.buf, txid, &answer, &p.config.mac,
                                            BK_SLICE_OF(d.key), &b),
                     BK_OK);
    int passed = 0;
    for (int i = 0; i < 10 * RESULTS_BURST; i++) {
        passed += hand_in(&p, &d, b) == BK_REGISTRAR_PASS;
    }
    assert_int_equal(passed, RESULTS_BURST);
    bk_notify_txid_make(&p.config.mac, notify_key, another, txid); /* another call's */
    assert_int_equal(bk_notify_answer_write(p.buf, sizeof p.buf, txid, &answer, &p.config.mac,
                                            BK_SLICE_OF(d.key), &b),
                     BK_OK);
    assert_int_equal(hand_in(&p, &d, b), BK_REGISTRAR_PASS);
    passed = 0;
    for (int i = 0; i < 10 * RESULTS_BURST; i++) {
        passed += hand_in(&p, &d, write_register(&p, &d, NULL)) == BK_REGISTRAR_PASS;
    }
    assert_int_equal(passed, RESULTS_BURST);
    post_close(&p);
}

/* Answers to NOTIFY that were overheard once are not proven here. */
static void what_is_proven_has_room_of_its_own(void **state)
{
    (void)state;
    enum { OVERHEARD = 500, PROVEN = 200 };
    struct post p;
    post_open(&p, 0, 1);
    struct device d = device_of(&p, 2133);
    struct bk_notify_answer answer = {.taken = false};
    for (uint16_t i = 0; i < OVERHEARD; i++) {
        const uint8_t drawn[4] = {(uint8_t)(i >> 8), (uint8_t)i};
        uint8_t txid[BK_STUN_TXID_BYTES];
        struct bk_slice b;
        bk_notify_txid_make(&p.config.mac, notify_key, drawn, txid);
        assert_int_equal(bk_notify_answer_write(p.buf, sizeof p.buf, txid, &answer, &p.config.mac,
                                                BK_SLICE_OF(d.key), &b),
                         BK_OK);
        while (hand_in(&p, &d, b) == BK_REGISTRAR_PASS) {
        }
    }
    assert_int_equal(bk_registrar_expect(p.r, call_id), BK_OK);
    for (uint64_t id = 1; id <= PROVEN; id++) {
        struct device e = device_of(&p, id);
        assert_int_equal(hand_in(&p, &e, write_result(&p, &e)), BK_REGISTRAR_PASS);
    }
    post_close(&p);
}

static void looking_ahead_changes_nothing_and_takes_anything(void **state)
{
    (void)state;
    enum { MANY = BK_REGISTRAR_BATCH_MAX + 20 };
    struct post p;
    post_open(&p, 0, 1);
    struct device d = device_of(&p, 2133);
    enter(&p, &d);
    uint8_t raw[40];
    struct bk_slice batch[MANY];
    for (size_t i = 0; i < MANY; i++) {
        batch[i] = i < sizeof raw ? bk_slice(raw, i) : bk_slice(p.buf, 88);
    }
    seeded_fill(&p.seed, raw, sizeof raw);
    bk_registrar_prefetch(p.r, batch, MANY);
    bk_registrar_prefetch(p.r, NULL, 0);
    assert_int_equal(bk_registrar_rows(p.r), 1);
    assert_int_equal(say(&p, &d, NULL, NULL), 0);
    post_close(&p);
}

/* Worker and core look at their clocks one after the other, and enter in another order. */
static void time_that_goes_back_a_little_harms_nobody(void **state)
{
    (void)state;
    struct post p;
    post_open(&p, 0, 1);
    struct device d = device_of(&p, 2133);
    struct bk_location at;
    enter(&p, &d);
    p.now.mono += 10 * BK_SECOND;
    assert_int_equal(say(&p, &d, NULL, NULL), 0);
    struct bk_now before = {.mono = p.now.mono - 5 * BK_SECOND};
    bk_registrar_timer(p.r, &before);
    assert_true(bk_registrar_find(p.r, &before, 2133, &at));
    assert_true(at.last_seen == p.now.mono);
    p.now.mono -= 5 * BK_SECOND;
    assert_int_equal(say(&p, &d, NULL, NULL), 0);
    assert_true(bk_registrar_find(p.r, &p.now, 2133, &at));
    assert_true(at.last_seen == p.now.mono + 5 * BK_SECOND);
    post_close(&p);
}

static void many_expire_a_few_at_a_time_and_soon(void **state)
{
    (void)state;
    enum { ROWS = 3000, AT_A_TIME = 512, SOON_MS = 5 };
    struct post p;
    post_open(&p, 0, 1);
    for (uint64_t id = 1; id <= ROWS; id++) {
        struct device d = device_of(&p, id);
        enter(&p, &d);
    }
    struct bk_location at;
    bool found;
    size_t seen = 0;
    for (uint64_t cursor = 0, more = 1; more != 0; seen += found) {
        more = bk_registrar_walk(p.r, &p.now, &cursor, 7, &found, &at);
    }
    assert_int_equal(seen, ROWS);
    p.now.mono += (BK_REGISTRAR_EXPIRY_S + 1) * BK_SECOND;
    for (uint64_t left = ROWS; left > 0;) {
        bk_registrar_timer(p.r, &p.now);
        uint64_t now_left = bk_registrar_rows(p.r);
        assert_true(now_left < left && left - now_left <= AT_A_TIME);
        left = now_left;
        assert_true(left == 0 || bk_registrar_deadline(p.r) == p.now.mono + SOON_MS * BK_MS ||
                    left < AT_A_TIME);
        p.now.mono = left > 0 ? bk_registrar_deadline(p.r) : p.now.mono;
    }
    assert_true(bk_registrar_deadline(p.r) == BK_TIME_NEVER);
    post_close(&p);
}

static void expect_range(struct post *p)
{
    struct bk_registrar *r = NULL;
    assert_int_equal(bk_registrar_new(&p->config, &p->now, &r), BK_E_RANGE);
    assert_null(r);
}

static void what_cannot_be_is_refused_and_memory_may_run_out(void **state)
{
    (void)state;
    struct post p;
    post_open(&p, 0, 1);
    struct bk_registrar_config good = p.config;
#define REFUSED(change)                                                                            \
    do {                                                                                           \
        p.config = good;                                                                           \
        p.config.change;                                                                           \
        expect_range(&p);                                                                          \
    } while (0)
    REFUSED(n_shards = 0);
    REFUSED(n_shards = BK_SHARDS_MAX + 1);
    REFUSED(shard = 1);
    REFUSED(max_devices = 0);
    REFUSED(max_devices = BK_REGISTRAR_ROWS_MAX + 1);
    REFUSED(n_master = 0);
    REFUSED(n_master = BK_REGISTRAR_EPOCHS_MAX + 1);
    REFUSED(binding_per_s = 0);
    REFUSED(changes = 1);
    REFUSED(mac.hmac_sha256 = NULL);
    REFUSED(rng.fill = NULL);
    REFUSED(alloc.get = NULL);
#undef REFUSED
    p.config = good;
    bk_registrar_free(p.r);
    enum bk_err err = BK_E_NOMEM;
    for (p.memory.fail_from = 1; err == BK_E_NOMEM; p.memory.fail_from++) {
        p.memory.calls = 0;
        err = bk_registrar_new(&p.config, &p.now, &p.r);
        assert_true(err == BK_OK || (p.r == NULL && p.memory.alive == 0));
    }
    assert_int_equal(err, BK_OK);
    assert_true(p.memory.fail_from > 8);
    post_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_spread_over_shards_whatever_their_step),
        cmocka_unit_test(a_datagram_goes_to_the_shard_of_the_device_it_names),
        cmocka_unit_test(what_is_not_its_own_is_passed_on_if_it_is_keyed),
        cmocka_unit_test(only_what_a_call_waits_for_is_news),
        cmocka_unit_test(news_are_said_once_until_they_are_heard),
        cmocka_unit_test(a_result_is_passed_on_if_it_is_keyed_and_not_too_often),
        cmocka_unit_test(a_result_of_a_call_that_is_over_is_answered_and_uses_up_nothing),
        cmocka_unit_test(an_answer_to_notify_is_passed_on_if_the_server_asked),
        cmocka_unit_test(what_is_passed_on_is_passed_on_so_often_and_no_more),
        cmocka_unit_test(what_is_proven_has_room_of_its_own),
        cmocka_unit_test(looking_ahead_changes_nothing_and_takes_anything),
        cmocka_unit_test(time_that_goes_back_a_little_harms_nobody),
        cmocka_unit_test(many_expire_a_few_at_a_time_and_soon),
        cmocka_unit_test(what_cannot_be_is_refused_and_memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
