#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/agent/admission.h"
#include "core/agent/fake.h"
#include "seal/seal.h"

struct bench {
    uint64_t seed;
    struct bk_registration r;
    struct bk_admission a;
    struct bk_now now;
    uint32_t calls;
};

/* An agent that has been up for an hour and has just sent a REGISTER. */
static void begin(struct bench *b)
{
    memset(b, 0, sizeof *b);
    b->seed = 1;
    b->now = fake_now();
    struct bk_registration_config config = {
        .rng = fake_random(&b->seed), .mac = bk_mac_sodium(), .equipment_id = 2133};
    bk_registration_init(&b->r, &config);
    bk_admission_init(&b->a);
    fake_pass(&b->now, 3600 * BK_SECOND);
    static struct bk_registration_out out;
    struct bk_registration_event event = {.type = BK_REGISTRATION_RESOLVED, .addr = fake_server()};
    bk_registration_input(&b->r, &b->now, &event, &out);
}

/* The agent sends one more REGISTER. */
static void send_register(struct bench *b)
{
    static struct bk_registration_out out;
    struct bk_registration_event event = {.type = BK_REGISTRATION_NETWORK_CHANGED};
    bk_registration_input(&b->r, &b->now, &event, &out);
}

/* A call that a caller makes now: the server has told him the newest tag, his clock shows `unix_s`. */
static struct bk_admission_facts at_time(struct bench *b, uint64_t unix_s)
{
    send_register(b);
    struct bk_admission_facts facts = {.unix_s = unix_s, .has_tag = true, .tag = b->r.tag};
    b->calls++;
    memcpy(facts.call_id, &b->calls, sizeof b->calls);
    return facts;
}

static enum bk_admission_verdict check(struct bench *b, const struct bk_admission_facts *facts)
{
    return bk_admission_check(&b->a, &b->now, &b->r, facts);
}

static enum bk_admission_verdict check_time(struct bench *b, uint64_t unix_s)
{
    struct bk_admission_facts facts = at_time(b, unix_s);
    return check(b, &facts);
}

/* By password; some call or other. */
static const struct bk_admission_facts password;

static void judge(struct bench *b, bool right)
{
    bk_admission_proof(&b->a, &b->now, &password, right);
}

/* A call that is made now by the key of this number. */
static struct bk_admission_facts by_key(struct bench *b, uint32_t number)
{
    struct bk_admission_facts facts = at_time(b, b->now.unix_s);
    facts.has_key = true;
    memset(facts.key, 0xC0, sizeof facts.key);
    memcpy(facts.key, &number, sizeof number);
    return facts;
}

static enum bk_admission_verdict check_key(struct bench *b, uint32_t number)
{
    struct bk_admission_facts facts = by_key(b, number);
    return check(b, &facts);
}

static void judge_key(struct bench *b, uint32_t number, bool right)
{
    struct bk_admission_facts facts = by_key(b, number);
    bk_admission_proof(&b->a, &b->now, &facts, right);
}

static void guess_passwords(struct bench *b, int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(check_time(b, b->now.unix_s), BK_ADMITTED);
        judge(b, false);
    }
}

/* One more wrong call by this key. */
static void wrong_key(struct bench *b, uint32_t number)
{
    struct bk_admission_facts facts = by_key(b, number);
    assert_int_equal(check(b, &facts), BK_ADMITTED);
    bk_admission_proof(&b->a, &b->now, &facts, false);
}

static void a_time_is_fresh_within_two_minutes_either_way(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    uint64_t t = b.now.unix_s;
    assert_int_equal(check_time(&b, t), BK_ADMITTED);
    assert_int_equal(check_time(&b, t + 120), BK_ADMITTED);
    assert_int_equal(check_time(&b, t - 120), BK_ADMITTED);
    assert_int_equal(check_time(&b, t + 121), BK_ADMISSION_STALE);
    assert_int_equal(check_time(&b, t - 121), BK_ADMISSION_STALE);
    assert_int_equal(check_time(&b, 0), BK_ADMISSION_STALE);
    assert_int_equal(check_time(&b, UINT64_MAX), BK_ADMISSION_STALE);
}

