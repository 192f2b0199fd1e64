/* What the server says: the answers to LOOKUP and 217, and RESULT.
 *
 * The server introduces and no more: the device's key comes from a certificate that the operator's CA
 * signed and is held against the pin, its box key from a signature by that key, its result from a box
 * that only the device could seal. What fits none of that is dropped. */
#include <string.h>

#include "core/requester/state.h"
#include "wire/result.h"

static void refused(struct bk_requester *r, const struct bk_now *now, const struct bk_stun *m,
                    struct bk_requester_out *out)
{
    uint16_t code;
    enum bk_requester_failure failure = BK_FAIL_SERVER_PROTOCOL;
    if (bk_requester_has_held(r)) {
        return; /* the device has come to us */
    }
    if (bk_error_read(m, &code) == BK_OK) {
        if (code == BK_CODE_NOT_FOUND) {
            failure = BK_FAIL_UNKNOWN_DEVICE;
        } else if (code == BK_CODE_REVOKED) {
            failure = BK_FAIL_REVOKED;
        } else if (code == BK_CODE_FORBIDDEN) {
            failure = BK_FAIL_USER_REVOKED;
        } else if (code == BK_CODE_OFFLINE) {
            failure = BK_FAIL_OFFLINE;
        } else if (code == BK_CODE_OVERLOADED) {
            failure = BK_FAIL_OVERLOADED;
        }
    }
    if (r->quick && failure == BK_FAIL_UNKNOWN_DEVICE) {
        bk_requester_ask_anew(r, now, out);
    } else if (failure == BK_FAIL_OFFLINE || failure == BK_FAIL_OVERLOADED) {
        bk_requester_server_failed(r, now, failure, out);
    } else {
        bk_requester_fail(r, failure, out);
    }
}

/* Certificate, then pin, then box key: a changed key is told as such even if all else fits. A second server's word
 * counts no more than the first one's: the key that a person was shown is the pin by then. */
static bool verify_device(struct bk_requester *r, const struct bk_now *now,
                          const struct bk_lookup_answer *answer, struct bk_requester_out *out)
{
    struct bk_identity device;
    enum bk_err read =
        r->config.certs.read(r->config.certs.ctx, answer->certificate, now->unix_s, &device);
    if (read != BK_OK || device.role != BK_ROLE_DEVICE ||
        device.equipment_id != answer->equipment_id ||
        (r->config.equipment_id != 0 && r->config.equipment_id != device.equipment_id) ||
        (r->asked_pin && r->equipment_id != device.equipment_id)) {
        bk_requester_fail(r, BK_FAIL_CERTIFICATE, out);
        out->actions[out->n - 1].untimely = read == BK_E_EXPIRED;
        return false;
    }
    uint8_t before[BK_PIN_BYTES];
    memcpy(before, r->config.have_pin ? r->config.pin : r->pin, sizeof before);
    r->equipment_id = device.equipment_id;
    bk_pin_of_key(device.key, r->pin);
    if ((r->config.have_pin || r->asked_pin) &&
        !bk_equal_const_time(r->pin, before, BK_PIN_BYTES)) {
        bk_requester_fail(r, BK_FAIL_PIN_CHANGED, out);
        return false;
    }
    bool signed_by_it = bk_box_key_check(answer->box_key, device.key, &r->box_key) == BK_OK;
    if (!signed_by_it || !bk_requester_box_key_timely(&r->box_key, now->unix_s)) {
        bk_requester_fail(r, BK_FAIL_CERTIFICATE, out);
        out->actions[out->n - 1].expired = signed_by_it;
        return false;
    }
    return true;
}

/* What cannot be read ends a call that is being made; one that stands goes on without this server. */
static void nonsense(struct bk_requester *r, const struct bk_now *now, struct bk_requester_out *out)
{
    if (r->state == STATE_UP) {
        bk_requester_close_server(r, out);
        r->info_done = true;
        bk_requester_round_go_on(r, now, out);
    } else {
        bk_requester_fail(r, BK_FAIL_SERVER_PROTOCOL, out);
    }
}

/* The server's word, as in any call, and only a relay is told it. */
static void take_device_addr(struct bk_requester *r, const struct bk_lookup_answer *answer)
{
    r->has_device_addr = answer->registered;
    if (answer->registered) {
        r->device_addr = answer->observed;
        bk_requester_note_family(r, &answer->observed);
    }
}

