/* Serving the device's services on end-to-end sessions: every CONNECT stream is joined to the service
 * that its authority names ("ssh:1"), or refused: 404 no such service, 502 it does not answer. */
#ifndef BK_LIB_SERVE_H
#define BK_LIB_SERVE_H

#include "beckon/beckon.h"
#include "lib/agent_config.h"
#include "lib/target.h"
#include "net/h2.h"

struct bk_serve_joining;

/* Zero what is not listed by the owner. */
struct bk_serve {
    struct event_base *base;
    struct bk_resolver *resolver;
    const struct bk_agent_config *config;
    beckon_log log;
    void *ctx;
    char caller[BK_NAME_MAX_BYTES + 1]; /* for the log */
    struct bk_serve_joining *joining;   /* streams whose service has not answered yet */
};

/* For bk_h2_callbacks.request and .finished; both want the bk_serve of the session. */
void bk_serve_request(struct bk_serve *serve, struct bk_h2_stream *stream, const char *authority);
void bk_serve_finished(struct bk_serve *serve, struct bk_h2_stream *stream,
                       const struct bk_h2_outcome *outcome);
/* Before the session is freed with streams on it: forgets those that wait for their service. */
void bk_serve_cancel(struct bk_serve *serve);

#endif
