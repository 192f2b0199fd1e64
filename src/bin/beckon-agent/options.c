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

bool call_program_find(char out[PATH_BYTES])
{
    static const char name[] = "/beckon-agent-call";
    static const char installed[] = BECKON_LIBEXECDIR "/beckon-agent-call";
    ssize_t n = readlink("/proc/self/exe", out, PATH_BYTES - sizeof name);
    char *slash;

    if (n > 0) {
        out[n] = '\0';
        slash = strrchr(out, '/');
        if (slash != NULL) {
            memcpy(slash, name, sizeof name);
            if (access(out, X_OK) == 0) {
                return true;
            }
        }
    }
    memcpy(out, installed, sizeof installed);
    if (access(out, X_OK) == 0) {
        return true;
    }
    fprintf(stderr, "beckon-agent: %s is missing; install the package again\n", installed);
    return false;
}
