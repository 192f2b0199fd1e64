/* WATCH: the device of a call that is up asks whether the caller may still call it, and keeps the stream. A
 * change of what was asked about closes it, also while the store still thinks: what the store says then may
 * be from before the change. Invariant: a stream asks once; whatever is not a success ends it. */
#include "wire/watch.h"

#include <assert.h>

#include "core/server/state.h"

static void refuse(struct bk_server *s, uint32_t stream, const uint8_t txid[BK_STUN_TXID_BYTES],
                   uint16_t code, struct bk_server_out *out)
{
    bk_server_send_error(s, stream, BK_METHOD_WATCH, txid, code, out);
    bk_server_close(s, stream);
}

static struct bk_server_action *audit(const struct bk_server *s, uint32_t stream,
                                      enum bk_server_audit how, uint64_t took_ms,
                                      struct bk_server_out *out)
{
    const struct bk_server_stream *t = &s->streams[stream];
    struct bk_server_action *a = bk_out_add(out, BK_SERVER_AUDIT);
    a->audit.how = how;
    a->audit.user = bk_out_copy(out, bk_slice_text(t->watches));
    a->audit.equipment_id = t->peer.equipment_id;
    a->audit.from = t->from;
    a->audit.took_ms = took_ms;
    return a;
}

/* Whether there ever was such a call only its device knows: it could write such lines as fast as it can ask. */
static void audit_revoked(struct bk_server *s, bk_time now, uint32_t stream,
                          struct bk_server_out *out)
{
    uint32_t left_out = 0;
    if (bk_server_may_write(s, now, stream, &left_out)) {
        audit(s, stream, BK_AUDIT_CALL_REVOKED, 0, out)->audit.left_out = left_out;
    }
}

/* A device's own limit on calls keeps it far from this one; a stolen device has none. */
static bool watches_too_much(const struct bk_server *s, uint64_t equipment_id)
{
    uint32_t n = 0;
    for (uint32_t i = 1; i <= s->stream_pool.high; i++) {
        const struct bk_server_stream *t = &s->streams[i];
        n += t->watch != BK_WATCH_NONE && t->peer.equipment_id == equipment_id;
    }
    return n >= BK_SERVER_WATCHES_MAX;
}

enum bk_err bk_server_on_watch(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                               const struct bk_stun *m, struct bk_server_out *out)
{
    struct bk_server_stream *t = &s->streams[stream];
    struct bk_watch in;
    enum bk_err err = bk_watch_read(m, &in);
    if (err != BK_OK) {
        return err;
    }
    if (t->watch != BK_WATCH_NONE) {
        return BK_E_STATE;
    }
    if (!bk_slice_to_text(in.user, t->watches, sizeof t->watches)) {
        return BK_E_MALFORMED;
    }
    enum bk_standing standing = bk_server_device_standing(s, t->peer.equipment_id);
    if (standing == BK_STANDING_REVOKED) {
        audit_revoked(s, now->mono, stream, out);
        refuse(s, stream, m->txid, BK_CODE_FORBIDDEN, out);
        return BK_OK;
    }
    uint32_t query = 0;
    if (standing == BK_STANDING_GOOD && !watches_too_much(s, t->peer.equipment_id)) {
        query = bk_server_query_start(s, BK_QUERY_WATCH, stream, m->txid);
    }
    if (query == 0) {
        refuse(s, stream, m->txid, BK_CODE_OVERLOADED, out);
        return BK_OK;
    }
    t->watch = BK_WATCH_ASKED;
    s->queries[query].equipment_id = t->peer.equipment_id;
    bk_server_ask_device(s, query, bk_slice_text(t->watches), BK_SLICE_EMPTY, out);
    return BK_OK;
}

void bk_server_watch_found(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                           const struct bk_server_query *q, uint16_t code,
                           struct bk_server_out *out)
{
    struct bk_server_stream *t = &s->streams[stream];
    assert(t->watch == BK_WATCH_ASKED); /* a stream asks once */
    if (t->closing) {
        return;
    }
    if (code == 0) {
        t->watch = BK_WATCH_UP;
        t->watch_since = now->mono;
        bk_server_send_success(s, stream, BK_METHOD_WATCH, q->txid, out);
        return;
    }
    if (code != BK_CODE_OVERLOADED) {
        audit_revoked(s, now->mono, stream, out);
    }
    refuse(s, stream, q->txid, code, out);
}

void bk_server_watch_ended(const struct bk_server *s, bk_time now, uint32_t stream,
                           struct bk_server_out *out)
{
    const struct bk_server_stream *t = &s->streams[stream];
    /* Where the server closes it the call is not over yet: its device asks again. */
    if (t->watch == BK_WATCH_UP && !t->closing) {
        (void)audit(s, stream, BK_AUDIT_CALL_ENDED, bk_time_left(t->watch_since, now) / BK_MS, out);
    }
}

void bk_server_close_watches(struct bk_server *s, struct bk_slice user)
{
    for (uint32_t i = 1; i <= s->stream_pool.high; i++) {
        const struct bk_server_stream *t = &s->streams[i];
        if (t->watch != BK_WATCH_NONE && bk_slice_equal(bk_slice_text(t->watches), user)) {
            bk_server_close(s, i);
        }
    }
}
