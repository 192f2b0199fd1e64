/* The end-to-end sessions of an outgoing call: those on which the device proved itself, those in use, and which of them
 * takes new streams. A session's place stays its own until its HTTP/2 has told its end. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/outgoing_private.h"

static void close_ssl(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    if (fd >= 0) {
        close(fd);
    }
}

static struct bk_outgoing_session *find(struct bk_outgoing *c, uint64_t id)
{
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        if (c->sessions[i].call != NULL && c->sessions[i].id == id) {
            return &c->sessions[i];
        }
    }
    return NULL;
}

static void release(struct bk_outgoing_session *s)
{
    struct bk_outgoing *c = s->call;

    if (s->ssl != NULL) {
        close_ssl(s->ssl);
    }
    bk_h2_free(s->early);
    bk_h2_free(s->h2);
    bk_control_free(s->control);
    if (c->preferred == s) {
        c->preferred = NULL;
    }
    *s = (struct bk_outgoing_session){0};
}

/* ---- those that come up ---- */

struct bk_outgoing_session *bk_outgoing_new_session(struct bk_outgoing *c)
{
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        if (c->sessions[i].call == NULL) {
            c->sessions[i] = (struct bk_outgoing_session){.call = c, .id = ++c->last_session};
            return &c->sessions[i];
        }
    }
    return NULL;
}

/* The newest of our own that the server saw; NULL: none. */
static const struct bk_candidate *own_reflexive(const struct bk_outgoing *c)
{
    const struct bk_candidate *found = NULL;

    for (size_t i = 0; i < c->n_told; i++) {
        if (c->told[i].kind == BK_CANDIDATE_REFLEXIVE) {
            found = &c->told[i];
        }
    }
    return found;
}

/* Which rows of the record it concerns, and what it is called. */
static void name_path(struct bk_outgoing_session *s, const struct bk_candidate *by, bool ours)
{
    struct bk_outgoing *c = s->call;
    struct bk_candidate candidate = {.kind = s->kind, .addr = s->from};
    const struct bk_candidate *own = own_reflexive(c);

    if (by != NULL) {
        candidate.addr = by->addr;
    }
    bk_candidate_format(&candidate, s->path, sizeof s->path);
    if (by != NULL) {
        s->row = bk_record_row(c->record, ours, by->kind, &by->addr, bk_outgoing_us(c));
    }
    if (s->kind == BK_CANDIDATE_REFLEXIVE && own != NULL) {
        s->other = bk_record_row(c->record, true, own->kind, &own->addr, bk_outgoing_us(c));
    }
}

static void mark(const struct bk_outgoing_session *s, enum beckon_outcome outcome,
                 const char *reason)
{
    struct beckon_candidate *const rows[] = {s->row, s->other};

    for (size_t i = 0; i < 2; i++) {
        if (rows[i] != NULL) {
            bk_record_ended(rows[i], outcome, reason,
                            rows[i]->ended_us != 0 ? rows[i]->ended_us : bk_outgoing_us(s->call));
        }
    }
}

/* Its place: that which was begun with its handshake, or a new one; NULL: it is of no use. */
static struct bk_outgoing_session *place_for(struct bk_outgoing *c, struct bk_conn *conn)
{
    bool lost;
    struct bk_outgoing_session *s = bk_outgoing_early_session(conn, &lost);

    if (s == NULL && !lost) {
        s = bk_outgoing_new_session(c);
    }
    return s;
}

