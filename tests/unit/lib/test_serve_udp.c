/* CONNECT-UDP streams of sessions that come and go, as a caller may have them. */
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
        (struct bk_service){.name = "dns", .kind = BK_TARGET_UDP, .host = "127.0.0.1", .port = 9};
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

/* The session is freed with its streams on it. */
static void cut(void)
{
    bk_serve_cancel(&serve, &w.s);
    bk_h2_free(w.s.h);
    w.s.h = NULL;
    RUN_UNTIL(w.c.ended && serve.udp_streams == 0);
}

/* Attack: a caller opens as many UDP streams as a call may have, cuts the session, and begins anew, for ever. Expected: what
 * was cut is let go, and counts no more: later streams of the call are served. */
static void test_udp_streams_of_a_session_that_was_cut_count_no_more(void **state)
{
    struct bk_h2_stream *s;

    (void)state;
    RUN_UNTIL(bk_h2_extended(w.c.h));
    for (int i = 0; i < 10; i++) {
        assert_int_equal(bk_h2_open_extended(w.c.h, BK_UDP_PROTOCOL, "dns",
                                             "/.well-known/masque/udp/dns/1/", true, -1, -1, NULL,
                                             &s),
                         BK_OK);
    }
    RUN_UNTIL(w.c.answers == 10);
    assert_int_equal(w.c.last_status, 200);
    assert_int_equal(serve.udp_streams, 10);
    cut();
}

/* Attack: more UDP streams than a call may have. Expected: 503, until one of them has ended. */
static void test_udp_streams_are_limited(void **state)
{
    struct bk_h2_stream *s = NULL, *first = NULL;

    (void)state;
    RUN_UNTIL(bk_h2_extended(w.c.h));
    for (unsigned i = 0; i <= BK_SERVE_UDP_MAX; i++) {
        assert_int_equal(bk_h2_open_extended(w.c.h, BK_UDP_PROTOCOL, "dns",
                                             "/.well-known/masque/udp/dns/1/", true, -1, -1, NULL,
                                             &s),
                         BK_OK);
        first = first == NULL ? s : first;
        RUN_UNTIL(w.c.answers == i + 1);
        assert_int_equal(w.c.last_status, i < BK_SERVE_UDP_MAX ? 200 : 503);
    }
    bk_h2_abort(first);
    RUN_UNTIL(serve.udp_streams < BK_SERVE_UDP_MAX);
    assert_int_equal(bk_h2_open_extended(w.c.h, BK_UDP_PROTOCOL, "dns",
                                         "/.well-known/masque/udp/dns/1/", true, -1, -1, NULL, &s),
                     BK_OK);
    RUN_UNTIL(w.c.answers == BK_SERVE_UDP_MAX + 2);
    assert_int_equal(w.c.last_status, 200);
    cut();
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown_serve)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_udp_streams_of_a_session_that_was_cut_count_no_more),
        IN_WORLD(test_udp_streams_are_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
