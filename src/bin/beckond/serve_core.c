/* Between the core and the world: events in, actions carried out, answers of the store back in. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bin/beckond/audit.h"
#include "bin/beckond/enrol.h"
#include "bin/beckond/serve_private.h"
#include "net/clock.h"
#include "seal/seal.h"
#include "wire/stun.h"

struct bk_now bk_serve_now(void)
{
    struct timespec wall;

    (void)clock_gettime(CLOCK_REALTIME, &wall);
    return (struct bk_now){
        .mono = bk_clock_mono(),
        .unix_s = wall.tv_sec < 0 ? 0 : (uint64_t)wall.tv_sec,
    };
}

/* ---- actions ---- */

/* Copies what the store is asked, because the core's output is used again before it answers. */
static void add_job(struct bk_serve *s, const struct bk_server_action *action)
{
    bool find = action->type == BK_SERVER_FIND_DEVICE;
    struct bk_slice parts[3] = {
        find ? action->find.user : action->enrol.token,
        find ? action->find.name : action->enrol.csr,
        find ? BK_SLICE_EMPTY : action->enrol.box_key,
    };
    size_t total = parts[0].n + parts[1].n + parts[2].n;
    struct bk_serve_job *job = calloc(1, sizeof *job + total);
    uint8_t *at;
    uint64_t query = find ? action->find.query : action->enrol.query;

    if (job == NULL) {
        if (s->n_lost < BK_SERVER_OUT_ACTIONS) {
            s->lost[s->n_lost++] = (struct bk_serve_lost){.type = action->type, .query = query};
        }
        return;
    }
    job->type = action->type;
    job->query = query;
    job->equipment_id = find ? action->find.equipment_id : 0;
    at = job->bytes;
    for (size_t i = 0; i < 3; i++) {
        job->n[i] = parts[i].n;
        if (parts[i].n > 0) {
            memcpy(at, parts[i].p, parts[i].n);
            at += parts[i].n;
        }
    }
    *s->last_job = job;
    s->last_job = &job->next;
}

static void send_message(struct bk_serve *s, const struct bk_server_action *action)
{
    struct bk_serve_stream *stream = bk_serve_stream_find(s, action->message.stream);

    if (stream != NULL && !stream->closing) {
        /* A peer that does not read loses its connection: `closed` will tell. */
        enum bk_err ignored = bk_conn_send(stream->conn, action->message.bytes);
        (void)ignored;
    }
}

/* From the socket and address that the peer's datagrams come to: its NAT knows no other. */
static void send_datagram(struct bk_serve *s, const struct bk_server_action *action)
{
    unsigned socket = action->datagram.local / BK_UDP_WAYS;

    if (socket < BK_CONFIG_LISTEN_MAX && s->udp[socket] != NULL) {
        (void)bk_udp_send_by(s->udp[socket], action->datagram.local % BK_UDP_WAYS,
                             &action->datagram.to, action->datagram.bytes);
    }
}

static void carry_out(struct bk_serve *s)
{
    for (size_t i = 0; i < s->out.n; i++) {
        const struct bk_server_action *a = &s->out.actions[i];
        struct bk_serve_stream *stream;
        char line[BK_AUDIT_LINE_BYTES];

        switch (a->type) {
        case BK_SERVER_SEND_DATAGRAM:
            send_datagram(s, a);
            break;
        case BK_SERVER_SEND_MESSAGE:
            send_message(s, a);
            break;
        case BK_SERVER_CLOSE_STREAM:
            stream = bk_serve_stream_find(s, a->close.stream);
            if (stream != NULL && !stream->closing) {
                stream->closing = true;
                bk_conn_close(stream->conn);
            }
            break;
        case BK_SERVER_FIND_DEVICE:
        case BK_SERVER_ENROL:
            add_job(s, a);
            break;
        case BK_SERVER_AUDIT:
            bk_audit_format(a, line);
            bk_say_bare("%s", line);
            break;
        }
    }
}

/* ---- answers of the store ---- */

