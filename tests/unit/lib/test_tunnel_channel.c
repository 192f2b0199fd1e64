/* The messages between the idle part and its tunnel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/tunnel_channel.h"

static int ends[2];

static int set_up(void **state)
{
    (void)state;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0) {
        return 1;
    }
    return fcntl(ends[1], F_SETFL, O_NONBLOCK) | fcntl(ends[0], F_SETFL, O_NONBLOCK);
}

static int tear_down(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static void test_round_trips(void **state)
{
    struct bk_tunnel_message in = {.type = BK_TUNNEL_HELLO, .index = 3, .unix_s = 1700000000};
    struct bk_tunnel_message out;
    uint8_t bytes[BK_TUNNEL_MESSAGE_BYTES];

    (void)state;
    assert_int_equal(bk_tunnel_receive(ends[1], &out), BK_E_TRUNCATED);
    assert_int_equal(bk_tunnel_send(ends[0], &in), BK_OK);
    assert_int_equal(bk_tunnel_receive(ends[1], &out), BK_OK);
    assert_true(out.type == in.type && out.index == 3 && out.unix_s == in.unix_s);
    in = (struct bk_tunnel_message){.type = BK_TUNNEL_UP, .port = 443};
    assert_int_equal(bk_tunnel_send(ends[0], &in), BK_OK);
    assert_int_equal(bk_tunnel_receive(ends[1], &out), BK_OK);
    assert_true(out.type == in.type && out.port == 443);
    memset(bytes, 0xA5, sizeof bytes);
    for (size_t n = 0; n <= sizeof bytes; n += sizeof bytes / 4) {
        in.type = n % 8 == 0 ? BK_TUNNEL_MESSAGE : BK_TUNNEL_DOWN;
        in.bytes = bk_slice(bytes, n);
        assert_int_equal(bk_tunnel_send(ends[0], &in), BK_OK);
        assert_int_equal(bk_tunnel_receive(ends[1], &out), BK_OK);
        assert_int_equal(out.type, in.type);
        assert_true(bk_slice_equal(out.bytes, in.bytes));
    }
}

static void test_refused(void **state)
{
    static const uint8_t packets[][11] = {
        {0}, {1, 0, 0}, {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {2, 1}, {5, 1}};
    static const size_t lengths[] = {1, 3, 11, 2, 2};
    uint8_t long_one[BK_TUNNEL_MESSAGE_BYTES + 2] = {BK_TUNNEL_MESSAGE};
    struct bk_tunnel_message out;
    struct bk_tunnel_message in = {.type = BK_TUNNEL_MESSAGE,
                                   .bytes = bk_slice(long_one, BK_TUNNEL_MESSAGE_BYTES + 1)};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_int_equal(send(ends[0], packets[i], lengths[i], 0), (ssize_t)lengths[i]);
        assert_int_equal(bk_tunnel_receive(ends[1], &out), BK_E_MALFORMED);
    }
    assert_int_equal(send(ends[0], long_one, sizeof long_one, 0), (ssize_t)sizeof long_one);
    assert_int_equal(bk_tunnel_receive(ends[1], &out), BK_E_MALFORMED);
    assert_int_equal(bk_tunnel_send(ends[0], &in), BK_E_RANGE);
}

static void test_ends(void **state)
{
    struct bk_tunnel_message message = {.type = BK_TUNNEL_UP};
    enum bk_err err = BK_OK;

    (void)state;
    while (err == BK_OK) { /* nobody reads */
        err = bk_tunnel_send(ends[0], &message);
    }
    assert_int_equal(err, BK_E_NOSPACE);
    close(ends[1]);
    assert_int_equal(bk_tunnel_send(ends[0], &message), BK_E_CLOSED);
    assert_int_equal(bk_tunnel_receive(ends[0], &message), BK_E_CLOSED);
    ends[1] = dup(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trips, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