static void what_was_sealed_before_a_restart_is_stale_for_good(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    uint64_t seed = b.seed + 1;
    struct bk_admission_facts facts = at_time(&b, b.now.unix_s + 120);
    struct bk_now now = b.now;
    begin(&b); /* restarted: the memory is gone, and the tag's random part is another */
    b.seed = seed;
    b.now = now;
    bk_registration_init(&b.r, &(struct bk_registration_config){.rng = fake_random(&b.seed),
                                                                .mac = bk_mac_sodium(),
                                                                .equipment_id = 2133});
    static struct bk_registration_out out;
    struct bk_registration_event event = {.type = BK_REGISTRATION_RESOLVED, .addr = fake_server()};
    bk_registration_input(&b.r, &b.now, &event, &out);
    for (int s = 0; s < 300; s += 5) {
        assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
        fake_pass(&b.now, 5 * BK_SECOND);
        send_register(&b);
    }
    assert_int_equal(check_time(&b, b.now.unix_s),
                     BK_ADMITTED); /* a tag of this start is good at once */
}

static void a_tag_sent_lately_is_needed_with_a_clock_and_without(void **state)
{
    (void)state;
    for (int clock = 0; clock < 2; clock++) {
        static struct bench b;
        begin(&b);
        uint64_t t = b.now.unix_s;
        if (!clock) {
            b.now.unix_s = 0;
        }
        struct bk_admission_facts facts = at_time(&b, t);
        facts.has_tag = false;
        assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
        facts.has_tag = true;
        facts.tag.random ^= 1;
        assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
        facts.tag.random ^= 1;
        facts.tag.counter++; /* not sent yet */
        assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
        facts.tag.counter--;
        fake_pass(&b.now, 120 * BK_SECOND);
        facts.unix_s = t + 120;
        assert_int_equal(check(&b, &facts),
                         BK_ADMITTED); /* being stale before did not burn the ID */
        facts = at_time(&b, t + 120);
        fake_pass(&b.now, 121 * BK_SECOND);
        facts.unix_s = t + 241;
        assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
    }
}

/* The server has told the time, so long ago. */
static void begin_told(struct bench *b, uint64_t ago_s)
{
    begin(b);
    b->r.first_unix_s = b->now.unix_s - ago_s;
    b->r.first_time_at = b->now.mono - ago_s * BK_SECOND;
}

static enum bk_admission_verdict check_alone(struct bench *b, uint64_t unix_s)
{
    struct bk_admission_facts facts = at_time(b, unix_s);
    facts.has_tag = false;
    return check(b, &facts);
}

static void a_box_without_a_tag_is_fresh_by_its_time(void **state)
{
    (void)state;
    static struct bench b;
    begin_told(&b, 3600);
    uint64_t t = b.now.unix_s;
    assert_int_equal(check_alone(&b, t), BK_ADMITTED);
    assert_int_equal(check_alone(&b, t + 30), BK_ADMITTED);
    assert_int_equal(check_alone(&b, t - 30), BK_ADMITTED);
    assert_int_equal(check_alone(&b, t + 31), BK_ADMISSION_STALE);
    assert_int_equal(check_alone(&b, t - 31), BK_ADMISSION_STALE);
    assert_int_equal(check_alone(&b, 0), BK_ADMISSION_STALE);
    assert_int_equal(check_alone(&b, UINT64_MAX), BK_ADMISSION_STALE);
    struct bk_admission_facts facts =
        at_time(&b, t); /* a tag that is wrong is not as good as none */
    facts.tag.random ^= 1;
    assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
}

