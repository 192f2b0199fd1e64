/* Workers of one port: their datagrams, their answers, their end. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/clock.h"
#include "net/sockaddr.h"
#include "net/udp_worker.h"

enum {
    PATIENCE_S = 20,
    CLIENTS = 4,
    ROUNDS = 200,
    TURN_MS = 20,
    LONGEST_WAIT_S = 10, /* of a worker, without any word */
};

/* Answers with what came, the worker's number in front, and tells what it saw. */
struct worker {
    struct bk_udp_worker *w;
    uint8_t number;
    uint8_t answers[BK_UDP_WORKER_BATCH][BK_UDP_WORKER_BYTES + 1];
    atomic_uint n, batches, turns, longest;
    atomic_uint way;
    bool other_thread, quiet;
    pthread_t main;
};

struct world {
    struct bk_ways ways;
    struct worker workers[BK_UDP_WORKERS_MAX];
    unsigned n;
    struct bk_addr at;
};

static void on_batch(void *ctx, const struct bk_udp_datagram *in, size_t n,
                     struct bk_slice *answers)
{
    struct worker *w = ctx;

    w->other_thread = pthread_equal(pthread_self(), w->main) == 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(answers[i].n, 0);
        if (!w->quiet) {
            w->answers[i][0] = w->number;
            memcpy(w->answers[i] + 1, in[i].bytes.p, in[i].bytes.n);
            answers[i] = bk_slice(w->answers[i], in[i].bytes.n + 1);
        }
        atomic_store(&w->way, in[i].way);
    }
    if (n > atomic_load(&w->longest)) {
        atomic_store(&w->longest, (unsigned)n);
    }
    atomic_fetch_add(&w->batches, 1);
    atomic_fetch_add(&w->n, (unsigned)n);
}

static bk_time on_due(void *ctx)
{
    struct worker *w = ctx;

    atomic_fetch_add(&w->turns, 1);
    return bk_time_add(bk_clock_mono(), TURN_MS * BK_MS);
}

static void open_world(struct world *world, struct bk_addr at, unsigned n)
{
    struct bk_udp_worker *workers[BK_UDP_WORKERS_MAX];

    memset(world, 0, sizeof *world);
    bk_ways_init(&world->ways);
    world->n = n;
    assert_int_equal(bk_udp_workers_open(&at, &world->ways, &world->n, workers), BK_OK);
    assert_int_equal(world->n, n);
    world->at = bk_udp_worker_local(workers[0]);
    for (unsigned i = 0; i < n; i++) {
        struct worker *w = &world->workers[i];
        const struct bk_udp_worker_callbacks on = {.ctx = w, .batch = on_batch, .due = on_due};
        w->w = workers[i];
        w->number = (uint8_t)i;
        w->main = pthread_self();
        assert_int_equal(bk_udp_worker_start(w->w, &on), BK_OK);
        assert_int_equal(bk_udp_worker_local(w->w).port, world->at.port);
    }
}

static void go(struct world *world)
{
    for (unsigned i = 0; i < world->n; i++) {
        bk_udp_worker_go(world->workers[i].w);
    }
}

static void close_world(struct world *world)
{
    for (unsigned i = 0; i < world->n; i++) {
        bk_udp_worker_stop(world->workers[i].w);
        bk_udp_worker_free(world->workers[i].w);
    }
    bk_ways_fini(&world->ways);
}

static int client(uint8_t last)
{
    const struct bk_addr own = bk_addr_v4(127, 0, 0, last, 0);
    struct sockaddr_storage ss;
    socklen_t len = 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bk_sockaddr_write(&own, AF_INET, &ss, &len), BK_OK);
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static void tell(int fd, const struct bk_addr *to, const uint8_t *bytes, size_t n)
{
    struct sockaddr_storage ss;
    socklen_t len = 0;

    assert_int_equal(bk_sockaddr_write(to, AF_INET, &ss, &len), BK_OK);
    assert_int_equal(sendto(fd, bytes, n, 0, (struct sockaddr *)&ss, len), (ssize_t)n);
}

/* The answer's length; where it came from. */
static size_t hear(int fd, uint8_t *buf, size_t cap, struct bk_addr *from)
{
    struct sockaddr_storage ss;
    struct pollfd in = {.fd = fd, .events = POLLIN};
    socklen_t len = sizeof ss;

    assert_int_equal(poll(&in, 1, PATIENCE_S * 1000), 1);
    ssize_t n = recvfrom(fd, buf, cap, MSG_DONTWAIT, (struct sockaddr *)&ss, &len);
    assert_true(n >= 0);
    assert_int_equal(bk_sockaddr_read((struct sockaddr *)&ss, from), BK_OK);
    return (size_t)n;
}

