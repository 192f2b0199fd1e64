/* What strangers can do to the core: nothing. Garbage, mutations and replays of real datagrams and
 * messages, Binding floods, memory that runs out, configurations that cannot be. */
#include "core/server/fixture.h"

enum { GARBAGE = 120000 };

static void fingerprint(uint8_t *bytes, size_t n)
{
    /* The writer computes it over what stands there: give the mutated body a right one. */
    if (n < 28) {
        return;
    }
    struct bk_stun_writer w = {.w = bk_writer(bytes, n)};
    w.w.len = n - 8;
    bk_stun_put_fingerprint(&w);
}

static size_t mutate(struct bk_random *r, uint8_t *buf, size_t n, size_t cap)
{
    for (uint64_t flips = 1 + bk_random_below(r, 4); flips > 0; flips--) {
        buf[bk_random_below(r, n)] ^= (uint8_t)(1u << bk_random_below(r, 8));
    }
    if (bk_random_below(r, 4) == 0) {
        n = bk_random_below(r, n + 1);
    } else if (bk_random_below(r, 4) == 0 && n + 8 < cap) {
        n += bk_random_below(r, 8);
    }
    if (bk_random_below(r, 2) == 0) {
        fingerprint(buf, n);
    }
    return n;
}

static void garbage_changes_nothing_and_is_never_answered_with_more(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct seeded seed = {.state = 20260101};
    struct bk_random r = {&seed, seeded_fill};
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    struct bk_server_row before;
    assert_true(bk_server_find(l->server, 2133, &before));
    uint64_t allocations = l->memory.calls;
    size_t answers = 0;
    uint8_t buf[BK_STUN_DATAGRAM_MAX_BYTES + 64];
    for (int i = 0; i < GARBAGE; i++) {
        size_t n;
        struct device forged = d;
        forged.tag.counter += (uint32_t)bk_random_below(&r, 3);
        switch (i % 4) {
        case 0: /* nothing but noise */
            n = bk_random_below(&r, sizeof(buf));
            r.fill(r.ctx, buf, n);
            break;
        case 1: { /* a REGISTER of its own, bent */
            struct bk_slice b = device_write(l, &forged, i % 8 == 1 ? "abcdefghijklmnopqrst" : NULL,
                                             buf, sizeof(buf));
            n = mutate(&r, buf, b.n, sizeof(buf));
            break;
        }
        case 2: { /* a well-formed one under a wrong key, perhaps of a device that is not there */
            forged.key[bk_random_below(&r, BK_KEY_BYTES)] ^= 0x40;
            forged.id += bk_random_below(&r, 3);
            n = device_write(l, &forged, NULL, buf, sizeof(buf)).n;
            break;
        }
        default: { /* a NOTIFY answer to nothing, or any header over noise */
            uint8_t txid[BK_STUN_TXID_BYTES];
            r.fill(r.ctx, txid, sizeof(txid));
            struct bk_slice b;
            struct bk_notify_answer a = {.taken = bk_random_below(&r, 2) == 0};
            assert_int_equal(bk_notify_answer_write(buf, sizeof(buf), txid, &a, &l->config.mac,
                                                    BK_SLICE_OF(d.key), &b),
                             BK_OK);
            n = bk_random_below(&r, 2) == 0 ? b.n : mutate(&r, buf, b.n, sizeof(buf));
            if (n >= 2 && bk_random_below(&r, 2) == 0) {
                buf[0] = (uint8_t)bk_random_below(&r, 64);
            }
        }
        }
        struct bk_addr from = bk_addr_v4(198, 51, 100, 1, (uint16_t)(1 + bk_random_below(&r, 9)));
        lab_datagram(l, (uint8_t)bk_random_below(&r, 2), from, bk_slice(buf, n));
        assert_true(l->out.n <= 1);
        if (l->out.n == 1) {
            assert_int_equal(l->out.actions[0].type, BK_SERVER_SEND_DATAGRAM);
            assert_true(l->out.actions[0].datagram.bytes.n <= n);
            answers++;
        }
    }
    struct bk_server_row after;
    assert_true(bk_server_find(l->server, 2133, &after));
    assert_memory_equal(&before.addr, &after.addr, sizeof(after.addr));
    assert_int_equal(before.last_seen, after.last_seen);
    assert_int_equal(bk_server_rows(l->server), 1);
    assert_int_equal(l->memory.calls, allocations); /* no state is kept */
    /* Mutations that only touch the tail behind the integrity, or none at all, earn a nonce. */
    assert_true(answers < GARBAGE / 10);
    assert_int_equal(device_send(l, &d, NULL, NULL), 0);
    lab_free(l);
}

