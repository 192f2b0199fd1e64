/* Connecting a call's stream to the service behind it: a local TCP or Unix socket. */
#ifndef BK_LIB_TARGET_H
#define BK_LIB_TARGET_H

#include <event2/event.h>

#include "base/err.h"
#include "lib/agent_config.h"
#include "net/resolve.h"

enum {
    BK_TARGET_MS = 5000, /* until the service must have answered, all addresses together */
};

struct bk_target;

/* fd >= 0: connected, the callee's. fd -1: `why` is an errno. */
typedef void (*bk_target_fn)(void *ctx, int fd, int why);

/* The callback comes once, later, unless cancelled. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_target_connect(struct event_base *base, struct bk_resolver *resolver,
                                           const struct bk_service *service, bk_target_fn done,
                                           void *ctx, struct bk_target **out);
void bk_target_cancel(struct bk_target *t);

#endif