static void wait_for(const atomic_uint *n, unsigned wanted)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    bk_time end = bk_time_add(bk_clock_mono(), PATIENCE_S * BK_SECOND);

    while (atomic_load(n) < wanted) {
        assert_true(bk_clock_mono() < end);
        nanosleep(&pause, NULL);
    }
}

/* Many in flight from several addresses: each gets its own back, from the worker that its last byte names. */
static void test_each_gets_its_own(void **state)
{
    static struct world world;
    uint8_t bytes[20] = {0}, got[64];
    struct bk_addr from;
    int fd[CLIENTS];

    (void)state;
    open_world(&world, bk_addr_v4(127, 0, 0, 1, 0), 3);
    go(&world);
    for (int c = 0; c < CLIENTS; c++) {
        fd[c] = client((uint8_t)(10 + c));
    }
    for (int i = 0; i < ROUNDS; i++) {
        for (int c = 0; c < CLIENTS; c++) {
            bytes[0] = (uint8_t)i;
            bytes[1] = (uint8_t)c;
            bytes[19] = (uint8_t)(i + c);
            tell(fd[c], &world.at, bytes, sizeof bytes);
        }
        for (int c = 0; c < CLIENTS; c++) {
            assert_int_equal(hear(fd[c], got, sizeof got, &from), 21);
            assert_int_equal(got[0], (uint8_t)(i + c) % 3);
            assert_int_equal(got[1], (uint8_t)i);
            assert_int_equal(got[2], c);
            assert_true(bk_addr_equal(&from, &world.at));
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_true(atomic_load(&world.workers[i].n) > 0);
        assert_true(world.workers[i].other_thread);
    }
    for (int c = 0; c < CLIENTS; c++) {
        close(fd[c]);
    }
    close_world(&world);
}

/* What waits when a worker begins comes in few batches, and all of it. */
static void test_batches(void **state)
{
    static struct world world;
    uint8_t bytes[20] = {0}, got[64];
    struct bk_addr from;
    int fd = client(9);

    (void)state;
    open_world(&world, bk_addr_v4(127, 0, 0, 1, 0), 1);
    for (int i = 0; i < ROUNDS; i++) {
        bytes[0] = (uint8_t)i;
        tell(fd, &world.at, bytes, sizeof bytes);
    }
    assert_int_equal(atomic_load(&world.workers[0].n), 0); /* not before it is told */
    go(&world);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(hear(fd, got, sizeof got, &from), 21);
        assert_int_equal(got[1], (uint8_t)i);
    }
    assert_int_equal(atomic_load(&world.workers[0].longest), BK_UDP_WORKER_BATCH);
    assert_in_range(atomic_load(&world.workers[0].batches), ROUNDS / BK_UDP_WORKER_BATCH,
                    ROUNDS / BK_UDP_WORKER_BATCH + 2);
    close(fd);
    close_world(&world);
}

/* The longest that fits is whole; a longer one is dropped, not cut; nothing at all is a datagram too. */
static void test_sizes(void **state)
{
    static struct world world;
    static uint8_t bytes[BK_UDP_WORKER_BYTES + 1], got[BK_UDP_WORKER_BYTES + 2];
    struct bk_addr from;
    int fd = client(9);

    (void)state;
    memset(bytes, 7, sizeof bytes);
    open_world(&world, bk_addr_v4(127, 0, 0, 1, 0), 1);
    go(&world);
    tell(fd, &world.at, bytes, BK_UDP_WORKER_BYTES + 1);
    tell(fd, &world.at, bytes, BK_UDP_WORKER_BYTES);
    assert_int_equal(hear(fd, got, sizeof got, &from), BK_UDP_WORKER_BYTES + 1);
    assert_memory_equal(got + 1, bytes, BK_UDP_WORKER_BYTES);
    tell(fd, &world.at, bytes, 0);
    assert_int_equal(hear(fd, got, sizeof got, &from), 1);
    tell(fd, &world.at, bytes, 1); /* the slot that held the long one */
    assert_int_equal(hear(fd, got, sizeof got, &from), 2);
    close(fd);
    close_world(&world);
}

