/* The system call filters, what must be stopped: each kind of process, each call, with each way of refusing. */
#include "net/sandbox_child.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <linux/filter.h>
#include <linux/netlink.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

enum {
    SERVER = 1 << BK_SANDBOX_SERVER,
    IDLE = 1 << BK_SANDBOX_AGENT_IDLE,
    CALL = 1 << BK_SANDBOX_AGENT_CALL,
    RENEW = 1 << BK_SANDBOX_AGENT_RENEW,
    ALL = SERVER | IDLE | CALL | RENEW,
};

static long do_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long do_packet(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0);
}

static long do_raw(void)
{
    return socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
}

static long do_alg(void)
{
    return socket(AF_ALG, SOCK_SEQPACKET, 0);
}

static long do_netfilter(void)
{
    return socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
}

static long do_write_shadow(void)
{
    return open("/etc/shadow", O_WRONLY | O_APPEND);
}

static long do_read_write(void)
{
    return open(file, O_RDWR);
}

static long do_truncate(void)
{
    return open(file, O_RDONLY | O_TRUNC);
}

static long do_create(void)
{
    return open(other, O_WRONLY | O_CREAT | O_EXCL, 0600);
}

static long do_temporary(void)
{
    return open(folder, O_TMPFILE | O_RDWR, 0600);
}

static long do_rename(void)
{
    return rename(file, other);
}

static long do_chmod(void)
{
    return chmod(file, 04755);
}

static long do_write_exec(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -1 : 0;
}

static long do_map_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -1 : 0;
}

