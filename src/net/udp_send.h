/* Sending datagrams by a socket, for net/udp.c and net/udp_worker.c. Never waits: what the socket does not take is lost, as
 * UDP may lose. Any thread. */
#ifndef BK_NET_UDP_SEND_H
#define BK_NET_UDP_SEND_H

#include "base/addr.h"
#include "net/ways.h"

struct mmsghdr; /* <sys/socket.h> */

/* All of them that can go, in as few system calls as that takes. */
void bk_udp_send_heads(int fd, struct mmsghdr *heads, unsigned n);

/* One, from the address of that way (net/ways.h; 0: the kernel chooses). False: it could not be sent. */
bool bk_udp_send_one(int fd, int family, const struct bk_ways *ways, unsigned way,
                     const struct bk_addr *to, struct bk_slice bytes);

#endif
