/* What each program calls. Names that a processor does not have are passed over by libseccomp; newer ones than
 * the kernel's are never called. Comparisons look at the low 32 bits of what is an int: the upper half of the
 * register is anything. */
#include "net/sandbox_calls.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <linux/netlink.h>
#include <linux/sockios.h>

#include "net/sandbox.h"

_Static_assert(BK_FOR_SERVER == 1 << BK_SANDBOX_SERVER &&
                   BK_FOR_IDLE == 1 << BK_SANDBOX_AGENT_IDLE &&
                   BK_FOR_CALL == 1 << BK_SANDBOX_AGENT_CALL &&
                   BK_FOR_RENEW == 1 << BK_SANDBOX_AGENT_RENEW,
               "a bit per kind");

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* Memory, time, signals, descriptors, sockets that stand, and what is known of files. */
static const int everybody[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(lseek),
    SCMP_SYS(_llseek),
    SCMP_SYS(close),
    SCMP_SYS(close_range),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fstat),
    SCMP_SYS(fstat64),
    SCMP_SYS(stat),
    SCMP_SYS(stat64),
    SCMP_SYS(lstat),
    SCMP_SYS(lstat64),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fstatat64),
    SCMP_SYS(statx),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd),
    SCMP_SYS(getdents64),
    /* memory */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(mlock),
    SCMP_SYS(munlock),
    SCMP_SYS(futex),
    SCMP_SYS(futex_time64),
    SCMP_SYS(membarrier),
    SCMP_SYS(cacheflush),
    SCMP_SYS(riscv_flush_icache),
    SCMP_SYS(getrandom),
    /* time */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_gettime64),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_getres_time64),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_nanosleep_time64),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_settime64),
    SCMP_SYS(timerfd_gettime),
    /* waiting */
    SCMP_SYS(epoll_create),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(ppoll_time64),
    SCMP_SYS(select),
    SCMP_SYS(_newselect),
    SCMP_SYS(pselect6),
    SCMP_SYS(pselect6_time64),
    SCMP_SYS(eventfd2),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    /* signals and the end */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigreturn),
    SCMP_SYS(rt_sigpending),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* who and where we are */
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(getuid32),
    SCMP_SYS(geteuid),
    SCMP_SYS(geteuid32),
    SCMP_SYS(getgid),
    SCMP_SYS(getgid32),
    SCMP_SYS(getegid),
    SCMP_SYS(getegid32),
    SCMP_SYS(getresuid),
    SCMP_SYS(getresuid32),
    SCMP_SYS(getresgid),
    SCMP_SYS(getresgid32),
    SCMP_SYS(getgroups),
    SCMP_SYS(getgroups32),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrusage),
    SCMP_SYS(getrlimit),
    SCMP_SYS(ugetrlimit),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(getcpu),
    SCMP_SYS(umask),
    /* sockets */
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(shutdown),
    SCMP_SYS(send),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recv),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(recvmmsg_time64),
    SCMP_SYS(getsockopt),
};

/* The call part listens on one port of its own while a call is accepted (its caller may dial it); it starts under the
 * idle part's list, which must do for it. */
static const int acceptors[] = {SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(listen)};

/* Joined connections of the relay. */
static const int relays[] = {SCMP_SYS(splice)};

/* What a thread of ours does at its beginning: the call part asks the router in threads (net/portmap.h). */
static const int threads[] = {SCMP_SYS(set_robust_list), SCMP_SYS(rseq)};

/* State directories and SQLite. */
static const int writers[] = {
    SCMP_SYS(open),      SCMP_SYS(openat),    SCMP_SYS(unlink),      SCMP_SYS(unlinkat),
    SCMP_SYS(rename),    SCMP_SYS(renameat),  SCMP_SYS(renameat2),   SCMP_SYS(link),
    SCMP_SYS(linkat),    SCMP_SYS(mkdir),     SCMP_SYS(mkdirat),     SCMP_SYS(rmdir),
    SCMP_SYS(chmod),     SCMP_SYS(fchmod),    SCMP_SYS(fchmodat),    SCMP_SYS(fchown),
    SCMP_SYS(fchown32),  SCMP_SYS(ftruncate), SCMP_SYS(ftruncate64), SCMP_SYS(fallocate),
    SCMP_SYS(utimensat), SCMP_SYS(flock),
};

