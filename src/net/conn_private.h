/* The inside of a connection, shared by conn.c (life and API), conn_dial.c (TCP), conn_shake.c (the
 * handshake) and conn_io.c (frames); net/listener.c makes connections through bk_conn_accept. Included by nothing else. */
#ifndef BK_NET_CONN_PRIVATE_H
#define BK_NET_CONN_PRIVATE_H

#include <event2/event_struct.h>

#include "net/conn.h"

enum {
    BK_CONN_ADDRS_MAX = 16,
    BK_CONN_STAGGER_MS = 250, /* RFC 8305, section 5 */
    BK_CONN_FLUSH_MS = 5000,
    BK_CONN_LINGER_MS = 1000,
};

enum bk_conn_state {
    BK_CONN_DIALLING,
    BK_CONN_SHAKING, /* TLS handshake */
    BK_CONN_OPEN,
    BK_CONN_FLUSHING, /* closing in order: the rest goes out */
    BK_CONN_LINGERING, /* all said; waits for the peer to hang up, so that no reset eats our last words */
    BK_CONN_DONE, /* told; waits to be freed */
};

/* How far a server is with what it says before its client is proven. */
enum bk_conn_early {
    BK_CONN_EARLY_NONE,  /* nothing to say, or all said */
    BK_CONN_EARLY_FIRST, /* waits for the client's first message */
    BK_CONN_EARLY_WRITING,
};

/* What the listener hears. Each may be NULL. */
struct bk_conn_hooks {
    void *ctx;
    void (*opened)(void *ctx); /* before `open` */
    /* In place of `closed`; the connection frees itself. */
    void (*refused)(void *ctx, const struct bk_conn_closed *why);
    void (*gone)(void *ctx); /* its memory goes now */
};

struct bk_conn_dial {
    struct bk_conn *conn;
    int fd;       /* -1: not begun, or failed */
    bool unheard; /* its SYN leaves with our first message: whether anybody is there is not known */
    struct event event;
};

struct bk_conn_bytes {
    uint8_t *p;
    size_t at, n, cap; /* [at, n) counts */
};

struct bk_conn {
    struct event_base *base;
    enum bk_conn_state state;
    struct bk_conn_callbacks on;
    bk_conn_frame_fn frame;
    struct bk_conn_limits limits;
    struct bk_conn_hooks hooks;
    unsigned depth; /* callbacks of ours on the stack: freeing waits for the last */
    bool freed;
    bool taken; /* SSL and descriptor are somebody else's */
    bool was_open;

    SSL *ssl;
    int fd;
    struct event io; /* of fd: what TLS waits for */
    short io_wants;
    /* Of the state: opening, a frame, flushing, lingering; or an end that is due. */
    struct event timer;
    struct event idle;

    struct bk_conn_bytes in, out;
    size_t lingered;  /* bytes thrown away while lingering */
    unsigned chatter; /* the peer's messages of TLS itself, since it opened */
    bool end_due;     /* an end decided where no callback is allowed: `due`, from the timer */
    enum bk_conn_end due;
    bool unwanted; /* refused and told so: it only lingers */
    bool gather;
    enum bk_conn_early early;
    bool
        early_given; /* bytes of the owner's went before the proof; false again once the owner knows their fate */
    struct bk_addr remote;
    struct bk_tls_peer peer;

    struct bk_conn_dial *dials; /* while dialling */
    struct bk_addr *addrs;
    size_t n_addrs, next_addr;
    bool bind_local, reuse_port;
    bool fast;    /* dials with Fast Open */
    bool unheard; /* as of the dial that was kept */
    struct bk_addr local;
    int last_error;
    struct event stagger;
};

/* conn.c */
void bk_conn_enter(struct bk_conn *c);
void bk_conn_leave(struct bk_conn *c); /* may free c: touch it no more */
/* Ends with `end`: tells and stops. Only from the loop (between enter and leave). */
void bk_conn_end(struct bk_conn *c, enum bk_conn_end end, enum bk_tls_failure tls, int os_error);
void bk_conn_arm(struct event *timer, uint32_t ms);
/* Takes ownership of `fd`, which is connected; fields of hooks are copied. BK_E_NOMEM: fd is closed. */
BK_NODISCARD enum bk_err bk_conn_accept(struct event_base *base,
                                        const struct bk_conn_config *config, int fd,
                                        const struct bk_conn_hooks *hooks, struct bk_conn **out);
/* As bk_conn_free, by somebody else than the owner: who has given early bytes is told. */
void bk_conn_drop(struct bk_conn *c);
/* It is over before `open`: tells that to the giver of early bytes, once. */
void bk_conn_tell_lost(struct bk_conn *c);
void bk_conn_set_no_delay(int fd);
void bk_conn_set_tcp_keepalive(int fd, uint32_t dead_ms);

/* conn_dial.c */
void bk_conn_dial_stop(struct bk_conn *c);
void bk_conn_on_stagger(evutil_socket_t fd, short what, void *ctx);
/* The next close of it leaves nothing behind in the kernel that would hold this pair of addresses. */
void bk_conn_leave_nothing(int fd);

/* Is this a connection of Fast Open on which the other side has not said a byte? */
bool bk_conn_nothing_heard(const struct bk_conn *c);
/* From the beginning and without Fast Open. */
void bk_conn_dial_again(struct bk_conn *c);

/* conn_shake.c */
void bk_conn_begin_tls(struct bk_conn *c, int fd); /* TCP stands */
void bk_conn_shake(struct bk_conn *c);             /* a step of the handshake */

/* conn_io.c */
void bk_conn_want(struct bk_conn *c, short what);
bool bk_conn_alive(const struct bk_conn *c); /* open, and nothing has ended it meanwhile */
void bk_conn_read(struct bk_conn *c);        /* what has come, frame by frame */
void bk_conn_linger(struct bk_conn *c);      /* all is said: waits for the peer to hang up */
BK_NODISCARD enum bk_err bk_conn_append(struct bk_conn_bytes *b, struct bk_slice bytes, size_t max);
void bk_conn_take_bytes(struct bk_conn_bytes *b, size_t n);
void bk_conn_forget(struct bk_conn_bytes *b); /* frees, leaving nothing to read */

#endif
