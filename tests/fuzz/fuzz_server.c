/* The server's core as a whole: the input is a script of datagrams, streams, messages, answers of the
 * store, revocations and time. The script may bend whatever it sends, send it from elsewhere, and let
 * memory run out. Held against it, after every event:
 *
 *   an answer to a datagram goes to its sender and is no larger (Binding: 24 bytes at most);
 *   a row appears or moves only by a REGISTER under the device's key, not bent, with a nonce that was
 *   sent to the very address; it is refreshed only by such a one from where it is;
 *   a revoked device has no row, is given no call and no 226; old generations are refused;
 *   every action names a stream that is open, a question is new, and nothing is said after CLOSE_STREAM;
 *   a device hears only of calls to it that the store granted, a user only of its own calls;
 *   every request is answered once; RENEW gives the key of the current epoch, and none to whom is revoked;
 *   nothing is sent under a key of an epoch that has gone, and its rows are no more;
 *   a watch is up only by the store's word, and closed after a change of what it watches;
 *   a call is delivered only by its device's word, its request goes by NOTIFY only where the operator wants that and the store
 *   has said yes, and RESULT by datagram is answered for its device only;
 *   a row made over a stream goes with it, and NOTIFY to it takes that stream; at the second port there is only Binding;
 *   a probe's echo goes to the IP address that the row has, and only for who is there;
 *   and all of it with several shards too, be they worked on by the core or by workers who are given what is not theirs. */
#include "seal/seal.h"
#include "server_checks.h"
#include "wire/connect.h"
#include "wire/lookup.h"
#include "wire/register.h"
#include "wire/result.h"

enum {
    FUZZ_INPUT_MAX = 8192,
    SHARDS = 3,
};

void new_txid(struct world *w, uint8_t txid[BK_STUN_TXID_BYTES])
{
    memset(txid, 0, BK_STUN_TXID_BYTES);
    w->txid++;
    memcpy(txid, &w->txid, sizeof w->txid);
}

/* ---- datagrams ---- */

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
static void on_register(struct world *w)
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
static void on_replay(struct world *w)
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

/* A request or quiet keepalive with any interval, by datagram or by a stream of registration. */
static struct bk_slice write_keepalive(struct world *w, size_t i, uint8_t how, size_t at,
                                       uint8_t local, struct licence *l)
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

static void on_keepalive(struct world *w)
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

static void on_probe(struct world *w)
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
static void on_second_port(struct world *w)
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

static void on_raw_datagram(struct world *w)
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

/* ---- streams ---- */

static void on_open(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    for (size_t i = 0; i < STREAMS; i++) {
        struct stream *s = &w->streams[i];
        if (s->number != 0) {
            continue;
        }
        struct bk_server_event e = {.type = BK_SERVER_STREAM_OPEN};
        e.open.stream = ++w->next_stream;
        e.open.from = place(how / 64);
        e.open.peer.role = (enum bk_role)(how % 4);
        if (how >= 192) {
            e.open.purpose = (enum bk_server_purpose)feed_below(&w->f, 5); /* 4: no such thing */
        }
        if (e.open.peer.role == BK_ROLE_DEVICE) {
            e.open.peer.equipment_id = how / 4 % DEVICES + 1;
        } else if (e.open.peer.role == BK_ROLE_USER) {
            memcpy(e.open.peer.name, server_users[how / 4 % 2], strlen(server_users[how / 4 % 2]));
        }
        *s = (struct stream){.number = e.open.stream,
                             .peer = e.open.peer,
                             .purpose = e.open.purpose,
                             .from = e.open.from};
        input(w, &e, &no_licence);
        return;
    }
}

static struct stream *pick_stream(struct world *w)
{
    return &w->streams[feed_below(&w->f, STREAMS)];
}

static void on_closed(struct world *w)
{
    struct stream *s = pick_stream(w);
    struct bk_server_event e = {.type = BK_SERVER_STREAM_CLOSED};
    e.closed.stream = s->number != 0 ? s->number : w->next_stream + 1;
    *s = (struct stream){0};
    input(w, &e, &no_licence);
}

