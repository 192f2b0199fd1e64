/* Which sessions of an outgoing call still live. When the network has changed, or one of them was lost, each is asked for
 * a sign of life; and the one that takes new streams whenever it has been silent for a while and another stands by. One
 * that gives none is ended by us, sooner where another is open: its streams would hang else until TCP gives up. */
#include <sys/socket.h>

#include "lib/outgoing_private.h"
#include "net/clock.h"

enum {
    TICK_MS = 500,
};

static bool in_use(const struct bk_outgoing_session *s)
{
    return s->call != NULL && s->h2 != NULL;
}

static uint64_t quiet_ms(const struct bk_outgoing_session *s)
{
    return bk_h2_quiet_ms(s->h2, s->kind != BK_CANDIDATE_RELAYED);
}

static void follow(struct bk_outgoing *c)
{
    struct timeval tick = {.tv_usec = TICK_MS * 1000L};

    if (c->probe != NULL && !evtimer_pending(c->probe, NULL)) {
        (void)evtimer_add(c->probe, &tick);
    }
}

void bk_outgoing_probe(struct bk_outgoing_session *s)
{
    if (bk_h2_ping(s->h2) != BK_OK) {
        return; /* one is under way: its answer does as well; or the session is over, which it will tell */
    }
}

static void ask_all(struct bk_outgoing *c, const char *why)
{
    bk_time now = bk_now_sample().mono;

    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        struct bk_outgoing_session *s = &c->sessions[i];

        if (!in_use(s)) {
            continue;
        }
        if (!s->probing) {
            s->probing = true;
            s->probed = now;
            s->doubt = why;
        }
        bk_outgoing_probe(s);
        follow(c);
    }
}

void bk_outgoing_ask_rest(struct bk_outgoing *c)
{
    ask_all(c, "it does not answer any more");
}

static void on_changed(void *ctx)
{
    struct bk_outgoing *c = ctx;

    if (!c->begun || c->over) {
        return;
    }
    bk_outgoing_say(c, "the network has changed");
    ask_all(c, "it does not answer since the network changed");
    bk_outgoing_tell_type(c, BK_REQUESTER_NETWORK_CHANGED);
}

/* HTTP/2 finds its connection closed, and tells its streams and us. */
static void cut(struct bk_outgoing_session *s, const char *why)
{
    s->probing = false;
    s->cut = why;
    if (bk_h2_ssl(s->h2) != NULL) { /* it is not closed: the descriptor is still its own */
        (void)shutdown(s->fd, SHUT_RDWR);
    }
}

static void on_probe(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_outgoing *c = ctx;
    bk_time now = bk_now_sample().mono;
    bool alive = false;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        struct bk_outgoing_session *s = &c->sessions[i];

        alive = alive || (in_use(s) && !s->probing && s->cut == NULL && bk_h2_is_open(s->h2));
    }
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        struct bk_outgoing_session *s = &c->sessions[i];
        uint64_t wait = alive ? BK_OUTGOING_PROBE_MS : BK_OUTGOING_PROBE_ALONE_MS;

        if (!in_use(s) || !s->probing) {
            continue;
        }
        if (quiet_ms(s) * BK_MS < now - s->probed) {
            s->probing =
                false; /* its system acknowledges: the answer is on its way, behind other bytes */
        } else if (now >= bk_time_add(s->probed, wait * BK_MS)) {
            cut(s, s->doubt);
        } else {
            follow(c);
        }
    }
}

void bk_outgoing_answered(struct bk_outgoing_session *s)
{
    s->probing = false;
}

/* ---- the network is as it was ---- */

static struct bk_pulse pulse_of(const struct bk_outgoing_session *s)
{
    bool open = in_use(s) && s->cut == NULL && !s->retiring && bk_h2_is_open(s->h2);

    return (struct bk_pulse){.in_use = open,
                             .watched = open && s->call->preferred == s,
                             .quiet_ms = open ? quiet_ms(s) : 0,
                             .asked = s->asked,
                             .asked_at = s->asked_at};
}

void bk_outgoing_look(struct bk_outgoing *c)
{
    struct bk_pulse pulses[BK_OUTGOING_SESSIONS_MAX];
    struct timeval next;
    uint32_t ms;

    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        pulses[i] = pulse_of(&c->sessions[i]);
    }
    ms = bk_pulse_look(pulses, BK_OUTGOING_SESSIONS_MAX, BK_PULSE_AFTER_MS, bk_now_sample().mono);
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        struct bk_outgoing_session *s = &c->sessions[i];

        s->asked = pulses[i].asked;
        s->asked_at = pulses[i].asked_at;
        if (pulses[i].ask) {
            bk_h2_knock(s->h2);
        }
        if (pulses[i].end) {
            cut(s, "it does not answer any more, and another path does");
        }
    }
    if (ms > 0 && c->pulse != NULL) {
        next = bk_timeval_ms(ms);
        (void)evtimer_add(c->pulse, &next);
    }
}

static void on_pulse(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    bk_outgoing_look(ctx);
}

void bk_outgoing_watch(struct bk_outgoing *c)
{
    c->probe = evtimer_new(c->client->base, on_probe, c);
    c->pulse = evtimer_new(c->client->base, on_pulse, c);
    if (bk_host_watch_new(c->client->base, on_changed, c, &c->watch) != BK_OK) {
        c->watch = NULL;
    }
}

void bk_outgoing_free_watch(struct bk_outgoing *c)
{
    bk_host_watch_free(c->watch);
    if (c->probe != NULL) {
        event_free(c->probe);
    }
    if (c->pulse != NULL) {
        event_free(c->pulse);
    }
}
