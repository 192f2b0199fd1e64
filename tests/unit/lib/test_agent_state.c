/* The agent's small state files, and what is made of damaged ones. */
#include "lib/place.h"

#include "lib/agent_state.h"

static void test_registration(void **state)
{
    struct place *p = *state;
    struct bk_registration_secret in = {.generation = 0xFFFFFFFE, .epoch = 0xFFFD}, out;
    struct beckon_error error;
    char path[160], byte = 'x';
    struct stat st;

    assert_int_equal(bk_registration_secret_read(p->dir, &out, &error), BECKON_NOT_JOINED);
    assert_error(&error, BECKON_NOT_JOINED, "registration.key");
    for (size_t i = 0; i < sizeof in.key; i++) {
        in.key[i] = (uint8_t)(i + 1);
    }
    assert_int_equal(bk_registration_secret_write(p->dir, &in), BK_OK);
    assert_int_equal(bk_registration_secret_read(p->dir, &out, &error), BECKON_OK);
    assert_int_equal(out.generation, in.generation);
    assert_int_equal(out.epoch, in.epoch);
    assert_memory_equal(out.key, in.key, sizeof in.key);
    place_path(p, "registration.key", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    place_write(p, "registration.key", &byte, 1); /* too short */
    assert_int_equal(bk_registration_secret_read(p->dir, &out, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "damaged");
}

static void test_identity(void **state)
{
    static const char *const names[] = {"device.key", "device.crt", "ca.crt"};
    static const char whole[] = "-----BEGIN X-----\nAAAA\n-----END X-----\n";
    struct place *p = *state;
    struct beckon_error error;
    char large[3000];

    assert_int_equal(bk_identity_check(p->dir, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "device.key is missing or damaged; move agent.conf");
    for (size_t i = 0; i < COUNT(names); i++) {
        place_write_text(p, names[i], whole);
    }
    assert_int_equal(bk_identity_check(p->dir, &error), BECKON_OK);
    for (size_t i = 0; i < COUNT(names); i++) {
        for (size_t n = 0; n < 20; n++) {
            place_write(p, names[i], whole, n);
            assert_int_equal(bk_identity_check(p->dir, &error), BECKON_BAD_CONFIG);
            assert_error(&error, BECKON_BAD_CONFIG, names[i]);
        }
        memset(large, 'x', sizeof large);
        place_write(p, names[i], large, sizeof large); /* whatever it is, it is not cut short */
        assert_int_equal(bk_identity_check(p->dir, &error), BECKON_OK);
        place_write_text(p, names[i], whole);
    }
}

static void test_renewal(void **state)
{
    static const char *const damaged[] = {"",          "1 2 3",    "1 2\n",
                                          "1 2 3\n\n", "1 2 3\n4", "1 x 3\n",
                                          " 1 2 3\n",  "-1 2 3\n", "1 2 18446744073709551616\n",
                                          "1  2 3\n"};
    struct place *p = *state;
    struct bk_renewal_facts in = {UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 2}, out;

    out = bk_renewal_facts_read(p->dir); /* none yet */
    assert_true(out.certificate_from_s == 0 && out.certificate_until_s == 0 && out.box_made_s == 0);
    assert_int_equal(bk_renewal_facts_write(p->dir, &in), BK_OK);
    out = bk_renewal_facts_read(p->dir);
    assert_true(out.certificate_from_s == UINT64_MAX);
    assert_true(out.certificate_until_s == UINT64_MAX - 1);
    assert_true(out.box_made_s == UINT64_MAX - 2);
    for (size_t i = 0; i < COUNT(damaged); i++) {
        place_write_text(p, "renewal", damaged[i]);
        out = bk_renewal_facts_read(p->dir);
        assert_true(out.certificate_from_s == 0 && out.certificate_until_s == 0 &&
                    out.box_made_s == 0);
    }
}

static void test_clock(void **state)
{
    struct place *p = *state;

    assert_true(bk_stored_time_read(p->dir) == 0);
    assert_int_equal(bk_stored_time_write(p->dir, 1800000000), BK_OK);
    assert_true(bk_stored_time_read(p->dir) == 1800000000);
    place_write_text(p, "clock", "4102444799"); /* the last second of 2099 */
    assert_true(bk_stored_time_read(p->dir) == 4102444799);
    place_write_text(p, "clock", "4102444800"); /* of no use, and no way back from it */
    assert_true(bk_stored_time_read(p->dir) == 0);
    place_write_text(p, "clock", "18446744073709551615");
    assert_true(bk_stored_time_read(p->dir) == 0);
    place_write_text(p, "clock", "soon");
    assert_true(bk_stored_time_read(p->dir) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_registration),
        WITH_PLACE(test_identity),
        WITH_PLACE(test_renewal),
        WITH_PLACE(test_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
