/* Starting and reaping the processes of calls. Between fork and exec only async-signal-safe calls are made. */
#include "lib/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REAP_WAIT_MS = 2000,
};

/* In the child: the channel becomes descriptor 3, signals are as at a fresh start. Only
 * async-signal-safe calls. */
static void become(char *const argv[], int channel)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (channel == BK_CHANNEL_FD) {
        fcntl(channel, F_SETFD, 0); /* dup2 onto itself would leave close-on-exec set */
    } else if (dup2(channel, BK_CHANNEL_FD) < 0) {
        _exit(BK_CHILD_NOT_STARTED);
    }
    execv(argv[0], argv);
    _exit(BK_CHILD_NOT_STARTED);
}

enum bk_err bk_child_start(char *const argv[], pid_t *pid, int *channel)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return BK_E_IO;
    }
    *pid = fork();
    if (*pid < 0) {
        int kept = errno;

        close(pair[0]);
        close(pair[1]);
        errno = kept;
        return BK_E_IO;
    }
    if (*pid == 0) {
        become(argv, pair[1]);
    }
    close(pair[1]);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    *channel = pair[0];
    return BK_OK;
}

int bk_child_reap(pid_t pid)
{
    int status = 0;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (pidfd >= 0) {
        struct pollfd gone = {.fd = pidfd, .events = POLLIN};

        if (poll(&gone, 1, REAP_WAIT_MS) == 0) {
            kill(pid, SIGKILL);
        }
        close(pidfd);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}
