/* The bare limit: datagrams in, the same datagrams out, by recvmmsg and sendmmsg, and nothing else.
 *
 *   echo ADDRESS PORT [BATCH [drop]]
 *
 * IPv4, or IPv6 where the address is one. BATCH datagrams at most at a time (64). "drop" answers none: what receiving
 * alone costs. Says "ready", and runs until it is killed. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    BATCH_MAX = 256,
    BATCH_DEFAULT = 64,
    DATAGRAM_BYTES = 2048,
    BUFFER_BYTES = 4 << 20,
};

struct slot {
    struct iovec iov;
    struct sockaddr_storage from;
    unsigned char bytes[DATAGRAM_BYTES];
};

static struct slot slots[BATCH_MAX];
static struct mmsghdr messages[BATCH_MAX];

static int open_socket(const char *address, unsigned long port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)port)};
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    int buffer = BUFFER_BYTES;
    int fd;

    if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) {
        errno = EINVAL;
        return -1;
    }
    fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer) != 0) {
        return -1;
    }
    if (is_v4) {
        return bind(fd, (const struct sockaddr *)&v4, sizeof v4) == 0 ? fd : -1;
    }
    return bind(fd, (const struct sockaddr *)&v6, sizeof v6) == 0 ? fd : -1;
}

static void prepare(unsigned batch)
{
    for (unsigned i = 0; i < batch; i++) {
        slots[i].iov = (struct iovec){slots[i].bytes, DATAGRAM_BYTES};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &slots[i].from,
                                              .msg_namelen = sizeof slots[i].from,
                                              .msg_iov = &slots[i].iov,
                                              .msg_iovlen = 1};
    }
}

static void serve(int fd, unsigned batch, bool answer)
{
    for (;;) {
        int n = recvmmsg(fd, messages, batch, MSG_WAITFORONE, NULL);
        int sent = 0;

        if (n < 0 && errno != EINTR) {
            perror("echo: recvmmsg");
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            slots[i].iov.iov_len = messages[i].msg_len;
        }
        while (answer && sent < n) {
            int m = sendmmsg(fd, messages + sent, (unsigned)(n - sent), 0);
            sent += m > 0 ? m : 1; /* what cannot be sent is lost, as on any network */
        }
        for (int i = 0; i < n; i++) {
            slots[i].iov.iov_len = DATAGRAM_BYTES;
            messages[i].msg_hdr.msg_namelen = sizeof slots[i].from;
        }
    }
}

int main(int argc, char **argv)
{
    unsigned long batch = argc > 3 ? strtoul(argv[3], NULL, 10) : BATCH_DEFAULT;
    int fd;

    if (argc < 3 || argc > 5 || batch < 1 || batch > BATCH_MAX) {
        fprintf(stderr, "usage: echo ADDRESS PORT [BATCH [drop]]\n");
        return 2;
    }
    fd = open_socket(argv[1], strtoul(argv[2], NULL, 10));
    if (fd < 0) {
        perror("echo: socket");
        return 1;
    }
    prepare((unsigned)batch);
    printf("ready\n");
    fflush(stdout);
    serve(fd, (unsigned)batch, argc < 5);
    return 0;
}
