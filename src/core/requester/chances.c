/* Which kinds of paths may come about at all, by what both sides have told: whether waiting for a better one is worth it.
 *
 * Never decides that a way is not taken, only that it is not waited for. What is not known counts as possible. */
#include "core/requester/state.h"

enum {
    FAMILY_V4 = 1,
    FAMILY_V6 = 2,
    FAMILY_BOTH = FAMILY_V4 | FAMILY_V6,
};

static unsigned family(const struct bk_addr *a)
{
    return bk_addr_is_v4(a) ? FAMILY_V4 : FAMILY_V6;
}

void bk_requester_note_family(struct bk_requester *r, const struct bk_addr *a)
{
    r->device_families |= family(a);
}

static unsigned device_families(const struct bk_requester *r)
{
    return r->device_families != 0 ? r->device_families : FAMILY_BOTH;
}

/* Private IPv4 addresses get out by translation; those of IPv6 do not. */
static unsigned own_families(const struct bk_requester *r)
{
    unsigned families = r->reflexive.port != 0 ? family(&r->reflexive) : 0;
    for (size_t i = 0; i < r->n_pool; i++) {
        const struct bk_candidate *c = &r->pool[i].candidate;
        if (c->kind != BK_CANDIDATE_RELAYED &&
            (bk_addr_is_v4(&c->addr) || bk_addr_scope(&c->addr) == BK_SCOPE_GLOBAL)) {
            families |= family(&c->addr);
        }
    }
    return families != 0 ? families : FAMILY_BOTH;
}

/* The device was told a candidate of ours of that kind that it may be able to dial. */
static bool told(const struct bk_requester *r, enum bk_candidate_kind kind)
{
    for (size_t i = 0; i < r->n_told; i++) {
        const struct bk_candidate *c = &r->told[i];
        if (c->kind == kind && (family(&c->addr) & device_families(r)) != 0 &&
            (kind != BK_CANDIDATE_HOST || bk_addr_scope(&c->addr) == BK_SCOPE_GLOBAL)) {
            return true;
        }
    }
    return false;
}

/* We are under way to an address of its host. */
static bool dialling_host(const struct bk_requester *r)
{
    for (size_t i = 0; i < r->n_dialled; i++) {
        const struct bk_candidate *c = &r->dialled[i];
        if (c->kind == BK_CANDIDATE_HOST && (family(&c->addr) & own_families(r)) != 0) {
            return true;
        }
    }
    return false;
}

static bool same_ip(const struct bk_addr *a, const struct bk_addr *b)
{
    return a->port != 0 && b->port != 0 && bk_addr_same_ip(a, b);
}

/* Behind one router, by what the server sees: our private addresses may be of use. */
static bool same_network(const struct bk_requester *r)
{
    return same_ip(&r->reflexive, &r->device_addr) || same_ip(&r->reflexive, &r->device_reflexive);
}

static bool host_may_come(const struct bk_requester *r)
{
    return told(r, BK_CANDIDATE_HOST) || dialling_host(r) || same_network(r) ||
           (!r->heard_accepted && r->server != SERVER_NONE); /* it may be about to say so */
}

/* A mapping of the device's router is for where nothing can be punched: it is not waited for (decision 16). */
bool bk_requester_better_may_come(const struct bk_requester *r, enum bk_candidate_kind kind)
{
    switch (kind) {
    case BK_CANDIDATE_HOST:
        return false;
    case BK_CANDIDATE_MAPPED:
        return host_may_come(r);
    case BK_CANDIDATE_REFLEXIVE:
        return host_may_come(r) || told(r, BK_CANDIDATE_MAPPED);
    case BK_CANDIDATE_RELAYED:
        return (own_families(r) & device_families(r)) != 0 &&
               (r->sent_direct || r->n_dialled > 0 || !r->heard_accepted);
    }
    return false;
}

static bool has_global_host(const struct bk_requester *r, unsigned wanted)
{
    for (size_t i = 0; i < r->n_pool; i++) {
        const struct bk_candidate *c = &r->pool[i].candidate;
        if (c->kind == BK_CANDIDATE_HOST && family(&c->addr) == wanted &&
            bk_addr_scope(&c->addr) == BK_SCOPE_GLOBAL) {
            return true;
        }
    }
    return false;
}

/* A router maps IPv4; for IPv6 it opens its firewall to a host's own address. */
bool bk_requester_mapping_matters(const struct bk_requester *r)
{
    if (!r->has_device_addr) {
        return true;
    }
    return bk_addr_is_v4(&r->device_addr) ? !has_global_host(r, FAMILY_V4)
                                          : has_global_host(r, FAMILY_V6);
}