static void time_alone_needs_two_clocks_that_agree(void **state)
{
    (void)state;
    static struct bench b;
    for (int off = -11; off <= 11; off++) {
        begin_told(&b, 3600);
        uint64_t run_s = b.now.unix_s;
        b.now.unix_s += (uint64_t)off;
        assert_int_equal(check_alone(&b, run_s),
                         off == -11 || off == 11 ? BK_ADMISSION_STALE : BK_ADMITTED);
    }
    begin(&b); /* no server has told one */
    assert_int_equal(check_alone(&b, b.now.unix_s), BK_ADMISSION_STALE);
    begin_told(&b, 3600);
    uint64_t t = b.now.unix_s;
    b.now.unix_s = 0; /* the host has none */
    assert_int_equal(check_alone(&b, t), BK_ADMISSION_STALE);
}

/* What an earlier run may have taken, at the worst of all clocks. */
static void time_alone_brings_nothing_back_after_a_restart(void **state)
{
    (void)state;
    static struct bench b;
    begin_told(&b, 3600);
    b.now.unix_s -= 10; /* behind the run's time as far as may be: boxes are ahead of it */
    struct bk_admission_facts facts = at_time(&b, b.now.unix_s + 10 + 30);
    facts.has_tag = false;
    assert_int_equal(check(&b, &facts), BK_ADMITTED);
    struct bk_now now = b.now;
    begin_told(&b, 0); /* at once */
    b.now = now;
    b.r.first_unix_s = now.unix_s - 10; /* told by another server, behind in turn */
    b.r.first_time_at = now.mono;
    for (int s = 0; s < 300; s++) {
        assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
        fake_pass(&b.now, BK_SECOND);
    }
    assert_int_equal(check_alone(&b, b.now.unix_s), BK_ADMITTED);
}

static void time_alone_is_never_set_back(void **state)
{
    (void)state;
    static struct bench b;
    begin_told(&b, 3600);
    uint64_t t = b.now.unix_s;
    struct bk_admission_facts facts = at_time(&b, t + 30);
    facts.has_tag = false;
    int admitted = 0;
    for (int s = 0; s < 600; s++) {
        admitted += check(&b, &facts) == BK_ADMITTED;
        fake_pass(&b.now, BK_SECOND);
        b.now.unix_s = s % 2 == 0 ? t : b.now.unix_s; /* somebody holds the clock back */
    }
    assert_int_equal(admitted, 1);
}

/* A server may name a tag that the agent will send only later, and hold back what was sealed with it. */
static void a_tag_named_ahead_gives_no_second_time(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    struct bk_admission_facts facts = at_time(&b, b.now.unix_s);
    facts.tag.counter += 20;
    int admitted = 0;
    for (int s = 0; s < 1000; s += 5) {
        admitted += check(&b, &facts) == BK_ADMITTED;
        fake_pass(&b.now, 5 * BK_SECOND);
        if (s % 25 == 0) {
            send_register(&b);
        }
    }
    assert_true(admitted <= 1);
    b.now.unix_s = 0; /* without a clock it is the tag alone */
    facts = at_time(&b, 1);
    facts.tag.counter += 20;
    admitted = 0;
    for (int s = 0; s < 1000; s += 5) {
        admitted += check(&b, &facts) == BK_ADMITTED;
        fake_pass(&b.now, 5 * BK_SECOND);
        b.now.unix_s = 0;
        if (s % 25 == 0) {
            send_register(&b);
        }
    }
    assert_int_equal(admitted, 1);
}

static void a_call_id_is_remembered_while_it_could_be_fresh(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    struct bk_admission_facts facts = at_time(&b, b.now.unix_s + 120);
    assert_int_equal(check(&b, &facts), BK_ADMITTED);
    for (int s = 0; s < 600; s++) {
        assert_int_not_equal(check(&b, &facts), BK_ADMITTED);
        fake_pass(&b.now, BK_SECOND);
    }
    assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
}

/* A recorded request is said again when the clock stands where it stood: set back, or held still by a
 * server that a device without a clock of its own must believe. */
static void a_clock_that_falls_back_makes_nothing_fresh_again(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    uint64_t t = b.now.unix_s;
    struct bk_admission_facts facts = at_time(&b, t);
    assert_int_equal(check(&b, &facts), BK_ADMITTED);
    fake_pass(&b.now, 300 * BK_SECOND);
    assert_int_equal(check_time(&b, t + 300), BK_ADMITTED);
    b.now.unix_s = t;
    assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
    assert_int_equal(check_time(&b, t), BK_ADMITTED);
}

