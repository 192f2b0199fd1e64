/* Which keepalives ask for an answer, and how far apart they are. */
#include "core/agent/registration_bench.h"

#include "core/agent/admission.h"

static const char nonce_text[] = "abcdefghijklmnopqrst";

/* Bytes on the wire of UDP and IPv4. */
enum { HEADERS_BYTES = 28, ANSWER_BYTES = 72 };

static struct bk_slice quiet_challenge(struct bench *b, const uint8_t *txid)
{
    struct bk_slice bytes;
    assert_int_equal(bk_register_challenge_write(b->buf, sizeof b->buf, txid,
                                                 bk_slice_text(nonce_text), &b->mac, b->key,
                                                 &bytes),
                     BK_OK);
    return bytes;
}

static void kept(struct bench *b, uint32_t s)
{
    struct bk_registration_event event = {.type = BK_REGISTRATION_KEPT, .kept_s = s};
    bk_registration_input(&b->r, &b->now, &event, &b->out);
    assert_int_equal(b->out.n, 0);
}

/* Two answers found the mapping where it was. */
static void settle(struct bench *b, uint64_t seed)
{
    struct bk_stun m;
    come_up(b, seed);
    for (int i = 0; i < 2; i++) {
        tick(b);
        assert_false(sent(b, &m).quiet);
        succeed(b, b->r.udp.txid);
    }
}

static void quiet_tick(struct bench *b, uint8_t txid[BK_STUN_TXID_BYTES])
{
    struct bk_stun m;
    tick(b);
    assert_true(sent(b, &m).quiet);
    assert_int_equal(m.cls, BK_STUN_INDICATION);
    memcpy(txid, m.txid, BK_STUN_TXID_BYTES);
}

static void three_quiet_ones_come_between_two_answered_ones(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    settle(&b, 1);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++) {
            uint32_t counter = b.r.tag.counter;
            tick(&b);
            struct bk_register got = sent(&b, &m);
            assert_true(got.quiet);
            assert_int_equal(got.tag.counter, counter + 1);
            assert_int_equal(got.interval_s, 25);
            assert_int_equal(got.nonce.n, 0);
            uint64_t wait = bk_time_left(b.now.mono, bk_registration_deadline(&b.r));
            assert_true(wait <= 25 * BK_SECOND && wait >= 22500 * BK_MS);
        }
        tick(&b);
        assert_false(sent(&b, &m).quiet);
        succeed(&b, b.r.udp.txid);
        assert_int_equal(b.out.n, 0);
    }
}

static void a_challenge_to_a_quiet_one_is_a_full_exchange_at_once(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    uint8_t txid[BK_STUN_TXID_BYTES];
    settle(&b, 2);
    quiet_tick(&b, txid);
    struct bk_slice bytes = quiet_challenge(&b, txid);
    assert_true(bytes.n <= 88);
    receive(&b, bytes);
    struct bk_register got = sent(&b, &m);
    assert_false(got.quiet);
    assert_true(bk_slice_equal(got.nonce, bk_slice_text(nonce_text)));
    assert_memory_not_equal(m.txid, txid, sizeof txid);
    receive(&b, quiet_challenge(&b, txid)); /* a copy */
    assert_int_equal(b.out.n, 0);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(b.out.n, 0); /* the same mapping: a server that was restarted */
    receive(&b, quiet_challenge(&b, txid));
    assert_int_equal(b.out.n, 0);
    for (int i = 0; i < 3; i++) { /* and all goes on quietly */
        quiet_tick(&b, txid);
    }
}

static void what_is_lost_after_a_challenge_is_repeated(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    uint8_t txid[BK_STUN_TXID_BYTES];
    settle(&b, 3);
    quiet_tick(&b, txid);
    receive(&b, quiet_challenge(&b, txid));
    tick(&b);
    assert_true(b.r.udp.attempt == 2 && sent(&b, &m).nonce.n == BK_NONCE_BYTES);
    challenge(&b, b.r.udp.txid); /* the nonce died meanwhile */
    assert_int_equal(sent(&b, &m).nonce.n, BK_NONCE_BYTES);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(b.r.state, BK_REGISTRATION_UP);
}

static void other_challenges_to_quiet_ones_mean_nothing(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    uint8_t older[BK_STUN_TXID_BYTES], txid[BK_STUN_TXID_BYTES];
    uint8_t bad[512];
    settle(&b, 4);
    quiet_tick(&b, older);
    quiet_tick(&b, txid);
    receive(&b, quiet_challenge(&b, older)); /* not the newest */
    assert_int_equal(b.out.n, 0);
    struct bk_slice good = quiet_challenge(&b, txid);
    static struct bk_registration before;
    before = b.r;
    receive_from(&b, good, bk_addr_v4(130, 74, 23, 6, 1201));
    assert_int_equal(b.out.n, 0);
    for (size_t bit = 0; bit < good.n * 8; bit++) {
        memcpy(bad, good.p, good.n);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        receive(&b, bk_slice(bad, good.n));
        assert_int_equal(b.out.n, 0);
    }
    struct bk_registration_event tunnel = {
        .type = BK_REGISTRATION_DATAGRAM, .bytes = good, .tunnel = true};
    bk_registration_input(&b.r, &b.now, &tunnel, &b.out);
    assert_int_equal(b.out.n, 0);
    challenge(&b, txid); /* an error response is no challenge to an indication */
    assert_int_equal(b.out.n, 0);
    succeed(&b, txid); /* nor a success an answer */
    assert_int_equal(b.out.n, 0);
    assert_memory_equal(&before, &b.r, sizeof before);
    quiet_tick(&b, older);
    tick(&b); /* an answered one is under way: it tells all by itself */
    assert_false(sent(&b, &m).quiet);
    receive(&b, quiet_challenge(&b, older));
    assert_int_equal(b.out.n, 0);
}

