/* A network of the test program's own, where no other program has the port or the address that it needs. */
#ifndef BK_TEST_NET_OWN_NETWORK_H
#define BK_TEST_NET_OWN_NETWORK_H

#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* For all threads and children that are to come. False without the rights: the network is everybody's then. */
static inline bool own_network_enter(void)
{
    struct ifreq lo = {.ifr_name = "lo"};
    bool up = false;

    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        return false;
    }
    lo.ifr_flags = IFF_UP;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        up = ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
        (void)close(fd);
    }
    return up;
}

#endif
