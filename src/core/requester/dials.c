/* The device's candidates: which of them we go to.
 *
 * They are the word of a device that has proven itself, in a box that only it can seal. But a device may have been
 * stolen, and must not make its callers knock at addresses of its choice. So: at most BK_REQUESTER_DIALS_MAX of them
 * before the call is up, and in each round; each once; global addresses, on ports that no well-known service has.
 * Private ones are none of its business, with one exception: where the server itself sees us under a private address,
 * all of this installation lies in a private network (a device on our own network is not in need of it: it dials our
 * host address). Whoever we dial gets a TCP connection on which we wait for a TLS client; the device is never told how it ended. */
#include <string.h>

#include "core/requester/state.h"

static bool ours(const struct bk_requester *r, const struct bk_addr *a)
{
    if (r->has_reflexive && bk_addr_equal(&r->reflexive, a)) {
        return true;
    }
    for (size_t i = 0; i < r->n_pool; i++) {
        if (bk_addr_equal(&r->pool[i].candidate.addr, a)) {
            return true;
        }
    }
    return false;
}

static bool reachable_scope(const struct bk_requester *r, const struct bk_addr *a)
{
    enum bk_addr_scope scope = bk_addr_scope(a);
    return scope == BK_SCOPE_GLOBAL || (scope == BK_SCOPE_PRIVATE && r->has_reflexive &&
                                        bk_addr_scope(&r->reflexive) == BK_SCOPE_PRIVATE);
}

static bool may_dial(const struct bk_requester *r, const struct bk_addr *a)
{
    return (a->port >= 1024 || a->port == 443) && reachable_scope(r, a) && !ours(r, a);
}

/* Only addresses that may be gone to: a relay that lets others in lets them in to us. */
void bk_requester_permit(struct bk_requester *r, const struct bk_addr *addr,
                         struct bk_requester_out *out)
{
    if (!r->relay_asked || !reachable_scope(r, addr) ||
        r->n_permitted == BK_REQUESTER_PERMITS_MAX) {
        return;
    }
    for (size_t i = 0; i < r->n_permitted; i++) {
        if (bk_addr_same_ip(&r->permitted[i], addr)) {
            return;
        }
    }
    r->permitted[r->n_permitted++] = *addr;
    bk_requester_add(out, BK_REQUESTER_PERMIT)->addr = *addr;
}

static bool dialled(const struct bk_requester *r, const struct bk_candidate *c)
{
    for (size_t i = 0; i < r->n_dialled; i++) {
        if (r->dialled[i].kind == c->kind && bk_addr_equal(&r->dialled[i].addr, &c->addr)) {
            return true;
        }
    }
    return false;
}

static void go_to(struct bk_requester *r, const struct bk_candidate *c,
                  struct bk_requester_out *out)
{
    bool met = c->kind == BK_CANDIDATE_REFLEXIVE;
    if (c->kind == BK_CANDIDATE_RELAYED || !may_dial(r, &c->addr) || dialled(r, c) ||
        r->n_dialled == BK_REQUESTER_DIALS_MAX) {
        return;
    }
    if (met && (!r->sent_reflexive || bk_addr_is_v4(&r->reflexive) != bk_addr_is_v4(&c->addr))) {
        return; /* the device does not come to meet us */
    }
    r->dialled[r->n_dialled++] = *c;
    struct bk_requester_action *a =
        bk_requester_add(out, met ? BK_REQUESTER_PUNCH : BK_REQUESTER_DIAL);
    a->candidate = *c;
    a->every_ms = met ? bk_paths_grid_ms(r->both_ms) : 0;
    a->tries = met ? bk_paths_grid_tries(a->every_ms) : 0;
}

void bk_requester_dial(struct bk_requester *r, const struct bk_now *now,
                       const struct bk_candidate *list, size_t n, struct bk_requester_out *out)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].kind != BK_CANDIDATE_RELAYED) {
            bk_requester_note_family(r, &list[i].addr);
            bk_requester_permit(r, &list[i].addr, out);
        }
        if (list[i].kind == BK_CANDIDATE_REFLEXIVE) {
            r->device_reflexive = list[i].addr;
        }
        go_to(r, &list[i], out);
    }
    r->dials_until = bk_time_add(now->mono, BK_REQUESTER_LOST_MS * BK_MS);
}
