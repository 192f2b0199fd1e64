/* beckon connect: joins standard input and output to a service; an ssh ProxyCommand. */
#include <unistd.h>

#include "bin/beckon/command.h"

int cmd_connect(int argc, char **argv)
{
    struct call_options options = {0};
    struct beckon_client *client;
    struct beckon_error error;
    enum beckon_status status;
    int n_rest;

    if (!call_options_read(argc, argv, &options, NULL, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 1 && n_rest != 2) {
        return bk_usage("beckon", "connect takes DEVICE and, unless it is ssh, SERVICE");
    }
    status = client_open(&options, NULL, &client);
    if (status != BECKON_OK) {
        return (int)status;
    }
    status = beckon_client_connect(client, argv[1], n_rest == 2 ? argv[2] : "ssh", STDIN_FILENO,
                                   STDOUT_FILENO, &error);
    return client_close(client, status, &error, false);
}
