/* Peeking. Edge-triggered: bytes that are left lying must not wake us again, only further ones, or the end. */
#include "net/first_bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <event2/event_struct.h>

#include "net/clock.h"
#include "net/conn_private.h"

enum {
    STUN_FIRST_BYTE_MAX = 3, /* RFC 7983 */
    LEFT_MIN_MS = 100,
};

struct bk_first_bytes {
    int fd;
    bk_time until;
    bk_first_bytes_fn *done;
    void *ctx;
    struct event readable, late;
};

static void tell(struct bk_first_bytes *f, enum bk_first_kind kind, const char *name)
{
    uint64_t left_ms = bk_time_left(bk_clock_mono(), f->until) / BK_MS;
    bk_first_bytes_fn *done = f->done;
    void *ctx = f->ctx;
    bk_first_bytes_free(f);
    done(ctx, kind, name, (uint32_t)(left_ms < LEFT_MIN_MS ? LEFT_MIN_MS : left_ms));
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_first_bytes *f = ctx;
    uint8_t got[BK_CLIENT_HELLO_MAX_BYTES];
    char name[BK_CLIENT_HELLO_NAME_BYTES];
    ssize_t n = recv(fd, got, sizeof got, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        tell(f, BK_FIRST_NOTHING, "");
    } else if (got[0] <= STUN_FIRST_BYTE_MAX) {
        tell(f, BK_FIRST_PLAIN, "");
    } else if (bk_client_hello_name(bk_slice(got, (size_t)n), name) != BK_E_TRUNCATED) {
        tell(f, BK_FIRST_TLS, name);
    } else if ((what & EV_CLOSED) != 0) { /* the rest does not come any more */
        tell(f, BK_FIRST_NOTHING, "");
    }
}

static void on_late(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    tell(ctx, BK_FIRST_NOTHING, "");
}

enum bk_err bk_first_bytes_new(struct event_base *base, int fd, uint32_t open_ms,
                               bk_first_bytes_fn *done, void *ctx, struct bk_first_bytes **out)
{
    struct bk_first_bytes *f = calloc(1, sizeof *f);
    *out = f;
    if (f == NULL) {
        return BK_E_NOMEM;
    }
    f->fd = fd;
    f->until = bk_time_add(bk_clock_mono(), open_ms * BK_MS);
    f->done = done;
    f->ctx = ctx;
    event_assign(&f->readable, base, fd, EV_READ | EV_CLOSED | EV_PERSIST | EV_ET, on_readable, f);
    evtimer_assign(&f->late, base, on_late, f);
    (void)event_add(&f->readable, NULL);
    bk_conn_arm(&f->late, open_ms);
    return BK_OK;
}

void bk_first_bytes_free(struct bk_first_bytes *f)
{
    if (f == NULL) {
        return;
    }
    (void)event_del(&f->readable);
    (void)event_del(&f->late);
    free(f);
}
