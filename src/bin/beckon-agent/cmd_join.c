/* beckon-agent join: becomes a device of the server that a token names. */
#include <string.h>

#include "bin/beckon-agent/command.h"
#include "bin/common/join.h"

enum {
    TOKEN_BYTES = 1024,
};

int cmd_join(int argc, char **argv)
{
    const char *state;
    char token[TOKEN_BYTES];
    int n_rest, status;

    if (!agent_options_read(argc, argv, &state, NULL, 0, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 1) {
        return bk_usage("beckon-agent",
                        "join takes one token, or - to read it from standard input");
    }
    if (!bk_token_argument("beckon-agent", argv[1], token, sizeof token)) {
        return BECKON_BAD_TOKEN;
    }
    status = bk_join("beckon-agent", beckon_agent_join, state, token);
    explicit_bzero(token, sizeof token);
    return status;
}
