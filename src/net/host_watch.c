/* Tells when addresses or routes of this host changed, by netlink (rtnetlink(7)). What changed is not told:
 * whoever cares asks again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <event2/event_struct.h>

#include "net/clock.h"
#include "net/host.h"

enum {
    QUIETING_MAX = 8, /* after so many delays in a row it is told all the same */
};

struct bk_host_watch {
    int fd;
    struct event readable, settle;
    unsigned delays;
    void (*changed)(void *ctx);
    void *ctx;
};

static bool concerns(uint16_t type)
{
    return type == RTM_NEWADDR || type == RTM_DELADDR || type == RTM_NEWROUTE ||
           type == RTM_DELROUTE;
}

/* Reads all that waits; true if any of it concerns us. */
static bool drain(int fd)
{
    union {
        struct nlmsghdr head;
        uint8_t bytes[3072];
    } buf;
    bool found = false;
    for (;;) {
        struct sockaddr_nl from;
        socklen_t from_len = sizeof from;
        memset(&from, 0, sizeof from);
        ssize_t n =
            recvfrom(fd, &buf, sizeof buf, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == ENOBUFS) {
            found = true; /* more came than fits: something has changed for sure */
            continue;
        }
        if (n <= 0) {
            return found;
        }
        if (from.nl_pid != 0) {
            continue; /* only the kernel's word counts */
        }
        size_t at = 0;
        while ((size_t)n - at >= sizeof(struct nlmsghdr)) {
            struct nlmsghdr head;
            memcpy(&head, buf.bytes + at, sizeof head);
            if (head.nlmsg_len < sizeof head || head.nlmsg_len > (size_t)n - at) {
                break;
            }
            found = found || concerns(head.nlmsg_type);
            size_t step = NLMSG_ALIGN(head.nlmsg_len);
            if (step > (size_t)n - at) {
                break;
            }
            at += step;
        }
    }
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct bk_host_watch *w = ctx;
    if (!drain(fd)) {
        return;
    }
    if (evtimer_pending(&w->settle, NULL) && ++w->delays > QUIETING_MAX) {
        return; /* never quiet: told when the timer that runs is over */
    }
    struct timeval tv = bk_timeval_ms(BK_HOST_SETTLE_MS);
    (void)event_add(&w->settle, &tv);
}

static void on_settled(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct bk_host_watch *w = ctx;
    w->delays = 0;
    w->changed(w->ctx);
}

enum bk_err bk_host_watch_new(struct event_base *base, void (*changed)(void *ctx), void *ctx,
                              struct bk_host_watch **out)
{
    *out = NULL;
    struct bk_host_watch *w = calloc(1, sizeof *w);
    if (w == NULL) {
        return BK_E_NOMEM;
    }
    w->changed = changed;
    w->ctx = ctx;
    struct sockaddr_nl sa;
    memset(&sa, 0, sizeof sa);
    sa.nl_family = AF_NETLINK;
    sa.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE;
    w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (w->fd < 0 || bind(w->fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
        int saved = errno;
        if (w->fd >= 0) {
            close(w->fd);
        }
        free(w);
        errno = saved;
        return BK_E_IO;
    }
    evtimer_assign(&w->settle, base, on_settled, w);
    event_assign(&w->readable, base, w->fd, EV_READ | EV_PERSIST, on_readable, w);
    (void)event_add(&w->readable, NULL);
    *out = w;
    return BK_OK;
}

void bk_host_watch_free(struct bk_host_watch *w)
{
    if (w == NULL) {
        return;
    }
    (void)event_del(&w->readable);
    (void)event_del(&w->settle);
    close(w->fd);
    free(w);
}
