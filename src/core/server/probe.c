/* PROBE: one datagram to another port of the very address that a device's row has, so that the device learns how long
 * its NAT keeps a mapping that nothing passes through. Changes nothing, not even when the device was last seen.
 * Invariant: what leaves is smaller than what came, and goes to the IP address that the sender has proven. */
#include "wire/probe.h"

#include <string.h>

#include "core/server/state.h"
#include "seal/seal.h"

enum {
    /* NATs keep mappings of ports from 1024 on there (RFC 4787, REQ-3): below lie services only, of others perhaps who
     * share the address. */
    FIRST_PORT = 1024,
};

static bool fits(const struct bk_server *s, const struct bk_datagram *d, const struct bk_probe *p)
{
    const struct bk_row *row = bk_server_live_row(s, p->equipment_id);
    uint16_t epoch;
    return row && row->local == d->local && row->port == d->from.port &&
           memcmp(row->ip, d->from.ip, sizeof row->ip) == 0 && row->tag_random == p->tag.random &&
           row->generation == p->generation && bk_server_row_epoch(s, row, &epoch) &&
           epoch == p->epoch;
}

static void echo(struct bk_server *s, const struct bk_datagram *d, uint16_t port,
                 struct bk_slice key, struct bk_server_out *out)
{
    struct bk_addr to = d->from;
    to.port = port;
    size_t cap = 0;
    uint8_t *buf = bk_out_space(out, &cap);
    struct bk_slice bytes;
    if (bk_probe_echo_write(buf, cap, d->message.txid, &s->config.mac, key, &bytes) == BK_OK &&
        bytes.n <= d->message.raw.n) {
        (void)bk_out_datagram(out, d->local, &to, bytes);
    }
}

void bk_server_on_probe(struct bk_server *s, const struct bk_now *now, const struct bk_datagram *d,
                        struct bk_server_out *out)
{
    struct bk_probe p;
    if (bk_probe_read(&d->message, &p) != BK_OK || p.port < FIRST_PORT || !fits(s, d, &p) ||
        bk_stun_check_fingerprint(&d->message) != BK_OK ||
        bk_exceptions_check(&s->exceptions, p.equipment_id, p.generation) != BK_STANDING_GOOD) {
        return;
    }
    uint8_t key[BK_KEY_BYTES];
    if (bk_server_device_key(s, p.epoch, p.equipment_id, p.generation, key) &&
        bk_stun_check_sha256(&d->message, &s->config.mac, BK_SLICE_OF(key),
                             BK_STUN_SHORT_MAC_BYTES) == BK_OK &&
        bk_server_may_probe(s, now->mono, p.equipment_id)) {
        echo(s, d, p.port, BK_SLICE_OF(key), out);
    }
    bk_wipe(key, sizeof key);
}
