/* Hostile peers of a session: each flood ends it, with a reason and within bounds of memory, or does no harm.
 * Heavy use that is honest stands in test_h2_heavy.c. */
#include "net/h2_hostile.h"

enum {
    KB = 1024,
    MB = 1024 * 1024,
    SESSION_BYTES = 1 * MB, /* of one that does nothing */
    FLOOD_BYTES = 8 * MB,   /* and of one that is flooded */
    ROUNDS = 500 * 1000,
};

static void serve_null(struct bk_h2_stream *s, const char *authority)
{
    (void)authority;
    assert_int_equal(bk_h2_accept(s, -1, -1), BK_OK);
}

static void serve_404(struct bk_h2_stream *s, const char *authority)
{
    (void)authority;
    bk_h2_refuse(s, 404);
}

/* ---- Frames that carry nothing ---- */

static void ping(struct hostile *p)
{
    put_frame(p, PING, 0, 0, 8);
}

static void setting(struct hostile *p)
{
    put_setting(p, 4,
                1 + (uint32_t)p->sent % 2 *
                        60000); /* INITIAL_WINDOW_SIZE: goes through all streams */
}

static void empty_settings(struct hostile *p)
{
    put_frame(p, SETTINGS, 0, 0, 0);
}

static void priority(struct hostile *p)
{
    put_frame(p, PRIORITY, 0, 1 + 2 * (uint32_t)(p->sent % 5000), 5)[0] = 0x80; /* exclusive */
}

static void window_by_one(struct hostile *p)
{
    put_number(p, WINDOW_UPDATE, 0, 1);
}

static void unknown(struct hostile *p)
{
    put_frame(p, UNKNOWN, 0xff, 77, 3);
}

static void late_reset(struct hostile *p)
{
    put_number(p, RST_STREAM, 1, 8);
}

static void empty_data(struct hostile *p)
{
    put_frame(p, DATA, 0, 1, 0);
}

static void padding(struct hostile *p)
{
    put_frame(p, DATA, PADDED, 1, 1);
}

static void idle_floods_end(void **state)
{
    static const struct {
        const char *name;
        flood_fn round;
        bool deaf;
    } floods[] = {
        {"PING", ping, false},
        {"PING, unread", ping, true},
        {"SETTINGS", setting, false},
        {"SETTINGS, unread", setting, true},
        {"empty SETTINGS", empty_settings, false},
        {"PRIORITY", priority, false},
        {"WINDOW_UPDATE", window_by_one, false},
        {"unknown frames", unknown, false},
        {"RST_STREAM of a closed stream", late_reset, false},
        {"empty DATA", empty_data, false},
        {"DATA of padding", padding, false},
    };
    for (size_t i = 0; i < sizeof floods / sizeof floods[0]; i++) {
        w.serve = serve_null;
        struct hostile *p = hostile_caller();
        put_connect(p);
        assert_true(flush_batch(p));
        RUN_UNTIL(w.s.requests == 1);
        p->deaf = floods[i].deaf;
        bool ended = flood(p, floods[i].round, ROUNDS);
        print_message("  %s: %lu frames, %zu KB\n", floods[i].name, p->sent, p->peak / KB);
        assert_true(ended);
        assert_memory_below(p, FLOOD_BYTES);
        assert_ended(p, BK_E_RANGE);
        hostile_free(p);
        teardown(state);
        setup_tls(state);
    }
}

/* The device may flood its caller no better. */
static void idle_floods_by_the_device_end(void **state)
{
    static const flood_fn floods[] = {ping, setting, window_by_one, unknown, priority};
    for (size_t i = 0; i < sizeof floods / sizeof floods[0]; i++) {
        struct hostile *p = hostile_device();
        assert_true(flood(p, floods[i], ROUNDS));
        assert_memory_below(p, FLOOD_BYTES);
        assert_ended(p, BK_E_RANGE);
        hostile_free(p);
        teardown(state);
        setup_tls(state);
    }
}

/* ---- Streams opened for nothing ---- */

static void open_and_reset(struct hostile *p)
{
    put_number(p, RST_STREAM, put_connect(p), 8);
}

/* Has us reset it: neither is a RST_STREAM of its own, nor does it count as open for long. */
static void open_and_have_it_reset(struct hostile *p)
{
    put_number(p, WINDOW_UPDATE, put_connect(p), 0x7fffffff);
}

static void open_only(struct hostile *p)
{
    put_connect(p);
}

