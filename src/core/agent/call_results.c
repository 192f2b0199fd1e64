/* What the caller hears of a call: RESULT, sealed for him. In the first form on the stream that brought 226; in the fast form
 * by the idle part, and where that gets no answer over TLS, on a connection that is opened for it and brings nothing.
 *
 * Invariants: in the fast form a RESULT is kept until the server has it, TLS was tried, or it does not matter any more;
 * it is sealed once, whatever ways it is sent by: so the server knows a repeat. */
#include <assert.h>
#include <string.h>

#include "core/agent/call_state.h"
#include "wire/result.h"

void bk_call_send_server(struct bk_call_out *out, struct bk_slice bytes)
{
    bk_call_add(out, BK_CALL_SEND_SERVER)->bytes = bytes;
    out->used += bytes.n;
}

void bk_call_reply(uint16_t code, const uint8_t txid[BK_STUN_TXID_BYTES], struct bk_call_out *out)
{
    uint8_t *at = out->bytes + out->used;
    size_t cap = sizeof out->bytes - out->used;
    struct bk_slice bytes;
    enum bk_err err =
        code == 0 ? bk_success_write(at, cap, BK_METHOD_CONNECT, txid, &bytes)
                  : bk_error_write(at, cap, BK_METHOD_CONNECT, txid, code, "not for me", &bytes);
    assert(err == BK_OK);
    (void)err;
    bk_call_send_server(out, bytes);
}

static void send_by_stream(struct bk_call *c, struct bk_slice box, struct bk_call_out *out)
{
    struct bk_result message = {.box = box};
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_slice bytes;
    c->config.rng.fill(c->config.rng.ctx, txid, sizeof txid);
    memcpy(message.call_id, c->request.call_id, sizeof message.call_id);
    if (bk_result_write(out->bytes + out->used, sizeof out->bytes - out->used, txid, &message,
                        &bytes) == BK_OK) {
        bk_call_send_server(out, bytes);
    }
}

/* By the idle part; or, where that got no answer and a connection is made or stands, by that. */
static void send_fast(struct bk_call *c, struct bk_slice box, struct bk_call_out *out)
{
    if (c->stream_good) {
        send_by_stream(c, box, out);
        return;
    }
    for (size_t i = 0; i < BK_CALL_UNTOLD_MAX; i++) {
        if (c->untold[i].state == BK_UNTOLD_NONE) {
            memcpy(c->untold[i].box, box.p, box.n);
            c->untold[i].n = box.n;
            c->untold[i].state = c->server_open ? BK_UNTOLD_STREAM : BK_UNTOLD_BY_IDLE;
            if (!c->server_open) {
                struct bk_call_action *a = bk_call_add(out, BK_CALL_SEND_RESULT);
                a->bytes = bk_slice(c->untold[i].box, box.n);
                a->index = i;
            }
            return;
        }
    }
}

void bk_call_send_result(struct bk_call *c, enum bk_call_status status,
                         const struct bk_candidate *own, size_t n, struct bk_call_out *out)
{
    if ((!c->fast && !c->server_open) || c->config.n_boxes == 0) {
        return;
    }
    struct bk_call_result result = {.status = status, .tag = c->tag, .unix_s = c->unix_s};
    memcpy(result.call_id, c->request.call_id, sizeof result.call_id);
    if (status == BK_CALL_ACCEPTED) {
        result.n_candidates = n;
        memcpy(result.candidates, own, n * sizeof *own);
        result.server_ms = (uint16_t)(c->server_ms < UINT16_MAX ? c->server_ms : UINT16_MAX);
    }
    uint8_t plain[BK_CALL_RESULT_MAX_BYTES];
    uint8_t box[BK_CALL_RESULT_MAX_BYTES + BK_REPLY_OVERHEAD_BYTES];
    struct bk_slice text, sealed;
    /* Sealing refuses a reply key that is no point of the curve: then there is nobody to tell. */
    if (bk_call_result_write(plain, sizeof plain, &result, &text) == BK_OK &&
        bk_seal_result(c->config.box[c->box].secret_key, c->request.reply_key, &c->config.rng, text,
                       box, sizeof box, &sealed) == BK_OK) {
        if (c->fast) {
            send_fast(c, sealed, out);
        } else {
            send_by_stream(c, sealed, out);
        }
    }
}

/* ---- fast form: what the server does not have yet ---- */

bool bk_call_is_untold(const struct bk_call *c)
{
    for (size_t i = 0; i < BK_CALL_UNTOLD_MAX; i++) {
        if (c->untold[i].state != BK_UNTOLD_NONE) {
            return true;
        }
    }
    return false;
}

void bk_call_forget_untold(struct bk_call *c)
{
    for (size_t i = 0; i < BK_CALL_UNTOLD_MAX; i++) {
        c->untold[i].state = BK_UNTOLD_NONE;
    }
}

static void finish_if_told(struct bk_call *c, struct bk_call_out *out)
{
    if (c->state == BK_CALL_TELLING && !bk_call_is_untold(c)) {
        bk_call_finish(c, c->reason, out);
    }
}

void bk_call_result_told(struct bk_call *c, size_t index, bool good, struct bk_call_out *out)
{
    if (index >= BK_CALL_UNTOLD_MAX || c->untold[index].state != BK_UNTOLD_BY_IDLE) {
        return;
    }
    if (good || c->state == BK_CALL_UP) {
        c->untold[index].state = BK_UNTOLD_NONE;
    } else if (c->stream_good) {
        c->untold[index].state = BK_UNTOLD_NONE;
        send_by_stream(c, bk_slice(c->untold[index].box, c->untold[index].n), out);
    } else {
        c->untold[index].state = BK_UNTOLD_STREAM;
        if (!c->server_open) {
            c->server_open = true;
            bk_call_add(out, BK_CALL_CONNECT_SERVER)->result = true;
        }
    }
    finish_if_told(c, out);
}

static void send_waiting(struct bk_call *c, struct bk_call_out *out)
{
    for (size_t i = 0; i < BK_CALL_UNTOLD_MAX; i++) {
        if (c->untold[i].state == BK_UNTOLD_STREAM) {
            c->untold[i].state = BK_UNTOLD_NONE;
            send_by_stream(c, bk_slice(c->untold[i].box, c->untold[i].n), out);
        }
    }
}

void bk_call_stream_open(struct bk_call *c, struct bk_call_out *out)
{
    c->stream_good = true;
    send_waiting(c, out);
    finish_if_told(c, out);
}

void bk_call_stream_closed(struct bk_call *c, struct bk_call_out *out)
{
    c->stream_good = false;
    for (size_t i = 0; i < BK_CALL_UNTOLD_MAX; i++) {
        if (c->untold[i].state == BK_UNTOLD_STREAM) {
            c->untold[i].state = BK_UNTOLD_NONE; /* by neither way */
        }
    }
    finish_if_told(c, out);
}
