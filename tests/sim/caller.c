/* A requester's shell: one call of one person, its listener and its sessions. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "wire/connect.h"

static struct bk_requester_out out;

static void carry_out(struct caller *c);

/* Stands in for OpenSSL: a certificate here is an ID and a key; "signed" if it says so. */
static enum bk_err read_certificate(void *ctx, struct bk_slice der, uint64_t unix_s,
                                    struct bk_identity *id)
{
    (void)ctx;
    (void)unix_s;
    if (der.n != SIM_CERT_BYTES || memcmp(der.p, "CERT", 4) != 0) {
        return BK_E_AUTH;
    }
    memset(id, 0, sizeof *id);
    id->role = BK_ROLE_DEVICE;
    memcpy(&id->equipment_id, der.p + 4, 8);
    memcpy(id->key, der.p + 12, BK_KEY_BYTES);
    return BK_OK;
}

struct caller *caller_add(struct world *w, struct device *d)
{
    struct caller *c = calloc(1, sizeof *c);
    struct bk_random rng = world_random(w);
    if (c == NULL) {
        abort();
    }
    c->world = w;
    c->device = d;
    c->password = d->password;
    c->reachable = true;
    c->alarm.set = BK_TIME_NEVER;
    c->n_candidates = 1;
    c->candidate.kind = BK_CANDIDATE_MAPPED;
    uint16_t port = 5000;
    for (struct caller *other = w->callers; other != NULL; other = other->next) {
        port++;
    }
    c->candidate.addr = bk_addr_v4(4, 17, 168, 2, port);
    rng.fill(rng.ctx, c->call_key, sizeof c->call_key);
    c->next = w->callers;
    w->callers = c;
    return c;
}

struct caller *caller_at(struct world *w, const struct bk_addr *addr)
{
    for (struct caller *c = w->callers; c != NULL; c = c->next) {
        if (bk_addr_equal(&c->candidate.addr, addr)) {
            return c;
        }
    }
    return NULL;
}

struct caller *caller_of(struct world *w, const uint8_t call_id[BK_CALL_ID_BYTES])
{
    for (struct caller *c = w->callers; c != NULL; c = c->next) {
        if (memcmp(c->call_id, call_id, BK_CALL_ID_BYTES) == 0 ||
            memcmp(c->former_call_id, call_id, BK_CALL_ID_BYTES) == 0) {
            return c;
        }
    }
    return NULL;
}

static void ring(struct world *w, struct event *e)
{
    struct caller *c = e->who;
    if (world_alarm_rings(w, &c->alarm, e) && c->core != NULL) {
        struct bk_now now = world_time(w, c->clock_off_s, c->no_clock);
        bk_requester_timer(c->core, &now, &out);
        carry_out(c);
    }
}

void caller_input(struct caller *c, struct bk_requester_event event)
{
    struct bk_now now = world_time(c->world, c->clock_off_s, c->no_clock);
    if (c->core == NULL) {
        return;
    }
    bk_requester_input(c->core, &now, &event, &out);
    carry_out(c);
}

static void gathered(struct world *w, struct event *e)
{
    struct caller *c = e->who;
    (void)w;
    caller_input(c, (struct bk_requester_event){.type = BK_REQUESTER_CANDIDATES,
                                                .candidates = &c->candidate,
                                                .n_candidates = c->n_candidates});
}

static void answered(struct world *w, struct event *e)
{
    (void)w;
    struct caller *c = e->who;
    struct bk_requester_event event = {.type = (enum bk_requester_event_type)e->arg};
    if (event.type == BK_REQUESTER_PASSWORD && c->password == NULL) {
        event.type = BK_REQUESTER_NO_PASSWORD;
    } else if (event.type == BK_REQUESTER_PASSWORD) {
        event.bytes = bk_slice_text(c->password);
    }
    caller_input(c, event);
}

static void device_hears(struct world *w, struct event *e)
{
    struct session *s = &w->sessions[e->to.port - 1];
    call_event(s->call,
               (struct bk_call_event){.type = (enum bk_call_event_type)e->arg, .index = s->index});
}

static void tell_device(struct world *w, uint64_t session, enum bk_call_event_type what)
{
    struct event *e = world_after(w, w->delay_ms * BK_MS, device_hears, NULL, BK_SLICE_EMPTY);
    e->arg = what;
    e->to.port = (uint16_t)session;
}

