/* What every shell of a core needs from its loop. */
#include "lib/loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/clock.h"

enum {
    CLOCK_TRUSTED_FROM_S = 1704067200, /* 2024-01-01: before it, the clock was never set */
};

struct bk_now bk_now_sample(void)
{
    struct bk_now now = bk_clock_now();

    if (now.unix_s < CLOCK_TRUSTED_FROM_S) {
        now.unix_s = 0;
    }
    return now;
}

void bk_timer_follow(struct event *timer, const struct bk_now *now, bk_time deadline)
{
    uint64_t left;
    struct timeval tv;

    if (deadline == BK_TIME_NEVER) {
        evtimer_del(timer);
        return;
    }
    left = bk_time_left(now->mono, deadline) + BK_MS - 1; /* never early */
    tv.tv_sec = (time_t)(left / BK_SECOND);
    tv.tv_usec = (suseconds_t)(left % BK_SECOND / 1000);
    evtimer_add(timer, &tv);
}

static void on_stop(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    event_base_loopbreak(ctx);
}

enum bk_err bk_stop_init(struct bk_stop *stop, struct event_base *base)
{
    stop->event = NULL;
    stop->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop->fd < 0) {
        return BK_E_IO;
    }
    stop->event = event_new(base, stop->fd, EV_READ | EV_PERSIST, on_stop, base);
    if (stop->event == NULL || event_add(stop->event, NULL) != 0) {
        bk_stop_fini(stop);
        return BK_E_NOMEM;
    }
    return BK_OK;
}

void bk_stop_raise(const struct bk_stop *stop)
{
    uint64_t one = 1;
    ssize_t n = write(stop->fd, &one, sizeof one);

    (void)n; /* full means raised already */
}

bool bk_stop_raised(const struct bk_stop *stop)
{
    struct pollfd p = {.fd = stop->fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

void bk_stop_fini(struct bk_stop *stop)
{
    if (stop->event != NULL) {
        event_free(stop->event);
        stop->event = NULL;
    }
    if (stop->fd >= 0) {
        close(stop->fd);
        stop->fd = -1;
    }
}
