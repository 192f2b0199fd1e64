/* Failures of relatives that this server is not to have, each under its name; those that need no network are in
 * tests/unit/core/server/test_amplification.c. */
#include "sim.h"

#include <string.h>

#include "wire/register.h"

enum {
    HEARD_MAX = 512,
};

static struct {
    struct bk_addr from;
    size_t n;
    uint8_t bytes[256];
} heard[HEARD_MAX];
static size_t n_heard;

/* The neighbour hears all that its router sends to the server. */
static void listen_in(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                      struct bk_slice bytes)
{
    if (bk_addr_equal(to, &w->server_addr) && n_heard < HEARD_MAX &&
        bytes.n <= sizeof heard[0].bytes) {
        heard[n_heard].from = *from;
        heard[n_heard].n = bytes.n;
        memcpy(heard[n_heard++].bytes, bytes.p, bytes.n);
    }
}

static struct device *behind_a_router(struct world *w)
{
    struct router *r = router_add(w, bk_addr_v4(202, 204, 16, 13, 0), true);
    struct device *d = device_add(w, r, 2133);
    device_add(w, r, 2134);
    n_heard = 0;
    sim_tap = listen_in;
    server_start(w);
    device_start(d);
    device_start(w->devices[1]);
    world_run(w, 60 * BK_SECOND);
    CHECK(w, server_has(w, d));
    return d;
}

static void claim(struct world *w, const struct bk_addr *from, uint64_t id, uint32_t generation,
                  const uint8_t key[BK_KEY_BYTES], const char *nonce)
{
    struct bk_random rng = world_random(w);
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_slice bytes;
    rng.fill(rng.ctx, txid, sizeof txid);
    struct bk_register r = {
        .equipment_id = id,
        .generation = generation,
        .epoch = w->config.master[0].epoch,
        .tag = {.random = bk_random_u64(&rng), .counter = 1},
        .nonce = bk_slice_text(nonce),
    };
    CHECK(w, bk_register_write(buf, sizeof buf, txid, &r, &w->config.mac,
                               bk_slice(key, BK_KEY_BYTES), &bytes) == BK_OK);
    net_inject(w, from, &w->server_addr, bytes);
}

/* hbbs takes anyone at the public address for the device. Here a neighbour with the same address, who is enrolled
 * himself, says that he is the other, repeats what he heard of it from his own port, and guesses nonces. */
static void
rustdesk_hbbs_a_registration_is_not_moved_by_a_neighbour_behind_the_same_address(struct world *w)
{
    struct device *d = behind_a_router(w);
    const struct device *neighbour = w->devices[1];
    struct bk_server_row before;
    struct bk_server_row after;
    CHECK(w, bk_server_find(w->server, d->id, &before));
    for (int round = 0; round < 40; round++) {
        struct bk_addr from = before.addr;
        from.port = (uint16_t)(5000 + world_draw(w, 3));
        claim(w, &from, d->id, d->generation, neighbour->key, "");
        claim(w, &from, d->id, d->generation, neighbour->key, "abcdefghijklmnopqrst");
        claim(w, &from, d->id, d->generation + 1, neighbour->key, "");
        claim(w, &before.addr, d->id, d->generation, neighbour->key, ""); /* even spoofing it */
        size_t n = n_heard;
        for (size_t i = 0; i < n; i++) {
            net_inject(w, &from, &w->server_addr, bk_slice(heard[i].bytes, heard[i].n));
        }
        world_run(w, 3 * BK_SECOND);
        n_heard = n; /* not what was just repeated */
        CHECK(w,
              bk_server_find(w->server, d->id, &after) && bk_addr_equal(&before.addr, &after.addr));
    }
    CHECK(w, d->told_lost == 0 && d->told_registered == 1);
    CHECK(w, scene_is_reached(w, d));
}

/* n2n's supernode refuses a device that comes back without its old state until the old entry has run out. Here it
 * crashes again and again, also while its address changes and somebody repeats what it said in former lives. */
static void n2n_714_a_device_that_lost_its_state_is_not_locked_out(struct world *w)
{
    struct device *d = behind_a_router(w);
    for (int crash = 0; crash < 20; crash++) {
        device_stop(d);
        if (crash % 2 == 1) {
            router_reboot(d->router);
        }
        if (crash % 5 == 4) {
            d->router->public_ip.ip[15] ^= 1;
        }
        for (size_t i = 0; i < n_heard; i++) {
            net_inject(w, &heard[i].from, &w->server_addr, bk_slice(heard[i].bytes, heard[i].n));
        }
        world_run(w, 100 * BK_MS + world_draw(w, 5 * BK_SECOND));
        n_heard = 0;
        device_start(d);
        world_run(w, 3 * BK_SECOND);
        CHECK(w, d->up && server_has(w, d)); /* at once, whatever the old row says */
    }
    CHECK(w, scene_is_reached(w, d));
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"rustdesk_hbbs_a_registration_is_not_moved_by_a_neighbour_behind_the_same_address",
         rustdesk_hbbs_a_registration_is_not_moved_by_a_neighbour_behind_the_same_address, 10},
        {"n2n_714_a_device_that_lost_its_state_is_not_locked_out",
         n2n_714_a_device_that_lost_its_state_is_not_locked_out, 10},
    };
    return sim_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