/* Bound to no address: answers leave from where the datagram came to, ways are shared, and others can send by them. */
static void test_wildcard(void **state)
{
    static struct world world;
    const struct bk_addr any = {.port = 0};
    uint8_t bytes[20] = {0}, got[64];
    struct bk_addr from;
    int fd = client(9);

    (void)state;
    open_world(&world, any, 2);
    go(&world);
    for (uint8_t i = 0; i < 8; i++) {
        struct bk_addr to = bk_addr_v4(127, 0, 0, (uint8_t)(2 + i % 4), world.at.port);
        bytes[19] = i / 4;
        tell(fd, &to, bytes, sizeof bytes);
        assert_int_equal(hear(fd, got, sizeof got, &from), 21);
        assert_int_equal(got[0], i / 4);
        assert_true(bk_addr_equal(&from, &to));
        wait_for(&world.workers[i / 4].n, i % 4 + 1U);
        assert_int_equal(atomic_load(&world.workers[i / 4].way), 1 + i % 4);
    }
    for (unsigned way = 1; way <= 4; way++) {
        struct bk_addr to = bk_sockaddr_local(fd);
        struct bk_addr expected = bk_addr_v4(127, 0, 0, (uint8_t)(1 + way), world.at.port);
        assert_true(bk_udp_worker_send(world.workers[way % 2].w, way, &to, bk_slice("call", 4)));
        assert_int_equal(hear(fd, got, sizeof got, &from), 4);
        assert_true(bk_addr_equal(&from, &expected));
    }
    close(fd);
    close_world(&world);
}

/* Time passes where nothing comes, and the end comes at once. */
static void test_due_and_end(void **state)
{
    static struct world world;
    bk_time before;

    (void)state;
    open_world(&world, bk_addr_v4(127, 0, 0, 1, 0), 2);
    go(&world);
    /* The first wait is the longest there is, until a batch or its end: something has to come. */
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t bytes[20] = {[19] = (uint8_t)i};
        int fd = client(9);
        tell(fd, &world.at, bytes, sizeof bytes);
        wait_for(&world.workers[i].turns, 5);
        assert_int_equal(atomic_load(&world.workers[i].n), 1);
        close(fd);
    }
    before = bk_clock_mono();
    close_world(&world);
    assert_true(bk_clock_mono() - before < LONGEST_WAIT_S * BK_SECOND / 2);
    /* Started and never told to go; opened and never started. */
    open_world(&world, bk_addr_v4(127, 0, 0, 1, 0), 2);
    close_world(&world);
    struct bk_ways ways;
    struct bk_udp_worker *workers[2];
    unsigned n = 2;
    struct bk_addr at = bk_addr_v4(127, 0, 0, 1, 0);
    bk_ways_init(&ways);
    assert_int_equal(bk_udp_workers_open(&at, &ways, &n, workers), BK_OK);
    bk_udp_worker_stop(workers[0]);
    bk_udp_worker_free(workers[0]);
    bk_udp_worker_free(workers[1]);
    bk_udp_worker_free(NULL);
    bk_ways_fini(&ways);
}

/* A port is taken: by another who serves just so, and by anybody. */
static void test_taken(void **state)
{
    static struct world world;
    struct bk_udp_worker *workers[2];
    unsigned n = 2;

    (void)state;
    open_world(&world, bk_addr_v4(127, 0, 0, 1, 0), 2);
    assert_int_equal(bk_udp_workers_open(&world.at, &world.ways, &n, workers), BK_E_IO);
    assert_int_equal(errno, EADDRINUSE);
    n = 1;
    assert_int_equal(bk_udp_workers_open(&world.at, &world.ways, &n, workers), BK_E_IO);
    close_world(&world);
}

static volatile sig_atomic_t signalled;
static pthread_t signalled_in;

static void on_signal(int sig)
{
    (void)sig;
    signalled = 1;
    signalled_in = pthread_self();
}

/* Signals come to the thread that made the workers, whoever it was that they interrupt. */
static void test_signals(void **state)
{
    static struct world world;
    const struct timespec pause = {.tv_nsec = 1000000};
    struct sigaction action, before;

    (void)state;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    open_world(&world, bk_addr_v4(127, 0, 0, 1, 0), 4);
    go(&world);
    for (int i = 0; i < 20; i++) {
        signalled = 0;
        assert_int_equal(kill(getpid(), SIGUSR1), 0);
        while (signalled == 0) {
            nanosleep(&pause, NULL);
        }
        assert_true(pthread_equal(signalled_in, pthread_self()) != 0);
    }
    close_world(&world);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_gets_its_own),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_wildcard),
        cmocka_unit_test(test_due_and_end),
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