static void stream_floods_end(void **state)
{
    static const struct {
        const char *name;
        flood_fn round;
        bool deaf;
        void (*serve)(struct bk_h2_stream *s, const char *authority);
    } floods[] = {
        {"rapid reset", open_and_reset, false, NULL},
        {"rapid reset of served streams", open_and_reset, false, serve_null},
        {"rapid reset, unread", open_and_reset, true, serve_404},
        {"reset by us", open_and_have_it_reset, false, serve_null},
        {"reset by us, unread", open_and_have_it_reset, true, serve_null},
        {"refused", open_only, false, serve_404},
        {"refused, unread", open_only, true, serve_404},
        {"more than allowed", open_only, false, serve_null},
        {"more than allowed, unread", open_only, true, serve_null},
    };
    for (size_t i = 0; i < sizeof floods / sizeof floods[0]; i++) {
        w.serve = floods[i].serve;
        struct hostile *p = hostile_caller();
        p->deaf = floods[i].deaf;
        bool ended = flood(p, floods[i].round, ROUNDS);
        print_message("  %s: %lu frames, %zu KB\n", floods[i].name, p->sent, p->peak / KB);
        assert_true(ended);
        assert_memory_below(p, FLOOD_BYTES);
        assert_true(w.s.requests < most_requests(p, 40000));
        assert_ended(p, BK_E_RANGE);
        hostile_free(p);
        teardown(state);
        setup_tls(state);
    }
}

/* As many as may be, none of which ever says a word: each costs its own memory, and others get through. */
static void half_open_streams_cost_little(void **state)
{
    (void)state;
    w.serve = serve_null;
    struct hostile *p = hostile_caller();
    for (unsigned i = 0; i < BK_H2_STREAMS_MAX; i++) {
        put_connect(p);
    }
    assert_true(flush_batch(p));
    RUN_UNTIL(w.s.requests == BK_H2_STREAMS_MAX);
    look_at_heap(p);
    assert_memory_below(p, SESSION_BYTES + BK_H2_STREAMS_MAX * 4 * KB);
    put_number(p, RST_STREAM, 1, 8);
    put_connect(p);
    assert_true(flush_batch(p));
    RUN_UNTIL(w.s.requests == BK_H2_STREAMS_MAX + 1);
    hostile_free(p);
}

/* ---- Headers ---- */

static void continuation(struct hostile *p)
{
    put_frame(p, CONTINUATION, 0, 1, 0);
}

static void big_continuation(struct hostile *p)
{
    uint8_t *at =
        put_frame(p, CONTINUATION, 0, 1, 8 * KB); /* literals of 126 bytes without a name */
    memset(at, 0x11, 8 * KB);
}

static void continuations_end(void **state)
{
    static const flood_fn floods[] = {continuation, big_continuation};
    for (size_t i = 0; i < 2; i++) {
        struct hostile *p = hostile_caller();
        put_frame(p, HEADERS, 0, 1, 0);
        (void)flood(p, floods[i], 1000);
        assert_memory_below(p, SESSION_BYTES);
        assert_ended(p, BK_E_MALFORMED);
        assert_int_equal(w.s.requests, 0);
        hostile_free(p);
        teardown(state);
        setup_tls(state);
    }
}

static void huge_frames_end(void **state)
{
    static const struct {
        uint8_t type;
        uint8_t length[3];
        enum bk_err why;
    } huge[] = {
        {HEADERS, {0, 0x40, 1}, BK_E_RANGE},        /* a byte above 16 KB */
        {HEADERS, {0x10, 0, 0}, BK_E_RANGE},        /* 1 MB */
        {GOAWAY, {0, 4, 1}, BK_E_RANGE},            /* a byte above 1 KB */
        {SETTINGS, {0, 0, 33 * 6}, BK_E_MALFORMED}, /* an entry too many */
        {DATA, {0x10, 0, 1}, BK_E_MALFORMED},       /* a byte above what we said we take */
        {UNKNOWN, {0xff, 0xff, 0xff}, BK_E_MALFORMED},
    };
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        struct hostile *p = hostile_caller();
        put_frame(p, SETTINGS, ACK, 0, 0); /* ours are in force: what we said we take is taken */
        uint8_t *head = put(p, 9 + 1024);
        memcpy(head, huge[i].length, 3);
        head[3] = huge[i].type;
        head[8] = huge[i].type == HEADERS || huge[i].type == DATA ? 1 : 0;
        (void)flush_batch(p);
        assert_memory_below(p, SESSION_BYTES);
        assert_ended(p, huge[i].why);
        hostile_free(p);
        teardown(state);
        setup_tls(state);
    }
}

/* One long entry of the table, named again and again at a byte each: 16 MB of headers in every frame. */
static void bomb(struct hostile *p)
{
    enum { VALUE = 3900, TIMES = 4000 };
    uint8_t *at = put_frame(p, HEADERS, END_HEADERS, p->next_id, 1 + 1 + 1 + 3 + VALUE + TIMES);
    p->next_id += 2;
    *at++ = 0x40; /* literal, to be kept: name "a" */
    *at++ = 1;
    *at++ = 'a';
    *at++ = 0x7f; /* VALUE as an integer of 7 bits */
    *at++ = (uint8_t)(((VALUE - 127) & 0x7f) | 0x80);
    *at++ = (VALUE - 127) >> 7;
    memset(at, 'b', VALUE);
    memset(at + VALUE, 0x80 | 62, TIMES);
}

