/* The measurement against a NAT of the test's own: one mapping, kept for `keeps_s` of silence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/agent/fake.h"
#include "core/agent/lifetime.h"
#include "seal/seal.h"
#include "wire/binding.h"
#include "wire/probe.h"

struct bench {
    uint64_t seed;
    struct bk_registration r;
    struct bk_lifetime l;
    struct bk_lifetime_out out;
    struct bk_now now;
    uint32_t keeps_s;
    bk_time touched; /* the second socket's mapping */
    uint16_t port;
    bool no_binding, other_ip;
    uint32_t lose;       /* so many of the next datagrams, */
    uint32_t lose_first; /* and so many of each question's */
    bool open;
    uint32_t kept[16];
    size_t n_kept;
    uint32_t datagrams, probes;
};

static void carry_out(struct bench *b);

static void begin(struct bench *b, uint64_t seed, uint32_t keeps_s)
{
    memset(b, 0, sizeof *b);
    b->seed = seed;
    b->now = fake_now();
    b->keeps_s = keeps_s;
    struct bk_registration_config config = {.rng = fake_random(&b->seed),
                                            .mac = bk_mac_sodium(),
                                            .equipment_id = 2133,
                                            .generation = 7,
                                            .epoch = 3};
    memset(config.key, 0x5A, sizeof config.key);
    bk_registration_init(&b->r, &config);
    b->r.tag.counter = 9;
    struct bk_random rng = fake_random(&b->seed);
    bk_lifetime_init(&b->l, &rng);
    assert_true(bk_lifetime_deadline(&b->l) == BK_TIME_NEVER);
}

static void tell(struct bench *b, enum bk_lifetime_event_type type)
{
    struct bk_lifetime_event event = {.type = type, .server = fake_server(), .addr = fake_mapped()};
    bk_lifetime_input(&b->l, &b->now, &b->r, &event, &b->out);
    carry_out(b);
}

static void receive_from(struct bench *b, struct bk_slice bytes, struct bk_addr from)
{
    struct bk_lifetime_event event = {.type = BK_LIFETIME_DATAGRAM, .addr = from, .bytes = bytes};
    bk_lifetime_input(&b->l, &b->now, &b->r, &event, &b->out);
    carry_out(b);
}

static struct bk_slice key_of(const struct bench *b)
{
    return bk_slice(b->r.config.key, sizeof b->r.config.key);
}

static bool mapped(const struct bench *b)
{
    return b->touched != 0 && b->now.mono - b->touched < b->keeps_s * BK_SECOND;
}

static void on_second(struct bench *b, const struct bk_stun *m)
{
    uint8_t buf[64];
    struct bk_slice bytes;
    assert_int_equal(m->method, BK_METHOD_BINDING);
    if (!mapped(b)) {
        b->port++;
    }
    b->touched = b->now.mono;
    struct bk_addr addr = b->other_ip ? bk_addr_v4(9, 9, 9, 9, 0) : fake_mapped();
    addr.port = (uint16_t)(5000 + b->port);
    if (b->l.sends <= b->lose_first) {
        return;
    }
    if (!b->no_binding && b->lose == 0) {
        assert_int_equal(bk_binding_response_write(buf, sizeof buf, m->txid, &addr, &bytes), BK_OK);
        receive_from(b, bytes, fake_server());
    } else if (b->lose > 0) {
        b->lose--;
    }
}

static void on_main(struct bench *b, const struct bk_stun *m)
{
    uint8_t buf[64];
    struct bk_slice bytes;
    struct bk_probe probe;
    assert_int_equal(bk_probe_read(m, &probe), BK_OK);
    assert_int_equal(bk_stun_check_fingerprint(m), BK_OK);
    assert_int_equal(bk_stun_check_sha256(m, &b->r.config.mac, key_of(b), BK_STUN_SHORT_MAC_BYTES),
                     BK_OK);
    assert_int_equal(probe.equipment_id, 2133);
    assert_int_equal(probe.generation, 7);
    assert_int_equal(probe.epoch, 3);
    assert_int_equal(probe.tag.counter, 9);
    b->probes++;
    if (b->l.sends <= b->lose_first) {
        return;
    }
    if (b->lose > 0) {
        b->lose--;
    } else if (mapped(b) && probe.port == 5000 + b->port) {
        b->touched = b->now.mono;
        assert_int_equal(
            bk_probe_echo_write(buf, sizeof buf, m->txid, &b->r.config.mac, key_of(b), &bytes),
            BK_OK);
        receive_from(b, bytes, fake_server());
    }
}

