/* Sessions of a call: HTTP/2 as server on every link that stands, services and the control stream on those that the
 * caller uses.
 *
 * Invariant: a session that is freed leaves nothing of its own behind in what sessions share (lib/serve.h). */
#include <string.h>

#include "lib/agent_call_private.h"
#include "lib/fail.h"
#include "lib/loop.h"
#include "lib/pulse.h"
#include "net/clock.h"

enum {
    STATUS_CONFLICT = 409, /* the session has its control stream already */
    STATUS_NO_MEMORY = 503,
    PONG_MS = 5000, /* after the network has changed: who is silent so long is dead */
};

void bk_call_part_end_session(struct bk_call_way *way)
{
    if (way->h2 != NULL) {
        bk_serve_cancel(&way->part->serve, way); /* streams end without a word below */
    }
    bk_h2_free(way->h2);
    bk_control_free(way->control);
    way->h2 = NULL;
    way->control = NULL;
    way->control_stream = NULL;
    way->used = false;
    way->asked_alive = false;
    way->asked = false;
}

/* ---- the control stream ---- */

static void on_paths(void *ctx, struct bk_control *control, struct bk_slice bytes)
{
    struct bk_call_way *way = ctx;
    struct bk_call_event event = {.type = BK_CALL_PATHS, .index = way->index, .bytes = bytes};

    (void)control;
    bk_call_part_tell(way->part, &event);
}

static void on_control_ended(void *ctx, struct bk_control *control)
{
    struct bk_call_way *way = ctx;

    bk_control_free(control);
    way->control = NULL;
}

static void join_control(struct bk_call_way *way, struct bk_h2_stream *stream)
{
    const struct bk_control_callbacks on = {
        .ctx = way, .message = on_paths, .ended = on_control_ended};
    int fd = -1;

    if (way->control != NULL || way->control_stream != NULL) {
        bk_h2_refuse(stream, STATUS_CONFLICT);
        return;
    }
    if (bk_control_new(way->part->base, &on, &fd, &way->control) != BK_OK) {
        way->control = NULL;
        bk_h2_refuse(stream, STATUS_NO_MEMORY);
        return;
    }
    way->control_stream = stream;
    if (bk_h2_accept(stream, fd, fd) != BK_OK) { /* `finished` follows */
        bk_log(way->part->log, way->part->ctx, 1, "the control stream could not be joined");
    }
}

void bk_call_part_send_paths(struct bk_call_part *p, size_t index, struct bk_slice bytes)
{
    struct bk_call_way *way = &p->ways[index];

    if (way->control != NULL && !bk_control_send(way->control, bytes)) {
        bk_log(p->log, p->ctx, 1, "link %zu: the control stream takes no more", index);
    }
}

/* ---- which of them live ---- */

static void bury(struct bk_call_way *way, const char *why)
{
    struct bk_call_event over = {.type = BK_CALL_SESSION_ENDED, .index = way->index, .lost = true};

    bk_log(way->part->log, way->part->ctx, 1, "session with the caller: %s, and another stands",
           why);
    bk_call_part_end_session(way);
    bk_call_part_tell(way->part, &over);
}

static void look(struct bk_call_part *p);

static void on_pulse(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    look(ctx);
}

/* The caller does so as well, and sooner: what he has ended without our hearing of it must end here too. */
static void look(struct bk_call_part *p)
{
    struct bk_pulse pulses[BK_CALL_LINKS_MAX] = {0};
    struct timeval next;
    uint32_t ms;

    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        const struct bk_call_way *way = &p->ways[i];
        bool open = way->used && bk_h2_is_open(way->h2);
        bool direct = open && bk_call_link_kind(p->core, i) != BK_CANDIDATE_RELAYED;

        pulses[i] = (struct bk_pulse){.in_use = open,
                                      .watched = open,
                                      .quiet_ms = open ? bk_h2_quiet_ms(way->h2, direct) : 0,
                                      .asked = way->asked,
                                      .asked_at = way->asked_at};
    }
    ms = bk_pulse_look(pulses, BK_CALL_LINKS_MAX, BK_PULSE_AFTER_DEVICE_MS, bk_now_sample().mono);
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        p->ways[i].asked = pulses[i].asked;
        p->ways[i].asked_at = pulses[i].asked_at;
        if (pulses[i].ask) {
            bk_h2_knock(p->ways[i].h2);
        }
    }
    if (p->pulse == NULL) {
        p->pulse = evtimer_new(p->base, on_pulse, p);
    }
    if (ms > 0 && p->pulse != NULL) {
        next = bk_timeval_ms(ms);
        evtimer_add(p->pulse, &next);
    }
    for (size_t i = 0; i < BK_CALL_LINKS_MAX && !p->ended; i++) {
        if (pulses[i].end) {
            bury(&p->ways[i], "silent");
        }
    }
}

