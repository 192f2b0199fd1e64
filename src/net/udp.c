/* A UDP socket in batches. Buffers are made once; nothing is allocated afterwards. */
#include "net/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sockaddr.h"

enum {
    SMALL_BATCH = 4,
};

/* Room for the one control message that we use: the local address of a datagram. */
struct control {
    _Alignas(size_t) uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct slot {
    struct sockaddr_storage addr;
    struct iovec iov;
    struct control control;
    uint8_t bytes[BK_UDP_MAX_BYTES];
};

struct bk_udp {
    int fd;
    int family;
    struct event *readable;
    struct bk_udp_callbacks on;
    unsigned batch;
    bool in_batch;                 /* handing out datagrams: answers are gathered */
    bool freed;                    /* within `received`: go as soon as it returns */
    bool wildcard;                 /* bound to no address: each datagram tells where it came to */
    unsigned way;                  /* of the datagram being handed out */
    unsigned n_ways;               /* 1 at least: number 0 stands for the kernel's choice */
    uint8_t ways[BK_UDP_WAYS][16]; /* local addresses, as struct bk_addr has them */
    unsigned n_out;
    struct slot *in, *out;                /* `batch` each */
    struct mmsghdr *in_heads, *out_heads; /* likewise */
};

static void prepare(struct mmsghdr *heads, struct slot *slots, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        slots[i].iov.iov_base = slots[i].bytes;
        slots[i].iov.iov_len = sizeof slots[i].bytes;
        heads[i].msg_hdr.msg_name = &slots[i].addr;
        heads[i].msg_hdr.msg_namelen = sizeof slots[i].addr;
        heads[i].msg_hdr.msg_iov = &slots[i].iov;
        heads[i].msg_hdr.msg_iovlen = 1;
    }
}

static void flush(struct bk_udp *udp)
{
    unsigned sent = 0;
    while (sent < udp->n_out) {
        int n = sendmmsg(udp->fd, udp->out_heads + sent, udp->n_out - sent, MSG_DONTWAIT);
        if (n > 0) {
            sent += (unsigned)n;
        } else if (errno != EINTR) {
            if (errno == EAGAIN) {
                break; /* the send buffer is full: UDP may lose */
            }
            sent++; /* this one cannot go; the others may */
        }
    }
    udp->n_out = 0;
}

/* ---- Local addresses ---- */

static bool hear_local_address(int fd, int family)
{
    static const int on = 1;
    return family == AF_INET6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0
                              : setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0;
}

/* Where a datagram came to; false if that is not told. */
static bool came_to(struct msghdr *head, uint8_t ip[16])
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(head);
    if (c == NULL) {
        return false;
    }
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(c), sizeof info);
        memcpy(ip, &info.ipi6_addr, 16);
        return true;
    }
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;
        struct bk_addr a = bk_addr_v4(0, 0, 0, 0, 0);
        memcpy(&info, CMSG_DATA(c), sizeof info);
        memcpy(a.ip + 12, &info.ipi_spec_dst, 4);
        memcpy(ip, a.ip, 16);
        return true;
    }
    return false;
}

/* The number of a local address, a new one if need be. */
static unsigned number_of(struct bk_udp *udp, const uint8_t ip[16])
{
    for (unsigned i = 1; i < udp->n_ways; i++) {
        if (memcmp(udp->ways[i], ip, sizeof udp->ways[i]) == 0) {
            return i;
        }
    }
    if (udp->n_ways == BK_UDP_WAYS) {
        return 0;
    }
    memcpy(udp->ways[udp->n_ways], ip, sizeof udp->ways[0]);
    return udp->n_ways++;
}

/* Only addresses of this host can be seen here. */
static unsigned way_of(struct bk_udp *udp, struct msghdr *head)
{
    struct bk_addr a = {.port = 0};
    if (!udp->wildcard || !came_to(head, a.ip)) {
        return 0;
    }
    enum bk_addr_scope scope = bk_addr_scope(&a);
    if (scope == BK_SCOPE_MULTICAST || scope == BK_SCOPE_LINK_LOCAL) {
        return 0; /* nothing can leave from the one, and from the other not without its interface */
    }
    return number_of(udp, a.ip);
}

