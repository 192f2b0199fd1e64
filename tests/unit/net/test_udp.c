/* UDP over loopback: both families, batches, what does not fit, and freeing from within. */
#include "net/loop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sockaddr.h"
#include "net/udp.h"

struct side {
    struct bk_udp *udp;
    struct bk_addr addr, from;
    unsigned n, batches;
    size_t last_n;
    uint8_t last[BK_UDP_MAX_BYTES];
    bool echo, free_at_once;
    unsigned way;
};

struct world {
    struct event_base *base;
    struct patience patience;
    struct side a, b;
};

static void on_received(void *ctx, const struct bk_addr *from, struct bk_slice bytes)
{
    struct side *s = ctx;
    s->n++;
    s->from = *from;
    s->last_n = bytes.n;
    memcpy(s->last, bytes.p, bytes.n);
    s->way = bk_udp_way(s->udp);
    if (s->echo) {
        assert_true(bk_udp_send_by(s->udp, s->way, from, bytes));
    }
    if (s->free_at_once) {
        bk_udp_free(s->udp);
        s->udp = NULL;
    }
}

static void on_batch_end(void *ctx)
{
    ((struct side *)ctx)->batches++;
}

static void open_side(struct world *w, struct side *s, const struct bk_addr *bind_to, bool small)
{
    struct bk_udp_callbacks on = {.ctx = s, .received = on_received, .batch_end = on_batch_end};
    assert_int_equal(bk_udp_new(w->base, bind_to, false, small, &on, &s->udp), BK_OK);
    s->addr = bk_udp_local(s->udp);
    assert_int_not_equal(s->addr.port, 0);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    w->base = loop_new(&w->patience);
    open_side(w, &w->a, &any, false);
    open_side(w, &w->b, &any, true);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    bk_udp_free(w->a.udp);
    bk_udp_free(w->b.udp);
    loop_free(w->base, &w->patience);
    free(w);
    return 0;
}

static void test_there_and_back(void **state)
{
    struct world *w = *state;
    w->a.echo = true;
    assert_true(bk_udp_send(w->b.udp, &w->a.addr, bk_slice("hello", 5)));
    WAIT_FOR(w, w->b.n == 1);
    assert_int_equal(w->b.last_n, 5);
    assert_memory_equal(w->b.last, "hello", 5);
    assert_true(bk_addr_equal(&w->b.from, &w->a.addr));
    assert_true(bk_addr_equal(&w->a.from, &w->b.addr));
    /* Nothing at all is a datagram too. */
    assert_true(bk_udp_send(w->b.udp, &w->a.addr, BK_SLICE_EMPTY));
    WAIT_FOR(w, w->b.n == 2);
    assert_int_equal(w->b.last_n, 0);
}

static void test_batches(void **state)
{
    struct world *w = *state;
    w->a.echo = true;
    for (unsigned i = 0; i < 100; i++) {
        assert_true(bk_udp_send(w->b.udp, &w->a.addr, bk_slice(&i, sizeof i)));
    }
    WAIT_FOR(w, w->b.n == 100);
    unsigned last = 0;
    memcpy(&last, w->b.last, sizeof last);
    assert_int_equal(last, 99); /* in order, as they were sent */
    assert_in_range(w->a.batches, 4, 100);
}

static void test_sizes(void **state)
{
    struct world *w = *state;
    uint8_t big[BK_UDP_MAX_BYTES + 1];
    struct sockaddr_storage ss;
    socklen_t len = 0;
    memset(big, 7, sizeof big);
    assert_false(bk_udp_send(w->b.udp, &w->a.addr, bk_slice(big, sizeof big)));
    /* From somebody who does send it: dropped whole, not cut. */
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bk_sockaddr_write(&w->a.addr, AF_INET, &ss, &len), BK_OK);
    assert_int_equal(sendto(fd, big, sizeof big, 0, (struct sockaddr *)&ss, len), sizeof big);
    assert_int_equal(sendto(fd, big, BK_UDP_MAX_BYTES, 0, (struct sockaddr *)&ss, len),
                     BK_UDP_MAX_BYTES);
    WAIT_FOR(w, w->a.n == 1);
    assert_int_equal(w->a.last_n, BK_UDP_MAX_BYTES);
    close(fd);
}

static void test_nobody_there(void **state)
{
    struct world *w = *state;
    struct bk_addr gone = w->a.addr;
    bk_udp_free(w->a.udp);
    for (int i = 0; i < 3; i++) {
        assert_true(bk_udp_send(w->b.udp, &gone, bk_slice("x", 1)));
        assert_int_equal(event_base_loop(w->base, EVLOOP_NONBLOCK), 0);
    }
    /* The port is taken anew: the socket still works. */
    open_side(w, &w->a, &gone, false);
    assert_true(bk_udp_send(w->b.udp, &gone, bk_slice("y", 1)));
    WAIT_FOR(w, w->a.n == 1);
    assert_int_equal(w->a.last[0], 'y');
}

