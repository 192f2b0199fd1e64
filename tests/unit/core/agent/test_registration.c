#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/agent/admission.h"
#include "core/agent/registration_bench.h"

static void start_registers_and_says_the_observed_address(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 1);
    struct bk_addr mapped = fake_mapped();
    assert_true(bk_addr_equal(&b.out.actions[0].addr, &mapped));
    assert_int_equal(b.r.state, BK_REGISTRATION_UP);
}

static void keepalives_come_within_the_last_tenth_of_the_interval(void **state)
{
    (void)state;
    uint64_t low = BK_TIME_NEVER;
    uint64_t high = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        static struct bench b;
        come_up(&b, seed);
        uint64_t wait = bk_time_left(b.now.mono, bk_registration_deadline(&b.r));
        assert_true(wait <= 25 * BK_SECOND && wait >= 22500 * BK_MS);
        low = bk_time_min(low, wait);
        high = wait > high ? wait : high;
    }
    assert_true(high - low > BK_SECOND);
}

static void retransmissions_double_with_jitter_up_to_the_interval(void **state)
{
    (void)state;
    static const uint64_t nominal_ms[] = {500, 1000, 2000, 4000, 8000, 16000, 25000, 25000, 25000};
    for (uint64_t seed = 1; seed <= 100; seed++) {
        static struct bench b;
        struct bk_stun m;
        begin(&b, seed);
        input(&b, BK_REGISTRATION_START);
        input(&b, BK_REGISTRATION_RESOLVED);
        uint32_t counter = sent(&b, &m).tag.counter;
        for (size_t i = 0; i < sizeof nominal_ms / sizeof nominal_ms[0]; i++) {
            uint64_t wait = bk_time_left(b.now.mono, bk_registration_deadline(&b.r));
            assert_true(wait >= nominal_ms[i] * BK_MS * 4 / 5);
            assert_true(wait <= nominal_ms[i] * BK_MS * 6 / 5);
            assert_true(wait <= 25 * BK_SECOND);
            tick(&b);
            struct bk_register next = sent(&b, &m);
            assert_true(next.tag.counter > counter); /* every REGISTER raises it */
            counter = next.tag.counter;
        }
    }
}

static void an_answer_to_any_retransmission_counts(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun first;
    begin(&b, 1);
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    sent(&b, &first);
    uint8_t txid[BK_STUN_TXID_BYTES];
    memcpy(txid, first.txid, sizeof txid);
    tick(&b); /* a round trip longer than the first wait */
    succeed(&b, txid);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
}

static void three_unanswered_mean_lost_once_and_a_new_resolution(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    come_up(&b, 4);
    size_t lost = 0;
    size_t resolved = 0;
    for (int send = 1; send <= 7; send++) {
        tick(&b);
        sent(&b, &m); /* without waiting for the resolver */
        lost += count(&b, BK_REGISTRATION_LOST);
        resolved += count(&b, BK_REGISTRATION_RESOLVE);
        assert_int_equal(lost, send >= 4 ? 1 : 0);
        assert_int_equal(resolved, send >= 7 ? 2 : send >= 4 ? 1 : 0);
    }
    assert_int_equal(b.r.state, BK_REGISTRATION_TRYING);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
}

static void a_moved_server_is_registered_at_once(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 5);
    input(&b, BK_REGISTRATION_RESOLVED);
    assert_int_equal(b.out.n, 0); /* the same address: nothing to do */
    struct bk_registration_event moved = {.type = BK_REGISTRATION_RESOLVED,
                                          .addr = bk_addr_v4(9, 9, 9, 9, 1200)};
    bk_registration_input(&b.r, &b.now, &moved, &b.out);
    assert_int_equal(b.out.n, 1);
    assert_true(bk_addr_equal(&b.out.actions[0].addr, &moved.addr));
}

