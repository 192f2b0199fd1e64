/* The streams that the shell has open, each with its verified identity, and what is sent on them.
 * Invariant: a stream that is closing says and hears nothing more, and lies in the close queue until
 * its CLOSE_STREAM has been asked for. */
#include "core/server/state.h"

#include <assert.h>

uint32_t bk_server_stream(const struct bk_server *s, uint64_t number)
{
    return (uint32_t)bk_map_get(&s->stream_numbers, number);
}

void bk_server_close(struct bk_server *s, uint32_t stream)
{
    struct bk_server_stream *t = &s->streams[stream];
    if (t->closing) {
        return;
    }
    bk_server_registering_ended(s, stream);
    t->closing = true;
    t->queued = true;
    t->next_close = 0;
    if (s->close_last != 0) {
        s->streams[s->close_last].next_close = stream;
    } else {
        s->close_first = stream;
    }
    s->close_last = stream;
}

void bk_server_flush_closes(struct bk_server *s, struct bk_server_out *out)
{
    while (s->close_first != 0 && out->n < BK_SERVER_OUT_ACTIONS) {
        struct bk_server_stream *t = &s->streams[s->close_first];
        bk_out_add(out, BK_SERVER_CLOSE_STREAM)->close.stream = t->number;
        t->queued = false;
        s->close_first = t->next_close;
        if (s->close_first == 0) {
            s->close_last = 0;
        }
    }
}

static void leave_close_queue(struct bk_server *s, uint32_t stream)
{
    if (!s->streams[stream].queued) {
        return;
    }
    uint32_t before = 0;
    for (uint32_t i = s->close_first; i != 0; before = i, i = s->streams[i].next_close) {
        if (i != stream) {
            continue;
        }
        uint32_t next = s->streams[i].next_close;
        if (before != 0) {
            s->streams[before].next_close = next;
        } else {
            s->close_first = next;
        }
        if (next == 0) {
            s->close_last = before;
        }
        return;
    }
}

/* Whoever is refused by his standing on a stream of RENEW or WATCH shall hear it: his message is answered. */
static bool is_welcome(struct bk_server *s, bk_time now, uint32_t stream, struct bk_server_out *out)
{
    const struct bk_server_stream *t = &s->streams[stream];
    enum bk_role role = t->peer.role;
    switch (t->purpose) {
    case BK_STREAM_RENEW:
        return role == BK_ROLE_DEVICE || role == BK_ROLE_USER;
    case BK_STREAM_WATCH:
        return role == BK_ROLE_DEVICE;
    case BK_STREAM_REGISTER:
        return role == BK_ROLE_DEVICE &&
               bk_server_device_standing(s, t->peer.equipment_id) == BK_STANDING_GOOD &&
               bk_server_registering_open(s, stream);
    case BK_STREAM_PLAIN:
        break;
    default:
        return false;
    }
    if (role == BK_ROLE_DEVICE) {
        return bk_server_device_standing(s, t->peer.equipment_id) == BK_STANDING_GOOD &&
               bk_server_offer(s, now, stream, out);
    }
    return role == BK_ROLE_NONE || role == BK_ROLE_USER;
}

void bk_server_on_open(struct bk_server *s, const struct bk_now *now,
                       const struct bk_server_event *event, struct bk_server_out *out)
{
    uint64_t number = event->open.stream;
    if (bk_server_stream(s, number) != 0) {
        return; /* the shell never uses a number twice */
    }
    uint32_t stream = bk_pool_take(&s->stream_pool);
    if (stream == 0) {
        bk_out_add(out, BK_SERVER_CLOSE_STREAM)->close.stream = number;
        return;
    }
    struct bk_server_stream *t = &s->streams[stream];
    *t = (struct bk_server_stream){
        .number = number,
        .peer = event->open.peer,
        .from = event->open.from,
        .purpose = event->open.purpose,
        .used = true,
    };
    enum bk_err err = bk_map_put(&s->stream_numbers, number, stream);
    assert(err == BK_OK); /* the map has room for every stream */
    (void)err;
    if (!is_welcome(s, now->mono, stream, out)) {
        bk_server_close(s, stream);
    }
}

void bk_server_on_closed(struct bk_server *s, const struct bk_now *now, uint64_t number,
                         struct bk_server_out *out)
{
    uint32_t stream = bk_server_stream(s, number);
    if (stream == 0) {
        return;
    }
    struct bk_server_stream *t = &s->streams[stream];
    leave_close_queue(s, stream);
    bk_server_registering_ended(s, stream);
    bk_server_watch_ended(s, now->mono, stream, out);
    t->closing = true;
    while (t->calls != 0) {
        bk_server_call_end(s, now->mono, t->calls, 0, BK_AUDIT_ABANDONED, out);
    }
    if (t->serves != 0) {
        uint32_t call = t->serves;
        s->calls[call].device = 0;
        t->serves = 0;
        bk_server_call_end(s, now->mono, call, BK_CODE_OFFLINE, BK_AUDIT_OFFLINE, out);
    }
    (void)bk_map_remove(&s->stream_numbers, number);
    *t = (struct bk_server_stream){0};
    bk_pool_give(&s->stream_pool, stream);
}

void bk_server_on_user_revoked(struct bk_server *s, struct bk_slice user)
{
    for (uint32_t i = 1; i <= s->stream_pool.high; i++) {
        const struct bk_server_stream *t = &s->streams[i];
        if (t->used && t->peer.role == BK_ROLE_USER &&
            bk_slice_equal(bk_slice_text(t->peer.name), user)) {
            bk_server_close(s, i);
        }
    }
    bk_server_close_watches(s, user);
}

void bk_server_send_success(struct bk_server *s, uint32_t stream, uint16_t method,
                            const uint8_t txid[BK_STUN_TXID_BYTES], struct bk_server_out *out)
{
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (!s->streams[stream].closing && bk_success_write(buf, cap, method, txid, &bytes) == BK_OK) {
        bk_out_message(out, s->streams[stream].number, bytes);
    }
}

static const char *reason(uint16_t code)
{
    switch (code) {
    case BK_CODE_FORBIDDEN:
        return "Forbidden";
    case BK_CODE_NOT_FOUND:
        return "Not Found";
    case BK_CODE_TOKEN_USED:
        return "Token Used";
    case BK_CODE_REVOKED:
        return "Revoked";
    case BK_CODE_UNKNOWN_ATTRIBUTE:
        return "Unknown Attribute";
    case BK_CODE_PENDING:
        return "Pending";
    case BK_CODE_OFFLINE:
        return "Offline";
    case BK_CODE_OVERLOADED:
        return "Overloaded";
    default:
        return "Bad Request";
    }
}

void bk_server_send_error(struct bk_server *s, uint32_t stream, uint16_t method,
                          const uint8_t txid[BK_STUN_TXID_BYTES], uint16_t code,
                          struct bk_server_out *out)
{
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (!s->streams[stream].closing &&
        bk_error_write(buf, cap, method, txid, code, reason(code), &bytes) == BK_OK) {
        bk_out_message(out, s->streams[stream].number, bytes);
    }
}
