/* The server's shell: its store of devices and grants, and the streams to it. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "wire/binding.h"
#include "wire/info.h"
#include "wire/register.h"

bool (*sim_hostile)(struct world *w, enum sim_moment moment, uint64_t stream,
                    struct bk_slice bytes);

static struct bk_server_out out;

static void carry_out(struct world *w);
static void server_ring(struct world *w, struct event *e);

static void input(struct world *w, const struct bk_server_event *event)
{
    struct bk_now now = world_time(w, w->server_clock_off_s, false);
    bk_server_input(w->server, &now, event, &out);
    carry_out(w);
}

static void server_ring(struct world *w, struct event *e)
{
    if (e->arg != w->server_life || w->server == NULL ||
        !world_alarm_rings(w, &w->server_alarm, e)) {
        return;
    }
    struct bk_now now = world_time(w, w->server_clock_off_s, false);
    bk_server_timer(w->server, &now, &out);
    carry_out(w);
}

static void set_alarm(struct world *w)
{
    bk_time deadline = bk_server_deadline(w->server);
    if (deadline < w->server_alarm.set) {
        w->server_alarm.set = deadline > w->now ? deadline : w->now;
        world_after(w, w->server_alarm.set - w->now, server_ring, NULL, BK_SLICE_EMPTY)->arg =
            w->server_life;
    }
}

static void device_found(struct world *w, struct event *e)
{
    if (w->server == NULL || e->to.port != (uint16_t)w->server_life) {
        return;
    }
    struct device *d = e->who;
    struct bk_server_event event = {.type = BK_SERVER_DEVICE};
    event.device.query = e->arg;
    if (d == NULL || !d->granted) {
        event.device.code = BK_CODE_NOT_FOUND;
    } else if (d->revoked) {
        event.device.code = BK_CODE_REVOKED;
    } else {
        device_identify(d);
        event.device.equipment_id = d->id;
        event.device.certificate = bk_slice(d->certificate, sizeof d->certificate);
        event.device.box_key = bk_slice(d->signed_box, sizeof d->signed_box);
    }
    input(w, &event);
}

static struct stream *stream_at(struct world *w, uint64_t number)
{
    return number == 0 || number > w->n_streams ? NULL : &w->streams[number - 1];
}

static void device_renews(struct world *w, struct event *e)
{
    struct device *d = e->who;
    if (w->server == NULL || e->to.port != (uint16_t)w->server_life) {
        return;
    }
    struct bk_server_event event = {.type = BK_SERVER_RENEWED};
    event.renewed.query = e->arg;
    event.renewed.code = d == NULL || d->revoked ? BK_CODE_FORBIDDEN : 0;
    if (event.renewed.code == 0) {
        event.renewed.generation = d->generation;
        event.renewed.certificate =
            e->n > 0 ? bk_slice(d->certificate, sizeof d->certificate) : BK_SLICE_EMPTY;
    }
    input(w, &event);
}

static void client_event(struct world *w, struct event *e)
{
    struct stream *s = stream_at(w, e->arg);
    struct bk_slice bytes = bk_slice(e->bytes, e->n);
    enum { OPEN, MESSAGE, CLOSED } what = e->to.port;
    if (s == NULL || !s->client_open) {
        return;
    }
    if (what == CLOSED) {
        s->client_open = false;
    }
    if (s->device != NULL) {
        device_stream_event(s->device, s->call, e->arg, what, bytes);
    } else if (s->call != NULL) {
        static const enum bk_call_event_type types[] = {BK_CALL_SERVER_OPEN, BK_CALL_SERVER_MESSAGE,
                                                        BK_CALL_SERVER_CLOSED};
        call_stream_event(s->call, types[what], bytes);
    } else if (s->caller->core != NULL) { /* else a hand-moved client: it does not listen */
        static const enum bk_requester_event_type types[] = {
            BK_REQUESTER_SERVER_OPEN, BK_REQUESTER_SERVER_MESSAGE, BK_REQUESTER_SERVER_CLOSED};
        caller_input(s->caller, (struct bk_requester_event){.type = types[what], .bytes = bytes});
    }
}

