/* The sockets of a relayed address (relayed.c): connections to a relay, which is asked from time to time whether it is there. */
#include "lib/relayed_sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sockaddr.h"

enum {
    ALIVE_IDLE_S = 30, /* TCP asks a silent relay from then on, and gives it up at ALIVE_DEAD_MS */
    ALIVE_STEP_S = 10,
    ALIVE_TIMES = 3,
    ALIVE_DEAD_MS = 60000,
};

void bk_relayed_set_alive(int fd)
{
    const int on = 1, idle = ALIVE_IDLE_S, step = ALIVE_STEP_S, times = ALIVE_TIMES,
              dead = ALIVE_DEAD_MS;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &step, sizeof step);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof dead);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int bk_relayed_begin_connect(const struct bk_addr *addr)
{
    struct sockaddr_storage ss;
    socklen_t len = 0;
    int family = bk_sockaddr_family(addr);
    if (bk_sockaddr_write(addr, family, &ss, &len) != BK_OK) {
        return -1;
    }
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&ss, len) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

bool bk_relayed_stands(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
}