static void garbage_on_a_stream_closes_it_and_leaves_the_others(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct seeded seed = {.state = 77};
    struct bk_random r = {&seed, seeded_fill};
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    for (uint64_t stream = 1; stream <= 20000; stream++) {
        uint8_t buf[512];
        uint8_t txid[BK_STUN_TXID_BYTES] = {1};
        struct bk_connect c = {.equipment_id = 2133, .box = bk_slice_text("box")};
        struct bk_slice b;
        assert_int_equal(bk_connect_write(buf, sizeof(buf), txid, &c, &b), BK_OK);
        size_t n = mutate(&r, buf, b.n, sizeof(buf));
        enum bk_role role = (enum bk_role)bk_random_below(&r, 4);
        lab_open(l, stream, role, 2133, role == BK_ROLE_USER ? "alice" : "");
        lab_message(l, stream, bk_slice(buf, n));
        const struct bk_server_action *f = lab_action(l, BK_SERVER_FIND_DEVICE);
        if (f) {
            lab_found(l, f->find.query, BK_CODE_NOT_FOUND, 0);
        }
        lab_closed(l, stream);
    }
    assert_int_equal(bk_server_rows(l->server), 1);
    lab_free(l);
}

static struct bk_slice binding_request(uint8_t *buf, size_t cap)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {5};
    struct bk_slice b;
    assert_int_equal(bk_binding_request_write(buf, cap, txid, &b), BK_OK);
    return b;
}

static void binding_tells_anyone_his_address(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    uint8_t buf[128];
    struct bk_addr from[2] = {bk_addr_v4(4, 17, 168, 2, 4242)};
    assert_int_equal(bk_addr_parse(bk_slice_text("[2a00::7]:4242"), 0, &from[1]), BK_OK);
    for (size_t i = 0; i < 2; i++) {
        struct bk_slice b = binding_request(buf, sizeof(buf));
        lab_datagram(l, 1, from[i], b);
        const struct bk_server_action *a = lab_must(l, BK_SERVER_SEND_DATAGRAM, 0);
        assert_int_equal(a->datagram.local, 1);
        assert_true(bk_addr_equal(&a->datagram.to, &from[i]));
        assert_true(a->datagram.bytes.n <= b.n + 24);
        struct bk_stun m;
        struct bk_addr mapped;
        assert_int_equal(bk_stun_read(a->datagram.bytes, &m), BK_OK);
        assert_int_equal(bk_binding_response_read(&m, &mapped), BK_OK);
        assert_true(bk_addr_equal(&mapped, &from[i]));
    }
    assert_int_equal(bk_server_rows(l->server), 0);
    lab_free(l);
}

static void binding_is_limited_by_prefix(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    uint8_t buf[128];
    struct bk_slice b = binding_request(buf, sizeof(buf));
    size_t answered = 0;
    for (uint16_t port = 1; port <= 100; port++) {
        lab_datagram(l, 0, bk_addr_v4(4, 17, 168, 2, port), b);
        answered += l->out.n;
    }
    assert_int_equal(answered, 10);
    lab_datagram(l, 0, bk_addr_v4(4, 17, 168, 3, 1), b);
    assert_int_equal(l->out.n, 1); /* a neighbour is not made to suffer */
    lab_pass(l, 1000);
    lab_datagram(l, 0, bk_addr_v4(4, 17, 168, 2, 1), b);
    assert_int_equal(l->out.n, 1);
    lab_free(l);
}

static void binding_may_be_switched_off_and_answers_requests_only(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    uint8_t buf[128];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_slice b;
    struct bk_addr from = bk_addr_v4(4, 17, 168, 2, 1);
    assert_int_equal(bk_binding_response_write(buf, sizeof(buf), txid, &from, &b), BK_OK);
    lab_datagram(l, 0, from, b);
    assert_int_equal(l->out.n, 0);
    struct bk_stun_writer w =
        bk_stun_begin(buf, sizeof(buf), BK_METHOD_BINDING, BK_STUN_REQUEST, txid);
    bk_stun_put_fingerprint(&w);
    assert_int_equal(bk_stun_end(&w, &b), BK_OK);
    lab_datagram(l, 0, from, b);
    assert_int_equal(l->out.n, 1);
    buf[b.n - 1] ^= 1; /* a wrong FINGERPRINT: not STUN */
    lab_datagram(l, 0, from, b);
    assert_int_equal(l->out.n, 0);

    bk_server_free(l->server);
    l->config.answer_binding = false;
    l->config.binding_per_s = 0;
    assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
    lab_datagram(l, 0, from, binding_request(buf, sizeof(buf)));
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void every_allocation_may_fail_once_started_or_not(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    bk_server_free(l->server);
    l->server = NULL;
    uint64_t nth = 1;
    for (;; nth++) {
        l->memory = (struct failing){.fail_from = nth};
        enum bk_err err = bk_server_new(&l->config, &l->now, &l->server);
        if (err == BK_OK) {
            break;
        }
        assert_int_equal(err, BK_E_NOMEM);
        assert_null(l->server);
        assert_int_equal(l->memory.alive, 0);
    }
    assert_true(nth > 15);
    /* From now on none succeeds: nobody new is registered, nothing else suffers. */
    l->memory.fail_from = 1;
    struct device d = device_new(l, 2133);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(l, &d, nonce, NULL), SILENCE);
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lab_connect(l, 1, 2133, 1);
    assert_non_null(lab_action(l, BK_SERVER_FIND_DEVICE));
    /* Revocations are never forgotten, or nobody is believed any more. */
    for (uint64_t id = 10000; id < 20000; id++) {
        lab_exception(l, id, 0, true);
    }
    struct device revoked = device_new(l, 10001);
    assert_int_equal(device_send(l, &revoked, NULL, NULL), BK_CODE_FORBIDDEN);
    revoked = device_new(l, 19999);
    assert_int_equal(device_send(l, &revoked, NULL, NULL), SILENCE);
    assert_int_equal(device_send(l, &d, NULL, nonce), SILENCE);
    l->memory.fail_from = 0;
    lab_free(l);
}

