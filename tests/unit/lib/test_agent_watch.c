/* WATCH, kept up while a call is: granted, asked again after the server closes, given up only at the server's word. */
#include "lib/one_server.h"

#include <stdio.h>
#include <sys/mman.h>

#include "lib/agent_watch.h"
#include "net/own_network.h"
#include "seal/seal.h"
#include "wire/alpn.h"
#include "wire/watch.h"

enum {
    COARSE_MS = 50, /* the loop's clock is coarse */
};

/* What the server does, question by question; it goes on where the one before stopped. */
enum step {
    GRANT,           /* and stay */
    GRANT_AND_CLOSE, /* grants have changed */
    CLOSE,
    SAY_403,
    SAY_404,
    SAY_410,
    SAY_503,
};

static struct one_server s;
static struct holder own;
static struct bk_credentials credentials;
static struct event_base *base;
static struct bk_resolver *resolver;
static const enum step *steps; /* shared: the server counts in `asked` */
static unsigned *asked;
static unsigned revoked;

static void on_message(struct bk_conn *conn, const struct bk_stun *m)
{
    static const uint16_t codes[] = {403, 404, 410, 503};
    enum step step = steps[(*asked)++];
    struct bk_watch ask;
    struct bk_slice out;
    uint8_t buf[512];

    assert_int_equal(bk_watch_read(m, &ask), BK_OK);
    assert_true(bk_slice_equal(ask.user, bk_slice_text("alice")));
    if (step == GRANT || step == GRANT_AND_CLOSE) {
        assert_int_equal(bk_success_write(buf, sizeof buf, BK_METHOD_WATCH, m->txid, &out), BK_OK);
    } else if (step != CLOSE) {
        assert_int_equal(bk_error_write(buf, sizeof buf, BK_METHOD_WATCH, m->txid,
                                        codes[step - SAY_403], "no", &out),
                         BK_OK);
    }
    if (step != CLOSE) {
        assert_int_equal(bk_conn_send(conn, out), BK_OK);
    }
    if (step == GRANT_AND_CLOSE || step == CLOSE) {
        bk_conn_close(conn);
    }
}

static void on_revoked(void *ctx)
{
    bk_agent_watch_free(*(struct bk_agent_watch **)ctx); /* as a call that ends does */
    *(struct bk_agent_watch **)ctx = NULL;
    revoked++;
    event_base_loopbreak(base);
}

static uint64_t no_time(void *ctx)
{
    (void)ctx;
    return 0;
}

static void watch_after(struct bk_agent_watch **w, uint32_t ms)
{
    struct bk_agent_watch_config config = {.base = base,
                                           .resolver = resolver,
                                           .own = &credentials,
                                           .server = "127.0.0.1",
                                           .at = bk_addr_v4(127, 0, 0, 1, s.port),
                                           .after_ms = ms,
                                           .user = "alice",
                                           .unix_s = no_time,
                                           .revoked = on_revoked,
                                           .revoked_ctx = w};

    revoked = 0;
    assert_int_equal(bk_agent_watch_new(&config, w), BK_OK);
}

static void watch(struct bk_agent_watch **w)
{
    watch_after(w, 0);
}

static void on_time(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    (void)ctx;
    event_base_loopbreak(base);
}

/* Runs the loop for so long, or until the server has said no. */
static void run(unsigned ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    struct event *timer = evtimer_new(base, on_time, NULL);

    assert_non_null(timer);
    assert_int_equal(evtimer_add(timer, &tv), 0);
    event_base_dispatch(base);
    event_free(timer);
}

static void start(const enum step *what)
{
    steps = what;
    *asked = 0;
    s.port = 0;
    one_server_start(&s);
}

/* Each of the three answers ends the call, at once or after a change of grants. */
static void test_revoked(void **state)
{
    static const enum step cases[][3] = {
        {SAY_403}, {SAY_404}, {SAY_410}, {GRANT_AND_CLOSE, GRANT_AND_CLOSE, SAY_404}};
    static const unsigned questions[] = {1, 1, 1, 3};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct bk_agent_watch *w;

        start(cases[i]);
        watch(&w);
        run(8000);
        assert_int_equal(revoked, 1);
        assert_null(w);
        assert_int_equal(*asked, questions[i]);
        one_server_stop(&s);
    }
}

