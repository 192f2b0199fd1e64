/* A server whose shards are worked on by others too: it enters each before it looks, leaves the timers to them, and hears
 * of what they see. */
#include "core/server/call_lab.h"

enum { SHARDS = 4, NOWHERE = SHARDS, DEVICES = 200 };

struct guard {
    uint32_t in, entered[SHARDS];
};

static void enter(void *ctx, uint32_t shard)
{
    struct guard *g = ctx;
    assert_int_equal(g->in, NOWHERE); /* never two at a time */
    assert_true(shard < SHARDS);
    g->in = shard;
    g->entered[shard]++;
}

static void leave(void *ctx, uint32_t shard)
{
    struct guard *g = ctx;
    assert_int_equal(g->in, shard);
    g->in = NOWHERE;
}

/* Replaces the lab's server. */
static struct lab *lab_sharded(struct guard *g)
{
    struct lab *l = lab_new();
    bk_server_free(l->server);
    *g = (struct guard){.in = NOWHERE};
    l->config.shards = SHARDS;
    l->config.lock = (struct bk_shard_lock){g, enter, leave};
    assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
    return l;
}

static void close_lab(struct lab *l, const struct guard *g)
{
    lab_free(l);
    assert_int_equal(g->in, NOWHERE);
}

static void rows_of_all_shards_are_found_walked_and_counted(void **state)
{
    (void)state;
    struct guard g;
    struct lab *l = lab_sharded(&g);
    static bool seen[DEVICES + 1];
    memset(seen, 0, sizeof seen);
    for (uint64_t id = 1; id <= DEVICES; id++) {
        struct device d = device_new(l, id);
        device_register(l, &d);
        assert_true(device_is_at(l, &d, d.addr));
    }
    assert_int_equal(bk_server_rows(l->server), DEVICES);
    size_t n = 0;
    struct bk_server_row row;
    for (uint64_t cursor = 0; bk_server_next(l->server, &cursor, &row); n++) {
        assert_true(row.equipment_id <= DEVICES && !seen[row.equipment_id]);
        seen[row.equipment_id] = true;
    }
    assert_int_equal(n, DEVICES);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_true(g.entered[i] > DEVICES / SHARDS / 2);
        assert_in_range(bk_registrar_rows(bk_server_shard(l->server, i)), DEVICES / SHARDS / 2,
                        DEVICES / SHARDS * 2);
    }
    close_lab(l, &g);
}

static void timers_of_shards_are_their_workers_affair(void **state)
{
    (void)state;
    struct guard g;
    struct lab *l = lab_sharded(&g);
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    assert_true(bk_server_deadline(l->server) == BK_TIME_NEVER);
    lab_pass(l, (BK_SERVER_EXPIRY_S + 1) * 1000);
    lab_timer(l);
    assert_int_equal(bk_server_rows(l->server), 1);
    struct bk_registrar *r = bk_server_shard(l->server, bk_shard_of(2133, SHARDS));
    assert_true(bk_registrar_deadline(r) <= l->now.mono);
    bk_registrar_timer(r, &l->now);
    assert_int_equal(bk_server_rows(l->server), 0);
    close_lab(l, &g);
}

static void what_concerns_all_shards_reaches_all(void **state)
{
    (void)state;
    struct guard g;
    struct lab *l = lab_sharded(&g);
    for (uint64_t id = 1; id <= DEVICES; id++) {
        struct device d = device_new(l, id);
        device_rekey(l, &d, id % 2 == 0 ? EPOCH : OLD_EPOCH, 1);
        device_register(l, &d);
    }
    assert_int_equal(bk_server_set_masters(l->server, l->config.master, 1), BK_OK);
    for (uint64_t id = 1; id <= DEVICES; id++) {
        struct bk_server_row row;
        assert_int_equal(bk_server_find(l->server, id, &row), id % 2 == 0);
    }
    uint8_t txid[BK_STUN_TXID_BYTES] = {0};
    uint8_t buf[64];
    struct bk_slice b;
    bk_server_set_binding(l->server, false, 1);
    for (uint8_t i = 0; i < SHARDS; i++) {
        txid[BK_STUN_TXID_BYTES - 1] = i; /* what its shard goes by */
        assert_int_equal(bk_binding_request_write(buf, sizeof buf, txid, &b), BK_OK);
        lab_datagram(l, 0, bk_addr_v4(1, 2, 3, 4, 5), b);
        assert_int_equal(l->out.n, 0);
    }
    close_lab(l, &g);
}