static void another_mapping_ends_the_quiet(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    uint8_t txid[BK_STUN_TXID_BYTES];
    settle(&b, 5);
    quiet_tick(&b, txid);
    receive(&b, quiet_challenge(&b, txid));
    receive(&b, answer(&b, b.r.udp.txid, 0, NULL, bk_addr_v4(5, 5, 5, 5, 5), 1700000000));
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
    for (int i = 0; i < 2; i++) {
        tick(&b);
        assert_false(sent(&b, &m).quiet);
        receive(&b, answer(&b, b.r.udp.txid, 0, NULL, bk_addr_v4(5, 5, 5, 5, 5), 1700000000));
    }
    quiet_tick(&b, txid);
    struct bk_registration_event changed = {.type = BK_REGISTRATION_NETWORK_CHANGED};
    bk_registration_input(&b.r, &b.now, &changed, &b.out);
    assert_false(sent(&b, &m).quiet);
}

static void a_server_that_is_gone_is_missed_at_the_next_answered_one(void **state)
{
    (void)state;
    static struct bench b;
    settle(&b, 6);
    bk_time began = b.now.mono;
    size_t lost = 0;
    while (lost == 0) {
        tick(&b);
        lost = count(&b, BK_REGISTRATION_LOST);
    }
    assert_true(b.now.mono - began <= 4 * 25 * BK_SECOND + 5 * BK_SECOND);
    assert_int_equal(b.r.state, BK_REGISTRATION_TRYING);
}

static void what_a_nat_keeps_stretches_the_interval(void **state)
{
    (void)state;
    static const struct {
        uint32_t kept_s, interval_s;
    } cases[] = {{40, 36},   {75, 68},      {110, 99},         {170, 153}, {270, 240},
                 {300, 240}, {100000, 240}, {UINT32_MAX, 240}, {27, 25},   {0, 25}};
    static struct bench b;
    struct bk_stun m;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        settle(&b, i + 1);
        kept(&b, cases[i].kept_s);
        bool stretched = cases[i].interval_s > 25;
        tick(&b); /* still after 25 s at most, answered: the server is told */
        struct bk_register got = sent(&b, &m);
        assert_int_equal(got.quiet, !stretched);
        assert_int_equal(got.interval_s, cases[i].interval_s);
        if (!stretched) {
            continue;
        }
        succeed(&b, b.r.udp.txid);
        uint64_t wait = bk_time_left(b.now.mono, bk_registration_deadline(&b.r));
        assert_true(wait == 3 * BK_SECOND); /* the second of the pair */
        tick(&b);
        assert_false(sent(&b, &m).quiet);
        succeed(&b, b.r.udp.txid);
        wait = bk_time_left(b.now.mono, bk_registration_deadline(&b.r));
        uint64_t whole = cases[i].interval_s * BK_SECOND;
        assert_true(wait <= whole && wait >= whole - whole / 10);
        tick(&b);
        assert_true(sent(&b, &m).quiet);
    }
}

static void a_fixed_interval_is_not_stretched(void **state)
{
    (void)state;
    static struct bench b;
    settle(&b, 1);
    b.r.config.keepalive_s = 25;
    kept(&b, 270);
    assert_int_equal(b.r.interval_s, 25);
}

/* Registered behind a NAT that keeps mappings for 270 s, with two keepalives at that pace behind it. */
static void keep_for_long(struct bench *b)
{
    settle(b, 1);
    kept(b, 270);
    tick(b);
    succeed(b, b->r.udp.txid);
    tick(b);
    succeed(b, b->r.udp.txid);
}

static void a_nat_that_keeps_less_than_before_is_kept_alive_at_once(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    keep_for_long(&b);
    fake_pass(&b.now, 20 * BK_SECOND);
    kept(&b, 75);
    assert_true(bk_registration_deadline(&b.r) == b.now.mono);
    tick(&b);
    assert_false(sent(&b, &m).quiet);
    assert_int_equal(b.r.interval_s, 68);
}