static struct bk_slice user_message(struct world *w, struct stream *s, uint8_t how, uint8_t *buf,
                                    size_t cap)
{
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint64_t id = feed_below(&w->f, DEVICES + 1) + 1;
    struct bk_slice bytes = BK_SLICE_EMPTY;
    new_txid(w, txid);
    if (how % 4 == 0) {
        struct bk_lookup lookup = {.equipment_id = id};
        if (how / 4 % 2 == 0) {
            lookup = (struct bk_lookup){.name = bk_slice_text("kiosk")};
        }
        require(bk_lookup_write(buf, cap, txid, &lookup, &bytes) == BK_OK);
    } else {
        static const uint8_t box[BK_BOX_MAX_BYTES];
        struct bk_connect c = {.equipment_id = id, .box = bk_slice(box, 1 + 4 * (size_t)how)};
        c.call_id[0] = (uint8_t)feed_below(&w->f, CALL_IDS);
        s->called |= 1u << c.call_id[0];
        require(bk_connect_write(buf, cap, txid, &c, &bytes) == BK_OK);
    }
    return bytes;
}

static struct bk_slice device_message(struct stream *s, uint8_t how, uint8_t *buf, size_t cap)
{
    struct bk_slice bytes = BK_SLICE_EMPTY;
    struct bk_result r = {.box = bk_slice_text("box")};
    r.call_id[0] = (uint8_t)(s->offer_call ^ (how % 16 == 15));
    if (how % 4 == 0) {
        require(bk_error_write(buf, cap, BK_METHOD_CONNECT, s->offer_txid, 400, "no", &bytes) ==
                BK_OK);
    } else if (how % 4 == 1) {
        require(bk_result_write(buf, cap, s->offer_txid, &r, &bytes) == BK_OK);
    } else {
        require(bk_success_write(buf, cap, BK_METHOD_CONNECT, s->offer_txid, &bytes) == BK_OK);
    }
    return bytes;
}

/* RENEW or WATCH, as the stream is for. */
static struct bk_slice lifecycle_message(struct world *w, struct stream *s, uint8_t how,
                                         uint8_t *buf, size_t cap)
{
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_slice bytes = BK_SLICE_EMPTY;
    new_txid(w, txid);
    if (s->purpose == BK_STREAM_WATCH) {
        struct bk_watch watch = {.user = bk_slice_text(server_users[how % 2])};
        if (!s->watches) {
            s->watches = true;
            s->user = how % 2;
        }
        require(bk_watch_write(buf, cap, txid, &watch, &bytes) == BK_OK);
    } else {
        struct bk_renew renew = {.csr = bk_slice_text(how % 2 == 0 ? "request" : ""),
                                 .box_key = bk_slice_text(how / 2 % 2 == 0 ? "key" : "")};
        require(bk_renew_write(buf, cap, txid, &renew, &bytes) == BK_OK);
    }
    return bytes;
}

static void on_message(struct world *w)
{
    struct stream *s = pick_stream(w);
    uint8_t how = feed_u8(&w->f);
    uint8_t buf[2048];
    struct bk_slice bytes;
    struct bk_server_event e = {.type = BK_SERVER_STREAM_MESSAGE};
    if (how >= 240) {
        bytes = feed_bytes(&w->f);
    } else if (how < 200 && s->purpose != BK_STREAM_PLAIN && s->purpose != BK_STREAM_REGISTER) {
        bytes = lifecycle_message(w, s, how, buf, sizeof buf);
    } else if (s->peer.role == BK_ROLE_USER) {
        bytes = user_message(w, s, how, buf, sizeof buf);
    } else if (s->peer.role == BK_ROLE_DEVICE) {
        bytes = device_message(s, how, buf, sizeof buf);
    } else {
        struct bk_enrol enrol = {
            .token = bk_slice("0123456789abcdef", BK_TOKEN_SECRET_BYTES),
            .csr = bk_slice_text("request"),
            .box_key = bk_slice_text(how % 2 == 0 ? "key" : ""),
        };
        uint8_t txid[BK_STUN_TXID_BYTES];
        new_txid(w, txid);
        if (bk_enrol_write(buf, sizeof buf, txid, &enrol, &bytes) != BK_OK) {
            return;
        }
    }
    if (how >= 224 && how < 240) {
        bytes = feed_bend(&w->f, buf, bytes.n);
    }
    e.message.stream = s->number != 0 ? s->number : w->next_stream + 1;
    e.message.bytes = bytes;
    if (how >= 224 && s->peer.role == BK_ROLE_USER) {
        s->called = UINT32_MAX; /* who knows which call it is */
    }
    bool request = s->purpose != BK_STREAM_PLAIN || s->peer.role != BK_ROLE_DEVICE;
    s->sent_bad = s->sent_bad || !request || how >= 200;
    s->asked++;
    w->speaker = s;
    input(w, &e, &no_licence);
    w->speaker = NULL;
}

