/* beckon-agent-call renew: started by beckon-agent when box key, registration key or certificate are due. */
#include "bin/beckon-agent/command.h"

int cmd_renew(int argc, char **argv)
{
    const char *state, *config = NULL, *seconds = NULL;
    bool certificate = false;
    const struct bk_option extra[] = {{.name = "--config", .values = &config, .max = 1},
                                      {.name = "--time", .values = &seconds, .max = 1},
                                      {.name = "--certificate", .flag = &certificate}};
    struct beckon_error error;
    int n_rest;

    if (!agent_options_read(argc, argv, &state, extra, 3, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 0) {
        return bk_usage("beckon-agent-call", "renew takes no arguments");
    }
    return beckon_agent_renew(state, config, certificate, seconds, &error) == BECKON_OK
               ? BECKON_OK
               : bk_report("beckon-agent-call", &error);
}
