/* beckon-agent-call tunnel: started by beckon-agent where UDP is blocked; the channel to it is descriptor 3. */
#include "bin/beckon-agent/command.h"

int cmd_tunnel(int argc, char **argv)
{
    const char *state, *config = NULL;
    const struct bk_option extra[] = {{.name = "--config", .values = &config, .max = 1}};
    int n_rest;

    if (!agent_options_read(argc, argv, &state, extra, 1, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 0 || !channel_is_there()) {
        return channel_missed();
    }
    return (int)beckon_agent_tunnel(CHANNEL_FD, state, config, channel_log, NULL);
}
