/* The sockets of core/requester/behaviour.h: how the NAT here treats UDP. */
#ifndef BK_LIB_NETCHECK_UDP_H
#define BK_LIB_NETCHECK_UDP_H

#include <event2/event.h>

#include "core/requester/behaviour.h"

struct bk_netcheck_udp;

/* Once, later; `local` is the main socket's address. May free it. */
typedef void bk_netcheck_udp_fn(void *ctx, const struct bk_behaviour_result *result,
                                const struct bk_addr *local);

/* `addrs` (1 to BK_BEHAVIOUR_ADDRS_MAX) as in struct bk_behaviour_config. BK_E_NOMEM, BK_E_IO (no such sockets here). */
BK_NODISCARD enum bk_err bk_netcheck_udp_new(struct event_base *base, const struct bk_addr *addrs,
                                             size_t n_addrs, bk_netcheck_udp_fn *done, void *ctx,
                                             struct bk_netcheck_udp **out);
void bk_netcheck_udp_free(struct bk_netcheck_udp *u);

#endif
