/* What a datagram of any type, wrong in any way and from any source, makes the server send: never more bytes than
 * it had (plain Binding: at most 24 more), only back to where it came from (a probe's echo: to another port there), and
 * nothing is kept. */
#include "core/server/fixture.h"
#include "wire/info.h"
#include "wire/probe.h"
#include "wire/renew.h"
#include "wire/watch.h"

enum {
    BINDING_GAIN_BYTES = 24,
    RETIRED_EPOCH = 5,
    CAP = BK_STUN_DATAGRAM_MAX_BYTES,
    ID = 2133, /* registered; the next is revoked, the one after unknown */
};

/* Writes one datagram. */
typedef struct bk_slice (*writer)(struct lab *l, uint8_t *buf);

static const uint8_t txid[BK_STUN_TXID_BYTES] = {0xAB, 1};

static struct bk_slice written(enum bk_err err, struct bk_slice b)
{
    assert_int_equal(err, BK_OK);
    return b;
}

static struct bk_slice a_register(struct lab *l, uint8_t *buf, uint64_t id, uint16_t epoch,
                                  const char *nonce, bool wrong_key)
{
    struct device d = device_new(l, id);
    device_rekey(l, &d, epoch == OLD_EPOCH ? OLD_EPOCH : EPOCH, 1);
    d.epoch = epoch;
    d.tag.counter = 1000;
    d.tag.random += nonce != NULL; /* another run of the agent */
    d.key[0] ^= wrong_key;
    return device_write(l, &d, nonce, buf, CAP);
}

static struct bk_slice keepalive(struct lab *l, uint8_t *buf)
{
    return a_register(l, buf, ID, EPOCH, NULL, false);
}

static struct bk_slice restarted(struct lab *l, uint8_t *buf)
{
    return a_register(l, buf, ID, EPOCH, "abcdefghijklmnopqrst", false);
}

static struct bk_slice new_device(struct lab *l, uint8_t *buf)
{
    return a_register(l, buf, ID + 2, EPOCH, NULL, false);
}

static struct bk_slice revoked(struct lab *l, uint8_t *buf)
{
    return a_register(l, buf, ID + 1, EPOCH, NULL, false);
}

static struct bk_slice revoked_with_nonce(struct lab *l, uint8_t *buf)
{
    return a_register(l, buf, ID + 1, EPOCH, "abcdefghijklmnopqrst", false);
}

static struct bk_slice old_epoch(struct lab *l, uint8_t *buf)
{
    return a_register(l, buf, ID + 2, OLD_EPOCH, NULL, false);
}

static struct bk_slice retired_epoch(struct lab *l, uint8_t *buf)
{
    return a_register(l, buf, ID, RETIRED_EPOCH, NULL, false);
}

static struct bk_slice forged(struct lab *l, uint8_t *buf)
{
    return a_register(l, buf, ID, EPOCH, NULL, true);
}

static struct bk_slice forged_unknown(struct lab *l, uint8_t *buf)
{
    return a_register(l, buf, ID + 3, EPOCH, "abcdefghijklmnopqrst", true);
}

static struct bk_slice quiet(struct lab *l, uint8_t *buf)
{
    struct device d = device_new(l, ID);
    d.quiet = true;
    d.tag.random++;
    return device_write(l, &d, NULL, buf, CAP);
}

static struct bk_slice quiet_forged(struct lab *l, uint8_t *buf)
{
    struct device d = device_new(l, ID);
    d.quiet = true;
    d.key[0] ^= 1;
    return device_write(l, &d, NULL, buf, CAP);
}

static struct bk_slice quiet_revoked(struct lab *l, uint8_t *buf)
{
    struct device d = device_new(l, ID + 1);
    d.quiet = true;
    return device_write(l, &d, NULL, buf, CAP);
}

