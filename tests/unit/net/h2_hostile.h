/* A peer of a session that speaks TLS well and HTTP/2 badly: frames written byte by byte, in floods. Counts what
 * memory that costs. Waits for conditions, never for time. */
#ifndef BK_TEST_NET_H2_HOSTILE_H
#define BK_TEST_NET_H2_HOSTILE_H

#include "net/h2_pair.h"

#include <malloc.h>

#include "net/clock.h"

enum {
    DATA = 0,
    HEADERS = 1,
    PRIORITY = 2,
    RST_STREAM = 3,
    SETTINGS = 4,
    PUSH_PROMISE = 5,
    PING = 6,
    GOAWAY = 7,
    WINDOW_UPDATE = 8,
    CONTINUATION = 9,
    UNKNOWN = 0xee,
    END_STREAM = 1,
    ACK = 1,
    END_HEADERS = 4,
    PADDED = 8,
    BATCH_BYTES = 16 * 1024,
    REQUESTS_PER_S =
        4096, /* that time gives back: TOKENS_PER_S of net/h2_guard.c, two for each at least */
};

struct hostile {
    struct side *victim;
    SSL *ssl;
    int fd;
    bool deaf;         /* never reads */
    size_t base, peak; /* heap */
    bk_time began;
    unsigned long sent; /* frames */
    uint32_t next_id;
    size_t n;
    uint8_t batch[BATCH_BYTES + 32 * 1024];
};

/* ---- Memory ---- */

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t heap_now(void)
{
    if (__sanitizer_get_current_allocated_bytes != NULL) {
        return __sanitizer_get_current_allocated_bytes();
    }
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void look_at_heap(struct hostile *p)
{
    size_t now = heap_now();
    size_t more = now > p->base ? now - p->base : 0;
    p->peak = more > p->peak ? more : p->peak;
}

#define assert_memory_below(p, bytes)                                                              \
    do {                                                                                           \
        if ((p)->peak >= (size_t)(bytes)) {                                                        \
            fail_msg("%zu bytes of heap, not below %zu", (p)->peak, (size_t)(bytes));              \
        }                                                                                          \
    } while (0)

/* ---- The wire ---- */

static void hear(struct hostile *p)
{
    static uint8_t waste[64 * 1024];
    if (!p->deaf) {
        while (SSL_read(p->ssl, waste, sizeof waste) > 0) {
        }
    }
}

/* One batch on its way, or the victim gave up, or takes nothing any more (false). */
static bool flush_batch(struct hostile *p)
{
    size_t at = 0;
    for (unsigned idle = 0; at < p->n && !p->victim->ended && idle < 2000;) {
        int done = SSL_write(p->ssl, p->batch + at, (int)(p->n - at));
        at += done > 0 ? (size_t)done : 0;
        idle = done > 0 ? 0 : idle + 1;
        event_base_loop(w.base, EVLOOP_NONBLOCK);
        hear(p);
    }
    bool all = at == p->n;
    p->n = 0;
    look_at_heap(p);
    return all && !p->victim->ended;
}

static uint8_t *put(struct hostile *p, size_t n)
{
    if (p->n >= BATCH_BYTES) {
        (void)flush_batch(p);
    }
    assert_true(n <= sizeof p->batch - p->n);
    uint8_t *at = p->batch + p->n;
    memset(at, 0, n);
    p->n += n;
    return at;
}

/* Its payload, zeroes, to be filled in before the next. */
static uint8_t *put_frame(struct hostile *p, uint8_t type, uint8_t flags, uint32_t id, size_t n)
{
    uint8_t *at = put(p, 9 + n);
    const uint8_t head[9] = {
        (uint8_t)(n >> 16),  (uint8_t)(n >> 8),   (uint8_t)n,         type,       flags,
        (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    memcpy(at, head, 9);
    p->sent++;
    return at + 9;
}

static void put_number(struct hostile *p, uint8_t type, uint32_t id, uint32_t value)
{
    uint8_t *at = put_frame(p, type, 0, id, 4);
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static void put_setting(struct hostile *p, uint8_t which, uint32_t value)
{
    uint8_t *at = put_frame(p, SETTINGS, 0, 0, 6);
    at[1] = which;
    at[2] = (uint8_t)(value >> 24);
    at[3] = (uint8_t)(value >> 16);
    at[4] = (uint8_t)(value >> 8);
    at[5] = (uint8_t)value;
}

/* CONNECT ssh:1, on a new stream. */
static uint32_t put_connect(struct hostile *p)
{
    static const char block[] = "\x02\x07"
                                "CONNECT"
                                "\x01\x05"
                                "ssh:1";
    uint32_t id = p->next_id;
    p->next_id += 2;
    memcpy(put_frame(p, HEADERS, END_HEADERS, id, sizeof block - 1), block, sizeof block - 1);
    return id;
}

/* ---- A session and its peer ---- */

/* Beside the victim, whose limits the test may have set in `config`. */
static struct hostile *hostile_start(struct side *victim, bool victim_serves,
                                     struct bk_h2_config *config)
{
    struct hostile *p = calloc(1, sizeof *p);
    struct bk_h2_config usual = side_config(victim, victim_serves);
    int fd[2];
    SSL *ssl[2];
    tcp_pair(fd);
    tls_pair(ssl, fd);
    SSL_set_mode(ssl[1], SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    p->victim = victim;
    p->ssl = ssl[1];
    p->fd = fd[1];
    p->next_id = 1;
    p->base = heap_now();
    p->began = bk_clock_mono();
    assert_int_equal(bk_h2_new(w.base, ssl[0], config != NULL ? config : &usual, &victim->h),
                     BK_OK);
    if (victim_serves) {
        memcpy(put(p, 24), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    }
    put_frame(p, SETTINGS, 0, 0, 0);
    assert_true(flush_batch(p));
    RUN_UNTIL(victim->started == 1);
    return p;
}

__attribute__((unused)) static struct hostile *hostile_caller(void)
{
    return hostile_start(&w.s, true, NULL);
}

__attribute__((unused)) static struct hostile *hostile_device(void)
{
    return hostile_start(&w.c, false, NULL);
}

static void hostile_free(struct hostile *p)
{
    SSL_free(p->ssl);
    close(p->fd);
    free(p);
}

/* So many requests at once are what a victim takes; on a slow machine there is time for more. */
__attribute__((unused)) static uint64_t most_requests(const struct hostile *p, uint64_t at_once)
{
    return at_once + (1 + (bk_clock_mono() - p->began) / BK_SECOND) * REQUESTS_PER_S;
}

typedef void (*flood_fn)(struct hostile *p);

/* Until the victim has had enough, or `most` rounds: true if it has. */
static bool flood(struct hostile *p, flood_fn round, unsigned long most)
{
    for (unsigned long i = 0; i < most && !p->victim->ended; i++) {
        round(p);
    }
    (void)flush_batch(p);
    return p->victim->ended;
}

/* The session ended, for its `why`, with everything finished; what it held is given back. */
static void assert_ended(struct hostile *p, enum bk_err why)
{
    struct side *v = p->victim;
    for (unsigned i = 0; i < 1000 && !v->ended; i++) {
        hear(p);
        event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    shutdown(p->fd, SHUT_RDWR);
    RUN_UNTIL(v->ended);
    assert_int_equal(v->why, why);
    assert_int_equal(bk_h2_streams(v->h), 0);
    assert_int_equal(bk_h2_queued_bytes(v->h), 0);
    assert_int_equal(v->finished, v->requests);
}

#endif
