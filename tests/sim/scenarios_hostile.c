/* What attackers may try on the network: replay, spoof, flood. The simulation's own checks (no reply
 * larger than its request, rows only where devices are, no dial without proof) hold throughout. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "wire/binding.h"
#include "wire/connect.h"
#include "wire/notify.h"
#include "wire/register.h"

enum {
    KEPT_MAX = 256,
};

/* What a listener on the path has heard. */
static struct {
    struct bk_addr from, to;
    size_t n;
    uint8_t bytes[256];
} kept[KEPT_MAX];
static size_t n_kept;

static void listen_in(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                      struct bk_slice bytes)
{
    (void)w;
    if (n_kept < KEPT_MAX && bytes.n <= sizeof kept[0].bytes) {
        kept[n_kept].from = *from;
        kept[n_kept].to = *to;
        kept[n_kept].n = bytes.n;
        memcpy(kept[n_kept].bytes, bytes.p, bytes.n);
        n_kept++;
    }
}

static struct bk_slice kept_bytes(size_t i)
{
    return bk_slice(kept[i].bytes, kept[i].n);
}

static struct bk_addr attacker(struct world *w)
{
    return bk_addr_v4(6, 6, 6, (uint8_t)world_draw(w, 256),
                      (uint16_t)(1024 + world_draw(w, 60000)));
}

/* Devices 2133.. registered for a while, every datagram of theirs heard. */
static void populate(struct world *w, size_t n)
{
    struct router *r = router_add(w, bk_addr_v4(202, 204, 16, 13, 0), true);
    server_start(w);
    n_kept = 0;
    sim_tap = listen_in;
    for (size_t i = 0; i < n; i++) {
        device_start(device_add(w, r, 2133 + i));
    }
    world_run(w, 100 * BK_SECOND);
    sim_tap = NULL;
    CHECK(w, bk_server_rows(w->server) == n);
}

static void rows_now(struct world *w, struct bk_addr *rows)
{
    for (size_t i = 0; i < w->n_devices; i++) {
        struct bk_server_row row;
        CHECK(w, bk_server_find(w->server, w->devices[i]->id, &row));
        rows[i] = row.addr;
    }
}

static void replayed_registers_move_nothing(struct world *w)
{
    struct bk_addr before[4];
    struct bk_addr after[4];
    populate(w, 4);
    rows_now(w, before);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < n_kept; i++) {
            struct bk_addr from = attacker(w);
            if (bk_addr_equal(&kept[i].to, &w->server_addr)) {
                net_inject(w, world_draw(w, 2) == 0 ? &from : &kept[i].from, &w->server_addr,
                           kept_bytes(i));
            }
        }
        world_run(w, 5 * BK_SECOND);
    }
    rows_now(w, after);
    CHECK(w, memcmp(before, after, sizeof before) == 0);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, w->devices[i]->up && w->devices[i]->told_lost == 0);
    }
}

static void replays_do_not_keep_a_dead_row_alive(struct world *w)
{
    populate(w, 1);
    device_stop(w->devices[0]);
    for (int s = 0; s < BK_SERVER_EXPIRY_S + 1; s++) {
        for (size_t i = 0; i < n_kept; i++) {
            if (bk_addr_equal(&kept[i].to, &w->server_addr)) {
                net_inject(w, &kept[i].from, &w->server_addr, kept_bytes(i));
            }
        }
        world_run(w, BK_SECOND);
    }
    CHECK(w, !server_has(w, w->devices[0]));
}

static void an_old_nonce_opens_nothing(struct world *w)
{
    populate(w, 1); /* its first REGISTERs, nonce and all, were heard */
    server_stop(w);
    server_start(w); /* a new key: the old nonce is worth nothing, and there is no row */
    device_stop(w->devices[0]);
    for (size_t i = 0; i < n_kept; i++) {
        net_inject(w, &kept[i].from, &kept[i].to, kept_bytes(i));
        world_run(w, BK_SECOND);
    }
    CHECK(w, bk_server_rows(w->server) == 0);
}

