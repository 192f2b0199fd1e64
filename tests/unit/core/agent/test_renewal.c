/* When a renewal is due, and what follows from how it ends. */
#include "core/agent/renewal_bench.h"

enum {
    SEEDS = 50,
};

static void the_box_key_is_renewed_weekly_a_little_early(void **state)
{
    (void)state;
    static struct bench b;
    uint64_t earliest = UINT64_MAX;
    uint64_t latest = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(&b, seed, 0);
        for (int week = 0; week < 3; week++) {
            uint64_t after = until_due(&b, 10 * DAY_S);
            assert_true(after >= (uint64_t)BK_RENEWAL_BOX_S * 9 / 10 - 1);
            assert_true(after <= BK_RENEWAL_BOX_S);
            earliest = after < earliest ? after : earliest;
            latest = after > latest ? after : latest;
            assert_false(b.certificate);
            it_succeeds(&b);
        }
    }
    assert_true(latest - earliest > BK_RENEWAL_BOX_S / 20); /* spread, not all at one time */
}

static void the_certificate_is_renewed_at_half_its_life(void **state)
{
    (void)state;
    static struct bench b;
    uint64_t half = YEAR_S / 2;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(&b, seed, 0);
        uint64_t began = b.now.unix_s;
        int boxes = 0;
        while (until_due(&b, 10 * DAY_S) != UINT64_MAX && !b.certificate) {
            it_succeeds(&b);
            boxes++;
        }
        uint64_t age = b.now.unix_s - began;
        assert_true(b.certificate && boxes >= 22);
        assert_true(age >= half - half / 10 - 1 && age <= half);
        it_succeeds(&b);
        assert_true(until_due(&b, 10 * DAY_S) != UINT64_MAX);
        assert_false(b.certificate); /* a new one: the box alone again */
    }
}

/* Its box key is young, its certificate at every age. */
static void a_certificate_is_asked_for_from_half_its_life_on(void **state)
{
    (void)state;
    static struct bench b;
    static const struct {
        uint64_t age_s;
        bool due;
    } rows[] = {
        {0, false},
        {YEAR_S / 2 - YEAR_S / 20 - 2 * 3600, false},
        {YEAR_S / 2, true},
        {YEAR_S, true},
        {2 * (uint64_t)YEAR_S, true}, /* from a drawer: long expired */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_now now = fake_now();
        begin_with(&b, i,
                   (struct bk_renewal_facts){now.unix_s - rows[i].age_s,
                                             now.unix_s - rows[i].age_s + YEAR_S, now.unix_s});
        uint64_t after = until_due(&b, 3600);
        assert_int_equal(b.certificate, rows[i].due);
        assert_true(rows[i].due ? after <= 60 : after == UINT64_MAX);
    }
}

