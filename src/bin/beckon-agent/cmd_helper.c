/* beckon-agent-call sandbox, and resolve HOST PORT: what beckon-agent has done by this program, to stay small itself. */
#include "bin/beckon-agent/command.h"

int cmd_sandbox(int argc, char **argv)
{
    (void)argv;
    return argc == 1 && channel_is_there() ? (int)beckon_agent_make_sandbox(CHANNEL_FD)
                                           : channel_missed();
}

int cmd_resolve(int argc, char **argv)
{
    return argc == 3 && channel_is_there()
               ? (int)beckon_agent_resolve(CHANNEL_FD, argv[1], argv[2], channel_log, NULL)
               : channel_missed();
}
