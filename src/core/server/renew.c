/* RENEW: certificate and box key are the store's business, the registration key is made here. Like an
 * enrolment it is answered exactly once; unlike one it raises no generation. */
#include "wire/renew.h"

#include "core/server/state.h"
#include "seal/seal.h"

static uint16_t standing(const struct bk_server *s, const struct bk_identity *peer,
                         uint32_t generation)
{
    if (peer->role != BK_ROLE_DEVICE) {
        return 0; /* revoked users are the store's to know */
    }
    switch (bk_server_standing(s, peer->equipment_id, generation)) {
    case BK_STANDING_GOOD:
        return 0;
    case BK_STANDING_REVOKED:
        return BK_CODE_FORBIDDEN;
    case BK_STANDING_UNKNOWN:
    default:
        return BK_CODE_OVERLOADED;
    }
}

enum bk_err bk_server_on_renew(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                               const struct bk_stun *m, struct bk_server_out *out)
{
    struct bk_renew in;
    enum bk_err err = bk_renew_read(m, &in);
    if (err != BK_OK) {
        return err;
    }
    const struct bk_identity *peer = &s->streams[stream].peer;
    /* No generation is named before the store has spoken: the newest is taken for granted. */
    uint16_t code = standing(s, peer, UINT32_MAX);
    uint32_t query = 0;
    if (code == 0) {
        query = bk_server_may_ask(s, now->mono, stream, BK_SERVER_COST_RENEW)
                    ? bk_server_query_start(s, BK_QUERY_RENEW, stream, m->txid)
                    : 0;
        code = query == 0 ? BK_CODE_OVERLOADED : 0;
    }
    if (code != 0) {
        bk_server_send_error(s, stream, BK_METHOD_RENEW, m->txid, code, out);
        return BK_OK;
    }
    struct bk_server_action *a = bk_out_add(out, BK_SERVER_RENEW);
    a->renew.query = s->queries[query].number;
    a->renew.peer = *peer;
    a->renew.csr = bk_out_copy(out, in.csr);
    a->renew.box_key = bk_out_copy(out, in.box_key);
    return BK_OK;
}

static void answer(struct bk_server *s, uint32_t stream, const struct bk_server_query *q,
                   const struct bk_server_event *event, struct bk_server_out *out)
{
    const struct bk_identity *peer = &s->streams[stream].peer;
    uint8_t key[BK_KEY_BYTES] = {0};
    struct bk_renew_answer a = {.certificate = event->renewed.certificate};
    bool good = true;
    if (peer->role == BK_ROLE_DEVICE) {
        a.device = true;
        a.generation = event->renewed.generation;
        a.epoch = s->config.master[0].epoch;
        a.registration_key = BK_SLICE_OF(key);
        a.ports = s->config.ports;
        good = bk_server_device_key(s, a.epoch, peer->equipment_id, a.generation, key);
    }
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (good &&
        bk_renew_answer_write(buf, cap < BK_STUN_STREAM_MAX_BYTES ? cap : BK_STUN_STREAM_MAX_BYTES,
                              q->txid, &a, &bytes) == BK_OK) {
        bk_out_message(out, s->streams[stream].number, bytes);
    } else {
        bk_server_send_error(s, stream, BK_METHOD_RENEW, q->txid, BK_CODE_OVERLOADED, out);
    }
    bk_wipe(key, sizeof key);
}

void bk_server_on_renewed(struct bk_server *s, const struct bk_server_event *event,
                          struct bk_server_out *out)
{
    struct bk_server_query q;
    if (!bk_server_query_end(s, event->renewed.query, &q) || q.kind != BK_QUERY_RENEW) {
        return;
    }
    uint32_t stream = bk_server_stream(s, q.stream);
    if (stream == 0 || s->streams[stream].closing) {
        return;
    }
    uint16_t code = event->renewed.code;
    if (code == 0) {
        code = standing(s, &s->streams[stream].peer, event->renewed.generation);
    }
    if (code != 0) {
        bk_server_send_error(s, stream, BK_METHOD_RENEW, q.txid, code, out);
    } else {
        answer(s, stream, &q, event, out);
    }
}
