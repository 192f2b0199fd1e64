/* TCP of a connection that we open: the addresses in order, a new one every 250 ms or as soon as one fails
 * (RFC 8305, section 5, without its sorting: the caller's order counts). The first that stands is kept. With Fast Open
 * "stands" may mean that nobody has answered yet; then it is all done again without, should nobody do so. */
#include "net/conn_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sockaddr.h"

static void on_dialled(evutil_socket_t fd, short what, void *ctx);

/* What is closed half-open, or in order, lives on without us for up to a minute, and from the same port nobody can dial
 * the same address meanwhile: EADDRNOTAVAIL. */
void bk_conn_leave_nothing(int fd)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static void drop(struct bk_conn_dial *d)
{
    if (d->fd < 0) {
        return;
    }
    (void)event_del(&d->event);
    if (d->conn->reuse_port) {
        bk_conn_leave_nothing(d->fd);
    }
    close(d->fd);
    d->fd = -1;
}

void bk_conn_dial_stop(struct bk_conn *c)
{
    (void)event_del(&c->stagger);
    if (c->dials == NULL) {
        return;
    }
    for (size_t i = 0; i < c->n_addrs; i++) {
        drop(&c->dials[i]);
    }
}

/* A socket for `addr`, bound if asked for; -1 and errno. */
static int make_socket(const struct bk_conn *c, const struct bk_addr *addr, int *family)
{
    int fd = -1;
    if (!c->bind_local) {
        *family = bk_sockaddr_family(addr);
        return socket(*family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (bk_socket_bind(SOCK_STREAM, &c->local, c->reuse_port, &fd, family) != BK_OK) {
        return -1;
    }
    return fd;
}

/* True if it is under way (or stands already: the event comes then at once). */
static bool begin(struct bk_conn *c, size_t i)
{
    static const int on = 1;
    struct bk_conn_dial *d = &c->dials[i];
    struct sockaddr_storage ss;
    socklen_t len = 0;
    int family = 0;
    d->unheard = false;
    d->fd = make_socket(c, &c->addrs[i], &family);
    if (d->fd < 0) {
        c->last_error = errno;
        return false;
    }
    event_assign(&d->event, c->base, d->fd, EV_WRITE, on_dialled, d);
    if (bk_sockaddr_write(&c->addrs[i], family, &ss, &len) != BK_OK) {
        c->last_error = EAFNOSUPPORT; /* bound to an IPv4 address, and this is an IPv6 one */
        drop(d);
        return false;
    }
    if (c->fast) {
        (void)setsockopt(d->fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on);
    }
    int ret = connect(d->fd, (struct sockaddr *)&ss, len);
    /* Done at once, and it cannot block: no SYN has left yet, since this place is known to take bytes with it. */
    d->unheard = c->fast && ret == 0;
    if ((ret != 0 && errno != EINPROGRESS) || event_add(&d->event, NULL) != 0) {
        c->last_error = errno;
        drop(d);
        return false;
    }
    return true;
}

bool bk_conn_crossed(const struct bk_conn *c)
{
    for (size_t i = 0; c->dials != NULL && i < c->n_addrs; i++) {
        struct tcp_info info = {0};
        socklen_t len = sizeof info;
        if (c->dials[i].fd >= 0 &&
            getsockopt(c->dials[i].fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
            info.tcpi_state == TCP_SYN_RECV) {
            return true;
        }
    }
    return false;
}

static bool any_under_way(const struct bk_conn *c)
{
    for (size_t i = 0; i < c->n_addrs; i++) {
        if (c->dials[i].fd >= 0) {
            return true;
        }
    }
    return false;
}

static void dial_next(struct bk_conn *c)
{
    (void)event_del(&c->stagger);
    while (c->next_addr < c->n_addrs) {
        if (begin(c, c->next_addr++)) {
            if (c->next_addr < c->n_addrs) {
                bk_conn_arm(&c->stagger, BK_CONN_STAGGER_MS);
            }
            return;
        }
    }
    if (!any_under_way(c)) {
        bk_conn_end(c, BK_CONN_UNREACHABLE, BK_TLS_OK, c->last_error);
    }
}

/* ---- Fast Open ---- */

bool bk_conn_nothing_heard(const struct bk_conn *c)
{
    return c->unheard && c->state == BK_CONN_SHAKING && BIO_number_read(SSL_get_rbio(c->ssl)) == 0;
}

/* By TCP: our SYN is acknowledged. */
static bool is_answered(const struct bk_conn *c)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           info.tcpi_state != TCP_SYN_SENT;
}

/* What was said may not be said again on another connection, so TLS begins anew too. */
void bk_conn_dial_again(struct bk_conn *c)
{
    SSL *fresh = NULL;
    if (bk_tls_start_again(c->ssl, &fresh) != BK_OK) {
        bk_conn_end(c, BK_CONN_UNREACHABLE, BK_TLS_OK, c->last_error);
        return;
    }
    bk_conn_want(c, 0);
    SSL_free(c->ssl);
    c->ssl = fresh;
    if (c->reuse_port) {
        bk_conn_leave_nothing(c->fd);
    }
    close(c->fd);
    c->fd = -1;
    c->fast = c->unheard = false;
    c->next_addr = 0;
    c->remote = (struct bk_addr){0};
    c->state = BK_CONN_DIALLING;
    dial_next(c);
}

/* The next address is due; or, where TLS is under way already, somebody should have answered by now. */
void bk_conn_on_stagger(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct bk_conn *c = ctx;
    bk_conn_enter(c);
    if (c->state == BK_CONN_DIALLING) {
        dial_next(c);
    } else if (bk_conn_nothing_heard(c) && !is_answered(c)) {
        bk_conn_dial_again(c);
    }
    bk_conn_leave(c);
}

static void on_dialled(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct bk_conn_dial *d = ctx;
    struct bk_conn *c = d->conn;
    int error = 0;
    socklen_t len = sizeof error;
    bk_conn_enter(c);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        error = errno;
    }
    if (error != 0) {
        c->last_error = error;
        drop(d);
        dial_next(c);
    } else {
        d->fd = -1; /* kept: no longer the dial's */
        (void)event_del(&d->event);
        bk_conn_dial_stop(c);
        c->unheard = d->unheard;
        bk_conn_begin_tls(c, fd);
        if (c->unheard) {
            bk_conn_arm(&c->stagger, BK_CONN_FAST_MS);
        }
    }
    bk_conn_leave(c);
}
