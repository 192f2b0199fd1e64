/* Streams to the server's core: they open and close, and messages of users, devices, and who enrols, renews, watches or
 * registers come by them. */
#include "server_events.h"

void on_open(struct world *w)
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

void on_closed(struct world *w)
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

void on_message(struct world *w)
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

/* REGISTER where the stream is for that, of its device or another; INFO anywhere. */
void on_stream_extra(struct world *w)
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
