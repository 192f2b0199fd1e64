/* One call: the channel to beckon-agent is descriptor 3. */
#include <stdio.h>
#include <sys/socket.h>

#include "bin/beckon-agent/command.h"

enum {
    CHANNEL_FD = 3,
};

static void on_log(void *ctx, int level, const char *line)
{
    (void)ctx;
    (void)level;
    fprintf(stderr, "beckon-agent-call: %s\n", line);
}

static bool is_socket(int fd)
{
    int type;
    socklen_t n = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0;
}

int cmd_call(int argc, char **argv)
{
    const char *state, *config = NULL;
    const struct bk_option extra[] = {{.name = "--config", .values = &config, .max = 1}};
    int n_rest;

    if (!agent_options_read(argc, argv, &state, extra, 1, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 0 || !is_socket(CHANNEL_FD)) {
        return bk_usage("beckon-agent-call", "beckon-agent starts this program by itself");
    }
    return (int)beckon_agent_serve_call(CHANNEL_FD, state, config, on_log, NULL);
}
