/* The end-to-end session: HTTP/2 over an SSL whose handshake is done, one CONNECT stream per forwarded
 * connection, each joined to local file descriptors. Drives SSL and descriptors itself on libevent
 * events. Who was TLS client or server does not matter here.
 *
 * Threads: all calls and callbacks in the thread of the event base. Every call, bk_h2_free included,
 * may be made from inside a callback.
 * Signals: sockets are written with MSG_NOSIGNAL, but endpoints may be pipes: the program ignores SIGPIPE.
 *
 * Memory: about 0.7 MB a session, and for each stream what its local reader has not taken yet, at most
 * its window (BK_H2_WINDOW_FIRST_BYTES, growing while the reader keeps up, all growth together bounded by
 * BK_H2_WINDOW_GROWTH_BYTES), and all streams together at most `queued_max_bytes`. A slow reader never
 * holds up another stream.
 *
 * A peer that costs more than it uses is cut off (h2_guard.c): frames that carry nothing, streams opened and
 * broken off, headers without end, answers that it never reads. */
#ifndef BK_NET_H2_H
#define BK_NET_H2_H

#include <event2/event.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/slice.h"

enum {
    BK_H2_STREAMS_MAX = 1024,        /* default of max_streams */
    BK_H2_AUTHORITY_MAX_BYTES = 128, /* terminator included, as in the following */
    BK_H2_PROTOCOL_MAX_BYTES = 32,
    BK_H2_PATH_MAX_BYTES = 160,
    BK_H2_FRAME_BYTES = 128 * 1024, /* data a frame, at most, that we send */
    BK_H2_WINDOW_FIRST_BYTES = 128 * 1024,
    BK_H2_WINDOW_MAX_BYTES = 8 * 1024 * 1024,
    BK_H2_WINDOW_GROWTH_BYTES = 32 * 1024 * 1024,
    BK_H2_QUEUED_MAX_BYTES = 96 * 1024 * 1024, /* default of queued_max_bytes */
    BK_H2_KEEPALIVE_MS = 30 * 1000,            /* defaults of the configuration */
    BK_H2_KEEPALIVE_WAIT_MS = 15 * 1000,
    BK_H2_STALL_MS = 30 * 1000,
    BK_H2_CLOSING_MS = 3000,  /* how long the last bytes may take to be taken */
    BK_H2_EARLY_BYTES = 4096, /* of bk_h2_early, at most */
};

struct bk_h2;
struct bk_h2_stream;

enum bk_h2_how {
    BK_H2_CLEAN,   /* both directions came to their end and everything was delivered */
    BK_H2_REFUSED, /* answered with `status`, not 200 */
    BK_H2_RESET,   /* by the peer, with HTTP/2 error `code` */
    BK_H2_LOCAL, /* a local descriptor failed with `local_errno`, or bk_h2_abort, or more waits for slow local
                    readers than may (ENOBUFS); the peer was told */
    BK_H2_LOST, /* the session ended first */
};

struct bk_h2_outcome {
    enum bk_h2_how how;
    int status; /* the answer's, 0 if none came */
    uint32_t code;
    int local_errno;
    uint64_t sent_bytes;     /* read from fd_in and given to the session */
    uint64_t received_bytes; /* written to fd_out */
};

/* Any may be NULL but `request` on a server. */
struct bk_h2_callbacks {
    /* The peer's SETTINGS are here: it speaks HTTP/2 on this connection (for an agent: it was picked). */
    void (*started)(void *ctx);
    /* Server: a CONNECT arrived; answer now or later by bk_h2_accept or bk_h2_refuse. `finished` may
     * come before. `authority` (printable ASCII, as sent, e.g. "ssh:1") is valid during the call. */
    void (*request)(void *ctx, struct bk_h2_stream *s, const char *authority);
    /* Client: the answer to an opened stream. With anything but 200 `finished` follows. */
    void (*answered)(void *ctx, struct bk_h2_stream *s, int status);
    /* The last word about a stream, exactly once for each; its descriptors are closed, `s` is gone after it. */
    void (*finished)(void *ctx, struct bk_h2_stream *s, const struct bk_h2_outcome *outcome);
    /* The peer takes no new streams (GOAWAY); those that are open go on. */
    void (*going_away)(void *ctx);
    void (*pong)(void *ctx, bk_time round_trip);
    /* The last callback, once: every stream is finished, the connection closed. BK_OK after a graceful
     * end by either side; BK_E_CLOSED cut off, BK_E_TIMEOUT keepalive unanswered or the peer takes no
     * bytes, BK_E_AUTH the peer refused our certificate, BK_E_MALFORMED broken TLS or HTTP/2, BK_E_RANGE
     * the peer asks too much of us, BK_E_IO, BK_E_NOMEM. `text` is a phrase for people. bk_h2_free is still to
     * be called (from here, if liked). */
    void (*ended)(void *ctx, enum bk_err why, const char *text);
};

