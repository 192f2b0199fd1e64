/* Renewal, where a clock has been wrong. */
#include "core/agent/renewal_bench.h"

/* Made while the server's clock was ahead: nobody takes it before its time, and then it is too late. */
static void a_certificate_from_ahead_is_replaced(void **state)
{
    (void)state;
    static struct bench b;
    uint64_t now_s = fake_now().unix_s;
    begin_with(&b, 1,
               (struct bk_renewal_facts){now_s + 9 * (uint64_t)YEAR_S,
                                         now_s + 10 * (uint64_t)YEAR_S, now_s});
    assert_true(until_due(&b, 60) <= 60);
    assert_true(b.certificate);
    it_succeeds(&b);
    assert_true(until_due(&b, 6 * DAY_S) == UINT64_MAX);
}

/* It boots with the date of its software, and is set right later: everything was in order by the wrong clock, or tried in
 * vain, and is looked at anew. */
static void a_clock_that_is_set_is_looked_at_within_minutes(void **state)
{
    (void)state;
    static const int64_t steps[] = {3 * (int64_t)YEAR_S, -3 * (int64_t)YEAR_S};
    static struct bench b;
    for (size_t i = 0; i < 2; i++) {
        for (int failed = 0; failed < 2; failed++) {
            begin(&b, 1, 0);
            fake_pass(&b.now, 100 * BK_SECOND);
            assert_false(due(&b));
            if (failed != 0) {
                bk_renewal_hint(&b.r, &b.now);
                assert_true(until_due(&b, DAY_S) != UINT64_MAX);
                for (int k = 0; k < 8; k++) {
                    it_fails(&b);
                    assert_true(until_due(&b, 2 * DAY_S) != UINT64_MAX);
                }
                it_fails(&b);
            }
            b.now.unix_s += (uint64_t)steps[i];
            bk_renewal_clock(&b.r, &b.now, b.now.unix_s);
            assert_true(until_due(&b, BK_RENEWAL_CLOCK_S) <= BK_RENEWAL_CLOCK_S);
            it_succeeds(&b);
            bk_renewal_clock(&b.r, &b.now, b.now.unix_s); /* told once more it changes nothing */
            assert_true(until_due(&b, 6 * DAY_S) == UINT64_MAX);
        }
    }
    begin(&b, 1, 0); /* by so little clocks are set every day */
    fake_pass(&b.now, 100 * BK_SECOND);
    assert_false(due(&b));
    bk_time at = bk_renewal_deadline(&b.r);
    b.now.unix_s += 60;
    bk_renewal_clock(&b.r, &b.now, b.now.unix_s);
    b.now.unix_s -= 120;
    bk_renewal_clock(&b.r, &b.now, b.now.unix_s);
    assert_true(bk_renewal_deadline(&b.r) == at);
}

/* The server's clock was wrong for hours, and what was signed then bears its time. While the two differ nothing is hurried:
 * it may be for minutes. */
static void clocks_that_agree_again_are_looked_at_within_minutes(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 0);
    fake_pass(&b.now, 100 * BK_SECOND);
    assert_false(due(&b));
    bk_time at = bk_renewal_deadline(&b.r);
    bk_renewal_clock(&b.r, &b.now, b.now.unix_s + 30 * DAY_S);
    assert_true(bk_renewal_deadline(&b.r) == at);
    b.facts.box_made_s = b.now.unix_s + 30 * DAY_S;
    bk_renewal_ended(&b.r, &b.now, &b.facts); /* renewed by the server's time */
    fake_pass(&b.now, 100 * BK_SECOND);
    bk_renewal_clock(&b.r, &b.now, b.now.unix_s);
    assert_true(until_due(&b, BK_RENEWAL_CLOCK_S) <= BK_RENEWAL_CLOCK_S);
    it_succeeds(&b);
    bk_renewal_clock(&b.r, &b.now, b.now.unix_s);
    assert_true(until_due(&b, 6 * DAY_S) == UINT64_MAX);
    b.now.unix_s = 0; /* without a clock of our own the server's is set */
    bk_renewal_clock(&b.r, &b.now, b.facts.box_made_s - 30 * DAY_S);
    assert_true(bk_renewal_deadline(&b.r) <=
                bk_time_add(b.now.mono, BK_RENEWAL_CLOCK_S * BK_SECOND));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_from_ahead_is_replaced),
        cmocka_unit_test(clocks_that_agree_again_are_looked_at_within_minutes),
        cmocka_unit_test(a_clock_that_is_set_is_looked_at_within_minutes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
