/* The negotiation: greeting, choice, request. Reads exactly what belongs to it, so that what follows is the stream's. */
#include "lib/socks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event_struct.h>

#include "net/clock.h"

enum {
    VERSION = 5,
    METHOD_NONE = 0,
    METHOD_REFUSED = 0xFF,
    COMMAND_CONNECT = 1,
    TYPE_IPV4 = 1,
    TYPE_NAME = 3,
    TYPE_IPV6 = 4,
    GREETING_HEAD = 2, /* version, number of methods */
    REQUEST_HEAD =
        5, /* version, command, reserved, type, and a name's length or an address's first byte */
    PORT_BYTES = 2,
    BUFFER_BYTES = REQUEST_HEAD + 255 + PORT_BYTES,
};

struct bk_socks {
    int fd;
    struct event readable, timer;
    bk_socks_fn *done;
    void *ctx;
    bool greeted;
    size_t n, want; /* bytes here, and to be there before the next step */
    uint8_t buf[BUFFER_BYTES];
};

void bk_socks_answer(int fd, enum bk_socks_reply reply)
{
    const uint8_t bytes[] = {VERSION, (uint8_t)reply, 0, TYPE_IPV4, 0, 0, 0, 0, 0, 0};

    (void)!send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
}

static void stop(struct bk_socks *s)
{
    (void)event_del(&s->readable);
    (void)event_del(&s->timer);
}

static void finish(struct bk_socks *s, int fd, const char *service)
{
    stop(s);
    if (fd < 0) {
        close(s->fd);
    }
    s->done(s->ctx, s, fd, service);
    free(s);
}

static void refuse(struct bk_socks *s, enum bk_socks_reply reply)
{
    bk_socks_answer(s->fd, reply);
    (void)shutdown(s->fd, SHUT_WR);
    finish(s, -1, "");
}

/* The greeting is whole: version, count, methods. */
static void greet(struct bk_socks *s)
{
    const uint8_t *none = memchr(s->buf + GREETING_HEAD, METHOD_NONE, s->buf[1]);
    const uint8_t choice[] = {VERSION, none != NULL ? METHOD_NONE : METHOD_REFUSED};

    (void)!send(s->fd, choice, sizeof choice, MSG_NOSIGNAL);
    if (none == NULL) {
        finish(s, -1, "");
        return;
    }
    s->greeted = true;
    s->n = 0;
    s->want = REQUEST_HEAD;
}

/* The request is whole. */
static void request(struct bk_socks *s)
{
    struct bk_slice name = bk_slice(s->buf + REQUEST_HEAD, s->buf[REQUEST_HEAD - 1]);
    char service[BK_NAME_MAX_BYTES + 1];

    if (s->buf[1] != COMMAND_CONNECT) {
        refuse(s, BK_SOCKS_COMMAND);
    } else if (s->buf[3] != TYPE_NAME) {
        refuse(s, BK_SOCKS_ADDRESS_TYPE);
    } else if (!bk_name_valid(name) || !bk_slice_to_text(name, service, sizeof service)) {
        refuse(s, BK_SOCKS_HOST_UNREACHABLE);
    } else {
        finish(s, s->fd, service);
    }
}

/* What the request's length is, now that its head is here. 0: of no kind that there is. */
static size_t request_bytes(const uint8_t *head)
{
    switch (head[3]) {
    case TYPE_IPV4:
        return REQUEST_HEAD - 1 + 4 + PORT_BYTES;
    case TYPE_IPV6:
        return REQUEST_HEAD - 1 + 16 + PORT_BYTES;
    case TYPE_NAME:
        return (size_t)REQUEST_HEAD + head[4] + PORT_BYTES;
    default:
        return 0;
    }
}

/* `want` bytes are here. */
static void step(struct bk_socks *s)
{
    if (s->buf[0] != VERSION) {
        finish(s, -1, ""); /* another protocol: it would not understand a reply */
    } else if (!s->greeted && s->want == GREETING_HEAD && s->buf[1] > 0) {
        s->want += s->buf[1];
    } else if (!s->greeted) {
        greet(s);
    } else if (s->want == REQUEST_HEAD && request_bytes(s->buf) > REQUEST_HEAD) {
        s->want = request_bytes(s->buf);
    } else if (s->want == REQUEST_HEAD) {
        refuse(s, BK_SOCKS_ADDRESS_TYPE);
    } else {
        request(s);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_socks *s = ctx;
    ssize_t n = read((int)fd, s->buf + s->n, s->want - s->n);

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        finish(s, -1, "");
        return;
    }
    s->n += (size_t)n;
    if (s->n == s->want) {
        step(s); /* s may be gone */
    }
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    finish(ctx, -1, "");
}

enum bk_err bk_socks_new(struct event_base *base, int fd, bk_socks_fn *done, void *ctx,
                         struct bk_socks **out)
{
    struct bk_socks *s = calloc(1, sizeof *s);
    struct timeval limit = bk_timeval_ms(BK_SOCKS_MS);

    *out = NULL;
    if (s == NULL) {
        close(fd);
        return BK_E_NOMEM;
    }
    *s = (struct bk_socks){.fd = fd, .done = done, .ctx = ctx, .want = GREETING_HEAD};
    event_assign(&s->readable, base, fd, EV_READ | EV_PERSIST, on_readable, s);
    evtimer_assign(&s->timer, base, on_timer, s);
    if (event_add(&s->readable, NULL) != 0 || event_add(&s->timer, &limit) != 0) {
        bk_socks_free(s);
        return BK_E_NOMEM;
    }
    *out = s;
    return BK_OK;
}

void bk_socks_free(struct bk_socks *s)
{
    if (s != NULL) {
        stop(s);
        close(s->fd);
        free(s);
    }
}
