/* A device's shells: the idle part with its memory, and the call part, one per call. */
#include "sim.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static struct bk_registration_out idle_out;
static struct bk_call_out call_out;

static void idle_ring(struct world *w, struct event *e);
static void call_ring(struct world *w, struct event *e);
static void call_carry_out(struct sim_call *c);

static struct bk_now device_time(const struct device *d)
{
    return world_time(d->world, d->clock_off_s, d->no_clock);
}

struct device *device_add(struct world *w, struct router *router, uint64_t id)
{
    struct device *d = calloc(1, sizeof *d);
    if (w->n_devices == w->cap_devices) {
        w->cap_devices = w->cap_devices == 0 ? 16 : 2 * w->cap_devices;
        w->devices = realloc(w->devices, w->cap_devices * sizeof(struct device *));
    }
    if (d == NULL || w->devices == NULL) {
        abort();
    }
    d->world = w;
    d->id = id;
    d->generation = 1;
    d->epoch = w->config.master[0].epoch;
    d->certificate_until_s = UINT64_MAX;
    d->granted = true;
    d->router = router;
    d->inner_port = 2345;
    d->password = "open sesame";
    d->alarm.set = BK_TIME_NEVER;
    d->renewal_alarm.set = BK_TIME_NEVER;
    d->lifetime_alarm.set = BK_TIME_NEVER;
    if (router == NULL) {
        size_t i = w->n_devices;
        d->used[0] = bk_addr_v4(20, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i, 2345);
        d->n_used = 1;
    }
    bk_registration_key(&w->config.mac, w->config.master[0].key, id, d->generation, d->key);
    w->devices[w->n_devices++] = d;
    return d;
}

struct device *device_find(struct world *w, uint64_t id)
{
    /* IDs are given in order as a rule. */
    if (w->n_devices > 0 && id >= w->devices[0]->id && id - w->devices[0]->id < w->n_devices &&
        w->devices[id - w->devices[0]->id]->id == id) {
        return w->devices[id - w->devices[0]->id];
    }
    for (size_t i = 0; i < w->n_devices; i++) {
        if (w->devices[i]->id == id) {
            return w->devices[i];
        }
    }
    return NULL;
}

void device_identify(struct device *d)
{
    if (d->has_identity) {
        return;
    }
    struct bk_random rng = world_random(d->world);
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    rng.fill(rng.ctx, d->sign_seed, sizeof d->sign_seed);
    d->identity.role = BK_ROLE_DEVICE;
    d->identity.equipment_id = d->id;
    crypto_sign_seed_keypair(d->identity.key, secret, d->sign_seed);
    bk_pin_of_key(d->identity.key, d->pin);
    bk_box_pair_make(&rng, &d->box);
    struct bk_box_key key = {.made_s = 1600000000, .until_s = 1800000000};
    memcpy(key.key, d->box.public_key, sizeof key.key);
    bk_box_key_sign(&key, d->sign_seed, d->signed_box);
    memcpy(d->certificate, "CERT", 4);
    memcpy(d->certificate + 4, &d->id, 8);
    memcpy(d->certificate + 12, d->identity.key, BK_KEY_BYTES);
    d->has_identity = true;
}

static void idle_input(struct device *d, const struct bk_registration_event *event);

static void resolved(struct world *w, struct event *e)
{
    struct device *d = e->who;
    struct bk_registration_event event = {.type = BK_REGISTRATION_RESOLVED, .addr = w->server_addr};
    if (d->dns_down) {
        event.type = BK_REGISTRATION_UNRESOLVED;
    }
    idle_input(d, &event);
}

