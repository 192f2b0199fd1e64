/* What the tests of the server's core share: a core with real MACs, a seeded generator and a clock that
 * is set by hand; a device that registers; and checks of what came out. */
#ifndef BK_TESTS_SERVER_FIXTURE_H
#define BK_TESTS_SERVER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/failing.h"
#include "core/server/server.h"
#include "seal/seal.h"
#include "wire/binding.h"
#include "wire/connect.h"
#include "wire/enrol.h"
#include "wire/lookup.h"
#include "wire/notify.h"
#include "wire/register.h"
#include "wire/result.h"

enum {
    EPOCH = 7,
    OLD_EPOCH = 6,
    NONCE_LIFE_S = 5,
};

struct seeded {
    uint64_t state;
};

static inline void seeded_fill(void *ctx, uint8_t *out, size_t n)
{
    struct seeded *r = ctx;
    for (size_t i = 0; i < n; i++) {
        r->state = r->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        out[i] = (uint8_t)(r->state >> 56);
    }
}

struct lab {
    struct seeded seed;
    struct failing memory;
    struct bk_server_config config;
    struct bk_server *server;
    struct bk_now now;
    struct bk_server_out out;
    uint8_t last_txid;
};

static inline struct lab *lab_new_with(uint64_t max_devices, uint32_t max_streams,
                                       uint32_t max_calls)
{
    assert_int_equal(bk_seal_init(), BK_OK);
    struct lab *l = calloc(1, sizeof(*l));
    assert_non_null(l);
    l->seed.state = 1;
    l->config = (struct bk_server_config){
        .alloc = {&l->memory, failing_get, failing_put},
        .rng = {&l->seed, seeded_fill},
        .mac = bk_mac_sodium(),
        .n_master = 2,
        .max_devices = max_devices,
        .max_streams = max_streams,
        .max_calls = max_calls,
        .answer_binding = true,
        .binding_per_s = 10,
        .ports = {1200, 1201, 1300},
    };
    l->config.master[0].epoch = EPOCH;
    memset(l->config.master[0].key, 0xA7, BK_KEY_BYTES);
    l->config.master[1].epoch = OLD_EPOCH;
    memset(l->config.master[1].key, 0xA6, BK_KEY_BYTES);
    l->now = (struct bk_now){.mono = 1000 * BK_SECOND, .unix_s = 1700000000};
    /* With several shards the core does the same; but few rows are a limit of each. */
    const char *shards = getenv("BECKON_TEST_SHARDS");
    l->config.shards = shards && max_devices >= 100 ? (uint32_t)(shards[0] - '0') : 1;
    assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
    return l;
}

static inline struct lab *lab_new(void)
{
    return lab_new_with(1000, 64, 32);
}

static inline void lab_free(struct lab *l)
{
    bk_server_free(l->server);
    assert_int_equal(l->memory.alive, 0);
    free(l);
}

static inline void lab_pass(struct lab *l, uint64_t ms)
{
    l->now.mono += ms * BK_MS;
    l->now.unix_s += ms / 1000;
}

/* Every slice must lie in `out`. */
static inline void lab_check_out(const struct lab *l)
{
    assert_true(l->out.n <= BK_SERVER_OUT_ACTIONS);
    assert_true(l->out.used <= BK_SERVER_OUT_BYTES);
    for (size_t i = 0; i < l->out.n; i++) {
        const struct bk_server_action *a = &l->out.actions[i];
        if (a->type == BK_SERVER_SEND_DATAGRAM || a->type == BK_SERVER_SEND_MESSAGE) {
            struct bk_slice b =
                a->type == BK_SERVER_SEND_DATAGRAM ? a->datagram.bytes : a->message.bytes;
            assert_true(b.p >= l->out.bytes && b.p + b.n <= l->out.bytes + l->out.used);
        }
    }
}

static inline void lab_input(struct lab *l, const struct bk_server_event *event)
{
    bk_server_input(l->server, &l->now, event, &l->out);
    lab_check_out(l);
}

static inline void lab_timer(struct lab *l)
{
    bk_server_timer(l->server, &l->now, &l->out);
    lab_check_out(l);
}

static inline void lab_datagram_to(struct lab *l, uint8_t local, bool second, struct bk_addr from,
                                   struct bk_slice b)
{
    struct bk_server_event e = {.type = BK_SERVER_DATAGRAM};
    e.datagram.local = local;
    e.datagram.second = second;
    e.datagram.from = from;
    e.datagram.bytes = b;
    lab_input(l, &e);
}

static inline void lab_datagram(struct lab *l, uint8_t local, struct bk_addr from,
                                struct bk_slice b)
{
    lab_datagram_to(l, local, false, from, b);
}

/* The nth action of that type, or NULL. */
static inline const struct bk_server_action *lab_nth(const struct lab *l,
                                                     enum bk_server_action_type type, size_t n)
{
    for (size_t i = 0; i < l->out.n; i++) {
        if (l->out.actions[i].type == type && n-- == 0) {
            return &l->out.actions[i];
        }
    }
    return NULL;
}

