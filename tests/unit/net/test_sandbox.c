/* The system call filters: in a child, each kind with each way of refusing, what must be stopped and what must
 * work. A child tells by its end what became of the call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sockios.h>

#include "net/sandbox.h"

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

static long do_execve(void)
{
    char *argv[] = {(char *)(uintptr_t) "/bin/true", NULL}, *none[] = {NULL};
    return execve(argv[0], argv, none);
}

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

static void enter(enum bk_sandbox_kind kind, enum bk_sandbox_refusal refusal)
{
    static const struct rlimit no_core;
    char why[BK_SANDBOX_WHY_BYTES];

    (void)setrlimit(RLIMIT_CORE, &no_core);
    if (bk_sandbox_enter(kind, refusal, why, sizeof why) != BK_OK) {
        fprintf(stderr, "%s\n", why);
        _exit(NO_FILTER);
    }
}

/* The child's status as waitpid has it. */
static int end_of(pid_t pid)
{
    int status = 0;

    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

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

static bool killed(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
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

/* ---- what must work ---- */

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, strerror(errno));                           \
            _exit(FAILED);                                                                         \
        }                                                                                          \
    } while (0)

static void use_sockets(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    socklen_t n = sizeof to;
    struct ifaddrs *all = NULL;
    int one = 1, pair[2];
    int a = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int b = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    MUST(a >= 0 && socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
    MUST(b >= 0 || errno == EAFNOSUPPORT);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    MUST(bind(a, (struct sockaddr *)&to, sizeof to) == 0);
    MUST(getsockname(a, (struct sockaddr *)&to, &n) == 0);
    MUST(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof to) == 1);
    MUST(setsockopt(a, SOL_SOCKET, SO_RCVBUF, &one, sizeof one) == 0);
    MUST(connect(a, (struct sockaddr *)&to, sizeof to) == 0);
    MUST(getifaddrs(&all) == 0);
    freeifaddrs(all);
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    MUST(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
    MUST(ioctl(pair[0], SIOCOUTQ, &one) == 0);
    MUST(shutdown(pair[0], SHUT_WR) == 0);
}

static void use_the_rest(void)
{
    char text[64];
    FILE *f = fopen("/proc/self/stat", "re");
    char *much = malloc(4 << 20);

    MUST(f != NULL && fgets(text, sizeof text, f) != NULL && fclose(f) == 0);
    MUST(much != NULL);
    memset(much, 1, 4 << 20);
    much = realloc(much, 8 << 20);
    MUST(much != NULL);
    free(much);
    MUST(epoll_create1(EPOLL_CLOEXEC) >= 0);
    (void)isatty(STDIN_FILENO);
    MUST(access(file, R_OK) == 0);
    MUST(open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0);
    errno = 0;
    MUST(open("/no/such/file", O_RDONLY) < 0 && errno == ENOENT);
    MUST(raise(0) == 0);
}

static void use_files(void)
{
    int fd = open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    MUST(fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0 && write(fd, "x", 1) == 1);
    MUST(ftruncate(fd, 0) == 0 && fchmod(fd, 0600) == 0 && fsync(fd) == 0 && close(fd) == 0);
    MUST(link(other, file) != 0 && errno == EEXIST);
    MUST(rename(other, file) == 0 && link(file, other) == 0 && unlink(other) == 0);
}

static void serve_a_connection(void)
{
    struct sockaddr_in to;
    socklen_t n = sizeof to;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    MUST(listen(bound, 4) == 0);
    MUST(getsockname(bound, (struct sockaddr *)&to, &n) == 0);
    MUST(connect(fd, (struct sockaddr *)&to, n) == 0);
    MUST(accept4(bound, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) >= 0);
}

static void *set_to_true(void *ctx)
{
    *(bool *)ctx = true;
    return NULL;
}

/* As the call part asks the router. */
static void start_a_thread(void)
{
    pthread_t thread;
    bool ran = false;

    MUST(pthread_create(&thread, NULL, set_to_true, &ran) == 0);
    MUST(pthread_join(thread, NULL) == 0 && ran);
}

/* A program with shared libraries, and the sanitizer if there is one, starts and ends under the idle part's
 * list: this one. */
static void start_a_program(void)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        char *argv[] = {file, folder, NULL};

        execv("/proc/self/exe", argv);
        _exit(FAILED);
    }
    MUST(pid > 0 && waitpid(pid, &status, 0) == pid);
    MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What it starts takes a narrower list upon itself, and that one holds. */
