/* The action list. Every slice in an action lies in bytes[0..used). One event leads to few actions: an allocation's end
 * with all that waits on it is the longest (relay.c sees to the room for it). */
#include <assert.h>
#include <string.h>

#include "core/relay/state.h"

struct bk_relay_action *relay_out_add(struct bk_relay_out *out, enum bk_relay_action_type type)
{
    assert(out->n < BK_RELAY_OUT_ACTIONS);
    struct bk_relay_action *a = &out->actions[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

uint8_t *relay_out_space(struct bk_relay_out *out, size_t *cap)
{
    *cap = BK_RELAY_OUT_BYTES - out->used;
    return out->bytes + out->used;
}

void relay_out_send(struct bk_relay_out *out, uint64_t conn, struct bk_slice bytes)
{
    struct bk_relay_action *a = relay_out_add(out, BK_RELAY_SEND);
    a->send.conn = conn;
    a->send.bytes = bytes;
    out->used += bytes.n;
}

void relay_out_close(struct bk_relay_core *c, struct bk_relay_out *out, struct relay_conn *conn,
                     bool reset)
{
    struct bk_relay_action *a = relay_out_add(out, BK_RELAY_CLOSE);
    a->close.conn = conn->number;
    a->close.reset = reset;
    relay_conn_forget(c, conn);
}