static void a_wrong_time_is_stale_whatever_the_tag(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    uint64_t t = b.now.unix_s;
    struct bk_admission_facts facts = at_time(&b, t + 121);
    facts.has_tag = true;
    facts.tag = b.r.tag;
    assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
    facts.unix_s = t - 121;
    assert_int_equal(check(&b, &facts), BK_ADMISSION_STALE);
}

static void a_full_memory_means_busy_until_it_ages(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    for (int i = 0; i < BK_ADMISSION_CALLS_MAX; i++) {
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
    }
    assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMISSION_BUSY);
    fake_pass(&b.now, 242 * BK_SECOND);
    assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
}

static void guesses_are_slowed_down_doubling_to_a_minute(void **state)
{
    (void)state;
    static const uint64_t closed_s[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    static struct bench b;
    begin(&b);
    for (int i = 0; i < BK_GUESSES_FREE; i++) {
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
        judge(&b, false);
    }
    for (size_t i = 0; i < sizeof closed_s / sizeof closed_s[0]; i++) {
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
        /* a second guess at the same time is not let in */
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMISSION_BACK_OFF);
        judge(&b, false);
        fake_pass(&b.now, closed_s[i] * BK_SECOND - 1);
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMISSION_BACK_OFF);
        fake_pass(&b.now, 1);
    }
    assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
    judge(&b, true); /* all forgiven */
    for (int i = 0; i < BK_GUESSES_FREE; i++) {
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
        judge(&b, false);
    }
    assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
}

static void guesses_at_one_time_are_no_more_than_in_a_row(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    for (int i = 0; i < BK_GUESSES_FREE; i++) {
        assert_true(bk_admission_has_room(&b.a, &password));
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
    }
    assert_false(bk_admission_has_room(&b.a, &password));
    judge(&b, false); /* one verdict: it counts, and gives no room */
    assert_false(bk_admission_has_room(&b.a, &password));
    bk_admission_abandoned(&b.a, &password); /* one went without: its place is free */
    assert_true(bk_admission_has_room(&b.a, &password));
    judge(&b, false);
    judge(&b, false);
    assert_true(bk_admission_has_room(&b.a, &password)); /* for the last of the free ones */
    assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
    assert_false(bk_admission_has_room(&b.a, &password));
    judge(&b, false);
    assert_true(bk_admission_has_room(&b.a, &password)); /* one at a time from here on */
    assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
    assert_false(bk_admission_has_room(&b.a, &password));
    judge(&b, true);
    assert_true(bk_admission_has_room(&b.a, &password));
    struct bk_admission_facts stale = at_time(&b, b.now.unix_s - 2 * BK_FRESH_S);
    for (int i = 0; i < BK_GUESSES_FREE; i++) { /* what is not admitted takes no room */
        assert_int_equal(check(&b, &stale), BK_ADMISSION_STALE);
    }
    assert_true(bk_admission_has_room(&b.a, &password));
}

static void a_refused_call_may_come_again(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    for (int i = 0; i <= BK_GUESSES_FREE; i++) {
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
        judge(&b, false);
    }
    struct bk_admission_facts facts = at_time(&b, b.now.unix_s);
    assert_int_equal(check(&b, &facts), BK_ADMISSION_BACK_OFF);
    fake_pass(&b.now, BK_SECOND);
    assert_int_equal(check(&b, &facts), BK_ADMITTED);
}