/* Starting a program, and what a program needs until it has a list of its own. */
static const int starters[] = {
    SCMP_SYS(execve),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(wait4),
    SCMP_SYS(waitpid),
    SCMP_SYS(waitid),
    SCMP_SYS(kill),
    SCMP_SYS(tgkill),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(set_thread_area),
    SCMP_SYS(set_tls),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(seccomp),
};

#ifdef SANITIZED
/* Shadow memory, background threads, the stopped world of the leak checker, symbols, report files. */
static const int sanitizers[] = {
    SCMP_SYS(clone),
    SCMP_SYS(fork),
    SCMP_SYS(ptrace),
    SCMP_SYS(wait4),
    SCMP_SYS(waitid),
    SCMP_SYS(kill),
    SCMP_SYS(tgkill),
    SCMP_SYS(prctl),
    SCMP_SYS(personality),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(unlink),
    SCMP_SYS(prlimit64),
    SCMP_SYS(setrlimit),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(rseq),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(mincore),
    SCMP_SYS(getdents),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(process_vm_readv),
};
#endif

#define GROUP(who, list)                                                                           \
    {                                                                                              \
        (who), (list), sizeof(list) / sizeof((list)[0])                                            \
    }

const struct bk_sandbox_group bk_sandbox_groups[] = {
    GROUP(BK_FOR_ALL, everybody),
    GROUP(BK_FOR_SERVER | BK_FOR_IDLE | BK_FOR_CALL, acceptors),
    GROUP(BK_FOR_SERVER, relays),
    GROUP(BK_FOR_CALL, threads),
    GROUP(BK_FOR_SERVER | BK_FOR_IDLE | BK_FOR_RENEW, writers),
    GROUP(BK_FOR_IDLE, starters),
#ifdef SANITIZED
    GROUP(BK_FOR_ALL, sanitizers),
#endif
};
const size_t bk_sandbox_n_groups = sizeof bk_sandbox_groups / sizeof bk_sandbox_groups[0];

/* ---- by their arguments ---- */

#define BITS(arg, mask, value)                                                                     \
    {                                                                                              \
        (arg), SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (scmp_datum_t)(value)                     \
    }
#define INT(arg, value) BITS(arg, UINT32_MAX, (uint32_t)(value))

#define PRCTL(who, option)                                                                         \
    {                                                                                              \
        who, SCMP_SYS(prctl), 1,                                                                   \
        {                                                                                          \
            INT(0, option)                                                                         \
        }                                                                                          \
    }
#define IOCTL(request)                                                                             \
    {                                                                                              \
        BK_FOR_ALL, SCMP_SYS(ioctl), 1,                                                            \
        {                                                                                          \
            INT(1, request)                                                                        \
        }                                                                                          \
    }
#define FCNTL(command)                                                                             \
    {BK_FOR_ALL, SCMP_SYS(fcntl), 1, {INT(1, command)}},                                           \
    {                                                                                              \
        BK_FOR_ALL, SCMP_SYS(fcntl64), 1,                                                          \
        {                                                                                          \
            INT(1, command)                                                                        \
        }                                                                                          \
    }
#define SETSOCKOPT(level, name)                                                                    \
    {                                                                                              \
        BK_FOR_ALL, SCMP_SYS(setsockopt), 2,                                                       \
        {                                                                                          \
            INT(1, level), INT(2, name)                                                            \
        }                                                                                          \
    }
#define SOCKET(family, type)                                                                       \
    {                                                                                              \
        BK_FOR_ALL, SCMP_SYS(socket), 2,                                                           \
        {                                                                                          \
            INT(0, family), BITS(1, 0xf, type)                                                     \
        }                                                                                          \
    }