static void impossible_configurations_are_refused(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct bk_server *s = NULL;
    struct bk_server_config c = l->config;
    c.n_master = 0;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    c.n_master = BK_SERVER_EPOCHS_MAX + 1;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    c = l->config;
    c.max_devices = 0;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    c.max_devices = UINT64_MAX;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    c = l->config;
    c.max_calls = 0;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    c = l->config;
    c.max_streams = UINT32_MAX;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    c = l->config;
    c.binding_per_s = 0;
    assert_int_equal(bk_server_new(&c, &l->now, &s), BK_E_RANGE);
    assert_null(s);
    bk_server_free(NULL);
    lab_free(l);
}

/* Memory that is looked at when it is given back: the size stands in front of it. */
struct watched {
    size_t n;
    uint8_t pad[16 - sizeof(size_t)];
};

static void *watched_get(void *ctx, size_t n)
{
    (void)ctx;
    struct watched *w = calloc(1, sizeof(*w) + n);
    assert_non_null(w);
    w->n = n;
    return w + 1;
}

static void watched_put(void *ctx, void *p)
{
    size_t *secrets = ctx;
    if (!p) {
        return;
    }
    struct watched *w = (struct watched *)p - 1;
    const uint8_t *bytes = p;
    for (size_t run = 0, i = 0; i < w->n; i++) {
        run = bytes[i] == 0xA7 ? run + 1 : 0;
        *secrets += run == BK_KEY_BYTES;
    }
    free(w);
}

static void a_server_that_ends_leaves_no_key_in_memory(void **state)
{
    (void)state;
    size_t secrets = 0;
    struct lab *l = lab_new();
    struct bk_server_config config = l->config;
    struct bk_server *s = NULL;
    config.alloc = (struct bk_alloc){&secrets, watched_get, watched_put};
    assert_int_equal(bk_server_new(&config, &l->now, &s), BK_OK);
    bk_server_free(s);
    assert_int_equal(secrets, 0);
    lab_free(l);
}

static void binding_is_switched_while_it_runs(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    uint8_t buf[128];
    struct bk_addr from = bk_addr_v4(4, 17, 168, 2, 1);
    bk_server_set_binding(l->server, false, 10);
    lab_datagram(l, 0, from, binding_request(buf, sizeof(buf)));
    assert_int_equal(l->out.n, 0);
    bk_server_set_binding(l->server, true, 0); /* at least one a second */
    lab_datagram(l, 0, from, binding_request(buf, sizeof(buf)));
    assert_int_equal(l->out.n, 1);
    lab_datagram(l, 0, from, binding_request(buf, sizeof(buf)));
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void binding_with_what_we_do_not_understand_is_not_answered(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    uint8_t buf[128];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_addr from = bk_addr_v4(4, 17, 168, 2, 1);
    for (unsigned optional = 0; optional < 2; optional++) {
        struct bk_slice b;
        struct bk_stun_writer w =
            bk_stun_begin(buf, sizeof(buf), BK_METHOD_BINDING, BK_STUN_REQUEST, txid);
        bk_stun_put(&w, optional ? 0xFFFF : 0x7FFF, BK_SLICE_EMPTY);
        assert_int_equal(bk_stun_end(&w, &b), BK_OK);
        lab_datagram(l, 0, from, b);
        assert_int_equal(l->out.n, optional);
    }
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_changes_nothing_and_is_never_answered_with_more),
        cmocka_unit_test(garbage_on_a_stream_closes_it_and_leaves_the_others),
        cmocka_unit_test(binding_tells_anyone_his_address),
        cmocka_unit_test(binding_is_limited_by_prefix),
        cmocka_unit_test(binding_may_be_switched_off_and_answers_requests_only),
        cmocka_unit_test(every_allocation_may_fail_once_started_or_not),
        cmocka_unit_test(impossible_configurations_are_refused),
        cmocka_unit_test(a_server_that_ends_leaves_no_key_in_memory),
        cmocka_unit_test(binding_is_switched_while_it_runs),
        cmocka_unit_test(binding_with_what_we_do_not_understand_is_not_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
