/* What the tests of connections and listeners share: the TLS of a server and of a device that fits it, and TCP
 * connections without TLS. */
#ifndef BK_TEST_NET_LISTENING_H
#define BK_TEST_NET_LISTENING_H

#include "net/loop.h"
#include "net/pki.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/sockaddr.h"
#include "net/tls.h"

enum {
    DAY_S = 86400,
};

struct tls_ends {
    struct pki pki;
    struct holder server, device;
    struct bk_tls *server_tls, *client_tls;
};

/* For the server at 127.0.0.1; `h` NULL: a client without a certificate. */
static inline struct bk_tls *client_tls_of(const struct holder *h, X509 *ca)
{
    struct bk_tls *tls = NULL;
    const struct bk_tls_client config = {.cert = h != NULL ? h->cert : NULL,
                                         .key = h != NULL ? h->key : NULL,
                                         .ca = ca,
                                         .host = "127.0.0.1",
                                         .peer_uri = "beckon:server",
                                         .alpn = "beckon-agent/1"};
    assert_int_equal(bk_tls_new_client(&config, &tls), BK_OK);
    return tls;
}

static inline void tls_ends_init(struct tls_ends *e)
{
    static const char *const alpns[] = {"beckon-request/1", "beckon-agent/1"};
    e->pki = pki_new();
    e->server = holder_new(&e->pki, "beckon:server", true, -10, DAY_S);
    e->device = holder_new(&e->pki, "beckon:device:2133", false, -10, DAY_S);
    const struct bk_tls_server config = {.cert = e->server.cert,
                                         .key = e->server.key,
                                         .ca = e->pki.ca,
                                         .alpns = alpns,
                                         .n_alpns = 2};
    assert_int_equal(bk_tls_new_server(&config, &e->server_tls), BK_OK);
    e->client_tls = client_tls_of(&e->device, e->pki.ca);
}

static inline void tls_ends_fini(struct tls_ends *e)
{
    bk_tls_free(e->server_tls);
    bk_tls_free(e->client_tls);
    holder_free(&e->server);
    holder_free(&e->device);
    pki_free(&e->pki);
}

/* From 127.0.0.1 and so many addresses on. */
static inline int raw_connect_from(const struct bk_addr *to, uint8_t from)
{
    struct sockaddr_storage ss;
    const struct sockaddr_in me = {.sin_family = AF_INET,
                                   .sin_addr = {htonl(INADDR_LOOPBACK + (uint32_t)from)}};
    socklen_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&me, sizeof me), 0);
    assert_int_equal(bk_sockaddr_write(to, AF_INET, &ss, &len), BK_OK);
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static inline int raw_connect(const struct bk_addr *to)
{
    return raw_connect_from(to, 0);
}

/* True once the other end of `fd` has hung up; lets nothing wait meanwhile. */
static inline bool hung_up(int fd)
{
    uint8_t buf[2048];
    ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

#endif