static void lookup_answered(struct bk_requester *r, const struct bk_now *now,
                            const struct bk_stun *m, struct bk_requester_out *out)
{
    struct bk_lookup_answer answer;
    if (bk_lookup_answer_read(m, &answer) != BK_OK) {
        nonsense(r, now, out);
        return;
    }
    if (r->state == STATE_UP) {
        take_device_addr(r, &answer);
        return;
    }
    if (r->state == STATE_REQUESTED) {
        bk_requester_compare(r, now, &answer, out);
        return;
    }
    if (!verify_device(r, now, &answer, out)) {
        return;
    }
    if (!answer.registered && bk_requester_next_server(r, now, out)) {
        return;
    }
    r->found = true;
    bk_requester_remember(r, &answer, out);
    take_device_addr(r, &answer);
    r->has_tag = answer.registered;
    if (answer.registered) {
        r->tag = answer.tag;
        bk_requester_permit(r, &answer.observed, out);
    }
    r->pin_accepted = r->pin_accepted || r->config.have_pin;
    r->deadline = BK_TIME_NEVER; /* a person may be asked now */
    bk_requester_phase(out, BK_PHASE_FOUND);
    bk_requester_go_on(r, now, out);
}

/* Without an answer that can be read the call goes on, by fewer ways. */
static void info_answered(struct bk_requester *r, const struct bk_now *now, const struct bk_stun *m,
                          struct bk_requester_out *out)
{
    struct bk_info info;
    if (m->cls == BK_STUN_SUCCESS && bk_info_answer_read(m, &info) == BK_OK) {
        bk_requester_take_info(r, &info);
    }
    r->info_done = true;
    bk_requester_round_go_on(r, now, out);
    bk_requester_go_on(r, now, out);
}

static void request_answered(struct bk_requester *r, const struct bk_now *now,
                             struct bk_requester_out *out)
{
    r->delivered = true;
    bk_requester_hope(r, now);
    if (!r->accepted) {
        r->deadline = bk_time_add(now->mono, BK_REQUESTER_SESSION_MS * BK_MS);
    }
    bk_requester_phase(out, BK_PHASE_DELIVERED);
}

static void stale(struct bk_requester *r, const struct bk_now *now,
                  const struct bk_call_result *said, struct bk_requester_out *out)
{
    if (r->accepted) {
        return; /* an old result that the server says again */
    }
    if (r->retried) {
        bk_requester_fail(r, BK_FAIL_STALE, out);
        return;
    }
    /* Under another call ID: what the server still holds of the first is not this call any more. */
    r->retried = true;
    r->has_tag = true;
    r->tag = said->tag;
    r->device_unix_s = said->unix_s;
    r->device_at = now->mono;
    bk_requester_send_request(r, now, out);
}

/* Perhaps again, with further candidates. */
static void accepted(struct bk_requester *r, const struct bk_now *now,
                     const struct bk_call_result *said, struct bk_requester_out *out)
{
    if (!r->heard_accepted) {
        r->heard_accepted = true;
        r->accepted = r->delivered = true; /* it has it, whatever the server says */
        if (!r->quick) {                   /* else they may be needed once more */
            bk_requester_wipe_secrets(r);
        }
        bk_requester_hope(r, now);
        if (r->quick && r->give_up_at == BK_TIME_NEVER) {
            r->give_up_at = bk_time_add(now->mono, BK_REQUESTER_ANEW_MS * BK_MS);
        }
        r->deadline = bk_time_add(now->mono, BK_REQUESTER_SESSION_MS * BK_MS);
        if (r->asked_anew) {
            r->deadline = bk_time_min(r->deadline, r->give_up_at);
        }
        bk_requester_phase(out, BK_PHASE_ACCEPTED);
    }
    r->both_ms = r->told_ms + said->server_ms;
    bk_requester_dial(r, now, said->candidates, said->n_candidates, out);
    bk_requester_consider_held(r, now, out);
}

static void not_let_in(struct bk_requester *r, const struct bk_now *now, enum bk_call_status status,
                       struct bk_requester_out *out)
{
    if (r->sign && !r->accepted) {
        bk_requester_key_refused(r, now, status, out);
    } else {
        bk_requester_fail(r, status == BK_CALL_REFUSED ? BK_FAIL_PASSWORD : BK_FAIL_BACK_OFF, out);
    }
}