static inline const struct bk_server_action *lab_action(const struct lab *l,
                                                        enum bk_server_action_type type)
{
    return lab_nth(l, type, 0);
}

/* The same, which must be there. */
static inline const struct bk_server_action *lab_must(const struct lab *l,
                                                      enum bk_server_action_type type, size_t n)
{
    static const struct bk_server_action none;
    const struct bk_server_action *a = lab_nth(l, type, n);
    assert_non_null(a);
    return a ? a : &none;
}

static inline size_t lab_count(const struct lab *l, enum bk_server_action_type type)
{
    size_t n = 0;
    while (lab_nth(l, type, n)) {
        n++;
    }
    return n;
}

struct device {
    uint64_t id;
    uint32_t generation;
    uint16_t epoch;
    struct bk_addr addr;
    uint8_t local;
    struct bk_tag tag;
    uint16_t interval_s;
    bool quiet; /* sends indications */
    uint8_t key[BK_KEY_BYTES];
};

static inline void device_rekey(struct lab *l, struct device *d, uint16_t epoch,
                                uint32_t generation)
{
    d->epoch = epoch;
    d->generation = generation;
    bk_registration_key(&l->config.mac, l->config.master[epoch == EPOCH ? 0 : 1].key, d->id,
                        generation, d->key);
}

static inline struct device device_new(struct lab *l, uint64_t id)
{
    struct device d = {
        .id = id,
        .addr = bk_addr_v4(202, 204, 16, 13, 3400),
        .tag = {.random = id * 1000 + 5, .counter = 0},
    };
    device_rekey(l, &d, EPOCH, 1);
    return d;
}

/* A REGISTER with the device's tag as it stands. */
static inline struct bk_slice device_write(struct lab *l, const struct device *d, const char *nonce,
                                           uint8_t *buf, size_t cap)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {++l->last_txid};
    struct bk_register r = {
        .quiet = d->quiet,
        .equipment_id = d->id,
        .generation = d->generation,
        .epoch = d->epoch,
        .interval_s = d->interval_s,
        .tag = d->tag,
        .nonce = nonce ? bk_slice(nonce, BK_NONCE_BYTES) : BK_SLICE_EMPTY,
    };
    struct bk_slice out;
    assert_int_equal(
        bk_register_write(buf, cap, txid, &r, &l->config.mac, BK_SLICE_OF(d->key), &out), BK_OK);
    return out;
}

enum { SILENCE = 1, CHALLENGED = 2 };

/* What the first datagram in `out` answers to the device: its code, or SILENCE. */
static inline int device_answer(struct lab *l, const struct device *d, size_t request_bytes,
                                struct bk_register_answer *a)
{
    const struct bk_server_action *act = lab_action(l, BK_SERVER_SEND_DATAGRAM);
    if (!act) {
        return SILENCE;
    }
    assert_true(act->datagram.bytes.n <= request_bytes);
    assert_true(bk_addr_equal(&act->datagram.to, &d->addr));
    assert_int_equal(act->datagram.local, d->local);
    assert_false(act->datagram.second);
    struct bk_stun m;
    assert_int_equal(bk_stun_read(act->datagram.bytes, &m), BK_OK);
    assert_int_equal(m.txid[0], l->last_txid);
    if (d->quiet) {
        *a = (struct bk_register_answer){.code = BK_CODE_STALE_NONCE};
        assert_int_equal(
            bk_register_challenge_read(&m, &l->config.mac, BK_SLICE_OF(d->key), &a->nonce), BK_OK);
        return CHALLENGED;
    }
    assert_int_equal(bk_register_answer_read(&m, &l->config.mac, BK_SLICE_OF(d->key), a), BK_OK);
    return a->code;
}

/* Raises the counter and sends; `nonce` may be NULL; a nonce that comes back is put into `got`. */
static inline int device_send(struct lab *l, struct device *d, const char *nonce,
                              char got[BK_NONCE_BYTES + 1])
{
    uint8_t buf[256];
    d->tag.counter++;
    struct bk_slice b = device_write(l, d, nonce, buf, sizeof(buf));
    lab_datagram(l, d->local, d->addr, b);
    struct bk_register_answer a;
    int code = device_answer(l, d, b.n, &a);
    if ((code == BK_CODE_STALE_NONCE || code == CHALLENGED) && got) {
        memcpy(got, a.nonce.p, BK_NONCE_BYTES);
        got[BK_NONCE_BYTES] = '\0';
    }
    return code;
}

/* Both exchanges. */
static inline void device_register(struct lab *l, struct device *d)
{
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(l, d, nonce, NULL), 0);
}

/* True if the table says that the device is at that address. */
static inline bool device_is_at(const struct lab *l, const struct device *d, struct bk_addr a)
{
    struct bk_server_row row;
    return bk_server_find(l->server, d->id, &row) && bk_addr_equal(&row.addr, &a);
}

