/* A connection under TLS: opened (or accepted by net/listener.h), proven, then either framed messages
 * both ways (control connections), or handed over as a bare SSL (end-to-end sessions, net/h2.h).
 *
 * Life: `open` once; `message` for each frame; `closed` once and last, unless the owner freed or took the
 * connection first. Any callback may free the connection. No callback comes from inside a call of
 * bk_conn_connect or bk_conn_send. The owner frees it after `closed` (within it is fine).
 *
 * A TLS 1.3 client is `open` before the server has judged its certificate: that refusal comes as
 * `closed` with BK_CONN_TLS and BK_TLS_REFUSED_BY_PEER. */
#ifndef BK_NET_CONN_H
#define BK_NET_CONN_H

#include <event2/event.h>

#include "base/addr.h"
#include "net/tls.h"

struct bk_conn;

enum {
    BK_CONN_EARLY_MAX_BYTES = 8192,
    BK_CONN_FAST_MS = 1000, /* the kernel repeats its SYN by then, without our bytes */
};

enum bk_conn_end {
    BK_CONN_ENDED_BY_PEER, /* in order, between two frames */
    BK_CONN_ENDED_BY_US,   /* after bk_conn_close */
    BK_CONN_CUT,           /* reset, or ended within a frame */
    BK_CONN_UNREACHABLE,   /* no address took the TCP connection; os_error of the last */
    BK_CONN_OPEN_TIMEOUT,  /* connecting and handshake took too long */
    BK_CONN_TLS,           /* the handshake failed, see `tls` */
    BK_CONN_IDLE,          /* nothing came for idle_ms */
    BK_CONN_SLOW,          /* a frame was begun and not finished within frame_ms */
    BK_CONN_BAD_FRAME,     /* not a frame, or too large; or messages of TLS without end */
    BK_CONN_OVERFLOW,      /* the peer does not read: more than out_max_bytes wait */
};

struct bk_conn_closed {
    enum bk_conn_end end;
    enum bk_tls_failure tls;      /* BK_CONN_TLS */
    int os_error;                 /* errno or 0 */
    char text[BK_TLS_TEXT_BYTES]; /* one plain phrase, no full stop */
};

struct bk_conn_callbacks {
    void *ctx;
    void (*open)(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer);
    void (*message)(void *ctx, struct bk_conn *conn, struct bk_slice frame);
    void (*closed)(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why);
    /* TLS servers only, and NULL for all others: bytes that go out with our first flight, before the peer has shown its
     * certificate. Asked once, when the peer's first message has been read (SSL_get_servername tells which call
     * it is for) and our answer is written; empty for none. At most BK_CONN_EARLY_MAX_BYTES, copied. Whoever sent that message
     * reads them, be it the right peer or not: conn_shake.c says what that means. */
    struct bk_slice (*early)(void *ctx, struct bk_conn *conn);
    /* What `early` gave is lost: the connection is over before `open`. Told at once, before `closed`, and where none comes
     * too (a listener's connection, a punch's); not if the owner frees it. May not free it. Or NULL. */
    void (*early_lost)(void *ctx, struct bk_conn *conn);
};

/* How long is the frame that begins with `got`? BK_OK and its whole length in `bytes`; BK_E_TRUNCATED:
 * cannot tell yet; anything else ends the connection as BK_CONN_BAD_FRAME. */
typedef enum bk_err (*bk_conn_frame_fn)(struct bk_slice got, size_t *bytes);

/* 0 takes the default. */
struct bk_conn_limits {
    uint32_t open_ms;       /* TCP and TLS together: 5000 */
    uint32_t idle_ms;       /* nothing received: 0 is never */
    uint32_t dead_ms;       /* as bk_conn_set_dead; 0: TCP does not ask */
    uint32_t frame_ms;      /* from a frame's first byte to its last: 5000 */
    size_t frame_max_bytes; /* 8192 */
    size_t out_max_bytes;   /* 65536 */
};