void bk_outgoing_arrived(struct bk_outgoing *c, struct bk_conn *conn, enum bk_candidate_kind kind,
                         const struct bk_candidate *by, bool ours)
{
    struct bk_requester_event event = {.type = BK_REQUESTER_SESSION_UP,
                                       .kind = kind,
                                       .ours = !ours && kind != BK_CANDIDATE_REFLEXIVE};
    const char *name = SSL_get_servername(bk_conn_borrow_ssl(conn), TLSEXT_NAMETYPE_host_name);
    struct bk_outgoing_session *s = place_for(c, conn);
    char from[BK_ADDR_TEXT_BYTES];

    /* Begun for a call ID that is past; or a way that is not wanted. */
    if (c->over || c->ending || s == NULL || name == NULL || strcmp(name, c->call_name) != 0 ||
        !bk_outgoing_wants(c, kind)) {
        if (s != NULL) {
            if (s->early != NULL) { /* the core waits for it */
                event_active(c->early_lost, EV_TIMEOUT, 0);
            }
            release(s);
        }
        bk_conn_free(conn);
        return;
    }
    s->kind = kind;
    s->from = bk_conn_remote(conn);
    if (ours && by != NULL && (kind == BK_CANDIDATE_HOST || kind == BK_CANDIDATE_MAPPED)) {
        s->came_to = by->addr;
    }
    name_path(s, by, ours);
    if (s->row != NULL && s->row->outcome != BECKON_OUTCOME_WON) {
        s->row->ended_us = 0; /* it ends now, whatever it came to in an earlier round */
        mark(s, BECKON_OUTCOME_NOT_NEEDED, "another was up first");
    }
    bk_addr_format(&s->from, from);
    bk_outgoing_say(c, "connected: %s, with %s", s->path, from);
    s->ssl = bk_conn_take_ssl(conn);
    event.session = s->id;
    event.early = s->early != NULL;
    bk_outgoing_tell(c, &event);
}

/* ---- those in use ---- */

static void on_answered(void *ctx, struct bk_h2_stream *stream, int status)
{
    struct bk_outgoing_session *s = ctx;
    const struct bk_outgoing_callbacks *on = &s->call->on;

    if (stream != s->control_stream && on->answered != NULL) {
        on->answered(on->ctx, stream, status);
    }
}

static void on_finished(void *ctx, struct bk_h2_stream *stream, const struct bk_h2_outcome *outcome)
{
    struct bk_outgoing_session *s = ctx;
    const struct bk_outgoing_callbacks *on = &s->call->on;

    if (stream == s->control_stream) {
        s->control_stream = NULL;
    } else if (on->finished != NULL) {
        on->finished(on->ctx, stream, outcome);
    }
}

static void on_pong(void *ctx, bk_time round_trip)
{
    struct bk_outgoing_session *s = ctx;
    struct bk_outgoing *c = s->call;
    uint64_t ms = (round_trip + BK_MS - 1) / BK_MS;
    struct bk_requester_event event = {.type = BK_REQUESTER_ROUND_TRIP,
                                       .session = s->id,
                                       .ms = ms < UINT16_MAX ? (uint32_t)ms : UINT16_MAX};

    bk_outgoing_answered(s);
    if (s->pinged) {
        s->pinged = false;
        if (c->on.pong != NULL) {
            c->on.pong(c->on.ctx, round_trip);
        }
    }
    bk_outgoing_tell(c, &event);
}

/* The owner has ended the call: it is over with the last session in use, however that ended. */
static void over_if_last(struct bk_outgoing *c)
{
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        if (c->sessions[i].call != NULL && c->sessions[i].h2 != NULL) {
            return;
        }
    }
    bk_outgoing_fail(c, BECKON_OK, "");
}

static void on_ended(void *ctx, enum bk_err why, const char *text)
{
    struct bk_outgoing_session *s = ctx;
    struct bk_outgoing *c = s->call;
    struct bk_requester_event event = {
        .type = BK_REQUESTER_SESSION_ENDED, .session = s->id, .lost = why != BK_OK};

    if (event.lost) {
        (void)snprintf(c->lost, sizeof c->lost, "%s", s->cut != NULL ? s->cut : text);
        bk_outgoing_say(c, "%s is lost: %s", s->path, c->lost);
    } else {
        bk_outgoing_say(c, "%s has ended", s->path);
    }
    release(s);
    if (c->on.session_over != NULL && !c->over && !c->ending) {
        c->on.session_over(c->on.ctx, event.lost, event.lost ? c->lost : "");
    }
    if (c->ending) { /* nothing that is still under way is waited for */
        over_if_last(c);
        return;
    }
    if (event.lost) {
        bk_outgoing_ask_rest(c);
    }
    bk_outgoing_tell(c, &event);
}