/* `request`: of the fast form: the call's ID and the box; else empty. */
static void start_call(struct device *d, struct bk_slice request)
{
    struct sim_call *c = calloc(1, sizeof *c);
    static const struct bk_alloc *libc;
    static struct bk_alloc alloc;
    if (libc == NULL) {
        alloc = bk_alloc_libc();
        libc = &alloc;
    }
    if (c == NULL) {
        abort();
    }
    device_identify(d);
    struct bk_call_config config = {
        .rng = world_random(d->world), .equipment_id = d->id, .n_boxes = 1, .n_services = 1};
    config.box[0] = d->box;
    memcpy(config.device_pin, d->pin, sizeof config.device_pin);
    config.services[0] = bk_slice_text("ssh");
    config.policy.servers[config.policy.n_servers++] = d->world->server_addr;
    c->world = d->world;
    c->device = d;
    c->alarm.set = BK_TIME_NEVER;
    c->reflexive = d->router != NULL ? d->router->public_ip : d->used[0];
    c->reflexive.port = (uint16_t)(30000 + d->n_calls);
    c->mapped = c->reflexive;
    c->mapped.port = (uint16_t)(50000 + d->n_calls);
    c->next = d->calls;
    d->calls = c;
    d->n_calls++;
    if (bk_call_new(libc, &config, &c->core) != BK_OK) {
        abort();
    }
    struct bk_call_event start = {.type = BK_CALL_START};
    struct bk_connect outside = {.equipment_id = d->id, .user = bk_slice_text("alice")};
    if (request.n > 0) {
        c->fast = true;
        memcpy(c->call_id, request.p, sizeof c->call_id);
        memcpy(outside.call_id, request.p, sizeof outside.call_id);
        outside.box = bk_slice(request.p + BK_CALL_ID_BYTES, request.n - BK_CALL_ID_BYTES);
        start.request = &outside;
    }
    call_event(c, start);
}

static void begin_call(struct world *w, struct event *e)
{
    (void)w;
    struct device *d = e->who;
    if (d->running) {
        start_call(d, bk_slice(e->bytes, e->n));
    }
}

/* In a moment: no core is called from within another. */
static void called(struct device *d, const struct bk_registration_action *a)
{
    uint8_t request[BK_CALL_ID_BYTES + BK_BOX_MAX_BYTES];
    size_t n = 0;
    if (a->fast) {
        d->told_fast++;
        memcpy(request, a->call_id, BK_CALL_ID_BYTES);
        memcpy(request + BK_CALL_ID_BYTES, a->bytes.p, a->bytes.n);
        n = BK_CALL_ID_BYTES + a->bytes.n;
    }
    d->told_call++;
    world_after(d->world, 5 * BK_MS, begin_call, d, bk_slice(request, n));
}

static void result_told(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    (void)w;
    call_event(c, (struct bk_call_event){
                      .type = BK_CALL_RESULT_TOLD, .index = e->arg, .right = e->addr.port != 0});
}

static void tell_result(struct device *d, const struct bk_registration_action *a)
{
    for (struct sim_call *c = d->calls; c != NULL; c = c->next) {
        if (c->fast && c->core != NULL && memcmp(c->call_id, a->call_id, sizeof c->call_id) == 0) {
            struct event *e = world_after(d->world, 0, result_told, c, BK_SLICE_EMPTY);
            e->arg = a->number;
            e->addr.port = a->good;
            return;
        }
    }
}

static void say_result(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    struct bk_registration_event event = {.type = BK_REGISTRATION_RESULT,
                                          .addr = w->server_addr,
                                          .bytes = bk_slice(e->bytes, e->n),
                                          .number = (uint8_t)e->arg};
    memcpy(event.call_id, c->call_id, sizeof event.call_id);
    idle_input(c->device, &event);
}

