/* End-to-end connections: who can dial whom, and what goes over those that stand.
 *
 * An address belongs to a caller or to a call; the caller's switches say which ways lead anywhere. Both cores hear of a
 * session when it stands and when it ends, each after the delay of the network. */
#include "sim.h"

#include <string.h>

static const struct bk_addr nowhere;

static struct session *session_at(struct world *w, uint64_t number)
{
    return number == 0 || number > w->n_sessions ? NULL : &w->sessions[number - 1];
}

/* ---- what each side hears ---- */

static void device_hears(struct world *w, struct event *e)
{
    const struct session *s = session_at(w, e->to.port);
    if (s == NULL) {
        return;
    }
    struct bk_call_event event = {.type = (enum bk_call_event_type)e->arg,
                                  .index = s->index,
                                  .lost = e->addr.port != 0,
                                  .bytes = bk_slice(e->bytes, e->n)};
    if (s->call->session[s->index] != e->to.port) {
        return; /* the device has closed it meanwhile */
    }
    if (event.type == BK_CALL_SESSION_ENDED) {
        s->call->session[s->index] = 0;
    }
    call_event(s->call, event);
}

static void tell_device(struct world *w, uint64_t session, enum bk_call_event_type what, bool lost,
                        struct bk_slice bytes)
{
    struct event *e = world_after(w, w->delay_ms * BK_MS, device_hears, NULL, bytes);
    e->arg = what;
    e->to.port = (uint16_t)session;
    e->addr.port = lost;
}

static void caller_hears(struct world *w, struct event *e)
{
    const struct session *s = session_at(w, e->to.port);
    if (s == NULL) {
        return;
    }
    caller_input(s->caller,
                 (struct bk_requester_event){.type = (enum bk_requester_event_type)e->arg,
                                             .session = e->to.port,
                                             .lost = e->addr.port != 0,
                                             .bytes = bk_slice(e->bytes, e->n)});
}

static void tell_caller(struct world *w, uint64_t session, enum bk_requester_event_type what,
                        bool lost, struct bk_slice bytes)
{
    struct event *e = world_after(w, w->delay_ms * BK_MS, caller_hears, NULL, bytes);
    e->arg = what;
    e->to.port = (uint16_t)session;
    e->addr.port = lost;
}

/* ---- sessions ---- */

void session_pick(struct world *w, uint64_t session)
{
    struct session *s = session_at(w, session);
    if (s != NULL && !s->picked) {
        s->picked = true;
        tell_device(w, session, BK_CALL_SESSION_PICKED, false, BK_SLICE_EMPTY);
    }
}

void session_close(struct world *w, uint64_t session)
{
    struct session *s = session_at(w, session);
    if (s != NULL && s->open) {
        s->open = false;
        tell_device(w, session, BK_CALL_SESSION_ENDED, false, BK_SLICE_EMPTY);
    }
}

void session_say(struct world *w, uint64_t session, struct bk_slice paths)
{
    const struct session *s = session_at(w, session);
    CHECK(w, s != NULL && s->picked);
    if (s != NULL && s->open) {
        tell_device(w, session, BK_CALL_PATHS, false, paths);
    }
}

void session_cut(struct world *w, uint64_t session)
{
    struct session *s = session_at(w, session);
    if (s != NULL && s->open) {
        s->open = false;
        tell_device(w, session, BK_CALL_SESSION_ENDED, true, BK_SLICE_EMPTY);
        tell_caller(w, session, BK_REQUESTER_SESSION_ENDED, true, BK_SLICE_EMPTY);
    }
}

uint32_t sessions_cut(struct world *w, enum bk_candidate_kind kind)
{
    uint32_t n = 0;
    for (uint64_t i = 1; i <= w->n_sessions; i++) {
        if (w->sessions[i - 1].open && w->sessions[i - 1].kind == kind) {
            session_cut(w, i);
            n++;
        }
    }
    return n;
}

/* TLS stands, or it does not: each is whom the other expects. */
static bool handshake(const struct sim_call *c, const struct caller *caller)
{
    const struct bk_call_request *request = c->core == NULL ? NULL : bk_call_opened(c->core);
    return request != NULL && caller->core != NULL && caller->expecting &&
           memcmp(caller->expected, c->device->pin, BK_PIN_BYTES) == 0 &&
           memcmp(caller->call_key, request->call_key, BK_KEY_BYTES) == 0 &&
           memcmp(caller->call_id, request->call_id, BK_CALL_ID_BYTES) == 0 &&
           c->world->n_sessions < SIM_SESSIONS_MAX;
}

static void stand(struct sim_call *c, size_t link, struct caller *caller,
                  enum bk_candidate_kind kind, bool by_caller)
{
    struct world *w = c->world;
    w->sessions[w->n_sessions++] =
        (struct session){.call = c, .caller = caller, .index = link, .kind = kind, .open = true};
    uint64_t number = w->n_sessions;
    c->dialling[link] = false;
    c->session[link] = number;
    call_event(c, (struct bk_call_event){.type = BK_CALL_SESSION_UP,
                                         .index = link,
                                         .addr = by_caller ? caller->reflexive : nowhere,
                                         .local = by_caller ? c->mapped : nowhere});
    caller_input(caller, (struct bk_requester_event){.type = BK_REQUESTER_SESSION_UP,
                                                     .session = number,
                                                     .kind = kind,
                                                     .ours = by_caller});
}

