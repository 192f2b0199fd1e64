/* beckon join: becomes a user of the server that a token names. */
#include <string.h>

#include "bin/beckon/command.h"
#include "bin/common/join.h"

enum {
    TOKEN_BYTES = 1024,
};

int cmd_join(int argc, char **argv)
{
    struct call_options options = {0};
    char token[TOKEN_BYTES];
    int n_rest, status;

    if (!call_options_read(argc, argv, &options, NULL, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 1) {
        return bk_usage("beckon", "join takes one token, or - to read it from standard input");
    }
    if (!bk_token_argument("beckon", argv[1], token, sizeof token)) {
        return BECKON_BAD_TOKEN;
    }
    status = bk_join("beckon", beckon_client_join, options.state, token);
    explicit_bzero(token, sizeof token);
    return status;
}
