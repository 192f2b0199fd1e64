/* What every process that beckon-agent starts has of it: a socket to it, and a place for its log. */
#include <stdio.h>
#include <sys/socket.h>

#include "bin/beckon-agent/command.h"

bool channel_is_there(void)
{
    int type;
    socklen_t n = sizeof type;

    return getsockopt(CHANNEL_FD, SOL_SOCKET, SO_TYPE, &type, &n) == 0;
}

int channel_missed(void)
{
    return bk_usage("beckon-agent-call", "beckon-agent starts this program by itself");
}

void channel_log(void *ctx, int level, const char *line)
{
    (void)ctx;
    (void)level;
    fprintf(stderr, "beckon-agent-call: %s\n", line);
}
