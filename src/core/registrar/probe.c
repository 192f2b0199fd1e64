/* PROBE: one datagram to another port of the very address that a device's row has, so that the device learns how long
 * its NAT keeps a mapping that nothing passes through. Changes nothing, not even when the device was last seen.
 * Invariant: what leaves is smaller than what came, and goes to the IP address that the sender has proven. */
#include "wire/probe.h"

#include <string.h>

#include "core/registrar/state.h"
#include "seal/seal.h"

enum {
    /* NATs keep mappings of ports from 1024 on there (RFC 4787, REQ-3): below lie services only, of others perhaps who
     * share the address. */
    FIRST_PORT = 1024,
    PROBES_PER_S = 1, /* a measurement sends a few, minutes apart */
    PROBES_BURST = 8,
};

static bool fits(const struct bk_registrar *r, const struct bk_arrival *in,
                 const struct bk_probe *p)
{
    const struct bk_row *row = bk_registrar_live_row(r, p->equipment_id);
    uint16_t epoch;
    return row && row->local == in->local && row->port == in->from.port &&
           memcmp(row->ip, in->from.ip, sizeof row->ip) == 0 && row->tag_random == p->tag.random &&
           row->generation == p->generation && bk_registrar_row_epoch(r, row, &epoch) &&
           epoch == p->epoch;
}

/* This device is proven: whether it may have another one. */
static bool may_probe(struct bk_registrar *r, bk_time now, uint64_t equipment_id)
{
    struct bk_bucket *b = &r->probes[bk_hash_u64(r->seed, equipment_id) % BK_REGISTRAR_BUCKETS];
    return bk_bucket_take(b, now, PROBES_PER_S, PROBES_BURST);
}

static bool echo(const struct bk_registrar *r, const struct bk_stun *m, uint16_t port,
                 struct bk_slice key, struct bk_registrar_reply *out)
{
    struct bk_slice bytes;
    if (bk_probe_echo_write(out->bytes, sizeof out->bytes, m->txid, &r->config.mac, key, &bytes) !=
            BK_OK ||
        bytes.n > m->raw.n) {
        return false;
    }
    out->n = bytes.n;
    out->port = port;
    return true;
}

bool bk_registrar_on_probe(struct bk_registrar *r, const struct bk_now *now,
                           const struct bk_arrival *in, const struct bk_stun *m,
                           struct bk_registrar_reply *out)
{
    struct bk_probe p;
    if (bk_probe_read(m, &p) != BK_OK || p.port < FIRST_PORT || !fits(r, in, &p) ||
        bk_stun_check_fingerprint(m) != BK_OK ||
        bk_exceptions_check(&r->exceptions, p.equipment_id, p.generation) != BK_STANDING_GOOD) {
        return false;
    }
    struct bk_device_key key;
    bool sent = bk_registrar_device_key(r, p.epoch, p.equipment_id, p.generation, &key) &&
                bk_stun_check_sha256(m, &r->config.mac, BK_SLICE_OF(key.raw),
                                     BK_STUN_SHORT_MAC_BYTES) == BK_OK &&
                may_probe(r, now->mono, p.equipment_id) &&
                echo(r, m, p.port, BK_SLICE_OF(key.raw), out);
    bk_wipe(&key, sizeof key);
    return sent;
}