size_t place_of(const struct bk_addr *a)
{
    size_t i = 0;
    while (i < PLACES) {
        struct bk_addr at = place(i);
        if (bk_addr_equal(&at, a)) {
            break;
        }
        i++;
    }
    require(i < PLACES);
    return i;
}

/* REGISTER where the stream is for that, of its device or another; INFO anywhere. */
static void on_stream_extra(struct world *w)
{
    struct stream *s = pick_stream(w);
    uint8_t how = feed_u8(&w->f);
    struct bk_server_event e = {.type = BK_SERVER_STREAM_MESSAGE};
    struct licence l = no_licence;
    uint8_t buf[64];
    uint8_t txid[BK_STUN_TXID_BYTES];
    if (s->number == 0) {
        return;
    }
    if (s->purpose == BK_STREAM_REGISTER && s->peer.role == BK_ROLE_DEVICE && how < 240) {
        size_t i = how >= 224 ? how % DEVICES : (size_t)s->peer.equipment_id - 1;
        l.local = BK_LOCAL_STREAM;
        l.from = s->from;
        l.stream = s->number;
        e.message.bytes = write_keepalive(w, i, how, place_of(&s->from), l.local, &l);
        l.bytes = e.message.bytes.n;
        if (i + 1 != s->peer.equipment_id) {
            l = no_licence;
        }
    } else {
        new_txid(w, txid);
        require(bk_info_write(buf, sizeof buf, txid, &e.message.bytes) == BK_OK);
    }
    bool may = s->purpose == BK_STREAM_WATCH ||
               (s->purpose == BK_STREAM_PLAIN && s->peer.role == BK_ROLE_USER);
    s->sent_bad = s->sent_bad || !may;
    s->asked++;
    w->speaker = s;
    e.message.stream = s->number;
    input(w, &e, &l);
    w->speaker = NULL;
}

/* ---- the store ---- */

static const struct stream *stream_numbered(const struct world *w, uint64_t number)
{
    for (size_t i = 0; i < STREAMS; i++) {
        if (w->streams[i].number == number) {
            return &w->streams[i];
        }
    }
    return NULL;
}

static void answer_device(struct world *w, const struct query *q, uint8_t how)
{
    struct bk_server_event e = {.type = BK_SERVER_DEVICE};
    uint64_t other = how / 4 % DEVICES + 1;
    e.device.query = q->number;
    e.device.code = how % 4 == 0 ? BK_CODE_NOT_FOUND : 0;
    e.device.equipment_id = q->equipment_id == 0 || how % 32 == 31 ? other : q->equipment_id;
    e.device.certificate = bk_slice_text("certificate");
    e.device.box_key = bk_slice_text("box key");
    if (e.device.code == 0 && e.device.equipment_id <= DEVICES &&
        (q->equipment_id == 0 || q->equipment_id == e.device.equipment_id)) {
        w->devices[e.device.equipment_id - 1].granted = true;
        w->watch_granted = stream_numbered(w, q->stream);
    }
    input(w, &e, &no_licence);
    w->watch_granted = NULL;
}

static void answer_renew(struct world *w, const struct query *q, uint8_t how)
{
    struct bk_server_event e = {.type = BK_SERVER_RENEWED};
    e.renewed.query = q->number;
    e.renewed.code = how % 4 == 0 ? BK_CODE_FORBIDDEN : 0;
    e.renewed.generation = 1 + how / 4 % 4;
    e.renewed.certificate = bk_slice_text(how >= 128 ? "certificate" : "");
    input(w, &e, &no_licence);
}

/* Watches that the core must let go of; without memory it may not know that something is news. */
static void watches_end(struct world *w, uint64_t equipment_id, size_t user)
{
    for (size_t i = 0; i < STREAMS; i++) {
        struct stream *s = &w->streams[i];
        s->gone_quiet =
            s->gone_quiet || (s->number != 0 && s->watches &&
                              (s->user == user || s->peer.equipment_id == equipment_id));
    }
}