static void an_unresolved_name_is_asked_again_with_back_off(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 6);
    input(&b, BK_REGISTRATION_START);
    bk_time began = b.now.mono;
    size_t asked = 0;
    while (b.now.mono - began < 300 * BK_SECOND) {
        input(&b, BK_REGISTRATION_UNRESOLVED);
        assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) <= 25 * BK_SECOND);
        tick(&b);
        assert_int_equal(count(&b, BK_REGISTRATION_RESOLVE), 1);
        asked++;
    }
    assert_in_range(asked, 12, 24);
}

static void a_challenge_is_answered_at_once_and_only_once(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    begin(&b, 7);
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    struct bk_register first = sent(&b, &m);
    uint8_t txid[BK_STUN_TXID_BYTES];
    memcpy(txid, m.txid, sizeof txid);
    challenge(&b, txid);
    struct bk_register second = sent(&b, &m);
    assert_true(bk_slice_equal(second.nonce, bk_slice_text("abcdefghijklmnopqrst")));
    assert_true(second.tag.counter > first.tag.counter);
    challenge(&b, txid); /* a duplicate of the first challenge */
    assert_int_equal(b.out.n, 0);
    tick(&b); /* unanswered: the nonce goes out again while it is good */
    assert_int_equal(sent(&b, &m).nonce.n, BK_NONCE_BYTES);
    while (b.r.udp.nonce_until > b.now.mono) {
        tick(&b);
    }
    tick(&b);
    assert_int_equal(sent(&b, &m).nonce.n, 0);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
}

static void a_challenge_makes_the_next_waits_short_again(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 17);
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    for (int i = 0; i < 6; i++) {
        tick(&b);
    }
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) > 10 * BK_SECOND);
    challenge(&b, b.r.udp.txid);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) <= 600 * BK_MS);
}

static void endless_challenges_do_not_make_a_storm(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 8);
    bk_time began = b.now.mono;
    size_t sends = 0;
    while (b.now.mono - began < 600 * BK_SECOND) {
        tick(&b);
        sends += count(&b, BK_REGISTRATION_SEND);
        for (int i = 0; i < 10; i++) {
            challenge(&b, b.r.udp.txid);
            sends += count(&b, BK_REGISTRATION_SEND);
        }
    }
    assert_true(sends < 160); /* four a round, rounds one interval apart in the end */
}

static void strangers_and_wrong_macs_change_nothing(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    begin(&b, 9);
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    sent(&b, &m);
    static struct bk_registration before;
    before = b.r;
    struct bk_slice good = answer(&b, b.r.udp.txid, 0, NULL, fake_mapped(), 1700000000);
    receive_from(&b, good, bk_addr_v4(130, 74, 23, 6, 1201));
    assert_int_equal(b.out.n, 0);
    receive_from(&b, good, bk_addr_v4(130, 74, 23, 7, 1200));
    assert_int_equal(b.out.n, 0);
    uint8_t bad[512];
    for (size_t bit = 0; bit < good.n * 8; bit++) {
        memcpy(bad, good.p, good.n);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        receive(&b, bk_slice(bad, good.n));
        assert_int_equal(b.out.n, 0);
    }
    for (size_t n = 0; n < good.n; n++) {
        receive(&b, bk_slice(good.p, n));
        assert_int_equal(b.out.n, 0);
    }
    uint8_t other[BK_STUN_TXID_BYTES] = {1, 2, 3};
    succeed(&b, other);
    assert_int_equal(b.out.n, 0);
    assert_memory_equal(&before, &b.r, sizeof before);
}

static void a_notify_is_answered_first_and_acted_on_once(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 10);
    for (int copy = 0; copy < 3; copy++) {
        struct bk_slice bytes = notify(&b, 1, &b.r.tag);
        receive(&b, bytes);
        assert_int_equal(b.out.n, copy == 0 ? 2 : 1);
        assert_false(notify_answer(&b, 1).taken);
        assert_true(b.out.actions[0].bytes.n <= bytes.n);
        assert_int_equal(count(&b, BK_REGISTRATION_CALL), copy == 0 ? 1 : 0);
    }
    receive(&b, notify(&b, 2, &b.r.tag)); /* another call */
    assert_int_equal(count(&b, BK_REGISTRATION_CALL), 1);
}