static void header_bombs_are_harmless_and_end(void **state)
{
    (void)state;
    struct hostile *p = hostile_caller();
    assert_false(flood(p, bomb, 100));
    assert_memory_below(p, SESSION_BYTES);
    assert_int_equal(w.s.requests, 0);
    assert_true(flood(p, bomb, 20000));
    assert_memory_below(p, SESSION_BYTES);
    assert_ended(p, BK_E_RANGE);
    hostile_free(p);
}

static void answer_100(struct hostile *p)
{
    memcpy(put_frame(p, HEADERS, END_HEADERS, 1, 5),
           "\x08\x03"
           "100",
           5);
}

/* Interim answers without end, from a device: the stream falls first, then the session. */
static void interim_answers_end(void **state)
{
    (void)state;
    struct hostile *p = hostile_device();
    struct bk_h2_stream *s;
    assert_int_equal(bk_h2_open(w.c.h, "ssh:1", -1, -1, NULL, &s), BK_OK);
    assert_true(flood(p, answer_100, ROUNDS));
    assert_memory_below(p, FLOOD_BYTES);
    assert_int_equal(w.c.answers, 0);
    w.c.requests = 1; /* the stream that we opened */
    assert_ended(p, BK_E_RANGE);
    hostile_free(p);
}

static void push(struct hostile *p)
{
    uint8_t *at = put_frame(p, PUSH_PROMISE, END_HEADERS, 1, 5);
    p->next_id += 2;
    at[2] = (uint8_t)(p->next_id >> 8);
    at[3] = (uint8_t)((p->next_id & 0xfe));
    at[4] = 0x82;
}

static void pushing_ends(void **state)
{
    (void)state;
    struct hostile *p = hostile_device();
    struct bk_h2_stream *s;
    put_frame(p, SETTINGS, ACK, 0, 0); /* it has agreed not to */
    assert_int_equal(bk_h2_open(w.c.h, "ssh:1", -1, -1, NULL, &s), BK_OK);
    assert_true(flush_batch(p));
    push(p);
    (void)flush_batch(p);
    w.c.requests = 1;
    assert_ended(p, BK_E_MALFORMED);
    hostile_free(p);
}

/* ---- Going away ---- */

static void goaway(struct hostile *p)
{
    memset(put_frame(p, GOAWAY, 0, 0, 8), 0, 8);
}

static void going_away_again_and_again_ends(void **state)
{
    (void)state;
    struct hostile *p = hostile_device();
    struct bk_h2_stream *s;
    assert_int_equal(bk_h2_open(w.c.h, "ssh:1", -1, -1, NULL, &s), BK_OK);
    assert_true(flood(p, goaway, ROUNDS));
    assert_memory_below(p, FLOOD_BYTES);
    assert_int_equal(w.c.going, 1);
    assert_int_equal(w.c.finished, 1);
    w.c.requests = 1;
    assert_ended(p, BK_E_RANGE);
    hostile_free(p);
}

/* ---- Below HTTP/2 ---- */

static void key_updates_end(void **state)
{
    (void)state;
    for (int deaf = 0; deaf < 2; deaf++) {
        struct hostile *p = hostile_caller();
        p->deaf = deaf != 0;
        unsigned updates = 0;
        while (!w.s.ended && updates < 20000) {
            assert_int_equal(SSL_key_update(p->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
            if (SSL_do_handshake(p->ssl) == 1) {
                updates++;
            }
            if (updates % 1000 == 999) { /* many wait before the session looks */
                event_base_loop(w.base, EVLOOP_NONBLOCK);
                hear(p);
            }
        }
        look_at_heap(p);
        assert_memory_below(p, SESSION_BYTES);
        assert_ended(p, BK_E_RANGE);
        assert_true(updates < 3000);
        hostile_free(p);
        teardown(state);
        setup_tls(state);
    }
}

/* A few are anybody's right. */
static void some_key_updates_do_not(void **state)
{
    (void)state;
    struct hostile *p = hostile_caller();
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(SSL_key_update(p->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(p->ssl), 1);
        ping(p);
        assert_true(flush_batch(p));
    }
    put_connect(p);
    assert_true(flush_batch(p));
    RUN_UNTIL(w.s.requests == 1);
    hostile_free(p);
}

int main(void)
{
#define RAW(f) cmocka_unit_test_setup_teardown(f, setup_tls, teardown)
    const struct CMUnitTest tests[] = {
        RAW(idle_floods_end),
        RAW(idle_floods_by_the_device_end),
        RAW(stream_floods_end),
        RAW(half_open_streams_cost_little),
        RAW(continuations_end),
        RAW(huge_frames_end),
        RAW(header_bombs_are_harmless_and_end),
        RAW(interim_answers_end),
        RAW(pushing_ends),
        RAW(going_away_again_and_again_ends),
        RAW(key_updates_end),
        RAW(some_key_updates_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