/* The worker has applied a registration; a call waits. */
static void news_of_a_worker_reaches_the_call_that_waits(void **state)
{
    (void)state;
    struct guard g;
    struct call_lab c = call_lab_from(lab_sharded(&g));
    uint8_t shard = (uint8_t)bk_shard_of(2133, SHARDS);
    struct bk_registrar *r = bk_server_shard(c.l->server, shard);
    ring(&c, 1);
    assert_int_equal(lab_must(c.l, BK_SERVER_SEND_DATAGRAM, 0)->datagram.shard, shard);
    run(c.l, 3000);

    /* It comes back as another run, from elsewhere. */
    c.d.addr.port++;
    c.d.tag.random++;
    uint8_t buf[256];
    char nonce[BK_NONCE_BYTES + 1] = "";
    struct bk_registrar_reply reply;
    for (int round = 0; round < 2; round++) {
        struct bk_stun m;
        struct bk_register_answer a;
        c.d.tag.counter++;
        struct bk_arrival in = {
            .from = c.d.addr,
            .local = c.d.local,
            .bytes = device_write(c.l, &c.d, round == 0 ? NULL : nonce, buf, sizeof buf)};
        assert_int_equal(bk_registrar_datagram(r, &c.l->now, &in, &reply), BK_REGISTRAR_REPLY);
        assert_int_equal(reply.news, round == 1);
        assert_int_equal(bk_stun_read(bk_slice(reply.bytes, reply.n), &m), BK_OK);
        assert_int_equal(bk_register_answer_read(&m, &c.l->config.mac, BK_SLICE_OF(c.d.key), &a),
                         BK_OK);
        if (round == 0) {
            memcpy(nonce, a.nonce.p, BK_NONCE_BYTES);
        }
    }
    struct bk_server_event e = {.type = BK_SERVER_ROW_NEWS};
    e.row_news.equipment_id = reply.equipment_id;
    lab_input(c.l, &e);
    expect_notify(&c);
    answer_notify(&c, c.d.addr, c.d.local);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, DEVICE_STREAM, 1);
    answer_offer(&c, DEVICE_STREAM, 0);

    /* Nobody waits any more; news that comes late does no harm. */
    lab_input(c.l, &e);
    assert_int_equal(c.l->out.n, 0);
    e.row_news.equipment_id = 4711;
    lab_input(c.l, &e);
    assert_int_equal(c.l->out.n, 0);
    close_lab(c.l, &g);
}

static void an_answer_leaves_by_the_socket_that_was_asked(void **state)
{
    (void)state;
    struct guard g;
    struct lab *l = lab_sharded(&g);
    struct device d = device_new(l, 2133);
    uint8_t buf[256];
    for (uint8_t shard = 0; shard < SHARDS; shard++) {
        struct bk_server_event e = {.type = BK_SERVER_DATAGRAM};
        d.tag.counter++;
        e.datagram.shard = shard; /* wherever it came to: its own answers */
        e.datagram.from = d.addr;
        e.datagram.bytes = device_write(l, &d, NULL, buf, sizeof buf);
        lab_input(l, &e);
        assert_int_equal(lab_must(l, BK_SERVER_SEND_DATAGRAM, 0)->datagram.shard, shard);
    }
    close_lab(l, &g);
}

static void shards_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct guard g;
    struct lab *l = lab_new();
    struct bk_server_config c = l->config;
    struct bk_server *s = NULL;
    c.shards = BK_SHARDS_MAX + 1;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    c.shards = 2;
    c.max_devices = 2 * (uint64_t)BK_REGISTRAR_ROWS_MAX + 1;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    c = l->config;
    c.lock = (struct bk_shard_lock){&g, enter, NULL};
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    assert_null(s);
    c = l->config;
    c.shards = BK_SHARDS_MAX;
    c.max_devices = BK_SHARDS_MAX * (uint64_t)BK_REGISTRAR_ROWS_MAX;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_OK);
    bk_server_free(s);
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_all_shards_are_found_walked_and_counted),
        cmocka_unit_test(timers_of_shards_are_their_workers_affair),
        cmocka_unit_test(what_concerns_all_shards_reaches_all),
        cmocka_unit_test(news_of_a_worker_reaches_the_call_that_waits),
        cmocka_unit_test(an_answer_leaves_by_the_socket_that_was_asked),
        cmocka_unit_test(shards_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
