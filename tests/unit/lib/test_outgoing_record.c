/* The record of a call: rows found again, what came of nothing given its reason, and the lines for people. */
#include "lib/place.h"

#include "lib/outgoing_record.h"

static struct bk_addr addr(const char *text)
{
    struct bk_addr a;

    assert_int_equal(bk_addr_parse(bk_slice_text(text), 0, &a), BK_OK);
    return a;
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(beckon_path_name(bk_path_of(BK_CANDIDATE_HOST)), "host");
    assert_string_equal(beckon_path_name(bk_path_of(BK_CANDIDATE_MAPPED)), "mapped");
    assert_string_equal(beckon_path_name(bk_path_of(BK_CANDIDATE_REFLEXIVE)), "punched");
    assert_string_equal(beckon_path_name(bk_path_of(BK_CANDIDATE_RELAYED)), "relayed");
    assert_string_equal(beckon_path_name((enum beckon_path)0), "unknown");
    assert_string_equal(beckon_path_name((enum beckon_path)5), "unknown");
    for (int i = BECKON_OUTCOME_PENDING; i <= BECKON_OUTCOME_NOT_TRIED; i++) {
        assert_string_not_equal(beckon_outcome_name((enum beckon_outcome)i), "unknown");
    }
    assert_string_equal(beckon_outcome_name((enum beckon_outcome)(BECKON_OUTCOME_NOT_TRIED + 1)),
                        "unknown");
}

static void test_rows(void **state)
{
    static struct bk_record r;
    struct bk_addr a = addr("4.17.168.2:5000"), b = addr("4.17.168.2:5001");
    struct beckon_candidate *row, *none;

    (void)state;
    none = bk_record_row(&r, true, BK_CANDIDATE_MAPPED, NULL, 10);
    bk_record_ended(none, BECKON_OUTCOME_NOT_GATHERED, "PCP: no answer", 20);
    row = bk_record_row(&r, true, BK_CANDIDATE_MAPPED, &a, 30); /* there is one after all */
    assert_ptr_equal(row, none);
    assert_int_equal(row->begun_us, 10);
    assert_int_equal(row->known_us, 30);
    assert_int_equal(row->ended_us, 0);
    assert_int_equal(row->outcome, BECKON_OUTCOME_PENDING);
    assert_string_equal(row->reason, "");
    assert_string_equal(row->address, "4.17.168.2:5000");
    assert_ptr_equal(bk_record_row(&r, true, BK_CANDIDATE_MAPPED, &a, 40), row);
    assert_int_equal(row->known_us, 30);
    assert_ptr_not_equal(bk_record_row(&r, false, BK_CANDIDATE_MAPPED, &a, 40), row);
    assert_ptr_not_equal(bk_record_row(&r, true, BK_CANDIDATE_HOST, &a, 40), row);
    assert_ptr_not_equal(bk_record_row(&r, true, BK_CANDIDATE_MAPPED, &b, 40), row);
    assert_int_equal(r.report.n_candidates, 4);
    assert_null(bk_record_find(&r, false, BK_CANDIDATE_MAPPED, &b));
}

static void test_too_many(void **state)
{
    static struct bk_record r;
    struct bk_addr a = addr("4.17.168.2:5000");

    (void)state;
    for (unsigned i = 0; i < BECKON_CANDIDATES_MAX + 3; i++) {
        a.port = (uint16_t)(1000 + i);
        assert_non_null(bk_record_row(&r, false, BK_CANDIDATE_HOST, &a, i));
    }
    assert_int_equal(r.report.n_candidates, BECKON_CANDIDATES_MAX);
}

/* Each of ours and of the device's while nothing came of it, at the three ends that a call can have. */
static void test_reasons(void **state)
{
    static struct bk_record r;
    static struct beckon_report out;
    struct bk_addr a = addr("4.17.168.2:5000");

    (void)state;
    bk_record_row(&r, true, BK_CANDIDATE_REFLEXIVE, &a, 100);
    bk_record_row(&r, false, BK_CANDIDATE_REFLEXIVE, &a, 200);
    bk_record_row(&r, true, BK_CANDIDATE_RELAYED, NULL, 300);
    bk_record_report(&r, &out);
    assert_int_equal(out.candidates[0].outcome, BECKON_OUTCOME_PENDING); /* under way */
    r.report.ended_us = 900;
    bk_record_report(&r, &out);
    assert_int_equal(out.candidates[0].outcome, BECKON_OUTCOME_NOT_TRIED);
    assert_int_equal(out.candidates[1].outcome, BECKON_OUTCOME_NO_CONNECTION);
    assert_int_equal(out.candidates[2].outcome, BECKON_OUTCOME_NOT_GATHERED);
    assert_int_equal(out.candidates[0].ended_us, 900);
    r.report.phases.accepted_us = 400;
    bk_record_report(&r, &out);
    assert_int_equal(out.candidates[0].outcome, BECKON_OUTCOME_NO_CONNECTION);
    assert_string_equal(out.candidates[0].reason, "none came");
    r.report.phases.up_us = 500;
    bk_record_report(&r, &out);
    assert_string_equal(out.candidates[0].reason, "none until another was up");
    assert_int_equal(out.candidates[0].ended_us, 500);
    assert_int_equal(r.report.candidates[0].outcome, BECKON_OUTCOME_PENDING); /* the notes stay */
}

static void test_lines(void **state)
{
    static struct bk_record r;
    struct bk_addr a = addr("4.17.168.2:5000");
    struct beckon_candidate *row = bk_record_row(&r, true, BK_CANDIDATE_MAPPED, &a, 1500);
    char line[BK_RECORD_LINE_BYTES], why[BK_RECORD_WHY_BYTES], little[12];

    (void)state;
    bk_record_why(&r, why, sizeof why);
    assert_string_equal(why, "");
    bk_record_ended(row, BECKON_OUTCOME_WON, "", 4600);
    bk_record_line(row, line, sizeof line);
    assert_string_equal(line, "ours, mapped 4.17.168.2:5000: won (1.5 to 4.6 ms)");
    row = bk_record_row(&r, true, BK_CANDIDATE_MAPPED, NULL, 0);
    bk_record_ended(row, BECKON_OUTCOME_NOT_GATHERED, "PCP: no answer", 2000);
    bk_record_line(row, line, sizeof line);
    assert_string_equal(line, "ours, mapped: not gathered (PCP: no answer) (0.0 to 2.0 ms)");
    row = bk_record_row(&r, true, BK_CANDIDATE_RELAYED, NULL, 0);
    bk_record_ended(row, BECKON_OUTCOME_FAILED, "no relay offered by the server", 0);
    /* Only what of ours could not be had is a reason. */
    row = bk_record_row(&r, true, BK_CANDIDATE_HOST, NULL, 0);
    bk_record_ended(row, BECKON_OUTCOME_NOT_GATHERED, "no address", 0);
    row = bk_record_row(&r, false, BK_CANDIDATE_MAPPED, &a, 0);
    bk_record_ended(row, BECKON_OUTCOME_FAILED, "refused", 0);
    bk_record_why(&r, why, sizeof why);
    assert_string_equal(why, "no relay offered by the server; PCP: no answer");
    bk_record_why(&r, little, sizeof little);
    assert_string_equal(little, "no relay of");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_rows),
        cmocka_unit_test(test_too_many), cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