static void test_free_within(void **state)
{
    struct world *w = *state;
    w->a.free_at_once = true;
    for (int i = 0; i < 5; i++) {
        assert_true(bk_udp_send(w->b.udp, &w->a.addr, bk_slice("x", 1)));
    }
    WAIT_FOR(w, w->a.udp == NULL);
    assert_int_equal(w->a.n, 1);
    assert_int_equal(w->a.batches, 0);
}

static void test_both_families(void **state)
{
    struct world *w = *state;
    struct bk_addr any, v6;
    memset(&any, 0, sizeof any);
    bk_udp_free(w->a.udp);
    open_side(w, &w->a, &any, false);
    w->a.echo = true;
    struct bk_addr to = bk_addr_v4(127, 0, 0, 1, w->a.addr.port);
    assert_true(bk_udp_send(w->b.udp, &to, bk_slice("4", 1)));
    WAIT_FOR(w, w->b.n == 1);
    assert_true(bk_addr_equal(&w->a.from, &w->b.addr)); /* IPv4, seen as such */
    assert_true(bk_addr_is_v4(&w->b.from));
    /* An IPv4 socket cannot reach IPv6, and says so. */
    assert_int_equal(bk_addr_parse(bk_slice_text("[::1]:9"), 0, &v6), BK_OK);
    assert_false(bk_udp_send(w->b.udp, &v6, bk_slice("6", 1)));
}

static void test_taken_port(void **state)
{
    struct world *w = *state;
    struct bk_udp_callbacks on = {.ctx = &w->b, .received = on_received};
    struct bk_udp *udp = NULL;
    assert_int_equal(bk_udp_new(w->base, &w->a.addr, false, true, &on, &udp), BK_E_IO);
    assert_null(udp);
}

/* A host with several addresses answers from the one that was asked, now and later. */
static void test_leaves_from_where_it_came_to(void **state)
{
    struct world *w = *state;
    static const uint8_t zeros[16];
    for (int only4 = 0; only4 < 2; only4++) {
        struct side s = {.echo = true};
        struct bk_addr any = bk_addr_v4(0, 0, 0, 0, 0);
        unsigned ways[3];
        if (!only4) {
            memcpy(any.ip, zeros, sizeof zeros);
        }
        open_side(w, &s, &any, false);
        for (uint8_t i = 0; i < 3; i++) {
            struct bk_addr to = bk_addr_v4(127, 0, 1, (uint8_t)(1 + i % 2), s.addr.port);
            unsigned n = w->b.n;
            assert_true(bk_udp_send(w->b.udp, &to, bk_slice("x", 1)));
            WAIT_FOR(w, w->b.n == n + 1);
            assert_true(bk_addr_equal(&w->b.from, &to));
            ways[i] = s.way;
            assert_true(bk_udp_send_by(s.udp, s.way, &w->b.addr, bk_slice("later", 5)));
            WAIT_FOR(w, w->b.n == n + 2);
            assert_true(bk_addr_equal(&w->b.from, &to));
        }
        assert_true(ways[0] > 0 && ways[0] < BK_UDP_WAYS);
        assert_int_not_equal(ways[0], ways[1]);
        assert_int_equal(ways[0], ways[2]);
        bk_udp_free(s.udp);
    }
}

static void test_sockaddr(void **state)
{
    (void)state;
    static const char *const texts[] = {"1.2.3.4:5", "[2001:db8::1]:65535", "[::]:1", "0.0.0.0:0"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct bk_addr a, b;
        struct sockaddr_storage ss;
        socklen_t len = 0;
        assert_int_equal(bk_addr_parse(bk_slice_text(texts[i]), 0, &a), BK_OK);
        assert_int_equal(bk_sockaddr_write(&a, bk_sockaddr_family(&a), &ss, &len), BK_OK);
        assert_int_equal(bk_sockaddr_read((struct sockaddr *)&ss, &b), BK_OK);
        assert_true(bk_addr_equal(&a, &b));
        assert_int_equal(bk_sockaddr_write(&a, AF_INET6, &ss, &len), BK_OK);
        assert_int_equal(bk_sockaddr_read((struct sockaddr *)&ss, &b), BK_OK);
        assert_true(bk_addr_equal(&a, &b));
        if (!bk_addr_is_v4(&a)) {
            assert_int_equal(bk_sockaddr_write(&a, AF_INET, &ss, &len), BK_E_RANGE);
        }
        ss.ss_family = AF_UNIX;
        assert_int_equal(bk_sockaddr_read((struct sockaddr *)&ss, &b), BK_E_RANGE);
    }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_there_and_back),
        CASE(test_batches),
        CASE(test_sizes),
        CASE(test_nobody_there),
        CASE(test_free_within),
        CASE(test_both_families),
        CASE(test_taken_port),
        CASE(test_leaves_from_where_it_came_to),
        cmocka_unit_test(test_sockaddr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
