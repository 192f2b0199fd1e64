/* One call on the device: 226 in, checks in their order, dials, and the session that is picked.
 *
 * Dials nothing before the box is open, for us, admitted, its password or key right, and the limits on
 * dialling asked. Invariants: the opened text is wiped with the call, the password in it as soon as it was
 * checked, the box keys as soon as nothing can be sent to the server; after END nothing is done; an answer
 * counts once, and only while it is waited for; a caller learns the same after the same time whatever became
 * of its candidates. */
#include "core/agent/call.h"

#include <assert.h>
#include <string.h>

#include "seal/caller_key.h"
#include "wire/result.h"

enum call_state {
    STATE_NEW,
    STATE_WAITING, /* for the server's 226 */
    STATE_ADMITTING,
    STATE_CHECKING, /* the password, or the key */
    STATE_DIALLING,
    STATE_PICKED,
    STATE_OVER,
};

enum dial_state {
    DIAL_NONE,
    DIAL_OPEN,
    DIAL_UP,
};

struct bk_call {
    struct bk_alloc alloc;
    struct bk_call_config config;
    enum call_state state;
    bool server_open; /* the shell holds or makes a connection to the server */
    bk_time deadline;
    bk_time accepted_until; /* when NO_ANSWER is due */
    char user[BK_NAME_MAX_BYTES + 1];
    uint8_t plain[BK_CALL_REQUEST_MAX_BYTES];
    size_t password_at; /* where in `plain` */
    size_t password_n;
    struct bk_call_request request; /* borrows from `plain` */
    size_t box;                     /* which of ours opened it: results come from the same */
    struct bk_tag tag;              /* the agent's current one, for results */
    uint64_t unix_s;
    uint32_t asked_dials; /* candidates that ASK_DIALS waits for, bit i for candidate i */
    enum dial_state dials[BK_CANDIDATES_MAX];
};

