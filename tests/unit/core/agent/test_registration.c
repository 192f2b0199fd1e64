/* Registration by UDP with one server: REGISTER and its answers, challenges, what is lost, and names and networks that change. */
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
        cmocka_unit_test(revoked_is_told_once_and_tried_again_slowly),
        cmocka_unit_test(a_changed_mapping_or_network_is_told_and_tried),
        cmocka_unit_test(a_used_up_counter_draws_a_new_random_part),
        cmocka_unit_test(a_changed_network_asks_for_the_servers_address_again),
        cmocka_unit_test(an_answer_that_means_nothing_to_us_is_as_good_as_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
