/* beckon-agent passwd: sets a password that callers may give: the device's, or that of one access. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bin/beckon-agent/command.h"

enum {
    PASSWORD_BYTES = 128,
    NO_PASSWORD = -1, /* as bk_secret_from_... say it */
    TWO_PASSWORDS = -2,
};

/* Twice from a terminal, once from a file or pipe. The length, NO_PASSWORD or TWO_PASSWORDS. */
static int ask(char out[PASSWORD_BYTES])
{
    char again[PASSWORD_BYTES];
    int n, m;

    if (!isatty(STDIN_FILENO)) {
        return bk_secret_from_file(STDIN_FILENO, out, PASSWORD_BYTES);
    }
    n = bk_secret_from_terminal("New password: ", out, PASSWORD_BYTES);
    m = bk_secret_from_terminal("Once more: ", again, PASSWORD_BYTES);
    if (n >= 0 && (n != m || memcmp(out, again, (size_t)n) != 0)) {
        n = TWO_PASSWORDS;
    }
    explicit_bzero(again, sizeof again);
    return n;
}

int cmd_passwd(int argc, char **argv)
{
    const char *state, *access = NULL, *config = NULL;
    const struct bk_option extra[] = {{.name = "--access", .values = &access, .max = 1},
                                      {.name = "--config", .values = &config, .max = 1}};
    char password[PASSWORD_BYTES];
    struct beckon_error error;
    enum beckon_status status;
    int n, n_rest;

    if (!agent_options_read(argc, argv, &state, extra, 2, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 0) {
        return bk_usage("beckon-agent", "passwd takes no arguments; the password is asked for");
    }
    n = ask(password);
    status = n < 0 ? BECKON_FAILED
                   : beckon_agent_set_password(state, config, access, password, (size_t)n, &error);
    explicit_bzero(password, sizeof password);
    if (n == NO_PASSWORD) {
        return bk_usage("beckon-agent", "no password of 1 to 128 bytes came from standard input");
    }
    if (n == TWO_PASSWORDS) {
        fprintf(stderr, "beckon-agent: the two differ; nothing was changed\n");
        return BECKON_FAILED;
    }
    return status == BECKON_OK ? BECKON_OK : bk_report("beckon-agent", &error);
}