static void no_answer(struct bk_requester *r, const struct bk_now *now,
                      struct bk_requester_out *out)
{
    if (r->quick) {
        bk_requester_ask_anew(r, now, out);
    } else {
        bk_requester_fail(r, BK_FAIL_NO_ANSWER, out);
    }
}

/* Opens RESULT; false unless the device of this call sealed it for this call. */
static bool open_result(const struct bk_requester *r, const struct bk_stun *m,
                        struct bk_call_result *out)
{
    struct bk_result message;
    uint8_t buf[BK_CALL_RESULT_MAX_BYTES];
    struct bk_slice plain;
    return bk_result_read(m, &message) == BK_OK &&
           memcmp(message.call_id, r->call_id, BK_CALL_ID_BYTES) == 0 &&
           bk_open_result(r->reply.secret_key, r->box_key.key, message.box, buf, sizeof buf,
                          &plain) == BK_OK &&
           bk_call_result_read(plain, out) == BK_OK &&
           memcmp(out->call_id, r->call_id, BK_CALL_ID_BYTES) == 0;
}

static void result(struct bk_requester *r, const struct bk_now *now, const struct bk_stun *m,
                   struct bk_requester_out *out)
{
    struct bk_call_result said;
    if (r->state != STATE_REQUESTED || !open_result(r, m, &said)) {
        return;
    }
    if (bk_requester_has_held(r) && said.status != BK_CALL_ACCEPTED) {
        return; /* it has come to us since */
    }
    switch (said.status) {
    case BK_CALL_ACCEPTED:
        accepted(r, now, &said, out);
        break;
    case BK_CALL_STALE:
        stale(r, now, &said, out);
        break;
    case BK_CALL_REFUSED:
    case BK_CALL_BACK_OFF:
        not_let_in(r, now, said.status, out);
        break;
    case BK_CALL_NO_SERVICE:
        bk_requester_fail(r, BK_FAIL_NO_SERVICE, out);
        break;
    case BK_CALL_NO_ANSWER:
        no_answer(r, now, out);
        break;
    case BK_CALL_BUSY:
        bk_requester_fail(r, BK_FAIL_BUSY, out);
        break;
    }
}

static void lookup_or_request_answered(struct bk_requester *r, const struct bk_now *now,
                                       const struct bk_stun *m, struct bk_requester_out *out)
{
    struct bk_requester_question *asked = m->method == BK_METHOD_LOOKUP ? &r->lookup : &r->connect;
    if (m->cls == BK_STUN_ERROR) {
        asked->waiting = false;
        if (r->state != STATE_UP) { /* then it goes on without */
            refused(r, now, m, out);
        }
    } else if (m->cls == BK_STUN_SUCCESS) {
        asked->waiting = false;
        if (m->method == BK_METHOD_LOOKUP) {
            lookup_answered(r, now, m, out);
        } else {
            request_answered(r, now, out);
        }
    }
}

static bool waited_for(const struct bk_requester_question *asked, const struct bk_stun *m)
{
    return asked->waiting && memcmp(m->txid, asked->txid, sizeof asked->txid) == 0;
}

void bk_requester_message(struct bk_requester *r, const struct bk_now *now, struct bk_slice bytes,
                          struct bk_requester_out *out)
{
    struct bk_stun m;
    if (r->server != SERVER_OPEN) {
        return;
    }
    if (bk_stun_read(bytes, &m) != BK_OK) {
        nonsense(r, now, out);
    } else if (m.method == BK_METHOD_RESULT && m.cls == BK_STUN_INDICATION) {
        result(r, now, &m, out);
    } else if (m.method == BK_METHOD_INFO && waited_for(&r->info, &m)) {
        if (m.cls == BK_STUN_SUCCESS || m.cls == BK_STUN_ERROR) {
            r->info.waiting = false;
            info_answered(r, now, &m, out);
        }
    } else if ((m.method == BK_METHOD_LOOKUP && waited_for(&r->lookup, &m)) ||
               (m.method == BK_METHOD_CONNECT && waited_for(&r->connect, &m))) {
        lookup_or_request_answered(r, now, &m, out);
    }
}