static struct bk_call_action *add(struct bk_call_out *out, enum bk_call_action_type type)
{
    assert(out->n < BK_CALL_OUT_ACTIONS);
    struct bk_call_action *a = &out->actions[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

static void add_send(struct bk_call_out *out, struct bk_slice bytes)
{
    add(out, BK_CALL_SEND_SERVER)->bytes = bytes;
    out->used += bytes.n;
}

/* No result can be sent any more; a session may outlive the box keys in their file by far. */
static void forget_boxes(struct bk_call *c)
{
    bk_wipe(c->config.box, sizeof c->config.box);
    c->config.n_boxes = 0;
}

static void close_server(struct bk_call *c, struct bk_call_out *out)
{
    forget_boxes(c);
    if (c->server_open) {
        c->server_open = false;
        add(out, BK_CALL_CLOSE_SERVER);
    }
}

static void close_dials_but(struct bk_call *c, size_t keep, struct bk_call_out *out)
{
    for (size_t i = 0; i < BK_CANDIDATES_MAX; i++) {
        if (i != keep && c->dials[i] != DIAL_NONE) {
            c->dials[i] = DIAL_NONE;
            add(out, BK_CALL_CLOSE_DIAL)->index = i;
        }
    }
}

static void wipe_password(struct bk_call *c)
{
    bk_wipe(c->plain + c->password_at, c->password_n);
    c->request.password = BK_SLICE_EMPTY;
}

static void end(struct bk_call *c, enum bk_call_end reason, struct bk_call_out *out)
{
    close_dials_but(c, BK_CANDIDATES_MAX, out);
    close_server(c, out);
    wipe_password(c);
    c->state = STATE_OVER;
    c->deadline = BK_TIME_NEVER;
    add(out, BK_CALL_END)->reason = reason;
}

/* Boxed to the caller of this call; nothing is sent once the server is gone. */
static void send_result(struct bk_call *c, enum bk_call_status status, struct bk_call_out *out)
{
    if (!c->server_open) {
        return;
    }
    struct bk_call_result result = {.status = status, .tag = c->tag, .unix_s = c->unix_s};
    memcpy(result.call_id, c->request.call_id, sizeof result.call_id);
    uint8_t plain[BK_CALL_RESULT_MAX_BYTES];
    uint8_t box[BK_CALL_RESULT_MAX_BYTES + BK_REPLY_OVERHEAD_BYTES];
    uint8_t txid[BK_STUN_TXID_BYTES];
    c->config.rng.fill(c->config.rng.ctx, txid, sizeof txid);
    struct bk_slice text;
    struct bk_result message;
    struct bk_slice bytes;
    memcpy(message.call_id, c->request.call_id, sizeof message.call_id);
    /* Sealing refuses a reply key that is no point of the curve: then there is nobody to tell. */
    if (bk_call_result_write(plain, sizeof plain, &result, &text) == BK_OK &&
        bk_seal_result(c->config.box[c->box].secret_key, c->request.reply_key, &c->config.rng, text,
                       box, sizeof box, &message.box) == BK_OK &&
        bk_result_write(out->bytes + out->used, sizeof out->bytes - out->used, txid, &message,
                        &bytes) == BK_OK) {
        add_send(out, bytes);
    }
}

static void refuse(struct bk_call *c, enum bk_call_status status, enum bk_call_end reason,
                   struct bk_call_out *out)
{
    send_result(c, status, out);
    end(c, reason, out);
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

static void send_reply(uint16_t code, const uint8_t txid[BK_STUN_TXID_BYTES],
                       struct bk_call_out *out)
{
    uint8_t *at = out->bytes + out->used;
    size_t cap = sizeof out->bytes - out->used;
    struct bk_slice bytes;
    enum bk_err err =
        code == 0 ? bk_success_write(at, cap, BK_METHOD_CONNECT, txid, &bytes)
                  : bk_error_write(at, cap, BK_METHOD_CONNECT, txid, code, "not for me", &bytes);
    assert(err == BK_OK);
    (void)err;
    add_send(out, bytes);
}

static void server_message(struct bk_call *c, const struct bk_now *now, struct bk_slice bytes,
                           struct bk_call_out *out)
{
    struct bk_stun m;
    struct bk_connect outside;
    if (c->state != STATE_WAITING) {
        return; /* one connection brings one call */
    }
    if (bk_stun_read(bytes, &m) != BK_OK || m.method != BK_METHOD_CONNECT ||
        m.cls != BK_STUN_REQUEST) {
        end(c, BK_CALL_END_BAD_REQUEST, out);
        return;
    }
    if (bk_connect_read(&m, &outside) != BK_OK || outside.equipment_id != c->config.equipment_id) {
        send_reply(BK_CODE_BAD_REQUEST, m.txid, out);
        end(c, BK_CALL_END_BAD_REQUEST, out);
        return;
    }
    send_reply(0, m.txid, out);
    if (!bk_slice_to_text(outside.user, c->user, sizeof c->user)) {
        c->user[0] = '\0';
    }
    if (open_box(c, &outside) != BK_OK) {
        end(c, BK_CALL_END_BAD_REQUEST, out);
        return;
    }
    if (!signature_right(c)) { /* nothing to remember: it will be as wrong the next time */
        refuse(c, BK_CALL_REFUSED, BK_CALL_END_REFUSED, out);
        return;
    }
    c->state = STATE_ADMITTING;
    c->deadline = bk_time_add(now->mono, BK_CALL_CHECK_MS * BK_MS);
    add(out, BK_CALL_ASK_ADMISSION)->facts = facts_of(&c->request);
}

static void check_caller(struct bk_call *c, struct bk_call_out *out)
{
    c->state = STATE_CHECKING;
    struct bk_call_action *a = add(out, BK_CALL_CHECK_CALLER);
    a->bytes = c->request.password;
    a->facts = facts_of(&c->request);
}

static void admission(struct bk_call *c, const struct bk_call_event *event, struct bk_call_out *out)
{
    if (c->state != STATE_ADMITTING) {
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
        end(c, BK_CALL_END_REPEATED, out);
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

static bool is_first_of_its_kind(const struct bk_call_request *request, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (bk_addr_equal(&request->candidates[i].addr, &request->candidates[index].addr)) {
            return false;
        }
    }
    return true;
}

static uint32_t permitted_candidates(const struct bk_call *c)
{
    uint32_t permitted = 0;
    for (size_t i = 0; i < c->request.n_candidates; i++) {
        const struct bk_addr *addr = &c->request.candidates[i].addr;
        if (is_first_of_its_kind(&c->request, i) &&
            bk_policy_check(&c->config.policy, addr) == BK_POLICY_ALLOWED) {
            permitted |= UINT32_C(1) << i;
        }
    }
    return permitted;
}

/* From here on nothing that is found out about the candidates changes what the caller hears, or when. */
static void accept(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out)
{
    c->state = STATE_DIALLING;
    c->accepted_until = bk_time_add(now->mono, BK_CALL_NO_ANSWER_MS * BK_MS);
    c->deadline = c->accepted_until;
    send_result(c, BK_CALL_ACCEPTED, out);
    c->asked_dials = permitted_candidates(c);
    if (c->asked_dials != 0) {
        add(out, BK_CALL_ASK_DIALS)->dials = c->asked_dials;
    }
}

static void dial(struct bk_call *c, uint32_t dials, struct bk_call_out *out)
{
    uint32_t now_permitted = dials & c->asked_dials; /* none while nothing is asked for */
    c->asked_dials = 0;
    for (size_t i = 0; i < c->request.n_candidates; i++) {
        if ((now_permitted >> i & 1) != 0) {
            struct bk_call_action *a = add(out, BK_CALL_DIAL);
            a->index = i;
            a->addr = c->request.candidates[i].addr;
            c->dials[i] = DIAL_OPEN;
        }
    }
}

static void caller(struct bk_call *c, const struct bk_now *now, const struct bk_call_event *event,
                   struct bk_call_out *out)
{
    if (c->state != STATE_CHECKING) {
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

static void server_closed(struct bk_call *c, struct bk_call_out *out)
{
    c->server_open = false;
    forget_boxes(c);
    /* Until ACCEPTED is said the caller knows of nothing to wait for; afterwards we go on dialling. */
    if (c->state == STATE_WAITING || c->state == STATE_ADMITTING || c->state == STATE_CHECKING) {
        end(c, BK_CALL_END_NO_SERVER, out);
    }
}

static bool any_dial_up(const struct bk_call *c)
{
    for (size_t i = 0; i < BK_CANDIDATES_MAX; i++) {
        if (c->dials[i] == DIAL_UP) {
            return true;
        }
    }
    return false;
}

static void dial_event(struct bk_call *c, const struct bk_now *now,
                       const struct bk_call_event *event, struct bk_call_out *out)
{
    size_t i = event->index;
    if (i >= BK_CANDIDATES_MAX || c->dials[i] == DIAL_NONE) {
        return;
    }
    if (c->state == STATE_PICKED) {
        if (event->type == BK_CALL_SESSION_ENDED || event->type == BK_CALL_DIAL_FAILED) {
            c->dials[i] = DIAL_NONE;
            end(c, BK_CALL_END_SERVED, out);
        }
        return;
    }
    if (event->type == BK_CALL_SESSION_PICKED) {
        c->state = STATE_PICKED;
        c->deadline = BK_TIME_NEVER;
        close_dials_but(c, i, out);
        close_server(c, out);
    } else if (event->type == BK_CALL_SESSION_UP) {
        if (!any_dial_up(c)) {
            c->deadline = bk_time_add(now->mono, BK_CALL_PICK_MS * BK_MS);
        }
        c->dials[i] = DIAL_UP;
    } else {
        c->dials[i] = DIAL_NONE; /* the caller hears of it when the time is up, not before */
        if (!any_dial_up(c)) {
            c->deadline = c->accepted_until;
        }
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
    c->state = STATE_NEW;
    c->deadline = BK_TIME_NEVER;
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
    if (c->state == STATE_OVER) {
        return;
    }
    switch (event->type) {
    case BK_CALL_START:
        if (c->state == STATE_NEW) {
            c->state = STATE_WAITING;
            c->server_open = true;
            c->deadline = bk_time_add(now->mono, BK_CALL_SERVER_WAIT_MS * BK_MS);
            add(out, BK_CALL_CONNECT_SERVER);
        }
        break;
    case BK_CALL_SERVER_OPEN:
        break; /* the server speaks first */
    case BK_CALL_SERVER_MESSAGE:
        server_message(c, now, event->bytes, out);
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
        dial(c, event->dials, out);
        break;
    case BK_CALL_DIAL_FAILED:
    case BK_CALL_SESSION_UP:
    case BK_CALL_SESSION_PICKED:
    case BK_CALL_SESSION_ENDED:
        dial_event(c, now, event, out);
        break;
    }
}

void bk_call_timer(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out)
{
    out->n = 0;
    out->used = 0;
    if (now->mono < c->deadline) {
        return;
    }
    if (c->state == STATE_WAITING) {
        end(c, BK_CALL_END_NO_SERVER, out);
    } else if (c->state == STATE_DIALLING) {
        refuse(c, BK_CALL_NO_ANSWER, BK_CALL_END_NO_ANSWER, out);
    } else {
        refuse(c, BK_CALL_BUSY, BK_CALL_END_BUSY, out);
    }
}

bk_time bk_call_deadline(const struct bk_call *c)
{
    return c->deadline;
}

const struct bk_call_request *bk_call_opened(const struct bk_call *c)
{
    return c->state == STATE_DIALLING || c->state == STATE_PICKED ? &c->request : NULL;
}

struct bk_slice bk_call_user(const struct bk_call *c)
{
    return bk_slice_text(c->user);
}