static void keys_are_slowed_down_each_for_itself_as_passwords_are(void **state)
{
    (void)state;
    static const uint64_t closed_s[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    static struct bench b;
    begin(&b);
    for (int i = 0; i < BK_GUESSES_FREE; i++) {
        wrong_key(&b, 1);
    }
    for (size_t i = 0; i < sizeof closed_s / sizeof closed_s[0]; i++) {
        assert_int_equal(check_key(&b, 1), BK_ADMITTED);
        assert_int_equal(check_key(&b, 1), BK_ADMISSION_BACK_OFF); /* closed until it is judged */
        judge_key(&b, 1, false);
        fake_pass(&b.now, closed_s[i] * BK_SECOND - 1);
        assert_int_equal(check_key(&b, 1), BK_ADMISSION_BACK_OFF);
        assert_int_equal(check_key(&b, 2), BK_ADMITTED);
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED); /* nor any password */
        judge(&b, true);
        fake_pass(&b.now, 1);
    }
    assert_int_equal(check_key(&b, 1), BK_ADMITTED);
    judge_key(&b, 1, true); /* its owner has let it in by now */
    for (int i = 0; i < BK_GUESSES_FREE; i++) {
        assert_int_equal(check_key(&b, 1), BK_ADMITTED);
        judge_key(&b, 1, false);
    }
    assert_int_equal(check_key(&b, 1), BK_ADMITTED);
}

static void passwords_never_hold_up_a_key(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    struct bk_admission_facts key = by_key(&b, 1);
    for (int i = 0; i < BK_GUESSES_FREE; i++) {
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
    }
    assert_false(bk_admission_has_room(&b.a, &password));
    assert_true(bk_admission_has_room(&b.a, &key));
    for (int i = 0; i < BK_GUESSES_FREE; i++) {
        judge(&b, false);
    }
    guess_passwords(&b, 1);
    assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMISSION_BACK_OFF);
    assert_int_equal(check(&b, &key), BK_ADMITTED);
    bk_admission_proof(&b.a, &b.now, &key, true);
    assert_int_equal(check_time(&b, b.now.unix_s),
                     BK_ADMISSION_BACK_OFF); /* forgives no password */
}

static void keys_take_no_room_from_passwords(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    struct bk_admission_facts key;
    for (uint32_t i = 0; i < 2 * BK_GUESSES_FREE; i++) {
        key = by_key(&b, i);
        assert_int_equal(check(&b, &key), BK_ADMITTED);
    }
    assert_true(bk_admission_has_room(&b.a, &password));
    for (int i = 0; i < BK_GUESSES_FREE; i++) {
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
    }
    assert_false(bk_admission_has_room(&b.a, &password));
    bk_admission_abandoned(&b.a, &key); /* nor give they any back */
    bk_admission_proof(&b.a, &b.now, &key, false);
    bk_admission_proof(&b.a, &b.now, &key, true);
    assert_false(bk_admission_has_room(&b.a, &password));
}

static void the_key_that_was_not_seen_for_longest_is_forgotten(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    for (uint32_t key = 0; key < BK_ADMISSION_KEYS_MAX; key++) {
        for (int i = 0; i <= BK_GUESSES_FREE; i++) {
            judge_key(&b, key, false);
        }
    }
    assert_int_equal(check_key(&b, 0), BK_ADMISSION_BACK_OFF); /* seen again: 1 is the oldest now */
    judge_key(&b, 1000, false);
    assert_int_equal(check_key(&b, 1), BK_ADMITTED);
    for (uint32_t key = 0; key < BK_ADMISSION_KEYS_MAX; key++) {
        if (key != 1) {
            assert_int_equal(check_key(&b, key), BK_ADMISSION_BACK_OFF);
        }
    }
    judge_key(&b, 5, true); /* its place is free, and taken before any other */
    judge_key(&b, 1001, false);
    assert_int_equal(check_key(&b, 5), BK_ADMITTED);
    assert_int_equal(check_key(&b, 6), BK_ADMISSION_BACK_OFF);
    assert_int_equal(check_key(&b, 0), BK_ADMISSION_BACK_OFF);
}

/* Fills the memory but for one place with calls that count. */
static void fill(struct bench *b)
{
    for (int i = 0; i + 1 < BK_ADMISSION_CALLS_MAX; i++) {
        assert_int_equal(check_time(b, b->now.unix_s), BK_ADMITTED);
    }
}

