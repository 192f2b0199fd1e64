/* INFO: how the connection of who asks is seen, and what is on offer. Who may ask is decided here, what is told lies
 * with the shell: it knows the addresses, and the secrets of relays. */
#include "wire/info.h"

#include <string.h>

#include "core/server/state.h"

static uint16_t verdict(struct bk_server *s, bk_time now, uint32_t stream)
{
    const struct bk_identity *peer = &s->streams[stream].peer;
    if (peer->role == BK_ROLE_DEVICE &&
        bk_server_device_standing(s, peer->equipment_id) == BK_STANDING_REVOKED) {
        return BK_CODE_FORBIDDEN;
    }
    return bk_server_may_ask(s, now, stream, BK_SERVER_COST_PLAIN) ? 0 : BK_CODE_OVERLOADED;
}

enum bk_err bk_server_on_info(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                              const struct bk_stun *m, struct bk_server_out *out)
{
    enum bk_err err = bk_info_read(m);
    if (err != BK_OK) {
        return err;
    }
    const struct bk_server_stream *t = &s->streams[stream];
    uint16_t code = verdict(s, now->mono, stream);
    if (code != 0) {
        bk_server_send_error(s, stream, BK_METHOD_INFO, m->txid, code, out);
        return BK_OK;
    }
    struct bk_server_action *a = bk_out_add(out, BK_SERVER_SEND_INFO);
    a->info.stream = t->number;
    memcpy(a->info.txid, m->txid, sizeof a->info.txid);
    a->info.from = t->from;
    if (t->peer.role == BK_ROLE_USER) {
        a->info.user = bk_out_copy(out, bk_slice_text(t->peer.name));
    }
    return BK_OK;
}
