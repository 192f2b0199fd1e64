/* beckon join: becomes a user of the server that a token names. */
#include <string.h>

#include "bin/beckon/command.h"

enum {
    TOKEN_BYTES = 1024,
};

int cmd_join(int argc, char **argv)
{
    struct call_options options = {0};
    struct beckon_error error;
    enum beckon_status status;
    char token[TOKEN_BYTES];
    int n_rest;

    if (!call_options_read(argc, argv, &options, NULL, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 1) {
        return bk_usage("beckon", "join takes one token, or - to read it from standard input");
    }
    if (!bk_token_argument("beckon", argv[1], token, sizeof token)) {
        return BECKON_BAD_TOKEN;
    }
    status = beckon_client_join(options.state, token, &error);
    explicit_bzero(token, sizeof token);
    return status == BECKON_OK ? BECKON_OK : bk_report("beckon", &error);
}
