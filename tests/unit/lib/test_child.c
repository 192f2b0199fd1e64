/* Processes per call: the channel on descriptor 3, nothing else inherited, and none that stays. */
#include "lib/place.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
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
    assert_int_equal(message.server.port, 0);   /* nothing inherited beside the channel */
    assert_int_equal(message.observed.port, 0); /* no signal blocked */
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
    pid_t pid;
    int channel;

    (void)state;
    channel = start("await", &pid);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel),
        cmocka_unit_test(test_end_of_channel),
        cmocka_unit_test(test_stubborn),
        cmocka_unit_test(test_no_program),
    };

    for (int fd = BK_CHANNEL_FD; fd < 256;
         fd++) { /* what we were started with is not ours to pass on */
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