/* As many as a server that repeats old ones can send between two keepalives' worth of calls. */
static void the_last_256_notifies_are_remembered(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 20);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 256; i++) {
            receive(&b, notify(&b, (uint8_t)i, &b.r.tag));
            assert_int_equal(count(&b, BK_REGISTRATION_CALL), round == 0 ? 1 : 0);
            assert_int_equal(count(&b, BK_REGISTRATION_SEND), 1); /* answered each time */
        }
    }
}

static void a_notify_for_another_registration_is_ignored(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 11);
    struct bk_tag tag = b.r.tag;
    tag.random ^= 1;
    receive(&b, notify(&b, 1, &tag));
    assert_int_equal(b.out.n, 0);
    tag = b.r.tag;
    tag.counter++; /* never sent */
    receive(&b, notify(&b, 2, &tag));
    assert_int_equal(b.out.n, 0);
    struct bk_slice bytes = notify(&b, 3, &b.r.tag);
    receive_from(&b, bytes, bk_addr_v4(8, 8, 8, 8, 1200));
    assert_int_equal(b.out.n, 0);
    tag = b.r.tag;
    for (int i = 0; i < 3; i++) {
        tick(&b);
        succeed(&b, b.r.udp.txid);
    }
    receive(&b, notify(&b, 4, &tag)); /* some keepalives old: the server may have missed those */
    assert_int_equal(count(&b, BK_REGISTRATION_CALL), 1);
    for (int i = 0; i < 6; i++) {
        tick(&b);
        succeed(&b, b.r.udp.txid);
    }
    receive(&b, notify(&b, 5, &tag));
    assert_int_equal(b.out.n, 0);
}

static void tags_are_fresh_for_two_minutes(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 12);
    struct bk_tag tag = b.r.tag;
    fake_pass(&b.now, BK_FRESH_S * BK_SECOND);
    assert_true(bk_registration_sent_lately(&b.r, &b.now, &tag));
    fake_pass(&b.now, 1);
    assert_false(bk_registration_sent_lately(&b.r, &b.now, &tag));
}

static void revoked_is_told_once_and_tried_again_slowly(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    come_up(&b, 13);
    for (int i = 0; i < 3; i++) {
        tick(&b);
        sent(&b, &m);
        receive(&b, answer(&b, b.r.udp.txid, BK_CODE_FORBIDDEN, NULL, fake_mapped(), 0));
        assert_int_equal(count(&b, BK_REGISTRATION_REVOKED), i == 0 ? 1 : 0);
        uint64_t wait = bk_time_left(b.now.mono, bk_registration_deadline(&b.r));
        assert_true(wait >= 90 * BK_SECOND && wait <= 100 * BK_SECOND);
    }
    tick(&b);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) >= 90 * BK_SECOND);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) <= 25 * BK_SECOND);
}

static void a_changed_mapping_or_network_is_told_and_tried(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    come_up(&b, 14);
    tick(&b);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(b.out.n, 0); /* no news */
    tick(&b);
    receive(&b, answer(&b, b.r.udp.txid, 0, NULL, bk_addr_v4(5, 5, 5, 5, 5), 1700000000));
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
    input(&b, BK_REGISTRATION_NETWORK_CHANGED);
    sent(&b, &m);
}

static void without_a_clock_the_servers_time_is_carried_on(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 15);
    b.now.unix_s = 0;
    assert_int_equal(bk_registration_unix_s(&b.r, &b.now), 0);
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    succeed(&b, b.r.udp.txid);
    fake_pass(&b.now, 10 * BK_SECOND);
    assert_int_equal(bk_registration_unix_s(&b.r, &b.now), 1700000010);
    tick(&b);
    receive(&b, answer(&b, b.r.udp.txid, 0, NULL, fake_mapped(), 1600000000)); /* never back */
    assert_true(bk_registration_unix_s(&b.r, &b.now) > 1700000010);
    b.now.unix_s = 1800000000; /* the host's own clock goes first */
    assert_int_equal(bk_registration_unix_s(&b.r, &b.now), 1800000000);
}

