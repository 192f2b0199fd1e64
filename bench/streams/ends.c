/* Source, sink, and the measurement. */
#include "streams/ends.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SOURCE_BYTES = 1 << 20,
    SINK_BYTES = 1 << 20,
    BUFFER_BYTES = 1 << 20, /* of a socket */
    BUFFER_MANY_BYTES = 256 * 1024,
    MANY = 8,
    READY_MAX = 64, /* taken from epoll at a time */
};

static int n_streams;
static int source_file;
static atomic_bool stop;
static atomic_ullong arrived[ENDS_MAX];

void die(const char *what)
{
    perror(what);
    exit(1);
}

static void wait_ms(long ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static double seconds_of(clockid_t clock)
{
    struct timespec t = {0};
    if (clock_gettime(clock, &t) != 0) {
        die("a process has ended");
    }
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void set_buffers(int fd, int n)
{
    int bytes = n >= MANY ? BUFFER_MANY_BYTES : BUFFER_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) {
        die("buffers");
    }
}

void check_way(int a, int b)
{
    char byte = 'x';
    if (send(a, &byte, 1, MSG_NOSIGNAL) != 1 || recv(b, &byte, 1, 0) != 1 ||
        send(b, &byte, 1, MSG_NOSIGNAL) != 1 || recv(a, &byte, 1, 0) != 1) {
        die("a byte there and back");
    }
}

/* ---- The ends ---- */

static void settle_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

static int watch(const struct end *e, uint32_t events)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < n_streams; i++) {
        struct epoll_event event = {.events = events, .data.u32 = (uint32_t)i};
        if (epoll_ctl(ep, EPOLL_CTL_ADD, e->fds[i], &event) != 0) {
            die("epoll");
        }
    }
    return ep;
}

static void *run_end(const struct end *e, uint32_t events, void (*serve)(int fd, int i))
{
    struct epoll_event ready[READY_MAX];
    settle_on(e->cpu);
    int ep = watch(e, events);
    while (!stop) {
        int n = epoll_wait(ep, ready, READY_MAX, 100);
        for (int i = 0; i < n && !stop; i++) {
            serve(e->fds[ready[i].data.u32], (int)ready[i].data.u32);
        }
    }
    return NULL;
}

static void send_some(int fd, int i)
{
    off_t at = 0;
    (void)i;
    if (sendfile(fd, source_file, &at, SOURCE_BYTES) < 0 && errno != EAGAIN && !stop) {
        die("sending");
    }
}

static void take_some(int fd, int i)
{
    ssize_t n = recv(fd, NULL, SINK_BYTES, MSG_TRUNC | MSG_DONTWAIT);
    if ((n == 0 || (n < 0 && errno != EAGAIN)) && !stop) {
        die("a stream has ended");
    }
    arrived[i] += n > 0 ? (unsigned long long)n : 0;
}

static void *run_source(void *arg)
{
    return run_end(arg, EPOLLOUT, send_some);
}

static void *run_sink(void *arg)
{
    return run_end(arg, EPOLLIN, take_some);
}

static void make_source(void)
{
    static char bytes[SOURCE_BYTES];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)(i * 2654435761U >> 16);
    }
    source_file = memfd_create("source", MFD_CLOEXEC);
    if (source_file < 0 || write(source_file, bytes, sizeof bytes) != (ssize_t)sizeof bytes) {
        die("the source");
    }
}

/* ---- The measurement ---- */

struct sample {
    double at, cpu[ENDS_PIDS_MAX];
    unsigned long long arrived[ENDS_MAX];
};

static void take_sample(struct sample *s, const clockid_t *clocks, int n_clocks)
{
    for (int i = 0; i < n_clocks; i++) {
        s->cpu[i] = seconds_of(clocks[i]);
    }
    s->at = seconds_of(CLOCK_MONOTONIC);
    for (int i = 0; i < n_streams; i++) {
        s->arrived[i] = arrived[i];
    }
}

static void print(const struct sample *from, const struct sample *to, int n_clocks, double ends)
{
    double sum = 0, squares = 0, least = 0, most = 0, cpu = 0;
    for (int i = 0; i < n_streams; i++) {
        double n = (double)(to->arrived[i] - from->arrived[i]);
        sum += n;
        squares += n * n;
        least = i == 0 || n < least ? n : least;
        most = n > most ? n : most;
    }
    for (int i = 0; i < n_clocks; i++) {
        cpu += to->cpu[i] - from->cpu[i];
    }
    double jain = squares > 0 ? sum * sum / ((double)n_streams * squares) : 0;
    (void)printf(
        "streams %d bytes %.0f seconds %.6f cpu %.6f jain %.5f least %.0f most %.0f ends %.4f cpus",
        n_streams, sum, to->at - from->at, cpu, jain, least, most, ends);
    for (int i = 0; i < n_clocks; i++) {
        (void)printf(" %.4f", to->cpu[i] - from->cpu[i]);
    }
    (void)puts("");
}

void measure(struct ends *e)
{
    static struct sample from, to;
    clockid_t clocks[ENDS_PIDS_MAX], own[2];
    pthread_t source, sink;
    n_streams = e->n;
    for (int i = 0; i < e->n_pids; i++) {
        if (clock_getcpuclockid((pid_t)strtol(e->pids[i], NULL, 10), &clocks[i]) != 0) {
            die(e->pids[i]);
        }
    }
    make_source();
    for (int i = 0; i < n_streams; i++) { /* a source waits by epoll, not in sendfile */
        (void)fcntl(e->from.fds[i], F_SETFL, fcntl(e->from.fds[i], F_GETFL) | O_NONBLOCK);
    }
    if (pthread_create(&sink, NULL, run_sink, &e->to) != 0 ||
        pthread_create(&source, NULL, run_source, &e->from) != 0) {
        die("threads");
    }
    wait_ms(e->warm_ms);
    (void)pthread_getcpuclockid(source, &own[0]);
    (void)pthread_getcpuclockid(sink, &own[1]);
    double used = -seconds_of(own[0]) - seconds_of(own[1]);
    take_sample(&from, clocks, e->n_pids);
    wait_ms(e->measure_ms);
    take_sample(&to, clocks, e->n_pids);
    used += seconds_of(own[0]) + seconds_of(own[1]);
    print(&from, &to, e->n_pids, used);
    stop = true;
    (void)pthread_join(source, NULL);
    (void)pthread_join(sink, NULL);
}