static void narrow_a_child(enum bk_sandbox_kind kind, enum bk_sandbox_refusal refusal)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        enter(kind, refusal);
        use_sockets();
        use_the_rest();
        if (kind == BK_SANDBOX_AGENT_CALL) {
            serve_a_connection();
            start_a_thread();
        }
        (void)do_execve();
        _exit(DID_IT);
    }
    MUST(pid > 0 && waitpid(pid, &status, 0) == pid);
    MUST(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void test_allowed(void **state)
{
    (void)state;
    for (unsigned k = 0; k <= BK_SANDBOX_AGENT_RENEW; k++) {
        enum bk_sandbox_kind kind = (enum bk_sandbox_kind)k;

        for (unsigned r = BK_SANDBOX_ERRNO; r <= BK_SANDBOX_KILL; r++) {
            pid_t pid = fork();

            if (pid == 0) {
                enter(kind, (enum bk_sandbox_refusal)r);
                use_sockets();
                use_the_rest();
                if (kind != BK_SANDBOX_AGENT_CALL) {
                    use_files();
                }
                if (kind == BK_SANDBOX_SERVER || kind == BK_SANDBOX_AGENT_CALL) {
                    serve_a_connection();
                }
                if (kind == BK_SANDBOX_AGENT_CALL) {
                    start_a_thread();
                }
                if (kind == BK_SANDBOX_AGENT_IDLE) {
                    start_a_program();
                    narrow_a_child(BK_SANDBOX_AGENT_CALL, (enum bk_sandbox_refusal)r);
                    narrow_a_child(BK_SANDBOX_AGENT_RENEW, (enum bk_sandbox_refusal)r);
                }
                _exit(DID_IT);
            }
            assert_int_equal(end_of(pid), 0);
        }
    }
}

/* A failed assertion must still be seen as one. */
static void test_abort_is_an_abort(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind <= BK_SANDBOX_AGENT_RENEW; kind++) {
        pid_t pid = fork();

        if (pid == 0) {
            enter((enum bk_sandbox_kind)kind, BK_SANDBOX_KILL);
            signal(SIGABRT, SIG_DFL);
            abort();
        }
        int status = end_of(pid);

        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

/* As the idle agent does: another process makes the filter, this one loads it. */
static enum bk_err take_the_idle_list(char *why, size_t why_bytes)
{
    static struct sock_filter instructions[BPF_MAXINSNS];
    pid_t self = getpid(), pid;
    int ends[2], status = 0;
    ssize_t n;

    MUST(pipe(ends) == 0);
    pid = fork();
    if (pid == 0) {
        _exit(bk_sandbox_make_agent_idle(self, ends[1]));
    }
    n = read(ends[0], instructions, sizeof instructions);
    MUST(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    MUST(n > 0 && (size_t)n % sizeof instructions[0] == 0 && bk_sandbox_possible());
    MUST(close(ends[0]) == 0 && close(ends[1]) == 0);
    return bk_sandbox_load(instructions, (size_t)n / sizeof instructions[0], why, why_bytes);
}

/* Nothing, or more than a kernel takes, or nonsense: no filter, and a line that says so. */
static void test_a_filter_that_is_none(void **state)
{
    static struct sock_filter nonsense[BPF_MAXINSNS + 1];
    const size_t sizes[] = {0, 3, BPF_MAXINSNS + 1};

    (void)state;
    memset(nonsense, 0xFF, sizeof nonsense);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            char why[BK_SANDBOX_WHY_BYTES] = "";

            MUST(bk_sandbox_load(nonsense, sizes[i], why, sizeof why) == BK_E_IO);
            MUST(errno == EINVAL && strstr(why, "no system call filter: ") == why);
            MUST(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0);
            _exit(DID_IT);
        }
        assert_int_equal(end_of(pid), 0);
    }
}

/* The public verbs take the list of their name. */
static void test_verbs(void **state)
{
    enum bk_err (*const verbs[])(char *, size_t) = {bk_sandbox_server, take_the_idle_list,
                                                    bk_sandbox_agent_call, bk_sandbox_agent_renew};

    (void)state;
    for (unsigned kind = 0; kind <= BK_SANDBOX_AGENT_RENEW; kind++) {
        pid_t pid = fork();

        if (pid == 0) {
            static const struct rlimit no_core;
            char why[BK_SANDBOX_WHY_BYTES];

            (void)setrlimit(RLIMIT_CORE, &no_core);
            MUST(verbs[kind](why, sizeof why) == BK_OK);
            MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
            if (kind == BK_SANDBOX_AGENT_IDLE) {
                start_a_program();
                _exit(DID_IT);
            }
            if (kind == BK_SANDBOX_SERVER) {
                serve_a_connection();
            }
            if (kind != BK_SANDBOX_AGENT_CALL) {
                use_files();
            }
            do_execve();
            _exit(FAILED);
        }
        int status = end_of(pid);

        assert_true(kind == BK_SANDBOX_AGENT_IDLE ? status == 0 : killed(status));
    }
}

static int set_up(void **state)
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

static int tear_down(void **state)
{
    (void)state;
    close(bound);
    unlink(other);
    unlink(file);
    return rmdir(folder);
}

int main(int argc, char **argv)
{
    if (argc == 2) { /* started by start_a_program */
        return access(argv[1], R_OK) == 0 ? 0 : FAILED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forbidden), cmocka_unit_test(test_clone3_is_not_there),
        cmocka_unit_test(test_allowed),   cmocka_unit_test(test_abort_is_an_abort),
        cmocka_unit_test(test_verbs),     cmocka_unit_test(test_a_filter_that_is_none),
    };

    return cmocka_run_group_tests_name("sandbox", tests, set_up, tear_down);
}
