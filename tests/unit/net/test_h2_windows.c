/* Games with flow control, and peers that read or write slowly or never: what waits is bounded, other streams
 * go on. And heavy use that is honest: nothing that stops floods may hurt it. */
#include "net/h2_hostile.h"

enum { KB = 1024, MB = 1024 * 1024, SESSION_BYTES = 1 * MB };

/* ---- A service that talks: the far end of a local socket ---- */

static int service_fd = -1; /* of the newest stream */
static size_t have;         /* bytes of frames that data_heard has not had whole */

static void serve_local(struct bk_h2_stream *s, const char *authority)
{
    int fd[2];
    (void)authority;
    if (service_fd >= 0) {
        close(service_fd);
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(bk_h2_accept(s, fd[0], fd[0]), BK_OK);
    service_fd = fd[1];
}

static void keep(struct bk_h2_stream *s, const char *authority)
{
    (void)s;
    (void)authority; /* the test answers later, or never */
}

/* Everything the service's socket takes. */
static size_t service_says(size_t most)
{
    static uint8_t bytes[64 * KB];
    size_t sent = 0;
    for (ssize_t n; sent < most; sent += (size_t)n) {
        n = send(service_fd, bytes, most - sent < sizeof bytes ? most - sent : sizeof bytes,
                 MSG_NOSIGNAL);
        if (n <= 0) {
            break;
        }
    }
    return sent;
}

static int teardown_service(void **state)
{
    if (service_fd >= 0) {
        close(service_fd);
    }
    service_fd = -1;
    have = 0;
    return teardown(state);
}

/* A hostile caller with one stream, which is served. */
static struct hostile *caller_with_a_stream(uint32_t window)
{
    w.serve = serve_local;
    struct hostile *p = hostile_caller();
    put_setting(p, 4, window);
    put_connect(p);
    assert_true(flush_batch(p));
    RUN_UNTIL(w.s.requests == 1);
    return p;
}

/* Some turns, so that whatever can move has moved. */
static void settle(struct hostile *p)
{
    for (int i = 0; i < 200; i++) {
        event_base_loop(w.base, EVLOOP_NONBLOCK);
        hear(p);
    }
    look_at_heap(p);
}

/* Data bytes that the caller was sent, by taking the frames apart. */
static size_t data_heard(struct hostile *p)
{
    static uint8_t buf[4 * MB];
    size_t data = 0, at = 0;
    int n;
    while (have < sizeof buf && (n = SSL_read(p->ssl, buf + have, (int)(sizeof buf - have))) > 0) {
        have += (size_t)n;
    }
    while (have - at >= 9) {
        size_t length = (size_t)buf[at] << 16 | (size_t)buf[at + 1] << 8 | buf[at + 2];
        if (have - at - 9 < length) {
            break;
        }
        data += buf[at + 3] == DATA ? length : 0;
        at += 9 + length;
    }
    memmove(buf, buf + at, have - at);
    have -= at;
    return data;
}

/* ---- Windows ---- */

static void a_shut_window_holds_nothing_but_itself(void **state)
{
    (void)state;
    struct hostile *p = caller_with_a_stream(0);
    p->deaf = true; /* data_heard reads */
    for (int i = 0; i < 100; i++) {
        (void)service_says(SIZE_MAX); /* until nobody takes it any more */
        settle(p);
    }
    assert_memory_below(p, SESSION_BYTES);
    assert_int_equal(data_heard(p), 0);
    put_number(p, WINDOW_UPDATE, 1, 1000);
    assert_true(flush_batch(p));
    size_t heard = 0;
    for (int i = 0; i < 1000 && heard < 1000; i++) {
        event_base_loop(w.base, EVLOOP_NONBLOCK);
        heard += data_heard(p);
    }
    assert_int_equal(heard, 1000);
    assert_false(w.s.ended);
    hostile_free(p);
}

enum { NARROW = 200 };
static int narrow_fds[NARROW];

static void serve_much(struct bk_h2_stream *s, const char *authority)
{
    serve_local(s, authority);
    (void)service_says(SIZE_MAX);
    narrow_fds[w.s.requests - 1] = service_fd;
    service_fd = -1;
}

/* A byte for each of many streams, and then again: a frame of ours for every byte. */
static void windows_of_one(struct hostile *p)
{
    for (uint32_t i = 0; i < NARROW; i++) {
        put_number(p, WINDOW_UPDATE, 1 + 2 * i, 1);
    }
    if (!flush_batch(p)) {
        return;
    }
    size_t heard = 0; /* without waiting for all it would be several bytes a frame */
    for (unsigned i = 0; i < 10000 && heard < NARROW && !w.s.ended; i++) {
        event_base_loop(w.base, EVLOOP_NONBLOCK);
        heard += data_heard(p);
    }
}

static void byte_by_byte_windows_end(void **state)
{
    (void)state;
    w.serve = serve_much;
    struct hostile *p = hostile_caller();
    p->deaf = true;                                      /* data_heard reads */
    put_number(p, WINDOW_UPDATE, 0, 0x7fff0000 - 65535); /* the session's is no obstacle */
    put_setting(p, 4, 0);
    for (unsigned i = 0; i < NARROW; i++) {
        put_connect(p);
    }
    assert_true(flush_batch(p));
    RUN_UNTIL(w.s.requests == NARROW);
    bool ended = flood(p, windows_of_one, 2000);
    assert_true(ended);
    assert_memory_below(p, 2 * SESSION_BYTES);
    assert_ended(p, BK_E_RANGE);
    assert_true(w.s.last.sent_bytes > 10);
    for (unsigned i = 0; i < NARROW; i++) {
        close(narrow_fds[i]);
    }
    hostile_free(p);
}

static void overflowing_windows(void **state)
{
    (void)state;
    struct hostile *p = caller_with_a_stream(1000);
    put_number(p, WINDOW_UPDATE, 1, 0x7fffffff); /* one stream's: that stream falls */
    assert_true(flush_batch(p));
    RUN_UNTIL(w.s.finished == 1);
    assert_false(w.s.ended);
    put_number(p, WINDOW_UPDATE, 0, 0x7fffffff);
    (void)flush_batch(p);
    assert_ended(p, BK_E_MALFORMED);
    hostile_free(p);
    teardown_service(state);
    setup_tls(state);
    p = caller_with_a_stream(1000);
    put_number(p, WINDOW_UPDATE, 1, 1000);
    put_setting(p, 4, 0xffffffff); /* no window at all */
    (void)flush_batch(p);
    assert_ended(p, BK_E_MALFORMED);
    hostile_free(p);
}

/* More than it was allowed to send. */
static void overrunning_our_window(void **state)
{
    (void)state;
    w.serve = keep;
    struct hostile *p = hostile_caller();
    put_frame(p, SETTINGS, ACK, 0, 0);
    put_connect(p);
    for (size_t n = 0; n <= BK_H2_WINDOW_FIRST_BYTES; n += 16 * KB) {
        (void)put_frame(p, DATA, 0, 1, 16 * KB);
    }
    (void)flush_batch(p);
    settle(p);
    assert_true(w.s.ended || w.s.finished == 1);
    assert_memory_below(p, SESSION_BYTES + 4 * BK_H2_WINDOW_FIRST_BYTES);
    hostile_free(p);
}

/* ---- Data for streams that nobody has answered, or reads ---- */

static struct bk_h2_stream *kept[64];

static void keep_all(struct bk_h2_stream *s, const char *authority)
{
    (void)authority;
    kept[(w.s.requests - 1) % 64] = s;
}

static void data_before_the_answer_is_bounded(void **state)
{
    (void)state;
    enum { STREAMS = 40, SHARE = 96 * KB, ALLOWED = 2 * MB };
    struct bk_h2_config config = side_config(&w.s, true);
    config.queued_max_bytes = ALLOWED;
    w.serve = keep_all;
    struct hostile *p = hostile_start(&w.s, true, &config);
    put_frame(p, SETTINGS, ACK, 0, 0); /* with our windows in force */
    for (unsigned i = 0; i < STREAMS; i++) {
        uint32_t id = put_connect(p);
        for (size_t n = 0; n < SHARE; n += 16 * KB) {
            (void)put_frame(p, DATA, 0, id, 16 * KB);
        }
        assert_true(flush_batch(p));
        settle(p);
        assert_true(bk_h2_queued_bytes(w.s.h) <= ALLOWED);
    }
    /* Some are full, the others were reset; no less was taken than may be. */
    assert_int_equal(w.s.local + bk_h2_streams(w.s.h), STREAMS);
    assert_int_equal(w.s.last.local_errno, ENOBUFS);
    assert_true(bk_h2_queued_bytes(w.s.h) > ALLOWED / 2);
    assert_memory_below(p, SESSION_BYTES + 2 * ALLOWED + MB);
    assert_false(w.s.ended);
    bk_h2_refuse(kept[0], 404); /* what waited for it goes with it */
    size_t before = bk_h2_queued_bytes(w.s.h);
    settle(p);
    assert_int_equal(before, bk_h2_queued_bytes(w.s.h));
    assert_true(before <= ALLOWED - SHARE);
    uint32_t id = put_connect(p); /* and there is room again */
    (void)put_frame(p, DATA, 0, id, 16 * KB);
    unsigned local = w.s.local;
    assert_true(flush_batch(p));
    settle(p);
    assert_int_equal(w.s.local, local);
    hostile_free(p);
}

/* ---- Peers that do not read, or slowly ---- */

/* A caller with one stream and windows without end, who reads nothing. */
static struct hostile *deaf_caller(struct bk_h2_config *config)
{
    w.serve = serve_local;
    struct hostile *p = hostile_start(&w.s, true, config);
    p->deaf = true;
    put_setting(p, 4, 0x7fffffff);
    put_number(p, WINDOW_UPDATE, 0, 0x7fff0000 - 65535);
    put_connect(p);
    assert_true(flush_batch(p));
    RUN_UNTIL(w.s.requests == 1);
    return p;
}

static void a_peer_that_never_reads_is_given_up(void **state)
{
    (void)state;
    struct bk_h2_config config = side_config(&w.s, true);
    config.stall_ms = 100;
    struct hostile *p = deaf_caller(&config);
    while (!w.s.ended) {
        (void)service_says(SIZE_MAX);
        event_base_loop(w.base, EVLOOP_ONCE);
        look_at_heap(p);
    }
    assert_memory_below(p, SESSION_BYTES);
    assert_int_equal(w.s.why, BK_E_TIMEOUT);
    assert_int_equal(w.s.lost, 1);
    hostile_free(p);
}

/* A caller with a stream whose data fills everything on the way to it. */
static struct hostile *caller_that_is_full(uint32_t stall_ms, uint32_t max_streams)
{
    struct bk_h2_config config = side_config(&w.s, true);
    config.stall_ms = stall_ms;
    config.max_streams = max_streams;
    struct hostile *p = deaf_caller(&config);
    for (unsigned blocked = 0; blocked < 50; blocked++) {
        blocked = service_says(SIZE_MAX) > 0 ? 0 : blocked;
        event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    return p;
}

/* Slowly enough to be no flood: what is never read must not pile up all the same. */
static void answers_that_nobody_reads_are_bounded(void **state)
{
    (void)state;
    enum { AT_ONCE = 1000, WAITING = 2048 + 4 * 8, EACH = 40 };
    struct hostile *p = caller_that_is_full(UINT32_MAX / 2, 8);
    struct event *tick = evtimer_new(w.base, too_late, &(bool){false});
    const struct timeval often = {0, 80000};
    w.serve = keep;
    for (unsigned i = 0; i < AT_ONCE; i++) { /* all but eight are refused */
        put_connect(p);
    }
    assert_true(flush_batch(p));
    for (unsigned batch = 0; batch < 2 * WAITING / EACH && !w.s.ended; batch++) {
        for (unsigned i = 0; i < EACH; i++) {
            put_connect(p);
        }
        (void)flush_batch(p);
        evtimer_add(tick, &often);
        while (evtimer_pending(tick, NULL) && !w.s.ended) {
            event_base_loop(w.base, EVLOOP_ONCE);
        }
    }
    event_free(tick);
    print_message("  %lu frames, %zu KB\n", p->sent, p->peak / KB);
    assert_in_range(p->sent, WAITING, 2 * WAITING);
    assert_memory_below(p, 2 * MB);
    assert_ended(p, BK_E_RANGE);
    hostile_free(p);
}

/* As slow as can be, but it reads: that is its right. */
static void a_peer_that_reads_slowly_is_kept(void **state)
{
    (void)state;
    struct hostile *p = caller_that_is_full(1000, 0);
    bool passed = false;
    struct event *timer = evtimer_new(w.base, too_late, &passed);
    const struct timeval some_stalls = {2, 500000};
    evtimer_add(timer, &some_stalls);
    struct event *tick = evtimer_new(w.base, too_late, &(bool){false});
    const struct timeval often = {0, 20000};
    while (!passed && !w.s.ended) {
        evtimer_add(tick, &often);
        event_base_loop(w.base, EVLOOP_ONCE);
        static uint8_t few[16 * KB];
        for (int i = 0; i < 8;
             i++) { /* TCP tells the sender of some room at once, not of each byte */
            (void)SSL_read(p->ssl, few, sizeof few);
        }
        (void)service_says(SIZE_MAX); /* so that it stays full */
    }
    event_free(tick);
    event_free(timer);
    assert_false(w.s.ended);
    hostile_free(p);
}

/* The whole conversation a byte a record: nothing is lost. */
static void a_peer_that_writes_byte_by_byte(void **state)
{
    (void)state;
    w.serve = serve_local;
    struct hostile *p = hostile_caller();
    put_connect(p);
    memset(put_frame(p, DATA, END_STREAM, 1, 3000), 'x', 3000);
    static uint8_t bytes[8 * KB];
    size_t n = p->n;
    memcpy(bytes, p->batch, n);
    for (size_t i = 0; i < n; i++) {
        p->batch[0] = bytes[i];
        p->n = 1;
        assert_true(flush_batch(p));
    }
    size_t got = 0;
    for (ssize_t r = 0; got < 3000;) {
        event_base_loop(w.base, EVLOOP_NONBLOCK);
        uint8_t buf[2048];
        r = recv(service_fd, buf, sizeof buf, 0);
        got += r > 0 ? (size_t)r : 0;
    }
    assert_int_equal(got, 3000);
    assert_memory_below(p, SESSION_BYTES);
    hostile_free(p);
}

/* ---- Honest and heavy ---- */

static int dev_null(void)
{
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void serve_nothing(struct bk_h2_stream *s, const char *authority)
{
    if (strcmp(authority, "gone:1") == 0) {
        bk_h2_refuse(s, 502);
        return;
    }
    int fd = dev_null(); /* its end is there at once, both ways */
    assert_int_equal(bk_h2_accept(s, fd, fd), BK_OK);
}

static void open_short(const char *authority)
{
    struct bk_h2_stream *s;
    int fd = dev_null();
    assert_int_equal(bk_h2_open(w.c.h, authority, fd, fd, NULL, &s), BK_OK);
}

static void many_short_streams(void **state)
{
    (void)state;
    enum { STREAMS = 40000 };
    w.serve = serve_nothing;
    size_t before = heap_now();
    for (unsigned i = 0; i < STREAMS; i++) { /* one after another, as fast as they go */
        open_short("http:1");
        while (w.c.finished <= i && !w.c.ended && !w.s.ended) {
            event_base_loop(w.base, EVLOOP_ONCE);
        }
        assert_false(w.c.ended || w.s.ended);
    }
    RUN_UNTIL(w.s.finished == STREAMS);
    assert_int_equal(w.c.clean, STREAMS);
    assert_int_equal(w.s.clean, STREAMS);
    assert_true(heap_now() < before + 256 * KB);
}

static void many_streams_at_once(void **state)
{
    (void)state;
    enum { ROUNDS = 10, STREAMS = ROUNDS * BK_H2_STREAMS_MAX };
    w.serve = serve_nothing;
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned k = 0; k < BK_H2_STREAMS_MAX; k++) {
            open_short("http:1");
        }
        RUN_UNTIL(w.c.finished == (i + 1) * BK_H2_STREAMS_MAX);
    }
    RUN_UNTIL(w.s.finished == STREAMS);
    assert_int_equal(w.c.clean, STREAMS);
    assert_true(bk_h2_is_open(w.c.h) && bk_h2_is_open(w.s.h));
}

/* A service that is down, and callers that do not give up; and callers that do, all the time. */
static void many_refusals_and_aborts(void **state)
{
    (void)state;
    enum { EACH = 2000 };
    w.serve = serve_nothing;
    for (unsigned i = 0; i < EACH; i++) {
        struct bk_h2_stream *s;
        open_short("gone:1");
        assert_int_equal(bk_h2_open(w.c.h, "http:1", -1, -1, NULL, &s), BK_OK);
        RUN_UNTIL(w.c.finished == 2 * i + 1);
        bk_h2_abort(s);
        RUN_UNTIL(w.c.finished == 2 * i + 2);
    }
    assert_int_equal(w.c.refused, EACH);
    assert_true(bk_h2_is_open(w.c.h) && bk_h2_is_open(w.s.h));
}

/* Keystrokes, very fast: frames of a few bytes both ways. */
static void many_small_messages(void **state)
{
    (void)state;
    enum { MESSAGES = 50 * 1000, BYTES = 10 };
    int fd[2];
    struct bk_h2_stream *s;
    w.serve = serve_local;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(bk_h2_open(w.c.h, "ssh:1", fd[0], fd[0], NULL, &s), BK_OK);
    RUN_UNTIL(w.s.requests == 1);
    size_t got = 0;
    uint8_t buf[BYTES * 64];
    for (unsigned i = 0; i < MESSAGES; i++) {
        assert_int_equal(send(fd[1], buf, BYTES, MSG_NOSIGNAL), BYTES);
        do {
            event_base_loop(w.base, EVLOOP_NONBLOCK);
            ssize_t n = recv(service_fd, buf, sizeof buf, 0);
            got += n > 0 ? (size_t)n : 0;
        } while (got + 64 * BYTES < (size_t)i * BYTES && !w.s.ended && !w.c.ended);
    }
    assert_true(bk_h2_is_open(w.c.h) && bk_h2_is_open(w.s.h));
    close(fd[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup_pair, teardown_service)
#define RAW(f) cmocka_unit_test_setup_teardown(f, setup_tls, teardown_service)
    const struct CMUnitTest tests[] = {
        RAW(a_shut_window_holds_nothing_but_itself),
        RAW(byte_by_byte_windows_end),
        RAW(overflowing_windows),
        RAW(overrunning_our_window),
        RAW(data_before_the_answer_is_bounded),
        RAW(a_peer_that_never_reads_is_given_up),
        RAW(answers_that_nobody_reads_are_bounded),
        RAW(a_peer_that_reads_slowly_is_kept),
        RAW(a_peer_that_writes_byte_by_byte),
        T(many_short_streams),
        T(many_streams_at_once),
        T(many_refusals_and_aborts),
        T(many_small_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
