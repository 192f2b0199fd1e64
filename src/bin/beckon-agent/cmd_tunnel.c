/* beckon-agent-call tunnel: started by beckon-agent where UDP is blocked; the channel to it is descriptor 3. */
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

int cmd_tunnel(int argc, char **argv)
{
    const char *state, *config = NULL;
    const struct bk_option extra[] = {{.name = "--config", .values = &config, .max = 1}};
    int n_rest, type;
    socklen_t n = sizeof type;

    if (!agent_options_read(argc, argv, &state, extra, 1, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 0 || getsockopt(CHANNEL_FD, SOL_SOCKET, SO_TYPE, &type, &n) != 0) {
        return bk_usage("beckon-agent-call", "beckon-agent starts this program by itself");
    }
    return (int)beckon_agent_tunnel(CHANNEL_FD, state, config, on_log, NULL);
}
