/* The idle part's children: one process per call. */
#ifndef BK_LIB_CHILD_H
#define BK_LIB_CHILD_H

#include <sys/types.h>

#include "lib/channel.h"

enum {
    BK_CHILDREN_MAX = 32,       /* calls at one time; more are not answered for now */
    BK_CHANNEL_FD = 3,          /* where the call's process finds its end of the channel */
    BK_CHILD_NOT_STARTED = 127, /* as the shell has it */
};

/* Starts `argv` (argv[0] is the program's path) with one end of a new channel as descriptor 3 and hands
 * the other end, non-blocking, to the caller. BK_E_IO: errno tells. */
BK_NODISCARD enum bk_err bk_child_start(char *const argv[], pid_t *pid, int *channel);

/* Waits for a child whose channel has ended or been closed; kills it if it is not gone within two
 * seconds. Its exit status (BK_CHILD_NOT_STARTED if the program could not be run), or the negative number
 * of the signal that ended it. */
int bk_child_reap(pid_t pid);

#endif