static struct bk_slice challenge(struct lab *l, uint8_t *buf)
{
    struct device d = device_new(l, ID);
    struct bk_slice b;
    return written(bk_register_challenge_write(buf, CAP, txid,
                                               bk_slice_text("abcdefghijklmnopqrst"),
                                               &l->config.mac, BK_SLICE_OF(d.key), &b),
                   b);
}

static struct bk_slice a_probe(struct lab *l, uint8_t *buf, bool wrong_key)
{
    struct device d = device_new(l, ID);
    struct bk_probe p = {.equipment_id = ID, .generation = 1, .epoch = EPOCH, .tag = d.tag};
    struct bk_slice b;
    p.port = 4000;
    d.key[0] ^= wrong_key;
    return written(bk_probe_write(buf, CAP, txid, &p, &l->config.mac, BK_SLICE_OF(d.key), &b), b);
}

static struct bk_slice probe(struct lab *l, uint8_t *buf)
{
    return a_probe(l, buf, false);
}

static struct bk_slice probe_forged(struct lab *l, uint8_t *buf)
{
    return a_probe(l, buf, true);
}

static struct bk_slice probe_echo(struct lab *l, uint8_t *buf)
{
    struct device d = device_new(l, ID);
    struct bk_slice b;
    return written(bk_probe_echo_write(buf, CAP, txid, &l->config.mac, BK_SLICE_OF(d.key), &b), b);
}

static struct bk_slice register_answer(struct lab *l, uint8_t *buf)
{
    struct device d = device_new(l, ID);
    struct bk_register_answer a = {.mapped = d.addr, .unix_s = 1};
    struct bk_slice b;
    return written(
        bk_register_answer_write(buf, CAP, txid, &a, &l->config.mac, BK_SLICE_OF(d.key), &b), b);
}

static struct bk_slice notify(struct lab *l, uint8_t *buf)
{
    struct device d = device_new(l, ID);
    struct bk_notify n = {.tag = d.tag};
    struct bk_slice b;
    return written(bk_notify_write(buf, CAP, txid, &n, &l->config.mac, BK_SLICE_OF(d.key), &b), b);
}

static struct bk_slice notify_answer(struct lab *l, uint8_t *buf)
{
    struct device d = device_new(l, ID);
    struct bk_notify_answer n = {.taken = false};
    struct bk_slice b;
    return written(
        bk_notify_answer_write(buf, CAP, txid, &n, &l->config.mac, BK_SLICE_OF(d.key), &b), b);
}

static struct bk_slice binding(struct lab *l, uint8_t *buf)
{
    struct bk_slice b;
    (void)l;
    return written(bk_binding_request_write(buf, CAP, txid, &b), b);
}

static struct bk_slice binding_answer(struct lab *l, uint8_t *buf)
{
    struct bk_addr a = bk_addr_v4(1, 2, 3, 4, 5);
    struct bk_slice b;
    (void)l;
    return written(bk_binding_response_write(buf, CAP, txid, &a, &b), b);
}

static struct bk_slice binding_with_more(struct lab *l, uint8_t *buf)
{
    struct bk_stun_writer w = bk_stun_begin(buf, CAP, BK_METHOD_BINDING, BK_STUN_REQUEST, txid);
    struct bk_slice b;
    (void)l;
    bk_stun_put(&w, 0x8022, bk_slice_text("some software")); /* SOFTWARE */
    bk_stun_put_fingerprint(&w);
    return written(bk_stun_end(&w, &b), b);
}

static struct bk_slice binding_changing(struct lab *l, uint8_t *buf)
{
    static const uint8_t both[] = {0, 0, 0, BK_CHANGE_PORT | BK_CHANGE_IP};
    struct bk_stun_writer w = bk_stun_begin(buf, CAP, BK_METHOD_BINDING, BK_STUN_REQUEST, txid);
    struct bk_slice b;
    (void)l;
    bk_stun_put(&w, BK_ATTR_CHANGE_REQUEST, BK_SLICE_OF(both));
    return written(bk_stun_end(&w, &b), b);
}

