/* Accepts TLS connections on one or several addresses, within limits, and hands out those that finished
 * their handshake. Whatever floods in costs at most the limits below; connections above them are closed
 * at once. Running out of descriptors pauses accepting for a moment instead of spinning.
 *
 * Where all places for handshakes are taken, the oldest makes room for the newest: who floods with connections that
 * say nothing loses those, and whoever finishes in the time of max_handshakes arrivals gets through. */
#ifndef BK_NET_LISTENER_H
#define BK_NET_LISTENER_H

#include "net/conn.h"

enum {
    BK_LISTENER_ADDRS_MAX = 16,
};

struct bk_listener;

/* Who looks at the first bytes of a connection before TLS does; they stay unread. Until they are there the connection
 * has a seat and its open limit as if it shook hands. Without both functions nobody looks. What is taken has no seat any
 * more. */
struct bk_listener_first {
    void *ctx;
    /* No TLS, but a STUN header's first bytes (RFC 7983). False: not taken, it is closed. */
    bool (*plain)(void *ctx, int fd, const struct bk_addr *from);
    /* A TLS ClientHello with a server name. False: not taken, TLS goes on with it. NULL: none is. */
    bool (*named)(void *ctx, int fd, const struct bk_addr *from, const char *server_name);
};

struct bk_listener_config {
    /* TLS, frames, callbacks and limits of accepted connections. `open` comes with this ctx
     * (bk_conn_set_ctx); a connection whose handshake failed is freed by the listener without `open` or
     * `closed`, and told by `refused`. */
    struct bk_conn_config conn;
    void (*refused)(void *ctx, const struct bk_addr *from,
                    const struct bk_conn_closed *why); /* or NULL */
    struct bk_listener_first first;
    uint32_t max_total;       /* connections, handshakes included; 0: 4096 */
    uint32_t max_handshakes;  /* at a time; 0: 512; each takes up to about 150 KB while it lasts */
    uint32_t max_per_address; /* by bk_addr_rate_key; 0: 64 */
    /* New connections a second, by bk_addr_rate_key, after a burst of eight times as many; 0: any number. */
    uint32_t rate_per_address;
    bool reuse_port; /* SO_REUSEPORT: connections of ours leave by the same port (net/punch.h) */
    bool fast;       /* TCP Fast Open, where the kernel is set to it (net.ipv4.tcp_fastopen, 2) */
};

/* BK_E_NOMEM */
BK_NODISCARD enum bk_err bk_listener_new(struct event_base *base,
                                         const struct bk_listener_config *config,
                                         struct bk_listener **out);
/* Binds and listens. "::" takes IPv4 too, or IPv4 alone where there is no IPv6. Port 0 draws one; `bound`
 * (may be NULL) tells. BK_E_IO: errno tells; BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_listener_add(struct bk_listener *l, const struct bk_addr *addr,
                                         struct bk_addr *bound);
/* New connections use this from now on (renewed certificate). The caller may free `tls` only after the
 * listener, or after setting another. */
void bk_listener_set_tls(struct bk_listener *l, struct bk_tls *tls);
/* New limits for new connections; zeroes are the defaults. */
void bk_listener_set_limits(struct bk_listener *l, uint32_t max_total, uint32_t max_handshakes,
                            uint32_t max_per_address);
uint32_t bk_listener_count(const struct bk_listener *l); /* live connections, handshakes included */
/* Stops listening and drops connections that have not finished their handshake; others live on. NULL is
 * fine. */
void bk_listener_free(struct bk_listener *l);

#endif
