/* beckon key: the caller's own key, as a line for a device's authorized_users. */
#include <stdio.h>

#include "bin/beckon/command.h"

enum {
    LINE_BYTES = 256,
};

int cmd_key(int argc, char **argv)
{
    struct call_options options = {0};
    struct beckon_error error;
    char line[LINE_BYTES];
    int n_rest;

    if (!call_options_read(argc, argv, &options, NULL, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 0) {
        return bk_usage("beckon", "key takes no argument");
    }
    if (beckon_client_key(options.state, line, sizeof line, &error) != BECKON_OK) {
        return bk_report("beckon", &error);
    }
    puts(line);
    return bk_printed("beckon");
}
