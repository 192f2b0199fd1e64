/* What the core asks of the store and the CA: kept until its output has been carried out, then decided, and
 * answered by an event. The core wants every question answered once: also those for which there was no
 * memory. */
#include <stdlib.h>
#include <string.h>

#include "bin/beckond/audit.h"
#include "bin/beckond/enrol.h"
#include "bin/beckond/renew.h"
#include "bin/beckond/serve_private.h"
#include "net/clock.h"
#include "seal/seal.h"
#include "seal/subject.h"
#include "wire/stun.h"

/* The parts of a question, as they lie in a job. */
static uint64_t parts_of(const struct bk_server_action *a, struct bk_slice part[3])
{
    part[2] = BK_SLICE_EMPTY;
    if (a->type == BK_SERVER_FIND_DEVICE) {
        part[0] = a->find.user;
        part[1] = a->find.name;
        return a->find.query;
    }
    if (a->type == BK_SERVER_RENEW) {
        part[0] = a->renew.csr;
        part[1] = a->renew.box_key;
        return a->renew.query;
    }
    part[0] = a->enrol.token;
    part[1] = a->enrol.csr;
    part[2] = a->enrol.box_key;
    return a->enrol.query;
}

/* Copies what is asked, because the core's output is used again before it is answered. */
void bk_serve_add_job(struct bk_serve *s, const struct bk_server_action *action)
{
    struct bk_slice part[3];
    uint64_t query = parts_of(action, part);
    struct bk_serve_job *job = calloc(1, sizeof *job + part[0].n + part[1].n + part[2].n);
    uint8_t *at;

    if (job == NULL) {
        if (s->n_lost < BK_SERVER_OUT_ACTIONS) {
            s->lost[s->n_lost++] = (struct bk_serve_lost){.type = action->type, .query = query};
        }
        return;
    }
    job->type = action->type;
    job->query = query;
    if (action->type == BK_SERVER_FIND_DEVICE) {
        job->equipment_id = action->find.equipment_id;
    } else if (action->type == BK_SERVER_RENEW) {
        job->peer = action->renew.peer;
    }
    at = job->bytes;
    for (size_t i = 0; i < 3; i++) {
        job->n[i] = part[i].n;
        if (part[i].n > 0) {
            memcpy(at, part[i].p, part[i].n);
            at += part[i].n;
        }
    }
    *s->last_job = job;
    s->last_job = &job->next;
}

static struct bk_slice part_of(const struct bk_serve_job *job, size_t which)
{
    const uint8_t *at = job->bytes;

    for (size_t i = 0; i < which; i++) {
        at += job->n[i];
    }
    return bk_slice(at, job->n[which]);
}

void bk_serve_store_trouble(struct bk_serve *s)
{
    const char *why = bk_store_why(s->store);

    if (why[0] == '\0' && s->authority.ca_key == NULL) { /* then it was not the store */
        bk_say_limited(&s->store_log, bk_clock_now().mono,
                       "%s/%s cannot be written; make it (mkdir -m 700), for the user that "
                       "beckond runs as",
                       s->dir, BK_STATE_REQUESTS);
        return;
    }
    bk_say_limited(&s->store_log, bk_clock_now().mono,
                   "the store: %s; requests fail until it works again", why);
}

static void find_device(struct bk_serve *s, const struct bk_serve_job *job)
{
    struct bk_server_event event = {.type = BK_SERVER_DEVICE};
    struct bk_store_device device;
    enum bk_err err =
        bk_store_find(s->store, part_of(job, 0), job->equipment_id, part_of(job, 1), &device);

    event.device.query = job->query;
    event.device.equipment_id = job->equipment_id;
    if (err == BK_OK) {
        event.device.equipment_id = device.equipment_id;
        event.device.code = device.revoked ? BK_CODE_REVOKED : 0;
        event.device.certificate = bk_slice(device.certificate, device.certificate_bytes);
        event.device.box_key = bk_slice(device.box_key, device.box_key_bytes);
    } else if (err == BK_E_NOTFOUND) {
        event.device.code = BK_CODE_NOT_FOUND;
    } else {
        event.device.code = BK_CODE_OVERLOADED; /* "not found" would end calls that are up */
        bk_serve_store_trouble(s);
    }
    bk_serve_input(s, &event);
}

/* ---- ENROL and RENEW ---- */

void bk_serve_raise_exception(struct bk_serve *s, uint64_t equipment_id, uint32_t generation,
                              bool revoked)
{
    struct bk_server_event event = {.type = BK_SERVER_EXCEPTION};

    event.exception.equipment_id = equipment_id;
    event.exception.lowest_generation = generation;
    event.exception.revoked = revoked;
    bk_serve_input(s, &event);
}