static void forged_notifies_wake_nobody(struct world *w)
{
    struct device *d;
    uint8_t buf[256], box[64] = {1};
    populate(w, 1);
    d = w->devices[0];
    struct bk_random rng = world_random(w);
    for (int i = 0; i < 20000; i++) {
        uint8_t key[BK_KEY_BYTES];
        uint8_t txid[BK_STUN_TXID_BYTES];
        struct bk_slice bytes;
        /* Even if it were guessed. */
        struct bk_notify n = {
            .tag = d->registration.tag, .fast = i % 2 == 0, .box = BK_SLICE_OF(box)};
        rng.fill(rng.ctx, key, sizeof key);
        rng.fill(rng.ctx, txid, sizeof txid);
        rng.fill(rng.ctx, n.call_id, sizeof n.call_id);
        if (bk_notify_write(buf, sizeof buf, txid, &n, &w->config.mac, bk_slice(key, sizeof key),
                            &bytes) != BK_OK) {
            abort();
        }
        net_inject(w, &w->server_addr, &d->used[0], bytes);
        if (i % 100 == 0) {
            world_run(w, BK_SECOND);
        }
    }
    world_run(w, BK_SECOND);
    CHECK(w, d->told_call == 0 && w->stats.streams == 0 && d->up);
}

static void a_replayed_notify_wakes_nobody_twice(struct world *w)
{
    populate(w, 1);
    struct device *d = w->devices[0];
    n_kept = 0;
    sim_tap = listen_in;
    struct caller *c = caller_add(w, d);
    caller_start(c);
    world_run(w, 5 * BK_SECOND);
    sim_tap = NULL;
    CHECK(w, c->up && d->told_call == 1);
    for (int round = 0; round < 300; round++) {
        for (size_t i = 0; i < n_kept; i++) {
            if (bk_addr_same_ip(&kept[i].to, &d->router->public_ip)) {
                net_inject(w, &kept[i].from, &kept[i].to, kept_bytes(i));
            }
        }
        world_run(w, BK_SECOND);
    }
    CHECK(w, d->told_call == 1 && w->stats.dials == 1);
}

/* One hostile datagram: noise, or something real that was bent. Returns its length. */
static size_t bend(struct world *w, uint8_t buf[2048])
{
    struct bk_random rng = world_random(w);
    size_t from = world_draw(w, n_kept);
    size_t n = kept[from].n;
    memcpy(buf, kept[from].bytes, n);
    switch (world_draw(w, 6)) {
    case 0: /* noise */
        n = world_draw(w, 1500);
        rng.fill(rng.ctx, buf, n);
        break;
    case 1: /* noise that looks like STUN */
        n = 20 + 4 * world_draw(w, 100);
        rng.fill(rng.ctx, buf, n);
        buf[0] = 0;
        buf[1] = (uint8_t)world_draw(w, 256);
        buf[2] = (uint8_t)((n - 20) >> 8);
        buf[3] = (uint8_t)(n - 20);
        memcpy(buf + 4, "\x21\x12\xA4\x42", 4);
        break;
    case 2: /* some bytes changed */
        for (uint64_t k = 1 + world_draw(w, 4); k > 0; k--) {
            buf[world_draw(w, n)] ^= (uint8_t)(1 + world_draw(w, 255));
        }
        break;
    case 3: /* cut short */
        n = world_draw(w, n);
        break;
    case 4: /* something behind it */
        rng.fill(rng.ctx, buf + n, 200);
        n += 1 + world_draw(w, 200);
        break;
    default: { /* a body that is well formed, fingerprint and all, under a wrong key */
        struct bk_register message = {.equipment_id = 2133 + world_draw(w, 8),
                                      .generation = (uint32_t)world_draw(w, 3),
                                      .epoch = (uint16_t)world_draw(w, 3)};
        uint8_t key[BK_KEY_BYTES];
        uint8_t txid[BK_STUN_TXID_BYTES];
        struct bk_slice bytes;
        rng.fill(rng.ctx, key, sizeof key);
        rng.fill(rng.ctx, txid, sizeof txid);
        if (bk_register_write(buf, 2048, txid, &message, &w->config.mac, bk_slice(key, sizeof key),
                              &bytes) != BK_OK) {
            abort();
        }
        n = bytes.n;
        break;
    }
    }
    return n;
}

static void a_hundred_thousand_bent_datagrams(struct world *w)
{
    struct bk_addr before[4];
    struct bk_addr after[4];
    uint8_t buf[2048];
    populate(w, 4);
    rows_now(w, before);
    uint64_t steps = w->stats.steps;
    for (uint32_t i = 0; i < 100000; i++) {
        size_t n = bend(w, buf);
        struct bk_addr from = attacker(w);
        if (world_draw(w, 5) == 0) { /* to a device, in the server's name */
            net_inject(w, &w->server_addr, &w->devices[world_draw(w, 4)]->used[0],
                       bk_slice(buf, n));
        } else {
            const struct bk_addr *spoofed = &w->devices[world_draw(w, 4)]->used[0];
            net_inject(w, world_draw(w, 4) == 0 ? spoofed : &from, &w->server_addr,
                       bk_slice(buf, n));
        }
        if (i % 500 == 0) {
            world_run(w, 100 * BK_MS);
        }
    }
    world_run(w, BK_SECOND);
    CHECK(w, w->stats.steps - steps > 100000); /* all of them arrived */
    rows_now(w, after);
    CHECK(w, memcmp(before, after, sizeof before) == 0 && bk_server_rows(w->server) == 4);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, w->devices[i]->told_call == 0 && w->devices[i]->told_lost == 0);
    }
    CHECK(w, w->stats.streams == 0);
}

