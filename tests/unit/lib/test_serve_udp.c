/* CONNECT-UDP streams of sessions that come and go, as a caller may have them. */
#include "lib/serve_pair.h"

static int setup(void **state)
{
    static const struct bk_service dns = {
        .name = "dns", .kind = BK_TARGET_UDP, .host = "127.0.0.1", .port = 9};
    return setup_serve(state, &dns);
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
