/* What the files of the HTTP/2 session share; nobody else includes it.
 *
 *   h2.c            the interface, a session's life, the turn
 *   h2_early.c      before the connection is proven
 *   h2_stream.c     one stream: opened, answered, its end, and its pump
 *   h2_callbacks.c  what nghttp2 tells and asks
 *   h2_guard.c      what a peer may cost
 *   h2_io.c         TLS: reading, writing, the end of the connection
 *
 * Everything happens in a turn (h2.c): read, let nghttp2 work, write, finish streams. nghttp2 forbids to be entered
 * again from its callbacks, so calls from outside only note what they want and ask for a turn. */
#ifndef BK_NET_H2_INTERNAL_H
#define BK_NET_H2_INTERNAL_H

#include <event2/event_struct.h>
#include <nghttp2/nghttp2.h>

#include "net/clock.h"
#include "net/h2.h"
#include "net/h2_bio.h"
#include "net/pump.h"
#include "net/tls.h"

enum {
    H2_FRAME_HEAD_BYTES = 9,
    H2_PLAIN_BYTES = 16 * 1024, /* small frames together in one record */
    H2_READ_BYTES = 128 * 1024,
    H2_TURN_BYTES = 1024 * 1024, /* each way, then others have their turn */
    H2_HEADERS_MAX_BYTES = 8 * 1024,
    H2_CLOSING_IN_BYTES = 1024 * 1024, /* thrown away while the end is awaited */
    H2_MAX_FRAME_BYTES = 1024 * 1024,  /* that we take */
    H2_CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024,
    H2_TEXT_BYTES = 128,
    H2_UNSENT_BYTES =
        256 * 1024, /* in the kernel, not yet on their way; where the path is fast it may be more */
    H2_STREAMS_ENDING = 256, /* over for the peer, and not swept yet */
};

enum h2_phase {
    H2_EARLY, /* no SSL yet */
    H2_OPEN,
    H2_CLOSING, /* close_notify is out or on its way, the peer's end awaited */
    H2_CLOSED,  /* ssl and nghttp2 are gone; streams may still write out what they have */
};

struct bk_h2_stream {
    struct bk_h2 *h;
    struct bk_h2_stream *prev, *next; /* in h->streams */
    void *owner;
    int32_t id;
    struct bk_pump pump;
    struct bk_h2_outcome outcome;
    bool known;    /* the user knows of it, so `finished` is owed */
    bool answered; /* 200 or else was sent (server) or came (client) */
    bool deferred; /* nghttp2 waits for bk_pump_read to yield */
    bool reset_asked;
    bool sent_end;
    bool got_end;
    bool http_closed; /* nghttp2 is done with it */
    bool settled;     /* the outcome is decided, `how` says it */
    bool is_connect;
    bool bad_target; /* one of these does not fit, or is empty */
    char authority[BK_H2_AUTHORITY_MAX_BYTES];
    char protocol[BK_H2_PROTOCOL_MAX_BYTES]; /* extended CONNECT, else empty */
    char path[BK_H2_PATH_MAX_BYTES];
    bool capsules;
    size_t header_bytes;
    size_t queued;         /* of pump.queue, as counted in h->queued */
    uint32_t window;       /* what we granted the peer */
    uint32_t window_taken; /* taken by the reader since the window last grew */
};

/* What the peer may still cost, see h2_guard.c. */
struct h2_guard {
    uint32_t tokens;
    bk_time filled;        /* until then tokens have been given by time */
    const char *fault;     /* why it is to be ended; NULL: it is not */
    uint32_t frames;       /* begun since last asked */
    unsigned chatter;      /* messages of TLS itself */
    uint64_t chatter_from; /* bio.received when some of them were last forgiven */
};

struct bk_h2 {
    struct event_base *base;
    struct bk_h2_config config;
    SSL *ssl;
    nghttp2_session *ng;
    struct event ev_read, ev_write, ev_turn, ev_idle, ev_closing;
    enum h2_phase phase;
    unsigned busy; /* inside a turn: nothing is freed */
    bool dead;     /* bk_h2_free was called: no more callbacks */
    bool started;
    bool shutting_down;
    bool goaway_in;
    bool blocked;  /* the socket takes no more; ev_write is pending */
    bool again;    /* work is left, have another turn soon */
    bool readable; /* the socket, or a buffer on the way, may hold more */
    bool sweep;    /* some stream may be over */
    bool write_failed;
    bool let_go; /* bk_conn_let_go, after the first turn */
    bool early_made, early_failed;
    unsigned closing_rounds;
    int closing_left; /* bytes the peer had not acknowledged when last looked at */
    bool half_closed; /* our FIN is out */
    bool ended_told;
    enum bk_err why;
    char text[H2_TEXT_BYTES];

    struct bk_h2_stream *streams;
    size_t n_streams;  /* known ones */
    uint64_t growth;   /* of all windows beyond their first size */
    size_t queued;     /* in all pumps */
    size_t closing_in; /* bytes thrown away while closing */
    struct h2_guard guard;

