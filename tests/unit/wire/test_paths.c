/* PATHS: round trips and refusals. */
#include "support.h"

#include "wire/paths.h"

static enum bk_err read_paths(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_paths v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_paths_read(&m, &v) : err;
}

static struct bk_paths sample(size_t n)
{
    struct bk_paths p;
    memset(&p, 0, sizeof p);
    p.round = 7;
    p.n_candidates = n;
    for (size_t i = 0; i < n && i < BK_CANDIDATES_MAX; i++) {
        p.candidates[i].kind = (enum bk_candidate_kind)(BK_CANDIDATE_HOST + i % 4);
        p.candidates[i].addr = bk_addr_v4(4, 17, 168, (uint8_t)i, 5000);
        p.candidates[i].addr.ip[0] = i % 2 == 0 ? 0x20 : 0; /* IPv6 */
    }
    return p;
}

static void round_trips(void **state)
{
    (void)state;
    for (size_t n = 0; n <= BK_CANDIDATES_MAX; n++) {
        struct bk_paths in = sample(n);
        struct bk_paths back;
        struct bk_slice out;
        struct bk_stun m;
        uint8_t whole[BK_PATHS_MAX_BYTES];
        in.round_trip_ms = n % 2 == 0 ? 0 : 61;
        assert_int_equal(bk_paths_write(whole, sizeof whole, txid, &in, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_paths_read(&m, &back), BK_OK);
        assert_int_equal(back.round, 7);
        assert_int_equal(back.round_trip_ms, in.round_trip_ms);
        assert_int_equal(back.n_candidates, n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(back.candidates[i].kind, in.candidates[i].kind);
            assert_true(bk_addr_equal(&back.candidates[i].addr, &in.candidates[i].addr));
        }
        refuses_other_lengths(read_paths, out);
        judges_unknown_attributes(read_paths, out);
        refuses_other_types(read_paths, out);
        REFUSES_SHORT_BUFFERS(out, bk_paths_write(buf, cap, txid, &in, &ignored));
    }
}

static void out_of_range(void **state)
{
    (void)state;
    uint8_t buf[512];
    struct bk_slice out;
    struct bk_paths in = sample(BK_CANDIDATES_MAX + 1);
    assert_int_equal(bk_paths_write(buf, sizeof buf, txid, &in, &out), BK_E_RANGE);
    in = sample(1);
    in.candidates[0].kind = (enum bk_candidate_kind)(BK_CANDIDATE_RELAYED + 1);
    assert_int_equal(bk_paths_write(buf, sizeof buf, txid, &in, &out), BK_E_RANGE);
}

/* Attributes with wrong sizes, none of ROUND, a ninth candidate. */
static void out_of_form(void **state)
{
    (void)state;
    static const uint8_t address[] = {2, 1, 0x13, 0x88, 4, 17, 168, 2};
    const struct {
        size_t round_n, trip_n, n_candidates, candidate_n;
        enum bk_err expected;
    } rows[] = {
        {2, 2, 8, 8, BK_OK},          {3, 2, 0, 8, BK_E_MALFORMED}, {1, 2, 0, 8, BK_E_MALFORMED},
        {0, 2, 0, 8, BK_E_MALFORMED}, {2, 1, 0, 8, BK_E_MALFORMED}, {2, 3, 0, 8, BK_E_MALFORMED},
        {2, 2, 9, 8, BK_E_MALFORMED}, {2, 2, 1, 7, BK_E_MALFORMED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static const uint8_t zeros[4] = {0};
        uint8_t buf[512];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_PATHS, BK_STUN_INDICATION, txid);
        if (rows[i].round_n > 0) {
            bk_stun_put(&s, BK_ATTR_ROUND, bk_slice(zeros, rows[i].round_n));
        }
        bk_stun_put(&s, BK_ATTR_ROUND_TRIP, bk_slice(zeros, rows[i].trip_n));
        for (size_t n = 0; n < rows[i].n_candidates; n++) {
            bk_stun_put(&s, BK_ATTR_CANDIDATE, bk_slice(address, rows[i].candidate_n));
        }
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(read_copy(read_paths, out), rows[i].expected);
    }
}

/* Both sides reckon the same grid; a try has longer than a round trip; and it all lasts some six seconds. */
static void the_grid(void **state)
{
    (void)state;
    static const struct {
        uint32_t sum_ms, every_ms, tries;
    } rows[] = {{0, 250, 24},   {199, 250, 24},  {200, 500, 12},
                {449, 500, 12}, {450, 750, 8},   {800, 1000, 6},
                {950, 1250, 6}, {2999, 3250, 6}, {UINT32_MAX, 3250, 6}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t every_ms = bk_paths_grid_ms(rows[i].sum_ms);
        assert_int_equal(every_ms, rows[i].every_ms);
        assert_int_equal(bk_paths_grid_tries(every_ms), rows[i].tries);
    }
    for (uint32_t sum = 0; sum <= BK_PATHS_SUM_MAX_MS; sum++) {
        assert_true(bk_paths_grid_ms(sum) > sum);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(out_of_range),
        cmocka_unit_test(out_of_form),
        cmocka_unit_test(the_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