struct bk_conn_config {
    struct bk_tls *tls;          /* borrowed while connecting starts; may be freed after */
    bk_conn_frame_fn frame;      /* NULL if the owner always takes the SSL */
    struct bk_conn_callbacks on; /* `message` NULL likewise */
    struct bk_conn_limits limits;
    bool
        reuse_port; /* of `local`: SO_REUSEPORT, for a port that a listener of ours and other connections use too */
    /* TCP Fast Open: where the kernel has been there before, our first TLS message travels with the SYN. The TCP
     * connection then counts as standing before the other side has said anything: not for whom it must prove a path.
     * If nothing is heard for BK_CONN_FAST_MS, or it fails at once, all addresses are dialled as without. */
    bool fast;
    /* TLS clients: the end of our handshake waits in the socket (TCP_CORK) for the first bytes behind it, so that both
     * leave together. Who takes the SSL lets them go by bk_conn_let_go when it has written what it had. */
    bool gather;
};

/* Connects to the first of `addrs` (1 to 16) that answers: a new address is begun every 250 ms or as soon
 * as one fails (RFC 8305); the first TCP connection gets the handshake, as TLS client or server as config->tls is.
 * `local`: bind to this (NULL: any; port 0: any port), with config->reuse_port as bk_socket_bind says; the port given,
 * several addresses leave by it side by side. BK_E_RANGE, BK_E_NOMEM; failing to connect is told by `closed`. */
BK_NODISCARD enum bk_err bk_conn_connect(struct event_base *base,
                                         const struct bk_conn_config *config,
                                         const struct bk_addr *addrs, size_t n_addrs,
                                         const struct bk_addr *local, struct bk_conn **out);

/* TLS on a TCP connection that stands; `fd` is taken, also on failure. Tells `open` or `closed`. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_conn_adopt(struct event_base *base, const struct bk_conn_config *config,
                                       int fd, struct bk_conn **out);

/* Queues one frame. BK_E_STATE before `open` and after closing began; BK_E_NOSPACE: it does not fit any
 * more, the connection ends (`closed` comes later). */
BK_NODISCARD enum bk_err bk_conn_send(struct bk_conn *conn, struct bk_slice frame);

/* Ends in order: sends what is queued (at most 5 s), then waits for the peer to hang up (at most 1 s). Hands out
 * no frame any more. `closed` tells. */
void bk_conn_close(struct bk_conn *conn);

/* Ends at once, without `closed`. NULL is fine. */
void bk_conn_free(struct bk_conn *conn);

/* Only within `open`: the connection becomes the caller's, who owns SSL and descriptor (SSL_get_fd) from
 * then on; `conn` is gone. Nothing has been read behind the handshake, but OpenSSL may hold bytes:
 * call SSL_read before waiting for the socket. */
SSL *bk_conn_take_ssl(struct bk_conn *conn);

/* After `gather`; harmless elsewhere. Unless called, they leave by themselves after 200 ms. */
void bk_conn_let_go(int fd);

/* An accepted connection comes with the listener's ctx: give it its own. */
void bk_conn_set_ctx(struct bk_conn *conn, void *ctx);
/* Idle limit from now on; 0: none. */
void bk_conn_set_idle(struct bk_conn *conn, uint32_t idle_ms);
/* For long silent connections, beside or in place of an idle limit: TCP itself asks a silent peer (its
 * keepalive, from half that time on), and what gets no acknowledgement for `dead_ms` (whole seconds count)
 * is BK_CONN_CUT with ETIMEDOUT. A peer that lives and says nothing keeps its connection. 0: ask no more. */
void bk_conn_set_dead(struct bk_conn *conn, uint32_t dead_ms);
/* NULL before `open`. */
const struct bk_tls_peer *bk_conn_peer(const struct bk_conn *conn);
/* For bk_tls_take_ca and SSL_get_servername; NULL before TCP stands. */
SSL *bk_conn_borrow_ssl(struct bk_conn *conn);
/* TCP's smoothed round trip in milliseconds, at least 1; 0 before TCP stands. */
uint32_t bk_conn_round_trip_ms(const struct bk_conn *conn);
/* While it dials: the other side's SYN has met ours, and only its last word is missing (a simultaneous open). */
bool bk_conn_crossed(const struct bk_conn *conn);
/* Zeroes before TCP stands. */
struct bk_addr bk_conn_remote(const struct bk_conn *conn);
struct bk_addr bk_conn_local(const struct bk_conn *conn);

#endif