static void facts_that_make_no_sense_are_renewed_and_loop_nowhere(void **state)
{
    (void)state;
    static struct bench b;
    uint64_t now_s = fake_now().unix_s;
    const struct bk_renewal_facts rows[] = {
        {0, 0, 0},
        {now_s, now_s + YEAR_S, 0},
        {now_s, now_s - 1, now_s},               /* ends before it begins */
        {now_s, now_s + YEAR_S, now_s + YEAR_S}, /* made by a clock that was ahead */
        {now_s, now_s + YEAR_S, UINT64_MAX},
        {0, UINT64_MAX, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin_with(&b, i, rows[i]);
        assert_true(until_due(&b, 60) <= 60);
        for (int k = 0; k < 20; k++) { /* renewed, and as senseless as before */
            bk_renewal_ended(&b.r, &b.now, &rows[i]);
            assert_true(until_due(&b, 2 * 3600) >= 3600 - 3600 / 10 - 1);
        }
    }
    begin_with(&b, 1, (struct bk_renewal_facts){now_s, now_s + YEAR_S, now_s + DAY_S});
    assert_true(until_due(&b, 6 * DAY_S) == UINT64_MAX); /* ahead by no more than clocks may be */
    begin_with(&b, 1, (struct bk_renewal_facts){now_s + DAY_S, UINT64_MAX, now_s});
    assert_true(until_due(&b, 6 * DAY_S) == UINT64_MAX);
}

static void without_a_clock_the_calendar_is_not_looked_at(void **state)
{
    (void)state;
    static struct bench b;
    begin_with(&b, 1, (struct bk_renewal_facts){0, 0, 0});
    uint64_t unix_s = b.now.unix_s;
    b.now.unix_s = 0;
    assert_true(until_due(&b, 30 * DAY_S) == UINT64_MAX);
    bk_renewal_hint(&b.r, &b.now);
    assert_true(until_due(&b, DAY_S) != UINT64_MAX);
    assert_false(b.certificate);
    bk_renewal_ended(&b.r, &b.now, &b.facts);
    assert_true(until_due(&b, DAY_S) == UINT64_MAX);
    b.now.unix_s = unix_s; /* the server has told the time */
    assert_true(until_due(&b, 60) <= 60);
    assert_true(b.certificate);
}

static void a_hint_is_followed_at_a_random_moment_within_the_spread(void **state)
{
    (void)state;
    static struct bench b;
    static const uint32_t spreads_s[] = {0, 2, 3600};
    for (size_t i = 0; i < sizeof spreads_s / sizeof spreads_s[0]; i++) {
        uint64_t spread = spreads_s[i] == 0 ? BK_RENEWAL_SPREAD_S : spreads_s[i];
        uint64_t earliest = UINT64_MAX;
        uint64_t latest = 0;
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            begin(&b, seed, spreads_s[i]);
            bk_renewal_hint(&b.r, &b.now);
            bk_time at = b.r.hinted_at;
            fake_pass(&b.now, spread * BK_SECOND / 1000);
            bk_renewal_hint(&b.r, &b.now); /* it changes nothing that it is said again */
            assert_true(b.r.hinted_at == at);
            uint64_t after = until_due(&b, spread + 1);
            assert_true(after <= spread);
            assert_false(b.certificate);
            earliest = after < earliest ? after : earliest;
            latest = after > latest ? after : latest;
            it_succeeds(&b);
            assert_true(b.r.hinted_at == BK_TIME_NEVER);
        }
        assert_true(latest - earliest >= spread / 2);
    }
}

static void a_hint_that_crosses_a_renewal_is_not_followed(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 10);
    bk_renewal_hint(&b.r, &b.now);
    assert_true(until_due(&b, 10) <= 10);
    bk_renewal_hint(&b.r, &b.now); /* under way */
    it_succeeds(&b);
    fake_pass(&b.now, 5 * BK_SECOND);
    bk_renewal_hint(&b.r, &b.now); /* sent before the server knew of it */
    assert_true(until_due(&b, 6 * DAY_S) == UINT64_MAX);
    bk_renewal_hint(&b.r, &b.now);
    assert_true(until_due(&b, 10) <= 10);
}

/* The server goes on about it, however often it is done: a mistake there must not be a storm here. */
static void hints_about_what_was_just_done_do_not_make_a_storm(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 1);
    unsigned renewals = 0;
    for (int i = 0; i < 600; i++) {
        bk_renewal_hint(&b.r, &b.now);
        if (due(&b)) {
            bk_renewal_hint(&b.r, &b.now); /* while it is under way */
            it_succeeds(&b);
            renewals++;
        }
        fake_pass(&b.now, BK_SECOND);
    }
    assert_true(renewals >= 2 && renewals <= 20);
}

static void silence_of_ten_to_twenty_minutes_is_enough(void **state)
{
    (void)state;
    static struct bench b;
    uint64_t earliest = UINT64_MAX;
    uint64_t latest = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(&b, seed, 0);
        assert_true(until_due(&b, 3600) == UINT64_MAX);
        bk_renewal_registered(&b.r, &b.now, false);
        bk_time at = b.r.silent_at;
        fake_pass(&b.now, 60 * BK_SECOND);
        bk_renewal_registered(&b.r, &b.now, false); /* told again it changes nothing */
        assert_true(b.r.silent_at == at);
        uint64_t after = 60 + until_due(&b, 3600);
        assert_true(after >= BK_RENEWAL_SILENCE_S && after <= 2 * BK_RENEWAL_SILENCE_S + 1);
        earliest = after < earliest ? after : earliest;
        latest = after > latest ? after : latest;
    }
    assert_true(latest - earliest > BK_RENEWAL_SILENCE_S / 2);

    begin(&b, 1, 0); /* back in time */
    bk_renewal_registered(&b.r, &b.now, false);
    assert_true(until_due(&b, BK_RENEWAL_SILENCE_S - 1) == UINT64_MAX);
    bk_renewal_registered(&b.r, &b.now, true);
    assert_true(until_due(&b, DAY_S) == UINT64_MAX);

    struct bk_renewal_config config = {.rng = fake_random(&b.seed)}; /* never up since the start */
    bk_renewal_init(&b.r, &b.now, &config, &b.facts);
    uint64_t after = until_due(&b, 3600);
    assert_true(after >= BK_RENEWAL_SILENCE_S && after <= 2 * BK_RENEWAL_SILENCE_S + 1);
}