/* `what`: 0 opened, 1 a message, 2 closed. The pipe has one delay, so order is kept. */
static void tell_client(struct world *w, uint64_t number, uint16_t what, struct bk_slice bytes)
{
    struct event *e = world_after(w, w->delay_ms * BK_MS, client_event, NULL, bytes);
    e->arg = number;
    e->to.port = what;
}

static void close_server_side(struct world *w, uint64_t number)
{
    struct stream *s = stream_at(w, number);
    if (s != NULL && s->server_open) {
        s->server_open = false;
        tell_client(w, number, 2, BK_SLICE_EMPTY);
    }
}

static void closed_by_core(struct world *w, struct event *e)
{
    if (w->server != NULL && e->to.port == (uint16_t)w->server_life) {
        struct bk_server_event event = {.type = BK_SERVER_STREAM_CLOSED};
        event.closed.stream = e->arg;
        input(w, &event);
    }
}

static bool taken(struct world *w, enum sim_moment moment, uint64_t stream, struct bk_slice bytes)
{
    return sim_hostile != NULL && sim_hostile(w, moment, stream, bytes);
}

void server_says(struct world *w, uint64_t number, struct bk_slice bytes)
{
    const struct stream *s = stream_at(w, number);
    if (s != NULL && s->server_open) {
        tell_client(w, number, 1, bytes);
    }
}

void server_hangs_up(struct world *w, uint64_t number)
{
    const struct stream *s = stream_at(w, number);
    if (s != NULL && s->server_open) {
        close_server_side(w, number);
        struct event *e = world_after(w, 0, closed_by_core, NULL, BK_SLICE_EMPTY);
        e->arg = number;
        e->to.port = (uint16_t)w->server_life;
    }
}

/* One relay at most, no other addresses; the world's own copy of the address that it saw. */
static void send_info(struct world *w, const struct bk_server_action *a)
{
    struct bk_info info = {.observed = a->info.from};
    if (w->relays) {
        info.n_relays = 1;
        info.relays[0].port = 3478;
        info.username = bk_slice_text("1700000600:alice");
        info.password = bk_slice_text("c2VjcmV0");
        info.lifetime_s = 600;
    }
    uint8_t buf[256];
    struct bk_slice bytes;
    CHECK(w, bk_info_answer_write(buf, sizeof buf, a->info.txid, &info, &bytes) == BK_OK);
    if (!taken(w, SIM_DOWN, a->info.stream, bytes)) {
        server_says(w, a->info.stream, bytes);
    }
}

static void carry_out(struct world *w)
{
    for (size_t i = 0; i < out.n; i++) {
        const struct bk_server_action *a = &out.actions[i];
        struct stream *s = NULL;
        struct event *e;
        if (a->type == BK_SERVER_SEND_MESSAGE || a->type == BK_SERVER_CLOSE_STREAM) {
            s = stream_at(w,
                          a->type == BK_SERVER_SEND_MESSAGE ? a->message.stream : a->close.stream);
            CHECK(w, s != NULL);
        }
        switch (a->type) {
        case BK_SERVER_SEND_DATAGRAM:
            net_inject(w, &w->server_addr, &a->datagram.to, a->datagram.bytes);
            break;
        case BK_SERVER_SEND_MESSAGE:
            if (!taken(w, SIM_DOWN, a->message.stream, a->message.bytes)) {
                server_says(w, a->message.stream, a->message.bytes);
            }
            break;
        case BK_SERVER_CLOSE_STREAM:
            if (!taken(w, SIM_CLOSES, a->close.stream, BK_SLICE_EMPTY)) {
                server_hangs_up(w, a->close.stream);
            }
            break;
        case BK_SERVER_FIND_DEVICE:
            CHECK(w, bk_slice_equal(a->find.user, bk_slice_text("alice")));
            e = world_after(w, BK_MS, device_found, device_find(w, a->find.equipment_id),
                            BK_SLICE_EMPTY);
            e->arg = a->find.query;
            e->to.port = (uint16_t)w->server_life;
            break;
        case BK_SERVER_RENEW:
            CHECK(w, a->renew.peer.role == BK_ROLE_DEVICE);
            e = world_after(w, BK_MS, device_renews, device_find(w, a->renew.peer.equipment_id),
                            a->renew.csr);
            e->arg = a->renew.query;
            e->to.port = (uint16_t)w->server_life;
            break;
        case BK_SERVER_ENROL:
            CHECK(w, false); /* nobody here enrols */
            break;
        case BK_SERVER_SEND_INFO:
            send_info(w, a);
            break;
        case BK_SERVER_AUDIT:
            w->stats.audits++;
            w->stats.delivered += a->audit.how == BK_AUDIT_DELIVERED;
            w->stats.calls_ended += a->audit.how == BK_AUDIT_CALL_ENDED;
            w->stats.calls_revoked += a->audit.how == BK_AUDIT_CALL_REVOKED;
            break;
        }
    }
    set_alarm(w);
}

