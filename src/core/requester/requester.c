/* One call on the caller's side: dispatch, deadlines, and the way from START to 217.
 *
 * What the server says is checked in answers.c, our own addresses are gathered in gather.c, the request is sealed in
 * request.c; dials.c, paths.c and rounds.c are what comes after it. Invariants: no password is asked for, and nothing
 * signed, before the device's key is accepted; 217 leaves once all of certificate, pin, key or password, and candidates
 * are there; after FAILED and ENDED nothing is done but closing sessions. */
#include "core/requester/requester.h"

#include <assert.h>
#include <string.h>

#include "core/requester/state.h"

struct bk_requester_action *bk_requester_add(struct bk_requester_out *out,
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
    bk_requester_add(out, BK_REQUESTER_PHASE)->phase = phase;
}

void bk_requester_close_server(struct bk_requester *r, struct bk_requester_out *out)
{
    r->lookup.waiting = r->info.waiting = r->connect.waiting = false;
    if (r->server != SERVER_NONE) {
        r->server = SERVER_NONE;
        bk_requester_add(out, BK_REQUESTER_CLOSE_SERVER);
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
    bk_requester_close_server(r, out);
    bk_requester_close_held(r, out);
    bk_requester_wipe_secrets(r);
    bk_requester_wipe_relays(r);
    r->state = STATE_OVER;
    r->deadline = BK_TIME_NEVER;
    struct bk_requester_action *a = bk_requester_add(out, BK_REQUESTER_FAILED);
    a->failure = failure;
    memcpy(a->pin, r->pin, sizeof a->pin);
    a->equipment_id = r->equipment_id;
}

void bk_requester_connect_server(struct bk_requester *r, struct bk_requester_out *out)
{
    r->server = SERVER_OPENING;
    bk_requester_add(out, BK_REQUESTER_CONNECT_SERVER)->server = r->server_i;
}

void bk_requester_ask_server(struct bk_requester *r, const struct bk_now *now,
                             struct bk_requester_out *out)
{
    r->deadline = bk_time_add(now->mono, BK_REQUESTER_SERVER_MS * BK_MS);
    if (r->server != SERVER_OPENING) {
        bk_requester_connect_server(r, out);
    }
}

bool bk_requester_next_server(struct bk_requester *r, const struct bk_now *now,
                              struct bk_requester_out *out)
{
    if (r->server_i + 1 >= r->config.n_servers || r->accepted) {
        return false;
    }
    bk_requester_close_server(r, out);
    bk_requester_close_held(r, out);
    r->server_i++;
    r->state = STATE_PREPARING;
    r->quick = r->by_known = r->found = r->delivered = false;
    r->info_done = r->info_refused = false;
    r->info_until = BK_TIME_NEVER;
    bk_requester_ask_server(r, now, out);
    return true;
}

void bk_requester_server_failed(struct bk_requester *r, const struct bk_now *now,
                                enum bk_requester_failure failure, struct bk_requester_out *out)
{
    if (!bk_requester_next_server(r, now, out)) {
        bk_requester_fail(r, failure, out);
    }
}

void bk_requester_send_lookup(struct bk_requester *r, struct bk_requester_out *out)
{
    struct bk_lookup lookup = {.equipment_id = r->config.equipment_id};
    if (lookup.equipment_id == 0) {
        lookup.name = bk_slice_text(r->config.device_name);
    }
    struct bk_slice bytes;
    bk_requester_draw(r, &r->lookup);
    if (bk_lookup_write(out->bytes + out->used, sizeof out->bytes - out->used, r->lookup.txid,
                        &lookup, &bytes) != BK_OK) {
        bk_requester_fail(r, BK_FAIL_UNKNOWN_DEVICE, out); /* a name that no device can have */
        return;
    }
    bk_requester_add(out, BK_REQUESTER_SEND_SERVER)->bytes = bytes;
    out->used += bytes.n;
}

void bk_requester_send_info(struct bk_requester *r, struct bk_requester_out *out)
{
    struct bk_slice bytes;
    bk_requester_draw(r, &r->info);
    enum bk_err err =
        bk_info_write(out->bytes + out->used, sizeof out->bytes - out->used, r->info.txid, &bytes);
    assert(err == BK_OK); /* a header in a buffer with room for it */
    (void)err;
    bk_requester_add(out, BK_REQUESTER_SEND_SERVER)->bytes = bytes;
    out->used += bytes.n;
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
    r->connect.waiting = false;
    r->deadline = BK_TIME_NEVER; /* a person may be asked now */
    bk_requester_go_on(r, now, out);
}

/* Nobody is asked anything while the server's connection is being opened: it would not wait for a person. */
static bool too_soon(const struct bk_requester *r)
{
    return r->state != STATE_PREPARING || !r->found || (r->quick && r->server == SERVER_OPENING);
}

void bk_requester_go_on(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out)
{
    if (too_soon(r)) {
        return;
    }
    if (bk_requester_plain_way(r)) {
        r->quick = true;
    }
    if (!r->quick) {
        bk_requester_gather_relay(r, now, out);
    }
    enum gathered gathered = bk_requester_gathered(r, now);
    /* Before anybody is asked anything: without a candidate the call cannot come about. */
    if (gathered == GATHERED_NOTHING) {
        bk_requester_fail(r, BK_FAIL_NO_CANDIDATE, out);
        return;
    }
    if (!r->pin_accepted) {
        if (!r->asked_pin) {
            r->asked_pin = true;
            struct bk_requester_action *a = bk_requester_add(out, BK_REQUESTER_CONFIRM_PIN);
            memcpy(a->pin, r->pin, sizeof a->pin);
            a->equipment_id = r->equipment_id;
        }
        return;
    }
    if (!r->sign && !r->have_password) {
        if (!r->asked_password) {
            r->asked_password = true;
            bk_requester_add(out, BK_REQUESTER_NEED_PASSWORD)->key_refused = r->key_refused;
        }
        return;
    }
    if (gathered != GATHERED_ENOUGH) {
        return;
    }
    if (r->server == SERVER_NONE) {
        bk_requester_ask_server(r, now, out);
    }
    if (r->server == SERVER_OPEN) {
        bk_requester_send_request(r, now, out);
    }
}

static void start(struct bk_requester *r, const struct bk_now *now, struct bk_requester_out *out)
{
    if (r->state != STATE_NEW) {
        return;
    }
    r->state = STATE_PREPARING;
    bk_requester_try_known(r, now);
    bk_requester_ask_server(r, now, out);
    bk_requester_gather(r, now, out);
}

static void ask_info(struct bk_requester *r, const struct bk_now *now, struct bk_requester_out *out)
{
    if (!r->info_refused) {
        r->info_done = false;
        r->info_until = bk_time_add(now->mono, BK_REQUESTER_RELAY_MS * BK_MS);
        bk_requester_send_info(r, out);
    }
}

void bk_requester_ask(struct bk_requester *r, const struct bk_now *now,
                      struct bk_requester_out *out)
{
    r->deadline = bk_time_add(now->mono, BK_REQUESTER_SERVER_MS * BK_MS);
    bk_requester_send_lookup(r, out);
    if (r->state == STATE_PREPARING) {
        ask_info(r, now, out);
    }
}

static void server_open(struct bk_requester *r, const struct bk_now *now, uint32_t ms,
                        struct bk_requester_out *out)
{
    if (r->server != SERVER_OPENING) {
        return;
    }
    r->server = SERVER_OPEN;
    r->server_ms = ms;
    if (r->state == STATE_UP) {
        if (!r->has_device_addr) { /* a relay is to know it; answered before INFO is */
            bk_requester_send_lookup(r, out);
        }
        bk_requester_send_info(r, out);
        return;
    }
    if (r->quick && !bk_requester_same_place(r)) {
        r->quick = r->by_known = r->found = false;
    }
    if (!r->found) {
        bk_requester_phase(out, BK_PHASE_SERVER);
        bk_requester_ask(r, now, out);
    } else if (r->quick) {
        r->deadline = BK_TIME_NEVER; /* a person may be asked now */
        r->info_done = true;
        bk_requester_phase(out, BK_PHASE_SERVER);
        bk_requester_phase(out, BK_PHASE_FOUND);
    } else {
        r->deadline = BK_TIME_NEVER;
        ask_info(r, now, out);
    }
    bk_requester_go_on(r, now, out);
}

static void server_closed(struct bk_requester *r, const struct bk_now *now,
                          struct bk_requester_out *out)
{
    enum server_state was = r->server;
    if (was == SERVER_NONE) {
        return;
    }
    r->server = SERVER_NONE;
    r->info_refused = r->info.waiting; /* if that is why it left, it is not asked again */
    r->lookup.waiting = r->info.waiting = r->connect.waiting = false;
    r->info_done = true;
    if (r->state == STATE_UP) {
        bk_requester_round_go_on(r, now, out);
    } else if (r->state == STATE_PREPARING && (!r->found || was == SERVER_OPENING)) {
        bk_requester_server_failed(r, now, BK_FAIL_SERVER, out);
    } else if (r->state == STATE_REQUESTED && !r->delivered) {
        bk_requester_server_failed(r, now, BK_FAIL_SERVER, out);
    } else { /* a person is being asked, or the device has the request and may dial yet */
        bk_requester_go_on(r, now, out);
    }
}

static void candidate(struct bk_requester *r, const struct bk_now *now,
                      const struct bk_requester_event *event, struct bk_requester_out *out)
{
    bool known = false;
    if (r->state == STATE_NEW || event->source >= BK_SOURCES) {
        return;
    }
    const struct bk_requester_own *own =
        bk_requester_keep(r, event->source, &event->candidate, &known);
    if (r->state == STATE_UP && own != NULL) {
        if (known && event->source == BK_SOURCE_MAPPING) {
            bk_requester_renewed(r, now, own, out);
        } else if (!known && bk_requester_relayed(r) && r->rounds.state != ROUND_COLLECTING) {
            bk_requester_want_round(r, now, false, out);
        }
    }
    bk_requester_go_on(r, now, out);
}

static void gathered(struct bk_requester *r, const struct bk_now *now,
                     enum bk_requester_source source, struct bk_requester_out *out)
{
    if (r->state == STATE_NEW || source >= BK_SOURCES) {
        return;
    }
    r->done[source] = true;
    if (r->state == STATE_UP) {
        bk_requester_round_go_on(r, now, out);
    } else {
        bk_requester_go_on(r, now, out);
    }
}

static void network_changed(struct bk_requester *r, const struct bk_now *now,
                            struct bk_requester_out *out)
{
    if (r->state == STATE_PREPARING) {
        bk_requester_gather(r, now, out);
        if (r->quick && r->server == SERVER_OPEN) {
            bk_requester_ask_anew(r, now, out);
        }
    } else if (r->state == STATE_REQUESTED || r->state == STATE_UP) {
        for (size_t i = 0; i < BK_REQUESTER_SESSIONS_MAX; i++) {
            r->sessions[i].doubtful = true;
        }
        r->rounds.gather = true;
        bk_requester_want_round(r, now, true, out);
    }
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
    r->alone_until = r->info_until = r->relay_until = r->ready_at = BK_TIME_NEVER;
    r->patience_until = r->lost_until = BK_TIME_NEVER;
    r->doubt_until = r->give_up_at = BK_TIME_NEVER;
    r->rounds.relayed_since = r->rounds.next = BK_TIME_NEVER;
    r->current = BK_REQUESTER_NO_SESSION;
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

static void begin_out(struct bk_requester *r, struct bk_requester_out *out)
{
    out->n = 0;
    out->used = 0;
    if (r->relays_lent) {
        bk_requester_wipe_relays(r);
    }
}

void bk_requester_input(struct bk_requester *r, const struct bk_now *now,
                        const struct bk_requester_event *event, struct bk_requester_out *out)
{
    begin_out(r, out);
    if (r->state == STATE_OVER && event->type != BK_REQUESTER_SESSION_UP) {
        return;
    }
    switch (event->type) {
    case BK_REQUESTER_START:
        start(r, now, out);
        break;
    case BK_REQUESTER_SERVER_OPEN:
        server_open(r, now, event->ms, out);
        break;
    case BK_REQUESTER_SERVER_MESSAGE:
        bk_requester_message(r, now, event->bytes, out);
        break;
    case BK_REQUESTER_SERVER_CLOSED:
        server_closed(r, now, out);
        break;
    case BK_REQUESTER_CANDIDATE:
        candidate(r, now, event, out);
        break;
    case BK_REQUESTER_GATHERED:
        gathered(r, now, event->source, out);
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
        bk_requester_session_up(r, now, event, out);
        break;
    case BK_REQUESTER_SESSION_ENDED:
        bk_requester_session_ended(r, now, event->session, event->lost, out);
        break;
    case BK_REQUESTER_EARLY:
        r->early = r->had_early = true;
        break;
    case BK_REQUESTER_EARLY_LOST:
        bk_requester_early_lost(r, now, out);
        break;
    case BK_REQUESTER_PATHS:
        bk_requester_paths(r, now, event->session, event->bytes, out);
        break;
    case BK_REQUESTER_ROUND_TRIP:
        bk_requester_round_trip(r, event->session, event->ms);
        break;
    case BK_REQUESTER_NETWORK_CHANGED:
        network_changed(r, now, out);
        break;
    }
}

/* Nothing came in time. */
static void too_late(struct bk_requester *r, const struct bk_now *now, struct bk_requester_out *out)
{
    if (r->state == STATE_PREPARING) {
        bk_requester_server_failed(r, now, BK_FAIL_SERVER, out);
    } else if (bk_requester_has_held(r)) {
        bk_requester_use_held(r, now, out);
    } else if (!r->delivered) {
        bk_requester_fail(r, BK_FAIL_OFFLINE, out);
    } else if (!r->accepted && r->server == SERVER_NONE) {
        /* It left before it could say how things stand. */
        bk_requester_fail(r, BK_FAIL_SERVER, out);
    } else {
        bk_requester_fail(r, BK_FAIL_NO_ANSWER, out);
    }
}

static bool in_doubt(const struct bk_requester *r)
{
    return r->state == STATE_REQUESTED && r->quick && !r->early && !bk_requester_has_held(r);
}

void bk_requester_timer(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out)
{
    begin_out(r, out);
    if (now->mono >= r->deadline) {
        too_late(r, now, out);
    } else if (in_doubt(r) && now->mono >= r->doubt_until) {
        bk_requester_doubt(r, now, out);
    }
    if (r->state == STATE_PREPARING) {
        bk_requester_go_on(r, now, out);
    } else if (r->state == STATE_REQUESTED || r->state == STATE_UP) {
        bk_requester_patience(r, now, out);
    }
    if (r->state == STATE_UP) {
        bk_requester_round_timer(r, now, out);
    }
}

bk_time bk_requester_deadline(const struct bk_requester *r)
{
    bk_time t = r->deadline;
    if (r->state == STATE_PREPARING && r->found) {
        t = bk_time_min(t, bk_requester_gather_deadline(r));
    }
    if (r->state == STATE_REQUESTED || r->state == STATE_UP) {
        t = bk_time_min(t, r->lost_until);
        t = bk_requester_has_held(r) ? bk_time_min(t, r->patience_until) : t;
        t = in_doubt(r) ? bk_time_min(t, r->doubt_until) : t;
    }
    return r->state == STATE_UP ? bk_time_min(t, bk_requester_round_deadline(r)) : t;
}
