/* Filling the bounded list of actions. What an action points at is written into the list's own bytes:
 * ask bk_out_space for the room, write there, hand the written slice to one of the functions below. */
#ifndef BK_CORE_SERVER_OUT_H
#define BK_CORE_SERVER_OUT_H

#include "core/server/server.h"

void bk_out_start(struct bk_server_out *out);

/* Room for any one piece of work: what a call's timer may do at once. */
bool bk_out_has_room(const struct bk_server_out *out);

uint8_t *bk_out_space(struct bk_server_out *out, size_t *cap);

/* A copy that lives in `out`; empty if it does not fit. */
struct bk_slice bk_out_copy(struct bk_server_out *out, struct bk_slice bytes);

/* The next action, zeroed but for its type. The list being full is our own mistake. */
struct bk_server_action *bk_out_add(struct bk_server_out *out, enum bk_server_action_type type);

/* Leaves from where `local` of that shard is; `second` and `change` of the action may be set in what is returned. */
struct bk_server_action *bk_out_datagram(struct bk_server_out *out, uint8_t shard, uint8_t local,
                                         const struct bk_addr *to, struct bk_slice bytes);
void bk_out_message(struct bk_server_out *out, uint64_t stream, struct bk_slice bytes);

#endif
