/* The action list. Invariant: every slice in an action lies in bytes[0..used). */
#include "core/server/out.h"

#include <assert.h>
#include <string.h>

enum {
    ROOM_ACTIONS = 8,
    ROOM_BYTES = 4096,
};

void bk_out_start(struct bk_server_out *out)
{
    out->n = 0;
    out->used = 0;
}

bool bk_out_has_room(const struct bk_server_out *out)
{
    return BK_SERVER_OUT_ACTIONS - out->n >= ROOM_ACTIONS &&
           BK_SERVER_OUT_BYTES - out->used >= ROOM_BYTES;
}

uint8_t *bk_out_space(struct bk_server_out *out, size_t *cap)
{
    *cap = BK_SERVER_OUT_BYTES - out->used;
    return out->bytes + out->used;
}

struct bk_slice bk_out_copy(struct bk_server_out *out, struct bk_slice bytes)
{
    size_t cap = 0;
    uint8_t *p = bk_out_space(out, &cap);
    if (bytes.n == 0 || bytes.n > cap) {
        return BK_SLICE_EMPTY;
    }
    memcpy(p, bytes.p, bytes.n);
    out->used += bytes.n;
    return bk_slice(p, bytes.n);
}

struct bk_server_action *bk_out_add(struct bk_server_out *out, enum bk_server_action_type type)
{
    assert(out->n < BK_SERVER_OUT_ACTIONS);
    struct bk_server_action *a = &out->actions[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

struct bk_server_action *bk_out_datagram(struct bk_server_out *out, uint8_t shard, uint8_t local,
                                         const struct bk_addr *to, struct bk_slice bytes)
{
    struct bk_server_action *a = bk_out_add(out, BK_SERVER_SEND_DATAGRAM);
    a->datagram.shard = shard;
    a->datagram.local = local;
    a->datagram.to = *to;
    a->datagram.bytes = bytes;
    out->used += bytes.n;
    return a;
}

void bk_out_message(struct bk_server_out *out, uint64_t stream, struct bk_slice bytes)
{
    struct bk_server_action *a = bk_out_add(out, BK_SERVER_SEND_MESSAGE);
    a->message.stream = stream;
    a->message.bytes = bytes;
    out->used += bytes.n;
}