static void a_changed_mapping_or_network_makes_intervals_short_again(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    struct bk_registration_event changed = {.type = BK_REGISTRATION_NETWORK_CHANGED};
    settle(&b, 1);
    kept(&b, 270);
    bk_registration_input(&b.r, &b.now, &changed, &b.out);
    assert_int_equal(sent(&b, &m).interval_s, 25);
    succeed(&b, b.r.udp.txid);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) <= 25 * BK_SECOND);

    settle(&b, 2);
    kept(&b, 270);
    tick(&b);
    receive(&b, answer(&b, b.r.udp.txid, 0, NULL, bk_addr_v4(5, 5, 5, 5, 5), 1700000000));
    assert_int_equal(b.r.interval_s, 25);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) <= 25 * BK_SECOND);
    tick(&b);
    assert_int_equal(sent(&b, &m).interval_s, 25);
}

/* A NAT that was measured and forgets all the same. */
static void a_mapping_that_changes_twice_is_not_stretched_for_hours(void **state)
{
    (void)state;
    static struct bench b;
    settle(&b, 1);
    for (uint16_t port = 1; port <= 2; port++) {
        kept(&b, 270);
        assert_int_equal(b.r.interval_s, 240);
        tick_answered(&b);
        receive(&b, answer(&b, b.r.udp.txid, 0, NULL, bk_addr_v4(5, 5, 5, 5, port), 1700000000));
        assert_int_equal(b.r.interval_s, 25);
    }
    kept(&b, 270);
    assert_int_equal(b.r.interval_s, 25);
    fake_pass(&b.now, 12 * 3600 * BK_SECOND - 1);
    kept(&b, 270);
    assert_int_equal(b.r.interval_s, 25);
    fake_pass(&b.now, 1);
    kept(&b, 270);
    assert_int_equal(b.r.interval_s, 240);
}

/* Bytes and wake-ups of timers in a day, all answers given. */
static uint64_t day_of(struct bench *b, uint32_t *wakeups)
{
    struct bk_stun m;
    bk_time end = b->now.mono + 86400 * BK_SECOND;
    uint64_t bytes = 0;
    *wakeups = 0;
    for (;;) {
        if (bk_registration_deadline(&b->r) > end) {
            return bytes;
        }
        tick(b);
        (*wakeups)++;
        struct bk_register got = sent(b, &m);
        bytes += m.raw.n + HEADERS_BYTES;
        if (!got.quiet) {
            struct bk_slice back = answer(b, b->r.udp.txid, 0, NULL, fake_mapped(), 1700000000);
            assert_int_equal(back.n, ANSWER_BYTES);
            bytes += back.n + HEADERS_BYTES;
            receive(b, back);
        }
    }
}

static void a_days_traffic_is_what_the_header_says(void **state)
{
    (void)state;
    static struct bench b;
    uint32_t wakeups;
    settle(&b, 1);
    assert_in_range(day_of(&b, &wakeups), 490000, 530000);
    assert_true(wakeups <= 3 * 1440);
    kept(&b, 110);
    assert_in_range(day_of(&b, &wakeups), 165000, 190000);
    assert_true(wakeups <= 1440);
    kept(&b, 270);
    assert_in_range(day_of(&b, &wakeups), 65000, 80000);
}

static void a_call_under_an_old_tag_brings_a_new_one(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    keep_for_long(&b);
    struct bk_tag tag = b.r.tag;
    receive(&b, notify(&b, 1, &tag)); /* of now: nothing to mend */
    assert_true(bk_registration_deadline(&b.r) > b.now.mono);
    fake_pass(&b.now, BK_FRESH_S * BK_SECOND + 1);
    assert_true(bk_registration_sent_lately(&b.r, &b.now, &tag));
    receive(&b, notify(&b, 2, &tag));
    assert_int_equal(count(&b, BK_REGISTRATION_CALL), 1);
    assert_true(bk_registration_deadline(&b.r) == b.now.mono);
    tick(&b);
    assert_false(sent(&b, &m).quiet);
    fake_pass(&b.now, BK_FRESH_S * BK_SECOND - 1);
    assert_true(bk_registration_sent_lately(&b.r, &b.now, &tag));
    fake_pass(&b.now, 1);
    assert_false(bk_registration_sent_lately(&b.r, &b.now, &tag));
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_quiet_ones_come_between_two_answered_ones),
        cmocka_unit_test(a_challenge_to_a_quiet_one_is_a_full_exchange_at_once),
        cmocka_unit_test(what_is_lost_after_a_challenge_is_repeated),
        cmocka_unit_test(other_challenges_to_quiet_ones_mean_nothing),
        cmocka_unit_test(another_mapping_ends_the_quiet),
        cmocka_unit_test(a_server_that_is_gone_is_missed_at_the_next_answered_one),
        cmocka_unit_test(what_a_nat_keeps_stretches_the_interval),
        cmocka_unit_test(a_fixed_interval_is_not_stretched),
        cmocka_unit_test(a_nat_that_keeps_less_than_before_is_kept_alive_at_once),
        cmocka_unit_test(a_changed_mapping_or_network_makes_intervals_short_again),
        cmocka_unit_test(a_mapping_that_changes_twice_is_not_stretched_for_hours),
        cmocka_unit_test(a_days_traffic_is_what_the_header_says),
        cmocka_unit_test(a_call_under_an_old_tag_brings_a_new_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
