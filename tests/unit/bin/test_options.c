/* The command line of a subcommand: options, words, "--", and what is refused. */
#include "lib/place.h"

#include "common/options.h"

static const char *state_dir, *listen_on;
static bool verbose;
static const struct bk_option options[] = {
    {.name = "--state", .values = &state_dir, .max = 1},
    {.name = "--listen", .values = &listen_on, .max = 1},
    {.name = "-v", .flag = &verbose},
};

/* Splits at single spaces and reads; what is left comes back joined by "|". */
static bool read_line(const char *line, char rest[256])
{
    static char words[256];
    char *argv[32] = {words};
    int argc = 0, n_rest = -1;
    bool right;

    (void)snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok_r(words, " ", &argv[31]); word != NULL;
         word = strtok_r(NULL, " ", &argv[31])) {
        argv[argc++] = word;
    }
    argv[31] = NULL;
    state_dir = listen_on = NULL;
    verbose = false;
    right = bk_options_parse("test", argc, argv, options, COUNT(options), &n_rest) == BECKON_OK;
    rest[0] = '\0';
    for (int i = 0; right && i < n_rest; i++) {
        (void)strncat(rest, argv[1 + i], 200 - strlen(rest));
        (void)strncat(rest, "|", 200 - strlen(rest));
    }
    return right;
}

static void test_order(void **state)
{
    char rest[256];

    (void)state;
    assert_true(read_line("p", rest));
    assert_string_equal(rest, "");
    assert_true(read_line("p a --state /s b -v c", rest));
    assert_string_equal(rest, "a|b|c|");
    assert_string_equal(state_dir, "/s");
    assert_true(verbose);
    assert_null(listen_on);
    assert_true(read_line("p --state=/2 -", rest)); /* "-" is a word */
    assert_string_equal(rest, "-|");
    assert_string_equal(state_dir, "/2");
    assert_true(read_line("p --listen -v a", rest)); /* a value may look like an option */
    assert_string_equal(listen_on, "-v");
    assert_false(verbose);
}

static void test_dashes(void **state)
{
    char rest[256];

    (void)state;
    assert_true(read_line("p a -- -v --state -- b", rest));
    assert_string_equal(rest, "a|-v|--state|--|b|");
    assert_false(verbose);
    assert_true(read_line("p --", rest));
    assert_string_equal(rest, "");
}

static void test_mistakes(void **state)
{
    static const char *const lines[] = {
        "p --state", "p a --listen", "p --stat /s", "p --state=", "p --state /1 --state /2",
        "p -v=1",    "p -x",         "p -vv",       "p ---"};
    char rest[256];

    (void)state;
    for (size_t i = 0; i < COUNT(lines); i++) {
        assert_false(read_line(lines[i], rest));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_dashes),
        cmocka_unit_test(test_mistakes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