/* A server that lies about the time must not bring back what has expired since. */
static void no_time_before_the_stored_one_is_believed(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 17);
    b.now.unix_s = 0;
    b.r.config.newest_unix_s = 1700000001;
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    succeed(&b, b.r.udp.txid); /* says 1700000000 */
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
    assert_int_equal(bk_registration_unix_s(&b.r, &b.now), 0);
    assert_int_equal(bk_registration_server_unix_s(&b.r), 0);
    tick(&b);
    receive(&b, answer(&b, b.r.udp.txid, 0, NULL, fake_mapped(), 1700000001));
    assert_int_equal(bk_registration_unix_s(&b.r, &b.now), 1700000001);
}

/* One absurd answer would otherwise hold the device there, across restarts too. */
static void no_time_of_the_next_century_is_believed(void **state)
{
    (void)state;
    static const uint64_t absurd[] = {UINT64_MAX, UINT64_MAX - 86399, 4102444800};
    static struct bench b;
    begin(&b, 19);
    b.now.unix_s = 0;
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    receive(&b, answer(&b, b.r.udp.txid, 0, NULL, fake_mapped(), UINT64_MAX));
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
    assert_int_equal(bk_registration_unix_s(&b.r, &b.now), 0);
    tick_answered(&b);
    succeed(&b, b.r.udp.txid); /* says 1700000000 */
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        tick_answered(&b);
        receive(&b, answer(&b, b.r.udp.txid, 0, NULL, fake_mapped(), absurd[i]));
        assert_int_equal(bk_registration_server_unix_s(&b.r), 1700000000);
    }
    tick_answered(&b);
    receive(&b, answer(&b, b.r.udp.txid, 0, NULL, fake_mapped(), 4102444799));
    assert_int_equal(bk_registration_server_unix_s(&b.r), 4102444799);
}

/* Nor make it stand still, for as long as it likes, by saying the same again and again. */
static void the_servers_time_does_not_stand_still(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 18);
    b.now.unix_s = 0;
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    succeed(&b, b.r.udp.txid); /* says 1700000000 */
    bk_time began = b.now.mono;
    uint64_t passed_s = 0;
    for (int i = 0; i < 400; i++) {
        tick_answered(&b);
        passed_s = (b.now.mono - began) / BK_SECOND;
        receive(&b, answer(&b, b.r.udp.txid, 0, NULL, fake_mapped(),
                           1700000000 + (i % 2 == 0 ? 0 : passed_s / 2)));
        assert_int_equal(b.r.state, BK_REGISTRATION_UP);
    }
    assert_true(passed_s > 8000);
    uint64_t time_s = bk_registration_unix_s(&b.r, &b.now);
    assert_true(time_s <= 1700000000 + passed_s && time_s + 60 >= 1700000000 + passed_s);
    /* One whose clock is a little slower than ours is followed, seconds lost on the way included. */
    tick_answered(&b);
    passed_s = (b.now.mono - began) / BK_SECOND;
    receive(&b, answer(&b, b.r.udp.txid, 0, NULL, fake_mapped(), 1700000000 + passed_s - 5));
    assert_int_equal(bk_registration_unix_s(&b.r, &b.now), 1700000000 + passed_s - 5);
}

static void a_used_up_counter_draws_a_new_random_part(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    come_up(&b, 16);
    b.r.tag.counter = UINT32_MAX;
    uint64_t random = b.r.tag.random;
    tick(&b);
    struct bk_register next = sent(&b, &m);
    assert_int_equal(next.tag.counter, 1);
    assert_true(next.tag.random != random);
}

