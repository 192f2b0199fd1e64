/* What a device says in the fast form of the call: its answer to NOTIFY, and RESULT by datagram or on a stream of WATCH. As
 * it should be, or with another's key, call, place, or bent. */
#include "server_events.h"

/* To the newest NOTIFY that it has heard. */
void on_notify_answer(struct world *w)
{
    struct device *d = &w->devices[feed_below(&w->f, DEVICES)];
    uint8_t how = feed_u8(&w->f);
    struct licence l = no_licence;
    struct bk_notify_answer said = {.taken = how % 4 != 0};
    uint8_t buf[128];
    struct bk_slice bytes;
    if (!d->heard.is) {
        return;
    }
    memcpy(said.call_id, d->heard.call_id, sizeof said.call_id);
    said.call_id[0] ^= (how & 8) != 0 && (how & 16) != 0; /* of another call */
    size_t at = place_of(&d->heard.at);
    at = how >= 224 ? (at + 1) % PLACES : at;
    require(bk_notify_answer_write(buf, sizeof buf, d->heard.txid, &said, &w->config.mac,
                                   BK_SLICE_OF(d->heard.key), &bytes) == BK_OK);
    if (how >= 192 && how < 224) {
        bytes = feed_bend(&w->f, buf, bytes.n);
    } else {
        w->taking = said.taken && d->heard.fast && at == place_of(&d->heard.at);
    }
    send_datagram(w, bytes, at, d->heard.local, &l);
    w->taking = false;
}

/* On a stream of WATCH, if there is one of that device. */
static void say_by_stream(struct world *w, uint64_t equipment_id, const struct bk_result *r)
{
    struct bk_server_event e = {.type = BK_SERVER_STREAM_MESSAGE};
    uint8_t buf[512], txid[BK_STUN_TXID_BYTES];
    new_txid(w, txid);
    require(bk_result_write(buf, sizeof buf, txid, r, &e.message.bytes) == BK_OK);
    for (size_t i = 0; i < STREAMS; i++) {
        struct stream *s = &w->streams[i];
        if (s->number != 0 && s->purpose == BK_STREAM_WATCH && s->peer.role == BK_ROLE_DEVICE &&
            s->peer.equipment_id == equipment_id) {
            e.message.stream = s->number;
            w->speaker = s;
            input(w, &e, &no_licence);
            w->speaker = NULL;
            return;
        }
    }
}

void on_result(struct world *w)
{
    size_t i = feed_below(&w->f, DEVICES);
    uint8_t how = feed_u8(&w->f);
    const struct device *d = &w->devices[i];
    static const char *const boxes[] = {"one", "another", "a third"};
    struct licence l = {.device = i, .result = true};
    struct bk_result_datagram r = {
        .equipment_id = i + 1,
        .generation = d->generation,
        .epoch = d->epoch,
        .result = {.box = bk_slice_text(boxes[how / 4 % 3])},
    };
    uint8_t buf[512], txid[BK_STUN_TXID_BYTES], key[BK_KEY_BYTES];
    struct bk_slice bytes;
    r.result.call_id[0] = (uint8_t)feed_below(&w->f, CALL_IDS);
    if (how % 4 == 3) {
        say_by_stream(w, i + 1, &r.result);
        return;
    }
    key_of(w, how >= 224 ? (i + 1) % DEVICES : i, key);
    new_txid(w, txid);
    require(bk_result_datagram_write(buf, sizeof buf, txid, &r, &w->config.mac, BK_SLICE_OF(key),
                                     &bytes) == BK_OK);
    if (how >= 192 && how < 224) {
        bytes = feed_bend(&w->f, buf, bytes.n);
    }
    if (how >= 192) {
        l = no_licence;
    } else {
        w->taking = true;
    }
    send_datagram(w, bytes, feed_below(&w->f, PLACES), how >> 6 & 1, &l);
    w->taking = false;
}
