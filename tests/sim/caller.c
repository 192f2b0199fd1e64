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
    c->reflexive = bk_addr_v4(4, 17, 168, 2, (uint16_t)(port + 20000));
    c->relay = bk_addr_v4(130, 74, 23, 6, (uint16_t)(port + 40000));
    c->punched = c->relayed = true;
    rng.fill(rng.ctx, c->call_key, sizeof c->call_key);
    c->next = w->callers;
    w->callers = c;
    return c;
}

struct caller *caller_at(struct world *w, const struct bk_addr *addr, enum bk_candidate_kind *kind)
{
    for (struct caller *c = w->callers; c != NULL; c = c->next) {
        if (bk_addr_equal(&c->candidate.addr, addr)) {
            *kind = c->candidate.kind;
            return c;
        }
        if (bk_addr_equal(&c->relay, addr) || bk_addr_equal(&c->reflexive, addr)) {
            *kind = bk_addr_equal(&c->relay, addr) ? BK_CANDIDATE_RELAYED : BK_CANDIDATE_REFLEXIVE;
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

static void tell_candidate(struct caller *c, enum bk_requester_source source,
                           enum bk_candidate_kind kind, const struct bk_addr *addr)
{
    caller_input(c, (struct bk_requester_event){.type = BK_REQUESTER_CANDIDATE,
                                                .source = source,
                                                .candidate = {kind, *addr}});
}

static void gathered(struct world *w, struct event *e)
{
    struct caller *c = e->who;
    struct bk_requester_event done = {.type = BK_REQUESTER_GATHERED};
    done.source = (enum bk_requester_source)e->arg;
    if (done.source == BK_SOURCE_MAPPING && c->n_candidates > 0) {
        tell_candidate(c, done.source, c->candidate.kind, &c->candidate.addr);
    } else if (done.source == BK_SOURCE_RELAY && c->relays && w->relays) {
        tell_candidate(c, done.source, BK_CANDIDATE_RELAYED, &c->relay);
    }
    caller_input(c, done);
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

/* The person interrupts it, or has what he wanted: the process is gone. */
void caller_hang_up(struct caller *c)
{
    struct world *w = c->world;
    c->failed = c->failed || !c->up;
    for (uint64_t i = 1; i <= w->n_sessions; i++) {
        if (w->sessions[i - 1].caller == c) {
            session_close(w, i);
        }
    }
    stream_close(w, c->stream);
    bk_requester_free(c->core);
    c->core = NULL;
    c->session = 0;
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

static void nobody_there(struct world *w, struct event *e)
{
    (void)w;
    caller_input(e->who, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
}

static void connect_server(struct caller *c, size_t server)
{
    struct world *w = c->world;
    if (server == 0 && c->first_server_gone) {
        world_after(w, 10 * BK_MS, nobody_there, c, BK_SLICE_EMPTY);
        c->stream = 0;
    } else {
        c->stream = stream_open(w, NULL, c);
    }
}

static void gather(struct caller *c)
{
    c->gathers++;
    world_after(c->world, BK_MS, gathered, c, BK_SLICE_EMPTY)->arg = BK_SOURCE_HOST;
    world_after(c->world, 500 * BK_MS, gathered, c, BK_SLICE_EMPTY)->arg = BK_SOURCE_MAPPING;
}

static void expect(struct caller *c, const struct bk_requester_action *a)
{
    c->expecting = true;
    CHECK(c->world, c->repeats_id || memcmp(c->call_id, a->call_id, sizeof c->call_id) != 0);
    memcpy(c->former_call_id, c->call_id, sizeof c->former_call_id);
    memcpy(c->call_id, a->call_id, sizeof c->call_id);
    memcpy(c->expected, a->pin, sizeof c->expected);
}

static void retired(struct world *w, struct event *e)
{
    (void)w;
    caller_input(
        e->who, (struct bk_requester_event){.type = BK_REQUESTER_SESSION_ENDED, .session = e->arg});
}

/* What a session is used, retired or closed for, and what is said there. */
static void session_action(struct caller *c, const struct bk_requester_action *a)
{
    struct world *w = c->world;
    const struct session *s = &w->sessions[a->session - 1];
    CHECK(w, a->session >= 1 && a->session <= w->n_sessions && s->caller == c);
    if (a->type == BK_REQUESTER_USE_SESSION) {
        CHECK(w, !c->failed && !c->ended);
        c->uses++;
        c->session = a->session;
        session_pick(w, a->session);
    } else if (a->type == BK_REQUESTER_SEND_PATHS) {
        c->rounds++;
        session_say(w, a->session, a->bytes);
    } else if (a->type == BK_REQUESTER_RETIRE_SESSION) { /* no streams: it ends at once */
        CHECK(w, s->picked && a->session != c->session);
        session_close(w, a->session);
        world_after(w, BK_MS, retired, c, BK_SLICE_EMPTY)->arg = a->session;
    } else {
        CHECK(w, !s->picked);
        session_close(w, a->session);
    }
}

static void phase(struct caller *c, enum bk_requester_phase which)
{
    if (which == BK_PHASE_ACCEPTED) {
        c->accepted_at = c->world->now;
    } else if (which == BK_PHASE_UP) {
        CHECK(c->world, !c->up && !c->failed && c->uses > 0);
        c->up = true;
        c->over_at = c->world->now;
    }
}

static void one_action(struct caller *c, const struct bk_requester_action *a)
{
    struct world *w = c->world;
    switch (a->type) {
    case BK_REQUESTER_CONNECT_SERVER:
        connect_server(c, a->server);
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
        gather(c);
        break;
    case BK_REQUESTER_GATHER_RELAY:
        CHECK(w, w->relays && a->info->n_relays == 1 && a->info->username.n > 0);
        world_after(w, 300 * BK_MS, gathered, c, BK_SLICE_EMPTY)->arg = BK_SOURCE_RELAY;
        break;
    case BK_REQUESTER_CONFIRM_PIN:
        world_after(w, BK_SECOND, answered, c, BK_SLICE_EMPTY)->arg = BK_REQUESTER_PIN_ACCEPTED;
        break;
    case BK_REQUESTER_NEED_PASSWORD:
        world_after(w, BK_MS, answered, c, BK_SLICE_EMPTY)->arg = BK_REQUESTER_PASSWORD;
        break;
    case BK_REQUESTER_EXPECT:
        expect(c, a);
        break;
    case BK_REQUESTER_USE_SESSION:
    case BK_REQUESTER_CLOSE_SESSION:
    case BK_REQUESTER_RETIRE_SESSION:
    case BK_REQUESTER_SEND_PATHS:
        session_action(c, a);
        break;
    case BK_REQUESTER_PERMIT:
        CHECK(w, w->relays);
        break;
    case BK_REQUESTER_DIAL:
        caller_dials(c, &a->candidate.addr);
        break;
    case BK_REQUESTER_PUNCH:
        CHECK(w, c->punches && c->n_meets < BK_REQUESTER_DIALS_MAX);
        c->meets[c->n_meets++] = a->candidate.addr;
        break;
    case BK_REQUESTER_STOP_DIALS:
        c->n_meets = 0;
        break;
    case BK_REQUESTER_MAPPING_PROVEN:
        c->proven++;
        break;
    case BK_REQUESTER_MAPPING_DOUBTED:
        c->doubted++;
        break;
    case BK_REQUESTER_REMEMBER:
        break;
    case BK_REQUESTER_PHASE:
        phase(c, a->phase);
        break;
    case BK_REQUESTER_FAILED:
        CHECK(w, !c->up && !c->failed);
        c->failed = true;
        c->failure = a->failure;
        c->over_at = w->now;
        break;
    case BK_REQUESTER_ENDED:
        CHECK(w, c->up && !c->ended);
        c->ended = true;
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
    config.no_reflexive = !c->punches;
    config.n_servers = c->n_servers;
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
