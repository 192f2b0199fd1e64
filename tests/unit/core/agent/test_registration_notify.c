/* NOTIFY at the idle agent, in the first form: answered each time, acted on once, and only if it is for a registration of ours. */
#include "core/agent/admission.h"
#include "core/agent/registration_bench.h"

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

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_notify_is_answered_first_and_acted_on_once),
        cmocka_unit_test(the_last_256_notifies_are_remembered),
        cmocka_unit_test(a_notify_for_another_registration_is_ignored),
        cmocka_unit_test(tags_are_fresh_for_two_minutes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
