/* What a server that lies about its relay can have a caller go to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/relayed.h"
#include "net/sockaddr.h"

static struct {
    struct event_base *base;
    struct bk_resolver *resolver;
    unsigned failed;
    char why[96];
} w;

static void on_ready(void *ctx, const struct bk_addr *relayed)
{
    (void)ctx;
    (void)relayed;
    fail_msg("no relay is here");
}

static void on_connected(void *ctx, int fd, const struct bk_addr *peer, bool by_name)
{
    (void)fd;
    (void)by_name;
    on_ready(ctx, peer);
}

static void on_failed(void *ctx, const char *why)
{
    (void)ctx;
    w.failed++;
    (void)snprintf(w.why, sizeof w.why, "%s", why);
}

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    w.base = event_base_new();
    return bk_resolver_new(w.base, &w.resolver) == BK_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bk_resolver_free(w.resolver);
    event_base_free(w.base);
    return 0;
}

static int listener(uint16_t *port)
{
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);
    int fd = -1, family = 0;

    assert_int_equal(bk_socket_bind(SOCK_STREAM, &any, false, &fd, &family), BK_OK);
    assert_int_equal(listen(fd, 4), 0);
    *port = bk_sockaddr_local(fd).port;
    return fd;
}

/* Until it has failed, or somebody has come to `fd`. True: somebody has. */
static bool comes(const char *host, uint16_t port, bool named_by_server, int fd)
{
    const struct bk_relayed_config config = {.host = host,
                                             .port = port,
                                             .named_by_server = named_by_server,
                                             .username = "1800000000:alice",
                                             .password = "p",
                                             .on = {NULL, on_ready, on_connected, on_failed}};
    const struct timeval step = {0, 5000};
    struct pollfd at = {.fd = fd, .events = POLLIN};
    struct bk_relayed *r;
    bool came = false;

    w.failed = 0;
    assert_int_equal(bk_relayed_new(w.base, w.resolver, &config, &r), BK_OK);
    for (int i = 0; i < 1000 && w.failed == 0 && !came; i++) {
        event_base_loopexit(w.base, &step);
        event_base_dispatch(w.base);
        came = poll(&at, 1, 0) == 1;
    }
    bk_relayed_free(r);
    if (came) {
        close(accept(fd, NULL, NULL));
    }
    return came;
}

/* Attack: the server tells a caller of a relay that is a service of the caller's own machine or network, so that he
 * knocks there, says what the server has chosen (realm and nonce come back), and shows by his candidates what he found.
 * Expected: nothing goes there; a relay that the caller's own configuration stands for may be anywhere. */
static void test_relay_named_by_the_server_is_at_a_public_address(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0"};
    uint16_t port;
    int fd = listener(&port);

    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        assert_false(comes(hosts[i], port, true, fd));
        assert_string_equal(w.why, "the server names an address that no relay has");
    }
    assert_true(comes("127.0.0.1", port, false, fd));
    close(fd);
}

/* Attack: the same with a well-known service of somebody else's. Expected: not gone to, but for port 443. */
static void test_relay_named_by_the_server_is_at_no_well_known_port(void **state)
{
    static const uint16_t ports[] = {22, 25, 80, 1023};
    uint16_t port;
    int fd = listener(&port);

    (void)state;
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        assert_false(comes("198.51.100.7", ports[i], true, fd));
        assert_string_equal(w.why, "the server names an address that no relay has");
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_relay_named_by_the_server_is_at_a_public_address,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_named_by_the_server_is_at_no_well_known_port,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
