/* RESULT by UDP: what the device made of a call that came in the fast form. Sent until the server answers, or has not for
 * BK_AGENT_RESULT_MS. Invariant: what became of each is told once. */
#include <assert.h>
#include <string.h>

#include "core/agent/registration_private.h"
#include "wire/result.h"

enum {
    RESULT_DATAGRAM_BYTES = BK_AGENT_RESULT_BYTES + 128,
};

/* To the next, after each send: a process that was held up for long sends no more at once for it. */
static const uint16_t wait_ms[BK_AGENT_RESULT_SENDS] = {250, 250, 500, 1000, 1000};
_Static_assert(250 + 250 + 500 + 1000 + 1000 == BK_AGENT_RESULT_MS, "as registration.h says");

static void tell(const uint8_t call_id[BK_CALL_ID_BYTES], uint8_t number, bool good,
                 struct bk_registration_out *out)
{
    struct bk_registration_action *a = bk_registration_add(out, BK_REGISTRATION_RESULT_TOLD);
    memcpy(a->call_id, call_id, sizeof a->call_id);
    a->number = number;
    a->good = good;
}

/* Under the same transaction ID each time, and the key of now. */
static void send(const struct bk_registration *r, bk_time now, struct bk_registration_result *it,
                 struct bk_registration_out *out)
{
    struct bk_result_datagram message = {
        .equipment_id = r->config.equipment_id,
        .generation = r->config.generation,
        .epoch = r->config.epoch,
        .result = {.box = bk_slice(it->box, it->n)},
    };
    struct bk_slice bytes;
    memcpy(message.result.call_id, it->call_id, sizeof it->call_id);
    assert(sizeof out->bytes - out->used >= RESULT_DATAGRAM_BYTES);
    enum bk_err err =
        bk_result_datagram_write(out->bytes + out->used, RESULT_DATAGRAM_BYTES, it->txid, &message,
                                 &r->config.mac, bk_registration_key_of(r), &bytes);
    assert(err == BK_OK);
    (void)err;
    bk_registration_add_send(&it->to, bytes, out);
    it->due = bk_time_add(now, wait_ms[it->sends++] * BK_MS);
}

void bk_registration_result(struct bk_registration *r, bk_time now,
                            const struct bk_registration_event *event,
                            struct bk_registration_out *out)
{
    struct bk_registration_result *it = r->results;
    while (it < r->results + BK_AGENT_RESULTS_MAX && it->sends != 0) {
        it++;
    }
    if (it == r->results + BK_AGENT_RESULTS_MAX || event->bytes.n == 0 ||
        event->bytes.n > sizeof it->box) {
        tell(event->call_id, event->number, false, out);
        return;
    }
    *it = (struct bk_registration_result){
        .to = event->addr, .number = event->number, .n = event->bytes.n};
    memcpy(it->call_id, event->call_id, sizeof it->call_id);
    memcpy(it->box, event->bytes.p, event->bytes.n);
    r->config.rng.fill(r->config.rng.ctx, it->txid, sizeof it->txid);
    send(r, now, it, out);
}

void bk_registration_result_answered(struct bk_registration *r, const struct bk_stun *m,
                                     const struct bk_addr *from, struct bk_registration_out *out)
{
    for (size_t i = 0; i < BK_AGENT_RESULTS_MAX; i++) {
        struct bk_registration_result *it = &r->results[i];
        if (it->sends != 0 && memcmp(it->txid, m->txid, sizeof it->txid) == 0 &&
            bk_addr_equal(&it->to, from) && m->cls == BK_STUN_SUCCESS &&
            bk_result_answer_read(m, &r->config.mac, bk_registration_key_of(r)) == BK_OK) {
            it->sends = 0;
            tell(it->call_id, it->number, true, out);
            return;
        }
    }
}

void bk_registration_results_due(struct bk_registration *r, bk_time now,
                                 struct bk_registration_out *out)
{
    for (size_t i = 0; i < BK_AGENT_RESULTS_MAX; i++) {
        struct bk_registration_result *it = &r->results[i];
        if (it->sends == 0 || now < it->due) {
            continue;
        }
        if (out->n == BK_AGENT_OUT_ACTIONS ||
            sizeof out->bytes - out->used < RESULT_DATAGRAM_BYTES) {
            return; /* the rest is as due in the next turn */
        }
        if (it->sends == BK_AGENT_RESULT_SENDS) {
            it->sends = 0;
            tell(it->call_id, it->number, false, out);
        } else {
            send(r, now, it, out);
        }
    }
}

bk_time bk_registration_results_deadline(const struct bk_registration *r)
{
    bk_time at = BK_TIME_NEVER;
    for (size_t i = 0; i < BK_AGENT_RESULTS_MAX; i++) {
        if (r->results[i].sends != 0) {
            at = bk_time_min(at, r->results[i].due);
        }
    }
    return at;
}
