/* One call on the caller's side: dispatch, deadlines, and the way from START to 217.
 *
 * What the server says is checked in answers.c; this file decides what comes next. Invariants: no
 * password is asked for, and nothing signed, before the device's key is accepted; 217 leaves once all of
 * certificate, pin, key or password, and candidates are there; no two of them bear the same call ID; after
 * FAILED nothing is done but closing sessions. */
#include "core/requester/requester.h"

#include <assert.h>
#include <string.h>

#include "core/requester/state.h"

static struct bk_requester_action *add(struct bk_requester_out *out,
                                       enum bk_requester_action_type type)
{
    assert(out->n < BK_REQUESTER_OUT_ACTIONS);
    struct bk_requester_action *a = &out->actions[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

void bk_requester_phase(struct bk_requester_out *out, enum bk_requester_phase phase)
{
    add(out, BK_REQUESTER_PHASE)->phase = phase;
}

static void close_server(struct bk_requester *r, struct bk_requester_out *out)
{
    if (r->server != SERVER_NONE) {
        r->server = SERVER_NONE;
        add(out, BK_REQUESTER_CLOSE_SERVER);
    }
}

void bk_requester_wipe_secrets(struct bk_requester *r)
{
    bk_wipe(r->password, sizeof r->password);
    bk_wipe(r->config.key_seed, sizeof r->config.key_seed);
}

void bk_requester_fail(struct bk_requester *r, enum bk_requester_failure failure,
                       struct bk_requester_out *out)
{
    close_server(r, out);
    bk_requester_wipe_secrets(r);
    r->state = STATE_OVER;
    r->deadline = BK_TIME_NEVER;
    struct bk_requester_action *a = add(out, BK_REQUESTER_FAILED);
    a->failure = failure;
    memcpy(a->pin, r->pin, sizeof a->pin);
    a->equipment_id = r->equipment_id;
}

static void draw_txid(struct bk_requester *r)
{
    r->config.rng.fill(r->config.rng.ctx, r->txid, sizeof r->txid);
    r->waiting = true;
}

static void connect_server(struct bk_requester *r, bk_time now, struct bk_requester_out *out)
{
    r->server = SERVER_OPENING;
    r->deadline = bk_time_add(now, BK_REQUESTER_SERVER_MS * BK_MS);
    add(out, BK_REQUESTER_CONNECT_SERVER);
}

static void send_lookup(struct bk_requester *r, struct bk_requester_out *out)
{
    struct bk_lookup lookup = {.equipment_id = r->config.equipment_id};
    if (lookup.equipment_id == 0) {
        lookup.name = bk_slice_text(r->config.device_name);
    }
    struct bk_slice bytes;
    draw_txid(r);
    if (bk_lookup_write(out->bytes + out->used, sizeof out->bytes - out->used, r->txid, &lookup,
                        &bytes) != BK_OK) {
        bk_requester_fail(r, BK_FAIL_UNKNOWN_DEVICE, out); /* a name that no device can have */
        return;
    }
    add(out, BK_REQUESTER_SEND_SERVER)->bytes = bytes;
    out->used += bytes.n;
}

/* The time that goes into the box: once the device has told its clock, that is the one that counts. */
static uint64_t request_time(const struct bk_requester *r, const struct bk_now *now)
{
    if (r->device_unix_s == 0) {
        return now->unix_s;
    }
    return r->device_unix_s + bk_time_left(r->device_at, now->mono) / BK_SECOND;
}

/* Writes the inside of the box, signed or with the password, into `plain`. */
static enum bk_err write_inside(const struct bk_requester *r, const struct bk_now *now,
                                uint8_t plain[BK_CALL_REQUEST_MAX_BYTES], struct bk_slice *text)
{
    struct bk_call_request request = {
        .equipment_id = r->equipment_id,
        .unix_s = request_time(r, now),
        .has_tag = r->has_tag,
        .tag = r->tag,
        .service = bk_slice_text(r->config.service),
        .has_signature = r->sign,
        .n_candidates = r->n_candidates,
    };
    memcpy(request.call_id, r->call_id, sizeof request.call_id);
    memcpy(request.candidates, r->candidates, sizeof request.candidates);
    memcpy(request.call_key, r->config.call_key, sizeof request.call_key);
    memcpy(request.reply_key, r->reply.public_key, sizeof request.reply_key);
    if (r->sign) {
        bk_caller_key_of(r->config.key_seed, request.caller_key);
    } else {
        request.password = bk_slice(r->password, r->password_n);
    }
    enum bk_err err = bk_call_request_write(plain, BK_CALL_REQUEST_MAX_BYTES, &request, text);
    if (err == BK_OK && r->sign) {
        uint8_t signature[BK_SIGNATURE_BYTES];
        bk_caller_sign(r->config.key_seed, r->pin, bk_call_request_to_sign(*text), signature);
        bk_call_request_set_signature(plain, *text, signature);
    }
    return err;
}

/* Seals all that is known into the box and writes 217 around it. */
static enum bk_err write_request(struct bk_requester *r, const struct bk_now *now,
                                 struct bk_requester_out *out, struct bk_slice *bytes)
{
    uint8_t plain[BK_CALL_REQUEST_MAX_BYTES];
    uint8_t box[BK_BOX_MAX_BYTES];
    struct bk_slice text;
    struct bk_connect message = {.equipment_id = r->equipment_id};
    memcpy(message.call_id, r->call_id, sizeof message.call_id);
    enum bk_err err = write_inside(r, now, plain, &text);
    if (err == BK_OK) {
        err = bk_seal_request(r->box_key.key, text, box, sizeof box, &message.box);
    }
    bk_wipe(plain, sizeof plain);
    if (err == BK_OK) {
        draw_txid(r);
        err = bk_connect_write(out->bytes + out->used, sizeof out->bytes - out->used, r->txid,
                               &message, bytes);
    }
    return err;
}

/* A call ID that nobody has seen, and word of it to the shell before the device can know it. */
static void expect(struct bk_requester *r, struct bk_requester_out *out)
{
    r->config.rng.fill(r->config.rng.ctx, r->call_id, sizeof r->call_id);
    struct bk_requester_action *a = add(out, BK_REQUESTER_EXPECT);
    memcpy(a->pin, r->pin, sizeof a->pin);
    memcpy(a->call_id, r->call_id, sizeof a->call_id);
    a->equipment_id = r->equipment_id;
}

void bk_requester_send_request(struct bk_requester *r, const struct bk_now *now,
                               struct bk_requester_out *out)
{
    struct bk_slice bytes;
    expect(r, out);
    if (write_request(r, now, out, &bytes) != BK_OK) {
        /* A box key that is no point of the curve; everything else was checked on its way in. */
        bk_requester_fail(r, BK_FAIL_CERTIFICATE, out);
        return;
    }
    r->state = STATE_REQUESTED;
    r->delivered = false;
    r->deadline = bk_time_add(now->mono, BK_REQUESTER_DELIVERY_MS * BK_MS);
    add(out, BK_REQUESTER_SEND_SERVER)->bytes = bytes;
    out->used += bytes.n;
    bk_requester_phase(out, BK_PHASE_REQUESTED);
}

void bk_requester_key_refused(struct bk_requester *r, const struct bk_now *now,
                              enum bk_call_status status, struct bk_requester_out *out)
{
    bk_wipe(r->config.key_seed, sizeof r->config.key_seed);
    r->sign = false;
    r->key_refused = true;
    r->key_status = status;
    r->retried = false;
    r->state = STATE_PREPARING;
    r->waiting = false;
    r->deadline = BK_TIME_NEVER; /* a person may be asked now */
    bk_requester_go_on(r, now, out);
}

void bk_requester_go_on(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out)
{
    if (r->state != STATE_PREPARING || !r->found) {
        return;
    }
    /* Before anybody is asked anything: without a candidate the call cannot come about. */
    if (r->gathered && r->n_candidates == 0) {
        bk_requester_fail(r, BK_FAIL_NO_CANDIDATE, out);
        return;
    }
    if (!r->pin_accepted) {
        if (!r->asked_pin) {
            r->asked_pin = true;
            struct bk_requester_action *a = add(out, BK_REQUESTER_CONFIRM_PIN);
            memcpy(a->pin, r->pin, sizeof a->pin);
            a->equipment_id = r->equipment_id;
        }
        return;
    }
    if (!r->sign && !r->have_password) {
        if (!r->asked_password) {
            r->asked_password = true;
            add(out, BK_REQUESTER_NEED_PASSWORD)->key_refused = r->key_refused;
        }
        return;
    }
    if (!r->gathered) {
        return;
    }
    if (r->server == SERVER_NONE) {
        connect_server(r, now->mono, out);
    }
    if (r->server != SERVER_OPEN) {
        return;
    }
    bk_requester_send_request(r, now, out);
}

static void start(struct bk_requester *r, const struct bk_now *now, struct bk_requester_out *out)
{
    if (r->state != STATE_NEW) {
        return;
    }
    r->state = STATE_PREPARING;
    r->gather_until = bk_time_add(now->mono, BK_REQUESTER_GATHER_MS * BK_MS);
    connect_server(r, now->mono, out);
    add(out, BK_REQUESTER_GATHER);
}

static void server_open(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out)
{
    if (r->server != SERVER_OPENING) {
        return;
    }
    r->server = SERVER_OPEN;
    if (r->found) {
        r->deadline = BK_TIME_NEVER;
        bk_requester_go_on(r, now, out);
    } else {
        bk_requester_phase(out, BK_PHASE_SERVER);
        send_lookup(r, out);
    }
}

static void server_closed(struct bk_requester *r, struct bk_requester_out *out)
{
    enum server_state was = r->server;
    r->server = SERVER_NONE;
    r->waiting = false;
    if (r->state == STATE_PREPARING && (!r->found || was == SERVER_OPENING)) {
        bk_requester_fail(r, BK_FAIL_SERVER, out);
    } else if (r->state == STATE_REQUESTED && !r->delivered) {
        bk_requester_fail(r, BK_FAIL_SERVER, out);
    } /* else a person is being asked, or the device has the request and may dial yet */
}

static void candidates(struct bk_requester *r, const struct bk_now *now,
                       const struct bk_requester_event *event, struct bk_requester_out *out)
{
    if (r->gathered) {
        return;
    }
    r->gathered = true;
    r->gather_until = BK_TIME_NEVER;
    r->n_candidates =
        event->n_candidates < BK_CANDIDATES_MAX ? event->n_candidates : BK_CANDIDATES_MAX;
    for (size_t i = 0; i < r->n_candidates; i++) {
        r->candidates[i] = event->candidates[i];
    }
    bk_requester_go_on(r, now, out);
}

static void pin_answer(struct bk_requester *r, const struct bk_now *now, bool yes,
                       struct bk_requester_out *out)
{
    if (r->state != STATE_PREPARING || !r->asked_pin || r->pin_accepted) {
        return;
    }
    if (!yes) {
        bk_requester_fail(r, BK_FAIL_PIN_REFUSED, out);
        return;
    }
    r->pin_accepted = true;
    bk_requester_go_on(r, now, out);
}

static void password(struct bk_requester *r, const struct bk_now *now, struct bk_slice bytes,
                     struct bk_requester_out *out)
{
    if (r->state != STATE_PREPARING || !r->asked_password || r->have_password) {
        return;
    }
    if (bytes.n > sizeof r->password) {
        bk_requester_fail(r, BK_FAIL_PASSWORD, out); /* no device has one so long */
        return;
    }
    if (bytes.n > 0) {
        memcpy(r->password, bytes.p, bytes.n);
    }
    r->password_n = bytes.n;
    r->have_password = true;
    bk_requester_go_on(r, now, out);
}

static void no_password(struct bk_requester *r, struct bk_requester_out *out)
{
    if (r->state != STATE_PREPARING || !r->asked_password || r->have_password) {
        return;
    }
    bk_requester_fail(r,
                      !r->key_refused                     ? BK_FAIL_NO_PASSWORD
                      : r->key_status == BK_CALL_BACK_OFF ? BK_FAIL_BACK_OFF
                                                          : BK_FAIL_KEY,
                      out);
}

static void session_up(struct bk_requester *r, uint64_t session, struct bk_requester_out *out)
{
    if (r->state != STATE_REQUESTED) {
        add(out, BK_REQUESTER_CLOSE_SESSION)->session = session;
        return;
    }
    r->state = STATE_UP;
    r->deadline = BK_TIME_NEVER;
    bk_requester_wipe_secrets(r);
    add(out, BK_REQUESTER_USE_SESSION)->session = session;
    close_server(r, out);
    bk_requester_phase(out, BK_PHASE_UP);
}

enum bk_err bk_requester_new(const struct bk_alloc *alloc, const struct bk_requester_config *config,
                             struct bk_requester **out)
{
    struct bk_requester *r = alloc->get(alloc->ctx, sizeof *r);
    if (r == NULL) {
        return BK_E_NOMEM;
    }
    r->alloc = *alloc;
    r->config = *config;
    r->deadline = BK_TIME_NEVER;
    r->gather_until = BK_TIME_NEVER;
    r->sign = config->have_key;
    bk_box_pair_make(&config->rng, &r->reply);
    *out = r;
    return BK_OK;
}

void bk_requester_free(struct bk_requester *r)
{
    if (r != NULL) {
        struct bk_alloc alloc = r->alloc;
        bk_wipe(r, sizeof *r);
        alloc.put(alloc.ctx, r);
    }
}

void bk_requester_input(struct bk_requester *r, const struct bk_now *now,
                        const struct bk_requester_event *event, struct bk_requester_out *out)
{
    out->n = 0;
    out->used = 0;
    if (r->state == STATE_OVER && event->type != BK_REQUESTER_SESSION_UP) {
        return;
    }
    switch (event->type) {
    case BK_REQUESTER_START:
        start(r, now, out);
        break;
    case BK_REQUESTER_SERVER_OPEN:
        server_open(r, now, out);
        break;
    case BK_REQUESTER_SERVER_MESSAGE:
        bk_requester_message(r, now, event->bytes, out);
        break;
    case BK_REQUESTER_SERVER_CLOSED:
        server_closed(r, out);
        break;
    case BK_REQUESTER_CANDIDATES:
        candidates(r, now, event, out);
        break;
    case BK_REQUESTER_PIN_ACCEPTED:
    case BK_REQUESTER_PIN_REFUSED:
        pin_answer(r, now, event->type == BK_REQUESTER_PIN_ACCEPTED, out);
        break;
    case BK_REQUESTER_PASSWORD:
        password(r, now, event->bytes, out);
        break;
    case BK_REQUESTER_NO_PASSWORD:
        no_password(r, out);
        break;
    case BK_REQUESTER_SESSION_UP:
        session_up(r, event->session, out);
        break;
    }
}

void bk_requester_timer(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out)
{
    out->n = 0;
    out->used = 0;
    if (r->state == STATE_PREPARING && now->mono >= r->gather_until) {
        struct bk_requester_event none = {.type = BK_REQUESTER_CANDIDATES};
        candidates(r, now, &none, out);
    }
    if (now->mono < r->deadline) {
        return;
    }
    if (r->state == STATE_PREPARING) {
        bk_requester_fail(r, BK_FAIL_SERVER, out);
    } else if (!r->delivered) {
        bk_requester_fail(r, BK_FAIL_OFFLINE, out);
    } else if (!r->accepted && r->server == SERVER_NONE) {
        /* It left before it could say how things stand. */
        bk_requester_fail(r, BK_FAIL_SERVER, out);
    } else {
        bk_requester_fail(r, BK_FAIL_NO_ANSWER, out);
    }
}

bk_time bk_requester_deadline(const struct bk_requester *r)
{
    return r->state == STATE_PREPARING ? bk_time_min(r->deadline, r->gather_until) : r->deadline;
}