static long do_make_exec(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? 0 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static long do_mount(void)
{
    return mount("none", folder, "tmpfs", 0, NULL);
}

static long do_umount(void)
{
    return umount2("/nowhere", 0);
}

static long do_chroot(void)
{
    return chroot(folder);
}

static long do_unshare(void)
{
    return unshare(CLONE_NEWUSER);
}

static long do_setns(void)
{
    return setns(-1, 0);
}

static long do_bpf(void)
{
    return syscall(SYS_bpf, 0, NULL, 0);
}

static long do_kexec(void)
{
    return syscall(SYS_kexec_load, 0, 0, NULL, 0);
}

static long do_module(void)
{
    return syscall(SYS_finit_module, -1, "", 0);
}

static long do_perf(void)
{
    return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static long do_userfaultfd(void)
{
    return syscall(SYS_userfaultfd, 0);
}

static long do_keyctl(void)
{
    return syscall(SYS_keyctl, 0, 0, 0, 0, 0);
}

static long do_read_process(void)
{
    return syscall(SYS_process_vm_writev, getppid(), NULL, 0, NULL, 0, 0);
}

static long do_io_uring(void)
{
    return syscall(SYS_io_uring_setup, 1, NULL);
}

static long do_memfd(void)
{
    return syscall(SYS_memfd_create, "x", 0);
}

static long do_setuid(void)
{
    return syscall(SYS_setuid, getuid());
}

static long do_personality(void)
{
    return syscall(SYS_personality, 0x0400000); /* READ_IMPLIES_EXEC */
}

static long do_clock(void)
{
    return syscall(SYS_clock_settime, CLOCK_REALTIME, NULL);
}

static long do_new_namespace(void)
{
    long pid = syscall(SYS_clone, (unsigned long)(CLONE_NEWUSER | SIGCHLD), NULL, NULL, NULL, NULL);
    if (pid == 0) {
        _exit(0);
    }
    return pid;
}

static long do_clone3(void)
{
    return syscall(SYS_clone3, NULL, 0);
}

static long do_fork(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    return pid;
}

static long do_kill(void)
{
    return kill(getppid(), 0);
}

static long do_kill_thread(void)
{
    return syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static long do_listen(void)
{
    return listen(bound, 1);
}

static long do_accept(void)
{
    return accept4(bound, NULL, NULL, SOCK_NONBLOCK);
}

static long do_type_into_terminal(void)
{
    return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static long do_attach_filter(void)
{
    struct sock_filter pass = {BPF_RET | BPF_K, 0, 0, UINT32_MAX};
    struct sock_fprog program = {.len = 1, .filter = &pass};
    return setsockopt(bound, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static long do_own(void)
{
    return fcntl(bound, F_SETOWN, getppid());
}

static long do_bounding(void)
{
    return prctl(PR_CAPBSET_DROP, 0, 0, 0, 0);
}

static long do_limit(void)
{
    struct rlimit limit = {1, 1};
    return setrlimit(RLIMIT_MSGQUEUE, &limit);
}

static long do_high_half(void)
{
    /* Rubbish above the low 32 bits must not turn what is refused into something allowed. */
    return syscall(SYS_socket, (1ULL << 32) | AF_PACKET, SOCK_RAW, 0);
}

/* One that is 0 in the release build means ENOSYS there; `never` ends the process in every build. */
static const struct forbidden {
    const char *what;
    long (*attempt)(void);
    unsigned who;
    bool never;
    bool sanitizers_may;
} forbidden[] = {
    {"execve", do_execve, SERVER | CALL | RENEW, true, false},
    {"ptrace", do_ptrace, ALL, true, true},
    {"packet socket", do_packet, ALL, false, false},
    {"raw socket", do_raw, ALL, false, false},
    {"crypto socket", do_alg, ALL, false, false},
    {"netfilter socket", do_netfilter, ALL, false, false},
    {"family with a high half", do_high_half, ALL, false, false},
    {"open /etc/shadow for writing", do_write_shadow, CALL, false, true},
    {"open for reading and writing", do_read_write, CALL, false, true},
    {"open and truncate", do_truncate, CALL, false, true},
    {"create", do_create, CALL, false, true},
    {"temporary file", do_temporary, CALL, false, true},
    {"rename", do_rename, CALL, false, false},
    {"chmod", do_chmod, CALL, false, false},
    {"map to write and run", do_write_exec, ALL, false, false},
    {"map to run", do_map_code, SERVER | CALL | RENEW, false, false},
    {"mprotect to run", do_make_exec, ALL, false, false},
    {"mount", do_mount, ALL, true, false},
    {"umount", do_umount, ALL, true, false},
    {"chroot", do_chroot, ALL, true, false},
    {"unshare", do_unshare, ALL, true, false},
    {"setns", do_setns, ALL, true, false},
    {"bpf", do_bpf, ALL, true, false},
    {"kexec", do_kexec, ALL, true, false},
    {"kernel module", do_module, ALL, true, false},
    {"perf", do_perf, ALL, true, false},
    {"userfaultfd", do_userfaultfd, ALL, true, false},
    {"keyctl", do_keyctl, ALL, true, false},
    {"another process's memory", do_read_process, ALL, true, false},
    {"io_uring", do_io_uring, ALL, false, false},
    {"memfd_create", do_memfd, ALL, false, false},
    {"setuid", do_setuid, ALL, false, false},
    {"personality", do_personality, ALL, false, true},
    {"clock_settime", do_clock, ALL, false, false},
    {"clone into a namespace", do_new_namespace, ALL, false, true},
    {"fork", do_fork, SERVER | CALL | RENEW, false, true},
    {"kill", do_kill, SERVER | CALL | RENEW, false, true},
    {"tgkill", do_kill_thread, SERVER | CALL | RENEW, false, true},
    {"listen", do_listen, RENEW, false, false},
    {"accept", do_accept, RENEW, false, false},
    {"TIOCSTI", do_type_into_terminal, ALL, false, false},
    {"SO_ATTACH_FILTER", do_attach_filter, ALL, false, false},
    {"F_SETOWN", do_own, ALL, false, false},
    {"PR_CAPBSET_DROP", do_bounding, ALL, false, true},
    {"setrlimit", do_limit, ALL, false, true},
};

static int attempt(enum bk_sandbox_kind kind, enum bk_sandbox_refusal refusal, long (*what)(void))
{
    pid_t pid = fork();

    if (pid == 0) {
        enter(kind, refusal);
        if (what() >= 0) {
            _exit(DID_IT);
        }
        _exit(errno == ENOSYS ? WAS_REFUSED : FAILED);
    }
    return end_of(pid);
}

static bool refused(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == WAS_REFUSED;
}

static void test_forbidden(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        const struct forbidden *f = &forbidden[i];

        for (unsigned kind = 0; kind <= BK_SANDBOX_AGENT_RENEW; kind++) {
            if ((f->who >> kind & 1) == 0 || (SANITIZED && f->sanitizers_may)) {
                continue;
            }
            int hard = attempt((enum bk_sandbox_kind)kind, BK_SANDBOX_KILL, f->attempt);
            int soft = attempt((enum bk_sandbox_kind)kind, BK_SANDBOX_ERRNO, f->attempt);

            if (!killed(hard) || !(f->never ? killed(soft) : refused(soft))) {
                print_error("%s, kind %u: ends are 0x%x and 0x%x\n", f->what, kind, (unsigned)hard,
                            (unsigned)soft);
                wrong++;
            }
        }
    }
    assert_int_equal(wrong, 0);
}

/* C libraries try it and go back to clone: a refusal that they know, in tests as well. */
static void test_clone3_is_not_there(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind <= BK_SANDBOX_AGENT_RENEW; kind++) {
        assert_true(refused(attempt((enum bk_sandbox_kind)kind, BK_SANDBOX_KILL, do_clone3)));
        assert_true(refused(attempt((enum bk_sandbox_kind)kind, BK_SANDBOX_ERRNO, do_clone3)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forbidden),
        cmocka_unit_test(test_clone3_is_not_there),
    };
    return cmocka_run_group_tests_name("sandbox, forbidden", tests, set_up, tear_down);
}