static void idle_carry_out(struct device *d)
{
    for (size_t i = 0; i < idle_out.n; i++) {
        const struct bk_registration_action *a = &idle_out.actions[i];
        switch (a->type) {
        case BK_REGISTRATION_SEND:
            if (a->tunnel) {
                stream_send(d->world, d->tunnel, a->bytes);
            } else {
                net_from_device(d->world, d, &a->addr, a->bytes);
            }
            break;
        case BK_REGISTRATION_RESOLVE:
            world_after(d->world, 10 * BK_MS, resolved, d, BK_SLICE_EMPTY);
            break;
        case BK_REGISTRATION_REGISTERED:
            d->told_registered++;
            d->told_tunnel += a->tunnel;
            d->up = true;
            d->up_at = d->world->now;
            registering_registered(d, !a->tunnel);
            renewal_registered(d, true);
            break;
        case BK_REGISTRATION_LOST:
            d->told_lost++;
            d->up = false;
            registering_registered(d, false);
            renewal_registered(d, false);
            break;
        case BK_REGISTRATION_REVOKED:
            d->told_revoked++;
            d->up = false;
            break;
        case BK_REGISTRATION_CALL:
            called(d, a);
            break;
        case BK_REGISTRATION_FULL: /* nobody is here */
            CHECK(d->world, false);
            break;
        case BK_REGISTRATION_RESULT_TOLD:
            tell_result(d, a);
            break;
        case BK_REGISTRATION_RENEW:
            renewal_hint(d);
            break;
        case BK_REGISTRATION_TUNNEL_OPEN:
            tunnel_open(d);
            break;
        case BK_REGISTRATION_TUNNEL_CLOSE:
            tunnel_close(d);
            break;
        }
    }
    world_alarm(d->world, &d->alarm, bk_registration_deadline(&d->registration), idle_ring, d);
}

static void idle_input(struct device *d, const struct bk_registration_event *event)
{
    struct bk_now now = device_time(d);
    if (d->running) {
        bk_registration_input(&d->registration, &now, event, &idle_out);
        idle_carry_out(d);
    }
}

void device_tell(struct device *d, const struct bk_registration_event *event)
{
    idle_input(d, event);
}

static void idle_ring(struct world *w, struct event *e)
{
    struct device *d = e->who;
    if (world_alarm_rings(w, &d->alarm, e) && d->running) {
        struct bk_now now = device_time(d);
        bk_registration_timer(&d->registration, &now, &idle_out);
        idle_carry_out(d);
    }
}

void device_rings(struct device *d)
{
    world_alarm(d->world, &d->alarm, bk_registration_deadline(&d->registration), idle_ring, d);
}

void device_start(struct device *d)
{
    struct bk_registration_config config = {.rng = world_random(d->world),
                                            .mac = d->world->config.mac,
                                            .equipment_id = d->id,
                                            .generation = d->generation,
                                            .epoch = d->epoch};
    memcpy(config.key, d->key, sizeof config.key);
    bk_registration_init(&d->registration, &config);
    free(d->memory);
    d->memory = NULL;
    d->started = device_time(d);
    d->running = true;
    d->up = false;
    d->alarm.set = BK_TIME_NEVER;
    registering_start(d);
    renewal_start(d);
    struct bk_registration_event event = {.type = BK_REGISTRATION_START};
    idle_input(d, &event);
}

void device_stop(struct device *d)
{
    d->running = false;
    d->up = false;
    tunnel_close(d);
}

void device_datagram(struct device *d, const struct bk_addr *from, struct bk_slice bytes)
{
    struct bk_registration_event event = {
        .type = BK_REGISTRATION_DATAGRAM, .addr = *from, .bytes = bytes};
    idle_input(d, &event);
}

uint32_t device_calls_open(const struct device *d)
{
    uint32_t n = 0;
    for (const struct sim_call *c = d->calls; c != NULL; c = c->next) {
        n += c->core != NULL;
    }
    return n;
}

void call_event(struct sim_call *c, struct bk_call_event event)
{
    struct bk_now now = device_time(c->device);
    if (c->core != NULL) {
        if (event.type == BK_CALL_SESSION_PICKED) {
            watch_start(c);
        }
        bk_call_input(c->core, &now, &event, &call_out);
        call_carry_out(c);
    }
}