static size_t heard_by_attacker;

static void count_to_attacker(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                              struct bk_slice bytes)
{
    (void)bytes;
    heard_by_attacker += bk_addr_equal(from, &w->server_addr) && to->ip[12] == 6;
}

static void binding_is_answered_but_not_for_a_flood(struct world *w)
{
    uint8_t buf[64];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_slice bytes;
    struct bk_addr victim = bk_addr_v4(6, 6, 6, 6, 53);
    populate(w, 1);
    if (bk_binding_request_write(buf, sizeof buf, txid, &bytes) != BK_OK) {
        abort();
    }
    heard_by_attacker = 0;
    sim_tap = count_to_attacker;
    net_inject(w, &victim, &w->server_addr, bytes);
    world_run(w, BK_SECOND);
    CHECK(w, heard_by_attacker == 1);
    for (int i = 0; i < 10000; i++) { /* in ten seconds */
        net_inject(w, &victim, &w->server_addr, bytes);
        if (i % 10 == 0) {
            world_run(w, 10 * BK_MS);
        }
    }
    world_run(w, BK_SECOND);
    sim_tap = NULL;
    CHECK(w, heard_by_attacker > 1 && heard_by_attacker < 500);
}

static void bent_messages_on_streams(struct world *w)
{
    struct bk_random rng = world_random(w);
    uint8_t buf[1024];
    populate(w, 2);
    struct caller *raw = caller_add(w, w->devices[0]);
    for (uint32_t i = 0; i < 10000; i++) {
        struct bk_connect message = {.equipment_id = 2133, .box = bk_slice(buf, 100)};
        uint8_t wire[1024];
        uint8_t txid[BK_STUN_TXID_BYTES];
        struct bk_slice bytes;
        rng.fill(rng.ctx, txid, sizeof txid);
        rng.fill(rng.ctx, buf, sizeof buf);
        rng.fill(rng.ctx, message.call_id, sizeof message.call_id);
        if (bk_connect_write(wire, sizeof wire, txid, &message, &bytes) != BK_OK) {
            abort();
        }
        size_t n = bytes.n;
        if (world_draw(w, 4) == 0) {
            n = world_draw(w, n);
        } else {
            for (uint64_t k = world_draw(w, 6); k > 0; k--) {
                wire[world_draw(w, n)] = (uint8_t)world_draw(w, 256);
            }
        }
        uint64_t stream = stream_open(w, NULL, raw);
        world_run(w, 100 * BK_MS);
        stream_send(w, stream, bk_slice(wire, n));
        if (i % 8 == 0) {
            world_run(w, 100 * BK_MS);
        }
        stream_close(w, stream);
    }
    world_run(w, 60 * BK_SECOND);
    CHECK(w, w->stats.dials == 0 && bk_server_rows(w->server) == 2);
    for (size_t i = 0; i < w->n_devices; i++) {
        CHECK(w, device_calls_open(w->devices[i]) == 0 && w->devices[i]->told_lost == 0);
    }
    struct caller *c = caller_add(w, w->devices[1]); /* and it still works */
    caller_start(c);
    world_run(w, 5 * BK_SECOND);
    CHECK(w, c->up);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"replayed_registers_move_nothing", replayed_registers_move_nothing, 5},
        {"replays_do_not_keep_a_dead_row_alive", replays_do_not_keep_a_dead_row_alive, 3},
        {"an_old_nonce_opens_nothing", an_old_nonce_opens_nothing, 3},
        {"forged_notifies_wake_nobody", forged_notifies_wake_nobody, 1},
        {"a_replayed_notify_wakes_nobody_twice", a_replayed_notify_wakes_nobody_twice, 3},
        {"a_hundred_thousand_bent_datagrams", a_hundred_thousand_bent_datagrams, 2},
        {"binding_is_answered_but_not_for_a_flood", binding_is_answered_but_not_for_a_flood, 2},
        {"bent_messages_on_streams", bent_messages_on_streams, 1},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
