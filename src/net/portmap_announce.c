/* Hears routers that start anew say so, by multicast to all hosts (RFC 6886, 3.2.1; RFC 6887, 14.1), which needs no joining.
 * Such a word proves nothing: it makes us ask, no oftener than every few seconds, and only if it comes from our router. */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/host.h"
#include "net/portmap_internal.h"
#include "net/sockaddr.h"

enum {
    CALM_MS = 3000, /* a router repeats itself */
    PCP_BYTES = 24,
    NATPMP_BYTES = 12,
    GATEWAYS_MAX = 4,
};

static bool is_announcement(const uint8_t *in, size_t n)
{
    return n >= 2 && in[1] == 0x80 &&
           ((in[0] == 2 && n >= PCP_BYTES) || (in[0] == 0 && n >= NATPMP_BYTES));
}

static bool is_router(const struct portmap_pool *p, const struct bk_addr *from)
{
    static const uint8_t none[16] = {0};
    struct bk_addr gateways[GATEWAYS_MAX];
    if (memcmp(p->gateway.ip, none, sizeof none) != 0) {
        return bk_addr_same_ip(&p->gateway, from);
    }
    size_t n = bk_host_gateways(gateways, GATEWAYS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (bk_addr_same_ip(&gateways[i], from)) {
            return true;
        }
    }
    return false;
}

static void on_announce(evutil_socket_t fd, short what, void *arg)
{
    struct portmap_pool *p = arg;
    struct sockaddr_storage ss;
    socklen_t ss_n = sizeof ss;
    struct bk_addr from;
    uint8_t in[64];
    (void)what;
    ssize_t n = recvfrom(fd, in, sizeof in, MSG_DONTWAIT, (struct sockaddr *)&ss, &ss_n);
    bk_time now = bk_clock_mono();
    if (n < 0 || !is_announcement(in, (size_t)n) ||
        now < bk_time_add(p->hurried_at, CALM_MS * BK_MS) ||
        bk_sockaddr_read((struct sockaddr *)&ss, &from) != BK_OK || !is_router(p, &from)) {
        return;
    }
    p->hurried_at = now;
    pthread_mutex_lock(&p->shared->lock);
    for (size_t g = 0; g < PORTMAP_GROUPS; g++) {
        p->shared->hurry[g] = true;
    }
    pthread_cond_broadcast(&p->shared->changed);
    pthread_mutex_unlock(&p->shared->lock);
}

void bk_portmap_announce_init(struct portmap_pool *p, struct event_base *base)
{
    const struct sockaddr_in any = {.sin_family = AF_INET,
                                    .sin_port = htons(PORTMAP_ANNOUNCE_PORT)};
    const int on = 1;
    p->announce_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->announce_fd < 0) {
        return;
    }
    if (setsockopt(p->announce_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(p->announce_fd, (const struct sockaddr *)&any, sizeof any) == 0) {
        p->ev_announce = event_new(base, p->announce_fd, EV_READ | EV_PERSIST, on_announce, p);
    }
    if (p->ev_announce == NULL || event_add(p->ev_announce, NULL) != 0) {
        bk_portmap_announce_fini(p);
    }
}

void bk_portmap_announce_fini(struct portmap_pool *p)
{
    if (p->ev_announce != NULL) {
        event_free(p->ev_announce);
        p->ev_announce = NULL;
    }
    if (p->announce_fd >= 0) {
        close(p->announce_fd);
        p->announce_fd = -1;
    }
}
