/* What a device does for the rest of its life: it renews what it has of the server, and the server is asked about
 * its calls while they are up. Only where the world says so. */
#include "sim.h"

#include <string.h>

#include "wire/renew.h"
#include "wire/watch.h"

enum {
    CERTIFICATE_LIFE_S = 2 * 365 * 86400,
    WATCH_AGAIN_MS = 1000, /* after the server has closed one, at most */
    WATCH_PAUSE_MAX_MS = 60000,
};

static struct bk_now device_time(const struct device *d)
{
    return world_time(d->world, d->clock_off_s, d->no_clock);
}

static uint64_t unix_of(const struct device *d)
{
    struct bk_now now = device_time(d);
    return bk_registration_calendar_s(&d->registration, &now);
}

void renewal_sign_box(struct device *d, uint64_t made_s)
{
    struct bk_box_key key = {.made_s = made_s, .until_s = made_s + BK_RENEWAL_BOX_LIFE_S};
    d->box_made_s = made_s;
    memcpy(key.key, d->box.public_key, sizeof key.key);
    bk_box_key_sign(&key, d->sign_seed, d->signed_box);
}

static void renewal_ring(struct world *w, struct event *e);

static void set_alarm(struct device *d)
{
    world_alarm(d->world, &d->renewal_alarm, bk_renewal_deadline(&d->renewal), renewal_ring, d);
}

static struct bk_renewal_facts facts_of(const struct device *d)
{
    uint64_t until = d->certificate_until_s;
    uint64_t now = world_time(d->world, 0, false).unix_s;
    if (until == UINT64_MAX) {
        until = now + CERTIFICATE_LIFE_S;
    }
    return (struct bk_renewal_facts){.certificate_from_s = until - CERTIFICATE_LIFE_S,
                                     .certificate_until_s = until,
                                     .box_made_s = d->box_made_s != 0 ? d->box_made_s : now};
}

static void look(struct device *d)
{
    struct bk_now now = device_time(d);
    if (d->running && d->renewal_stream == 0 &&
        bk_renewal_due(&d->renewal, &now, unix_of(d), &d->renews_certificate)) {
        d->renewal_stream = stream_open_for(d->world, d, BK_STREAM_RENEW, NULL);
    }
    set_alarm(d);
}

static void renewal_ring(struct world *w, struct event *e)
{
    struct device *d = e->who;
    if (world_alarm_rings(w, &d->renewal_alarm, e) && d->running) {
        look(d);
    }
}

void renewal_start(struct device *d)
{
    if (!d->world->lifecycles) {
        return;
    }
    struct bk_renewal_config config = {.rng = world_random(d->world),
                                       .spread_s = d->world->renew_within_s};
    struct bk_renewal_facts facts = facts_of(d);
    struct bk_now now = device_time(d);
    bk_renewal_init(&d->renewal, &now, &config, &facts);
    d->renewal_stream = 0;
    set_alarm(d);
}

void renewal_registered(struct device *d, bool registered)
{
    if (d->world->lifecycles) {
        struct bk_now now = device_time(d);
        bk_renewal_registered(&d->renewal, &now, registered);
        set_alarm(d);
    }
}

void renewal_hint(struct device *d)
{
    if (d->world->lifecycles) {
        struct bk_now now = device_time(d);
        bk_renewal_hint(&d->renewal, &now);
        set_alarm(d);
    }
}

static void ended(struct device *d, bool good)
{
    struct bk_now now = device_time(d);
    stream_close(d->world, d->renewal_stream);
    d->renewal_stream = 0;
    struct bk_renewal_facts facts = facts_of(d);
    bk_renewal_ended(&d->renewal, &now, good ? &facts : NULL);
    set_alarm(d);
}

static void on_renewed(struct device *d, struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_renew_answer a;
    if (bk_stun_read(bytes, &m) != BK_OK || bk_renew_answer_read(&m, &a) != BK_OK || !a.device) {
        ended(d, false);
        return;
    }
    CHECK(d->world, a.generation == d->generation && a.registration_key.n == BK_KEY_BYTES);
    memcpy(d->key, a.registration_key.p, BK_KEY_BYTES);
    d->epoch = a.epoch;
    d->n_renewed++;
    d->renewed_at = d->world->now;
    if (a.certificate.n > 0 && d->certificate_until_s != UINT64_MAX) {
        d->certificate_until_s = world_time(d->world, 0, false).unix_s + CERTIFICATE_LIFE_S;
    }
    if (d->box_made_s != 0) {
        renewal_sign_box(d, unix_of(d));
    }
    ended(d, true);
    struct bk_now now = device_time(d);
    bk_registration_rekey(&d->registration, &now, d->generation, d->epoch, d->key);
    device_rings(d);
}

