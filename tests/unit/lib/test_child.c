/* Processes per call: the channel on descriptor 3, nothing else inherited, and none that stays. */
#include "lib/place.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "lib/child.h"

static char program[] = CHILD_PROGRAM;

static int start(const char *what, pid_t *pid)
{
    char argument[16];
    char *argv[] = {program, argument, NULL};
    int channel = -1;

    (void)snprintf(argument, sizeof argument, "%s", what);
    assert_int_equal(bk_child_start(argv, pid, &channel), BK_OK);
    assert_true(*pid > 0);
    assert_true(fcntl(channel, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(channel, F_GETFL) & O_NONBLOCK);
    return channel;
}

static enum bk_err receive(int channel, struct bk_channel_message *out)
{
    struct pollfd p = {.fd = channel, .events = POLLIN};

    assert_int_equal(poll(&p, 1, 20000), 1);
    return bk_channel_receive(channel, out);
}

static void assert_gone(pid_t pid)
{
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void test_channel(void **state)
{
    struct bk_channel_message message;
    sigset_t term;
    pid_t pid;
    int fds[8], channel;

    (void)state;
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    channel = start("report", &pid);
    sigprocmask(SIG_UNBLOCK, &term, NULL);
    assert_int_equal(receive(channel, &message), BK_OK);
    assert_int_equal(message.type, BK_CHANNEL_HELLO);
    assert_int_equal(message.servers[0].port, 0); /* nothing inherited beside the channel */
    assert_int_equal(message.observed.port, 0);   /* no signal blocked */
    assert_int_equal(receive(channel, &message), BK_E_CLOSED);
    assert_int_equal(bk_child_reap(pid), 5);
    assert_gone(pid);
    close(channel);
    for (size_t i = 0; i < COUNT(fds); i++) {
        close(fds[i]);
    }
}

static void test_end_of_channel(void **state)
{
    struct bk_channel_message message;
    pid_t pid;
    int channel;

    (void)state;
    channel = start("await", &pid);
    assert_int_equal(receive(channel, &message), BK_OK); /* it takes its time to start */
    close(channel);
    assert_int_equal(bk_child_reap(pid), 0);
    assert_gone(pid);
}

static void test_stubborn(void **state)
{
    struct bk_channel_message message;
    pid_t pid;
    int channel;

    (void)state;
    channel = start("stubborn", &pid);
    assert_int_equal(receive(channel, &message), BK_OK); /* its signal handling stands */
    close(channel);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(bk_child_reap(pid), -SIGKILL);
    assert_gone(pid);
}

static void on_alarm(int number)
{
    (void)number;
}

/* Signals end neither the wait nor its limit. */
static void test_stubborn_while_signals_come(void **state)
{
    const struct itimerval every = {.it_interval = {.tv_usec = 50000},
                                    .it_value = {.tv_usec = 50000}};
    const struct itimerval never = {0};
    struct sigaction before, counted = {.sa_handler = on_alarm};
    struct bk_channel_message message;
    pid_t pid;
    int channel, how;

    (void)state;
    channel = start("stubborn", &pid);
    assert_int_equal(receive(channel, &message), BK_OK);
    close(channel);
    assert_int_equal(sigaction(SIGALRM, &counted, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
    how = bk_child_reap(pid);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    assert_int_equal(how, -SIGKILL);
    assert_gone(pid);
}

static void test_no_program(void **state)
{
    char missing[] = "/nowhere/program";
    char *argv[] = {missing, NULL};
    struct bk_channel_message message;
    pid_t pid;
    int channel;

    (void)state;
    assert_int_equal(bk_child_start(argv, &pid, &channel), BK_OK);
    assert_int_equal(receive(channel, &message), BK_E_CLOSED);
    assert_int_equal(bk_child_reap(pid), BK_CHILD_NOT_STARTED);
    close(channel);
}

struct told {
    struct event_base *base;
    unsigned times;
    int how;
};

static void on_ended(void *ctx, int how)
{
    struct told *told = ctx;

    told->times++;
    told->how = how;
    event_base_loopbreak(told->base);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    ++*(unsigned *)ctx;
}

/* The loop goes on meanwhile, and a stubborn process is killed all the same. */
static void test_leaving(void **state)
{
    static const struct {
        const char *what;
        int how;
    } cases[] = {{"await", 0}, {"stubborn", -SIGKILL}};
    struct timeval every = {.tv_usec = 10000};
    struct event_base *base = event_base_new();
    unsigned ticks = 0;
    struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, &ticks);

    (void)state;
    assert_int_equal(event_add(tick, &every), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct told told = {.base = base};
        struct bk_child_leaving leaving;
        struct bk_channel_message message;
        pid_t pid;
        int channel = start(cases[i].what, &pid);

        assert_int_equal(receive(channel, &message), BK_OK); /* its signal handling stands */
        close(channel);
        ticks = 0;
        assert_int_equal(bk_child_leave(&leaving, base, pid, on_ended, &told), BK_OK);
        event_base_dispatch(base);
        assert_int_equal(told.times, 1);
        assert_int_equal(told.how, cases[i].how);
        assert_int_equal(leaving.pid, 0);
        assert_true(cases[i].how == 0 || ticks > 5); /* of 200, on a busy machine too */
        assert_gone(pid);
        bk_child_leave_now(&leaving); /* nothing to wait for */
    }
    event_free(tick);
    event_base_free(base);
}

static void test_leaving_now(void **state)
{
    struct event_base *base = event_base_new();
    struct bk_child_leaving leaving;
    struct told told = {.base = base};
    struct bk_channel_message message;
    pid_t pid;
    int channel = start("await", &pid);

    (void)state;
    assert_int_equal(receive(channel, &message), BK_OK);
    close(channel);
    assert_int_equal(bk_child_leave(&leaving, base, pid, on_ended, &told), BK_OK);
    bk_child_leave_now(&leaving);
    assert_gone(pid);
    assert_int_equal(told.times, 0);
    assert_int_equal(leaving.pid, 0);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel),     cmocka_unit_test(test_end_of_channel),
        cmocka_unit_test(test_stubborn),    cmocka_unit_test(test_stubborn_while_signals_come),
        cmocka_unit_test(test_no_program),  cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_leaving_now),
    };

    for (int fd = BK_CHANNEL_FD; fd < 256;
         fd++) { /* what we were started with is not ours to pass on */
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