static void answer_enrol(struct world *w, const struct query *q, uint8_t how)
{
    struct bk_server_event e = {.type = BK_SERVER_ENROLLED};
    e.enrolled.query = q->number;
    e.enrolled.code = how % 4 == 0 ? BK_CODE_FORBIDDEN : 0;
    e.enrolled.certificate = bk_slice_text("certificate");
    e.enrolled.ca_certificate = bk_slice_text("authority");
    if (how % 4 == 1) {
        e.enrolled.user = bk_slice_text(server_users[0]);
    } else {
        e.enrolled.equipment_id = how / 16 % DEVICES + 1;
        e.enrolled.generation = 1 + how / 4 % 4;
    }
    if (e.enrolled.code == 0 && e.enrolled.equipment_id != 0 && e.enrolled.generation > 1) {
        struct device *d = &w->devices[e.enrolled.equipment_id - 1];
        if (e.enrolled.generation > d->lowest && w->memory.fail_from == 0) {
            watches_end(w, e.enrolled.equipment_id, 2);
        }
        d->lowest = e.enrolled.generation > d->lowest ? e.enrolled.generation : d->lowest;
    }
    input(w, &e, &no_licence);
}

static void answer(struct world *w, const struct query *q, uint8_t how)
{
    if (q->type == BK_SERVER_ENROL) {
        answer_enrol(w, q, how);
    } else if (q->type == BK_SERVER_RENEW) {
        answer_renew(w, q, how);
    } else {
        answer_device(w, q, how);
    }
}

static void on_answer(struct world *w)
{
    size_t first = feed_below(&w->f, QUERIES);
    uint8_t how = feed_u8(&w->f);
    for (size_t i = 0; i < QUERIES; i++) {
        struct query *at = &w->queries[(first + i) % QUERIES];
        struct query q = *at;
        if (q.number == 0) {
            continue;
        }
        *at = (struct query){0};
        answer(w, &q, how);
        return;
    }
}

static void on_exception(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    struct device *d = &w->devices[how % DEVICES];
    struct bk_server_event e = {.type = BK_SERVER_EXCEPTION};
    e.exception.equipment_id = how % DEVICES + 1;
    e.exception.lowest_generation = how / 16 % 4;
    e.exception.revoked = how >= 128;
    if ((d->lowest != e.exception.lowest_generation || d->revoked != e.exception.revoked) &&
        w->memory.fail_from == 0) {
        watches_end(w, e.exception.equipment_id, 2);
    }
    d->lowest = e.exception.lowest_generation;
    d->revoked = e.exception.revoked;
    input(w, &e, &no_licence);
}

static void on_grants_changed(struct world *w)
{
    size_t user = feed_below(&w->f, 2);
    struct bk_server_event e = {.type = BK_SERVER_GRANTS_CHANGED};
    e.grants_changed.user = bk_slice_text(server_users[user]);
    watches_end(w, UINT64_MAX, user);
    input(w, &e, &no_licence);
}

/* The operator makes an epoch, or retires some: those of the bits of `how`. */
static void on_masters(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    uint16_t first = (uint16_t)(OLD_EPOCH + feed_below(&w->f, EPOCHS));
    struct bk_master_key m[BK_SERVER_EPOCHS_MAX] = {master_of(first)};
    size_t n = 1;
    bool distinct = true;
    unsigned places = 1u << first % 4;
    for (uint16_t i = 0; i < EPOCHS && n < BK_SERVER_EPOCHS_MAX; i++) {
        uint16_t epoch = (uint16_t)(OLD_EPOCH + i);
        if ((how >> i & 1) != 0 && epoch != first) {
            distinct = distinct && (places >> epoch % 4 & 1) == 0;
            places |= 1u << epoch % 4;
            m[n++] = master_of(epoch);
        }
    }
    enum bk_err err = bk_server_set_masters(w->server, m, n);
    require(err == (distinct ? BK_OK : BK_E_RANGE));
    bk_server_set_requests(w->server, how % 16);
    if (!distinct) {
        return;
    }
    memcpy(w->config.master, m, sizeof m);
    w->config.n_master = n;
    for (size_t i = 0; i < DEVICES; i++) {
        struct device *d = &w->devices[i];
        d->row_accepted = d->row_accepted && accepted(w, d->row_epoch);
    }
}

static void on_user_revoked(struct world *w)
{
    size_t revoked = feed_below(&w->f, 2);
    const char *user = server_users[revoked];
    struct bk_server_event e = {.type = BK_SERVER_USER_REVOKED};
    e.user_revoked.user = bk_slice_text(user);
    watches_end(w, UINT64_MAX, revoked);
    for (size_t i = 0; i < STREAMS; i++) {
        struct stream *s = &w->streams[i];
        s->gone_quiet = s->gone_quiet || strcmp(s->peer.name, user) == 0;
    }
    input(w, &e, &no_licence);
}

