/* ENROL, and what the store decides about devices: an enrolment or a revocation makes exceptions, which
 * take effect on everything at once. Tokens and certificates are the store's business. */
#include "wire/enrol.h"

#include "core/server/state.h"
#include "seal/seal.h"

enum bk_err bk_server_on_enrol(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                               const struct bk_stun *m, struct bk_server_out *out)
{
    struct bk_enrol in;
    enum bk_err err = bk_enrol_read(m, &in);
    if (err != BK_OK) {
        return err;
    }
    uint32_t query = bk_server_may_ask(s, now->mono, stream, BK_SERVER_COST_PLAIN)
                         ? bk_server_query_start(s, BK_QUERY_ENROL, stream, m->txid)
                         : 0;
    if (query == 0) {
        bk_server_send_error(s, stream, BK_METHOD_ENROL, m->txid, BK_CODE_OVERLOADED, out);
        return BK_OK;
    }
    struct bk_server_action *a = bk_out_add(out, BK_SERVER_ENROL);
    a->enrol.query = s->queries[query].number;
    a->enrol.token = bk_out_copy(out, in.token);
    a->enrol.csr = bk_out_copy(out, in.csr);
    a->enrol.box_key = bk_out_copy(out, in.box_key);
    return BK_OK;
}

static void answer(struct bk_server *s, uint32_t stream, const struct bk_server_query *q,
                   const struct bk_server_event *event, struct bk_server_out *out)
{
    uint8_t key[BK_KEY_BYTES] = {0};
    bool good = true;
    struct bk_enrol_answer a = {
        .certificate = event->enrolled.certificate,
        .ca_certificate = event->enrolled.ca_certificate,
    };
    if (event->enrolled.equipment_id == 0) {
        a.user = event->enrolled.user;
    } else {
        a.equipment_id = event->enrolled.equipment_id;
        a.generation = event->enrolled.generation;
        a.epoch = s->config.master[0].epoch;
        good = bk_server_device_key(s, a.epoch, a.equipment_id, a.generation, key);
        a.registration_key = BK_SLICE_OF(key);
        a.ports = s->config.ports;
    }
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (good &&
        bk_enrol_answer_write(buf, cap < BK_STUN_STREAM_MAX_BYTES ? cap : BK_STUN_STREAM_MAX_BYTES,
                              q->txid, &a, &bytes) == BK_OK) {
        bk_out_message(out, s->streams[stream].number, bytes);
    } else {
        bk_server_send_error(s, stream, BK_METHOD_ENROL, q->txid, BK_CODE_OVERLOADED, out);
    }
    bk_wipe(key, sizeof key);
}

/* After an exception that is news: its streams and calls. Its row is gone. */
static void apply_exception(struct bk_server *s, bk_time now, uint64_t equipment_id)
{
    /* Certificates do not name a generation: whoever holds a stream comes back if he still may. */
    for (uint32_t i = 1; i <= s->stream_pool.high; i++) {
        const struct bk_server_stream *t = &s->streams[i];
        if (t->used && t->peer.role == BK_ROLE_DEVICE && t->peer.equipment_id == equipment_id) {
            bk_server_close(s, i);
        }
    }
    bk_server_end_calls_of_device(s, now, equipment_id);
}

void bk_server_on_enrolled(struct bk_server *s, const struct bk_now *now,
                           const struct bk_server_event *event, struct bk_server_out *out)
{
    struct bk_server_query q;
    if (!bk_server_query_end(s, event->enrolled.query, &q) || q.kind != BK_QUERY_ENROL) {
        return;
    }
    /* Before the answer, and even if nobody is there to hear it: the store has raised it. */
    if (event->enrolled.code == 0 && event->enrolled.equipment_id != 0 &&
        bk_server_raise(s, event->enrolled.equipment_id, event->enrolled.generation)) {
        apply_exception(s, now->mono, event->enrolled.equipment_id);
    }
    uint32_t stream = bk_server_stream(s, q.stream);
    if (stream == 0 || s->streams[stream].closing) {
        return;
    }
    if (event->enrolled.code != 0) {
        bk_server_send_error(s, stream, BK_METHOD_ENROL, q.txid, event->enrolled.code, out);
    } else {
        answer(s, stream, &q, event, out);
    }
}

void bk_server_on_exception(struct bk_server *s, const struct bk_now *now,
                            const struct bk_server_event *event)
{
    uint64_t id = event->exception.equipment_id;
    if (id != 0 &&
        bk_server_except(s, id, event->exception.lowest_generation, event->exception.revoked)) {
        apply_exception(s, now->mono, id);
    }
}