static void call_ring(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    if (world_alarm_rings(w, &c->alarm, e) && c->core != NULL) {
        struct bk_now now = device_time(c->device);
        bk_call_timer(c->core, &now, &call_out);
        call_carry_out(c);
    }
}

void call_stream_event(struct sim_call *c, enum bk_call_event_type type, struct bk_slice bytes)
{
    call_event(c, (struct bk_call_event){.type = type, .bytes = bytes});
}

static struct device_memory *memory_of(struct device *d)
{
    if (d->memory == NULL) {
        struct bk_now now = device_time(d);
        d->memory = calloc(1, sizeof *d->memory);
        if (d->memory == NULL) {
            abort();
        }
        bk_admission_init(&d->memory->admission);
        bk_dials_init(&d->memory->dials, &now);
    }
    return d->memory;
}

/* Asks again while guesses of others wait for their verdict. */
static void ask_admission(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    struct device *d = c->device;
    struct bk_admission *admission = &memory_of(d)->admission;
    struct bk_now now = device_time(d);
    if (c->core == NULL) {
        return;
    }
    if (!bk_admission_has_room(admission, &c->facts)) {
        CHECK(w, !c->facts.has_key);
        world_after(w, 10 * BK_MS, ask_admission, c, BK_SLICE_EMPTY);
        return;
    }
    enum bk_admission_verdict verdict =
        bk_admission_check(admission, &now, &d->registration, &c->facts);
    c->unproven = verdict == BK_ADMITTED;
    call_event(c, (struct bk_call_event){.type = BK_CALL_ADMISSION,
                                         .verdict = verdict,
                                         .tag = d->registration.tag,
                                         .unix_s = bk_registration_unix_s(&d->registration, &now)});
}

static bool caller_right(const struct sim_call *c, struct bk_slice password)
{
    const struct device *d = c->device;
    if (c->facts.has_key) {
        return d->knows_key && memcmp(d->known_key, c->facts.key, sizeof d->known_key) == 0;
    }
    return bk_slice_equal(password, bk_slice_text(d->password));
}

/* Whatever became of the call by then, a guess that was looked at counts. */
static void caller_checked(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    struct bk_now now = device_time(c->device);
    (void)w;
    if (c->unproven) {
        c->unproven = false;
        c->right = caller_right(c, bk_slice(e->bytes, e->n));
        bk_admission_proof(&memory_of(c->device)->admission, &now, &c->facts, c->right);
    }
    call_event(c, (struct bk_call_event){.type = BK_CALL_CALLER, .right = c->right, .services = 1});
}

static void ask_dials(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    struct bk_now now = device_time(c->device);
    uint32_t permitted = 0;
    size_t n = 0;
    const struct bk_candidate *list = c->core == NULL ? NULL : bk_call_candidates(c->core, &n);
    for (size_t i = 0; i < n; i++) {
        if ((e->arg >> i & 1) == 0) {
            continue;
        }
        if (bk_dials_permit(&memory_of(c->device)->dials, &now, &list[i].addr)) {
            permitted |= UINT32_C(1) << i;
            c->permitted[c->n_permitted++ % (sizeof c->permitted / sizeof c->permitted[0])] =
                list[i].addr;
        } else {
            w->stats.dials_refused++;
        }
    }
    call_event(c, (struct bk_call_event){.type = BK_CALL_DIALS, .dials = permitted});
}

/* The idle part sees the process of a call go: one that was admitted and never judged makes room. */
static void abandon(struct sim_call *c)
{
    if (c->unproven) {
        c->unproven = false;
        bk_admission_abandoned(&memory_of(c->device)->admission, &c->facts);
    }
}

