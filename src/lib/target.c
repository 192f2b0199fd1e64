/* Connecting to a service on the device's side, one address after the other. Tells once, from the loop. */
#include "lib/target.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/loop.h"
#include "net/sockaddr.h"

enum {
    ADDRS_MAX = 4, /* of a name: "localhost" has two, and the service may listen on one */
};

struct bk_target {
    struct event_base *base;
    bk_target_fn done;
    void *ctx;
    struct bk_resolve *question;
    struct bk_addr addrs[ADDRS_MAX]; /* tried in turn */
    size_t n_addrs, next_addr;
    int fd;
    struct event *event;
    bk_time deadline;
    int failed; /* errno that on_ready reports; 0: ask the socket */
};

static void release(struct bk_target *t)
{
    if (t->event != NULL) {
        event_free(t->event);
    }
    if (t->question != NULL) {
        bk_resolve_cancel(t->question);
    }
    if (t->fd >= 0) {
        close(t->fd);
    }
    free(t);
}

static bool try_next(struct bk_target *t);

/* Connected, refused, timed out, or `failed` was set before: the one place that tells. */
static void on_ready(evutil_socket_t unused, short what, void *ctx)
{
    struct bk_target *t = ctx;
    socklen_t n = sizeof t->failed;
    bk_target_fn done = t->done;
    void *done_ctx = t->ctx;
    int fd = t->fd;
    int why;

    (void)unused;
    if (t->failed == 0 && (what & EV_TIMEOUT) != 0) {
        t->failed = ETIMEDOUT;
    } else if (t->failed == 0) {
        (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &t->failed, &n);
    }
    if (t->failed != 0 && t->failed != ETIMEDOUT && try_next(t)) {
        return;
    }
    why = t->failed;
    if (why == 0) {
        t->fd = -1;
    }
    release(t);
    done(done_ctx, why == 0 ? fd : -1, why);
}

static enum bk_err await(struct bk_target *t)
{
    bool failed = t->failed != 0;
    uint64_t left = failed ? 0 : bk_time_left(bk_now_sample().mono, t->deadline);
    struct timeval limit = {.tv_sec = (time_t)(left / BK_SECOND),
                            .tv_usec = (suseconds_t)(left % BK_SECOND / 1000)};

    t->event = event_new(t->base, failed ? -1 : t->fd, failed ? 0 : EV_WRITE, on_ready, t);
    if (t->event == NULL) {
        return BK_E_NOMEM;
    }
    return event_add(t->event, &limit) == 0 ? BK_OK : BK_E_NOMEM;
}

static void begin(struct bk_target *t, const struct sockaddr *sa, socklen_t len)
{
    int one = 1;

    t->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0) {
        t->failed = errno;
        return;
    }
    if (sa->sa_family != AF_UNIX) {
        (void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (connect(t->fd, sa, len) != 0 && errno != EINPROGRESS) {
        t->failed = errno;
    }
}

static void begin_unix(struct bk_target *t, const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    memcpy(un.sun_path, path, strnlen(path, sizeof un.sun_path - 1));
    begin(t, (const struct sockaddr *)&un, sizeof un);
}

/* Begins with the next address; false when there is none. */
static bool try_next(struct bk_target *t)
{
    const struct bk_addr *addr = &t->addrs[t->next_addr];
    struct sockaddr_storage sa;
    socklen_t len;

    if (t->next_addr == t->n_addrs) {
        return false;
    }
    t->next_addr++;
    if (t->event != NULL) {
        event_free(t->event);
        t->event = NULL;
    }
    if (t->fd >= 0) {
        close(t->fd);
        t->fd = -1;
    }
    t->failed = 0;
    if (bk_sockaddr_write(addr, bk_sockaddr_family(addr), &sa, &len) != BK_OK) {
        t->failed = EAFNOSUPPORT;
    } else {
        begin(t, (const struct sockaddr *)&sa, len);
    }
    if (await(t) != BK_OK) {
        t->failed = ENOMEM;
        return false;
    }
    return true;
}

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct bk_target *t = ctx;

    (void)text;
    t->question = NULL;
    t->n_addrs = err != BK_OK ? 0 : n < ADDRS_MAX ? n : ADDRS_MAX;
    for (size_t i = 0; i < t->n_addrs; i++) {
        t->addrs[i] = addrs[i];
    }
    t->failed = EHOSTUNREACH; /* unless an address says otherwise */
    on_ready(-1, 0, t);
}

enum bk_err bk_target_connect(struct event_base *base, struct bk_resolver *resolver,
                              const struct bk_service *service, bk_target_fn done, void *ctx,
                              struct bk_target **out)
{
    struct bk_target *t = calloc(1, sizeof *t);
    enum bk_err err;

    if (t == NULL) {
        return BK_E_NOMEM;
    }
    *t = (struct bk_target){.base = base, .done = done, .ctx = ctx, .fd = -1};
    t->deadline = bk_time_add(bk_now_sample().mono, BK_TARGET_MS * BK_MS);
    if (service->kind == BK_TARGET_UNIX) {
        begin_unix(t, service->host);
        err = await(t);
    } else {
        err =
            bk_resolve_start(resolver, service->host, service->port, on_resolved, t, &t->question);
    }
    if (err != BK_OK) {
        release(t);
        return err;
    }
    *out = t;
    return BK_OK;
}

void bk_target_cancel(struct bk_target *t)
{
    if (t != NULL) {
        release(t);
    }
}