/* ---- the device's side ---- */

static void failed(struct sim_call *c, size_t link, bool cut)
{
    c->dialling[link] = false;
    call_event(c, (struct bk_call_event){.type = BK_CALL_DIAL_FAILED, .index = link, .cut = cut});
}

/* A SYN arrives where the box pointed: refused, lost, or the caller's listener. */
static void dial_arrives(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    size_t link = (size_t)e->arg;
    enum bk_candidate_kind kind;
    if (c->core == NULL || !c->dialling[link]) {
        return;
    }
    struct caller *caller = caller_at(w, &e->addr, &kind);
    bool reached = caller != NULL &&
                   (kind == BK_CANDIDATE_RELAYED ? caller->relayed : caller->reachable) &&
                   kind != BK_CANDIDATE_REFLEXIVE;
    if (!reached) {
        if (caller == NULL || !caller->silent) {
            failed(c, link, false);
        }
    } else if (!handshake(c, caller)) {
        failed(c, link, true);
    } else {
        stand(c, link, caller, kind, false);
    }
}

void link_dial(struct sim_call *c, size_t link, const struct bk_addr *to)
{
    struct world *w = c->world;
    c->dialling[link] = true;
    struct event *e = world_after(w, 2 * w->delay_ms * BK_MS, dial_arrives, c, BK_SLICE_EMPTY);
    e->arg = link;
    e->addr = *to;
}

/* Both must try at the same time: the caller tries until it is told to stop. */
static void punch_tries(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    size_t link = (size_t)e->arg;
    enum bk_candidate_kind kind;
    if (c->core == NULL || !c->dialling[link]) {
        return;
    }
    struct caller *caller = caller_at(w, &e->addr, &kind);
    bool met = false;
    for (size_t i = 0; caller != NULL && i < caller->n_meets; i++) {
        met = met || bk_addr_equal(&caller->meets[i], &c->reflexive);
    }
    if (met && kind == BK_CANDIDATE_REFLEXIVE && caller->punched && handshake(c, caller)) {
        stand(c, link, caller, BK_CANDIDATE_REFLEXIVE, false);
    } else if (e->tries <= 1) {
        failed(c, link, false);
    } else {
        struct event *next = world_after(w, e->every_ms * BK_MS, punch_tries, c, BK_SLICE_EMPTY);
        next->arg = e->arg;
        next->addr = e->addr;
        next->tries = e->tries - 1;
        next->every_ms = e->every_ms;
    }
}

void link_punch(struct sim_call *c, const struct bk_call_action *a)
{
    c->dialling[a->index] = true;
    struct event *e = world_after(c->world, a->first_ms * BK_MS, punch_tries, c, BK_SLICE_EMPTY);
    e->arg = a->index;
    e->addr = a->addr;
    e->tries = a->tries;
    e->every_ms = a->every_ms;
}

void link_close(struct sim_call *c, size_t link)
{
    struct session *s = session_at(c->world, c->session[link]);
    c->dialling[link] = false;
    if (s != NULL) {
        if (s->open) {
            s->open = false;
            tell_caller(c->world, c->session[link], BK_REQUESTER_SESSION_ENDED, false,
                        BK_SLICE_EMPTY);
        }
        c->session[link] = 0;
    }
}

void link_say(struct sim_call *c, size_t link, struct bk_slice paths)
{
    const struct session *s = session_at(c->world, c->session[link]);
    if (s != NULL && s->open && s->picked) {
        tell_caller(c->world, c->session[link], BK_REQUESTER_PATHS, false, paths);
    }
}

/* ---- the caller's side ---- */

static struct sim_call *call_at(struct world *w, const struct bk_addr *addr)
{
    for (size_t i = 0; i < w->n_devices; i++) {
        for (struct sim_call *c = w->devices[i]->calls; c != NULL; c = c->next) {
            if (c->core != NULL && c->listening && bk_addr_equal(&c->mapped, addr)) {
                return c;
            }
        }
    }
    return NULL;
}

static void back_arrives(struct world *w, struct event *e)
{
    struct caller *caller = e->who;
    struct sim_call *c = call_at(w, &e->addr);
    size_t link = BK_CALL_DIALS_MAX;
    while (c != NULL && link < BK_CALL_LINKS_MAX && c->session[link] != 0) {
        link++;
    }
    if (c != NULL && caller->dials_back && link < BK_CALL_LINKS_MAX && handshake(c, caller)) {
        stand(c, link, caller, BK_CANDIDATE_MAPPED, true);
    }
}

void caller_dials(struct caller *c, const struct bk_addr *to)
{
    struct world *w = c->world;
    world_after(w, 2 * w->delay_ms * BK_MS, back_arrives, c, BK_SLICE_EMPTY)->addr = *to;
}
