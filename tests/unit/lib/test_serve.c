/* Streams of a call joined to services: found or not, answering or not, and a session that ends meanwhile. */
#include "net/h2_pair.h"

#include "lib/serve.h"

static struct bk_agent_config config;
static struct bk_serve serve;
static unsigned lines;
static char last[256]; /* line of the log */
static uint64_t now_s;

static uint64_t the_time(void *ctx)
{
    assert_ptr_equal(ctx, &now_s);
    return now_s;
}

static void on_line(void *ctx, int level, const char *line)
{
    (void)ctx;
    (void)level;
    assert_null(strchr(line, '\n'));
    lines++;
    (void)snprintf(last, sizeof last, "%s", line);
}

static void on_asked(void *ctx, struct bk_h2_stream *s, const char *authority)
{
    on_request(ctx, s, authority);
    bk_serve_request(&serve, &w.s, s, authority);
}

static void on_served(void *ctx, struct bk_h2_stream *s, const struct bk_h2_outcome *outcome)
{
    bk_serve_finished(&serve, s, outcome);
    on_finished(ctx, s, outcome);
}

static int setup(void **state)
{
    int fd[2];
    SSL *ssl[2];
    struct bk_h2_config side;

    setup_tls(state);
    tcp_pair(fd);
    tls_pair(ssl, fd);
    side = side_config(&w.s, true);
    side.on.request = on_asked;
    side.on.finished = on_served;
    assert_int_equal(bk_h2_new(w.base, ssl[0], &side, &w.s.h), BK_OK);
    side = side_config(&w.c, false);
    assert_int_equal(bk_h2_new(w.base, ssl[1], &side, &w.c.h), BK_OK);
    memset(&config, 0, sizeof config);
    config.n_services = 1;
    config.services[0] =
        (struct bk_service){.name = "web", .kind = BK_TARGET_TCP, .host = "127.0.0.1"};
    lines = 0;
    serve = (struct bk_serve){.base = w.base, .config = &config, .log = on_line, .caller = "joe"};
    serve.access = (struct bk_caller){.label = "key:joe", .services = 1};
    serve.unix_s = the_time;
    serve.time_ctx = &now_s;
    return bk_resolver_new(w.base, &serve.resolver) == BK_OK ? 0 : -1;
}

static int teardown_serve(void **state)
{
    bk_serve_cancel(&serve, &w.s);
    bk_resolver_free(serve.resolver);
    return teardown(state);
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

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown_serve)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_no_such_service), IN_WORLD(test_not_permitted), IN_WORLD(test_no_answer),
        IN_WORLD(test_lines_are_few),   IN_WORLD(test_joined),        IN_WORLD(test_ends_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