void bk_serve_end_user_streams(struct bk_serve *s, struct bk_slice user)
{
    struct bk_server_event event = {.type = BK_SERVER_USER_REVOKED};

    event.user_revoked.user = user;
    bk_serve_input(s, &event);
    if (s->relay != NULL) {
        bk_relay_end_user(s->relay, user);
    }
}

/* A new holder is in: whoever held the place before goes before the new one hears of it. */
static void replace_holder(struct bk_serve *s, const struct bk_enrol_decision *d)
{
    if (d->role == BK_ROLE_DEVICE) {
        bk_serve_raise_exception(s, d->equipment_id, d->generation, false);
        bk_say("device %llu has joined", (unsigned long long)d->equipment_id);
    } else {
        bk_serve_watch_replaced(s, bk_slice_text(d->user));
        bk_serve_end_user_streams(s, bk_slice_text(d->user));
        bk_say("user %s has joined", d->user);
    }
}

static void tell_note(struct bk_serve *s, const struct bk_authority_note *note,
                      const struct bk_identity *holder)
{
    char who[BK_SUBJECT_TEXT_BYTES];

    bk_subject_write(holder, who);
    if (note->asked) {
        bk_say_limited(&s->sign_log, bk_clock_now().mono,
                       "%s waits for a certificate; sign it with beckond sign", who);
    }
    if (note->unusable) {
        bk_say_limited(&s->sign_log, bk_clock_now().mono,
                       "the certificate that lies in %s for %s does not answer the request there; "
                       "sign again",
                       BK_STATE_REQUESTS, who);
    }
}

static void enrol(struct bk_serve *s, const struct bk_serve_job *job)
{
    struct bk_server_event event = {.type = BK_SERVER_ENROLLED};
    struct bk_identity who = {.role = BK_ROLE_NONE};
    struct bk_enrol_decision d;

    bk_enrol_decide(s->store, &s->authority, bk_clock_now().unix_s, part_of(job, 0),
                    part_of(job, 1), part_of(job, 2), &d);
    who.role = d.role;
    who.equipment_id = d.equipment_id;
    memcpy(who.name, d.user, sizeof who.name);
    tell_note(s, &d.note, &who);
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
        bk_serve_store_trouble(s);
    }
    bk_serve_input(s, &event);
}

static void renew(struct bk_serve *s, const struct bk_serve_job *job)
{
    struct bk_server_event event = {.type = BK_SERVER_RENEWED};
    struct bk_renew_decision d;
    char line[BK_AUDIT_LINE_BYTES];

    bk_renew_decide(s->store, &s->authority, bk_clock_now().unix_s, &job->peer, part_of(job, 0),
                    part_of(job, 1), &d);
    tell_note(s, &d.note, &job->peer);
    bk_audit_format_renew(&job->peer, &d, line);
    bk_say_bare("%s", line);
    if (d.code == BK_CODE_OVERLOADED) {
        bk_serve_store_trouble(s);
    }
    event.renewed.query = job->query;
    event.renewed.code = d.code;
    event.renewed.generation = d.generation;
    event.renewed.certificate = bk_slice(d.certificate, d.certificate_bytes);
    bk_serve_input(s, &event);
}

/* ---- the queue ---- */

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

static void refuse(struct bk_serve *s, const struct bk_serve_lost *lost)
{
    struct bk_server_event event = {.type = BK_SERVER_DEVICE};

    if (lost->type == BK_SERVER_FIND_DEVICE) {
        event.device.query = lost->query;
        event.device.code = BK_CODE_OVERLOADED;
    } else if (lost->type == BK_SERVER_RENEW) {
        event.type = BK_SERVER_RENEWED;
        event.renewed.query = lost->query;
        event.renewed.code = BK_CODE_OVERLOADED;
    } else {
        event.type = BK_SERVER_ENROLLED;
        event.enrolled.query = lost->query;
        event.enrolled.code = BK_CODE_OVERLOADED;
    }
    bk_say_limited(&s->overload_log, bk_clock_now().mono, "out of memory; a request is refused");
    bk_serve_input(s, &event);
}

static void refuse_lost(struct bk_serve *s)
{
    while (s->n_lost > 0) {
        struct bk_serve_lost lost[BK_SERVER_OUT_ACTIONS];
        size_t n = s->n_lost;
        memcpy(lost, s->lost, sizeof lost);
        s->n_lost = 0;
        for (size_t i = 0; i < n; i++) {
            refuse(s, &lost[i]);
        }
    }
}

void bk_serve_do_jobs(struct bk_serve *s)
{
    struct bk_serve_job *job;

    refuse_lost(s);
    while ((job = next_job(s)) != NULL) {
        if (job->type == BK_SERVER_FIND_DEVICE) {
            find_device(s, job);
        } else if (job->type == BK_SERVER_RENEW) {
            renew(s, job);
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
