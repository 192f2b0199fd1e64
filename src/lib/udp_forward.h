/* A local UDP port that leads to a UDP service of a device: every local sender has a CONNECT-UDP stream of its own, which ends
 * when he has been silent. */
#ifndef BK_LIB_UDP_FORWARD_H
#define BK_LIB_UDP_FORWARD_H

#include "base/addr.h"
#include "lib/udp_flow.h"
#include "net/h2.h"

enum {
    BK_UDP_FORWARD_FLOWS_MAX = 256,
    BK_UDP_FORWARD_IDLE_MS = 2 * 60 * 1000, /* RFC 4787, REQ-5 */
    BK_UDP_FORWARD_OPEN_MS =
        20 * 1000, /* for the call to stand; what was sent meanwhile waits so long */
};

struct bk_udp_forward;

struct bk_udp_forward_config {
    struct bk_addr addr;
    const char *service; /* borrowed */
    /* The session for a new stream; NULL: there is none now, and `*coming` says whether to wait for one. */
    struct bk_h2 *(*session)(void *ctx, bool *coming);
    void *ctx;
    void *owner; /* of the streams */
};

/* BK_E_IO: errno tells; BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_udp_forward_new(struct event_base *base,
                                            const struct bk_udp_forward_config *config,
                                            struct bk_udp_forward **out);
/* No session comes: what waits for one is dropped. */
void bk_udp_forward_drop_waiting(struct bk_udp_forward *u);
/* Streams end. NULL is fine. */
void bk_udp_forward_free(struct bk_udp_forward *u);

#endif