/* No unproven sender gets more than it sent, plain Binding excepted; the row of a device lies where
 * its datagrams really come from. */
static void check_reply(struct world *w, const struct bk_addr *from, struct bk_slice bytes)
{
    struct bk_stun request;
    struct bk_stun reply;
    size_t replied = 0;
    for (size_t i = 0; i < out.n; i++) {
        const struct bk_server_action *a = &out.actions[i];
        if (a->type != BK_SERVER_SEND_DATAGRAM || !bk_addr_equal(&a->datagram.to, from)) {
            continue;
        }
        CHECK(w, bk_stun_read(a->datagram.bytes, &reply) == BK_OK);
        if (reply.cls != BK_STUN_REQUEST && reply.method != BK_METHOD_BINDING) {
            replied += a->datagram.bytes.n;
        } else if (reply.method == BK_METHOD_BINDING) {
            CHECK(w, a->datagram.bytes.n <= bytes.n + 24);
        }
    }
    CHECK(w, replied <= bytes.n);

    struct bk_register message;
    struct bk_server_row row;
    if (bk_stun_read(bytes, &request) != BK_OK || request.method != BK_METHOD_REGISTER ||
        bk_register_read(&request, &message) != BK_OK ||
        !bk_server_find(w->server, message.equipment_id, &row) || row.by_stream) {
        return;
    }
    struct device *d = device_find(w, message.equipment_id);
    CHECK(w, d != NULL);
    bool really = false;
    for (size_t i = 0; d != NULL && i < SIM_USED_MAX; i++) {
        really = really || bk_addr_equal(&d->used[i], &row.addr);
    }
    CHECK(w, really);
}

void server_datagram(struct world *w, const struct bk_addr *from, struct bk_slice bytes)
{
    if (w->server == NULL) {
        return;
    }
    struct bk_server_event event = {.type = BK_SERVER_DATAGRAM};
    event.datagram.from = *from;
    event.datagram.bytes = bytes;
    input(w, &event);
    check_reply(w, from, bytes);
}

void server_start(struct world *w)
{
    struct bk_now now = world_time(w, w->server_clock_off_s, false);
    w->server_life++;
    w->server_alarm.set = BK_TIME_NEVER;
    w->config.rng = world_random(w);
    w->config.shards = 1 + (uint32_t)(w->seed % 3); /* nobody may notice */
    if (bk_server_new(&w->config, &now, &w->server) != BK_OK) {
        abort();
    }
    for (size_t i = 0; i < w->n_devices; i++) { /* exceptions are loaded before it serves */
        if (w->devices[i]->revoked) {
            server_revoke(w, w->devices[i]);
        }
    }
    set_alarm(w);
}

void server_stop(struct world *w)
{
    bk_server_free(w->server);
    w->server = NULL;
    for (uint64_t number = 1; number <= w->n_streams; number++) {
        close_server_side(w, number);
    }
}

void server_revoke(struct world *w, struct device *d)
{
    struct bk_server_event event = {.type = BK_SERVER_EXCEPTION};
    d->revoked = true;
    event.exception.equipment_id = d->id;
    event.exception.lowest_generation = d->generation;
    event.exception.revoked = true;
    input(w, &event);
}

void server_grant(struct world *w, struct device *d, bool granted)
{
    struct bk_server_event event = {.type = BK_SERVER_GRANTS_CHANGED};
    d->granted = granted;
    event.grants_changed.user = bk_slice_text("alice");
    if (w->server != NULL) {
        input(w, &event);
    }
}

void server_rekey(struct world *w)
{
    CHECK(w, bk_server_set_masters(w->server, w->config.master, w->config.n_master) == BK_OK);
}

