/* What the files of the TURN client share; not for others. */
#ifndef BK_CORE_REQUESTER_TURN_PRIVATE_H
#define BK_CORE_REQUESTER_TURN_PRIVATE_H

#include "core/requester/turn.h"

/* NULL: no room. */
struct bk_turn_client_action *bk_turn_client_act(struct bk_turn_client_out *out,
                                                 enum bk_turn_client_action_type type);
struct bk_turn_login bk_turn_client_login(const struct bk_turn_client *t);
/* After 401 or 438: true if the request is worth another try, with what the answer told. */
bool bk_turn_client_challenged(struct bk_turn_client *t, const struct bk_turn_answer *answer,
                               unsigned *stale);

/* turn_bind.c */
void bk_turn_client_attempt(struct bk_turn_client *t, const struct bk_now *now,
                            const struct bk_stun *m, struct bk_turn_client_out *out);
void bk_turn_client_bind_event(struct bk_turn_client *t, const struct bk_turn_client_event *event,
                               struct bk_turn_client_out *out);
void bk_turn_client_end_bind(struct bk_turn_client *t, size_t i,
                             enum bk_turn_client_action_type type, struct bk_turn_client_out *out);

#endif
