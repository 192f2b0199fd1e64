/* Serving the device's services on end-to-end sessions: every CONNECT stream is joined to the service
 * that its authority names ("ssh:1"), every CONNECT-UDP stream (RFC 9298) to the one that its path names, or refused: 404
 * no such service of that kind, or none for this caller, 502 it does not answer, 503 too many, 501 another protocol.
 * What the caller may use is looked at for every stream, not at the call's beginning only. */
#ifndef BK_LIB_SERVE_H
#define BK_LIB_SERVE_H

#include "beckon/beckon.h"
#include "lib/access.h"
#include "lib/agent_config.h"
#include "lib/log_limit.h"
#include "lib/target.h"
#include "lib/udp_serve.h"
#include "net/h2.h"

struct bk_serve_joining;
struct bk_serve_prepared;

enum {
    BK_SERVE_UDP_MAX = 64, /* CONNECT-UDP streams of one call at a time: each may take 200 KB */
    BK_SERVE_PREPARED_MS = 10000, /* how long a prepared connection waits for its stream */
};

/* What is said of streams. Callers can open as many as they like: each kind of line has a limit for the call. */
enum bk_serve_line {
    BK_SERVE_NOT_OPEN, /* a service that the caller may not use */
    BK_SERVE_NO_ANSWER,
    BK_SERVE_USED,
    BK_SERVE_ENDED,
    BK_SERVE_LINES,
};

/* Zero what is not listed by the owner. */
struct bk_serve {
    struct event_base *base;
    struct bk_resolver *resolver;
    const struct bk_agent_config *config;
    beckon_log log;
    void *ctx;
    uint64_t (*unix_s)(void *time_ctx); /* the agent's time, 0 if it has none */
    void *time_ctx;
    struct bk_caller access;            /* what the caller may use, and until when */
    char caller[BK_NAME_MAX_BYTES + 1]; /* for the log */
    struct bk_serve_joining *joining;   /* streams whose service has not answered yet */
    unsigned udp_streams;               /* joined or joining */
    bool prepared_once;
    struct bk_serve_prepared *prepared; /* lib/serve_prepare.c; NULL: none waits */
    struct bk_log_limit limits[BK_SERVE_LINES];
};

/* For bk_h2_callbacks.request and .finished; both want the bk_serve of the session. */
/* `session`: any pointer that tells the sessions of a call apart. */
void bk_serve_request(struct bk_serve *serve, const void *session, struct bk_h2_stream *stream,
                      const char *authority);
void bk_serve_finished(struct bk_serve *serve, struct bk_h2_stream *stream,
                       const struct bk_h2_outcome *outcome);
/* The caller named this service in his request, and it is permitted: connects to it while TLS is under way. The first
 * stream that asks for it, of whichever session, gets that connection. Does nothing for what is unknown, not open to
 * him, or UDP, and nothing a second time: once for a call. `access` must be set. */
void bk_serve_prepare(struct bk_serve *serve, const char *service);
/* When the call is over, or its sessions are: ends a connection that was prepared and that nobody took. */
void bk_serve_drop_prepared(struct bk_serve *serve);
/* Before the session is freed with streams on it: forgets those of it that wait for their service. */
void bk_serve_cancel(struct bk_serve *serve, const void *session);
/* When the call is over: how many lines its limits kept out of the log since they were last counted there. */
void bk_serve_tell_left_out(struct bk_serve *serve);

#endif
