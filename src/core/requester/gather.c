/* Our own candidates: which there are, when there are enough of them, and which are told.
 *
 * What the server says of our address and of relays is taken for what it is, a proposal: the device has a policy for
 * what it dials, and TURN credentials are lent to the shell once and wiped. Invariant: at most BK_CANDIDATES_MAX are
 * told, and every kind that is there is among them. */
#include <string.h>

#include "core/requester/state.h"

void bk_requester_gather(struct bk_requester *r, const struct bk_now *now,
                         struct bk_requester_out *out)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_pool; i++) {
        if (r->pool[i].source == BK_SOURCE_RELAY) {
            r->pool[n++] = r->pool[i];
        }
    }
    r->n_pool = n;
    r->done[BK_SOURCE_HOST] = r->done[BK_SOURCE_MAPPING] = false;
    r->ready_at = BK_TIME_NEVER;
    r->alone_until = bk_time_add(now->mono, BK_REQUESTER_MAPPING_ALONE_MS * BK_MS);
    bk_requester_add(out, BK_REQUESTER_GATHER);
}

struct bk_requester_own *bk_requester_keep(struct bk_requester *r, enum bk_requester_source source,
                                           const struct bk_candidate *c, bool *known)
{
    *known = false;
    if (c->kind == BK_CANDIDATE_REFLEXIVE || !bk_candidate_kind_known((unsigned)c->kind)) {
        return NULL;
    }
    for (size_t i = 0; i < r->n_pool; i++) {
        struct bk_requester_own *own = &r->pool[i];
        if (bk_addr_equal(&own->candidate.addr, &c->addr)) {
            *known = own->source == source;
            if (c->kind < own->candidate.kind) {
                own->candidate.kind = c->kind;
            }
            return own;
        }
    }
    if (r->n_pool == BK_REQUESTER_POOL_MAX) {
        return NULL;
    }
    r->pool[r->n_pool] = (struct bk_requester_own){.candidate = *c, .source = source};
    return &r->pool[r->n_pool++];
}

static void forget_at(struct bk_requester *r, size_t i)
{
    r->pool[i] = r->pool[--r->n_pool];
}

void bk_requester_forget(struct bk_requester *r, const struct bk_candidate *c)
{
    for (size_t i = 0; i < r->n_pool; i++) {
        if (bk_addr_equal(&r->pool[i].candidate.addr, &c->addr)) {
            forget_at(r, i);
            return;
        }
    }
}

void bk_requester_forget_relay(struct bk_requester *r)
{
    for (size_t i = r->n_pool; i-- > 0;) {
        if (r->pool[i].source == BK_SOURCE_RELAY) {
            forget_at(r, i);
        }
    }
    r->relay_asked = false;
}

/* Private ones too: the server may be one of a private network. A device that may not dial there will not. */
static bool sensible(const struct bk_addr *a)
{
    enum bk_addr_scope scope = bk_addr_scope(a);
    return a->port != 0 &&
           (scope == BK_SCOPE_GLOBAL || scope == BK_SCOPE_PRIVATE || scope == BK_SCOPE_RESERVED);
}

static struct bk_slice keep_text(struct bk_requester *r, size_t *used, struct bk_slice text)
{
    if (text.n > sizeof r->relay_text - *used) {
        return BK_SLICE_EMPTY;
    }
    uint8_t *at = r->relay_text + *used;
    if (text.n > 0) {
        memcpy(at, text.p, text.n);
    }
    *used += text.n;
    return bk_slice(at, text.n);
}

void bk_requester_wipe_relays(struct bk_requester *r)
{
    r->has_relays = r->relays_lent = false;
    bk_wipe(r->relay_text, sizeof r->relay_text);
    memset(&r->relays, 0, sizeof r->relays);
}

void bk_requester_take_info(struct bk_requester *r, const struct bk_info *info)
{
    size_t used = 0;
    r->has_reflexive = !r->config.no_reflexive && sensible(&info->observed);
    r->reflexive = info->observed;
    bk_requester_wipe_relays(r);
    if (info->n_relays == 0) {
        return;
    }
    r->has_relays = true;
    r->relays = *info;
    for (size_t i = 0; i < info->n_relays; i++) {
        r->relays.relays[i].host = keep_text(r, &used, info->relays[i].host);
    }
    r->relays.username = keep_text(r, &used, info->username);
    r->relays.password = keep_text(r, &used, info->password);
}

void bk_requester_gather_relay(struct bk_requester *r, const struct bk_now *now,
                               struct bk_requester_out *out)
{
    if (!r->has_relays || !r->has_device_addr || r->relay_asked) {
        return;
    }
    r->relay_asked = true;
    r->done[BK_SOURCE_RELAY] = false;
    r->relay_until = bk_time_add(now->mono, BK_REQUESTER_RELAY_MS * BK_MS);
    r->relays_lent = true;
    r->permitted[0] = r->device_addr;
    r->n_permitted = 1;
    struct bk_requester_action *a = bk_requester_add(out, BK_REQUESTER_GATHER_RELAY);
    a->info = &r->relays;
    a->addr = r->device_addr;
}

static bool any(const struct bk_requester *r)
{
    return r->n_pool > 0 || r->has_reflexive;
}

