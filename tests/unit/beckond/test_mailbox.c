/* The mailbox: in order, bounded, readable while there is something, and from several threads at once. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bin/beckond/mailbox.h"

enum {
    THREADS = 3,
    EACH = 5000,
};

static bool readable(const struct bk_mailbox *m, int wait_ms)
{
    struct pollfd p = {.fd = bk_mailbox_fd(m), .events = POLLIN};

    return poll(&p, 1, wait_ms) == 1;
}

static void take_datagram(struct bk_mailbox *m, uint64_t round, const uint8_t *bytes)
{
    struct bk_mail out;

    assert_true(readable(m, 0));
    assert_true(bk_mailbox_take(m, &out));
    assert_int_equal(out.kind, BK_MAIL_DATAGRAM);
    assert_int_equal(out.shard, round % 5);
    assert_int_equal(out.local, round % 7);
    assert_int_equal(out.from.port, (uint16_t)round);
    assert_int_equal(out.bytes.n, round % BK_MAIL_BYTES);
    assert_memory_equal(out.bytes.p, bytes, out.bytes.n);
}

static void take_news(struct bk_mailbox *m, uint64_t equipment_id)
{
    struct bk_mail out;

    assert_true(readable(m, 0));
    assert_true(bk_mailbox_take(m, &out));
    assert_int_equal(out.kind, BK_MAIL_NEWS);
    assert_int_equal(out.equipment_id, equipment_id);
}

/* News first, and each kind in order. Twice round: with one kind always in, and emptied each time. */
static void test_in_order(void **state)
{
    struct bk_mailbox *m;
    struct bk_mail out;
    uint8_t bytes[BK_MAIL_BYTES + 1];

    (void)state;
    memset(bytes, 7, sizeof bytes);
    assert_int_equal(bk_mailbox_new(&m), BK_OK);
    assert_false(readable(m, 0));
    assert_false(bk_mailbox_take(m, &out));
    for (uint64_t round = 0; round < 3 * BK_MAILBOX_DATAGRAMS; round++) {
        struct bk_mail in = {.kind = BK_MAIL_DATAGRAM,
                             .shard = (uint8_t)(round % 5),
                             .local = (uint8_t)(round % 7),
                             .from = bk_addr_v4(1, 2, 3, 4, (uint16_t)round),
                             .bytes = bk_slice(bytes, round % BK_MAIL_BYTES)};
        assert_true(bk_mailbox_put(m, &in));
        in = (struct bk_mail){.kind = BK_MAIL_NEWS, .equipment_id = round};
        assert_true(bk_mailbox_put(m, &in));
        take_news(m, round);
        if (round > 0) {
            take_datagram(m, round - 1, bytes);
        }
        if (round % 100 == 99) {
            take_datagram(m, round, bytes);
            assert_false(readable(m, 0));
            assert_true(bk_mailbox_put(m, &(struct bk_mail){.kind = BK_MAIL_NEWS}));
            take_news(m, 0);
            in = (struct bk_mail){.kind = BK_MAIL_DATAGRAM,
                                  .shard = (uint8_t)(round % 5),
                                  .local = (uint8_t)(round % 7),
                                  .from = bk_addr_v4(1, 2, 3, 4, (uint16_t)round),
                                  .bytes = bk_slice(bytes, round % BK_MAIL_BYTES)};
            assert_true(bk_mailbox_put(m, &in));
        }
    }
    assert_true(bk_mailbox_take(m, &out));
    assert_false(readable(m, 0));
    struct bk_mail longest = {.bytes = bk_slice(bytes, BK_MAIL_BYTES)};
    assert_true(bk_mailbox_put(m, &longest));
    longest.bytes.n++;
    assert_false(bk_mailbox_put(m, &longest));
    assert_true(bk_mailbox_take(m, &out));
    assert_int_equal(out.bytes.n, BK_MAIL_BYTES);
    bk_mailbox_free(m);
    bk_mailbox_free(NULL);
}

/* However many datagrams there are, news have room. */
static void test_full(void **state)
{
    const struct bk_mail datagram = {.kind = BK_MAIL_DATAGRAM, .bytes = bk_slice("x", 1)};
    struct bk_mailbox *m;
    struct bk_mail out;
    uint64_t n = 0, taken = 0;

    (void)state;
    assert_int_equal(bk_mailbox_new(&m), BK_OK);
    while (bk_mailbox_put(m, &datagram)) {
        n++;
    }
    assert_int_equal(n, BK_MAILBOX_DATAGRAMS);
    n = 0;
    while (bk_mailbox_put(m, &(struct bk_mail){.kind = BK_MAIL_NEWS, .equipment_id = n})) {
        n++;
    }
    assert_int_equal(n, BK_MAILBOX_NEWS);
    for (; taken < n; taken++) {
        take_news(m, taken);
    }
    while (bk_mailbox_take(m, &out)) {
        assert_int_equal(out.kind, BK_MAIL_DATAGRAM);
        taken++;
    }
    assert_int_equal(taken, BK_MAILBOX_NEWS + BK_MAILBOX_DATAGRAMS);
    assert_false(readable(m, 0));
    bk_mailbox_free(m);
}

struct putter {
    struct bk_mailbox *m;
    uint8_t number;
    enum bk_mail_kind kind;
};

static void *put_many(void *arg)
{
    const struct putter *p = arg;

    for (uint64_t i = 0; i < EACH;) {
        struct bk_mail mail = {.kind = p->kind, .shard = p->number, .equipment_id = i};
        mail.equipment_id |= (uint64_t)p->number << 32;
        if (bk_mailbox_put(p->m, &mail)) {
            i++;
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct bk_mailbox *m;
    struct bk_mail out;
    struct putter putters[THREADS];
    pthread_t threads[THREADS];
    uint64_t next[THREADS] = {0};

    (void)state;
    assert_int_equal(bk_mailbox_new(&m), BK_OK);
    for (uint8_t i = 0; i < THREADS; i++) {
        putters[i] =
            (struct putter){.m = m, .number = i, .kind = i == 0 ? BK_MAIL_DATAGRAM : BK_MAIL_NEWS};
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, &putters[i]), 0);
    }
    for (unsigned n = 0; n < THREADS * EACH;) {
        assert_true(readable(m, 20000)); /* never something inside and nobody told */
        while (bk_mailbox_take(m, &out)) {
            uint64_t who = out.equipment_id >> 32;
            assert_int_equal((uint32_t)out.equipment_id, next[who]++);
            n++;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_false(readable(m, 0));
    bk_mailbox_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
