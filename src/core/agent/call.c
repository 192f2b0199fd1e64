/* One call on the device: the request in, checks in their order, and what comes of them.
 *
 * Dials nothing before the box is open, for us, admitted, its password or key right, and the limits on
 * dialling asked. Invariants: the opened text is wiped with the call, the password in it as soon as it was
 * checked, the box keys as soon as nothing can be sent to the server; after END nothing is done; an answer
 * counts once, and only while it is waited for; a caller learns the same after the same time whatever became
 * of its candidates. */
#include "core/agent/call_state.h"

#include <assert.h>
#include <string.h>

#include "seal/caller_key.h"

struct bk_call_action *bk_call_add(struct bk_call_out *out, enum bk_call_action_type type)
{
    assert(out->n < BK_CALL_OUT_ACTIONS);
    struct bk_call_action *a = &out->actions[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

/* No result can be sent any more; a session may outlive the box keys in their file by far. */
static void forget_boxes(struct bk_call *c)
{
    bk_wipe(c->config.box, sizeof c->config.box);
    c->config.n_boxes = 0;
}

void bk_call_close_server(struct bk_call *c, bool abort, struct bk_call_out *out)
{
    forget_boxes(c);
    if (c->server_open) {
        c->server_open = false;
        bk_call_add(out, BK_CALL_CLOSE_SERVER)->abort = abort;
    }
}

static void wipe_password(struct bk_call *c)
{
    bk_wipe(c->plain + c->password_at, c->password_n);
    c->request.password = BK_SLICE_EMPTY;
}

void bk_call_finish(struct bk_call *c, enum bk_call_end reason, struct bk_call_out *out)
{
    bk_call_close_links(c, out);
    wipe_password(c);
    if (bk_call_is_untold(c)) {
        forget_boxes(c);
        c->state = BK_CALL_TELLING;
        c->reason = reason;
        c->deadline = bk_time_add(c->entered, BK_CALL_TELL_MS * BK_MS);
        return;
    }
    bk_call_close_server(c, false, out);
    c->state = BK_CALL_OVER;
    bk_call_add(out, BK_CALL_END)->reason = reason;
}

static void refuse(struct bk_call *c, enum bk_call_status status, enum bk_call_end reason,
                   struct bk_call_out *out)
{
    bk_call_send_result(c, status, NULL, 0, out);
    bk_call_finish(c, reason, out);
}

/* Opens the box into `plain`; what it says about itself must agree with what stands outside. */
static enum bk_err open_box(struct bk_call *c, const struct bk_connect *outside)
{
    struct bk_slice plain;
    enum bk_err err = BK_E_AUTH;
    for (size_t i = 0; i < c->config.n_boxes && err == BK_E_AUTH; i++) {
        err = bk_open_request(&c->config.box[i], outside->box, c->plain, sizeof c->plain, &plain);
        c->box = i;
    }
    if (err == BK_OK) {
        err = bk_call_request_read(plain, &c->request);
    }
    if (err != BK_OK) {
        bk_wipe(c->plain, sizeof c->plain);
        return err;
    }
    if (c->request.password.n > 0) {
        c->password_at = (size_t)(c->request.password.p - c->plain);
        c->password_n = c->request.password.n;
    }
    if (c->request.equipment_id != c->config.equipment_id ||
        memcmp(c->request.call_id, outside->call_id, BK_CALL_ID_BYTES) != 0) {
        return BK_E_MALFORMED;
    }
    return BK_OK;
}

/* Whether a caller with a key signed this very request for this very device. Whose key it is comes later. */
static bool signature_right(const struct bk_call *c)
{
    return !c->request.has_signature ||
           bk_caller_check(c->request.caller_key, c->config.device_pin, c->request.signed_text,
                           c->request.signature) == BK_OK;
}

static struct bk_admission_facts facts_of(const struct bk_call_request *request)
{
    struct bk_admission_facts facts;
    memset(&facts, 0, sizeof facts);
    memcpy(facts.call_id, request->call_id, sizeof facts.call_id);
    facts.unix_s = request->unix_s;
    facts.has_tag = request->has_tag;
    facts.tag = request->tag;
    facts.has_key = request->has_signature;
    if (facts.has_key) {
        memcpy(facts.key, request->caller_key, sizeof facts.key);
    }
    return facts;
}

/* The first two of the checks, which need nobody else, and the question for the third. */
static void take_request(struct bk_call *c, const struct bk_connect *outside,
                         struct bk_call_out *out)
{
    if (!bk_slice_to_text(outside->user, c->user, sizeof c->user)) {
        c->user[0] = '\0';
    }
    if (open_box(c, outside) != BK_OK) {
        bk_call_finish(c, BK_CALL_END_BAD_REQUEST, out);
        return;
    }
    if (!signature_right(c)) { /* nothing to remember: it will be as wrong the next time */
        refuse(c, BK_CALL_REFUSED, BK_CALL_END_REFUSED, out);
        return;
    }
    c->state = BK_CALL_ADMITTING;
    c->deadline = bk_time_add(c->entered, BK_CALL_CHECK_MS * BK_MS);
    bk_call_add(out, BK_CALL_ASK_ADMISSION)->facts = facts_of(&c->request);
}

static void start(struct bk_call *c, const struct bk_connect *request, struct bk_call_out *out)
{
    if (c->state != BK_CALL_NEW) {
        return;
    }
    c->state = BK_CALL_WAITING;
    if (request != NULL) {
        c->fast = true;
        take_request(c, request, out);
        return;
    }
    c->server_open = true;
    c->deadline = bk_time_add(c->entered, BK_CALL_SERVER_WAIT_MS * BK_MS);
    bk_call_add(out, BK_CALL_CONNECT_SERVER);
}

static void server_message(struct bk_call *c, struct bk_slice bytes, struct bk_call_out *out)
{
    struct bk_stun m;
    struct bk_connect outside;
    if (c->state != BK_CALL_WAITING) {
        return; /* one connection brings one call; in the fast form it has nothing to bring */
    }
    if (bk_stun_read(bytes, &m) != BK_OK || m.method != BK_METHOD_CONNECT ||
        m.cls != BK_STUN_REQUEST) {
        bk_call_finish(c, BK_CALL_END_BAD_REQUEST, out);
        return;
    }
    if (bk_connect_read(&m, &outside) != BK_OK || outside.equipment_id != c->config.equipment_id) {
        bk_call_reply(BK_CODE_BAD_REQUEST, m.txid, out);
        bk_call_finish(c, BK_CALL_END_BAD_REQUEST, out);
        return;
    }
    bk_call_reply(0, m.txid, out);
    if (outside.has_observed) {
        bk_call_observe(c, &outside.observed);
    }
    take_request(c, &outside, out);
}

/* Neither end can be gone to without being met halfway: our address is asked for while the password is checked. */
static bool only_met_halfway(const struct bk_call *c)
{
    bool met = false;
    for (size_t i = 0; i < c->request.n_candidates; i++) {
        const struct bk_candidate *it = &c->request.candidates[i];
        met = met || it->kind == BK_CANDIDATE_REFLEXIVE;
        if ((it->kind == BK_CANDIDATE_HOST || it->kind == BK_CANDIDATE_MAPPED) &&
            bk_addr_scope(&it->addr) == BK_SCOPE_GLOBAL) {
            return false;
        }
    }
    return met;
}

static void check_caller(struct bk_call *c, struct bk_call_out *out)
{
    c->state = BK_CALL_CHECKING;
    if (c->fast && only_met_halfway(c)) {
        bk_call_meet(c, out);
    }
    struct bk_call_action *a = bk_call_add(out, BK_CALL_CHECK_CALLER);
    a->bytes = c->request.password;
    a->facts = facts_of(&c->request);
}

static void admission(struct bk_call *c, const struct bk_call_event *event, struct bk_call_out *out)
{
    if (c->state != BK_CALL_ADMITTING) {
        return;
    }
    c->tag = event->tag;
    c->unix_s = event->unix_s;
    switch (event->verdict) {
    case BK_ADMITTED:
        check_caller(c, out);
        break;
    case BK_ADMISSION_STALE:
        refuse(c, BK_CALL_STALE, BK_CALL_END_STALE, out);
        break;
    case BK_ADMISSION_REPEATED:
        bk_call_finish(c, BK_CALL_END_REPEATED, out);
        break;
    case BK_ADMISSION_BACK_OFF:
        refuse(c, BK_CALL_BACK_OFF, BK_CALL_END_BACK_OFF, out);
        break;
    case BK_ADMISSION_BUSY:
        refuse(c, BK_CALL_BUSY, BK_CALL_END_BUSY, out);
        break;
    }
}

/* A service that this caller may not use is to him as one that does not exist. A call without a service
 * measures the path: there is nothing to look for. */
static bool has_service(const struct bk_call *c, uint64_t permitted)
{
    if (c->request.service.n == 0) {
        return true;
    }
    for (size_t i = 0; i < c->config.n_services; i++) {
        if (bk_slice_equal(c->config.services[i], c->request.service)) {
            return (permitted >> i & 1) != 0;
        }
    }
    return false;
}

/* From here on nothing that is found out about the candidates changes what the caller hears, or when. */
static void accept(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out)
{
    c->state = BK_CALL_DIALLING;
    c->accepted_at = c->told_at = now->mono;
    c->map_at = bk_time_add(now->mono, BK_CALL_MAP_AFTER_MS * BK_MS);
    c->n_peer = c->request.n_candidates;
    memcpy(c->peer, c->request.candidates, sizeof c->peer);
    if (!c->config.no_port) {
        bk_call_add(out, BK_CALL_LISTEN);
    }
    bk_call_send_result(c, BK_CALL_ACCEPTED, c->own, c->n_own, out);
    bk_call_ask(c, out);
}

static void caller(struct bk_call *c, const struct bk_now *now, const struct bk_call_event *event,
                   struct bk_call_out *out)
{
    if (c->state != BK_CALL_CHECKING) {
        return;
    }
    wipe_password(c);
    if (event->untold) {
        refuse(c, BK_CALL_BUSY, BK_CALL_END_BUSY, out);
    } else if (!event->right) {
        refuse(c, BK_CALL_REFUSED, BK_CALL_END_REFUSED, out);
    } else if (!has_service(c, event->services)) {
        refuse(c, BK_CALL_NO_SERVICE, BK_CALL_END_NO_SERVICE, out);
    } else {
        accept(c, now, out);
    }
}

static void server_open(struct bk_call *c, uint32_t ms, struct bk_call_out *out)
{
    if (c->fast && c->server_open) {
        bk_call_stream_open(c, out);
    } else if (!c->fast) { /* the server speaks first */
        c->server_ms = ms;
    }
}

static void server_closed(struct bk_call *c, struct bk_call_out *out)
{
    c->server_open = false;
    if (c->fast) {
        bk_call_stream_closed(c, out);
        return;
    }
    forget_boxes(c);
    /* Until ACCEPTED is said the caller knows of nothing to wait for; afterwards we go on dialling. */
    if (c->state == BK_CALL_WAITING || c->state == BK_CALL_ADMITTING ||
        c->state == BK_CALL_CHECKING) {
        bk_call_finish(c, BK_CALL_END_NO_SERVER, out);
    }
}

enum bk_err bk_call_new(const struct bk_alloc *alloc, const struct bk_call_config *config,
                        struct bk_call **out)
{
    assert(config->n_boxes <= BK_CALL_BOXES_MAX && config->n_services <= BK_CALL_SERVICES_MAX);
    struct bk_call *c = alloc->get(alloc->ctx, sizeof *c);
    if (c == NULL) {
        return BK_E_NOMEM;
    }
    c->alloc = *alloc;
    c->config = *config;
    c->state = BK_CALL_NEW;
    c->deadline = BK_TIME_NEVER;
    c->pick_until = BK_TIME_NEVER;
    c->linger_until = BK_TIME_NEVER;
    c->map_at = BK_TIME_NEVER;
    c->learn_until = BK_TIME_NEVER;
    c->meet_at = BK_TIME_NEVER;
    *out = c;
    return BK_OK;
}

void bk_call_free(struct bk_call *c)
{
    if (c != NULL) {
        struct bk_alloc alloc = c->alloc;
        bk_wipe(c, sizeof *c);
        alloc.put(alloc.ctx, c);
    }
}

void bk_call_input(struct bk_call *c, const struct bk_now *now, const struct bk_call_event *event,
                   struct bk_call_out *out)
{
    out->n = 0;
    out->used = 0;
    c->entered = now->mono;
    if (c->state == BK_CALL_OVER) {
        return;
    }
    switch (event->type) {
    case BK_CALL_START:
        start(c, event->request, out);
        break;
    case BK_CALL_SERVER_OPEN:
        server_open(c, event->ms, out);
        break;
    case BK_CALL_SERVER_MESSAGE:
        server_message(c, event->bytes, out);
        break;
    case BK_CALL_SERVER_CLOSED:
        server_closed(c, out);
        break;
    case BK_CALL_ADMISSION:
        admission(c, event, out);
        break;
    case BK_CALL_CALLER:
        caller(c, now, event, out);
        break;
    case BK_CALL_DIALS:
        bk_call_dials_answered(c, now, event->dials, out);
        break;
    case BK_CALL_OWN:
        bk_call_own(c, event, out);
        break;
    case BK_CALL_OBSERVED:
        bk_call_observed(c, now, event, out);
        break;
    case BK_CALL_RESULT_TOLD:
        bk_call_result_told(c, event->index, event->right, out);
        break;
    case BK_CALL_DIAL_FAILED:
    case BK_CALL_SESSION_UP:
    case BK_CALL_SESSION_PICKED:
    case BK_CALL_SESSION_ENDED:
        bk_call_link_event(c, now, event, out);
        break;
    case BK_CALL_PATHS:
        bk_call_paths(c, now, event, out);
        break;
    case BK_CALL_NETWORK_CHANGED:
        bk_call_network_changed(c, out);
        break;
    case BK_CALL_STOP:
        if (c->state == BK_CALL_UP) {
            bk_call_finish(c, BK_CALL_END_SERVED, out);
        }
        break;
    }
}

/* When the wait for a session that is used is over. */
static bk_time dialling_until(const struct bk_call *c)
{
    return bk_call_count(c, BK_LINK_STANDING) > 0
               ? c->pick_until
               : bk_time_add(c->accepted_at, BK_CALL_NO_ANSWER_MS * BK_MS);
}

static void timer_after_accepted(struct bk_call *c, const struct bk_now *now,
                                 struct bk_call_out *out)
{
    if (c->state == BK_CALL_DIALLING && dialling_until(c) <= now->mono) {
        refuse(c, BK_CALL_NO_ANSWER, BK_CALL_END_NO_ANSWER, out);
    } else if (c->linger_until <= now->mono) {
        bk_call_finish(c, BK_CALL_END_SERVED, out);
    } else {
        bk_call_links_timer(c, now, out);
        bk_call_paths_timer(c, now, out);
    }
}

void bk_call_timer(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out)
{
    out->n = 0;
    out->used = 0;
    c->entered = now->mono;
    if (c->state == BK_CALL_DIALLING || c->state == BK_CALL_UP) {
        timer_after_accepted(c, now, out);
    } else if (now->mono < c->deadline || c->state == BK_CALL_OVER) {
        return;
    } else if (c->state == BK_CALL_WAITING) {
        bk_call_finish(c, BK_CALL_END_NO_SERVER, out);
    } else if (c->state == BK_CALL_TELLING) {
        bk_call_forget_untold(c);
        bk_call_finish(c, c->reason, out);
    } else {
        refuse(c, BK_CALL_BUSY, BK_CALL_END_BUSY, out);
    }
}

bk_time bk_call_deadline(const struct bk_call *c)
{
    if (c->state == BK_CALL_OVER) {
        return BK_TIME_NEVER;
    }
    if (c->state != BK_CALL_DIALLING && c->state != BK_CALL_UP) {
        return c->deadline;
    }
    bk_time at = c->state == BK_CALL_DIALLING ? dialling_until(c) : c->linger_until;
    at = bk_time_min(at, bk_call_links_deadline(c));
    return bk_time_min(at, bk_call_paths_deadline(c));
}

void bk_call_set_policy(struct bk_call *c, const struct bk_policy *policy)
{
    c->config.policy = *policy;
}

const struct bk_candidate *bk_call_candidates(const struct bk_call *c, size_t *n)
{
    *n = c->n_peer;
    return c->peer;
}

const struct bk_call_request *bk_call_opened(const struct bk_call *c)
{
    return c->state == BK_CALL_DIALLING || c->state == BK_CALL_UP ? &c->request : NULL;
}

struct bk_slice bk_call_user(const struct bk_call *c)
{
    return bk_slice_text(c->user);
}