static void carry_out(struct bench *b)
{
    struct bk_lifetime_out out = b->out;
    uint8_t copy[BK_LIFETIME_MESSAGE_BYTES];
    struct bk_addr server = fake_server();
    for (size_t i = 0; i < out.n; i++) {
        const struct bk_lifetime_action *a = &out.actions[i];
        struct bk_stun m;
        if (a->type == BK_LIFETIME_SEND_SECOND || a->type == BK_LIFETIME_SEND_MAIN) {
            assert_true(bk_addr_equal(&a->addr, &server));
            assert_true(a->bytes.n <= sizeof copy);
            memcpy(copy, a->bytes.p, a->bytes.n);
            assert_int_equal(bk_stun_read(bk_slice(copy, a->bytes.n), &m), BK_OK);
            b->datagrams++;
        }
        switch (a->type) {
        case BK_LIFETIME_SEND_SECOND:
            b->open = true;
            on_second(b, &m);
            break;
        case BK_LIFETIME_SEND_MAIN:
            on_main(b, &m);
            break;
        case BK_LIFETIME_KEPT:
            assert_true(b->n_kept < sizeof b->kept / sizeof b->kept[0]);
            b->kept[b->n_kept++] = a->kept_s;
            break;
        case BK_LIFETIME_CLOSE:
            assert_true(b->open);
            b->open = false;
            break;
        }
    }
}

static void tick(struct bench *b)
{
    uint64_t wait = bk_time_left(b->now.mono, bk_lifetime_deadline(&b->l));
    assert_true(wait != BK_TIME_NEVER);
    fake_pass(&b->now, wait);
    bk_lifetime_timer(&b->l, &b->now, &b->r, &b->out);
    carry_out(b);
}

/* One measurement; what it found. */
static uint32_t measure(struct bench *b)
{
    do {
        tick(b);
    } while (b->l.state != BK_LIFETIME_RESTING);
    assert_false(b->open); /* the second socket is there only while measuring */
    return b->l.told_s;
}

static void the_largest_silence_that_worked_is_found(void **state)
{
    (void)state;
    static const struct {
        uint32_t keeps_s, found_s;
    } cases[] = {{30, 0},    {39, 0},    {41, 40},   {75, 40},   {76, 75},    {120, 110},
                 {171, 170}, {180, 170}, {271, 270}, {300, 270}, {86400, 270}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct bench b;
        begin(&b, i + 1, cases[i].keeps_s);
        tell(&b, BK_LIFETIME_REGISTERED);
        bk_time began = b.now.mono;
        assert_int_equal(measure(&b), cases[i].found_s);
        assert_true(b.now.mono - began < 1200 * BK_SECOND);
        assert_true(b.datagrams <= 30);
        for (size_t k = 1; k < b.n_kept; k++) {
            assert_true(b.kept[k] > b.kept[k - 1]); /* each better one is of use at once */
        }
        assert_int_equal(b.n_kept == 0 ? 0 : b.kept[b.n_kept - 1], cases[i].found_s);
    }
}

static void it_is_measured_again_each_day(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 300);
    tell(&b, BK_LIFETIME_REGISTERED);
    assert_int_equal(measure(&b), 270);
    size_t told = b.n_kept;
    uint64_t rest = bk_time_left(b.now.mono, bk_lifetime_deadline(&b.l));
    assert_true(rest >= 86400 * BK_SECOND && rest <= 90000 * BK_SECOND);
    assert_int_equal(measure(&b), 270);
    assert_int_equal(b.n_kept, told); /* no news, and nothing lower on the way */
    b.keeps_s = 120;
    assert_int_equal(measure(&b), 110);
    assert_int_equal(b.n_kept, told + 1);
    b.keeps_s = 30;
    assert_int_equal(measure(&b), 0);
    assert_int_equal(b.kept[b.n_kept - 1], 0);
}

