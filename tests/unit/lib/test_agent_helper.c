/* What the idle part has done by its helper: each job in a process of its own, its one message read as the idle part
 * reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>

#include "beckon/beckon.h"
#include "lib/agent_helper.h"
#include "lib/random_kernel.h"
#include "net/sandbox.h"

enum {
    MESSAGE_MAX_BYTES = BPF_MAXINSNS * sizeof(struct sock_filter),
    CONFINED = 42,
};

/* Runs one job (host NULL: the filter); its exit status, and what it said: `n` bytes. */
static int helper(const char *host, const char *port, void *out, size_t cap, ssize_t *n)
{
    int pair[2], status = 0;
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pair[0]);
        _exit((int)(host == NULL ? beckon_agent_make_sandbox(pair[1])
                                 : beckon_agent_resolve(pair[1], host, port, NULL, NULL)));
    }
    close(pair[1]);
    *n = recv(pair[0], out, cap, 0);
    close(pair[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_a_name_of_the_hosts_file(void **state)
{
    struct bk_resolved_message answer;
    bool found = false;
    ssize_t n;

    (void)state;
    assert_int_equal(helper("localhost", "1200", &answer, sizeof answer, &n), BECKON_OK);
    assert_int_equal(n, sizeof answer);
    assert_int_equal(answer.failed, 0);
    assert_in_range(answer.n, 1, BK_RESOLVE_MAX);
    for (size_t i = 0; i < answer.n; i++) {
        const struct bk_addr here = bk_addr_v4(127, 0, 0, 1, 1200);

        assert_int_equal(answer.addrs[i].port, 1200);
        found = found || bk_addr_equal(&answer.addrs[i], &here);
    }
    assert_true(found);
}

/* It ends without a message. */
static void test_what_cannot_be_asked(void **state)
{
    struct bk_resolved_message answer;
    char long_name[300];
    ssize_t n;

    (void)state;
    assert_int_equal(helper("localhost", "65536", &answer, sizeof answer, &n), BECKON_USAGE);
    assert_int_equal(n, 0);
    assert_int_equal(helper("localhost", "", &answer, sizeof answer, &n), BECKON_USAGE);
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(helper(long_name, "1200", &answer, sizeof answer, &n), BECKON_FAILED);
    assert_int_equal(n, 0);
    assert_int_equal(helper("", "1200", &answer, sizeof answer, &n), BECKON_FAILED);
}

/* One message holds the whole filter, and the kernel takes it. */
static void test_the_filter(void **state)
{
    static struct sock_filter instructions[BPF_MAXINSNS];
    char why[BK_SANDBOX_WHY_BYTES];
    int status = 0;
    ssize_t n;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        if (helper(NULL, NULL, instructions, MESSAGE_MAX_BYTES, &n) == BECKON_OK && n > 0 &&
            (size_t)n % sizeof instructions[0] == 0 &&
            bk_sandbox_load(instructions, (size_t)n / sizeof instructions[0], why, sizeof why) ==
                BK_OK) {
            _exit(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? CONFINED : 1);
        }
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CONFINED);
}

static void test_random_bytes(void **state)
{
    struct bk_random rng = bk_random_kernel();
    uint8_t a[300] = {0}, b[300] = {0};
    size_t zeros = 0;

    (void)state;
    assert_int_equal(bk_random_kernel_check(), BK_OK);
    rng.fill(rng.ctx, a, sizeof a - 1);
    rng.fill(rng.ctx, b, sizeof b - 1);
    rng.fill(rng.ctx, b, 0);
    assert_memory_not_equal(a, b, sizeof a);
    assert_int_equal(a[sizeof a - 1], 0); /* not a byte too many */
    for (size_t i = 0; i < sizeof a - 1; i++) {
        zeros += a[i] == 0;
    }
    assert_in_range(zeros, 0, 30); /* of 299, one is to be expected */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_name_of_the_hosts_file),
        cmocka_unit_test(test_what_cannot_be_asked),
        cmocka_unit_test(test_the_filter),
        cmocka_unit_test(test_random_bytes),
    };

    return cmocka_run_group_tests_name("agent_helper", tests, NULL, NULL);
}