static inline void lab_open_from(struct lab *l, uint64_t stream, enum bk_role role, uint64_t id,
                                 const char *name, enum bk_server_purpose purpose,
                                 struct bk_addr from)
{
    struct bk_server_event e = {.type = BK_SERVER_STREAM_OPEN};
    e.open.stream = stream;
    e.open.peer.role = role;
    e.open.peer.equipment_id = id;
    assert_true(bk_slice_to_text(bk_slice_text(name), e.open.peer.name, sizeof(e.open.peer.name)));
    memset(e.open.peer.key, 0x5A, sizeof(e.open.peer.key));
    e.open.from = from;
    e.open.purpose = purpose;
    lab_input(l, &e);
}

static inline void lab_open_for(struct lab *l, uint64_t stream, enum bk_role role, uint64_t id,
                                const char *name, enum bk_server_purpose purpose)
{
    lab_open_from(l, stream, role, id, name, purpose, bk_addr_v4(4, 17, 168, 2, 7000));
}

static inline void lab_open(struct lab *l, uint64_t stream, enum bk_role role, uint64_t id,
                            const char *name)
{
    lab_open_for(l, stream, role, id, name, BK_STREAM_PLAIN);
}

static inline void lab_message(struct lab *l, uint64_t stream, struct bk_slice bytes)
{
    struct bk_server_event e = {.type = BK_SERVER_STREAM_MESSAGE};
    e.message.stream = stream;
    e.message.bytes = bytes;
    lab_input(l, &e);
}

static inline void lab_closed(struct lab *l, uint64_t stream)
{
    struct bk_server_event e = {.type = BK_SERVER_STREAM_CLOSED};
    e.closed.stream = stream;
    lab_input(l, &e);
}

static inline void lab_exception(struct lab *l, uint64_t id, uint32_t lowest, bool revoked)
{
    struct bk_server_event e = {.type = BK_SERVER_EXCEPTION};
    e.exception.equipment_id = id;
    e.exception.lowest_generation = lowest;
    e.exception.revoked = revoked;
    lab_input(l, &e);
}

/* Answers the query of the FIND_DEVICE in `out`. */
static inline void lab_found(struct lab *l, uint64_t query, uint16_t code, uint64_t id)
{
    struct bk_server_event e = {.type = BK_SERVER_DEVICE};
    e.device.query = query;
    e.device.code = code;
    e.device.equipment_id = id;
    e.device.certificate = bk_slice_text("certificate");
    e.device.box_key = bk_slice_text("box key");
    lab_input(l, &e);
}

static inline uint64_t lab_query(const struct lab *l)
{
    return lab_must(l, BK_SERVER_FIND_DEVICE, 0)->find.query;
}

/* The nth message to that stream in `out`. */
static inline bool lab_said_nth(const struct lab *l, uint64_t stream, size_t nth, struct bk_stun *m)
{
    for (size_t i = 0; i < l->out.n; i++) {
        const struct bk_server_action *a = &l->out.actions[i];
        if (a->type == BK_SERVER_SEND_MESSAGE && a->message.stream == stream && nth-- == 0) {
            assert_int_equal(bk_stun_read(a->message.bytes, m), BK_OK);
            return true;
        }
    }
    return false;
}

static inline bool lab_said(const struct lab *l, uint64_t stream, struct bk_stun *m)
{
    return lab_said_nth(l, stream, 0, m);
}

/* The code of the first message to that stream: 0 success, SILENCE. */
static inline int lab_code(const struct lab *l, uint64_t stream)
{
    struct bk_stun m;
    if (!lab_said(l, stream, &m)) {
        return SILENCE;
    }
    uint16_t code = 0;
    if (m.cls == BK_STUN_ERROR) {
        assert_int_equal(bk_error_read(&m, &code), BK_OK);
    } else {
        assert_int_equal(m.cls, BK_STUN_SUCCESS);
    }
    return code;
}

static inline bool lab_closes(const struct lab *l, uint64_t stream)
{
    for (size_t i = 0; i < l->out.n; i++) {
        const struct bk_server_action *a = &l->out.actions[i];
        if (a->type == BK_SERVER_CLOSE_STREAM && a->close.stream == stream) {
            return true;
        }
    }
    return false;
}

/* 217 with a call ID of that byte. */
static inline void lab_connect(struct lab *l, uint64_t stream, uint64_t id, uint8_t call)
{
    uint8_t buf[512];
    uint8_t txid[BK_STUN_TXID_BYTES] = {0xC0, call};
    struct bk_connect c = {.equipment_id = id, .box = bk_slice_text("sealed")};
    memset(c.call_id, call, sizeof(c.call_id));
    struct bk_slice b;
    assert_int_equal(bk_connect_write(buf, sizeof(buf), txid, &c, &b), BK_OK);
    lab_message(l, stream, b);
}

/* How the one call audited in `out` ended, or -1. */
static inline int lab_audit(const struct lab *l)
{
    assert_true(lab_count(l, BK_SERVER_AUDIT) <= 1);
    const struct bk_server_action *a = lab_action(l, BK_SERVER_AUDIT);
    return a ? (int)a->audit.how : -1;
}

#endif
