/* Strict INI reading: order, the first error with its line, long lines, what cannot be read. */
#include "lib/place.h"

#include "lib/ini.h"

struct seen {
    char text[512];
    const char *refuse; /* this key */
};

static const char *take(void *ctx, const char *section, const char *key, const char *value)
{
    struct seen *seen = ctx;
    size_t n = strlen(seen->text);

    if (seen->refuse != NULL && strcmp(key, seen->refuse) == 0) {
        return "refused";
    }
    (void)snprintf(seen->text + n, sizeof seen->text - n, "%s/%s=%s|", section, key, value);
    return NULL;
}

static enum beckon_status read_text(struct place *p, const char *text, struct seen *seen,
                                    struct beckon_error *error)
{
    char path[160];

    place_write_text(p, "ini", text);
    place_path(p, "ini", path);
    seen->text[0] = '\0';
    return bk_ini_read(path, take, seen, error);
}

static void test_taken(void **state)
{
    struct seen seen = {.refuse = NULL};
    struct beckon_error error;

    assert_int_equal(read_text(*state, "\xEF\xBB\xBF[a b]\r\nx=1\r\ny : 2 ; c\n[c]\n# no\nx =\nx=3",
                               &seen, &error),
                     BECKON_OK);
    assert_non_null(strstr(seen.text, "a b/x=1|a b/y=2|"));
    assert_non_null(strstr(seen.text, "c/x=|c/x=3|"));
}

/* inih alone would make them more of the value above: "deny" would be a word of the list "allow". */
static void test_indented(void **state)
{
    static const char *const blanks[] = {" ", "\t", "  \t ", "\v", "\f", "\r"};
    struct seen seen = {.refuse = NULL};
    struct beckon_error error;
    char text[80];

    for (size_t i = 0; i < COUNT(blanks); i++) {
        (void)snprintf(text, sizeof text, "[c]\nallow = x\n%sdeny = y\nbad\n", blanks[i]);
        assert_int_equal(read_text(*state, text, &seen, &error), BECKON_BAD_CONFIG);
        assert_error(&error, BECKON_BAD_CONFIG, "/ini:3: the line is indented");
        (void)snprintf(text, sizeof text, "%s[c]\n", blanks[i]);
        assert_int_equal(read_text(*state, text, &seen, &error), BECKON_BAD_CONFIG);
        assert_error(&error, BECKON_BAD_CONFIG, "/ini:1: the line is indented");
        (void)snprintf(text, sizeof text, "[c]\nx=1\n%s\n%s# no\n%s; no\n%s", blanks[i], blanks[i],
                       blanks[i], blanks[i]);
        assert_int_equal(read_text(*state, text, &seen, &error), BECKON_OK);
        assert_string_equal(seen.text, "c/x=1|");
    }
}

static void test_first_error(void **state)
{
    struct seen seen = {.refuse = "bad"};
    struct beckon_error error;

    assert_int_equal(read_text(*state, "[a]\nx=1\nbad=2\nbad=3\n[b\n", &seen, &error),
                     BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "/ini:3: \"bad\" in [a]: refused; correct that line");
    assert_int_equal(read_text(*state, "[a]\n[b\nbad=1\n", &seen, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "/ini:2:");
}

static void test_long_lines(void **state)
{
    struct seen seen = {.refuse = NULL};
    struct beckon_error error;
    char text[400] = "[a]\nk=";

    memset(text + 6, 'v', 196); /* 198 bytes with "k=" */
    memcpy(text + 202, "\nz=1\n", 6);
    assert_int_equal(read_text(*state, text, &seen, &error), BECKON_OK);
    assert_non_null(strstr(seen.text, "v|a/z=1|"));
    memset(text + 6, 'v', 197);
    memcpy(text + 203, "\nz=1\n", 6);
    assert_int_equal(read_text(*state, text, &seen, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "/ini:2: the line is longer than 198 bytes");
}

/* inih cuts a section's name, so that two long ones would become one. */
static void test_long_sections(void **state)
{
    struct seen seen = {.refuse = NULL};
    struct beckon_error error;
    char text[80] = "[";

    memset(text + 1, 's', 48);
    memcpy(text + 49, "]\nk=1\n", 7);
    assert_int_equal(read_text(*state, text, &seen, &error), BECKON_OK);
    assert_int_equal(strlen(seen.text), 48 + strlen("/k=1|"));
    for (size_t n = 49; n < 64; n++) {
        memset(text + 1, 's', n);
        memcpy(text + 1 + n, "]\nk=1\n", 7);
        assert_int_equal(read_text(*state, text, &seen, &error), BECKON_BAD_CONFIG);
        assert_error(&error, BECKON_BAD_CONFIG, "/ini:2:");
        assert_error(&error, BECKON_BAD_CONFIG, "longer than 48 bytes");
        assert_string_equal(seen.text, "");
    }
}

static void test_unreadable(void **state)
{
    struct place *p = *state;
    struct seen seen = {.refuse = NULL};
    struct beckon_error error;

    assert_int_equal(bk_ini_read("/nowhere/x", take, &seen, &error), BECKON_NOT_JOINED);
    assert_int_equal(bk_ini_read(p->dir, take, &seen, &error), BECKON_FAILED);
    assert_error(&error, BECKON_FAILED, "cannot be read");
    assert_int_equal(read_text(p, "", &seen, &error), BECKON_OK);
    assert_string_equal(seen.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_taken),      WITH_PLACE(test_indented),      WITH_PLACE(test_first_error),
        WITH_PLACE(test_long_lines), WITH_PLACE(test_long_sections), WITH_PLACE(test_unreadable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
