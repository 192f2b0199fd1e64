/* Who a caller is: by password, by key, until when, and what he may use. */
#include "lib/place.h"

#include <sys/resource.h>

#include "lib/access.h"
#include "seal/seal.h"

enum {
    NOON_S = 1801396800, /* 2027-01-31T12:00:00Z */
};

static const char text[] = "[agent]\nid = 1\nserver = h\n[service ssh]\ntarget = tcp:h:22\n"
                           "[service web]\ntarget = tcp:h:80\n"
                           "[access lodger]\nservices = web\nexpires = 2027-01-31T12:00:00Z\n"
                           "[access bare]\nservices = ssh\n";
static struct bk_agent_config config;
static unsigned lines;

static void on_line(void *ctx, int level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
    lines++;
}

static int setup(void **state)
{
    struct beckon_error error;

    if (place_make(state) != 0) {
        return -1;
    }
    place_write_text(*state, "agent.conf", text);
    lines = 0;
    return bk_agent_config_read(((struct place *)*state)->dir, NULL, &config, &error) == BECKON_OK
               ? 0
               : -1;
}

static void passwords(const struct place *p)
{
    struct beckon_error error;

    assert_int_equal(beckon_agent_set_password(p->dir, NULL, NULL, "house", 5, &error), BECKON_OK);
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, "lodger", "room", 4, &error),
                     BECKON_OK);
}

static enum bk_err by(const struct place *p, uint64_t unix_s, const char *password,
                      struct bk_caller *out)
{
    *out = (struct bk_caller){0};
    return bk_access_by_password(p->dir, &config, unix_s, bk_slice_text(password), on_line, NULL,
                                 out);
}

static void test_password(void **state)
{
    struct place *p = *state;
    struct bk_caller got;

    assert_int_equal(by(p, NOON_S - 1, "house", &got), BK_E_AUTH);
    assert_int_equal(lines, 1); /* the device's people are told that there is none */
    passwords(p);
    lines = 0;
    assert_int_equal(by(p, NOON_S - 1, "house", &got), BK_OK);
    assert_string_equal(got.label, "password:owner");
    assert_true(got.services == UINT64_MAX && got.expires_s == 0);
    assert_int_equal(by(p, NOON_S - 1, "room", &got), BK_OK);
    assert_string_equal(got.label, "password:lodger");
    assert_true(got.services == 2 && got.expires_s == NOON_S);
    assert_int_equal(by(p, NOON_S - 1, "roo", &got), BK_E_AUTH);
    assert_int_equal(by(p, NOON_S - 1, "", &got), BK_E_AUTH);
    assert_string_equal(got.label, "");
    assert_true(got.services == 0);
    assert_int_equal(lines, 0); /* a guess is nothing to tell */
}

/* For want of memory nobody is told whether he guessed right. */
static void test_no_memory(void **state)
{
    struct place *p = *state;
    struct bk_caller got;
    struct rlimit before, none;
    enum bk_err err;

    passwords(p);
    assert_int_equal(by(p, NOON_S - 1, "room", &got), BK_OK);
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none = before;
    none.rlim_cur = 1024 * 1024; /* less than there is already */
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    err = by(p, NOON_S - 1, "room", &got);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(err, BK_E_NOMEM);
    assert_int_equal(lines, 2); /* one for each password that was not tried */
    assert_string_equal(got.label, "");
}

/* What has expired, or may have, opens nothing; the others go on. */
static void test_expiry(void **state)
{
    struct place *p = *state;
    struct bk_caller got;

    passwords(p);
    assert_int_equal(by(p, NOON_S, "room", &got), BK_E_AUTH);
    assert_int_equal(by(p, UINT64_MAX, "room", &got), BK_E_AUTH);
    assert_int_equal(by(p, 0, "room", &got), BK_E_AUTH); /* no clock */
    assert_int_equal(by(p, NOON_S, "house", &got), BK_OK);
    assert_int_equal(by(p, 0, "house", &got), BK_OK);
    got.expires_s = NOON_S;
    assert_true(bk_caller_is_open(&got, NOON_S - 1));
    assert_false(bk_caller_is_open(&got, NOON_S));
    assert_false(bk_caller_is_open(&got, 0));
    got.expires_s = 0;
    assert_true(bk_caller_is_open(&got, 0));
}

static enum bk_err key(const struct place *p, uint64_t unix_s, uint8_t first, struct bk_caller *out)
{
    const uint8_t raw[BK_KEY_BYTES] = {first};

    *out = (struct bk_caller){0};
    return bk_access_by_key(p->dir, &config, unix_s, raw, on_line, NULL, out);
}

static void test_key(void **state)
{
    struct place *p = *state;
    struct bk_caller got;
    char one[BK_CALLER_KEY_TEXT_BYTES], two[BK_CALLER_KEY_TEXT_BYTES], file[256], path[160];

    bk_caller_key_format((const uint8_t[BK_KEY_BYTES]){1}, one);
    bk_caller_key_format((const uint8_t[BK_KEY_BYTES]){2}, two);
    assert_int_equal(key(p, NOON_S, 1, &got), BK_E_AUTH);
    (void)snprintf(file, sizeof file, "%s alice-laptop\n%s bob lodger\n", one, two);
    place_write_text(p, "authorized_users", file);
    place_path(p, "authorized_users", path);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(key(p, 0, 1, &got), BK_OK);
    assert_string_equal(got.label, "key:alice-laptop");
    assert_true(got.services == UINT64_MAX);
    assert_int_equal(key(p, NOON_S - 1, 2, &got), BK_OK);
    assert_string_equal(got.label, "key:bob");
    assert_true(got.services == 2 && got.expires_s == NOON_S);
    assert_int_equal(key(p, NOON_S, 2, &got), BK_E_AUTH);
    assert_int_equal(key(p, 0, 2, &got), BK_E_AUTH);
    assert_true(got.services == 0);
    assert_int_equal(key(p, NOON_S, 3, &got), BK_E_AUTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_password, setup, place_remove),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, place_remove),
        cmocka_unit_test_setup_teardown(test_expiry, setup, place_remove),
        cmocka_unit_test_setup_teardown(test_key, setup, place_remove),
    };

    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