/* What belongs on streams. */
static struct bk_slice info(struct lab *l, uint8_t *buf)
{
    struct bk_slice b;
    (void)l;
    return written(bk_info_write(buf, CAP, txid, &b), b);
}

static struct bk_slice lookup(struct lab *l, uint8_t *buf)
{
    struct bk_lookup in = {.equipment_id = ID};
    struct bk_slice b;
    (void)l;
    return written(bk_lookup_write(buf, CAP, txid, &in, &b), b);
}

static struct bk_slice connect_to(struct lab *l, uint8_t *buf)
{
    struct bk_connect in = {.equipment_id = ID, .box = bk_slice_text("box")};
    struct bk_slice b;
    (void)l;
    return written(bk_connect_write(buf, CAP, txid, &in, &b), b);
}

static struct bk_slice result(struct lab *l, uint8_t *buf)
{
    struct bk_result in = {.box = bk_slice_text("box")};
    struct bk_slice b;
    (void)l;
    return written(bk_result_write(buf, CAP, txid, &in, &b), b);
}

static struct bk_slice enrol(struct lab *l, uint8_t *buf)
{
    struct bk_enrol in = {.token = bk_slice("0123456789abcdef", BK_TOKEN_SECRET_BYTES),
                          .csr = bk_slice_text("request")};
    struct bk_slice b;
    (void)l;
    return written(bk_enrol_write(buf, CAP, txid, &in, &b), b);
}

static struct bk_slice renew(struct lab *l, uint8_t *buf)
{
    struct bk_renew in = {.csr = bk_slice_text("request")};
    struct bk_slice b;
    (void)l;
    return written(bk_renew_write(buf, CAP, txid, &in, &b), b);
}

static struct bk_slice watch(struct lab *l, uint8_t *buf)
{
    struct bk_watch in = {.user = bk_slice_text("alice")};
    struct bk_slice b;
    (void)l;
    return written(bk_watch_write(buf, CAP, txid, &in, &b), b);
}

