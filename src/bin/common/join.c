/* Joining, with patience. Keeps nothing itself: what a join needs to go on is in its state directory. */
#include "bin/common/join.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "bin/common/args.h"

enum {
    PAUSE_S = 5,
};

/* Takes the signals that would end the program, but for those that it was started to ignore. */
static void hold_signals(sigset_t *set)
{
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP};

    sigemptyset(set);
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++) {
        struct sigaction action;

        if (sigaction(ending[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
            sigaddset(set, ending[i]);
        }
    }
    sigprocmask(SIG_BLOCK, set, NULL);
}

/* Whether to go on waiting: who signs is a person, and the server may be restarted meanwhile. */
static bool may_come(enum beckon_status status)
{
    return status == BECKON_PENDING || status == BECKON_SERVER_DOWN || status == BECKON_BUSY;
}

int bk_join(const char *program, bk_join_function join, const char *state_dir, const char *token)
{
    const struct timespec pause = {.tv_sec = PAUSE_S};
    struct beckon_error error;
    sigset_t signals;
    enum beckon_status status = join(state_dir, token, &error);

    if (status == BECKON_PENDING) {
        hold_signals(&signals);
        fprintf(stderr,
                "%s: the operator has yet to sign our certificate (beckond sign); waiting for it. "
                "To go on after an interruption, join with the same token\n",
                program);
    }
    for (bool waits = status == BECKON_PENDING; waits; waits = may_come(status)) {
        if (sigtimedwait(&signals, NULL, &pause) > 0) {
            return BECKON_PENDING;
        }
        status = join(state_dir, token, &error);
    }
    return status == BECKON_OK ? BECKON_OK : bk_report(program, &error);
}
