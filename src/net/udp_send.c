/* Datagrams out. Keeps nothing. */
#include "net/udp_send.h"

#include <errno.h>
#include <sys/socket.h>

#include "net/sockaddr.h"

void bk_udp_send_heads(int fd, struct mmsghdr *heads, unsigned n)
{
    unsigned sent = 0;

    while (sent < n) {
        int done = sendmmsg(fd, heads + sent, n - sent, MSG_DONTWAIT);
        if (done > 0) {
            sent += (unsigned)done;
        } else if (errno == EAGAIN) {
            return; /* the send buffer is full */
        } else if (errno != EINTR) {
            sent++; /* this one cannot go; the others may */
        }
    }
}

bool bk_udp_send_one(int fd, int family, const struct bk_ways *ways, unsigned way,
                     const struct bk_addr *to, struct bk_slice bytes)
{
    struct sockaddr_storage ss;
    /* An iovec takes no const, but sending only reads. */
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.p, .iov_len = bytes.n};
    struct msghdr head = {.msg_name = &ss, .msg_iov = &iov, .msg_iovlen = 1};
    struct bk_ways_control control;
    ssize_t n;

    if (bk_sockaddr_write(to, family, &ss, &head.msg_namelen) != BK_OK) {
        return false;
    }
    bk_ways_leave(ways, way, family, &head, &control);
    do {
        n = sendmsg(fd, &head, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}
