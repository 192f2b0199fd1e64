/* Passwords at rest: each access its own file, none for an access that agent.conf does not have. */
#include "lib/place.h"

#include "lib/password.h"
#include "seal/seal.h"

static void test_owner(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    char word[129], path[160];
    struct stat st;

    memset(word, 'w', sizeof word);
    assert_int_equal(bk_agent_password_check(p->dir, "owner", bk_slice_text("x")),
                     BK_E_NOTFOUND); /* never set */
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, NULL, "x", 1, &error),
                     BECKON_NOT_JOINED);
    assert_error(&error, BECKON_NOT_JOINED, "beckon-agent join");
    place_write_text(p, "agent.conf", "");
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, NULL, "", 0, &error), BECKON_USAGE);
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, NULL, word, 129, &error),
                     BECKON_USAGE);
    assert_error(&error, BECKON_USAGE, "1 to 128 bytes");
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, NULL, word, 128, &error), BECKON_OK);
    assert_int_equal(bk_agent_password_check(p->dir, "owner", bk_slice(word, 128)), BK_OK);
    assert_int_equal(bk_agent_password_check(p->dir, "owner", bk_slice(word, 127)), BK_E_AUTH);
    assert_int_equal(bk_agent_password_check(p->dir, "owner", BK_SLICE_EMPTY), BK_E_AUTH);
    place_path(p, "password", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    place_write_text(p, "password", "not a hash");
    assert_int_equal(bk_agent_password_check(p->dir, "owner", bk_slice_text("not a hash")),
                     BK_E_AUTH);
    place_write_text(p, "password", "");
    assert_int_equal(bk_agent_password_check(p->dir, "owner", BK_SLICE_EMPTY), BK_E_AUTH);
}

static void test_accesses(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    char path[160];

    place_write_text(p, "agent.conf",
                     "[agent]\nid = 1\nserver = h\n[access lodger]\n"
                     "expires = 2027-01-31\n");
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, "cat", "x", 1, &error), BECKON_USAGE);
    assert_error(&error, BECKON_USAGE, "has no [access cat]; add that section first");
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, "../lodger", "x", 1, &error),
                     BECKON_USAGE);
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, "lodger", "room", 4, &error),
                     BECKON_OK);
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, "owner", "house", 5, &error),
                     BECKON_OK);
    assert_int_equal(bk_agent_password_check(p->dir, "lodger", bk_slice_text("room")), BK_OK);
    assert_int_equal(bk_agent_password_check(p->dir, "lodger", bk_slice_text("house")), BK_E_AUTH);
    assert_int_equal(bk_agent_password_check(p->dir, "owner", bk_slice_text("house")), BK_OK);
    assert_int_equal(bk_agent_password_check(p->dir, "owner", bk_slice_text("room")), BK_E_AUTH);
    place_path(p, "password.lodger", path);
    assert_int_equal(access(path, R_OK), 0);
    place_path(p, "password", path);
    assert_int_equal(access(path, R_OK), 0);
}

/* An access of a configuration that lies elsewhere. */
static void test_config_elsewhere(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    char path[160];

    place_path(p, "other.conf", path);
    assert_int_equal(beckon_agent_set_password(p->dir, path, "lodger", "room", 4, &error),
                     BECKON_NOT_JOINED);
    assert_error(&error, BECKON_NOT_JOINED, "other.conf");
    place_write_text(p, "agent.conf", "[agent]\nid = 1\nserver = h\n");
    place_write_text(p, "other.conf",
                     "[agent]\nid = 1\nserver = h\n[access lodger]\nexpires = 2027-01-31\n");
    assert_int_equal(beckon_agent_set_password(p->dir, NULL, "lodger", "room", 4, &error),
                     BECKON_USAGE);
    assert_error(&error, BECKON_USAGE, "/agent.conf has no [access lodger]");
    assert_int_equal(beckon_agent_set_password(p->dir, path, "cat", "x", 1, &error), BECKON_USAGE);
    assert_error(&error, BECKON_USAGE, "/other.conf has no [access cat]");
    assert_int_equal(beckon_agent_set_password(p->dir, path, "lodger", "room", 4, &error),
                     BECKON_OK);
    assert_int_equal(bk_agent_password_check(p->dir, "lodger", bk_slice_text("room")), BK_OK);
    assert_int_equal(beckon_agent_set_password(p->dir, path, NULL, "house", 5, &error), BECKON_OK);
    assert_int_equal(bk_agent_password_check(p->dir, "owner", bk_slice_text("house")), BK_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {WITH_PLACE(test_owner), WITH_PLACE(test_accesses),
                                       WITH_PLACE(test_config_elsewhere)};

    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
