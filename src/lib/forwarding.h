/* The inside of beckon forward and beckon socks, shared by client_forward.c (the call: made, made anew, over) and
 * forwarding_local.c (the local ports, and their connections until a stream has them). */
#ifndef BK_LIB_FORWARDING_H
#define BK_LIB_FORWARDING_H

#include <event2/listener.h>

#include "lib/client.h"
#include "lib/forward_spec.h"
#include "lib/socks.h"
#include "lib/udp_forward.h"

enum {
    BK_FORWARDS_MAX = 64,
    BK_FORWARD_PENDING_MAX = 256, /* connections that wait for the call */
};

struct bk_forwarding;

/* A local connection; and one for each UDP port, whose streams have it in common. Owner of its streams. */
struct bk_forward_connection {
    struct bk_forwarding *f;
    struct bk_forward_connection *next, **link; /* in bk_forwarding.connections */
    struct bk_socks *socks;                     /* it says what it wants */
    bool waiting;                               /* for the call; `fd` is ours */
    bool kept;                                  /* a UDP port's: does not end with a stream */
    int fd;
    int reply_fd; /* SOCKS: a second descriptor of it, to say how it ended; -1: that has been said */
    char service[BK_NAME_MAX_BYTES + 1];
};

struct bk_forward_local {
    struct bk_forwarding *owner;
    struct bk_forward_spec spec;
    struct evconnlistener *listener; /* TCP and SOCKS */
    struct bk_udp_forward *udp;
};

struct bk_forwarding {
    struct beckon_client *client;
    const char *device;
    struct beckon_error *error;
    enum beckon_status status;
    size_t n_locals;
    struct bk_forward_local locals[BK_FORWARDS_MAX];
    struct bk_outgoing *call; /* NULL: none */
    struct event *clear;      /* frees a call that is over, from the loop's top */
    struct event *resume;     /* accepts again after descriptors ran out */
    bool was_up;
    size_t n_waiting;
    struct bk_forward_connection *connections;
};

#define BK_FORWARD_LOG(f, level, ...)                                                              \
    bk_log((f)->client->options.log, (f)->client->options.ctx, level, __VA_ARGS__)

/* client_forward.c: the session for a new stream; NULL: none now, and `*coming` says whether one is on its way (a call is
 * made for it, naming `service`, if none is under way). */
struct bk_h2 *bk_forward_session(struct bk_forwarding *f, const char *service, bool *coming);

/* forwarding_local.c */
enum beckon_status bk_forward_listen(struct bk_forwarding *f, const char *spec,
                                     struct beckon_error *error);
void bk_forward_resume(struct bk_forwarding *f);
/* The call stands: those that wait get their streams; or it does not: they are rejected. */
void bk_forward_settle_waiting(struct bk_forwarding *f, struct bk_h2 *session);
/* What bk_h2_callbacks say of streams. */
void bk_forward_answered(struct bk_forwarding *f, struct bk_h2_stream *s, int status);
void bk_forward_finished(struct bk_forwarding *f, struct bk_h2_stream *s,
                         const struct bk_h2_outcome *outcome);
/* After the call: no stream is left. */
void bk_forward_close(struct bk_forwarding *f);

#endif
