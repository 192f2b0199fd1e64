/* The idle part's children: one process per call, and one that renews. */
#ifndef BK_LIB_CHILD_H
#define BK_LIB_CHILD_H

#include <event2/event.h>
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

/* The same beside a running loop: `ended` is told once, from the loop, with what bk_child_reap returns. */
struct bk_child_leaving {
    pid_t pid; /* 0: nothing is waited for */
    void (*ended)(void *ctx, int how);
    void *ctx;
    struct event *timer;
    uint32_t pause_ms, waited_ms;
};
/* BK_E_NOMEM: then the child is left to bk_child_reap. */
BK_NODISCARD enum bk_err bk_child_leave(struct bk_child_leaving *l, struct event_base *base,
                                        pid_t pid, void (*ended)(void *ctx, int how), void *ctx);
/* Waits here and now, without telling. Zeroed is fine. */
void bk_child_leave_now(struct bk_child_leaving *l);

#endif
