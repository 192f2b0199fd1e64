/* The control stream: messages both ways, whole and in pieces, and peers that say too much or no message at all. */
#include "lib/place.h"

#include <event2/event.h>
#include <sys/socket.h>

#include "lib/control.h"
#include "wire/paths.h"

static struct event_base *base;
static struct bk_control *control;
static int far_end; /* what the stream carries */
static unsigned heard, ended;
static bool frees_in_message, frees_in_end;
static uint8_t last[BK_PATHS_MAX_BYTES];
static size_t last_n;

static void on_message(void *ctx, struct bk_control *c, struct bk_slice bytes)
{
    assert_ptr_equal(ctx, &heard);
    assert_ptr_equal(c, control);
    assert_true(bytes.n <= sizeof last);
    memcpy(last, bytes.p, bytes.n);
    last_n = bytes.n;
    heard++;
    if (frees_in_message) {
        bk_control_free(control);
        control = NULL;
    }
}

static void on_ended(void *ctx, struct bk_control *c)
{
    (void)ctx;
    assert_ptr_equal(c, control);
    ended++;
    if (frees_in_end) {
        bk_control_free(control);
        control = NULL;
    }
}

static int setup(void **state)
{
    const struct bk_control_callbacks on = {
        .ctx = &heard, .message = on_message, .ended = on_ended};

    (void)state;
    heard = ended = 0;
    frees_in_message = frees_in_end = false;
    base = event_base_new();
    return bk_control_new(base, &on, &far_end, &control) == BK_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bk_control_free(control);
    close(far_end);
    event_base_free(base);
    return 0;
}

static void turn(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
}

/* As long as one can be. */
static struct bk_slice longest(uint8_t buf[512], uint16_t round)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {3};
    struct bk_paths paths = {.round = round, .round_trip_ms = 1, .n_candidates = BK_CANDIDATES_MAX};
    struct bk_slice out;

    for (uint8_t i = 0; i < BK_CANDIDATES_MAX; i++) {
        paths.candidates[i] =
            (struct bk_candidate){BK_CANDIDATE_HOST, {{0x20, 1, 0xd, 0xb8, [15] = i}, 5000}};
    }
    assert_int_equal(bk_paths_write(buf, 512, txid, &paths, &out), BK_OK);
    return out;
}

static void say(struct bk_slice bytes)
{
    assert_int_equal(send(far_end, bytes.p, bytes.n, MSG_NOSIGNAL), bytes.n);
}

static void test_both_ways(void **state)
{
    uint8_t buf[512], got[512];
    struct bk_slice message = longest(buf, 1);

    (void)state;
    assert_true(message.n <= BK_PATHS_MAX_BYTES);
    assert_true(bk_control_send(control, message));
    assert_int_equal(recv(far_end, got, sizeof got, 0), message.n);
    assert_memory_equal(got, buf, message.n);
    say(message);
    turn();
    assert_int_equal(heard, 1);
    assert_int_equal(last_n, message.n);
    assert_memory_equal(last, buf, message.n);
}

static void test_pieces(void **state)
{
    uint8_t buf[512], two[1024];
    struct bk_slice message = longest(buf, 1);

    (void)state;
    for (size_t i = 0; i < message.n; i++) {
        assert_int_equal(heard, 0);
        say(bk_slice(buf + i, 1));
        turn();
    }
    assert_int_equal(heard, 1);
    memcpy(two, buf, message.n);
    memcpy(two + message.n, buf, message.n);
    say(bk_slice(two, 2 * message.n - 1));
    turn();
    turn();
    assert_int_equal(heard, 2);
    say(bk_slice(buf + message.n - 1, 1));
    turn();
    assert_int_equal(heard, 3);
    assert_int_equal(ended, 0);
}

static void test_the_end_is_told_once(void **state)
{
    uint8_t buf[512];

    (void)state;
    shutdown(far_end, SHUT_RDWR);
    turn();
    turn();
    assert_int_equal(ended, 1);
    assert_int_equal(heard, 0);
    assert_false(bk_control_send(control, longest(buf, 1)));
}

static void test_no_message_ends_it(void **state)
{
    static const struct {
        uint8_t bytes[20];
        size_t n;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", 18},
        {{0x00, 0xFB, 0x40, 0x00, 0x21, 0x12, 0xA4, 0x42}, 20}, /* 16384 bytes and a header */
        {{0x00, 0xFB, 0x01, 0x00, 0x21, 0x12, 0xA4, 0x42}, 20}, /* longer than any may be */
        {{0x00, 0xFB, 0x00, 0x08, 0x21, 0x12, 0xA4, 0x41}, 20}, /* another cookie */
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        say(bk_slice(rows[i].bytes, rows[i].n));
        turn();
        assert_int_equal(ended, 1);
        assert_int_equal(heard, 0);
        teardown(NULL);
        assert_int_equal(setup(NULL), 0);
    }
}

static void test_too_many_end_it(void **state)
{
    uint8_t buf[512];
    struct bk_slice message = longest(buf, 1);

    (void)state;
    for (unsigned i = 0; i < 200 && ended == 0; i++) {
        say(message);
        turn();
    }
    assert_int_equal(ended, 1);
    assert_true(heard >= 24 && heard <= 60);
}

static void test_freed_where_it_is_told(void **state)
{
    uint8_t buf[512], two[1024];
    struct bk_slice message = longest(buf, 1);

    (void)state;
    frees_in_message = true;
    memcpy(two, buf, message.n);
    memcpy(two + message.n, buf, message.n);
    say(bk_slice(two, 2 * message.n));
    turn();
    assert_null(control);
    assert_int_equal(heard, 1);
    assert_int_equal(ended, 0);
    close(far_end);
    event_base_free(base);

    assert_int_equal(setup(NULL), 0);
    frees_in_end = true;
    shutdown(far_end, SHUT_WR);
    turn();
    assert_null(control);
    assert_int_equal(ended, 1);
}

/* A stream that nobody reads takes what fits, and then none: never half of one. */
static void test_full(void **state)
{
    uint8_t buf[512], got[512];
    struct bk_slice message = longest(buf, 1);
    size_t sent = 0, read = 0;
    ssize_t n;

    (void)state;
    while (sent < 100000 && bk_control_send(control, message)) {
        sent++;
    }
    assert_true(sent > 0 && sent < 100000);
    while ((n = recv(far_end, got, message.n, MSG_DONTWAIT | MSG_WAITALL)) == (ssize_t)message.n) {
        assert_memory_equal(got, buf, message.n);
        read++;
    }
    assert_int_equal(read, sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_end_is_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_message_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_end_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_freed_where_it_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
