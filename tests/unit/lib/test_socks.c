/* SOCKS5: whole and in pieces, what is refused and how, and that no byte behind the request is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/socks.h"

enum { WAIT_TURNS = 50 };

static struct event_base *base;
static struct bk_socks *socks;
static int client; /* the local program's end */
static unsigned told;
static int told_fd;
static char told_service[BK_NAME_MAX_BYTES + 1];

static void on_done(void *ctx, struct bk_socks *s, int fd, const char *service)
{
    assert_ptr_equal(ctx, &told);
    assert_ptr_equal(s, socks);
    told++;
    told_fd = fd;
    strcpy(told_service, service);
}

static int set_up(void **state)
{
    int fd[2];

    (void)state;
    base = event_base_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    client = fd[1];
    told = 0;
    told_fd = -1;
    assert_int_equal(bk_socks_new(base, fd[0], on_done, &told, &socks), BK_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (told == 0) {
        bk_socks_free(socks);
    }
    if (told_fd >= 0) {
        close(told_fd);
    }
    close(client);
    event_base_free(base);
    return 0;
}

static void turns(void)
{
    for (int i = 0; i < WAIT_TURNS && told == 0; i++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

static void say(const void *bytes, size_t n, size_t piece)
{
    for (size_t at = 0; at < n; at += piece) {
        size_t k = n - at < piece ? n - at : piece;

        assert_int_equal(write(client, (const uint8_t *)bytes + at, k), k);
        turns();
    }
}

#define SAY(text) say(text, sizeof(text) - 1, sizeof(text))

static void hears(const char *bytes, size_t n)
{
    uint8_t buf[64];

    assert_int_equal(read(client, buf, sizeof buf), n);
    assert_memory_equal(buf, bytes, n);
}

#define GREETING "\x05\x01\x00"
#define TO_WEB "\x05\x01\x00\x03\x03web\x00\x50"

static void a_service_is_named(void **state)
{
    static const size_t pieces[] = {1, 3, 100};
    uint8_t rest[8];

    for (size_t i = 0; i < 3; i++) {
        if (i > 0) {
            tear_down(state);
            set_up(state);
        }
        say(GREETING, 3, pieces[i]);
        hears("\x05\x00", 2);
        say(TO_WEB "GET", 13, pieces[i]); /* a client in a hurry */
        assert_int_equal(told, 1);
        assert_string_equal(told_service, "web");
        if (pieces[i] == 100) {
            assert_int_equal(read(told_fd, rest, sizeof rest), 3);
            assert_memory_equal(rest, "GET", 3);
        }
        bk_socks_answer(told_fd, BK_SOCKS_SUCCEEDED);
        hears("\x05\x00\x00\x01\0\0\0\0\0\0", 10);
    }
}

static void more_methods(void **state)
{
    (void)state;
    SAY("\x05\x03\x02\x01\x00");
    hears("\x05\x00", 2);
}

static void refusals_of_the_greeting(void **state)
{
    (void)state;
    SAY("\x05\x02\x01\x02"); /* GSSAPI, passwords */
    assert_int_equal(told, 1);
    assert_int_equal(told_fd, -1);
    hears("\x05\xFF", 2);
    assert_int_equal(read(client, told_service, 1), 0);
}

static void no_method_at_all(void **state)
{
    (void)state;
    SAY("\x05\x00");
    assert_int_equal(told_fd, -1);
    assert_int_equal(told, 1);
    hears("\x05\xFF", 2);
}

static void another_protocol(void **state)
{
    (void)state;
    SAY("GET / HTTP/1.1");
    assert_int_equal(told, 1);
    assert_int_equal(told_fd, -1);
}

static void refused_requests(void **state)
{
    static const struct {
        const char *request;
        size_t n;
        char reply;
    } rows[] = {
        {"\x05\x02\x00\x03\x03web\x00\x50", 10, BK_SOCKS_COMMAND},           /* BIND */
        {"\x05\x03\x00\x03\x03web\x00\x50", 10, BK_SOCKS_COMMAND},           /* UDP ASSOCIATE */
        {"\x05\x01\x00\x01\x7F\0\0\x01\x00\x50", 10, BK_SOCKS_ADDRESS_TYPE}, /* IPv4 */
        {"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50", 22, BK_SOCKS_ADDRESS_TYPE},
        {"\x05\x01\x00\x07\x03web\x00\x50", 10, BK_SOCKS_ADDRESS_TYPE}, /* no type there is */
        {"\x05\x01\x00\x03\x03WEB\x00\x50", 10,
         BK_SOCKS_HOST_UNREACHABLE}, /* no name of a service */
        {"\x05\x01\x00\x03\x00\x00\x50", 7, BK_SOCKS_HOST_UNREACHABLE},
        {"\x05\x01\x00\x03\x04we\0b\x00\x50", 11, BK_SOCKS_HOST_UNREACHABLE},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char reply[10] = {5, rows[i].reply, 0, 1};

        if (i > 0) {
            tear_down(state);
            set_up(state);
        }
        SAY(GREETING);
        hears("\x05\x00", 2);
        say(rows[i].request, rows[i].n, rows[i].n);
        assert_int_equal(told, 1);
        assert_int_equal(told_fd, -1);
        hears(reply, sizeof reply);
    }
}

static void a_client_that_leaves(void **state)
{
    (void)state;
    SAY("\x05");
    shutdown(client, SHUT_WR);
    turns();
    assert_int_equal(told, 1);
    assert_int_equal(told_fd, -1);
}

static void the_longest_name(void **state)
{
    uint8_t request[5 + 255 + 2] = {5, 1, 0, 3, 255};

    (void)state;
    memset(request + 5, 'a', 255);
    SAY(GREETING);
    hears("\x05\x00", 2);
    say(request, sizeof request, 50);
    assert_int_equal(told, 1);
    hears("\x05\x04\x00\x01\0\0\0\0\0\0", 10);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_service_is_named),       TEST(more_methods),     TEST(no_method_at_all),
        TEST(refusals_of_the_greeting), TEST(another_protocol), TEST(refused_requests),
        TEST(a_client_that_leaves),     TEST(the_longest_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
