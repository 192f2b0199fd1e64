/* Streams of a call joined to services: found or not, answering or not, and a session that ends meanwhile. */
#include "lib/serve_pair.h"

static int setup(void **state)
{
    static const struct bk_service web = {
        .name = "web", .kind = BK_TARGET_TCP, .host = "127.0.0.1"};
    return setup_serve(state, &web);
}

/* A socket on the service's port, listening or not. */
static int bound(int backlog)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    assert_true(backlog < 0 || listen(fd, backlog) == 0);
    config.services[0].port = ntohs(in.sin_port);
    return fd;
}

/* What is connecting to the service. */
static int accepted(int listener)
{
    int fd = -1;

    evutil_make_socket_nonblocking(listener);
    RUN_UNTIL((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    return fd;
}

static int status_of(const char *authority)
{
    struct bk_h2_stream *s;
    unsigned finished = w.c.finished;

    assert_int_equal(bk_h2_open(w.c.h, authority, -1, -1, NULL, &s), BK_OK);
    RUN_UNTIL(w.c.finished == finished + 1);
    return w.c.last.status;
}

static void test_no_such_service(void **state)
{
    static const char *const names[] = {"ssh:1", "web:2",   "web",   "web:11",
                                        ":1",    "web:1:1", "WEB:1", "1"};
    int listener = bound(4);

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(status_of(names[i]), 404);
    }
    close(listener);
}

static int answer_to(const char *authority)
{
    struct bk_h2_stream *s;
    unsigned answers = w.c.answers;

    assert_int_equal(bk_h2_open(w.c.h, authority, -1, -1, NULL, &s), BK_OK);
    RUN_UNTIL(w.c.answers == answers + 1);
    return w.c.last_status;
}

/* Looked at for every stream: what the caller may use, and whether he still may. */
static void test_not_permitted(void **state)
{
    int listener = bound(4);

    (void)state;
    config.services[config.n_services++] = (struct bk_service){
        .name = "ssh", .kind = BK_TARGET_TCP, .host = "127.0.0.1", .port = config.services[0].port};
    assert_int_equal(answer_to("ssh:1"), 404); /* as if there were none */
    serve.access.services = 2;
    assert_int_equal(answer_to("ssh:1"), 200);
    assert_int_equal(answer_to("web:1"), 404);
    serve.access.expires_s = 1800000000;
    now_s = 1800000000 - 1;
    assert_int_equal(answer_to("ssh:1"), 200);
    now_s++;
    assert_int_equal(answer_to("ssh:1"), 404);
    now_s = 0; /* no clock */
    assert_int_equal(answer_to("ssh:1"), 404);
    serve.access = (struct bk_caller){0};
    assert_int_equal(answer_to("ssh:1"), 404);
    close(listener);
}

static void test_no_answer(void **state)
{
    int holder = bound(-1);

    (void)state;
    assert_int_equal(status_of("web:1"), 502);
    assert_null(serve.joining);
    RUN_UNTIL(w.s.finished == 1);
    assert_int_equal(lines, 2); /* why, and the end */
    close(holder);
}

/* However many streams: the first lines of each kind, and at the end how many more there were. */
static void test_lines_are_few(void **state)
{
    int holder = bound(-1);

    (void)state;
    for (int i = 0; i < 30; i++) {
        assert_int_equal(status_of("web:1"), 502);
    }
    RUN_UNTIL(w.s.finished == 30);
    assert_int_equal(lines, 2 * BK_LOG_LIMIT_FIRST);
    serve.access.services = 0;
    assert_int_equal(status_of("web:1"), 404); /* another kind, not drowned by those */
    assert_int_equal(lines, 2 * BK_LOG_LIMIT_FIRST + 1);
    RUN_UNTIL(w.s.finished == 31);
    bk_serve_tell_left_out(&serve);
    assert_int_equal(lines, 2 * BK_LOG_LIMIT_FIRST + 2);
    assert_string_equal(last, "21 lines more about streams of joe were left out");
    bk_serve_tell_left_out(&serve);
    assert_int_equal(lines, 2 * BK_LOG_LIMIT_FIRST + 2);
    close(holder);
}

static void test_joined(void **state)
{
    int listener = bound(4);
    struct end *client = open_end("web:1", NULL), *service;

    (void)state;
    RUN_UNTIL(w.c.answers == 1);
    assert_int_equal(w.c.last_status, 200);
    service = end_new(accept(listener, NULL, NULL));
    service->echo = true;
    service->shut_at_eof = true;
    client->to_send = 100000;
    client->shut_when_sent = true;
    end_fill(client);
    RUN_UNTIL(client->eof);
    assert_int_equal(client->got, 100000);
    assert_same_hash(client, client);
    RUN_UNTIL(w.s.finished == 1 && w.c.finished == 1);
    assert_int_equal(w.s.last.how, BK_H2_CLEAN);
    end_free(client);
    end_free(service);
    close(listener);
}

/* A service that neither takes nor refuses: its backlog is full. */
static int bound_and_full(int fill[4])
{
    int listener = bound(0);
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons(config.services[0].port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};

    for (size_t i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fill[i], (struct sockaddr *)&in, sizeof in);
    }
    return listener;
}

/* Streams that wait for their service when the caller leaves, and when the session is freed. */
static void test_ends_meanwhile(void **state)
{
    struct bk_h2_stream *s[3];
    int fill[4], listener = bound_and_full(fill);

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(bk_h2_open(w.c.h, "web:1", -1, -1, NULL, &s[i]), BK_OK);
    }
    RUN_UNTIL(w.s.requests == 3);
    assert_non_null(serve.joining);
    bk_h2_abort(s[1]);
    RUN_UNTIL(w.s.finished == 1);
    assert_non_null(serve.joining);
    bk_serve_cancel(&serve, &w.s);
    assert_null(serve.joining);
    bk_h2_free(w.s.h);
    w.s.h = NULL;
    RUN_UNTIL(w.c.ended);
    for (size_t i = 0; i < 4; i++) {
        close(fill[i]);
    }
    close(listener);
}