static void input(struct bk_serve *s, const struct bk_server_event *event)
{
    struct bk_now now = bk_serve_now();

    bk_server_input(s->core, &now, event, &s->out);
    carry_out(s);
}

static void store_trouble(struct bk_serve *s)
{
    bk_say_limited(&s->store_log, bk_serve_now().mono,
                   "the store: %s; requests fail until it works again", bk_store_why(s->store));
}

static void find_device(struct bk_serve *s, const struct bk_serve_job *job)
{
    struct bk_server_event event = {.type = BK_SERVER_DEVICE};
    struct bk_store_device device;
    struct bk_slice user = bk_slice(job->bytes, job->n[0]);
    struct bk_slice name = bk_slice(job->bytes + job->n[0], job->n[1]);
    enum bk_err err = bk_store_find(s->store, user, job->equipment_id, name, &device);

    event.device.query = job->query;
    event.device.equipment_id = job->equipment_id;
    if (err == BK_OK) {
        event.device.equipment_id = device.equipment_id;
        event.device.code = device.revoked ? BK_CODE_REVOKED : 0;
        event.device.certificate = bk_slice(device.certificate, device.certificate_bytes);
        event.device.box_key = bk_slice(device.box_key, device.box_key_bytes);
    } else {
        event.device.code = BK_CODE_NOT_FOUND;
        if (err != BK_E_NOTFOUND) {
            store_trouble(s);
        }
    }
    input(s, &event);
}

static void raise_exception(struct bk_serve *s, uint64_t equipment_id, uint32_t generation,
                            bool revoked)
{
    struct bk_server_event event = {.type = BK_SERVER_EXCEPTION};

    event.exception.equipment_id = equipment_id;
    event.exception.lowest_generation = generation;
    event.exception.revoked = revoked;
    input(s, &event);
}

static void end_user_streams(struct bk_serve *s, struct bk_slice user)
{
    struct bk_server_event event = {.type = BK_SERVER_USER_REVOKED};

    event.user_revoked.user = user;
    input(s, &event);
}

/* A new holder is in: whoever held the place before goes before the new one hears of it. */
static void replace_holder(struct bk_serve *s, const struct bk_enrol_decision *d)
{
    if (d->role == BK_ROLE_DEVICE) {
        raise_exception(s, d->equipment_id, d->generation, false);
        bk_say("device %llu has joined", (unsigned long long)d->equipment_id);
    } else {
        end_user_streams(s, bk_slice_text(d->user));
        bk_say("user %s has joined", d->user);
    }
}

static void enrol(struct bk_serve *s, const struct bk_serve_job *job)
{
    struct bk_server_event event = {.type = BK_SERVER_ENROLLED};
    struct bk_enrol_decision d;
    const uint8_t *csr = job->bytes + job->n[0];

    bk_enrol_decide(s->store, &s->authority, bk_serve_now().unix_s, bk_slice(job->bytes, job->n[0]),
                    bk_slice(csr, job->n[1]), bk_slice(csr + job->n[1], job->n[2]), &d);
    event.enrolled.query = job->query;
    event.enrolled.code = d.code;
    if (d.code == 0) {
        if (!d.again) {
            replace_holder(s, &d);
        }
        event.enrolled.equipment_id = d.equipment_id;
        event.enrolled.generation = d.generation;
        event.enrolled.user = bk_slice_text(d.user);
        event.enrolled.certificate = bk_slice(d.certificate, d.certificate_bytes);
        event.enrolled.ca_certificate = bk_slice(s->authority.ca_der, s->authority.ca_der_bytes);
    } else if (d.code == BK_CODE_OVERLOADED) {
        store_trouble(s);
    }
    input(s, &event);
}

/* A join token's secret may be in it. */
static void free_job(struct bk_serve_job *job)
{
    bk_wipe(job->bytes, job->n[0] + job->n[1] + job->n[2]);
    free(job);
}

static struct bk_serve_job *next_job(struct bk_serve *s)
{
    struct bk_serve_job *job = s->first_job;