void caller_hang_up(struct caller *c)
{
    if (c->session != 0) {
        tell_device(c->world, c->session, BK_CALL_SESSION_ENDED);
        c->session = 0;
    } else if (!c->failed) { /* the person interrupts it: the process is gone */
        stream_close(c->world, c->stream);
        bk_requester_free(c->core);
        c->core = NULL;
        c->failed = true;
    }
}

static void keep_box(struct caller *c, struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_connect message;
    if (bk_stun_read(bytes, &m) == BK_OK && m.method == BK_METHOD_CONNECT &&
        bk_connect_read(&m, &message) == BK_OK) {
        memcpy(c->last_box, message.box.p, message.box.n);
        c->last_box_n = message.box.n;
        c->requests++;
    }
}

static void one_action(struct caller *c, const struct bk_requester_action *a)
{
    struct world *w = c->world;
    switch (a->type) {
    case BK_REQUESTER_CONNECT_SERVER:
        c->stream = stream_open(w, NULL, c);
        break;
    case BK_REQUESTER_SEND_SERVER:
        keep_box(c, a->bytes);
        stream_send(w, c->stream, a->bytes);
        break;
    case BK_REQUESTER_CLOSE_SERVER:
        stream_close(w, c->stream);
        c->stream = 0;
        break;
    case BK_REQUESTER_GATHER:
        world_after(w, 500 * BK_MS, gathered, c, BK_SLICE_EMPTY);
        break;
    case BK_REQUESTER_CONFIRM_PIN:
        world_after(w, BK_SECOND, answered, c, BK_SLICE_EMPTY)->arg = BK_REQUESTER_PIN_ACCEPTED;
        break;
    case BK_REQUESTER_NEED_PASSWORD:
        world_after(w, BK_MS, answered, c, BK_SLICE_EMPTY)->arg = BK_REQUESTER_PASSWORD;
        break;
    case BK_REQUESTER_EXPECT:
        c->expecting = true;
        CHECK(w, c->repeats_id || memcmp(c->call_id, a->call_id, sizeof c->call_id) != 0);
        memcpy(c->former_call_id, c->call_id, sizeof c->former_call_id);
        memcpy(c->call_id, a->call_id, sizeof c->call_id);
        memcpy(c->expected, a->pin, sizeof c->expected);
        break;
    case BK_REQUESTER_USE_SESSION:
        CHECK(w, !c->up && !c->failed);
        c->session = a->session;
        tell_device(w, a->session, BK_CALL_SESSION_PICKED);
        break;
    case BK_REQUESTER_CLOSE_SESSION:
        tell_device(w, a->session, BK_CALL_DIAL_FAILED);
        break;
    case BK_REQUESTER_PHASE:
        if (a->phase == BK_PHASE_ACCEPTED) {
            c->accepted_at = w->now;
        } else if (a->phase == BK_PHASE_UP) {
            c->up = true;
            c->over_at = w->now;
        }
        break;
    case BK_REQUESTER_FAILED:
        CHECK(w, !c->up && !c->failed);
        c->failed = true;
        c->failure = a->failure;
        c->over_at = w->now;
        break;
    }
}

static void carry_out(struct caller *c)
{
    for (size_t i = 0; i < out.n; i++) {
        one_action(c, &out.actions[i]);
    }
    world_alarm(c->world, &c->alarm, bk_requester_deadline(c->core), ring, c);
}

/* The world's generator, but for call IDs of a caller that repeats his. */
static void draw(void *ctx, uint8_t *bytes, size_t n)
{
    struct caller *c = ctx;
    struct bk_random rng = world_random(c->world);
    rng.fill(rng.ctx, bytes, n);
    if (c->repeats_id && n == BK_CALL_ID_BYTES) {
        memcpy(bytes, c->call_id, n);
    }
}

void caller_start(struct caller *c)
{
    struct bk_requester_config config = {.rng = {c, draw},
                                         .certs = {c, read_certificate},
                                         .equipment_id = c->device->id,
                                         .service = "ssh"};
    struct bk_alloc alloc = bk_alloc_libc();
    device_identify(c->device);
    config.have_pin = true;
    memcpy(config.pin, c->device->pin, sizeof config.pin);
    config.have_key = c->has_key;
    memcpy(config.key_seed, c->key_seed, sizeof config.key_seed);
    memcpy(config.call_key, c->call_key, sizeof config.call_key);
    c->began = c->world->now;
    if (bk_requester_new(&alloc, &config, &c->core) != BK_OK) {
        abort();
    }
    caller_input(c, (struct bk_requester_event){.type = BK_REQUESTER_START});
}