/* The service is connected to before anybody asks, and its first words are there when somebody does. */
static void test_prepared(void **state)
{
    int listener = bound(4), service;
    char hello[8] = {0};
    struct end *client;

    (void)state;
    bk_serve_prepare(&serve, "web");
    bk_serve_prepare(&serve, "web"); /* once for a call */
    service = accepted(listener);
    assert_int_equal(send(service, "hello", 5, 0), 5);
    for (int i = 0; i < 3; i++) { /* it learns that it is connected */
        event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    client = open_end("web:1", NULL);
    RUN_UNTIL(w.c.answers == 1);
    assert_int_equal(w.c.last_status, 200);
    assert_null(serve.prepared);
    RUN_UNTIL(client->got == 5);
    client->to_send = 5;
    end_fill(client);
    RUN_UNTIL(recv(service, hello, sizeof hello, MSG_DONTWAIT | MSG_PEEK) == 5);
    assert_int_equal(accept(listener, NULL, NULL), -1); /* there was no other connection */
    bk_serve_prepare(&serve, "web");
    assert_null(serve.prepared);
    end_free(client);
    close(service);
    close(listener);
}

/* The stream is there before the service has answered; the first is broken off, the next gets what was begun. */
static void test_prepared_in_time(void **state)
{
    struct bk_h2_stream *s;
    int fill[4], listener = bound_and_full(fill);

    (void)state;
    bk_serve_prepare(&serve, "web");
    assert_non_null(serve.prepared);
    assert_int_equal(bk_h2_open(w.c.h, "web:1", -1, -1, NULL, &s), BK_OK);
    RUN_UNTIL(w.s.requests == 1);
    bk_h2_abort(s);
    RUN_UNTIL(w.s.finished == 1);
    assert_non_null(serve.prepared);
    assert_null(serve.joining);
    assert_int_equal(bk_h2_open(w.c.h, "web:1", -1, -1, NULL, &s), BK_OK);
    RUN_UNTIL(w.s.requests == 2);
    for (size_t i = 0; i < 4; i++) { /* now it does */
        close(fill[i]);
        close(accept4(listener, NULL, NULL, SOCK_NONBLOCK));
    }
    RUN_UNTIL(w.c.answers == 1);
    assert_int_equal(w.c.last_status, 200);
    assert_null(serve.prepared);
    close(listener);
}

/* The service is down while TLS is under way, and up when the stream comes; or hangs up without a word. */
static void test_prepared_in_vain(void **state)
{
    int listener = bound(-1), service;

    (void)state;
    bk_serve_prepare(&serve, "web");
    RUN_UNTIL(serve.prepared == NULL);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(answer_to("web:1"), 200);
    close(accepted(listener));

    serve.prepared_once = false;
    bk_serve_prepare(&serve, "web");
    service = accepted(listener);
    for (int i = 0; i < 3; i++) {
        event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    close(service);
    assert_int_equal(answer_to("web:1"), 200);
    service = accepted(listener);
    assert_true(service >= 0);
    close(service);
    close(listener);
}

/* What is not open to the caller is not connected to; what he does not take is ended with the call. */
static void test_prepared_for_nobody(void **state)
{
    int listener = bound(4), service;
    char byte;

    (void)state;
    bk_serve_prepare(&serve, "");
    bk_serve_prepare(&serve, "ssh");
    serve.access.services = 0;
    bk_serve_prepare(&serve, "web");
    assert_null(serve.prepared);
    serve.access.services = 1;
    config.services[0].kind = BK_TARGET_UDP;
    bk_serve_prepare(&serve, "web");
    assert_null(serve.prepared);
    config.services[0].kind = BK_TARGET_TCP;
    bk_serve_prepare(&serve, "web");
    assert_non_null(serve.prepared);
    service = accepted(listener);
    bk_serve_drop_prepared(&serve);
    assert_null(serve.prepared);
    assert_int_equal(recv(service, &byte, 1, 0), 0);
    bk_serve_drop_prepared(&serve);
    close(service);
    close(listener);
}

/* Closed while it connects, by session and by call. */
static void test_prepared_cancelled(void **state)
{
    struct bk_h2_stream *s;
    int fill[4], listener = bound_and_full(fill);

    (void)state;
    bk_serve_prepare(&serve, "web");
    assert_int_equal(bk_h2_open(w.c.h, "web:1", -1, -1, NULL, &s), BK_OK);
    RUN_UNTIL(w.s.requests == 1);
    bk_serve_cancel(&serve, &w.s);
    assert_null(serve.joining);
    bk_h2_free(w.s.h);
    w.s.h = NULL;
    bk_serve_drop_prepared(&serve);
    RUN_UNTIL(w.c.ended);
    for (size_t i = 0; i < 4; i++) {
        close(fill[i]);
    }
    close(listener);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown_serve)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_no_such_service),
        IN_WORLD(test_not_permitted),
        IN_WORLD(test_no_answer),
        IN_WORLD(test_lines_are_few),
        IN_WORLD(test_joined),
        IN_WORLD(test_ends_meanwhile),
        IN_WORLD(test_prepared),
        IN_WORLD(test_prepared_in_time),
        IN_WORLD(test_prepared_in_vain),
        IN_WORLD(test_prepared_for_nobody),
        IN_WORLD(test_prepared_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