    if (job != NULL) {
        s->first_job = job->next;
        if (s->first_job == NULL) {
            s->last_job = &s->first_job;
        }
    }
    return job;
}

/* The core wants every question answered once. */
static void refuse_lost(struct bk_serve *s)
{
    while (s->n_lost > 0) {
        struct bk_serve_lost lost[BK_SERVER_OUT_ACTIONS];
        size_t n = s->n_lost;
        memcpy(lost, s->lost, sizeof lost);
        s->n_lost = 0;
        for (size_t i = 0; i < n; i++) {
            struct bk_server_event event = {.type = BK_SERVER_DEVICE};
            if (lost[i].type == BK_SERVER_FIND_DEVICE) {
                event.device.query = lost[i].query;
                event.device.code = BK_CODE_NOT_FOUND;
            } else {
                event.type = BK_SERVER_ENROLLED;
                event.enrolled.query = lost[i].query;
                event.enrolled.code = BK_CODE_OVERLOADED;
            }
            bk_say_limited(&s->overload_log, bk_serve_now().mono,
                           "out of memory; a request is refused");
            input(s, &event);
        }
    }
}

static void do_jobs(struct bk_serve *s)
{
    struct bk_serve_job *job;

    refuse_lost(s);
    while ((job = next_job(s)) != NULL) {
        if (job->type == BK_SERVER_FIND_DEVICE) {
            find_device(s, job);
        } else {
            enrol(s, job);
        }
        free_job(job);
        refuse_lost(s);
    }
}

void bk_serve_free_jobs(struct bk_serve *s)
{
    struct bk_serve_job *job;

    while ((job = next_job(s)) != NULL) {
        free_job(job);
    }
}

/* ---- time ---- */

/* Waking too early costs a little, so the timer is moved only when it would come too late. */
static void set_timer(struct bk_serve *s)
{
    bk_time at = bk_server_deadline(s->core);
    uint64_t left;
    struct timeval tv;

    if (at == BK_TIME_NEVER || at >= s->timer_at) {
        return;
    }
    s->timer_at = at;
    left = bk_time_left(bk_serve_now().mono, at);
    tv.tv_sec = (time_t)(left / BK_SECOND);
    tv.tv_usec = (suseconds_t)((left % BK_SECOND + 999) / 1000);
    if (tv.tv_usec >= 1000000) {
        tv.tv_sec++;
        tv.tv_usec -= 1000000;
    }
    (void)event_add(s->timer, &tv);
}

void bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event)
{
    input(s, event);
    do_jobs(s);
    set_timer(s);
}

void bk_serve_tick(struct bk_serve *s)
{
    struct bk_now now = bk_serve_now();

    s->timer_at = BK_TIME_NEVER;
    bk_server_timer(s->core, &now, &s->out);
    carry_out(s);
    do_jobs(s);
    set_timer(s);
}

/* ---- changes of the store by other processes ---- */

void bk_serve_device_changed(void *serve, uint64_t equipment_id)
{
    struct bk_serve *s = serve;
    struct bk_store_device device;
    enum bk_err err = bk_store_device(s->store, equipment_id, &device);

    if (err == BK_OK) {
        raise_exception(s, equipment_id, device.generation == 0 ? 1 : device.generation,
                        device.revoked);
        do_jobs(s);
        set_timer(s);
        bk_say("device %llu is %s", (unsigned long long)equipment_id,
               device.revoked ? "revoked" : "as the store has it");
    } else if (err != BK_E_NOTFOUND) {
        store_trouble(s);
    }
}

/* Closing the streams of a user is harmless where nothing has changed, so the store need not be asked. */
void bk_serve_user_changed(void *serve, struct bk_slice user)
{
    struct bk_serve *s = serve;
    char shown[4 * BK_NAME_MAX_BYTES + 8];

    end_user_streams(s, user);
    do_jobs(s);
    set_timer(s);
    bk_say_escape(user, shown, sizeof shown);
    bk_say("user %s has changed; connections of the past are closed", shown);
}