/* Never without a caller who knew the password or has a key that is known, and named this very address. */
static void check_dial(const struct sim_call *c, const struct bk_call_action *a)
{
    struct world *w = c->world;
    enum bk_candidate_kind kind;
    const struct bk_call_request *request = bk_call_opened(c->core);
    const struct caller *caller = request == NULL ? NULL : caller_of(w, request->call_id);
    bool permitted = false;
    for (size_t i = 0; i < sizeof c->permitted / sizeof c->permitted[0]; i++) {
        permitted = permitted || bk_addr_equal(&c->permitted[i], &a->addr);
    }
    CHECK(w, c->right && caller != NULL && request->password.n == 0 && permitted);
    CHECK(w, caller != NULL && (caller_at(w, &a->addr, &kind) == caller ||
                                bk_addr_equal(&caller->candidate.addr, &a->addr)));
    CHECK(w, !c->dialling[a->index] && c->session[a->index] == 0);
    w->stats.dials++;
}

static void mapped(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    (void)w;
    call_event(c, (struct bk_call_event){.type = BK_CALL_OWN,
                                         .candidate = {BK_CANDIDATE_MAPPED, c->mapped}});
}

static void learnt(struct world *w, struct event *e)
{
    struct sim_call *c = e->who;
    struct bk_call_event event = {.type = BK_CALL_OBSERVED};
    if (w->server != NULL) {
        event.addr = c->reflexive;
    }
    call_event(c, event);
}

static void call_carry_out(struct sim_call *c)
{
    struct world *w = c->world;
    for (size_t i = 0; i < call_out.n; i++) {
        const struct bk_call_action *a = &call_out.actions[i];
        switch (a->type) {
        case BK_CALL_CONNECT_SERVER:
            CHECK(w, a->result == c->fast);
            c->stream = c->fast ? stream_open_for(w, c->device, BK_STREAM_WATCH, c)
                                : stream_open(w, c, NULL);
            break;
        case BK_CALL_SEND_SERVER:
            stream_send(w, c->stream, a->bytes);
            break;
        case BK_CALL_CLOSE_SERVER:
            stream_close(w, c->stream);
            break;
        case BK_CALL_ASK_ADMISSION:
            c->facts = a->facts;
            world_after(w, BK_MS, ask_admission, c, BK_SLICE_EMPTY);
            break;
        case BK_CALL_CHECK_CALLER:
            world_after(w, a->facts.has_key ? BK_MS : 10 * BK_MS, caller_checked, c, a->bytes);
            break;
        case BK_CALL_ASK_DIALS:
            world_after(w, BK_MS, ask_dials, c, BK_SLICE_EMPTY)->arg = a->dials;
            break;
        case BK_CALL_LISTEN:
            c->listening = true;
            break;
        case BK_CALL_DIAL:
            check_dial(c, a);
            link_dial(c, a->index, &a->addr);
            break;
        case BK_CALL_PUNCH:
            check_dial(c, a);
            link_punch(c, a);
            break;
        case BK_CALL_CLOSE_LINK:
            link_close(c, a->index);
            break;
        case BK_CALL_MAP:
            if (c->device->maps) {
                world_after(w, 200 * BK_MS, mapped, c, BK_SLICE_EMPTY);
            }
            break;
        case BK_CALL_LEARN:
            world_after(w, 6 * w->delay_ms * BK_MS, learnt, c, BK_SLICE_EMPTY);
            break;
        case BK_CALL_SEND_RESULT:
            CHECK(w, c->fast);
            world_after(w, BK_MS, say_result, c, a->bytes)->arg = a->index;
            break;
        case BK_CALL_SEND_PATHS:
            link_say(c, a->index, a->bytes);
            break;
        case BK_CALL_PING:
            break; /* a session that is cut is known to be here */
        case BK_CALL_END:
            CHECK(w, i + 1 == call_out.n); /* nothing comes after it */
            c->ended = true;
            c->end = a->reason;
            abandon(c);
            watch_end(c);
            bk_call_free(c->core);
            c->core = NULL;
            return;
        }
    }
    world_alarm(w, &c->alarm, bk_call_deadline(c->core), call_ring, c);
}
