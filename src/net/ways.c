/* Numbers for local addresses. A number is given under a lock and told by the count, which is stored last. */
#include "net/ways.h"

#include <string.h>

void bk_ways_init(struct bk_ways *ways)
{
    memset(ways->at, 0, sizeof ways->at);
    (void)pthread_mutex_init(&ways->adding, NULL); /* cannot fail without attributes */
    atomic_init(&ways->n, 1);
}

void bk_ways_fini(struct bk_ways *ways)
{
    (void)pthread_mutex_destroy(&ways->adding);
}

bool bk_ways_hear(int fd, int family)
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

/* Its number among those from `from` up to `n`; 0: it has none there. */
static unsigned find(const struct bk_ways *ways, const uint8_t ip[16], unsigned from, unsigned n)
{
    for (unsigned i = from; i < n; i++) {
        if (memcmp(ways->at[i], ip, sizeof ways->at[i]) == 0) {
            return i;
        }
    }
    return 0;
}

/* Another thread may have been quicker. */
static unsigned add(struct bk_ways *ways, const uint8_t ip[16], unsigned known)
{
    unsigned n, way;

    (void)pthread_mutex_lock(&ways->adding);
    n = atomic_load_explicit(&ways->n, memory_order_relaxed);
    way = find(ways, ip, known, n);
    if (way == 0 && n < BK_UDP_WAYS) {
        way = n;
        memcpy(ways->at[way], ip, sizeof ways->at[way]);
        atomic_store_explicit(&ways->n, n + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&ways->adding);
    return way;
}

unsigned bk_ways_arrived(struct bk_ways *ways, struct msghdr *head)
{
    struct bk_addr a = {.port = 0};
    enum bk_addr_scope scope;
    unsigned n, way;

    if (!came_to(head, a.ip)) {
        return 0;
    }
    /* What is in the table has been looked at before. */
    n = atomic_load_explicit(&ways->n, memory_order_acquire);
    way = find(ways, a.ip, 1, n);
    if (way != 0 || n == BK_UDP_WAYS) {
        return way;
    }
    scope = bk_addr_scope(&a);
    if (scope == BK_SCOPE_MULTICAST || scope == BK_SCOPE_LINK_LOCAL) {
        return 0; /* nothing can leave from the one, and from the other not without its interface */
    }
    return add(ways, a.ip, n);
}

void bk_ways_leave(const struct bk_ways *ways, unsigned way, int family, struct msghdr *head,
                   struct bk_ways_control *control)
{
    struct cmsghdr *c;

    head->msg_control = NULL;
    head->msg_controllen = 0;
    if (way == 0 || way >= atomic_load_explicit(&ways->n, memory_order_acquire)) {
        return;
    }
    memset(control, 0, sizeof *control);
    head->msg_control = control->bytes;
    head->msg_controllen = sizeof control->bytes;
    c = CMSG_FIRSTHDR(head);
    if (family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_ifindex = 0};
        memcpy(&info.ipi6_addr, ways->at[way], 16);
        c->cmsg_level = IPPROTO_IPV6;
        c->cmsg_type = IPV6_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        head->msg_controllen = CMSG_SPACE(sizeof info);
    } else {
        struct in_pktinfo info = {.ipi_ifindex = 0};
        memcpy(&info.ipi_spec_dst, ways->at[way] + 12, 4);
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        head->msg_controllen = CMSG_SPACE(sizeof info);
    }
}
