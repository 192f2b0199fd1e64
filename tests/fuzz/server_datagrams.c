/* Datagrams to the server's core: REGISTER, keepalives, probes, what comes to the second port, and what was never any of these.
 * As they should be, or with another's nonce or place, sent again, or bent. */
#include "server_events.h"

void new_txid(struct world *w, uint8_t txid[BK_STUN_TXID_BYTES])
{
    memset(txid, 0, BK_STUN_TXID_BYTES);
    w->txid++;
    memcpy(txid, &w->txid, sizeof w->txid);
}

void send_datagram(struct world *w, struct bk_slice bytes, size_t at, uint8_t local,
                   struct licence *l)
{
    struct bk_server_event e = {.type = BK_SERVER_DATAGRAM};
    e.datagram.from = place(at);
    e.datagram.local = local;
    e.datagram.second = l->second;
    e.datagram.bytes = bytes;
    /* Steering is a hint: now and then it is wrong. */
    e.datagram.shard = (uint8_t)(w->txid % 8 == 0 ? w->txid / 8 % w->config.shards
                                                  : bk_shard_of_datagram(bytes, w->config.shards));
    l->is_datagram = true;
    l->shard = e.datagram.shard;
    l->from = e.datagram.from;
    l->local = local;
    l->bytes = bytes.n;
    if (w->config.lock.enter && !l->second) {
        worker(w, e.datagram.shard, &e, l);
    } else {
        input(w, &e, l);
    }
}

/* Under the device's key, from anywhere, with a nonce that went to this place or another. */
void on_register(struct world *w)
{
    size_t i = feed_below(&w->f, DEVICES);
    uint8_t how = feed_u8(&w->f);
    size_t at = feed_below(&w->f, PLACES);
    uint8_t local = how >> 7;
    struct device *d = &w->devices[i];
    struct licence l = {.device = i, .generation = d->generation};
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint8_t key[BK_KEY_BYTES];
    struct bk_slice bytes;
    size_t from = (how & 4) != 0 ? (at + 1) % PLACES : at;
    d->tag.counter += (how & 8) == 0;
    d->tag.random += (how & 48) == 48;
    struct bk_register r = {
        .equipment_id = i + 1, .generation = d->generation, .epoch = d->epoch, .tag = d->tag};
    if ((how & 3) != 0 && d->has_nonce[at][local]) {
        r.nonce = BK_SLICE_OF(d->nonce[at][local]);
        l.may_move = from == at;
    }
    key_of(w, i, key);
    new_txid(w, txid);
    require(bk_register_write(w->last, sizeof w->last, txid, &r, &w->config.mac, BK_SLICE_OF(key),
                              &bytes) == BK_OK);
    w->last_n = bytes.n;
    w->last_device = i;
    if ((how & 64) != 0) {
        bytes = feed_bend(&w->f, w->last, bytes.n);
        w->last_n = 0;
        l = no_licence;
    }
    send_datagram(w, bytes, from, local, &l);
}

/* What was sent before, from anywhere: it moves a row only if its nonce had gone there. */
void on_replay(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    size_t at = feed_below(&w->f, PLACES);
    uint8_t local = how & 1;
    struct licence l = no_licence;
    struct bk_stun m;
    struct bk_register r;
    struct bk_slice bytes = bk_slice(w->last, w->last_n);
    if (w->last_n == 0 || bk_stun_read(bytes, &m) != BK_OK || bk_register_read(&m, &r) != BK_OK ||
        r.generation != w->devices[w->last_device].generation ||
        r.epoch != w->devices[w->last_device].epoch) {
        return;
    }
    const struct device *d = &w->devices[w->last_device];
    l.device = w->last_device;
    l.generation = r.generation;
    l.may_move = r.nonce.n > 0 && d->has_nonce[at][local] &&
                 bk_slice_equal(r.nonce, BK_SLICE_OF(d->nonce[at][local]));
    send_datagram(w, bytes, at, local, &l);
}

