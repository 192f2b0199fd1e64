/* The service that a caller has named in his request, connected to while TLS with him is under way: his first stream then
 * waits for nothing, and what the service says first leaves with the stream's answer. Once for a call.
 * Invariant: `fd` is open only when no connecting is under way; a taker waits only while it is. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/loop.h"
#include "lib/serve_private.h"
#include "net/clock.h"

struct bk_serve_prepared {
    struct bk_serve *serve;
    const struct bk_service *service;
    struct bk_target *target; /* NULL: it has answered */
    int fd;
    struct event *patience;
    struct bk_serve_joining *taker;
};

void bk_serve_drop_prepared(struct bk_serve *serve)
{
    struct bk_serve_prepared *p = serve->prepared;

    if (p == NULL) {
        return;
    }
    serve->prepared = NULL;
    bk_target_cancel(p->target);
    if (p->fd >= 0) {
        close(p->fd);
    }
    if (p->patience != NULL) {
        event_free(p->patience);
    }
    free(p);
}

static void on_patience_over(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_serve_prepared *p = ctx;

    (void)fd;
    (void)what;
    if (p->taker == NULL) {
        bk_serve_drop_prepared(p->serve);
    }
}

/* Where it failed and nobody waits, the stream that comes tries for itself. */
static void on_target(void *ctx, int fd, int why)
{
    struct bk_serve_prepared *p = ctx;
    struct bk_serve_joining *taker = p->taker;

    p->target = NULL;
    if (taker != NULL) {
        bk_serve_drop_prepared(p->serve);
        bk_serve_joined(taker, fd, why);
    } else if (fd < 0) {
        bk_serve_drop_prepared(p->serve);
    } else {
        p->fd = fd;
    }
}

void bk_serve_prepare(struct bk_serve *serve, const char *service)
{
    const struct timeval patience = bk_timeval_ms(BK_SERVE_PREPARED_MS);
    const struct bk_service *named =
        serve->prepared_once ? NULL : bk_serve_permitted(serve, bk_slice_text(service), false);
    struct bk_serve_prepared *p = named == NULL ? NULL : calloc(1, sizeof *p);

    if (p == NULL) {
        return;
    }
    *p = (struct bk_serve_prepared){.serve = serve, .service = named, .fd = -1};
    serve->prepared_once = true;
    serve->prepared = p;
    p->patience = evtimer_new(serve->base, on_patience_over, p);
    if (p->patience == NULL || evtimer_add(p->patience, &patience) != 0 ||
        bk_target_connect(serve->base, serve->resolver, named, on_target, p, &p->target) != BK_OK) {
        p->target = NULL;
        bk_serve_drop_prepared(serve);
    }
}

/* The service may have hung up meanwhile, without a word. */
static bool still_there(int fd)
{
    char first;
    ssize_t n = recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

bool bk_serve_take_prepared(struct bk_serve_joining *j, int *fd)
{
    struct bk_serve_prepared *p = j->serve->prepared;

    *fd = -1;
    if (p == NULL || p->service != j->service || p->taker != NULL) {
        return false;
    }
    if (p->target != NULL) {
        p->taker = j;
        return true;
    }
    if (still_there(p->fd)) {
        *fd = p->fd;
        p->fd = -1;
    }
    bk_serve_drop_prepared(j->serve);
    return *fd >= 0;
}

void bk_serve_leave_prepared(struct bk_serve_joining *j)
{
    struct bk_serve_prepared *p = j->serve->prepared;

    if (p != NULL && p->taker == j) {
        p->taker = NULL;
    }
}
