/* Joining, also where the operator signs by hand: asking again until that is done. */
#ifndef BK_BIN_COMMON_JOIN_H
#define BK_BIN_COMMON_JOIN_H

#include "beckon/beckon.h"

typedef enum beckon_status (*bk_join_function)(const char *state_dir, const char *token,
                                               struct beckon_error *error);

/* Calls `join` (beckon_agent_join, beckon_client_join); once that has said PENDING, every five seconds until it says
 * something else, a server that is away for a while apart; that it waits it says once, on standard error. A signal that would end the program ends the wait: PENDING
 * then, and the same command goes on. Returns the exit status, after one line for what failed. */
int bk_join(const char *program, bk_join_function join, const char *state_dir, const char *token);

#endif