/* ---- the session ---- */

static void on_started(void *ctx)
{
    struct bk_call_way *way = ctx;
    struct bk_call_part *p = way->part;

    way->used = true;
    if (p->path == 0) {
        p->path = bk_call_link_kind(p->core, way->index);
    }
    bk_call_part_tell_index(p, BK_CALL_SESSION_PICKED, way->index);
    bk_call_part_guard(p);
    look(p);
}

static void on_request(void *ctx, struct bk_h2_stream *stream, const char *authority)
{
    struct bk_call_way *way = ctx;

    if (strcmp(authority, BK_CONTROL_AUTHORITY) == 0) {
        join_control(way, stream);
    } else {
        bk_serve_request(&way->part->serve, way, stream, authority);
    }
}

static void on_finished(void *ctx, struct bk_h2_stream *stream, const struct bk_h2_outcome *outcome)
{
    struct bk_call_way *way = ctx;

    if (stream == way->control_stream) {
        way->control_stream = NULL; /* its other end hears of it by itself */
    } else {
        bk_serve_finished(&way->part->serve, stream, outcome);
    }
}

static void on_pong(void *ctx, bk_time round_trip)
{
    struct bk_call_way *way = ctx;

    (void)round_trip;
    way->asked_alive = false;
}

static void on_ended(void *ctx, enum bk_err why, const char *text)
{
    struct bk_call_way *way = ctx;
    struct bk_call_event over = {.type = way->used ? BK_CALL_SESSION_ENDED : BK_CALL_DIAL_FAILED,
                                 .index = way->index,
                                 .lost = why != BK_OK};

    if (why != BK_OK) {
        bk_log(way->part->log, way->part->ctx, 1, "session with the caller: %s", text);
    }
    bk_call_part_end_session(way);
    bk_call_part_tell(way->part, &over);
}

bool bk_call_part_session(struct bk_call_way *way, SSL *ssl)
{
    struct bk_h2_config config = {
        .server = true,
        .on = {.started = on_started,
               .request = on_request,
               .finished = on_finished,
               .pong = on_pong,
               .ended = on_ended},
        .ctx = way,
    };

    if (bk_h2_new(way->part->base, ssl, &config, &way->h2) != BK_OK) {
        way->h2 = NULL;
    }
    return way->h2 != NULL;
}

/* ---- the network has changed ---- */

/* Where none has answered, all wait: the cable may be out for a moment only. */
static void on_pongs_due(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_call_part *p = ctx;
    bool lives = false;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        lives = lives || (p->ways[i].used && !p->ways[i].asked_alive);
    }
    for (size_t i = 0; lives && !p->ended && i < BK_CALL_LINKS_MAX; i++) {
        if (p->ways[i].h2 != NULL && p->ways[i].asked_alive) {
            bury(&p->ways[i], "no answer since the network changed");
        }
    }
}

void bk_call_part_ping(struct bk_call_part *p)
{
    struct timeval due = bk_timeval_ms(PONG_MS);

    for (size_t i = 0; i < BK_CALL_LINKS_MAX; i++) {
        struct bk_call_way *way = &p->ways[i];

        if (way->h2 != NULL && bk_h2_ping(way->h2) == BK_OK) {
            way->asked_alive = true;
        }
    }
    if (p->pongs == NULL) {
        p->pongs = evtimer_new(p->base, on_pongs_due, p);
    }
    if (p->pongs != NULL) {
        evtimer_add(p->pongs, &due);
    }
}
