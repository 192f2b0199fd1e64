/* From the lists of sandbox_calls.c to a filter's instructions. libseccomp makes them in a child process: that takes
 * memory in many small pieces, which a program that stays would never get rid of. Keeps nothing. */
#include "net/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "net/sandbox_calls.h"

#ifdef BECKON_SANDBOX_KILL
#define REFUSAL BK_SANDBOX_KILL
#else
#define REFUSAL BK_SANDBOX_ERRNO
#endif

enum {
    LEVEL_KILL_PROCESS = 3, /* seccomp_api_get(3): Linux 4.14 */
    SORTED = 2,             /* SCMP_FLTATR_CTL_OPTIMIZE: a tree instead of a chain */
};

static uint32_t kill_action(void)
{
    return seccomp_api_get() >= LEVEL_KILL_PROCESS ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_KILL;
}

/* 0, or a negative errno. */
static int allow(scmp_filter_ctx ctx, unsigned who, pid_t self)
{
    int err = 0;

    for (size_t i = 0; i < bk_sandbox_n_groups && err == 0; i++) {
        const struct bk_sandbox_group *group = &bk_sandbox_groups[i];

        for (size_t k = 0; (group->who & who) != 0 && k < group->n && err == 0; k++) {
            err = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, group->calls[k], 0, NULL);
        }
    }
    for (size_t i = 0; i < bk_sandbox_n_rules && err == 0; i++) {
        const struct bk_sandbox_rule *rule = &bk_sandbox_rules[i];

        if ((rule->who & who) != 0) {
            err = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, rule->call, rule->n, rule->args);
        }
    }
    if (err == 0) { /* abort() and raise(): a signal for nobody but us */
        const struct scmp_arg_cmp to_us = {.arg = 0,
                                           .op = SCMP_CMP_MASKED_EQ,
                                           .datum_a = UINT32_MAX,
                                           .datum_b = (scmp_datum_t)self};

        err = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &to_us);
    }
    return err;
}

/* -EEXIST where the call has been allowed: that stands. */
static int treat(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
    int err = 0;

    for (size_t i = 0; i < n && (err == 0 || err == -EEXIST); i++) {
        err = seccomp_rule_add_array(ctx, action, calls[i], 0, NULL);
    }
    return err == -EEXIST ? 0 : err;
}

static int fill(scmp_filter_ctx ctx, enum bk_sandbox_kind kind, enum bk_sandbox_refusal refusal,
                pid_t self)
{
    int err = allow(ctx, 1U << kind, self);

    if (err == 0 && refusal == BK_SANDBOX_KILL) {
        err = treat(ctx, SCMP_ACT_ERRNO(ENOSYS), bk_sandbox_absent, bk_sandbox_n_absent);
    } else if (err == 0) {
        err = treat(ctx, kill_action(), bk_sandbox_never, bk_sandbox_n_never);
    }
    return err;
}

int bk_sandbox_make(enum bk_sandbox_kind kind, enum bk_sandbox_refusal refusal, pid_t who, int fd)
{
    scmp_filter_ctx ctx =
        seccomp_init(refusal == BK_SANDBOX_KILL ? kill_action() : SCMP_ACT_ERRNO(ENOSYS));
    int err = ctx == NULL ? -ENOMEM : 0;

    if (err == 0) {
        err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, kill_action());
    }
    if (err == 0) {
        err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, SORTED);
    }
    if (err == 0) {
        err = fill(ctx, kind, refusal, who);
    }
    if (err == 0) {
        err = seccomp_export_bpf(ctx, fd);
    }
    if (ctx != NULL) {
        seccomp_release(ctx);
    }
    return -err;
}

/* Reads to the end, at most `cap` bytes. */
static size_t take(int fd, uint8_t *buf, size_t cap)
{
    size_t n = 0;

    while (n < cap) {
        ssize_t got = read(fd, buf + n, cap - n);

        if (got > 0) {
            n += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            break;
        }
    }
    return n;
}

/* Has a child write the instructions into `buf`; sets their number. 0, or a negative errno. */
static int have_made(enum bk_sandbox_kind kind, enum bk_sandbox_refusal refusal,
                     struct sock_filter buf[BPF_MAXINSNS], size_t *n)
{
    pid_t self = getpid(), child, ended;
    int ends[2], status = 0;
    size_t bytes;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    child = fork();
    if (child == 0) {
        _exit(bk_sandbox_make(kind, refusal, self, ends[1]));
    }
    status = errno;
    (void)close(ends[1]);
    bytes = child > 0 ? take(ends[0], (uint8_t *)buf, BPF_MAXINSNS * sizeof *buf) : 0;
    (void)close(ends[0]);
    if (child < 0) {
        return -status;
    }
    do {
        ended = waitpid(child, &status, 0);
    } while (ended < 0 && errno == EINTR);
    if (ended != child || !WIFEXITED(status)) {
        return -ECHILD;
    }
    *n = bytes / sizeof *buf;
    return WEXITSTATUS(status) != 0 ? -WEXITSTATUS(status) : 0;
}

enum bk_err bk_sandbox_enter(enum bk_sandbox_kind kind, enum bk_sandbox_refusal refusal, char *why,
                             size_t why_bytes)
{
    const size_t bytes = BPF_MAXINSNS * sizeof(struct sock_filter);
    struct sock_filter *instructions;
    enum bk_err err;
    size_t n = 0;
    int made;

    if (!bk_sandbox_possible()) {
        return bk_sandbox_say(0, why, why_bytes);
    }
    instructions = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (instructions == MAP_FAILED) {
        return bk_sandbox_say(ENOMEM, why, why_bytes);
    }
    made = have_made(kind, refusal, instructions, &n);
    err = made == 0 ? bk_sandbox_load(instructions, n, why, why_bytes)
                    : bk_sandbox_say(-made, why, why_bytes);
    (void)munmap(instructions, bytes);
    return err;
}

enum bk_err bk_sandbox_server(char *why, size_t why_bytes)
{
    return bk_sandbox_enter(BK_SANDBOX_SERVER, REFUSAL, why, why_bytes);
}

int bk_sandbox_make_agent_idle(pid_t who, int fd)
{
    return bk_sandbox_make(BK_SANDBOX_AGENT_IDLE, REFUSAL, who, fd);
}

enum bk_err bk_sandbox_agent_call(char *why, size_t why_bytes)
{
    return bk_sandbox_enter(BK_SANDBOX_AGENT_CALL, REFUSAL, why, why_bytes);
}

enum bk_err bk_sandbox_agent_renew(char *why, size_t why_bytes)
{
    return bk_sandbox_enter(BK_SANDBOX_AGENT_RENEW, REFUSAL, why, why_bytes);
}
