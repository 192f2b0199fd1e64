/* What test_child starts: behaves as its first argument says. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/channel.h"
#include "lib/child.h"

/* Says HELLO back with, as its port, how many descriptors it finds open above the channel. */
static int report(void)
{
    struct bk_channel_message message = {.type = BK_CHANNEL_HELLO, .n_servers = 1};
    sigset_t blocked;

    for (int fd = BK_CHANNEL_FD + 1; fd < 256; fd++) {
        message.servers[0].port = (uint16_t)(message.servers[0].port + (fcntl(fd, F_GETFD) >= 0));
    }
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    message.observed.port = (uint16_t)(sigismember(&blocked, SIGTERM) ? 1 : 0);
    return bk_channel_send(BK_CHANNEL_FD, &message) == BK_OK ? 5 : 6;
}

int main(int argc, char **argv)
{
    struct bk_channel_message message;

    if (argc != 2) {
        return 2;
    }
    if (strcmp(argv[1], "report") == 0) {
        return report();
    }
    if (strcmp(argv[1], "await") == 0) { /* the channel's end */
        message = (struct bk_channel_message){.type = BK_CHANNEL_PROOF};
        if (bk_channel_send(BK_CHANNEL_FD, &message) != BK_OK) {
            return 6;
        }
        return bk_channel_receive(BK_CHANNEL_FD, &message) == BK_E_CLOSED ? 0 : 6;
    }
    if (strcmp(argv[1], "stubborn") == 0) {
        signal(SIGTERM, SIG_IGN);
        message = (struct bk_channel_message){.type = BK_CHANNEL_PROOF};
        if (bk_channel_send(BK_CHANNEL_FD, &message) != BK_OK) {
            return 6;
        }
        for (;;) {
            pause();
        }
    }
    return 2;
}