unsigned bk_udp_same_way(struct bk_udp *udp, const struct bk_udp *other, unsigned way)
{
    bool known = udp->wildcard && way > 0 && way < other->n_ways;
    return known ? number_of(udp, other->ways[way]) : 0;
}

/* Makes a datagram leave from the address of that way. */
static void leave_by(const struct bk_udp *udp, unsigned way, struct msghdr *head,
                     struct control *control)
{
    head->msg_control = NULL;
    head->msg_controllen = 0;
    if (way == 0 || way >= udp->n_ways) {
        return;
    }
    memset(control, 0, sizeof *control);
    head->msg_control = control->bytes;
    head->msg_controllen = sizeof control->bytes;
    struct cmsghdr *c = CMSG_FIRSTHDR(head);
    if (udp->family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_ifindex = 0};
        memcpy(&info.ipi6_addr, udp->ways[way], 16);
        c->cmsg_level = IPPROTO_IPV6;
        c->cmsg_type = IPV6_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        head->msg_controllen = CMSG_SPACE(sizeof info);
    } else {
        struct in_pktinfo info = {.ipi_ifindex = 0};
        memcpy(&info.ipi_spec_dst, udp->ways[way] + 12, 4);
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        head->msg_controllen = CMSG_SPACE(sizeof info);
    }
}

unsigned bk_udp_way(const struct bk_udp *udp)
{
    return udp->way;
}

/* ---- Sending ---- */