static void on_control(void *ctx, struct bk_control *control, struct bk_slice bytes)
{
    struct bk_outgoing_session *s = ctx;
    struct bk_requester_event event = {
        .type = BK_REQUESTER_PATHS, .session = s->id, .bytes = bytes};

    (void)control;
    bk_outgoing_answered(s);
    bk_outgoing_tell(s->call, &event);
}

static void on_control_ended(void *ctx, struct bk_control *control)
{
    struct bk_outgoing_session *s = ctx;

    bk_control_free(control);
    s->control = NULL;
}

/* Without it the session serves as well, and finds no better path. */
static void open_control(struct bk_outgoing_session *s)
{
    struct bk_control_callbacks on = {.ctx = s, .message = on_control, .ended = on_control_ended};
    int fd;

    if (bk_control_new(s->call->client->base, &on, &fd, &s->control) != BK_OK) {
        s->control = NULL;
        return;
    }
    if (bk_h2_open(s->h2, BK_CONTROL_AUTHORITY, fd, fd, NULL, &s->control_stream) != BK_OK) {
        s->control_stream = NULL;
        bk_control_free(s->control);
        s->control = NULL;
    }
}

static void tell_ended(struct bk_outgoing *c, uint64_t id)
{
    struct bk_requester_event event = {
        .type = BK_REQUESTER_SESSION_ENDED, .session = id, .lost = true};

    bk_outgoing_tell(c, &event);
}

struct bk_h2_config bk_outgoing_h2_config(struct bk_outgoing_session *s)
{
    return (struct bk_h2_config){
        .on = {.answered = on_answered,
               .finished = on_finished,
               .pong = on_pong,
               .ended = on_ended},
        .ctx = s,
    };
}

/* Takes the SSL, for HTTP/2 that begins or has been begun. */
static enum bk_err give_ssl(struct bk_outgoing_session *s, SSL *ssl)
{
    struct bk_h2_config config = bk_outgoing_h2_config(s);
    enum bk_err err;

    if (s->early == NULL) {
        err = bk_h2_new(s->call->client->base, ssl, &config, &s->h2);
        s->h2 = err == BK_OK ? s->h2 : NULL;
        return err;
    }
    err = bk_h2_attach(s->early, ssl, true);
    if (err == BK_OK) {
        s->h2 = s->early;
        s->early = NULL;
    }
    return err;
}

/* False: the session is gone, and the core told. */
static bool begin(struct bk_outgoing_session *s)
{
    struct bk_outgoing *c = s->call;
    SSL *ssl = s->ssl;
    uint64_t id = s->id;

    s->ssl = NULL;
    s->fd = SSL_get_fd(ssl);
    if (give_ssl(s, ssl) != BK_OK) {
        release(s);
        (void)snprintf(c->lost, sizeof c->lost, "no memory for the session");
        tell_ended(c, id);
        return false;
    }
    if (c->up && s->early_stream != NULL) { /* its stream has been opened elsewhere since */
        bk_h2_abort(s->early_stream);
        s->early_stream = NULL;
    }
    open_control(s);
    bk_outgoing_probe(s); /* its round trip: rounds are timed by it */
    return true;
}

/* For people: how the call goes now, and what it went by before. */
static void tell_path(struct bk_outgoing_session *s, struct bk_outgoing_session *before)
{
    static const char *const hows[] = {
        [BK_CANDIDATE_HOST] = "we dialled it",
        [BK_CANDIDATE_MAPPED] = "we dialled it",
        [BK_CANDIDATE_REFLEXIVE] = "both opened it at once, through both routers",
        [BK_CANDIDATE_RELAYED] = "the device came by the relay",
    };
    struct bk_outgoing *c = s->call;
    char from[BK_ADDR_TEXT_BYTES];

    if (before != NULL && before != s) {
        mark(before, BECKON_OUTCOME_NOT_NEEDED, "a better one came up; it stands by");
    }
    mark(s, BECKON_OUTCOME_WON, "");
    memcpy(c->record->report.phases.path, s->path, sizeof s->path);
    bk_addr_format(&s->from, from);
    if (s->row != NULL && s->row->ours && s->kind != BK_CANDIDATE_RELAYED) {
        bk_outgoing_say(c, "path: %s; the device dialled it from %s", s->path, from);
    } else {
        bk_outgoing_say(c, "path: %s; %s", s->path, hows[s->kind]);
    }
}

