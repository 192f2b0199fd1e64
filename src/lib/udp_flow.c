/* Capsules over a socket pair, whose other end is the stream's. Invariant: what is in `out` is the rest of one capsule that
 * was begun; nothing else is put on the stream before it. */
#include "lib/udp_flow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <event2/event_struct.h>

enum {
    READ_BYTES = 64 * 1024,
};

static const char path_head[] = "/.well-known/masque/udp/";
static const char path_tail[] = "/1/";

struct bk_udp_flow {
    struct bk_udp_flow_callbacks on;
    int fd;
    struct event readable, writable;
    bool telling, freed; /* freed while telling of a datagram: it goes after that */
    size_t out_at, out_n;
    uint8_t out[BK_CAPSULE_HEAD_BYTES + BK_CAPSULE_UDP_MAX_BYTES];
    struct bk_capsules in;
    uint8_t buf[READ_BYTES];
};

void bk_udp_path(const char *service, char out[BK_UDP_PATH_BYTES])
{
    (void)snprintf(out, BK_UDP_PATH_BYTES, "%s%s%s", path_head, service, path_tail);
}

struct bk_slice bk_udp_path_name(const char *path)
{
    size_t n = strlen(path), head = sizeof path_head - 1, tail = sizeof path_tail - 1;

    if (n <= head + tail || memcmp(path, path_head, head) != 0 ||
        memcmp(path + n - tail, path_tail, tail) != 0) {
        return BK_SLICE_EMPTY;
    }
    return bk_slice(path + head, n - head - tail);
}

static void end(struct bk_udp_flow *f)
{
    (void)event_del(&f->readable);
    (void)event_del(&f->writable);
    f->on.ended(f->on.ctx); /* f may be gone */
}

static void destroy(struct bk_udp_flow *f)
{
    (void)event_del(&f->readable);
    (void)event_del(&f->writable);
    close(f->fd);
    free(f);
}

/* Hands out what has come; f may be gone afterwards. */
static void hand_out(struct bk_udp_flow *f, struct bk_slice bytes)
{
    struct bk_slice payload;
    enum bk_err err = BK_OK;

    f->telling = true;
    while (!f->freed && bk_capsules_take(&f->in, &bytes, &payload, &err)) {
        f->on.datagram(f->on.ctx, payload);
    }
    f->telling = false;
    if (f->freed) {
        destroy(f);
    } else if (err != BK_OK) {
        end(f);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_udp_flow *f = ctx;
    ssize_t n = read((int)fd, f->buf, sizeof f->buf);

    (void)what;
    if (n > 0) {
        hand_out(f, bk_slice(f->buf, (size_t)n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        end(f);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_udp_flow *f = ctx;
    ssize_t n = send((int)fd, f->out + f->out_at, f->out_n - f->out_at, MSG_NOSIGNAL);

    (void)what;
    if (n > 0) {
        f->out_at += (size_t)n;
    }
    if (f->out_at < f->out_n && (n > 0 || errno == EAGAIN || errno == EINTR)) {
        (void)event_add(&f->writable, NULL);
        return;
    }
    f->out_at = f->out_n = 0; /* on an error the reading side will hear of it */
}

/* The rest of a capsule waits for room. */
static void keep(struct bk_udp_flow *f, const struct iovec parts[2], size_t sent)
{
    for (size_t i = 0; i < 2; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;

        sent -= skip;
        memcpy(f->out + f->out_n, (const uint8_t *)parts[i].iov_base + skip,
               parts[i].iov_len - skip);
        f->out_n += parts[i].iov_len - skip;
    }
    (void)event_add(&f->writable, NULL);
}

void bk_udp_flow_send(struct bk_udp_flow *f, struct bk_slice payload)
{
    uint8_t head[BK_CAPSULE_HEAD_BYTES];
    struct iovec parts[2] = {{.iov_base = head},
                             {.iov_base = (void *)(uintptr_t)payload.p, .iov_len = payload.n}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = payload.n > 0 ? 2 : 1};
    ssize_t n;

    if (f->out_n > 0 || payload.n > BK_CAPSULE_UDP_MAX_BYTES) {
        return;
    }
    parts[0].iov_len = bk_capsule_head(payload.n, head);
    n = sendmsg(f->fd, &message, MSG_NOSIGNAL);
    if (n > 0 && (size_t)n < parts[0].iov_len + parts[1].iov_len) {
        keep(f, parts, (size_t)n);
    }
}

enum bk_err bk_udp_flow_new(struct event_base *base, const struct bk_udp_flow_callbacks *on,
                            int *fd, struct bk_udp_flow **out)
{
    struct bk_udp_flow *f = calloc(1, sizeof *f);
    int ends[2];

    *out = NULL;
    if (f == NULL) {
        return BK_E_NOMEM;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        free(f);
        return BK_E_IO;
    }
    f->on = *on;
    f->fd = ends[0];
    event_assign(&f->readable, base, f->fd, EV_READ | EV_PERSIST, on_readable, f);
    event_assign(&f->writable, base, f->fd, EV_WRITE, on_writable, f);
    if (event_add(&f->readable, NULL) != 0) {
        close(ends[0]);
        close(ends[1]);
        free(f);
        return BK_E_NOMEM;
    }
    *fd = ends[1];
    *out = f;
    return BK_OK;
}

void bk_udp_flow_free(struct bk_udp_flow *f)
{
    if (f == NULL) {
        return;
    }
    f->freed = true;
    if (!f->telling) {
        destroy(f);
    }
}
