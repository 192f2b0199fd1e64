/* A registration key that grows old, and one that is renewed. */
#include "core/agent/registration_bench.h"

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
        cmocka_unit_test(an_old_key_is_told_of_each_time),
        cmocka_unit_test(a_renewed_key_is_registered_with_at_once),
        cmocka_unit_test(what_was_sent_under_the_old_key_is_over),
        cmocka_unit_test(a_renewed_key_ends_silence_and_revocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