static void silence_may_be_shorter(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 0);
    struct bk_renewal_config config = {.rng = fake_random(&b.seed), .silence_s = 5};
    bk_renewal_init(&b.r, &b.now, &config, &b.facts);
    uint64_t after = until_due(&b, 60);
    assert_true(after >= 5 && after <= 10);
}

/* Renewed by TLS, and yet nothing comes by UDP: no more than a try a day in the end. */
static void silence_that_a_renewal_does_not_end_is_met_ever_more_slowly(void **state)
{
    (void)state;
    static struct bench b;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(&b, seed, 0);
        bk_renewal_registered(&b.r, &b.now, false);
        uint64_t total = 0;
        uint64_t least = BK_RENEWAL_SILENCE_S;
        for (int i = 0; i < 12; i++) {
            uint64_t after = until_due(&b, 2 * DAY_S);
            assert_true(after + 1 >= least * 4 / 5 && after <= DAY_S);
            least = least * 2 < DAY_S ? least * 2 : DAY_S;
            total += after;
            it_succeeds(&b);
        }
        assert_true(total > 3 * DAY_S);
        bk_renewal_registered(&b.r, &b.now, true); /* then the count begins anew */
        bk_renewal_registered(&b.r, &b.now, false);
        assert_true(until_due(&b, 2 * BK_RENEWAL_SILENCE_S + 1) != UINT64_MAX);
    }
}

static void failures_are_tried_again_doubling_to_a_day(void **state)
{
    (void)state;
    static struct bench b;
    uint64_t earliest = UINT64_MAX;
    uint64_t latest = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(&b, seed, 1);
        bk_renewal_hint(&b.r, &b.now);
        assert_true(until_due(&b, 1) <= 1);
        uint64_t wait = BK_RENEWAL_RETRY_S;
        for (int i = 0; i < 12; i++) {
            it_fails(&b);
            bk_renewal_hint(&b.r, &b.now); /* no way round it */
            assert_false(due(&b));
            uint64_t after = until_due(&b, 2 * DAY_S);
            assert_true(after + 1 >= wait * 4 / 5 && after <= wait);
            wait = 2 * wait < BK_RENEWAL_RETRY_MAX_S ? 2 * wait : BK_RENEWAL_RETRY_MAX_S;
            if (i == 0) {
                earliest = after < earliest ? after : earliest;
                latest = after > latest ? after : latest;
            }
        }
        it_succeeds(&b);
        fake_pass(&b.now, 60 * BK_SECOND);
        bk_renewal_hint(&b.r, &b.now);
        assert_true(until_due(&b, 2) <= 1);
        it_fails(&b); /* the first of a new row */
        assert_true(until_due(&b, DAY_S) <= BK_RENEWAL_RETRY_S);
    }
    assert_true(latest - earliest > BK_RENEWAL_RETRY_S / 10);
}

/* What is due by the calendar, or by silence, stays so. */
static void a_failure_forgets_nothing(void **state)
{
    (void)state;
    static struct bench b;
    begin_with(&b, 1, (struct bk_renewal_facts){0, 0, 0});
    assert_true(until_due(&b, 60) <= 60);
    it_fails(&b);
    assert_true(until_due(&b, DAY_S) <= BK_RENEWAL_RETRY_S);
    assert_true(b.certificate);
    begin(&b, 1, 0);
    bk_renewal_registered(&b.r, &b.now, false);
    assert_true(until_due(&b, 3600) != UINT64_MAX);
    it_fails(&b);
    assert_true(until_due(&b, DAY_S) <= BK_RENEWAL_RETRY_S);
}