void bk_outgoing_use_session(struct bk_outgoing *c, uint64_t id)
{
    struct bk_outgoing_session *s = find(c, id), *before = c->preferred;

    if (s == NULL ||
        (c->ending && s->ssl != NULL)) { /* it has ended meanwhile, or is not to be begun */
        if (s != NULL) {
            release(s);
        }
        tell_ended(c, id);
        return;
    }
    if (s->ssl != NULL && !begin(s)) {
        return;
    }
    c->preferred = s;
    bk_outgoing_look(c);
    if (before != s) {
        tell_path(s, before);
    }
    if (!c->up) {
        c->up = true;
        bk_outgoing_came_to(c, &s->came_to);
        c->on.up(c->on.ctx);
    } else if (before != s && c->on.moved != NULL) {
        c->on.moved(c->on.ctx);
    }
}

void bk_outgoing_close_session(struct bk_outgoing *c, uint64_t id)
{
    struct bk_outgoing_session *s = find(c, id);

    if (s != NULL) {
        release(s);
    }
}

/* The control stream would keep it open for ever. */
static void shut(struct bk_outgoing_session *s)
{
    s->retiring = true;
    if (s->control_stream != NULL) {
        bk_h2_abort(s->control_stream);
    }
    bk_h2_shutdown(s->h2);
}

void bk_outgoing_retire_session(struct bk_outgoing *c, uint64_t id)
{
    struct bk_outgoing_session *s = find(c, id);

    if (s != NULL && s->h2 != NULL) {
        shut(s);
    }
}

void bk_outgoing_send_paths(struct bk_outgoing *c, uint64_t id, struct bk_slice bytes)
{
    struct bk_outgoing_session *s = find(c, id);

    if (s == NULL || s->control == NULL || !bk_control_send(s->control, bytes)) {
        bk_outgoing_say(c, "the device cannot be told of other paths now");
    }
}

void bk_outgoing_free_sessions(struct bk_outgoing *c)
{
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        if (c->sessions[i].call != NULL) {
            release(&c->sessions[i]);
        }
    }
}

/* ---- for the owner of the call ---- */

static bool takes_streams(const struct bk_outgoing_session *s)
{
    return s != NULL && s->call != NULL && s->h2 != NULL && !s->retiring && bk_h2_is_open(s->h2);
}

static struct bk_outgoing_session *best(struct bk_outgoing *c)
{
    struct bk_outgoing_session *found = NULL;

    if (takes_streams(c->preferred)) {
        return c->preferred;
    }
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        struct bk_outgoing_session *s = &c->sessions[i];

        if (takes_streams(s) && (found == NULL || s->kind < found->kind)) {
            found = s;
        }
    }
    return found;
}

struct bk_h2 *bk_outgoing_session(struct bk_outgoing *c)
{
    const struct bk_outgoing_session *s = best(c);

    return s == NULL ? NULL : s->h2;
}

/* Where the one in use was lost the core waits a little for another. */
bool bk_outgoing_is_coming(const struct bk_outgoing *c)
{
    bool any = false;

    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        any = any || (c->sessions[i].call != NULL && c->sessions[i].h2 != NULL);
    }
    return !c->over && !c->ending && !any;
}

enum bk_err bk_outgoing_ping(struct bk_outgoing *c)
{
    struct bk_outgoing_session *s = best(c);

    if (s == NULL || s->pinged) {
        return BK_E_STATE;
    }
    s->pinged = true;
    bk_outgoing_probe(s);
    return BK_OK;
}

void bk_outgoing_end(struct bk_outgoing *c)
{
    c->ending = true;
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        if (c->sessions[i].call != NULL && c->sessions[i].h2 != NULL) {
            shut(&c->sessions[i]);
        }
    }
    over_if_last(c);
}