static bool send_now(const struct bk_udp *udp, unsigned way, struct sockaddr_storage *to,
                     socklen_t len, struct bk_slice bytes)
{
    /* An iovec takes no const, but sending only reads. */
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.p, .iov_len = bytes.n};
    struct msghdr head = {.msg_name = to, .msg_namelen = len, .msg_iov = &iov, .msg_iovlen = 1};
    struct control control;
    leave_by(udp, way, &head, &control);
    ssize_t n;
    do {
        n = sendmsg(udp->fd, &head, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}

bool bk_udp_send(struct bk_udp *udp, const struct bk_addr *to, struct bk_slice bytes)
{
    return bk_udp_send_by(udp, 0, to, bytes);
}

bool bk_udp_send_by(struct bk_udp *udp, unsigned way, const struct bk_addr *to,
                    struct bk_slice bytes)
{
    struct sockaddr_storage ss;
    socklen_t len = 0;
    if (udp->freed || bytes.n > BK_UDP_MAX_BYTES ||
        bk_sockaddr_write(to, udp->family, &ss, &len) != BK_OK) {
        return false;
    }
    if (!udp->in_batch) {
        return send_now(udp, way, &ss, len, bytes);
    }
    if (udp->n_out == udp->batch) {
        flush(udp);
    }
    struct slot *slot = &udp->out[udp->n_out];
    memcpy(slot->bytes, bytes.p, bytes.n);
    slot->iov.iov_len = bytes.n;
    slot->addr = ss;
    udp->out_heads[udp->n_out].msg_hdr.msg_namelen = len;
    leave_by(udp, way, &udp->out_heads[udp->n_out].msg_hdr, &slot->control);
    udp->n_out++;
    return true;
}

static void destroy(struct bk_udp *udp)
{
    if (udp->readable != NULL) {
        event_free(udp->readable);
    }
    if (udp->fd >= 0) {
        close(udp->fd);
    }
    free(udp->in);
    free(udp->out);
    free(udp->in_heads);
    free(udp->out_heads);
    free(udp);
}

static void hand_out(struct bk_udp *udp, unsigned n)
{
    udp->in_batch = true;
    for (unsigned i = 0; i < n && !udp->freed; i++) {
        struct bk_addr from;
        struct mmsghdr *head = &udp->in_heads[i];
        if ((head->msg_hdr.msg_flags & MSG_TRUNC) != 0 ||
            bk_sockaddr_read((const struct sockaddr *)&udp->in[i].addr, &from) != BK_OK) {
            continue;
        }
        udp->way = way_of(udp, &head->msg_hdr);
        udp->on.received(udp->on.ctx, &from, bk_slice(udp->in[i].bytes, head->msg_len));
    }
    if (!udp->freed && udp->on.batch_end != NULL) {
        udp->on.batch_end(udp->on.ctx);
    }
    udp->in_batch = false;
    flush(udp);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct bk_udp *udp = ctx;
    /* One batch a turn: timers and other sockets come in between. */
    for (unsigned i = 0; i < udp->batch; i++) {
        struct msghdr *head = &udp->in_heads[i].msg_hdr;
        head->msg_namelen = sizeof udp->in[i].addr;
        head->msg_control = udp->wildcard ? udp->in[i].control.bytes : NULL;
        head->msg_controllen = udp->wildcard ? sizeof udp->in[i].control.bytes : 0;
    }
    int n = recvmmsg(fd, udp->in_heads, udp->batch, MSG_DONTWAIT, NULL);
    if (n > 0) {
        hand_out(udp, (unsigned)n);
    }
    if (udp->freed) {
        destroy(udp);
    }
}

enum bk_err bk_udp_new(struct event_base *base, const struct bk_addr *bind_to, bool reuse_port,
                       bool small, const struct bk_udp_callbacks *on, struct bk_udp **out)
{
    *out = NULL;
    struct bk_udp *udp = calloc(1, sizeof *udp);
    if (udp == NULL) {
        return BK_E_NOMEM;
    }
    udp->fd = -1;
    udp->on = *on;
    udp->n_ways = 1;
    udp->batch = small ? SMALL_BATCH : BK_UDP_BATCH;
    udp->in = calloc(udp->batch, sizeof *udp->in);
    udp->out = calloc(udp->batch, sizeof *udp->out);
    udp->in_heads = calloc(udp->batch, sizeof *udp->in_heads);
    udp->out_heads = calloc(udp->batch, sizeof *udp->out_heads);
    enum bk_err err = BK_E_NOMEM;
    if (udp->in == NULL || udp->out == NULL || udp->in_heads == NULL || udp->out_heads == NULL) {
        goto fail;
    }
    prepare(udp->in_heads, udp->in, udp->batch);
    prepare(udp->out_heads, udp->out, udp->batch);
    err = bk_socket_bind(SOCK_DGRAM, bind_to, reuse_port, &udp->fd, &udp->family);
    if (err != BK_OK) {
        goto fail;
    }
    if (!small && bk_addr_scope(bind_to) == BK_SCOPE_UNSPECIFIED) {
        udp->wildcard = hear_local_address(udp->fd, udp->family);
    }
    if (!small) {
        static const int buffer = BK_UDP_BUFFER_BYTES;
        (void)setsockopt(udp->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        /* Beyond the system's limit, for those who may. */
        (void)setsockopt(udp->fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    }
    udp->readable = event_new(base, udp->fd, EV_READ | EV_PERSIST, on_readable, udp);
    if (udp->readable == NULL || event_add(udp->readable, NULL) != 0) {
        err = BK_E_NOMEM;
        goto fail;
    }
    *out = udp;
    return BK_OK;
fail:;
    int saved = errno;
    destroy(udp);
    errno = saved;
    return err;
}

void bk_udp_free(struct bk_udp *udp)
{
    if (udp == NULL) {
        return;
    }
    if (udp->in_batch) {
        udp->freed = true;
    } else {
        destroy(udp);
    }
}

struct bk_addr bk_udp_local(const struct bk_udp *udp)
{
    return bk_sockaddr_local(udp->fd);
}