static void a_changed_network_asks_for_the_servers_address_again(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    begin(&b, 21);
    input(&b, BK_REGISTRATION_NETWORK_CHANGED); /* not started yet */
    assert_int_equal(b.out.n, 0);
    input(&b, BK_REGISTRATION_START);
    assert_int_equal(count(&b, BK_REGISTRATION_RESOLVE), 1);
    for (int i = 0; i < 6; i++) { /* the back-off grows */
        input(&b, BK_REGISTRATION_UNRESOLVED);
        tick(&b);
    }
    input(&b, BK_REGISTRATION_UNRESOLVED);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) > 5 * BK_SECOND);
    input(&b, BK_REGISTRATION_NETWORK_CHANGED); /* there is a network now: at once */
    assert_int_equal(count(&b, BK_REGISTRATION_RESOLVE), 1);
    input(&b, BK_REGISTRATION_UNRESOLVED); /* and if that was too early, soon again */
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) <= BK_SECOND);
    tick(&b);
    input(&b, BK_REGISTRATION_RESOLVED);
    sent(&b, &m);
}

static void an_answer_that_means_nothing_to_us_is_as_good_as_none(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    begin(&b, 22);
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    sent(&b, &m);
    bk_time due = bk_registration_deadline(&b.r);
    receive(&b, answer(&b, b.r.udp.txid, BK_CODE_OVERLOADED, NULL, fake_mapped(), 0));
    assert_int_equal(b.out.n, 0);
    assert_true(bk_registration_deadline(&b.r) == due);
    /* A message of another kind from the server's own address is no answer either. */
    uint8_t buf[128];
    struct bk_slice bytes;
    struct bk_notify_answer said = {0};
    assert_int_equal(
        bk_notify_answer_write(buf, sizeof buf, b.r.udp.txid, &said, &b.mac, b.key, &bytes), BK_OK);
    receive(&b, bytes);
    assert_int_equal(b.out.n, 0);
    tick(&b);
    sent(&b, &m);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
}

static void succeed_with_a_hint(struct bench *b)
{
    struct bk_register_answer a = {.mapped = fake_mapped(), .unix_s = 1700000000, .renew = true};
    struct bk_slice bytes;
    assert_int_equal(
        bk_register_answer_write(b->buf, sizeof b->buf, b->r.udp.txid, &a, &b->mac, b->key, &bytes),
        BK_OK);
    receive(b, bytes);
}

static void an_old_key_is_told_of_each_time(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 1);
    assert_int_equal(count(&b, BK_REGISTRATION_RENEW), 0);
    for (int i = 0; i < 3; i++) {
        tick_answered(&b);
        succeed_with_a_hint(&b);
        assert_int_equal(count(&b, BK_REGISTRATION_RENEW), 1);
        assert_int_equal(b.out.n, 1);
        succeed_with_a_hint(&b); /* a copy of the same answer */
        assert_int_equal(b.out.n, 0);
    }
    tick_answered(&b);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(count(&b, BK_REGISTRATION_RENEW), 0);
    begin(&b, 1); /* together with the first success */
    input(&b, BK_REGISTRATION_START);
    input(&b, BK_REGISTRATION_RESOLVED);
    succeed_with_a_hint(&b);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
    assert_int_equal(count(&b, BK_REGISTRATION_RENEW), 1);
}

static void renew_key(struct bench *b)
{
    static const uint8_t key[BK_KEY_BYTES] = {1, 2, 3};
    bk_registration_rekey(&b->r, &b->now, 8, 4, key);
    assert_memory_equal(b->key.p, key, sizeof key);
    b->generation = 8;
    b->epoch = 4;
}

static void a_renewed_key_is_registered_with_at_once(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    come_up(&b, 1);
    struct bk_tag before = b.r.tag;
    fake_pass(&b.now, BK_SECOND);
    renew_key(&b);
    assert_true(bk_registration_deadline(&b.r) == b.now.mono);
    tick(&b);
    struct bk_register after = sent(&b, &m);
    assert_int_equal(after.tag.random, before.random);
    assert_true(after.tag.counter > before.counter);
    assert_true(bk_registration_deadline(&b.r) > b.now.mono);
    assert_true(bk_registration_sent_lately(&b.r, &b.now, &before)); /* calls under way go on */
    succeed(&b, b.r.udp.txid);
    assert_int_equal(b.r.state, BK_REGISTRATION_UP);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 0); /* it stood all the time */
}