static void a_call_of_which_nothing_came_makes_room(void **state)
{
    (void)state;
    static struct bench b;
    for (int how = 0; how < 5; how++) {
        begin(&b);
        fill(&b);
        struct bk_admission_facts facts = how < 3 ? by_key(&b, 1) : at_time(&b, b.now.unix_s);
        assert_int_equal(check(&b, &facts), BK_ADMITTED);
        assert_int_equal(check_key(&b, 2), BK_ADMISSION_BUSY); /* under way: it keeps its place */
        if (how == 0 || how == 3) {
            bk_admission_abandoned(&b.a, &facts);
        } else {
            bk_admission_proof(&b.a, &b.now, &facts, how == 2);
        }
        /* Not before there is need of it. */
        assert_int_equal(check(&b, &facts), BK_ADMISSION_REPEATED);
        /* What was let in keeps it, and so does a wrong password: it would be checked again. */
        bool keeps = how == 2 || how == 4;
        struct bk_admission_facts next = by_key(&b, 2);
        assert_int_equal(check(&b, &next), keeps ? BK_ADMISSION_BUSY : BK_ADMITTED);
        if (!keeps) {
            assert_int_equal(check(&b, &next), BK_ADMISSION_REPEATED);
            assert_int_equal(check_key(&b, 3), BK_ADMISSION_BUSY); /* it is under way itself */
        }
    }
}

static void the_oldest_of_which_nothing_came_goes_first(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b);
    struct bk_admission_facts facts[3];
    for (uint32_t i = 0; i < 3; i++) {
        facts[i] = by_key(&b, i);
        assert_int_equal(check(&b, &facts[i]), BK_ADMITTED);
        fake_pass(&b.now, BK_SECOND);
    }
    for (int i = 0; i < BK_ADMISSION_CALLS_MAX - 3; i++) {
        assert_int_equal(check_time(&b, b.now.unix_s), BK_ADMITTED);
    }
    bk_admission_proof(&b.a, &b.now, &facts[2], false);
    bk_admission_proof(&b.a, &b.now, &facts[1], false);
    assert_int_equal(check_key(&b, 9), BK_ADMITTED);
    assert_int_equal(check(&b, &facts[2]), BK_ADMISSION_REPEATED);
    assert_int_equal(check(&b, &facts[0]), BK_ADMISSION_REPEATED);
    facts[1].tag = b.r.tag; /* the one that it had was sent too many REGISTERs ago */
    assert_int_equal(check(&b, &facts[1]), BK_ADMITTED);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_fresh_within_two_minutes_either_way),
        cmocka_unit_test(what_was_sealed_before_a_restart_is_stale_for_good),
        cmocka_unit_test(a_tag_sent_lately_is_needed_with_a_clock_and_without),
        cmocka_unit_test(a_box_without_a_tag_is_fresh_by_its_time),
        cmocka_unit_test(time_alone_needs_two_clocks_that_agree),
        cmocka_unit_test(time_alone_brings_nothing_back_after_a_restart),
        cmocka_unit_test(time_alone_is_never_set_back),
        cmocka_unit_test(a_tag_named_ahead_gives_no_second_time),
        cmocka_unit_test(a_call_id_is_remembered_while_it_could_be_fresh),
        cmocka_unit_test(a_clock_that_falls_back_makes_nothing_fresh_again),
        cmocka_unit_test(a_wrong_time_is_stale_whatever_the_tag),
        cmocka_unit_test(a_full_memory_means_busy_until_it_ages),
        cmocka_unit_test(guesses_are_slowed_down_doubling_to_a_minute),
        cmocka_unit_test(guesses_at_one_time_are_no_more_than_in_a_row),
        cmocka_unit_test(a_refused_call_may_come_again),
        cmocka_unit_test(keys_are_slowed_down_each_for_itself_as_passwords_are),
        cmocka_unit_test(passwords_never_hold_up_a_key),
        cmocka_unit_test(keys_take_no_room_from_passwords),
        cmocka_unit_test(the_key_that_was_not_seen_for_longest_is_forgotten),
        cmocka_unit_test(a_call_of_which_nothing_came_makes_room),
        cmocka_unit_test(the_oldest_of_which_nothing_came_goes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