struct bk_h2_config {
    bool server;           /* HTTP/2 role: the agent is the server */
    uint32_t max_streams;  /* server: concurrent ones; 0: BK_H2_STREAMS_MAX */
    uint32_t keepalive_ms; /* silence before a PING; 0: BK_H2_KEEPALIVE_MS; UINT32_MAX: never */
    uint32_t keepalive_wait_ms; /* for its answer; 0: BK_H2_KEEPALIVE_WAIT_MS */
    uint32_t
        stall_ms; /* the peer takes none of what waits for it, twice this long; 0: BK_H2_STALL_MS */
    size_t
        queued_max_bytes; /* received, not yet taken by local readers; 0: BK_H2_QUEUED_MAX_BYTES */
    struct bk_h2_callbacks on;
    void *ctx;
};

/* Takes `ssl` (handshake done, SSL_set_fd with a connected stream socket) and its socket, also on
 * failure: both are freed and closed by the session. No callback comes before this returns.
 * BK_E_NOMEM, BK_E_IO. */
BK_NODISCARD enum bk_err bk_h2_new(struct event_base *base, SSL *ssl,
                                   const struct bk_h2_config *config, struct bk_h2 **out);

/* Client: a session that begins before its connection is proven. It makes the bytes that go with our own flight of the
 * handshake (bk_h2_early), and goes on where they ended once the handshake is done (bk_h2_attach). Until then it has
 * nothing of anybody's data: streams are opened without local ends (bk_h2_open_unjoined), so that a connection that
 * comes to nothing costs only a bk_h2_free, which leaves local ends where they are. `is_open` is true, no callback is made,
 * and keepalives and limits of time wait. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_h2_new_early(struct event_base *base, const struct bk_h2_config *config,
                                         struct bk_h2 **out);

/* Before bk_h2_attach, once: everything that the peer is to be sent first, SETTINGS and the CONNECT of each stream opened
 * until now. Valid until the session is attached or freed. It names services, and goes to a peer that has not proven itself yet. */
struct bk_slice bk_h2_early(struct bk_h2 *h);

/* `ssl` as bk_h2_new takes it, taken also on failure; the session is then only to be freed. `sent`: the bytes of bk_h2_early
 * went out by it (all of them), else they go now. No callback comes before this returns. BK_E_NOMEM, BK_E_IO. */
BK_NODISCARD enum bk_err bk_h2_attach(struct bk_h2 *h, SSL *ssl, bool sent);

/* The immediate end: open streams are reset on both sides as well as can be said without waiting,
 * their local sockets closed by RST; no callback is made any more. NULL is fine. */
void bk_h2_free(struct bk_h2 *h);

/* The graceful end: no new streams, GOAWAY, then `ended` when the open ones have finished by
 * themselves. May be called again. */
void bk_h2_shutdown(struct bk_h2 *h);

/* Client: CONNECT to `authority` (at most BK_H2_AUTHORITY_MAX_BYTES), at once, the peer's SETTINGS not
 * awaited. What fd_in yields goes to the peer once it answered 200, what the peer sends goes to fd_out;
 * the two may be the same socket. Any kind of descriptor: socket, pipe, terminal, regular file.
 * The stream takes both, also on failure, makes them non-blocking, and closes them (open file
 * descriptions that were blocking are made so again before). -1, -1: a stream without local ends: it
 * sends nothing, and drops what it receives (for tests and probes).
 * Ends: EOF on fd_in ends our direction only; the peer's end is passed on by shutdown(SHUT_WR) or, for
 * what is no socket, by closing fd_out. An error locally resets the stream (CONNECT_ERROR); a reset by the
 * peer, a refusal or the end of the session closes a local socket by RST.
 * BK_E_STATE: server, shutting down, or the peer is going away; BK_E_RANGE: authority; BK_E_NOMEM; BK_E_IO. */