static void nothing_is_due_while_one_runs(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 1);
    bk_renewal_hint(&b.r, &b.now);
    assert_true(until_due(&b, 1) <= 1);
    bk_renewal_registered(&b.r, &b.now, false);
    bk_renewal_hint(&b.r, &b.now);
    for (int i = 0; i < 100; i++) {
        fake_pass(&b.now, 8 * 3600 * BK_SECOND);
        assert_false(bk_renewal_due(&b.r, &b.now, b.now.unix_s, &b.certificate));
        assert_true(bk_renewal_deadline(&b.r) == BK_TIME_NEVER);
    }
}

/* A fleet whose keys are all too old is switched on at one moment. */
static void the_first_look_is_spread_too(void **state)
{
    (void)state;
    static struct bench b;
    uint64_t earliest = UINT64_MAX;
    uint64_t latest = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin_with(&b, seed, (struct bk_renewal_facts){0, 0, 0});
        uint64_t after = until_due(&b, 60);
        assert_true(after <= 60);
        earliest = after < earliest ? after : earliest;
        latest = after > latest ? after : latest;
    }
    assert_true(latest - earliest > 30);
}

/* The server's store came from a backup, and hands on a box key that we have no more. */
static void requests_that_do_not_open_bring_a_renewal(void **state)
{
    (void)state;
    static struct bench b;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(&b, seed, 0);
        bk_renewal_unopened(&b.r, &b.now);
        uint64_t after = until_due(&b, 3600);
        assert_true(after >= BK_RENEWAL_UNOPENED_S && after <= 2 * BK_RENEWAL_UNOPENED_S);
        it_fails(&b);
        assert_true(until_due(&b, DAY_S) <= BK_RENEWAL_RETRY_S); /* it is not forgotten */
        it_succeeds(&b);
        assert_true(until_due(&b, DAY_S) == UINT64_MAX);
    }
    begin(&b, 1, 1); /* who is told to be quick is so */
    bk_renewal_unopened(&b.r, &b.now);
    assert_true(until_due(&b, 3600) <= 2);
}

/* A caller went by the key of an earlier call, asked anew, and was understood. */
static void a_request_that_opens_ends_the_doubt(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 0);
    for (int i = 0; i < 100; i++) {
        bk_renewal_unopened(&b.r, &b.now);
        assert_true(until_due(&b, 2) == UINT64_MAX);
        bk_renewal_opened(&b.r);
    }
    assert_true(until_due(&b, DAY_S) == UINT64_MAX);
}

/* He who may call sends what he likes. */
static void garbage_does_not_drive_renewals(void **state)
{
    (void)state;
    static struct bench b;
    unsigned renewals = 0;
    begin(&b, 1, 0);
    for (int minute = 0; minute < 24 * 60; minute++) {
        bk_renewal_unopened(&b.r, &b.now);
        if (until_due(&b, 60) != UINT64_MAX) {
            it_succeeds(&b);
            renewals++;
        }
    }
    assert_true(renewals >= 20 && renewals <= 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_box_key_is_renewed_weekly_a_little_early),
        cmocka_unit_test(the_certificate_is_renewed_at_half_its_life),
        cmocka_unit_test(a_certificate_is_asked_for_from_half_its_life_on),
        cmocka_unit_test(facts_that_make_no_sense_are_renewed_and_loop_nowhere),
        cmocka_unit_test(without_a_clock_the_calendar_is_not_looked_at),
        cmocka_unit_test(a_hint_is_followed_at_a_random_moment_within_the_spread),
        cmocka_unit_test(a_hint_that_crosses_a_renewal_is_not_followed),
        cmocka_unit_test(hints_about_what_was_just_done_do_not_make_a_storm),
        cmocka_unit_test(silence_of_ten_to_twenty_minutes_is_enough),
        cmocka_unit_test(silence_may_be_shorter),
        cmocka_unit_test(silence_that_a_renewal_does_not_end_is_met_ever_more_slowly),
        cmocka_unit_test(failures_are_tried_again_doubling_to_a_day),
        cmocka_unit_test(a_failure_forgets_nothing),
        cmocka_unit_test(nothing_is_due_while_one_runs),
        cmocka_unit_test(the_first_look_is_spread_too),
        cmocka_unit_test(requests_that_do_not_open_bring_a_renewal),
        cmocka_unit_test(a_request_that_opens_ends_the_doubt),
        cmocka_unit_test(garbage_does_not_drive_renewals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
