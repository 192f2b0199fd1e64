/* Connecting to the service behind a stream: local sockets that take, refuse, are missing, or never answer. */
#include "lib/place.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/loop.h"
#include "lib/target.h"

static struct world {
    struct event_base *base;
    struct bk_resolver *resolver;
    unsigned told;
    int fd, why;
} w;

static int setup(void **state)
{
    memset(&w, 0, sizeof w);
    w.base = event_base_new();
    return w.base != NULL && bk_resolver_new(w.base, &w.resolver) == BK_OK ? place_make(state) : -1;
}

static int teardown(void **state)
{
    bk_resolver_free(w.resolver);
    event_base_free(w.base);
    return place_remove(state);
}

static void on_target(void *ctx, int fd, int why)
{
    assert_ptr_equal(ctx, &w);
    w.told++;
    w.fd = fd;
    w.why = why;
    event_base_loopbreak(w.base);
}

static void connect_to(const struct bk_service *service)
{
    struct bk_target *t;

    w.told = 0;
    w.fd = -1;
    assert_int_equal(bk_target_connect(w.base, w.resolver, service, on_target, &w, &t), BK_OK);
    assert_int_equal(w.told, 0); /* never from inside */
    event_base_dispatch(w.base);
    assert_int_equal(w.told, 1);
}

/* A socket bound to a port of 127.0.0.1, listening or not. */
static int bound(uint16_t *port, int backlog)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    assert_true(backlog < 0 || listen(fd, backlog) == 0);
    *port = ntohs(in.sin_port);
    return fd;
}

static void assert_connected(int listener)
{
    char byte = 0;
    int peer;

    assert_int_equal(w.why, 0);
    assert_true(w.fd >= 0);
    assert_true(fcntl(w.fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(w.fd, F_GETFL) & O_NONBLOCK);
    peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
    assert_int_equal(write(w.fd, "x", 1), 1);
    assert_int_equal(read(peer, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(peer);
    close(w.fd);
}

static void test_tcp(void **state)
{
    struct bk_service service = {.kind = BK_TARGET_TCP, .host = "127.0.0.1"};
    int listener = bound(&service.port, 4);

    (void)state;
    connect_to(&service);
    assert_connected(listener);
    close(listener);
}

/* A name with several addresses, of which one is served ("localhost" is ::1 first on many hosts). */
static void test_name(void **state)
{
    struct bk_service service = {.kind = BK_TARGET_TCP, .host = "localhost"};
    int listener = bound(&service.port, 4);

    (void)state;
    connect_to(&service);
    assert_connected(listener);
    close(listener);
}

static void test_unix(void **state)
{
    struct place *p = *state;
    struct bk_service service = {.kind = BK_TARGET_UNIX};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char path[160];
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    place_path(p, "socket", path);
    (void)snprintf(un.sun_path, sizeof un.sun_path, "%.100s", path);
    (void)snprintf(service.host, sizeof service.host, "%.100s", path);
    assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(listener, 4), 0);
    connect_to(&service);
    assert_connected(listener);
    close(listener);
    connect_to(&service); /* the path is there, nobody listens */
    assert_int_equal(w.fd, -1);
    assert_int_equal(w.why, ECONNREFUSED);
    unlink(path);
    connect_to(&service);
    assert_int_equal(w.fd, -1);
    assert_int_equal(w.why, ENOENT);
}

static void test_refused(void **state)
{
    struct bk_service service = {.kind = BK_TARGET_TCP, .host = "127.0.0.1"};
    int holder = bound(&service.port, -1);

    (void)state;
    connect_to(&service);
    assert_int_equal(w.fd, -1);
    assert_int_equal(w.why, ECONNREFUSED);
    memcpy(service.host, "localhost", sizeof "localhost");
    connect_to(&service); /* all of its addresses */
    assert_int_equal(w.fd, -1);
    assert_int_equal(w.why, ECONNREFUSED);
    memset(service.host, 'x', 70); /* no label may be so long: no name server is asked */
    connect_to(&service);
    assert_int_equal(w.fd, -1);
    assert_int_equal(w.why, EHOSTUNREACH);
    close(holder);
}

/* A full backlog drops SYNs: the one wait that only the limit ends. */
static void test_no_answer(void **state)
{
    struct bk_service service = {.kind = BK_TARGET_TCP, .host = "127.0.0.1"};
    int listener = bound(&service.port, 0);
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons(service.port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fill[4];
    bk_time begun, took;

    (void)state;
    for (size_t i = 0; i < COUNT(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fill[i], (struct sockaddr *)&in, sizeof in);
    }
    begun = bk_now_sample().mono;
    connect_to(&service);
    took = bk_now_sample().mono - begun;
    assert_int_equal(w.fd, -1);
    assert_int_equal(w.why, ETIMEDOUT);
    assert_true(took >= (BK_TARGET_MS - 50) * BK_MS);
    assert_true(took < 2 * BK_TARGET_MS * BK_MS);
    for (size_t i = 0; i < COUNT(fill); i++) {
        close(fill[i]);
    }
    close(listener);
}

static void on_never(void *ctx, int fd, int why)
{
    (void)ctx;
    (void)fd;
    (void)why;
    fail_msg("told after being cancelled");
}

static void test_cancel(void **state)
{
    struct bk_service service = {.kind = BK_TARGET_TCP, .host = "127.0.0.1"};
    struct bk_target *t;
    int listener = bound(&service.port, 4);

    (void)state;
    assert_int_equal(bk_target_connect(w.base, w.resolver, &service, on_never, NULL, &t), BK_OK);
    bk_target_cancel(t); /* still resolving */
    assert_int_equal(bk_target_connect(w.base, w.resolver, &service, on_never, NULL, &t), BK_OK);
    event_base_loop(w.base, EVLOOP_ONCE); /* connecting, or at its first answer */
    bk_target_cancel(NULL);
    memcpy(service.host, "/nowhere", sizeof "/nowhere");
    service.kind = BK_TARGET_UNIX;
    bk_target_cancel(t);
    assert_int_equal(bk_target_connect(w.base, w.resolver, &service, on_never, NULL, &t), BK_OK);
    bk_target_cancel(t); /* failed, not told yet */
    event_base_loop(w.base, EVLOOP_NONBLOCK);
    close(listener);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_tcp),     IN_WORLD(test_name),      IN_WORLD(test_unix),
        IN_WORLD(test_refused), IN_WORLD(test_no_answer), IN_WORLD(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
