/* Secrets from descriptors, and questions on a terminal. */
#include "lib/place.h"

#include <sys/wait.h>

#include "common/args.h"

static void test_secrets(void **state)
{
    static const struct {
        const char *text;
        int n;
    } cases[] = {{"word\nnext\n", 4}, {"word", 4},     {"\n", 0},          {"", -1},
                 {"12345678\n", 8},   {"12345678", 8}, {"123456789\n", -1}};
    char out[8];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int fds[2];
        size_t n = strlen(cases[i].text);

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(write(fds[1], cases[i].text, n), n);
        close(fds[1]);
        assert_int_equal(bk_secret_from_file(fds[0], out, sizeof out), cases[i].n);
        if (cases[i].n > 0) {
            assert_memory_equal(out, cases[i].text, (size_t)cases[i].n);
        }
        close(fds[0]);
    }
    assert_int_equal(bk_secret_from_file(-1, out, sizeof out), -1);
}

enum {
    ANSWERED_YES = 10,
    ANSWERED_NO = 11,
    SECRET_TAKEN = 12,
};

/* In a process of its own: asks on its terminal and ends with what came of it. */
static void ask(int terminal, bool secret)
{
    char out[16];
    bool right;

    if (setsid() < 0 || open(ptsname(terminal), O_RDWR) < 0) { /* it becomes our /dev/tty */
        _exit(1);
    }
    if (secret) {
        right = bk_secret_from_terminal("Password: ", out, sizeof out) == 4;
        _exit(right && memcmp(out, "word", 4) == 0 ? SECRET_TAKEN : 1);
    }
    _exit(bk_confirm_on_terminal("Is it? ") ? ANSWERED_YES : ANSWERED_NO);
}

/* Types `typed` when something has been asked; all that the terminal showed is in `shown`. */
static int answer(const char *typed, bool secret, char shown[256])
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), status = 0;
    size_t n = 0, typed_n = strlen(typed);
    ssize_t got;
    pid_t pid;

    assert_true(terminal >= 0);
    assert_int_equal(grantpt(terminal) + unlockpt(terminal), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        ask(terminal, secret);
    }
    while (n < 255 && (got = read(terminal, shown + n, 255 - n)) > 0) { /* fails with its end */
        n += (size_t)got;
        shown[n] = '\0';
        if (typed_n > 0 && (strstr(shown, "? ") != NULL || strstr(shown, ": ") != NULL)) {
            assert_int_equal(write(terminal, typed, typed_n), typed_n);
            typed_n = 0;
        }
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(terminal);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_questions(void **state)
{
    static const char *const no[] = {"no\n",     "y\n",  "\n",     "YES\n", "yess\n",
                                     "yes no\n", "ye\n", " yes\n", "\004"};
    char shown[256];

    (void)state;
    assert_int_equal(answer("yes\n", false, shown), ANSWERED_YES);
    for (size_t i = 0; i < COUNT(no); i++) {
        assert_int_equal(answer(no[i], false, shown), ANSWERED_NO);
    }
}

static void test_hidden_secret(void **state)
{
    char shown[256];

    (void)state;
    assert_int_equal(answer("word\n", true, shown), SECRET_TAKEN);
    assert_non_null(strstr(shown, "Password: "));
    assert_null(strchr(strstr(shown, ": "), 'w')); /* no echo of any of it */
}

static void test_token(void **state)
{
    char out[8];

    (void)state;
    assert_true(bk_token_argument("test", "1234567", out, sizeof out));
    assert_string_equal(out, "1234567");
    assert_false(bk_token_argument("test", "12345678", out, sizeof out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {

        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_hidden_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
