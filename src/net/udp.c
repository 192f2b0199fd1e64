/* A UDP socket in batches. Buffers are made once; nothing is allocated afterwards. */
#include "net/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sockaddr.h"
#include "net/udp_send.h"

enum {
    SMALL_BATCH = 4,
};

struct slot {
    struct sockaddr_storage addr;
    struct iovec iov;
    struct bk_ways_control control;
    uint8_t bytes[BK_UDP_MAX_BYTES];
};

struct bk_udp {
    int fd;
    int family;
    struct event *readable;
    struct bk_udp_callbacks on;
    unsigned batch;
    bool in_batch;             /* handing out datagrams: answers are gathered */
    bool freed;                /* within `received`: go as soon as it returns */
    bool wildcard;             /* bound to no address: each datagram tells where it came to */
    unsigned way;              /* of the datagram being handed out */
    struct bk_ways own, *ways; /* local addresses; `ways` is `own` unless they are shared */
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
    bk_udp_send_heads(udp->fd, udp->out_heads, udp->n_out);
    udp->n_out = 0;
}

unsigned bk_udp_way(const struct bk_udp *udp)
{
    return udp->way;
}

/* ---- Sending ---- */

bool bk_udp_send_at_once(const struct bk_udp *udp, unsigned way, const struct bk_addr *to,
                         struct bk_slice bytes)
{
    return bytes.n <= BK_UDP_MAX_BYTES &&
           bk_udp_send_one(udp->fd, udp->family, udp->ways, way, to, bytes);
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
    if (udp->freed) {
        return false;
    }
    if (!udp->in_batch) {
        return bk_udp_send_at_once(udp, way, to, bytes);
    }
    if (bytes.n > BK_UDP_MAX_BYTES || bk_sockaddr_write(to, udp->family, &ss, &len) != BK_OK) {
        return false;
    }
    if (udp->n_out == udp->batch) {
        flush(udp);
    }
    struct slot *slot = &udp->out[udp->n_out];
    memcpy(slot->bytes, bytes.p, bytes.n);
    slot->iov.iov_len = bytes.n;
    slot->addr = ss;
    udp->out_heads[udp->n_out].msg_hdr.msg_namelen = len;
    bk_ways_leave(udp->ways, way, udp->family, &udp->out_heads[udp->n_out].msg_hdr, &slot->control);
    udp->n_out++;
    return true;
}

void bk_udp_share_ways(struct bk_udp *udp, struct bk_ways *ways)
{
    udp->ways = ways;
}

static void destroy(struct bk_udp *udp)
{
    if (udp->readable != NULL) {
        event_free(udp->readable);
    }
    if (udp->fd >= 0) {
        close(udp->fd);
    }
    bk_ways_fini(&udp->own);
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
        udp->way = udp->wildcard ? bk_ways_arrived(udp->ways, &head->msg_hdr) : 0;
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
    bk_ways_init(&udp->own);
    udp->ways = &udp->own;
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
        udp->wildcard = bk_ways_hear(udp->fd, udp->family);
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
