/* The system call filters, what must work under each of them, programs that are started and lists that are narrowed included;
 * how a filter is loaded, and by which verb. */
#include "net/sandbox_child.h"

#include <errno.h>
#include <ifaddrs.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <linux/filter.h>
#include <linux/sockios.h>

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
            char why[BK_SANDBOX_WHY_BYTES];

            leave_no_core();
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

int main(int argc, char **argv)
{
    if (argc == 2) { /* started by start_a_program */
        return access(argv[1], R_OK) == 0 ? 0 : FAILED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_abort_is_an_abort),
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_a_filter_that_is_none),
    };

    return cmocka_run_group_tests_name("sandbox, allowed", tests, set_up, tear_down);
}
