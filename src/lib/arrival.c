/* By which of our candidates a connection came. A pure function of addresses. */
#include "lib/arrival.h"

static const struct bk_candidate *of_kind(const struct bk_arrival_self *self,
                                          enum bk_candidate_kind kind, const struct bk_addr *ip)
{
    const struct bk_candidate *found = NULL;

    for (size_t i = 0; i < self->n_told;
         i++) { /* of several the newest: it took the former one's place */
        if (self->told[i].kind == kind &&
            (ip == NULL || bk_addr_same_ip(&self->told[i].addr, ip))) {
            found = &self->told[i];
        }
    }
    return found;
}

/* In a network of ours, and not the gateway that translated it: a router that sends a mapping's connections back into
 * its own network (hairpin) puts itself in the sender's place. */
static bool is_neighbour(const struct bk_arrival_self *self, const struct bk_addr *remote)
{
    for (size_t i = 0; i < self->n_gateways; i++) {
        if (bk_addr_same_ip(&self->gateways[i], remote)) {
            return false;
        }
    }
    for (size_t i = 0; i < self->n_networks; i++) {
        if (bk_prefix_contains(&self->networks[i], remote)) {
            return true;
        }
    }
    return false;
}

bool bk_arrival_meets_mapping(const struct bk_arrival_self *self)
{
    const struct bk_candidate *mapped = of_kind(self, BK_CANDIDATE_MAPPED, NULL);
    const struct bk_candidate *seen = of_kind(self, BK_CANDIDATE_REFLEXIVE, NULL);

    return mapped != NULL && seen != NULL && bk_addr_equal(&mapped->addr, &seen->addr);
}

enum bk_candidate_kind bk_arrival_kind(const struct bk_arrival_self *self,
                                       const struct bk_addr *local, const struct bk_addr *remote)
{
    for (size_t i = 0; i < self->n_met; i++) {
        if (bk_addr_equal(&self->met[i], remote)) {
            return bk_arrival_meets_mapping(self) ? BK_CANDIDATE_MAPPED : BK_CANDIDATE_REFLEXIVE;
        }
    }
    if (of_kind(self, BK_CANDIDATE_HOST, local) != NULL &&
        (bk_addr_scope(local) == BK_SCOPE_GLOBAL || is_neighbour(self, remote))) {
        return BK_CANDIDATE_HOST;
    }
    if (of_kind(self, BK_CANDIDATE_MAPPED, NULL) == NULL &&
        of_kind(self, BK_CANDIDATE_REFLEXIVE, NULL) != NULL) {
        return BK_CANDIDATE_REFLEXIVE;
    }
    return BK_CANDIDATE_MAPPED;
}

const struct bk_candidate *bk_arrival_candidate(const struct bk_arrival_self *self,
                                                enum bk_candidate_kind kind,
                                                const struct bk_addr *local)
{
    return of_kind(self, kind, kind == BK_CANDIDATE_HOST ? local : NULL);
}