static void what_was_sent_under_the_old_key_is_over(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    begin(&b, 1);
    input(&b, BK_REGISTRATION_START);
    renew_key(&b); /* before there is an address: nothing to send to */
    input(&b, BK_REGISTRATION_RESOLVED);
    sent(&b, &m);
    uint8_t txid[BK_STUN_TXID_BYTES];
    memcpy(txid, b.r.udp.txid, sizeof txid);
    renew_key(&b);
    succeed(&b, txid);
    assert_int_equal(b.out.n, 0);
    tick(&b);
    sent(&b, &m);
    assert_memory_not_equal(txid, b.r.udp.txid, sizeof txid);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
}

static void a_renewed_key_ends_silence_and_revocation(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    come_up(&b, 1);
    for (int i = 0; i < 20; i++) { /* the epoch of the key is gone: nobody answers */
        tick(&b);
    }
    assert_int_equal(b.r.state, BK_REGISTRATION_TRYING);
    renew_key(&b);
    tick(&b);
    sent(&b, &m);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) < BK_SECOND);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);

    come_up(&b, 1);
    tick(&b);
    receive(&b, answer(&b, b.r.udp.txid, BK_CODE_FORBIDDEN, NULL, fake_mapped(), 0));
    assert_int_equal(count(&b, BK_REGISTRATION_REVOKED), 1);
    renew_key(&b);
    assert_true(bk_registration_deadline(&b.r) == b.now.mono);
    tick(&b);
    sent(&b, &m);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) < BK_SECOND);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(count(&b, BK_REGISTRATION_REGISTERED), 1);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_registers_and_says_the_observed_address),
        cmocka_unit_test(keepalives_come_within_the_last_tenth_of_the_interval),
        cmocka_unit_test(retransmissions_double_with_jitter_up_to_the_interval),
        cmocka_unit_test(an_answer_to_any_retransmission_counts),
        cmocka_unit_test(three_unanswered_mean_lost_once_and_a_new_resolution),
        cmocka_unit_test(a_moved_server_is_registered_at_once),
        cmocka_unit_test(an_unresolved_name_is_asked_again_with_back_off),
        cmocka_unit_test(a_challenge_is_answered_at_once_and_only_once),
        cmocka_unit_test(a_challenge_makes_the_next_waits_short_again),
        cmocka_unit_test(endless_challenges_do_not_make_a_storm),
        cmocka_unit_test(strangers_and_wrong_macs_change_nothing),
        cmocka_unit_test(a_notify_is_answered_first_and_acted_on_once),
        cmocka_unit_test(the_last_256_notifies_are_remembered),
        cmocka_unit_test(a_notify_for_another_registration_is_ignored),
        cmocka_unit_test(tags_are_fresh_for_two_minutes),
        cmocka_unit_test(revoked_is_told_once_and_tried_again_slowly),
        cmocka_unit_test(a_changed_mapping_or_network_is_told_and_tried),
        cmocka_unit_test(without_a_clock_the_servers_time_is_carried_on),
        cmocka_unit_test(no_time_before_the_stored_one_is_believed),
        cmocka_unit_test(no_time_of_the_next_century_is_believed),
        cmocka_unit_test(the_servers_time_does_not_stand_still),
        cmocka_unit_test(a_used_up_counter_draws_a_new_random_part),
        cmocka_unit_test(a_changed_network_asks_for_the_servers_address_again),
        cmocka_unit_test(an_answer_that_means_nothing_to_us_is_as_good_as_none),
        cmocka_unit_test(an_old_key_is_told_of_each_time),
        cmocka_unit_test(a_renewed_key_is_registered_with_at_once),
        cmocka_unit_test(what_was_sent_under_the_old_key_is_over),
        cmocka_unit_test(a_renewed_key_ends_silence_and_revocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