enum {
    ANY_WRITING = O_ACCMODE | O_CREAT | O_TRUNC,
    WRITE_EXEC = PROT_WRITE | PROT_EXEC,
    NEW_NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                     CLONE_NEWPID | CLONE_NEWNET | CLONE_THREAD | CLONE_UNTRACED | CLONE_PTRACE,
#if defined(__s390__) || defined(__s390x__)
    CLONE_FLAGS = 1, /* clone(2): the first two arguments are the other way round there */
#else
    CLONE_FLAGS = 0,
#endif
    /* A thread, and no process: it shares memory and all else, and no namespace is new. */
    THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD,
    NO_THREAD = NEW_NAMESPACES & ~CLONE_THREAD,
    NAME_MEMORY = 0x53564d41, /* PR_SET_VMA, of newer C libraries */
};

const struct bk_sandbox_rule bk_sandbox_rules[] = {
/* Memory is never written and run; what runs comes from a file, and only while a program starts. */
#if defined(__s390__) || defined(__s390x__)
    {BK_FOR_ALL, SCMP_SYS(mmap), 0, {{0}}}, /* arguments behind a pointer */
#else
    {BK_FOR_ALL, SCMP_SYS(mmap), 1, {BITS(2, PROT_EXEC, 0)}},
    {BK_FOR_IDLE, SCMP_SYS(mmap), 1, {BITS(2, WRITE_EXEC, PROT_EXEC)}},
#endif
    {BK_FOR_ALL, SCMP_SYS(mmap2), 1, {BITS(2, PROT_EXEC, 0)}},
    {BK_FOR_IDLE, SCMP_SYS(mmap2), 1, {BITS(2, WRITE_EXEC, PROT_EXEC)}},
    {BK_FOR_ALL, SCMP_SYS(mprotect), 1, {BITS(2, PROT_EXEC, 0)}},

    {BK_FOR_CALL, SCMP_SYS(open), 1, {BITS(1, ANY_WRITING, O_RDONLY)}},
    {BK_FOR_CALL, SCMP_SYS(openat), 1, {BITS(2, ANY_WRITING, O_RDONLY)}},
#ifdef BECKON_KEYLOG
    {BK_FOR_CALL,
     SCMP_SYS(openat),
     1,
     {BITS(2, ANY_WRITING | O_APPEND, O_WRONLY | O_CREAT | O_APPEND)}},
#endif

    {BK_FOR_IDLE, SCMP_SYS(clone), 1, {BITS(CLONE_FLAGS, NEW_NAMESPACES, 0)}},
    {BK_FOR_IDLE | BK_FOR_CALL,
     SCMP_SYS(clone),
     1,
     {BITS(CLONE_FLAGS, THREAD | NO_THREAD, THREAD)}},
    {BK_FOR_ALL, SCMP_SYS(prlimit64), 1, {{2, SCMP_CMP_EQ, 0, 0}}}, /* asks, does not set */

    SOCKET(AF_UNIX, SOCK_STREAM),
    SOCKET(AF_UNIX, SOCK_DGRAM),
    SOCKET(AF_UNIX, SOCK_SEQPACKET),
    SOCKET(AF_INET, SOCK_STREAM),
    SOCKET(AF_INET, SOCK_DGRAM),
    SOCKET(AF_INET6, SOCK_STREAM),
    SOCKET(AF_INET6, SOCK_DGRAM),
    {BK_FOR_ALL, SCMP_SYS(socket), 2, {INT(0, AF_NETLINK), INT(2, NETLINK_ROUTE)}},
    {BK_FOR_ALL, SCMP_SYS(socketpair), 1, {INT(0, AF_UNIX)}},

    SETSOCKOPT(SOL_SOCKET, SO_REUSEADDR),
    SETSOCKOPT(SOL_SOCKET, SO_REUSEPORT),
    SETSOCKOPT(SOL_SOCKET, SO_KEEPALIVE),
    SETSOCKOPT(SOL_SOCKET, SO_LINGER),
    SETSOCKOPT(SOL_SOCKET, SO_SNDBUF),
    SETSOCKOPT(SOL_SOCKET, SO_RCVBUF),
    SETSOCKOPT(SOL_SOCKET, SO_SNDTIMEO),
    SETSOCKOPT(SOL_SOCKET, SO_RCVTIMEO),
    SETSOCKOPT(IPPROTO_TCP, TCP_NODELAY),
    SETSOCKOPT(IPPROTO_TCP, TCP_CORK), /* the end of a handshake waits for its first bytes */
    SETSOCKOPT(IPPROTO_TCP, TCP_FASTOPEN_CONNECT), /* to the server */
    SETSOCKOPT(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
    SETSOCKOPT(IPPROTO_TCP, TCP_USER_TIMEOUT),
    SETSOCKOPT(IPPROTO_TCP, TCP_KEEPIDLE),
    SETSOCKOPT(IPPROTO_TCP, TCP_KEEPINTVL),
    SETSOCKOPT(IPPROTO_TCP, TCP_KEEPCNT),
    SETSOCKOPT(IPPROTO_TCP, TCP_SYNCNT),
    SETSOCKOPT(IPPROTO_IP, IP_PKTINFO),
    SETSOCKOPT(IPPROTO_IP, IP_RECVERR),
    SETSOCKOPT(IPPROTO_IP, IP_MTU_DISCOVER),
    SETSOCKOPT(IPPROTO_IPV6, IPV6_V6ONLY),
    SETSOCKOPT(IPPROTO_IPV6, IPV6_RECVPKTINFO),
    SETSOCKOPT(IPPROTO_IPV6, IPV6_RECVERR),
    SETSOCKOPT(IPPROTO_IPV6, IPV6_MTU_DISCOVER),

    IOCTL(TCGETS),
    IOCTL(TIOCGWINSZ),
    IOCTL(FIONBIO),
    IOCTL(FIONREAD),
    IOCTL(SIOCOUTQ),

    FCNTL(F_GETFL),
    FCNTL(F_SETFL),
    FCNTL(F_GETFD),
    FCNTL(F_SETFD),
    FCNTL(F_DUPFD),
    FCNTL(F_DUPFD_CLOEXEC),
    {BK_FOR_SERVER, SCMP_SYS(fcntl), 1, {INT(1, F_SETPIPE_SZ)}},
    {BK_FOR_SERVER, SCMP_SYS(fcntl64), 1, {INT(1, F_SETPIPE_SZ)}},
    FCNTL(F_GETLK),
    FCNTL(F_SETLK),
    FCNTL(F_SETLKW),
#if F_GETLK != F_GETLK64
    FCNTL(F_GETLK64),
    FCNTL(F_SETLK64),
    FCNTL(F_SETLKW64),
#endif

    PRCTL(BK_FOR_ALL, PR_SET_NAME),
    PRCTL(BK_FOR_ALL, PR_GET_NAME),
    PRCTL(BK_FOR_ALL, PR_SET_DUMPABLE),
    PRCTL(BK_FOR_ALL, PR_GET_DUMPABLE),
    PRCTL(BK_FOR_ALL, NAME_MEMORY),
    PRCTL(BK_FOR_ALL, PR_SET_NO_NEW_PRIVS),
    PRCTL(BK_FOR_ALL, PR_GET_NO_NEW_PRIVS),
    PRCTL(BK_FOR_IDLE, PR_GET_SECCOMP),
    PRCTL(BK_FOR_IDLE, PR_SET_SECCOMP),
    PRCTL(BK_FOR_IDLE, PR_SET_PDEATHSIG),
};
const size_t bk_sandbox_n_rules = sizeof bk_sandbox_rules / sizeof bk_sandbox_rules[0];

/* execve is allowed to the idle part, and ptrace to the leak checker: a list that allows goes first. */
const int bk_sandbox_never[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(modify_ldt),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(reboot),
    SCMP_SYS(swapon),
};
const size_t bk_sandbox_n_never = sizeof bk_sandbox_never / sizeof bk_sandbox_never[0];

const int bk_sandbox_absent[] = {SCMP_SYS(clone3), SCMP_SYS(openat2)};
const size_t bk_sandbox_n_absent = sizeof bk_sandbox_absent / sizeof bk_sandbox_absent[0];