    bk_time now;          /* of this turn */
    bk_time heard;        /* last sign of life */
    bk_time keepalive_at; /* the unanswered PING went then; 0: none */
    bk_time ping_at;      /* of bk_h2_ping; 0: none */

    bk_time unsent_at;    /* when what may wait in the kernel was last fitted to the path */
    uint64_t unsent_from; /* bio.sent then */
    uint64_t unsent;

    size_t turn_out; /* data bytes made in this turn */
    size_t staged;   /* bytes in `stage` behind the frame head, from the pump, not yet encrypted */
    size_t plain_n;
    uint8_t plain[H2_PLAIN_BYTES];
    uint8_t stage[H2_FRAME_HEAD_BYTES + BK_H2_FRAME_BYTES];
    uint8_t read_buf[H2_READ_BYTES];
    struct bk_h2_bio bio;
};

/* h2.c */
/* A session without a connection: EARLY. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_h2_make(struct event_base *base, const struct bk_h2_config *config,
                                    struct bk_h2 **out);
/* Its connection: OPEN. On failure both are closed, and the session is to be freed. */
BK_NODISCARD enum bk_err bk_h2_take_ssl(struct bk_h2 *h, SSL *ssl, int fd);
void bk_h2_want_turn(struct bk_h2 *h);
/* Ends the connection for a reason; the first counts. Only at the top of a turn, not from nghttp2's callbacks. */
void bk_h2_lose(struct bk_h2 *h, enum bk_err why, const char *text);
/* Finishes what is over. Neither nghttp2 nor OpenSSL may be on the stack. */
void bk_h2_sweep(struct bk_h2 *h);
/* Notes the reason only. */
void bk_h2_blame(struct bk_h2 *h, enum bk_err why, const char *text);

/* h2_stream.c */
struct bk_h2_stream *bk_h2_stream_new(struct bk_h2 *h);
void bk_h2_stream_free(struct bk_h2_stream *s); /* no callback */
/* Decides the outcome once; closes the local ends by RST unless BK_H2_CLEAN. */
void bk_h2_stream_settle(struct bk_h2_stream *s, enum bk_h2_how how, uint32_t code,
                         int local_errno);
/* Settled (cleanly, where that has come true), and nghttp2 gone or done with it: may be finished. */
bool bk_h2_stream_is_over(struct bk_h2_stream *s);
/* Data, its end, from the peer. */
void bk_h2_stream_receive(struct bk_h2_stream *s, struct bk_slice bytes);
void bk_h2_stream_receive_end(struct bk_h2_stream *s);
void bk_h2_stream_answered(struct bk_h2_stream *s, int status);
void bk_h2_stream_http_closed(struct bk_h2_stream *s, uint32_t code);
void bk_h2_stream_requested(struct bk_h2_stream *s);

/* h2_guard.c */
void bk_h2_guard_init(struct bk_h2 *h);
void bk_h2_guard_options(nghttp2_option *option);
/* Time has passed: at the start of a turn. */
void bk_h2_guard_refill(struct bk_h2 *h);
/* A frame begins, of whatever kind. Other than 0 it is for nghttp2: end at once. */
int bk_h2_guard_frame(struct bk_h2 *h, const nghttp2_frame_hd *hd);
/* nghttp2 found one wrong. */
void bk_h2_guard_invalid(struct bk_h2 *h);
/* Answers or window updates for this are the peer's right. */
void bk_h2_guard_opened(struct bk_h2 *h);
void bk_h2_guard_served(struct bk_h2 *h); /* a stream came to a clean end */
void bk_h2_guard_sent(struct bk_h2 *h, size_t bytes, size_t allowed);
/* After bytes went through nghttp2: ends a session with a fault, in order if that can be. */
void bk_h2_guard_judge(struct bk_h2 *h);
/* After SSL_read: does TLS itself talk too much? */
bool bk_h2_guard_chatty(struct bk_h2 *h);
/* What reading `frames` frames costs, expressed in bytes of a turn. */
size_t bk_h2_guard_effort(struct bk_h2 *h);

/* h2_callbacks.c */
BK_NODISCARD enum bk_err bk_h2_make_nghttp2(struct bk_h2 *h);

/* h2_io.c */
void bk_h2_read(struct bk_h2 *h);
void bk_h2_write(struct bk_h2 *h);
/* For nghttp2's send callbacks: NGHTTP2_ERR_WOULDBLOCK when there is no room. */
int bk_h2_put_small(struct bk_h2 *h, const uint8_t *bytes, size_t n);
int bk_h2_put_stage(struct bk_h2 *h, const uint8_t *head, size_t n);
/* Close_notify, FIN, and waiting for the peer's. */
void bk_h2_begin_closing(struct bk_h2 *h);
void bk_h2_closing_turn(struct bk_h2 *h);
void bk_h2_close_socket(struct bk_h2 *h);

#endif
