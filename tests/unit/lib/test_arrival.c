/* By which candidate a connection came: every kind, and what could be mistaken for it. */
#include "lib/place.h"

#include "lib/arrival.h"

static struct bk_addr addr(const char *text)
{
    struct bk_addr a;

    assert_int_equal(bk_addr_parse(bk_slice_text(text), 1, &a), BK_OK);
    return a;
}

static struct bk_arrival_self self(const struct bk_candidate *told, size_t n)
{
    struct bk_arrival_self s = {.told = told, .n_told = n, .n_networks = 1, .n_gateways = 1};

    assert_int_equal(bk_prefix_parse(bk_slice_text("192.168.1.0/24"), &s.networks[0]), BK_OK);
    s.gateways[0] = addr("192.168.1.1");
    return s;
}

static enum bk_candidate_kind kind(const struct bk_arrival_self *s, const char *local,
                                   const char *remote)
{
    struct bk_addr l = addr(local), r = addr(remote);

    return bk_arrival_kind(s, &l, &r);
}

static void test_private_host(void **state)
{
    const struct bk_candidate told[] = {
        {BK_CANDIDATE_HOST, addr("192.168.1.11:5000")},
        {BK_CANDIDATE_REFLEXIVE, addr("4.17.168.2:40000")},
        {BK_CANDIDATE_MAPPED, addr("4.17.168.2:5000")},
    };
    struct bk_arrival_self s = self(told, 3), unmapped = self(told, 2), alone = self(told, 1);

    (void)state;
    assert_int_equal(kind(&s, "192.168.1.11:5000", "192.168.1.12:9"), BK_CANDIDATE_HOST);
    /* From outside it was translated, and so it was by the router that sent it back into the network. */
    assert_int_equal(kind(&s, "192.168.1.11:5000", "202.204.16.13:9"), BK_CANDIDATE_MAPPED);
    assert_int_equal(kind(&s, "192.168.1.11:5000", "192.168.1.1:9"), BK_CANDIDATE_MAPPED);
    assert_int_equal(kind(&unmapped, "192.168.1.11:5000", "202.204.16.13:9"),
                     BK_CANDIDATE_REFLEXIVE);
    assert_int_equal(kind(&unmapped, "192.168.1.11:5000", "192.168.1.12:9"), BK_CANDIDATE_HOST);
    /* We know of no way: somebody made one by hand and did not tell. */
    assert_int_equal(kind(&alone, "192.168.1.11:5000", "202.204.16.13:9"), BK_CANDIDATE_MAPPED);
    /* An address of ours that the device was not told. */
    assert_int_equal(kind(&s, "192.168.1.77:5000", "192.168.1.12:9"), BK_CANDIDATE_MAPPED);
}

static void test_public_host(void **state)
{
    const struct bk_candidate told[] = {
        {BK_CANDIDATE_HOST, addr("[2a00:db8::5]:5000")},
        {BK_CANDIDATE_HOST, addr("151.101.9.5:5000")},
        {BK_CANDIDATE_REFLEXIVE, addr("151.101.9.5:5000")},
    };
    struct bk_arrival_self s = self(told, 3);
    struct bk_addr local = addr("151.101.9.5:5000"), other = addr("151.101.9.6:5000");
    const struct bk_candidate *by;

    (void)state;
    assert_int_equal(kind(&s, "151.101.9.5:5000", "202.204.16.13:9"), BK_CANDIDATE_HOST);
    assert_int_equal(kind(&s, "[2a00:db8::5]:5000", "[2a00:db9::1]:9"), BK_CANDIDATE_HOST);
    by = bk_arrival_candidate(&s, BK_CANDIDATE_HOST, &local);
    assert_ptr_equal(by, &told[1]);
    assert_null(bk_arrival_candidate(&s, BK_CANDIDATE_HOST, &other));
    assert_null(bk_arrival_candidate(&s, BK_CANDIDATE_MAPPED, &local));
    s.n_told = 0;
    assert_int_equal(kind(&s, "151.101.9.5:5000", "202.204.16.13:9"), BK_CANDIDATE_MAPPED);
}

/* From a port that we opened towards: both opened it, whatever else could have led here; from another port of that
 * address the device dialled. */
static void test_met(void **state)
{
    const struct bk_candidate told[] = {
        {BK_CANDIDATE_HOST, addr("[2a00:db8::5]:5000")},
        {BK_CANDIDATE_MAPPED, addr("4.17.168.2:5000")},
    };
    const struct bk_addr met[] = {addr("202.204.16.13:40000"), addr("[2a00:db9::1]:40000")};
    struct bk_arrival_self s = self(told, 2);

    (void)state;
    s.met = met;
    s.n_met = 2;
    assert_int_equal(kind(&s, "192.168.1.11:5000", "202.204.16.13:40000"), BK_CANDIDATE_REFLEXIVE);
    assert_int_equal(kind(&s, "192.168.1.11:5000", "202.204.16.13:40001"), BK_CANDIDATE_MAPPED);
    assert_int_equal(kind(&s, "[2a00:db8::5]:5000", "[2a00:db9::1]:40000"), BK_CANDIDATE_REFLEXIVE);
    assert_int_equal(kind(&s, "[2a00:db8::5]:5000", "[2a00:db9::1]:9"), BK_CANDIDATE_HOST);
}

/* A router that keeps ports maps the very address that the server sees: who meets us there comes through the mapping. */
static void test_met_at_the_mapping(void **state)
{
    const struct bk_candidate told[] = {
        {BK_CANDIDATE_HOST, addr("192.168.1.11:5000")},
        {BK_CANDIDATE_MAPPED, addr("4.17.168.2:5000")},
        {BK_CANDIDATE_REFLEXIVE, addr("4.17.168.2:5000")},
        {BK_CANDIDATE_REFLEXIVE, addr("4.17.168.2:40000")},
    };
    const struct bk_addr met[] = {addr("202.204.16.13:40000")};
    struct bk_arrival_self same = self(told, 3), other = self(told, 4), unmapped = self(told, 1);

    (void)state;
    same.met = other.met = unmapped.met = met;
    same.n_met = other.n_met = unmapped.n_met = 1;
    assert_true(bk_arrival_meets_mapping(&same));
    assert_int_equal(kind(&same, "192.168.1.11:5000", "202.204.16.13:40000"), BK_CANDIDATE_MAPPED);
    assert_false(bk_arrival_meets_mapping(&other)); /* the server sees us at another now */
    assert_int_equal(kind(&other, "192.168.1.11:5000", "202.204.16.13:40000"),
                     BK_CANDIDATE_REFLEXIVE);
    assert_false(bk_arrival_meets_mapping(&unmapped));
    assert_int_equal(kind(&unmapped, "192.168.1.11:5000", "202.204.16.13:40000"),
                     BK_CANDIDATE_REFLEXIVE);
}

/* Of several mappings the newest. */
static void test_newest_mapping(void **state)
{
    const struct bk_candidate told[] = {
        {BK_CANDIDATE_MAPPED, addr("4.17.168.2:5000")},
        {BK_CANDIDATE_MAPPED, addr("4.17.168.2:5001")},
    };
    struct bk_arrival_self s = self(told, 2);
    struct bk_addr local = addr("192.168.1.11:5000");

    (void)state;
    assert_ptr_equal(bk_arrival_candidate(&s, BK_CANDIDATE_MAPPED, &local), &told[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_private_host),
        cmocka_unit_test(test_public_host),
        cmocka_unit_test(test_met),
        cmocka_unit_test(test_met_at_the_mapping),
        cmocka_unit_test(test_newest_mapping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
