/* Bytes as fast as they go, for forwarders to carry: both ends cost as little as the kernel allows (sendfile from memory, and
 * received bytes are thrown away where they lie).
 *
 *   blast serve send|take PORT               on 127.0.0.1; says "ready", and runs until it is killed
 *   blast go send|take PORT CONNECTIONS SECONDS [WARM_UP_SECONDS]
 *
 * "go" moves for WARM_UP_SECONDS (0.3) and then for SECONDS, and prints {"seconds", "bytes": of each connection, both of
 * the second part only; "all": bytes of both}. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 1 << 20,
    TURN_BYTES = 4 << 20, /* of one connection before the others */
    CONNECTIONS_MAX = 1024,
    EVENTS = 64,
};

struct end {
    int fd;
    uint64_t bytes;
};

static struct end ends[CONNECTIONS_MAX];
static int block = -1;
static bool sends;

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* False: it is over. */
static bool move(struct end *e)
{
    for (size_t turn = 0; turn < TURN_BYTES;) {
        off_t from = 0;
        ssize_t n = sends ? sendfile(e->fd, block, &from, BLOCK_BYTES)
                          : recv(e->fd, NULL, BLOCK_BYTES, MSG_TRUNC | MSG_DONTWAIT);
        if (n <= 0) {
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        }
        e->bytes += (uint64_t)n;
        turn += (size_t)n;
    }
    return true;
}

static void watch(int ep, int fd, uint32_t what, void *ptr)
{
    struct epoll_event event = {.events = what, .data = {.ptr = ptr}};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll");
    }
}

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static void serve(const char *port)
{
    struct sockaddr_in at = loopback(port);
    int on = 1, ep = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 512) != 0) {
        die("listen");
    }
    watch(ep, listener, EPOLLIN, NULL);
    (void)puts("ready");
    (void)fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct end *e = events[i].data.ptr;
            if (e == NULL) {
                e = calloc(1, sizeof *e);
                if (e == NULL || (e->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0) {
                    free(e);
                    continue;
                }
                watch(ep, e->fd, sends ? EPOLLOUT : EPOLLIN, e);
            } else if (!move(e)) {
                close(e->fd);
                free(e);
            }
        }
    }
}

/* Moves until `until`; false: a connection has ended. */
static bool run(int ep, double until)
{
    for (double left; (left = until - now_s()) > 0;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(ep, events, EVENTS, (int)(left * 1000) + 1);
        for (int i = 0; i < n; i++) {
            if (!move(events[i].data.ptr)) {
                (void)fprintf(stderr, "a connection ended\n");
                return false;
            }
        }
    }
    return true;
}

static int go(const char *port, unsigned connections, double seconds, double warm_up)
{
    static uint64_t before[CONNECTIONS_MAX];
    struct sockaddr_in to = loopback(port);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    uint64_t all = 0;
    double from, took;

    for (unsigned i = 0; i < connections; i++) {
        ends[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(ends[i].fd, (struct sockaddr *)&to, sizeof to) != 0) {
            die("connect");
        }
        watch(ep, ends[i].fd, sends ? EPOLLOUT : EPOLLIN, &ends[i]);
    }
    if (!run(ep, now_s() + warm_up)) {
        return 1;
    }
    for (unsigned i = 0; i < connections; i++) {
        before[i] = ends[i].bytes;
    }
    from = now_s();
    if (!run(ep, from + seconds)) {
        return 1;
    }
    took = now_s() - from;
    (void)printf("{\"seconds\": %.6f, \"bytes\": [", took);
    for (unsigned i = 0; i < connections; i++) {
        (void)printf("%s%llu", i == 0 ? "" : ", ", (unsigned long long)(ends[i].bytes - before[i]));
        all += ends[i].bytes;
    }
    (void)printf("], \"all\": %llu}\n", (unsigned long long)all);
    return 0;
}

int main(int argc, char **argv)
{
    bool serves = argc == 4 && strcmp(argv[1], "serve") == 0;
    unsigned connections = argc >= 6 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;

    if (!serves && (argc < 6 || connections == 0 || connections > CONNECTIONS_MAX)) {
        (void)fprintf(stderr, "blast serve send|take PORT\n"
                              "blast go send|take PORT CONNECTIONS SECONDS [WARM_UP]\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    sends = strcmp(argv[2], "send") == 0;
    block = memfd_create("block", MFD_CLOEXEC);
    if (block < 0 || ftruncate(block, BLOCK_BYTES) != 0) {
        die("memfd");
    }
    for (unsigned i = 0; i < BLOCK_BYTES / 16; i++) { /* nothing that compresses to nothing */
        uint64_t noise[2] = {i * UINT64_C(0x9e3779b97f4a7c15), ~i * UINT64_C(0xbf58476d1ce4e5b9)};
        if (write(block, noise, sizeof noise) != sizeof noise) {
            die("write");
        }
    }
    if (serves) {
        serve(argv[3]);
    }
    return go(argv[3], connections, strtod(argv[5], NULL), argc > 6 ? strtod(argv[6], NULL) : 0.3);
}
