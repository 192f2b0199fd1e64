/* 217: seals all that is known into the box, and sends it.
 *
 * Invariants: no two sealings bear the same call ID; EXPECT tells of it before the device can know it; what lies in
 * the clear here is wiped before it returns. */
#include <string.h>

#include "core/requester/state.h"

void bk_requester_draw(struct bk_requester *r, struct bk_requester_question *question)
{
    r->config.rng.fill(r->config.rng.ctx, question->txid, sizeof question->txid);
    question->waiting = true;
}

/* The time that goes into the box: once the device has told its clock, that is the one that counts. */
static uint64_t request_time(const struct bk_requester *r, const struct bk_now *now)
{
    if (r->device_unix_s == 0) {
        return now->unix_s;
    }
    return r->device_unix_s + bk_time_left(r->device_at, now->mono) / BK_SECOND;
}

/* Writes the inside of the box, signed or with the password, into `plain`. */
static enum bk_err write_inside(struct bk_requester *r, const struct bk_now *now,
                                uint8_t plain[BK_CALL_REQUEST_MAX_BYTES], struct bk_slice *text)
{
    r->told_ms = r->server_ms < UINT16_MAX ? r->server_ms : UINT16_MAX;
    struct bk_call_request request = {
        .equipment_id = r->equipment_id,
        .unix_s = request_time(r, now),
        .has_tag = r->has_tag,
        .tag = r->tag,
        .service = bk_slice_text(r->config.service),
        .has_signature = r->sign,
        .server_ms = (uint16_t)r->told_ms,
    };
    request.n_candidates = bk_requester_choose(r, request.candidates);
    memcpy(request.call_id, r->call_id, sizeof request.call_id);
    memcpy(request.call_key, r->config.call_key, sizeof request.call_key);
    memcpy(request.reply_key, r->reply.public_key, sizeof request.reply_key);
    if (r->sign) {
        bk_caller_key_of(r->config.key_seed, request.caller_key);
    } else {
        request.password = bk_slice(r->password, r->password_n);
    }
    enum bk_err err = bk_call_request_write(plain, BK_CALL_REQUEST_MAX_BYTES, &request, text);
    if (err == BK_OK && r->sign) {
        uint8_t signature[BK_SIGNATURE_BYTES];
        bk_caller_sign(r->config.key_seed, r->pin, bk_call_request_to_sign(*text), signature);
        bk_call_request_set_signature(plain, *text, signature);
    }
    return err;
}

/* The box, and 217 around it. */
static enum bk_err write_request(struct bk_requester *r, const struct bk_now *now,
                                 struct bk_requester_out *out, struct bk_slice *bytes)
{
    uint8_t plain[BK_CALL_REQUEST_MAX_BYTES];
    uint8_t box[BK_BOX_MAX_BYTES];
    struct bk_slice text;
    struct bk_connect message = {.equipment_id = r->equipment_id};
    memcpy(message.call_id, r->call_id, sizeof message.call_id);
    enum bk_err err = write_inside(r, now, plain, &text);
    if (err == BK_OK) {
        err = bk_seal_request(r->box_key.key, text, box, sizeof box, &message.box);
    }
    bk_wipe(plain, sizeof plain);
    if (err == BK_OK) {
        bk_requester_draw(r, &r->connect);
        err = bk_connect_write(out->bytes + out->used, sizeof out->bytes - out->used,
                               r->connect.txid, &message, bytes);
    }
    return err;
}

/* A call ID that nobody has seen, and word of it to the shell before the device can know it. */
static void expect(struct bk_requester *r, struct bk_requester_out *out)
{
    r->config.rng.fill(r->config.rng.ctx, r->call_id, sizeof r->call_id);
    struct bk_requester_action *a = bk_requester_add(out, BK_REQUESTER_EXPECT);
    memcpy(a->pin, r->pin, sizeof a->pin);
    memcpy(a->call_id, r->call_id, sizeof a->call_id);
    a->equipment_id = r->equipment_id;
}

void bk_requester_send_request(struct bk_requester *r, const struct bk_now *now,
                               struct bk_requester_out *out)
{
    struct bk_slice bytes;
    bk_requester_close_held(r, out); /* of an earlier call ID */
    expect(r, out);
    if (write_request(r, now, out, &bytes) != BK_OK) {
        /* A box key that is no point of the curve; everything else was checked on its way in. */
        bk_requester_fail(r, BK_FAIL_CERTIFICATE, out);
        return;
    }
    r->state = STATE_REQUESTED;
    r->delivered = r->early = r->had_early = false;
    r->n_dialled = 0;
    bk_requester_hope(r, now);
    r->deadline = bk_time_add(now->mono, BK_REQUESTER_DELIVERY_MS * BK_MS);
    bk_requester_add(out, BK_REQUESTER_SEND_SERVER)->bytes = bytes;
    out->used += bytes.n;
    bk_requester_phase(out, BK_PHASE_REQUESTED);
}
