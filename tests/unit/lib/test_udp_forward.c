/* UDP through a session: local senders on one side, a service on the other, CONNECT-UDP between. */
#include "net/h2_pair.h"

#include "lib/udp_forward.h"
#include "lib/udp_serve.h"
#include "net/sockaddr.h"

enum { PAYLOAD_MAX = 65507 };

static struct bk_resolver *resolver;
static struct bk_udp_forward *forward;
static struct bk_service service;
static unsigned joined_streams;
static struct bk_udp_serve *joining;
static struct bk_h2_stream *joining_stream;
static bool session_hidden, session_gone;
static int echo_fd, local_fd;
static struct event *echo_event;
static uint8_t buf[65536];

/* ---- the device's side ---- */

static void on_echo(evutil_socket_t fd, short what, void *ctx)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    ssize_t n = recvfrom((int)fd, buf, sizeof buf, 0, (struct sockaddr *)&sa, &len);

    (void)what, (void)ctx;
    if (n >= 0) {
        (void)!sendto((int)fd, buf, (size_t)n, 0, (struct sockaddr *)&sa, len);
    }
}

static void on_joined(void *ctx, int fd, int why)
{
    joining = NULL;
    assert_ptr_equal(ctx, &service);
    if (fd < 0) {
        assert_int_not_equal(why, 0);
        bk_h2_refuse(joining_stream, 502);
    } else {
        assert_int_equal(bk_h2_accept(joining_stream, fd, fd), BK_OK);
    }
}

static void serve(struct bk_h2_stream *s, const char *authority)
{
    assert_string_equal(authority, "dns");
    assert_string_equal(bk_h2_stream_protocol(s), BK_UDP_PROTOCOL);
    assert_string_equal(bk_h2_stream_path(s), "/.well-known/masque/udp/dns/1/");
    assert_true(bk_slice_equal(bk_udp_path_name(bk_h2_stream_path(s)), bk_slice_text("dns")));
    joining_stream = s;
    assert_int_equal(bk_udp_serve_new(w.base, resolver, &service, on_joined, &service,
                                      &joined_streams, &joining),
                     BK_OK);
}

/* ---- the caller's side ---- */

static struct bk_h2 *the_session(void *ctx, bool *coming)
{
    assert_ptr_equal(ctx, &w);
    *coming = !session_gone;
    return session_hidden ? NULL : w.c.h;
}

static int udp_socket(bool nonblocking)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

static int set_up(void **state)
{
    struct bk_udp_forward_config config = {
        .addr = bk_addr_v4(127, 0, 0, 1, 0), .service = "dns", .session = the_session, .ctx = &w};
    int probe;

    setup_pair(state);
    w.serve = serve;
    session_hidden = session_gone = false;
    assert_int_equal(bk_resolver_new(w.base, &resolver), BK_OK);
    echo_fd = udp_socket(true);
    echo_event = event_new(w.base, echo_fd, EV_READ | EV_PERSIST, on_echo, NULL);
    event_add(echo_event, NULL);
    service = (struct bk_service){.name = "dns", .host = "127.0.0.1"};
    service.port = bk_sockaddr_local(echo_fd).port;
    probe = udp_socket(true);
    config.addr.port = bk_sockaddr_local(probe).port;
    close(probe);
    assert_int_equal(bk_udp_forward_new(w.base, &config, &forward), BK_OK);
    local_fd = udp_socket(true);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    to.sin_port = htons(config.addr.port);
    assert_int_equal(connect(local_fd, (struct sockaddr *)&to, sizeof to), 0);
    return 0;
}

static int tear_down(void **state)
{
    bk_udp_forward_free(forward);
    bk_udp_serve_cancel(joining);
    joining = NULL;
    bk_h2_free(w.c.h);
    bk_h2_free(w.s.h);
    w.c.h = w.s.h = NULL;
    event_base_loop(w.base, EVLOOP_NONBLOCK); /* what serves ends with its stream */
    bk_resolver_free(resolver);
    event_free(echo_event);
    close(echo_fd);
    close(local_fd);
    return teardown(state);
}

/* Sends n bytes and waits until as many have come back, unchanged. */
static void round_trip(int fd, size_t n, uint8_t seed)
{
    static uint8_t out[PAYLOAD_MAX], in[PAYLOAD_MAX + 1];
    ssize_t got = -1;

    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(i * 31 + seed);
    }
    assert_int_equal(send(fd, out, n, 0), n);
    RUN_UNTIL((got = recv(fd, in, sizeof in, 0)) >= 0);
    assert_int_equal(got, n);
    assert_memory_equal(in, out, n);
}

static void datagrams_of_every_size(void **state)
{
    static const size_t sizes[] = {1, 0, 63, 64, 1200, 9000, PAYLOAD_MAX, 2};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        round_trip(local_fd, sizes[i], (uint8_t)i);
    }
    assert_int_equal(w.s.requests, 1); /* one sender, one stream */
}

