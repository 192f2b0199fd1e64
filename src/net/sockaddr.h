/* bk_addr to and from the operating system's socket addresses. Without OpenSSL. */
#ifndef BK_NET_SOCKADDR_H
#define BK_NET_SOCKADDR_H

#include <sys/socket.h>

#include "base/addr.h"

/* AF_INET for an IPv4 address, else AF_INET6. */
int bk_sockaddr_family(const struct bk_addr *a);
/* For a socket of that family; IPv4 becomes IPv4-mapped for AF_INET6. BK_E_RANGE: IPv6 for AF_INET. */
BK_NODISCARD enum bk_err bk_sockaddr_write(const struct bk_addr *a, int family,
                                           struct sockaddr_storage *out, socklen_t *len);
/* BK_E_RANGE: neither AF_INET nor AF_INET6. */
BK_NODISCARD enum bk_err bk_sockaddr_read(const struct sockaddr *sa, struct bk_addr *out);

/* The address a socket is bound or connected to; zeroes if none. */
struct bk_addr bk_sockaddr_local(int fd);
struct bk_addr bk_sockaddr_remote(int fd);

/* A non-blocking, close-on-exec socket (SOCK_STREAM or SOCK_DGRAM) bound to `addr`: "::" is bound for both
 * families, or for IPv4 alone where there is no IPv6. Descriptor and family through pointers. BK_E_IO:
 * errno tells. `reuse_port` sets SO_REUSEPORT; SO_REUSEADDR is set for streams. */
BK_NODISCARD enum bk_err bk_socket_bind(int type, const struct bk_addr *addr, bool reuse_port,
                                        int *fd, int *family);

#endif