bool server_has(struct world *w, const struct device *d)
{
    struct bk_server_row row;
    return w->server != NULL && bk_server_find(w->server, d->id, &row);
}

static void opened(struct world *w, struct event *e)
{
    struct stream *s = stream_at(w, e->arg);
    if (w->server == NULL) {
        tell_client(w, e->arg, 2, BK_SLICE_EMPTY);
        return;
    }
    if (!s->client_open) {
        return;
    }
    struct device *d = s->device != NULL ? s->device : s->call != NULL ? s->call->device : NULL;
    struct bk_now now = world_time(w, w->server_clock_off_s, false);
    if (d != NULL && s->purpose != BK_STREAM_RENEW && now.unix_s > d->certificate_until_s) {
        tell_client(w, e->arg, 2, BK_SLICE_EMPTY); /* the handshake fails */
        return;
    }
    s->server_open = true;
    struct bk_server_event event = {.type = BK_SERVER_STREAM_OPEN};
    event.open.stream = e->arg;
    event.open.from = bk_addr_v4(4, 17, 168, 2, 40000);
    if (s->caller != NULL) {
        event.open.from = s->caller->reflexive;
    } else if (s->call != NULL) {
        event.open.from = s->call->reflexive;
    }
    event.open.purpose = s->purpose;
    if (d != NULL) {
        device_identify(d);
        event.open.peer = d->identity;
    } else {
        event.open.peer.role = BK_ROLE_USER;
        memcpy(event.open.peer.name, "alice", 6);
    }
    tell_client(w, e->arg, 0, BK_SLICE_EMPTY);
    (void)taken(w, SIM_OPENED, e->arg, BK_SLICE_EMPTY);
    input(w, &event);
}

static uint64_t stream_new(struct world *w, struct stream stream)
{
    if (w->n_streams == w->cap_streams) {
        w->cap_streams = w->cap_streams == 0 ? 64 : 2 * w->cap_streams;
        w->streams = realloc(w->streams, w->cap_streams * sizeof w->streams[0]);
        if (w->streams == NULL) {
            abort();
        }
    }
    stream.client_open = true;
    w->streams[w->n_streams++] = stream;
    w->stats.streams++;
    world_after(w, 3 * w->delay_ms * BK_MS, opened, NULL, BK_SLICE_EMPTY)->arg = w->n_streams;
    return w->n_streams;
}

uint64_t stream_open(struct world *w, struct sim_call *call, struct caller *caller)
{
    return stream_new(w, (struct stream){.call = call, .caller = caller});
}

uint64_t stream_open_for(struct world *w, struct device *d, enum bk_server_purpose purpose,
                         struct sim_call *call)
{
    return stream_new(w, (struct stream){.purpose = purpose, .device = d, .call = call});
}

void server_hears(struct world *w, uint64_t number, struct bk_slice bytes)
{
    const struct stream *s = stream_at(w, number);
    if (w->server != NULL && s != NULL && s->server_open) {
        struct bk_server_event event = {.type = BK_SERVER_STREAM_MESSAGE};
        event.message.stream = number;
        event.message.bytes = bytes;
        input(w, &event);
    }
}

static void message_arrives(struct world *w, struct event *e)
{
    if (!taken(w, SIM_UP, e->arg, bk_slice(e->bytes, e->n))) {
        server_hears(w, e->arg, bk_slice(e->bytes, e->n));
    }
}

void stream_send(struct world *w, uint64_t number, struct bk_slice bytes)
{
    struct stream *s = stream_at(w, number);
    CHECK(w, s != NULL && s->client_open);
    world_after(w, w->delay_ms * BK_MS, message_arrives, NULL, bytes)->arg = number;
}

static void close_arrives(struct world *w, struct event *e)
{
    struct stream *s = stream_at(w, e->arg);
    if (w->server != NULL && s->server_open) {
        s->server_open = false;
        struct bk_server_event event = {.type = BK_SERVER_STREAM_CLOSED};
        event.closed.stream = e->arg;
        input(w, &event);
    }
}

void stream_close(struct world *w, uint64_t number)
{
    struct stream *s = stream_at(w, number);
    if (s != NULL && s->client_open) {
        s->client_open = false;
        world_after(w, w->delay_ms * BK_MS, close_arrives, NULL, BK_SLICE_EMPTY)->arg = number;
    }
}