static void each_sender_has_a_stream(void **state)
{
    int other = udp_socket(true);
    struct sockaddr_storage to;
    socklen_t len = sizeof to;

    (void)state;
    assert_int_equal(getpeername(local_fd, (struct sockaddr *)&to, &len), 0);
    assert_int_equal(connect(other, (struct sockaddr *)&to, len), 0);
    round_trip(local_fd, 10, 1);
    round_trip(other, 20, 2);
    round_trip(local_fd, 30, 3);
    assert_int_equal(w.s.requests, 2);
    close(other);
}

/* What is sent before there is a session waits for it. */
static void datagrams_wait_for_the_call(void **state)
{
    uint8_t in[16];

    (void)state;
    session_hidden = true;
    assert_int_equal(send(local_fd, "one", 3, 0), 3);
    for (int i = 0; i < 5; i++) {
        event_base_loop(w.base, EVLOOP_ONCE);
    }
    assert_int_equal(w.s.requests, 0);
    session_hidden = false;
    RUN_UNTIL(recv(local_fd, in, sizeof in, 0) == 3);
    assert_memory_equal(in, "one", 3);
}

/* Where no call comes about, what was sent is lost: it must not come out minutes later. */
static void datagrams_do_not_wait_for_ever(void **state)
{
    (void)state;
    session_hidden = session_gone = true;
    assert_int_equal(send(local_fd, "one", 3, 0), 3);
    for (int i = 0; i < 5; i++) {
        event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    session_gone = false;
    assert_int_equal(send(local_fd, "two", 3, 0), 3);
    for (int i = 0; i < 5; i++) {
        event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    bk_udp_forward_drop_waiting(forward);
    session_hidden = false;
    round_trip(local_fd, 5, 3); /* and nothing before it */
    assert_int_equal(w.s.requests, 1);
}

/* A refused stream ends its flow; the next datagram tries anew. */
static void a_service_that_cannot_be_found(void **state)
{
    (void)state;
    strcpy(service.host, "no-such-host.invalid");
    assert_int_equal(send(local_fd, "one", 3, 0), 3);
    RUN_UNTIL(w.c.finished == 1);
    assert_int_equal(w.c.last.status, 502);
    strcpy(service.host, "127.0.0.1");
    RUN_UNTIL(w.s.finished == 1);
    round_trip(local_fd, 4, 9);
}

/* Nobody listens there: datagrams get lost, nothing breaks. */
static void a_service_that_is_not_there(void **state)
{
    uint16_t right = service.port;
    int gone = udp_socket(true);

    (void)state;
    service.port = bk_sockaddr_local(gone).port;
    close(gone);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send(local_fd, "one", 3, 0), 3);
        RUN_UNTIL(w.c.answers == 1);
    }
    assert_int_equal(w.c.finished, 0);
    service.port = right;
}

static void the_session_ends(void **state)
{
    (void)state;
    round_trip(local_fd, 4, 9);
    bk_h2_free(w.s.h);
    w.s.h = NULL;
    RUN_UNTIL(w.c.ended);
    session_hidden = true;
    assert_int_equal(send(local_fd, "one", 3, 0), 3); /* waits for another call */
    for (int i = 0; i < 3; i++) {
        event_base_loop(w.base, EVLOOP_ONCE);
    }
}

/* Before the peer has said so, extended CONNECT is not for it (RFC 8441, section 3). */
static void not_before_settings(void **state)
{
    struct bk_h2_stream *s;

    (void)state;
    assert_false(bk_h2_extended(w.c.h));
    assert_int_equal(
        bk_h2_open_extended(w.c.h, BK_UDP_PROTOCOL, "dns", "/", true, -1, -1, NULL, &s),
        BK_E_STATE);
    RUN_UNTIL(w.c.started == 1);
    assert_true(bk_h2_extended(w.c.h));
    assert_false(bk_h2_extended(w.s.h));
    assert_int_equal(bk_h2_open_extended(w.c.h, BK_UDP_PROTOCOL, "dns", "", true, -1, -1, NULL, &s),
                     BK_E_RANGE);
    assert_int_equal(bk_h2_open_extended(w.c.h, "", "dns", "/", true, -1, -1, NULL, &s),
                     BK_E_RANGE);
    static char path[BK_H2_PATH_MAX_BYTES + 1];
    memset(path, '/', sizeof path - 1);
    assert_int_equal(
        bk_h2_open_extended(w.c.h, BK_UDP_PROTOCOL, "dns", path, true, -1, -1, NULL, &s),
        BK_E_RANGE);
}

static void paths(void **state)
{
    static const char *const none[] = {"",
                                       "/",
                                       "/.well-known/masque/udp//1/",
                                       "/.well-known/masque/udp/dns/1",
                                       "/.well-known/masque/udp/dns/53/",
                                       "/.well-known/masque/tcp/dns/1/"};

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_int_equal(bk_udp_path_name(none[i]).n, 0);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(datagrams_of_every_size),
        TEST(each_sender_has_a_stream),
        TEST(datagrams_wait_for_the_call),
        TEST(datagrams_do_not_wait_for_ever),
        TEST(a_service_that_cannot_be_found),
        TEST(a_service_that_is_not_there),
        TEST(the_session_ends),
        TEST(not_before_settings),
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
