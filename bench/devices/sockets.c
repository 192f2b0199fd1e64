#include "devices/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "devices/kinds.h"

enum {
    FIRST_ADDRESS = 0x7F010000, /* 127.1.0.0 */
    BUFFER_BYTES = 256 << 20,
};

struct control { /* of one datagram */
    _Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
};

struct stamp {
    _Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(struct timespec))];
};

struct sockets {
    struct sockaddr_in to;
    uint32_t sources;
    unsigned n;
    int fd[SOCKETS_MAX];
    struct pollfd poll[SOCKETS_MAX];
    unsigned filled, on; /* the batch being filled, and the socket that it goes by */
    uint64_t sent, came_ns, longest_gap_ns;
    struct mmsghdr out[BATCH], in[BATCH];
    struct iovec out_iov[BATCH], in_iov[BATCH];
    struct control control[BATCH];
    struct stamp stamp[BATCH];
    uint8_t out_bytes[BATCH][DATAGRAM_BYTES];
    uint8_t in_bytes[BATCH][ANSWER_BYTES];
};

static void need(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "devices: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static int open_one(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int buffer = BUFFER_BYTES;
    int on = 1;

    need(fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0, "socket");
    need(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) == 0, "SO_RCVBUFFORCE");
    need(setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) == 0, "SO_SNDBUFFORCE");
    need(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) == 0, "SO_TIMESTAMPNS");
    return fd;
}

struct sockets *sockets_open(const char *address, uint16_t port, unsigned n, uint16_t first_port,
                             uint32_t sources)
{
    struct sockets *s = calloc(1, sizeof *s);

    need(s != NULL && n >= 1 && n <= SOCKETS_MAX && sources >= 1, "sockets");
    s->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    errno = EINVAL;
    need(inet_pton(AF_INET, address, &s->to.sin_addr) == 1, address);
    s->n = n;
    s->sources = sources;
    for (unsigned i = 0; i < n; i++) {
        s->fd[i] = open_one((uint16_t)(first_port + i));
        s->poll[i] = (struct pollfd){.fd = s->fd[i], .events = POLLIN};
    }
    for (unsigned i = 0; i < BATCH; i++) {
        s->out_iov[i].iov_base = s->out_bytes[i];
        s->in_iov[i] = (struct iovec){s->in_bytes[i], ANSWER_BYTES};
        s->in[i].msg_hdr = (struct msghdr){.msg_iov = &s->in_iov[i], .msg_iovlen = 1};
        s->out[i].msg_hdr = (struct msghdr){.msg_name = &s->to,
                                            .msg_namelen = sizeof s->to,
                                            .msg_iov = &s->out_iov[i],
                                            .msg_iovlen = 1,
                                            .msg_control = &s->control[i],
                                            .msg_controllen = sizeof s->control[i]};
        *CMSG_FIRSTHDR(&s->out[i].msg_hdr) =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo)),
                             .cmsg_level = IPPROTO_IP,
                             .cmsg_type = IP_PKTINFO};
    }
    return s;
}

void sockets_flush(struct sockets *s)
{
    unsigned done = 0;

    while (done < s->filled) {
        int n = sendmmsg(s->fd[s->on], s->out + done, s->filled - done, 0);

        if (n < 0 && errno == ECONNREFUSED) { /* of an earlier one: nobody was there */
            continue;
        }
        need(n > 0, "sendmmsg");
        done += (unsigned)n;
    }
    s->sent += s->filled;
    s->filled = 0;
}

uint8_t *sockets_next(struct sockets *s)
{
    if (s->filled == BATCH) {
        sockets_flush(s);
    }
    return s->out_bytes[s->filled];
}

void sockets_put(struct sockets *s, uint32_t sender, size_t n)
{
    unsigned on = sender / s->sources % s->n;
    struct in_pktinfo from = {.ipi_spec_dst = {htonl(FIRST_ADDRESS + sender % s->sources)}};

    if (s->filled > 0 && on != s->on) {
        unsigned last = s->filled;
        sockets_flush(s);
        memcpy(s->out_bytes[0], s->out_bytes[last], n);
    }
    s->on = on;
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&s->out[s->filled].msg_hdr)), &from, sizeof from);
    s->out_iov[s->filled].iov_len = n;
    s->filled++;
}

static void note_gap(struct sockets *s, unsigned k)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(&s->in[k].msg_hdr);
    struct timespec t;
    uint64_t ns;

    if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) {
        return;
    }
    memcpy(&t, CMSG_DATA(c), sizeof t);
    ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    if (s->came_ns != 0 && ns > s->came_ns && ns - s->came_ns > s->longest_gap_ns) {
        s->longest_gap_ns = ns - s->came_ns;
    }
    s->came_ns = ns;
}

uint64_t sockets_longest_gap_ns(struct sockets *s)
{
    uint64_t longest = s->longest_gap_ns;

    s->longest_gap_ns = s->came_ns = 0;
    return longest;
}

void sockets_forgive_gap(struct sockets *s)
{
    s->came_ns = 0;
}

size_t sockets_take(struct sockets *s, void (*take)(void *ctx, const uint8_t *bytes, size_t n),
                    void *ctx)
{
    size_t all = 0;

    for (unsigned i = 0; i < s->n; i++) {
        for (int n = BATCH; n == BATCH; all += n > 0 ? (size_t)n : 0) {
            for (unsigned k = 0; k < BATCH; k++) {
                s->in[k].msg_hdr.msg_control = &s->stamp[k];
                s->in[k].msg_hdr.msg_controllen = sizeof s->stamp[k];
            }
            n = recvmmsg(s->fd[i], s->in, BATCH, MSG_DONTWAIT, NULL);
            for (int k = 0; k < n; k++) {
                note_gap(s, (unsigned)k);
                take(ctx, s->in_bytes[k], s->in[k].msg_len);
            }
        }
    }
    return all;
}

void sockets_wait(const struct sockets *s, unsigned us)
{
    struct pollfd poll[SOCKETS_MAX];
    struct timespec wait = {.tv_nsec = (long)us * 1000};

    memcpy(poll, s->poll, sizeof poll);
    (void)ppoll(poll, s->n, &wait, NULL);
}

uint64_t sockets_sent(const struct sockets *s)
{
    return s->sent;
}
