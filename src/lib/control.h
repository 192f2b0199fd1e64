/* The control stream of a call: a CONNECT stream of the end-to-end session to BK_CONTROL_AUTHORITY, over which both
 * sides say PATHS (wire/paths.h). One for every session in use. Ends with its session, and without harm. */
#ifndef BK_LIB_CONTROL_H
#define BK_LIB_CONTROL_H

#include <event2/event.h>

#include "base/err.h"
#include "base/slice.h"

#define BK_CONTROL_AUTHORITY "_paths:1" /* no service can be called so */

struct bk_control;

struct bk_control_callbacks {
    void *ctx;
    void (*message)(void *ctx, struct bk_control *control,
                    struct bk_slice bytes);               /* one whole STUN message */
    void (*ended)(void *ctx, struct bk_control *control); /* last; free it then, or here */
};

/* Makes a socket pair: `*fd` is for bk_h2_open (requester) or bk_h2_accept (device). At most
 * BK_PATHS_MAX_BYTES a message, and a few dozen a minute, or it ends. BK_E_NOMEM, BK_E_IO. */
BK_NODISCARD enum bk_err bk_control_new(struct event_base *base,
                                        const struct bk_control_callbacks *on, int *fd,
                                        struct bk_control **out);
/* False: it does not go (the stream is full, or over). */
bool bk_control_send(struct bk_control *control, struct bk_slice message);
void bk_control_free(struct bk_control *control); /* NULL is fine */

#endif
