/* A filter's instructions, whoever made them, into the kernel. Apart from sandbox.c, so that the idle agent, which has
 * them made by another program, need not have libseccomp in its memory. Keeps nothing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "net/sandbox.h"

/* The kernel says whether it knows filters at all: without, PR_GET_SECCOMP is an error. */
bool bk_sandbox_possible(void)
{
    return prctl(PR_GET_SECCOMP, 0UL, 0UL, 0UL, 0UL) >= 0;
}

/* Older kernels know fewer flags, and the oldest no seccomp(2): no reason to go without a filter. 0, or a
 * negative errno. */
static int load(const struct sock_fprog *program)
{
    static const unsigned flags[] = {
        /* A refusal that nobody sees is hard to find; and we run no code but our own. */
        SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG,
        SECCOMP_FILTER_FLAG_TSYNC,
    };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) != 0) {
        return -errno;
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        long done = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags[i], program);

        if (done >= 0) {
            return done == 0 ? 0 : -ESRCH; /* the number of a thread that it cannot be put upon */
        }
        if (errno != EINVAL && errno != ENOSYS) {
            return -errno;
        }
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program) == 0 ? 0 : -errno;
}

enum bk_err bk_sandbox_say(int err, char *why, size_t why_bytes)
{
    (void)snprintf(why, why_bytes,
                   "no system call filter: %s; serving without, protected by less than intended",
                   err == 0 ? "this kernel has none (CONFIG_SECCOMP_FILTER)" : strerror(err));
    if (err == 0) {
        return BK_E_STATE;
    }
    errno = err;
    return err == ENOMEM ? BK_E_NOMEM : BK_E_IO;
}

enum bk_err bk_sandbox_load(struct sock_filter *instructions, size_t n, char *why, size_t why_bytes)
{
    int err;

    if (n == 0 || n > BPF_MAXINSNS) {
        return bk_sandbox_say(EINVAL, why, why_bytes);
    }
    err = load(&(struct sock_fprog){.len = (unsigned short)n, .filter = instructions});
    return err == 0 ? BK_OK : bk_sandbox_say(-err, why, why_bytes);
}
