/* The ways by which datagrams come to a socket that is bound to no address: numbers for the addresses of this host
 * that it is reached at. All sockets of one port share one table, whatever their threads: it only grows, and what
 * is in it never changes, so it is read without a lock. */
#ifndef BK_NET_WAYS_H
#define BK_NET_WAYS_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "base/addr.h"

enum {
    BK_UDP_WAYS = 32, /* numbers are below this; 0 stands for the kernel's choice */
};

struct bk_ways {
    pthread_mutex_t adding;
    atomic_uint n; /* 1 at least */
    uint8_t at[BK_UDP_WAYS][16];
};

/* Room for the one control message that we use: the local address of a datagram. */
struct bk_ways_control {
    _Alignas(size_t) uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

void bk_ways_init(struct bk_ways *ways);
void bk_ways_fini(struct bk_ways *ways);

/* Has each datagram of that socket tell where it came to. */
bool bk_ways_hear(int fd, int family);

/* The number of the address that this datagram came to, a new one if need be; 0 if that is not told, if nothing can
 * leave from there, or if too many were seen. Any thread. */
unsigned bk_ways_arrived(struct bk_ways *ways, struct msghdr *head);

/* Makes a datagram leave from the address of that way; `control` must live until it is sent. Any thread. */
void bk_ways_leave(const struct bk_ways *ways, unsigned way, int family, struct msghdr *head,
                   struct bk_ways_control *control);

#endif
