/* The BIO under a session: what is kept for more leaves with the next flush, however much came after it, and the buffers are
 * there from the start. */
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/h2_bio.h"

enum {
    SOON_MS = 100, /* the kernel itself gives up waiting for more after 200 */
    SHORT_BYTES = 100,
};

static struct bk_h2_bio b;
static int peer;

static int setup(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    memset(&b, 0, sizeof b);
    b.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &n) != 0 ||
        connect(b.fd, (struct sockaddr *)&at, sizeof at) != 0) {
        return -1;
    }
    peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    return peer < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    close(b.fd);
    close(peer);
    return 0;
}

static void put(size_t n)
{
    memset(b.out + b.out_off + b.out_len, 'x', n);
    b.out_len += n;
}

static size_t arrives_soon(void)
{
    char got[4 * SHORT_BYTES];
    struct pollfd p = {.fd = peer, .events = POLLIN};

    if (poll(&p, 1, SOON_MS) <= 0) {
        return 0;
    }
    ssize_t n = recv(peer, got, sizeof got, MSG_DONTWAIT);
    return n < 0 ? 0 : (size_t)n;
}

static void what_is_flushed_leaves(void **state)
{
    (void)state;
    put(SHORT_BYTES);
    assert_int_equal(bk_h2_bio_flush(&b, false), BK_OK);
    assert_int_equal(arrives_soon(), SHORT_BYTES);
    assert_int_equal(b.out_len, 0);
    assert_int_equal(b.sent, SHORT_BYTES);
}

static void what_waits_for_more_leaves_with_it(void **state)
{
    (void)state;
    put(SHORT_BYTES);
    assert_int_equal(bk_h2_bio_flush(&b, true), BK_OK);
    put(SHORT_BYTES);
    assert_int_equal(bk_h2_bio_flush(&b, false), BK_OK);
    assert_int_equal(arrives_soon(), 2 * SHORT_BYTES);
}

/* Else it would lie there for 200 ms. */
static void what_waits_for_more_leaves_without_it(void **state)
{
    (void)state;
    put(SHORT_BYTES);
    assert_int_equal(bk_h2_bio_flush(&b, true), BK_OK);
    assert_int_equal(bk_h2_bio_flush(&b, false), BK_OK);
    assert_int_equal(arrives_soon(), SHORT_BYTES);
}

static void a_full_socket_keeps_what_it_does_not_take(void **state)
{
    size_t sent = 0;

    (void)state;
    for (int i = 0; i < 1000 && b.out_len == 0; i++) {
        put(sizeof b.out);
        enum bk_err err = bk_h2_bio_flush(&b, true);
        assert_int_equal(err, b.out_len == 0 ? BK_OK : BK_E_TRUNCATED);
        sent += sizeof b.out;
    }
    assert_true(b.out_len > 0);
    assert_int_equal(b.sent + b.out_len, sent);
    assert_false(bk_h2_bio_room(&b, sizeof b.out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_flushed_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(what_waits_for_more_leaves_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_waits_for_more_leaves_without_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_socket_keeps_what_it_does_not_take, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
