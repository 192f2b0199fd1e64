/* beckon pin: takes a device's fingerprint from its beckon:// URI. */
#include "bin/beckon/command.h"

int cmd_pin(int argc, char **argv)
{
    struct call_options options = {0};
    bool replace = false;
    const struct bk_option replace_option = {.name = "--replace", .flag = &replace};
    struct beckon_error error;
    int n_rest;

    if (!call_options_read(argc, argv, &options, &replace_option, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 1) {
        return bk_usage("beckon", "pin takes one beckon:// URI");
    }
    if (beckon_client_pin(options.state, argv[1], replace, &error) != BECKON_OK) {
        return bk_report("beckon", &error);
    }
    return BECKON_OK;
}
