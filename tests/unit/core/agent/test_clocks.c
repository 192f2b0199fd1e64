/* Two clocks that disagree, the host's and the server's: which of them counts for what. */
#include "core/agent/registration_bench.h"

enum { DAY_S = 86400 };

static const uint64_t right = 1800000000; /* 2027 */
static const uint64_t year_s = 365 * (uint64_t)DAY_S;

static uint64_t calendar(struct bench *b, uint64_t host_s)
{
    b->now.unix_s = host_s;
    return bk_registration_calendar_s(&b->r, &b->now);
}

static uint64_t latest(struct bench *b, uint64_t host_s)
{
    b->now.unix_s = host_s;
    return bk_registration_latest_s(&b->r, &b->now);
}

static void told(struct bench *b, uint64_t unix_s)
{
    receive(b, answer(b, b->r.udp.txid, 0, NULL, fake_mapped(), unix_s));
}

static void registered(struct bench *b, uint64_t unix_s)
{
    begin(b, 21);
    input(b, BK_REGISTRATION_START);
    input(b, BK_REGISTRATION_RESOLVED);
    told(b, unix_s);
    assert_int_equal(count(b, BK_REGISTRATION_REGISTERED), 1);
}

static void told_again(struct bench *b, uint64_t unix_s)
{
    b->now.unix_s = 0;
    tick_answered(b);
    told(b, unix_s);
}

static void before_a_server_has_answered_there_is_the_host_alone(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 20);
    assert_true(calendar(&b, right) == right && latest(&b, right) == right);
    assert_true(calendar(&b, 0) == 0 && latest(&b, 0) == 0);
}

static void a_host_that_is_far_off_goes_by_the_server(void **state)
{
    (void)state;
    static struct bench b;
    registered(&b, right);
    assert_true(calendar(&b, right) == right);
    assert_true(calendar(&b, right + DAY_S) == right + DAY_S); /* clocks differ */
    assert_true(calendar(&b, right - DAY_S) == right - DAY_S);
    assert_true(calendar(&b, right + DAY_S + 1) == right);
    assert_true(calendar(&b, right - DAY_S - 1) == right);
    assert_true(calendar(&b, right - 2 * year_s) == right); /* the date of its software */
    assert_true(calendar(&b, 0) == right);
    fake_pass(&b.now, 300 * BK_SECOND);
    assert_true(calendar(&b, right - year_s) == right + 300);
}

static void an_access_ends_by_whichever_clock_is_later(void **state)
{
    (void)state;
    static struct bench b;
    registered(&b, right);
    assert_true(latest(&b, right + 5) == right + 5);
    assert_true(latest(&b, right - 5) == right);
    assert_true(latest(&b, right - 2 * year_s) == right);
    assert_true(latest(&b, right + 2 * year_s) == right + 2 * year_s);
    assert_true(latest(&b, 0) == right);
    told_again(&b, right - year_s); /* without a clock no server opens it again */
    assert_true(latest(&b, 0) >= right);
}

/* For minutes the server's own clock was years ahead, or not set. What it says now counts, or a device without a clock
 * would sign what nobody takes, for years. */
static void a_server_that_is_set_right_is_followed(void **state)
{
    (void)state;
    static struct bench b;
    registered(&b, right + 9 * year_s);
    assert_true(calendar(&b, 0) == right + 9 * year_s);
    told_again(&b, right);
    assert_true(calendar(&b, 0) == right && calendar(&b, right) == right);
    told_again(&b, 100); /* 1970: that is no word at all */
    assert_true(calendar(&b, 0) > right && calendar(&b, 0) < right + 1000);
    told_again(&b, BK_TIME_BELIEVED_BELOW_S);
    assert_true(calendar(&b, 0) > right && calendar(&b, 0) < right + 1000);
    assert_true(calendar(&b, right) == right);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_a_server_has_answered_there_is_the_host_alone),
        cmocka_unit_test(a_host_that_is_far_off_goes_by_the_server),
        cmocka_unit_test(an_access_ends_by_whichever_clock_is_later),
        cmocka_unit_test(a_server_that_is_set_right_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