/* A server that has too much to do, breaks off, is away or is another one: the call lives on. */
static void test_unreachable(void **state)
{
    static const enum step what[] = {SAY_503, CLOSE, GRANT, GRANT};
    struct bk_agent_watch *w;
    struct pki other = pki_new();

    (void)state;
    start(what);
    credentials.ca = other.ca;
    watch(&w);
    run(300);
    assert_int_equal(*asked, 0);
    credentials.ca = s.pki.ca;
    while (*asked < 3) { /* refused once, closed once, granted */
        run(200);
    }
    run(300);
    assert_int_equal(*asked, 3); /* and left in peace from then on */
    one_server_stop(&s);
    run(1500);
    assert_int_equal(revoked, 0);
    one_server_start(&s); /* where it was */
    while (*asked < 4) {
        run(200);
    }
    bk_agent_watch_free(w);
    one_server_stop(&s);
    assert_int_equal(revoked, 0);
    pki_free(&other);
}

/* A server that grants and closes, over and over, is not asked as fast as it closes. */
static void test_no_storm(void **state)
{
    static const enum step what[32] = {
        GRANT_AND_CLOSE, GRANT_AND_CLOSE, GRANT_AND_CLOSE, GRANT_AND_CLOSE, GRANT_AND_CLOSE,
        GRANT_AND_CLOSE, GRANT_AND_CLOSE, GRANT_AND_CLOSE, GRANT_AND_CLOSE, GRANT_AND_CLOSE,
        GRANT_AND_CLOSE, GRANT_AND_CLOSE, GRANT_AND_CLOSE, GRANT_AND_CLOSE, GRANT_AND_CLOSE,
    };
    struct bk_agent_watch *w;
    bk_time began = bk_clock_mono();

    (void)state;
    start(what);
    watch(&w);
    while (*asked < 4) { /* 0 to 1, 1 to 2, and 2 to 4 s lie between them */
        run(20);
    }
    assert_true(bk_clock_mono() - began >= (3000 - COARSE_MS) * BK_MS);
    bk_agent_watch_free(w);
    one_server_stop(&s);
    assert_int_equal(revoked, 0);
}

/* A short call costs the server nothing. */
static void test_later(void **state)
{
    static const enum step what[] = {SAY_403};
    struct bk_agent_watch *w;

    (void)state;
    start(what);
    watch_after(&w, 400);
    run(200);
    assert_int_equal(*asked, 0);
    bk_agent_watch_free(w);
    run(400);
    assert_int_equal(*asked, 0);
    watch_after(&w, 400);
    run(4000);
    assert_int_equal(*asked, 1);
    assert_int_equal(revoked, 1);
    one_server_stop(&s);
}

static int group(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    if (bk_seal_init() != BK_OK) {
        return -1;
    }
    asked = mmap(NULL, sizeof *asked, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    base = event_base_new();
    s.pki = pki_new();
    s.own = holder_new(&s.pki, "beckon:server", true, -60, 3600);
    s.alpn = BK_ALPN_WATCH;
    s.message = on_message;
    own = holder_new(&s.pki, "beckon:device:2133", false, -60, 3600);
    credentials = (struct bk_credentials){.key = own.key, .cert = own.cert, .ca = s.pki.ca};
    return asked != MAP_FAILED && bk_resolver_new(base, &resolver) == BK_OK ? 0 : -1;
}

static int group_end(void **state)
{
    (void)state;
    bk_resolver_free(resolver);
    event_base_free(base);
    holder_free(&own);
    holder_free(&s.own);
    pki_free(&s.pki);
    return munmap(asked, sizeof *asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_no_storm),
        cmocka_unit_test(test_later),
    };

    (void)own_network_enter(); /* nobody takes the server's port while it is away */
    return cmocka_run_group_tests(tests, group, group_end);
}
