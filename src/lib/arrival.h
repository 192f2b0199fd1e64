/* How a connection of the device came about, judged by its two ends. */
#ifndef BK_LIB_ARRIVAL_H
#define BK_LIB_ARRIVAL_H

#include "wire/call_request.h"

enum {
    BK_ARRIVAL_HOSTS_MAX = 16,
    BK_ARRIVAL_GATEWAYS_MAX = 4,
    BK_ARRIVAL_MET_MAX = 8,
};

/* What we know of ourselves. */
struct bk_arrival_self {
    size_t n_told; /* the candidates that the device was told */
    const struct bk_candidate *told;
    size_t n_networks; /* of our interfaces */
    struct bk_prefix networks[BK_ARRIVAL_HOSTS_MAX];
    size_t n_gateways;
    struct bk_addr gateways[BK_ARRIVAL_GATEWAYS_MAX];
    size_t n_met; /* the device's addresses that we met halfway, in this call */
    const struct bk_addr *met;
};

/* Of a connection that our listener took: REFLEXIVE if it comes from one of the very ports that we opened towards, for a
 * device dials from others, and MAPPED all the same where our mapping and what the server sees are one address; HOST if it came to an address that is one of our HOST candidates and nothing translates on
 * the way (a public one; or from within our own network, not from its gateway); else MAPPED if we have such a
 * candidate, and REFLEXIVE if we have none. */
enum bk_candidate_kind bk_arrival_kind(const struct bk_arrival_self *self,
                                       const struct bk_addr *local, const struct bk_addr *remote);
/* The server sees us at the very address that our router maps: who meets us there comes through the mapping. */
bool bk_arrival_meets_mapping(const struct bk_arrival_self *self);
/* Which of our candidates it came by; NULL: none. */
const struct bk_candidate *bk_arrival_candidate(const struct bk_arrival_self *self,
                                                enum bk_candidate_kind kind,
                                                const struct bk_addr *local);

#endif