struct bk_slice write_keepalive(struct world *w, size_t i, uint8_t how, size_t at, uint8_t local,
                                struct licence *l)
{
    static const uint16_t intervals[] = {0, 25, 26, 60, 61, 120, 121, 300};
    struct device *d = &w->devices[i];
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint8_t key[BK_KEY_BYTES];
    struct bk_slice bytes;
    d->tag.counter += (how & 8) == 0;
    struct bk_register r = {
        .quiet = (how & 16) != 0,
        .equipment_id = i + 1,
        .generation = d->generation,
        .epoch = d->epoch,
        .interval_s = intervals[how & 7],
        .tag = d->tag,
    };
    l->device = i;
    l->generation = d->generation;
    if (!r.quiet && (how & 32) != 0 && d->has_nonce[at][way_of(local)]) {
        r.nonce = BK_SLICE_OF(d->nonce[at][way_of(local)]);
        l->may_move = true;
    }
    key_of(w, i, key);
    new_txid(w, txid);
    require(bk_register_write(w->last, sizeof w->last, txid, &r, &w->config.mac, BK_SLICE_OF(key),
                              &bytes) == BK_OK);
    w->last_n = bytes.n;
    w->last_device = i;
    return bytes;
}

void on_keepalive(struct world *w)
{
    struct licence l = no_licence;
    size_t i = feed_below(&w->f, DEVICES);
    uint8_t how = feed_u8(&w->f);
    size_t at = feed_below(&w->f, PLACES);
    uint8_t local = how >> 7;
    struct bk_slice bytes = write_keepalive(w, i, how, at, local, &l);
    if ((how & 64) != 0) {
        bytes = feed_bend(&w->f, w->last, bytes.n);
        w->last_n = 0;
        l = no_licence;
    }
    send_datagram(w, bytes, at, local, &l);
}

void on_probe(struct world *w)
{
    struct licence l = {.device = feed_below(&w->f, DEVICES)};
    uint8_t how = feed_u8(&w->f);
    const struct device *d = &w->devices[l.device];
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint8_t key[BK_KEY_BYTES];
    struct bk_slice bytes;
    struct bk_probe p = {
        .equipment_id = l.device + 1,
        .generation = d->generation,
        .epoch = d->epoch,
        .tag = d->tag,
        .port = (uint16_t)(how % 4 == 3 ? 1 + how : 1024 + how),
    };
    l.probe_port = p.port;
    key_of(w, l.device, key);
    new_txid(w, txid);
    require(bk_probe_write(buf, sizeof buf, txid, &p, &w->config.mac, BK_SLICE_OF(key), &bytes) ==
            BK_OK);
    if (how >= 192) {
        bytes = feed_bend(&w->f, buf, bytes.n);
        l = no_licence;
    }
    send_datagram(w, bytes, feed_below(&w->f, PLACES), how >> 4 & 1, &l);
}

/* Binding that asks for changes, or what was sent before: only the one is heard at the second port. */
void on_second_port(struct world *w)
{
    struct licence l = no_licence;
    uint8_t how = feed_u8(&w->f);
    uint8_t buf[64];
    uint8_t value[8] = {0, 0, how / 64 == 3, how};
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_slice bytes = bk_slice(w->last, w->last_n);
    l.second = how % 2 == 0;
    new_txid(w, txid);
    if (how / 8 % 4 != 0 || !l.second) {
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_BINDING, BK_STUN_REQUEST, txid);
        bk_stun_put(&s, BK_ATTR_CHANGE_REQUEST, bk_slice(value, how == 255 ? 8 : 4));
        require(bk_stun_end(&s, &bytes) == BK_OK);
    }
    send_datagram(w, bytes, feed_below(&w->f, PLACES), how >> 7, &l);
}

void on_raw_datagram(struct world *w)
{
    struct licence l = no_licence;
    uint8_t txid[BK_STUN_TXID_BYTES] = {0};
    uint8_t buf[512] = {0};
    uint8_t how = feed_u8(&w->f);
    struct bk_slice bytes;
    if (how % 2 == 0) {
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, how % 4 == 0 ? BK_METHOD_BINDING : BK_METHOD_NOTIFY,
                          how % 8 < 4 ? BK_STUN_REQUEST : BK_STUN_SUCCESS, txid);
        bk_stun_put_fingerprint(&s);
        require(bk_stun_end(&s, &bytes) == BK_OK);
    } else {
        bytes = feed_bytes(&w->f);
    }
    send_datagram(w, bytes, feed_below(&w->f, PLACES), how >> 7, &l);
}
