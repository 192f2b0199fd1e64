/* The device's end of a CONNECT-UDP stream: a UDP socket connected to the service. */
#ifndef BK_LIB_UDP_SERVE_H
#define BK_LIB_UDP_SERVE_H

#include "lib/agent_config.h"
#include "lib/udp_flow.h"
#include "net/resolve.h"

enum {
    BK_UDP_SERVE_IDLE_MS =
        5 * 60 * 1000, /* nothing either way for so long: the stream ends (RFC 4787, REQ-5) */
};

struct bk_udp_serve;

/* fd >= 0: the service's address is known and its socket stands; the descriptor is the stream's end, the callee's, and what
 * happens further is none of the caller's business: it ends with the stream. fd -1: `why` is an errno. */
typedef void bk_udp_serve_fn(void *ctx, int fd, int why);

/* The callback comes once, later, unless cancelled before. `count`, which outlives the loop, is one higher for as long as it
 * lives: a session may be freed with its streams, and nobody hears of their end but we. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_udp_serve_new(struct event_base *base, struct bk_resolver *resolver,
                                          const struct bk_service *service, bk_udp_serve_fn *done,
                                          void *ctx, unsigned *count, struct bk_udp_serve **out);
/* Only before the callback. NULL is fine. */
void bk_udp_serve_cancel(struct bk_udp_serve *u);

#endif
