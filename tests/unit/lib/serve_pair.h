/* What the tests of a call's services share: a session by HTTP/2, one service, and the lines of the log. */
#ifndef BK_TEST_LIB_SERVE_PAIR_H
#define BK_TEST_LIB_SERVE_PAIR_H

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

/* A session whose agent offers that service to joe. */
static int setup_serve(void **state, const struct bk_service *service)
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
    config.services[0] = *service;
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
    bk_serve_drop_prepared(&serve);
    bk_resolver_free(serve.resolver);
    return teardown(state);
}

#endif
