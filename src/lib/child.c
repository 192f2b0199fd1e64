/* Starting and reaping processes. Between fork and exec only async-signal-safe calls are made. */
#include "lib/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/clock.h"

enum {
    REAP_WAIT_MS = 2000,
    LOOK_FIRST_MS = 2, /* a process whose channel has ended is as good as gone */
    LOOK_MAX_MS = 128,
};

/* In the child: the channel becomes descriptor 3, signals are as at a fresh start. Only
 * async-signal-safe calls. */
static void become(char *const argv[], int channel)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
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

static int how(int status)
{
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static bool is_there(pid_t pid, int *status, int options)
{
    pid_t got = waitpid(pid, status, options);

    return got == 0 || (got < 0 && errno == EINTR);
}

/* Looks again and again: a wait that has an end would take pidfd_open(2), which devices' kernels may not have. */
int bk_child_reap(pid_t pid)
{
    bk_time until = bk_time_add(bk_clock_mono(), REAP_WAIT_MS * BK_MS);
    int status = 0, pause_ms = 1;

    while (is_there(pid, &status, WNOHANG)) {
        if (bk_clock_mono() >= until) {
            kill(pid, SIGKILL);
            while (is_there(pid, &status, 0)) {
            }
            break;
        }
        (void)poll(NULL, 0, pause_ms); /* or until a signal comes */
        pause_ms = pause_ms < LOOK_MAX_MS ? 2 * pause_ms : LOOK_MAX_MS;
    }
    return how(status);
}

/* Looks, and looks again a little later: longer each time, and not beyond REAP_WAIT_MS. */
static void look_later(struct bk_child_leaving *l)
{
    struct timeval tv = bk_timeval_ms(l->pause_ms);

    evtimer_add(l->timer, &tv);
    l->waited_ms += l->pause_ms;
    l->pause_ms = l->pause_ms < LOOK_MAX_MS ? 2 * l->pause_ms : LOOK_MAX_MS;
}

static void on_look(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_child_leaving *l = ctx;
    struct bk_child_leaving gone;
    int status = 0;
    pid_t pid = waitpid(l->pid, &status, WNOHANG);

    (void)fd;
    (void)what;
    if (pid == 0 || (pid < 0 && errno == EINTR)) {
        if (l->waited_ms >= REAP_WAIT_MS) {
            kill(l->pid, SIGKILL);
        }
        look_later(l);
        return;
    }
    gone = *l;
    *l = (struct bk_child_leaving){0};
    event_free(gone.timer);
    gone.ended(gone.ctx, how(status));
}

enum bk_err bk_child_leave(struct bk_child_leaving *l, struct event_base *base, pid_t pid,
                           void (*ended)(void *ctx, int how), void *ctx)
{
    *l = (struct bk_child_leaving){
        .pid = pid, .ended = ended, .ctx = ctx, .pause_ms = LOOK_FIRST_MS};
    l->timer = evtimer_new(base, on_look, l);
    if (l->timer == NULL) {
        *l = (struct bk_child_leaving){0};
        return BK_E_NOMEM;
    }
    look_later(l);
    return BK_OK;
}

void bk_child_leave_now(struct bk_child_leaving *l)
{
    if (l->pid != 0) {
        event_free(l->timer);
        (void)bk_child_reap(l->pid);
        *l = (struct bk_child_leaving){0};
    }
}