static void one_event(struct world *w)
{
    struct device *d;
    uint8_t what = feed_u8(&w->f);
    switch (what >= 242 ? 22 + what % 2 : what % 22) {
    case 0:
    case 1:
    case 2:
        on_register(w);
        break;
    case 3:
        on_replay(w);
        break;
    case 4:
        on_raw_datagram(w);
        break;
    case 5:
    case 6:
        on_open(w);
        break;
    case 7:
        on_closed(w);
        break;
    case 8:
    case 9:
        on_message(w);
        break;
    case 10:
    case 11:
        on_answer(w);
        break;
    case 12:
        on_exception(w);
        break;
    case 13:
        on_user_revoked(w);
        break;
    case 14: /* the device has another key from now on */
        d = &w->devices[feed_below(&w->f, DEVICES)];
        d->generation = 1 + (uint32_t)feed_below(&w->f, 4);
        d->epoch = (uint16_t)(OLD_EPOCH + feed_below(&w->f, EPOCHS));
        break;
    case 16:
        on_grants_changed(w);
        break;
    case 17:
        on_masters(w);
        break;
    case 18:
        on_keepalive(w);
        break;
    case 19:
        on_probe(w);
        break;
    case 20:
        on_second_port(w);
        break;
    case 21:
        on_stream_extra(w);
        break;
    case 22:
        on_notify_answer(w);
        break;
    case 23:
        on_result(w);
        break;
    case 15:
    default:
        feed_pass(&w->f, &w->now);
        timer(w);
        break;
    }
}

/* The store has answered everything, and all calls are over: so has the core. */
static void all_is_answered(struct world *w)
{
    for (size_t i = 0; i < QUERIES; i++) {
        struct query q = w->queries[i];
        w->queries[i] = (struct query){0};
        if (q.number != 0) {
            answer(w, &q, 0);
        }
    }
    w->now.mono += 100 * BK_SECOND;
    timer(w);
    for (size_t i = 0; i < STREAMS; i++) {
        const struct stream *s = &w->streams[i];
        require(s->number == 0 || s->closing || s->sent_bad || s->answered == s->asked);
    }
}

/* With everybody gone nothing stays behind. */
static void end(struct world *w)
{
    struct bk_server_event e = {.type = BK_SERVER_STREAM_CLOSED};
    all_is_answered(w);
    for (size_t i = 0; i < STREAMS; i++) {
        if (w->streams[i].number != 0) {
            e.closed.stream = w->streams[i].number;
            w->streams[i] = (struct stream){0};
            input(w, &e, &no_licence);
        }
    }
    /* A place in the rows that was used again and again at one moment has rows seen seconds ahead. */
    for (size_t i = 0; i < 4; i++) {
        w->now.mono += (BK_SERVER_EXPIRY_MAX_S + 10 + FUZZ_INPUT_MAX) * BK_SECOND;
        timer(w);
    }
    require(bk_server_rows(w->server) == 0);
    require(bk_server_deadline(w->server) == BK_TIME_NEVER);
    bk_server_free(w->server);
    require(w->memory.alive == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    w.f = (struct feed){data, size};
    w.now = (struct bk_now){.mono = 1000 * BK_SECOND, .unix_s = 1700000000};
    require(bk_seal_init() == BK_OK);
    w.config = (struct bk_server_config){
        .alloc = feed_alloc(&w.memory),
        .rng = feed_random(&w.seed),
        .mac = bk_mac_sodium(),
        .n_master = 2,
        .max_devices = DEVICES - 1,
        .max_streams = STREAMS - 2,
        .max_calls = 6,
        .answer_binding = true,
        .changes = BK_CHANGE_PORT | BK_CHANGE_IP,
        .binding_per_s = 3,
        .requests_per_s = 2,
        .ports = {1200, 1201, 1300},
    };
    w.config.master[0] = master_of(EPOCH);
    w.config.master[1] = master_of(OLD_EPOCH);
    for (size_t i = 0; i < DEVICES; i++) {
        w.devices[i].generation = 1;
        w.devices[i].epoch = EPOCH;
    }
    uint8_t fail = feed_u8(&w.f);
    w.in_shard = NO_SHARD;
    w.config.shards = fail < 224 ? 1 + fail % SHARDS : 1;
    if (fail % 2 == 1) {
        w.config.lock = shard_lock(&w);
    }
    w.config.fast_form = fail / 2 % 2 == 1;
    require(bk_server_new(&w.config, &w.now, &w.server) == BK_OK);
    w.memory.fail_from = fail < 224 ? 0 : w.memory.taken + fail - 223;
    while (w.f.left > 0) {
        one_event(&w);
    }
    end(&w);
    return 0;
}
