/* The server's time, for a device without a clock: what of it is believed. */
#include "core/agent/registration_bench.h"

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

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_clock_the_servers_time_is_carried_on),
        cmocka_unit_test(no_time_before_the_stored_one_is_believed),
        cmocka_unit_test(no_time_of_the_next_century_is_believed),
        cmocka_unit_test(the_servers_time_does_not_stand_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
