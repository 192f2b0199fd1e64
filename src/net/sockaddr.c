/* Addresses between our form and the operating system's, and the one way sockets are bound. */
#include "net/sockaddr.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

int bk_sockaddr_family(const struct bk_addr *a)
{
    return bk_addr_is_v4(a) ? AF_INET : AF_INET6;
}

enum bk_err bk_sockaddr_write(const struct bk_addr *a, int family, struct sockaddr_storage *out,
                              socklen_t *len)
{
    memset(out, 0, sizeof *out);
    if (family == AF_INET6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
        memcpy(&in6.sin6_addr, a->ip, 16);
        memcpy(out, &in6, sizeof in6);
        *len = sizeof in6;
        return BK_OK;
    }
    if (family != AF_INET || !bk_addr_is_v4(a)) {
        return BK_E_RANGE;
    }
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    memcpy(&in4.sin_addr, a->ip + 12, 4);
    memcpy(out, &in4, sizeof in4);
    *len = sizeof in4;
    return BK_OK;
}

enum bk_err bk_sockaddr_read(const struct sockaddr *sa, struct bk_addr *out)
{
    memset(out, 0, sizeof *out);
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in4;
        memcpy(&in4, sa, sizeof in4);
        *out = bk_addr_v4(0, 0, 0, 0, ntohs(in4.sin_port));
        memcpy(out->ip + 12, &in4.sin_addr, 4);
        return BK_OK;
    }
    if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        memcpy(out->ip, &in6.sin6_addr, 16);
        out->port = ntohs(in6.sin6_port);
        return BK_OK;
    }
    return BK_E_RANGE;
}

static struct bk_addr name_of(int fd, int (*ask)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage ss = {0};
    struct sockaddr *sa = (struct sockaddr *)&ss;
    socklen_t len = sizeof ss;
    struct bk_addr a;
    memset(&a, 0, sizeof a);
    if (ask(fd, sa, &len) == 0 && bk_sockaddr_read(sa, &a) != BK_OK) {
        memset(&a, 0, sizeof a);
    }
    return a;
}

static int ask_local(int fd, struct sockaddr *sa, socklen_t *len)
{
    return getsockname(fd, sa, len);
}

static int ask_remote(int fd, struct sockaddr *sa, socklen_t *len)
{
    return getpeername(fd, sa, len);
}

struct bk_addr bk_sockaddr_local(int fd)
{
    return name_of(fd, ask_local);
}

struct bk_addr bk_sockaddr_remote(int fd)
{
    return name_of(fd, ask_remote);
}

static enum bk_err bind_as(int type, const struct bk_addr *addr, int family, bool reuse_port,
                           int *fd)
{
    static const int on = 1, off = 0;
    struct sockaddr_storage ss;
    socklen_t len = 0;
    enum bk_err err = bk_sockaddr_write(addr, family, &ss, &len);
    if (err != BK_OK) {
        return err;
    }
    int s = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) {
        return BK_E_IO;
    }
    bool ok = true;
    if (family == AF_INET6) {
        ok = setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0;
    }
    if (ok && type == SOCK_STREAM) {
        ok = setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
    }
    if (ok && reuse_port) {
        ok = setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
    }
    if (!ok || bind(s, (struct sockaddr *)&ss, len) != 0) {
        int saved = errno;
        close(s);
        errno = saved;
        return BK_E_IO;
    }
    *fd = s;
    return BK_OK;
}

enum bk_err bk_socket_bind(int type, const struct bk_addr *addr, bool reuse_port, int *fd,
                           int *family)
{
    static const uint8_t any[16] = {0};
    *family = bk_sockaddr_family(addr);
    enum bk_err err = bind_as(type, addr, *family, reuse_port, fd);
    bool wildcard = memcmp(addr->ip, any, sizeof any) == 0;
    if (err == BK_OK || !wildcard || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL)) {
        return err;
    }
    /* A host without IPv6: the same for IPv4. */
    struct bk_addr any4 = bk_addr_v4(0, 0, 0, 0, addr->port);
    *family = AF_INET;
    return bind_as(type, &any4, *family, reuse_port, fd);
}
