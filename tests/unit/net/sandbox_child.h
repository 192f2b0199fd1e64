/* What the tests of the system call filters share: a child for each, which tells by its end what became of the call, and what
 * the parent has made for it. */
#ifndef BK_TESTS_NET_SANDBOX_CHILD_H
#define BK_TESTS_NET_SANDBOX_CHILD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/sandbox.h"

enum {
    /* how a child ends */
    DID_IT = 0,
    WAS_REFUSED = 1, /* ENOSYS */
    FAILED = 2,      /* otherwise: the call was let through to the kernel */
    NO_FILTER = 3,
};

/* Made by the parent, so that the child need not: a socket that is bound but does not listen, and a file. */
static int bound = -1;
static char folder[] = "/tmp/beckon-sandbox-XXXXXX";
static char file[sizeof folder + 8], other[sizeof folder + 8];

static inline void leave_no_core(void)
{
    static const struct rlimit no_core;

    (void)setrlimit(RLIMIT_CORE, &no_core);
}

static inline void enter(enum bk_sandbox_kind kind, enum bk_sandbox_refusal refusal)
{
    char why[BK_SANDBOX_WHY_BYTES];

    leave_no_core();
    if (bk_sandbox_enter(kind, refusal, why, sizeof why) != BK_OK) {
        fprintf(stderr, "%s\n", why);
        _exit(NO_FILTER);
    }
}

/* The child's status as waitpid has it. */
static inline int end_of(pid_t pid)
{
    int status = 0;

    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static inline bool killed(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static inline long do_execve(void)
{
    char *argv[] = {(char *)(uintptr_t) "/bin/true", NULL}, *none[] = {NULL};
    return execve(argv[0], argv, none);
}

static inline int set_up(void **state)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    int fd;

    (void)state;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bound < 0 || bind(bound, (struct sockaddr *)&any, sizeof any) != 0 ||
        mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(file, sizeof file, "%s/file", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
    return fd < 0 ? -1 : close(fd);
}

static inline int tear_down(void **state)
{
    (void)state;
    close(bound);
    unlink(other);
    unlink(file);
    return rmdir(folder);
}

#endif
