#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/agent/dials.h"
#include "core/agent/fake.h"

static struct bk_addr addr(const char *text)
{
    struct bk_addr a;
    assert_int_equal(bk_addr_parse(bk_slice_text(text), 5000, &a), BK_OK);
    return a;
}

static struct bk_addr host(unsigned number)
{
    return bk_addr_v4(4, 17, (uint8_t)(number >> 8), (uint8_t)number, 5000);
}

/* How many of `n` dials in a row to that address are let pass. */
static unsigned permitted(struct bk_dials *d, const struct bk_now *now, struct bk_addr to,
                          unsigned n)
{
    unsigned yes = 0;
    for (unsigned i = 0; i < n; i++) {
        to.port++;
        yes += bk_dials_permit(d, now, &to);
    }
    return yes;
}

static void a_target_has_a_burst_and_a_rate(void **state)
{
    (void)state;
    struct bk_dials d;
    struct bk_now now = fake_now();
    bk_dials_init(&d, &now);
    assert_int_equal(permitted(&d, &now, host(1), 200), BK_DIALS_TARGET_BURST);
    assert_int_equal(permitted(&d, &now, host(2), 1), 1); /* another one is none the worse */
    fake_pass(&now, BK_SECOND / BK_DIALS_TARGET_PER_S - 1);
    assert_int_equal(permitted(&d, &now, host(1), 2), 0);
    fake_pass(&now, 1);
    assert_int_equal(permitted(&d, &now, host(1), 2), 1);
    fake_pass(&now, BK_SECOND);
    assert_int_equal(permitted(&d, &now, host(1), 200), BK_DIALS_TARGET_PER_S);
    fake_pass(&now, 3600 * BK_SECOND); /* and no more saved up than the burst */
    assert_int_equal(permitted(&d, &now, host(1), 200), BK_DIALS_TARGET_BURST);
}

static void all_targets_together_have_one_too(void **state)
{
    (void)state;
    struct bk_dials d;
    struct bk_now now = fake_now();
    bk_dials_init(&d, &now);
    unsigned yes = 0;
    for (unsigned i = 0; i < 50; i++) {
        yes += permitted(&d, &now, host(i), 4);
    }
    assert_int_equal(yes, BK_DIALS_TOTAL_BURST);
    fake_pass(&now, BK_SECOND);
    yes = 0;
    for (unsigned i = 0; i < 50; i++) {
        yes += permitted(&d, &now, host(i), 4);
    }
    assert_int_equal(yes, BK_DIALS_TOTAL_PER_S);
}

/* What one limit refuses takes nothing from the other. */
static void a_refused_dial_counts_nowhere(void **state)
{
    (void)state;
    struct bk_dials d;
    struct bk_now now = fake_now();
    bk_dials_init(&d, &now);
    assert_int_equal(permitted(&d, &now, host(1), 1000), BK_DIALS_TARGET_BURST);
    unsigned left = BK_DIALS_TOTAL_BURST - BK_DIALS_TARGET_BURST;
    assert_int_equal(permitted(&d, &now, host(2), left - 1), left - 1);
    assert_int_equal(permitted(&d, &now, host(3), 1), 1);
    assert_int_equal(permitted(&d, &now, host(4), 1000), 0);
    /* Enough for the total to be full again, and for nothing that host 4 would have had to wait for. */
    fake_pass(&now, 10 * BK_SECOND);
    assert_int_equal(permitted(&d, &now, host(4), 1000), BK_DIALS_TARGET_BURST);
}

static void a_host_is_one_target_in_every_spelling(void **state)
{
    (void)state;
    static const char *const spellings[] = {
        "4.17.168.2",          "[::ffff:4.17.168.2]", "[::4.17.168.2]",
        "[64:ff9b::411:a802]", "[2002:411:a802::1]",  "[2002:411:a802:7::1]",
    };
    struct bk_dials d;
    struct bk_now now = fake_now();
    bk_dials_init(&d, &now);
    assert_int_equal(permitted(&d, &now, addr(spellings[0]), 100), BK_DIALS_TARGET_BURST);
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        assert_int_equal(permitted(&d, &now, addr(spellings[i]), 1), 0);
    }
    assert_int_equal(permitted(&d, &now, addr("[64:ff9b::411:a803]"), 1), 1);
    bk_dials_init(&d, &now);
    assert_int_equal(permitted(&d, &now, addr("2a02:2:3:4::1"), 100), BK_DIALS_TARGET_BURST);
    assert_int_equal(permitted(&d, &now, addr("2a02:2:3:4:ffff::9"), 1), 0); /* the same /64 */
    assert_int_equal(permitted(&d, &now, addr("2a02:2:3:5::1"), 1), 1);
    assert_int_equal(permitted(&d, &now, addr("::1"), 1), 0); /* no target at all */
}

/* A place that is given to another target too early would give the first a new burst. */
static void a_target_is_remembered_until_it_makes_no_difference(void **state)
{
    (void)state;
    struct bk_dials d;
    struct bk_now now = fake_now();
    bk_dials_init(&d, &now);
    assert_int_equal(permitted(&d, &now, host(0), 100), BK_DIALS_TARGET_BURST);
    for (unsigned i = 1; i < BK_DIALS_TARGETS_MAX;
         i++) { /* one place each, the total kept up with */
        assert_int_equal(permitted(&d, &now, host(i), 1), 1);
    }
    assert_int_equal(permitted(&d, &now, host(1000), 1), 0); /* no place: refused */
    assert_int_equal(permitted(&d, &now, host(1), 1), 1);
    fake_pass(&now, BK_SECOND / BK_DIALS_TARGET_PER_S); /* the places of one dial are free again */
    for (unsigned i = 0; i < 8; i++) {
        (void)permitted(&d, &now, host(2000 + i), 1);
    }
    fake_pass(&now, 4 * BK_SECOND);
    assert_int_equal(permitted(&d, &now, host(0), 100), 4 * BK_DIALS_TARGET_PER_S + 1);
}

static void ten_thousand_targets_are_not_dialled(void **state)
{
    (void)state;
    struct bk_dials d;
    struct bk_now now = fake_now();
    bk_dials_init(&d, &now);
    unsigned yes = 0;
    for (unsigned i = 0; i < 10000; i++) {
        yes += permitted(&d, &now, host(i), 1);
        fake_pass(&now, BK_MS);
    }
    assert_true(yes <= BK_DIALS_TOTAL_BURST + 10 * BK_DIALS_TOTAL_PER_S);
    assert_true(yes >= 10 * BK_DIALS_TARGET_PER_S); /* and the table does not clog */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_has_a_burst_and_a_rate),
        cmocka_unit_test(all_targets_together_have_one_too),
        cmocka_unit_test(a_refused_dial_counts_nowhere),
        cmocka_unit_test(a_host_is_one_target_in_every_spelling),
        cmocka_unit_test(a_target_is_remembered_until_it_makes_no_difference),
        cmocka_unit_test(ten_thousand_targets_are_not_dialled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