static void what_is_lost_on_the_way_is_no_proof(void **state)
{
    (void)state;
    static struct bench b;
    for (uint32_t lose = 1; lose <= 2; lose++) { /* of each kind of message */
        begin(&b, lose, 300);
        b.lose_first = lose;
        tell(&b, BK_LIFETIME_REGISTERED);
        assert_int_equal(measure(&b), 270);
    }
    begin(&b, 3, 300); /* all three probes of one try */
    tell(&b, BK_LIFETIME_REGISTERED);
    while (b.l.state != BK_LIFETIME_SILENT) {
        tick(&b);
    }
    b.lose = 3;
    assert_int_equal(measure(&b), 270);
}

static void a_server_without_binding_leaves_it_unknown(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 300);
    b.no_binding = true;
    tell(&b, BK_LIFETIME_REGISTERED);
    assert_int_equal(measure(&b), 0);
    assert_int_equal(b.datagrams, 3);
    assert_int_equal(b.n_kept, 0);
    assert_true(bk_time_left(b.now.mono, bk_lifetime_deadline(&b.l)) >= 3600 * BK_SECOND);
    b.no_binding = false;
    assert_int_equal(measure(&b), 270);
    b.no_binding = true; /* what is known stays so */
    assert_int_equal(measure(&b), 270);
}

static void a_port_at_another_address_is_not_probed(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 300);
    b.other_ip = true;
    tell(&b, BK_LIFETIME_REGISTERED);
    assert_int_equal(measure(&b), 0);
    assert_int_equal(b.probes, 0);
}

static void nothing_is_measured_unless_registered_by_udp(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 1, 300);
    tell(&b, BK_LIFETIME_REGISTERED);
    tick(&b);
    assert_true(b.open);
    tell(&b, BK_LIFETIME_LOST);
    assert_false(b.open);
    assert_true(bk_lifetime_deadline(&b.l) == BK_TIME_NEVER);
    tell(&b, BK_LIFETIME_REGISTERED);
    assert_int_equal(measure(&b), 270);
    size_t told = b.n_kept;
    tell(&b,
         BK_LIFETIME_REGISTERED); /* seen from elsewhere: anew, and told even if it is the same */
    assert_int_equal(measure(&b), 270);
    assert_true(b.n_kept > told);
}

static void strangers_and_wrong_messages_change_nothing(void **state)
{
    (void)state;
    static struct bench b;
    uint8_t buf[64], bad[64];
    struct bk_slice bytes;
    begin(&b, 1, 300);
    tell(&b, BK_LIFETIME_REGISTERED);
    while (b.l.state != BK_LIFETIME_SILENT) {
        tick(&b);
    }
    b.lose = 1;
    tick(&b);
    assert_int_equal(b.l.state, BK_LIFETIME_PROBING);
    static struct bk_lifetime before;
    before = b.l;
    struct bk_addr addr = fake_mapped();
    assert_int_equal(bk_binding_response_write(buf, sizeof buf, b.l.txid, &addr, &bytes), BK_OK);
    receive_from(&b, bytes, fake_server()); /* not what was asked now */
    assert_int_equal(
        bk_probe_echo_write(buf, sizeof buf, b.l.txid, &b.r.config.mac, key_of(&b), &bytes), BK_OK);
    receive_from(&b, bytes, bk_addr_v4(130, 74, 23, 6, 1201));
    for (size_t bit = 0; bit < bytes.n * 8; bit++) {
        memcpy(bad, bytes.p, bytes.n);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        receive_from(&b, bk_slice(bad, bytes.n), fake_server());
    }
    assert_memory_equal(&before, &b.l, sizeof before);
    receive_from(&b, bytes, fake_server());
    assert_int_equal(b.kept[0], 40);
    receive_from(&b, bytes, fake_server()); /* a copy */
    assert_int_equal(b.n_kept, 1);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_silence_that_worked_is_found),
        cmocka_unit_test(it_is_measured_again_each_day),
        cmocka_unit_test(what_is_lost_on_the_way_is_no_proof),
        cmocka_unit_test(a_server_without_binding_leaves_it_unknown),
        cmocka_unit_test(a_port_at_another_address_is_not_probed),
        cmocka_unit_test(nothing_is_measured_unless_registered_by_udp),
        cmocka_unit_test(strangers_and_wrong_messages_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