enum { OWN = -1 };
static const struct kind {
    const char *name;
    writer write;
    int answers; /* unbent: 1 it is answered, 0 it is not, OWN only at the device's own address */
    bool bits;   /* small enough for every bit of it to be bent */
} kinds[] = {
    {"REGISTER, keepalive", keepalive, 1, true},
    {"REGISTER, restarted, made-up nonce", restarted, 1, true},
    {"REGISTER, new", new_device, 1, true},
    {"REGISTER, revoked", revoked, 1, true},
    {"REGISTER, revoked, with nonce", revoked_with_nonce, 1, true},
    {"REGISTER, old epoch", old_epoch, 1, true},
    {"REGISTER, retired epoch", retired_epoch, 0, true},
    {"REGISTER, forged", forged, 0, true},
    {"REGISTER, forged, unknown device", forged_unknown, 0, true},
    {"REGISTER, an answer", register_answer, 0, true},
    {"REGISTER, quiet", quiet, 1, true},
    {"REGISTER, quiet, forged", quiet_forged, 0, true},
    {"REGISTER, quiet, revoked", quiet_revoked, 1, true},
    {"REGISTER, a challenge", challenge, 0, true},
    {"PROBE", probe, OWN, true},
    {"PROBE, forged", probe_forged, 0, true},
    {"PROBE, an echo", probe_echo, 0, true},
    {"NOTIFY", notify, 0, true},
    {"NOTIFY, an answer", notify_answer, 0, true},
    {"Binding", binding, 1, true},
    {"Binding, an answer", binding_answer, 0, true},
    {"Binding, with attributes", binding_with_more, 1, true},
    {"Binding, from elsewhere", binding_changing, 1, true},
    {"INFO", info, 0, true},
    {"LOOKUP", lookup, 0, false},
    {"CONNECT", connect_to, 0, false},
    {"RESULT", result, 0, false},
    {"ENROL", enrol, 0, false},
    {"RENEW", renew, 0, false},
    {"WATCH", watch, 0, false},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static struct lab *lab_of_device(void)
{
    struct lab *l = lab_new();
    struct device d = device_new(l, ID);
    bk_server_free(l->server);
    l->config.changes = BK_CHANGE_PORT | BK_CHANGE_IP;
    assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
    bk_server_set_binding(l->server, true, UINT32_MAX); /* no limit hides an answer here */
    device_register(l, &d);
    lab_exception(l, ID + 1, 0, true);
    return l;
}

static struct bk_addr source(size_t i)
{
    struct bk_addr a = bk_addr_v4(202, 204, 16, 13, 3400); /* the device's own, and strangers */
    if (i == 1) {
        a = bk_addr_v4(198, 51, 100, 7, 53);
    } else if (i == 2) {
        assert_int_equal(bk_addr_parse(bk_slice_text("[2a00::7]:4242"), 0, &a), BK_OK);
    }
    return a;
}
enum { SOURCES = 3 };

/* How many answers there were; they are all within the bound. */
static size_t send(struct lab *l, const struct kind *k, struct bk_addr from, struct bk_slice b)
{
    size_t bytes = 0;
    size_t answers = 0;
    lab_datagram(l, 0, from, b);
    bool is_binding = false;
    for (size_t i = 0; i < l->out.n; i++) {
        const struct bk_server_action *a = &l->out.actions[i];
        struct bk_stun m;
        assert_int_equal(a->type, BK_SERVER_SEND_DATAGRAM);
        assert_true(bk_addr_same_ip(&a->datagram.to, &from));
        assert_int_equal(bk_stun_read(a->datagram.bytes, &m), BK_OK);
        assert_true(a->datagram.to.port == (m.method == BK_METHOD_PROBE ? 4000 : from.port));
        assert_int_not_equal(m.cls, BK_STUN_REQUEST);
        is_binding = is_binding || m.method == BK_METHOD_BINDING;
        bytes += a->datagram.bytes.n;
        answers++;
    }
    if (bytes > b.n + (is_binding ? BINDING_GAIN_BYTES : 0)) {
        fail_msg("%s: %zu bytes for %zu", k->name, bytes, b.n);
    }
    return answers;
}

/* FINGERPRINT made right again, so that the checks behind it see the damage too. */
static void refingerprint(uint8_t *buf, size_t n)
{
    if (n >= 28) {
        struct bk_stun_writer w = {.w = bk_writer(buf, n)};
        w.w.len = n - 8;
        bk_stun_put_fingerprint(&w);
    }
}

static void set_length(uint8_t *buf, size_t n)
{
    buf[2] = (uint8_t)((n - 20) >> 8);
    buf[3] = (uint8_t)(n - 20);
}

static void unbent(struct lab *l, const struct kind *k, struct bk_slice b)
{
    for (size_t s = 0; s < SOURCES; s++) {
        size_t answers = send(l, k, source(s), b);
        if (answers != (k->answers == OWN ? s == 0 : (size_t)k->answers)) {
            fail_msg("%s: %zu answers from source %zu", k->name, answers, s);
        }
    }
}

/* Cut, with and without a length that fits; with more behind it. */
static void cut_and_extended(struct lab *l, const struct kind *k, struct bk_slice b)
{
    uint8_t bent[CAP + 64];
    for (size_t n = 0; n < b.n; n++) {
        memcpy(bent, b.p, b.n);
        (void)send(l, k, source(n % SOURCES), bk_slice(bent, n));
        if (n >= 20 && n % 4 == 0) {
            set_length(bent, n);
            refingerprint(bent, n);
            (void)send(l, k, source(n % SOURCES), bk_slice(bent, n));
        }
    }
    for (size_t more = 1; more <= 64; more++) {
        memset(bent, 0, sizeof(bent));
        memcpy(bent, b.p, b.n);
        (void)send(l, k, source(more % SOURCES), bk_slice(bent, b.n + more));
        if (more % 4 == 0) {
            set_length(bent, b.n + more);
            refingerprint(bent, b.n + more);
            (void)send(l, k, source(more % SOURCES), bk_slice(bent, b.n + more));
        }
    }
}

static void every_bit(struct lab *l, const struct kind *k, struct bk_slice b)
{
    uint8_t bent[CAP];
    for (size_t bit = 0; bit < 8 * b.n; bit++) {
        for (unsigned repaired = 0; repaired < 2; repaired++) {
            memcpy(bent, b.p, b.n);
            bent[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (repaired != 0) {
                refingerprint(bent, b.n);
            }
            (void)send(l, k, source(bit % SOURCES), bk_slice(bent, b.n));
        }
    }
}

/* All methods and classes over the same body. */
static void every_type(struct lab *l, const struct kind *k, struct bk_slice b)
{
    uint8_t bent[CAP];
    for (unsigned type = 0; type < 0x4000; type += k->bits ? 1 : 7) {
        memcpy(bent, b.p, b.n);
        bent[0] = (uint8_t)(type >> 8);
        bent[1] = (uint8_t)type;
        refingerprint(bent, b.n);
        (void)send(l, k, source(type % SOURCES), bk_slice(bent, b.n));
    }
}

static void coturn_no_large_reply_to_a_spoofed_datagram(void **state)
{
    (void)state;
    struct lab *l = lab_of_device();
    for (size_t i = 0; i < KINDS; i++) {
        uint8_t buf[CAP];
        struct bk_slice b = kinds[i].write(l, buf);
        unbent(l, &kinds[i], b);
        cut_and_extended(l, &kinds[i], b);
        every_type(l, &kinds[i], b);
        if (kinds[i].bits) {
            every_bit(l, &kinds[i], b);
        }
    }
    lab_free(l);
}

/* Whoever cannot return a nonce changes nothing, however often he asks: no row, no allocation, no timer, and the
 * row that is there stays where it is. */
static void cve_2026_30784_no_state_for_unauthenticated_datagrams(void **state)
{
    (void)state;
    struct lab *l = lab_of_device();
    struct device d = device_new(l, ID);
    bk_time deadline = bk_server_deadline(l->server);
    uint64_t allocations = l->memory.calls;
    for (size_t round = 0; round < 2000; round++) {
        for (size_t i = 0; i < KINDS; i++) {
            uint8_t buf[CAP];
            struct bk_addr from =
                bk_addr_v4(198, 51, (uint8_t)(round >> 8), (uint8_t)round, (uint16_t)(1024 + i));
            (void)send(l, &kinds[i], from, kinds[i].write(l, buf));
        }
    }
    assert_int_equal(bk_server_rows(l->server), 1);
    assert_int_equal(l->memory.calls, allocations);
    assert_int_equal(bk_server_deadline(l->server), deadline);
    assert_true(device_is_at(l, &d, d.addr));
    lab_free(l);
}

/* A nonce that was sent to one address is worth nothing at another: asking for many does not help. */
static void nonces_of_many_spoofed_sources_move_nothing(void **state)
{
    (void)state;
    struct lab *l = lab_of_device();
    struct device d = device_new(l, ID);
    struct device moved = d;
    moved.tag.random++;
    moved.tag.counter = 10;
    for (uint16_t port = 1; port < 2000; port++) {
        char nonce[BK_NONCE_BYTES + 1];
        moved.addr = bk_addr_v4(198, 51, 100, 7, port);
        assert_int_equal(device_send(l, &moved, NULL, nonce), BK_CODE_STALE_NONCE);
        moved.addr.port++;
        assert_int_equal(device_send(l, &moved, nonce, NULL), BK_CODE_STALE_NONCE);
    }
    assert_true(device_is_at(l, &d, d.addr));
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coturn_no_large_reply_to_a_spoofed_datagram),
        cmocka_unit_test(cve_2026_30784_no_state_for_unauthenticated_datagrams),
        cmocka_unit_test(nonces_of_many_spoofed_sources_move_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