static void on_renewal_stream(struct device *d, uint64_t stream, unsigned what,
                              struct bk_slice bytes)
{
    uint8_t buf[512];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_renew in = {0};
    struct bk_slice request;
    if (stream != d->renewal_stream || !d->running) {
        return;
    }
    switch (what) {
    case 0:
        if (d->renews_certificate) {
            in.csr = bk_slice_text("certificate request");
        }
        CHECK(d->world, bk_renew_write(buf, sizeof buf, txid, &in, &request) == BK_OK);
        stream_send(d->world, stream, request);
        break;
    case 1:
        on_renewed(d, bytes);
        break;
    default:
        ended(d, false);
        break;
    }
}

/* ---- watches ---- */

static void watch_open(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    if (c->core != NULL && c->watch == 0) {
        c->watched = false;
        c->watch = stream_open_for(w, c->device, BK_STREAM_WATCH, c);
    }
}

void watch_start(struct sim_call *c)
{
    if (c->world->lifecycles) {
        c->watch_pause_ms = 1000;
        world_after(c->world, 0, watch_open, c, BK_SLICE_EMPTY);
    }
}

void watch_end(struct sim_call *c)
{
    stream_close(c->world, c->watch);
    c->watch = 0;
}

static void cut(struct sim_call *c)
{
    struct world *w = c->world;
    c->cut = true;
    c->cut_at = w->now;
    for (uint64_t i = 0; i < w->n_sessions; i++) {
        const struct session *s = &w->sessions[i];
        if (s->call == c && s->caller->session == i + 1) {
            call_event(c, (struct bk_call_event){.type = BK_CALL_SESSION_ENDED, .index = s->index});
        }
    }
}

static void on_watch_answer(struct sim_call *c, struct bk_slice bytes)
{
    struct bk_stun m;
    uint16_t code = 0;
    CHECK(c->world, bk_stun_read(bytes, &m) == BK_OK && m.method == BK_METHOD_WATCH);
    if (m.cls == BK_STUN_SUCCESS) {
        c->watched = true;
        c->watch_pause_ms = 1000;
        return;
    }
    CHECK(c->world, bk_error_read(&m, &code) == BK_OK);
    if (code != BK_CODE_OVERLOADED) {
        cut(c);
    }
}

static void on_watch_closed(struct sim_call *c)
{
    struct world *w = c->world;
    uint64_t pause_ms = WATCH_AGAIN_MS;
    if (!c->watched) {
        pause_ms = c->watch_pause_ms;
        c->watch_pause_ms *= c->watch_pause_ms < WATCH_PAUSE_MAX_MS ? 2 : 1;
    }
    c->watch = 0;
    world_after(w, world_draw(w, pause_ms * BK_MS), watch_open, c, BK_SLICE_EMPTY);
}

static void on_watch_stream(struct sim_call *c, uint64_t stream, unsigned what,
                            struct bk_slice bytes)
{
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {2};
    struct bk_watch in = {.user = bk_slice_text("alice")};
    struct bk_slice request;
    if (stream != c->watch || c->core == NULL) {
        return;
    }
    switch (what) {
    case 0:
        CHECK(c->world, bk_watch_write(buf, sizeof buf, txid, &in, &request) == BK_OK);
        stream_send(c->world, stream, request);
        break;
    case 1:
        on_watch_answer(c, bytes);
        break;
    default:
        on_watch_closed(c);
        break;
    }
}

void device_stream_event(struct device *d, struct sim_call *call, uint64_t stream, unsigned what,
                         struct bk_slice bytes)
{
    if (call != NULL && stream == call->stream) { /* for RESULT, of a call in the fast form */
        static const enum bk_call_event_type types[] = {BK_CALL_SERVER_OPEN, BK_CALL_SERVER_MESSAGE,
                                                        BK_CALL_SERVER_CLOSED};
        call_stream_event(call, types[what], bytes);
    } else if (call != NULL) {
        on_watch_stream(call, stream, what, bytes);
    } else if (d->tunnel != 0 && stream == d->tunnel) {
        tunnel_event(d, what, bytes);
    } else {
        on_renewal_stream(d, stream, what, bytes);
    }
}
