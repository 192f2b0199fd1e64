/* Options of the agent's subcommands, and where its second program lies. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bin/beckon-agent/command.h"

enum {
    EXTRA_MAX = 4,
};

bool agent_options_read(int argc, char **argv, const char **state, const struct bk_option *extra,
                        size_t n_extra, int *n_rest)
{
    struct bk_option options[1 + EXTRA_MAX] = {
        {.name = "--state", .values = state, .max = 1, .required = true}};

    for (size_t i = 0; i < n_extra && i < EXTRA_MAX; i++) {
        options[1 + i] = extra[i];
    }
    *state = NULL;
    return bk_options_parse("beckon-agent", argc, argv, options, 1 + n_extra, n_rest) == BECKON_OK;
}

/* `tail` in place of our own name in our own path; false if there is nothing to execute there. */
static bool beside(const char *tail, char out[PATH_BYTES])
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_BYTES - 1);
    char *slash;

    if (n <= 0) {
        return false;
    }
    out[n] = '\0';
    slash = strrchr(out, '/');
    if (slash == NULL || strlen(tail) >= PATH_BYTES - (size_t)(slash - out)) {
        return false;
    }
    memcpy(slash, tail, strlen(tail) + 1);
    return access(out, X_OK) == 0;
}

bool call_program_find(char out[PATH_BYTES])
{
    static const char installed[] = BECKON_LIBEXECDIR "/beckon-agent-call";

    if (beside("/beckon-agent-call", out) || beside("/../libexec/beckon/beckon-agent-call", out)) {
        return true;
    }
    memcpy(out, installed, sizeof installed);
    if (access(out, X_OK) == 0) {
        return true;
    }
    fprintf(stderr, "beckon-agent: %s is missing; install the package again\n", installed);
    return false;
}
