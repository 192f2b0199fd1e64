/* beckon forward: local listeners that lead to services, until interrupted. */
#include <stdio.h>

#include "bin/beckon/command.h"

static void on_ready(void *ctx)
{
    (void)ctx;
    puts("ready");
    (void)fflush(stdout);
}

int cmd_forward(int argc, char **argv)
{
    struct call_options options = {0};
    struct beckon_client *client;
    struct beckon_error error;
    enum beckon_status status;
    int n_rest;

    if (!call_options_read(argc, argv, &options, NULL, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest < 2) {
        return bk_usage("beckon", "forward takes DEVICE and [ADDR:]PORT:SERVICE, one or more");
    }
    status = client_open(&options, on_ready, &client);
    if (status != BECKON_OK) {
        return (int)status;
    }
    status = beckon_client_forward(client, argv[1], (const char *const *)(argv + 2),
                                   (size_t)n_rest - 1, &error);
    return client_close(client, status, &error, true);
}