/* Gives up waiting for what has taken too long. */
static void give_up(struct bk_requester *r, bk_time now)
{
    if (now >= r->info_until) {
        r->info_done = true;
    }
    if (r->relay_asked && now >= r->relay_until) {
        r->done[BK_SOURCE_RELAY] = true;
    }
    if (now >= r->alone_until) {
        r->done[BK_SOURCE_HOST] = r->done[BK_SOURCE_MAPPING] = true;
    }
}

static bool ready_but_mapping(const struct bk_requester *r)
{
    return r->done[BK_SOURCE_HOST] && r->info_done && (!r->relay_asked || r->done[BK_SOURCE_RELAY]);
}

/* The rest being there, and not even a moment where it would be of no use. */
static bk_time mapping_until(const struct bk_requester *r)
{
    uint64_t wait_ms = bk_requester_mapping_matters(r) ? BK_REQUESTER_MAPPING_MS : 0;
    return bk_time_add(r->ready_at, wait_ms * BK_MS);
}

/* In a round nobody is kept waiting: all of it. */
bool bk_requester_gathered_all(struct bk_requester *r, const struct bk_now *now)
{
    give_up(r, now->mono);
    return ready_but_mapping(r) && r->done[BK_SOURCE_MAPPING];
}

/* Where one address serves: a firewall before an IPv6 one has its moment to be opened. */
static bool pinhole_matters(const struct bk_requester *r)
{
    return r->by_known ? !bk_addr_is_v4(&r->config.known.came_to) : bk_requester_mapping_matters(r);
}

enum gathered bk_requester_gathered(struct bk_requester *r, const struct bk_now *now)
{
    give_up(r, now->mono);
    if (r->quick && !pinhole_matters(r)) { /* the one that serves is there */
        return GATHERED_ENOUGH;
    }
    if (!r->quick && !ready_but_mapping(r)) {
        r->ready_at = BK_TIME_NEVER;
        return GATHERED_NOT_YET;
    }
    if (r->ready_at == BK_TIME_NEVER) {
        r->ready_at = now->mono;
    }
    if (any(r) && now->mono >= mapping_until(r)) {
        r->done[BK_SOURCE_MAPPING] = true;
    }
    if (!r->done[BK_SOURCE_MAPPING]) {
        return GATHERED_NOT_YET;
    }
    return any(r) ? GATHERED_ENOUGH : GATHERED_NOTHING;
}

bk_time bk_requester_gather_deadline(const struct bk_requester *r)
{
    bk_time at = BK_TIME_NEVER;
    if (r->quick) {
        bool waits = pinhole_matters(r) && r->ready_at != BK_TIME_NEVER;
        return waits && !r->done[BK_SOURCE_MAPPING] ? mapping_until(r) : BK_TIME_NEVER;
    }
    if (!r->done[BK_SOURCE_HOST] || !r->done[BK_SOURCE_MAPPING]) {
        at = bk_time_min(at, r->alone_until);
    }
    if (!r->info_done) {
        at = bk_time_min(at, r->info_until);
    }
    if (r->relay_asked && !r->done[BK_SOURCE_RELAY]) {
        at = bk_time_min(at, r->relay_until);
    }
    if (r->ready_at != BK_TIME_NEVER && !r->done[BK_SOURCE_MAPPING] && any(r)) {
        at = bk_time_min(at, mapping_until(r));
    }
    return at;
}

static size_t count(const struct bk_requester *r, enum bk_candidate_kind kind)
{
    size_t n = kind == BK_CANDIDATE_REFLEXIVE && r->has_reflexive ? 1 : 0;
    for (size_t i = 0; i < r->n_pool; i++) {
        n += r->pool[i].candidate.kind == kind;
    }
    return n;
}

/* Every kind has room for one; RELAYED for two: a device that only gets out by port 443 has no other way. */
static size_t kept_for(const struct bk_requester *r, enum bk_candidate_kind kind)
{
    size_t n = count(r, kind), most = kind == BK_CANDIDATE_RELAYED ? 2 : 1;
    return n < most ? n : most;
}

/* Takes at most `room` of one kind. */
static size_t take(const struct bk_requester *r, enum bk_candidate_kind kind, size_t room,
                   struct bk_candidate *list)
{
    size_t n = 0;
    if (kind == BK_CANDIDATE_REFLEXIVE && r->has_reflexive && room > 0) {
        list[n++] = (struct bk_candidate){kind, r->reflexive};
    }
    for (size_t i = 0; i < r->n_pool && n < room; i++) {
        if (r->pool[i].candidate.kind == kind) {
            list[n++] = r->pool[i].candidate;
        }
    }
    return n;
}

/* An address may be told twice, once as REFLEXIVE: a firewall before a host address opens for the one who is met there. */
size_t bk_requester_choose(struct bk_requester *r, struct bk_candidate *list)
{
    size_t n = 0;
    r->sent_reflexive = r->has_reflexive;
    r->sent_direct = false;
    for (unsigned kind = BK_CANDIDATE_HOST; kind <= BK_CANDIDATE_RELAYED; kind++) {
        size_t room = BK_CANDIDATES_MAX - n;
        for (unsigned later = kind + 1; later <= BK_CANDIDATE_RELAYED; later++) {
            room -= kept_for(r, (enum bk_candidate_kind)later);
        }
        n += take(r, (enum bk_candidate_kind)kind, room, list + n);
        if (kind < BK_CANDIDATE_RELAYED) {
            r->sent_direct = n > 0;
        }
    }
    r->n_told = n;
    memcpy(r->told, list, n * sizeof list[0]);
    return n;
}
