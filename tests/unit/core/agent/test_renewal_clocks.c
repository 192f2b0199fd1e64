/* Renewal, where a clock has been wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/agent/fake.h"
#include "core/agent/renewal.h"

enum {
    DAY_S = 86400,
    YEAR_S = 365 * DAY_S,
};

struct bench {
    uint64_t seed;
    struct bk_renewal r;
    struct bk_now now;
    struct bk_renewal_facts facts;
    bool certificate; /* as the last one that was due said */
};

/* Everything fresh, the registration up, and the clock right. */
static void begin(struct bench *b, uint64_t seed, uint32_t spread_s)
{
    memset(b, 0, sizeof *b);
    b->seed = seed;
    b->now = fake_now();
    b->facts = (struct bk_renewal_facts){.certificate_from_s = b->now.unix_s,
                                         .certificate_until_s = b->now.unix_s + YEAR_S,
                                         .box_made_s = b->now.unix_s};
    struct bk_renewal_config config = {.rng = fake_random(&b->seed), .spread_s = spread_s};
    bk_renewal_init(&b->r, &b->now, &config, &b->facts);
    bk_renewal_registered(&b->r, &b->now, true);
}

static void begin_with(struct bench *b, uint64_t seed, struct bk_renewal_facts facts)
{
    begin(b, seed, 0);
    b->facts = facts;
    struct bk_renewal_config config = {.rng = fake_random(&b->seed)};
    bk_renewal_init(&b->r, &b->now, &config, &b->facts);
    bk_renewal_registered(&b->r, &b->now, true);
}

static bool due(struct bench *b)
{
    bool is = bk_renewal_due(&b->r, &b->now, b->now.unix_s, &b->certificate);
    /* Never a reason to ask again at once. */
    assert_true(bk_renewal_deadline(&b->r) > b->now.mono);
    assert_true(is || !b->certificate);
    assert_true(!is || bk_renewal_deadline(&b->r) == BK_TIME_NEVER);
    return is;
}

/* Asks whenever it says, as a shell does, for so long at most. How many seconds passed until one was due. */
static uint64_t until_due(struct bench *b, uint64_t at_most_s)
{
    bk_time from = b->now.mono;
    bk_time end = from + at_most_s * BK_SECOND;
    for (unsigned asked = 0; bk_renewal_deadline(&b->r) <= end; asked++) {
        fake_pass(&b->now, bk_time_left(b->now.mono, bk_renewal_deadline(&b->r)));
        if (due(b)) {
            return (b->now.mono - from) / BK_SECOND;
        }
        assert_true(asked <= at_most_s / 60 + 10);
    }
    fake_pass(&b->now, bk_time_left(b->now.mono, end));
    return UINT64_MAX;
}

static void it_fails(struct bench *b)
{
    bk_renewal_ended(&b->r, &b->now, NULL);
    assert_true(bk_renewal_deadline(&b->r) > b->now.mono);
}

/* All new, the certificate where it was asked for. */
static void it_succeeds(struct bench *b)
{
    if (b->certificate) {
        b->facts.certificate_from_s = b->now.unix_s;
        b->facts.certificate_until_s = b->now.unix_s + YEAR_S;
    }
    b->facts.box_made_s = b->now.unix_s;
    bk_renewal_ended(&b->r, &b->now, &b->facts);
    assert_true(bk_renewal_deadline(&b->r) > b->now.mono);
}

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
