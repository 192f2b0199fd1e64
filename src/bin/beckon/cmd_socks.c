/* beckon socks: a local SOCKS5 port, whose clients name the services they want. */
#include "bin/beckon/command.h"

int cmd_socks(int argc, char **argv)
{
    static const char default_port[] = "1080";
    struct call_options options = {0};
    struct beckon_client *client;
    struct beckon_error error;
    enum beckon_status status;
    int n_rest;

    if (!call_options_read(argc, argv, &options, NULL, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest < 1 || n_rest > 2) {
        return bk_usage("beckon",
                        "socks takes DEVICE and [ADDR:]PORT (127.0.0.1:1080 if it is left out)");
    }
    status = client_open(&options, say_ready, &client);
    if (status != BECKON_OK) {
        return (int)status;
    }
    status = beckon_client_socks(client, argv[1], n_rest == 2 ? argv[2] : default_port, &error);
    return client_close(client, status, &error, true);
}
