/* What serve.c (streams) and serve_prepare.c (a service connected to before its stream is there) share. */
#ifndef BK_LIB_SERVE_PRIVATE_H
#define BK_LIB_SERVE_PRIVATE_H

#include "lib/serve.h"

/* A stream whose service is being connected to. */
struct bk_serve_joining {
    struct bk_serve *serve;
    const void *session;
    struct bk_h2_stream *stream;
    struct bk_target
        *target; /* one of these two; or neither, while it waits for what is prepared */
    struct bk_udp_serve *udp;
    const struct bk_service *service;
    struct bk_serve_joining *next, **link; /* of bk_serve.joining */
};

/* serve.c: the service has answered, or has not (fd -1, `why`); the joining is gone. */
void bk_serve_joined(struct bk_serve_joining *j, int fd, int why);
/* The service of that name and kind, if there is one and this caller may use it now. */
const struct bk_service *bk_serve_permitted(struct bk_serve *serve, struct bk_slice name, bool udp);

/* serve_prepare.c: true: `j` gets what was prepared for its service, now in `*fd`, or later by bk_serve_joined (-1). */
bool bk_serve_take_prepared(struct bk_serve_joining *j, int *fd);
/* `j` waits no more; what is prepared goes on for another. */
void bk_serve_leave_prepared(struct bk_serve_joining *j);

#endif