BK_NODISCARD enum bk_err bk_h2_open(struct bk_h2 *h, const char *authority, int fd_in, int fd_out,
                                    void *owner, struct bk_h2_stream **out);

/* Client: as bk_h2_open, but its local ends come later, by bk_h2_join: until then it sends nothing, and keeps what it
 * receives (at most its window). `answered` may come before. BK_E_STATE, BK_E_RANGE, BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_h2_open_unjoined(struct bk_h2 *h, const char *authority, void *owner,
                                             struct bk_h2_stream **out);
/* The local ends of such a stream; taken as bk_h2_open takes them. BK_E_STATE: has them already, or is over; BK_E_IO.
 * After an error `finished` follows. */
BK_NODISCARD enum bk_err bk_h2_join(struct bk_h2_stream *s, int fd_in, int fd_out);

/* Client: an extended CONNECT (RFC 8441) for `protocol`, to `path` at `authority`, over https; otherwise as bk_h2_open.
 * With `capsules` it says that capsules (RFC 9297) travel in it. BK_E_STATE also where the peer has not said (yet) that it
 * takes such requests: bk_h2_extended tells. */
BK_NODISCARD enum bk_err bk_h2_open_extended(struct bk_h2 *h, const char *protocol,
                                             const char *authority, const char *path, bool capsules,
                                             int fd_in, int fd_out, void *owner,
                                             struct bk_h2_stream **out);
/* Client: the peer's SETTINGS are here, and allow extended CONNECT. */
bool bk_h2_extended(const struct bk_h2 *h);

/* Server, in `request` and after: what an extended CONNECT asks for; "" for a plain one. */
const char *bk_h2_stream_protocol(const struct bk_h2_stream *s);
const char *bk_h2_stream_path(const struct bk_h2_stream *s);

/* Server: answers 200 and joins the stream to descriptors, which it takes, also on failure, as above.
 * BK_E_STATE: answered already; BK_E_IO; BK_E_NOMEM. After an error `finished` follows. */
BK_NODISCARD enum bk_err bk_h2_accept(struct bk_h2_stream *s, int fd_in, int fd_out);

/* Server: answers with `status` (400..599) and ends the stream; `finished` (BK_H2_REFUSED) follows, never
 * from inside this call. Ignored if answered already. */
void bk_h2_refuse(struct bk_h2_stream *s, int status);

/* Ends one stream at once: reset towards the peer, RST locally; `finished` (BK_H2_LOCAL) follows, never
 * from inside this call. */
void bk_h2_abort(struct bk_h2_stream *s);

/* A pointer of the user's for each stream; NULL at first on a server. */
void *bk_h2_stream_owner(const struct bk_h2_stream *s);
void bk_h2_stream_set_owner(struct bk_h2_stream *s, void *owner);

/* Asks for one `pong`. BK_E_STATE: one is still awaited, or the session is over. */
BK_NODISCARD enum bk_err bk_h2_ping(struct bk_h2 *h);

/* Sends a PING that has no `pong`, so that the peer's system says something; any number may be under way. */
void bk_h2_knock(struct bk_h2 *h);
/* For how long nothing has come from the peer. `direct`: nor acknowledgements of its system, which show that the path
 * lives however much waits to go over it; those of a relay show nothing. */
uint64_t bk_h2_quiet_ms(const struct bk_h2 *h, bool direct);

/* Streams that are not finished. */
size_t bk_h2_streams(const struct bk_h2 *h);
/* Bytes received that local readers have not taken yet, over all streams. */
size_t bk_h2_queued_bytes(const struct bk_h2 *h);
/* True until the session shuts down, goes away or ends: bk_h2_open is possible. */
bool bk_h2_is_open(const struct bk_h2 *h);
/* The SSL underneath, for what is known of the peer. Borrowed; NULL once the connection is closed. */
SSL *bk_h2_ssl(const struct bk_h2 *h);

#endif
