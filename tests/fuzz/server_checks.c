/* What the server's core may do, checked after every event. Sees nothing of the core but its interface. */
#include "server_checks.h"

#include "seal/seal.h"
#include "wire/connect.h"
#include "wire/lookup.h"
#include "wire/register.h"
#include "wire/result.h"

const char *const server_users[2] = {"alice", "bob"};

static struct bk_server_out out;

struct bk_addr place(size_t i)
{
    struct bk_addr v6 = {.ip = {0x20, 0x01, 0x0d, 0xb8}, .port = 3400};
    v6.ip[15] = (uint8_t)i;
    return i < 4 ? bk_addr_v4(202, 204, 16, 13, (uint16_t)(3400 + i)) : v6;
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

void key_of(const struct world *w, size_t device, uint8_t key[BK_KEY_BYTES])
{
    const struct device *d = &w->devices[device];
    struct bk_master_key master = master_of(d->epoch);
    bk_registration_key(&w->config.mac, master.key, device + 1, d->generation, key);
}

struct bk_master_key master_of(uint16_t epoch)
{
    return (struct bk_master_key){.epoch = epoch, .key = {(uint8_t)epoch}};
}

bool accepted(const struct world *w, uint16_t epoch)
{
    for (size_t i = 0; i < w->config.n_master; i++) {
        if (w->config.master[i].epoch == epoch) {
            return true;
        }
    }
    return false;
}

static struct stream *stream_of(struct world *w, uint64_t number)
{
    for (size_t i = 0; i < STREAMS; i++) {
        if (number != 0 && w->streams[i].number == number) {
            return &w->streams[i];
        }
    }
    return NULL;
}

size_t way_of(uint8_t local)
{
    return local == BK_LOCAL_STREAM ? LOCALS : local;
}

static void check_register_answer(struct world *w, const struct licence *l, const struct bk_stun *m)
{
    struct bk_register_answer a = {.code = BK_CODE_STALE_NONCE};
    uint8_t key[BK_KEY_BYTES];
    require(l->device < DEVICES);
    struct device *d = &w->devices[l->device];
    key_of(w, l->device, key);
    bool refused = d->revoked || l->generation < d->lowest;
    if (m->cls == BK_STUN_INDICATION) {
        require(bk_register_challenge_read(m, &w->config.mac, BK_SLICE_OF(key), &a.nonce) == BK_OK);
    } else {
        require(bk_register_answer_read(m, &w->config.mac, BK_SLICE_OF(key), &a) == BK_OK);
        require(refused == (a.code == BK_CODE_FORBIDDEN));
    }
    require(accepted(w, d->epoch));
    if (a.code == 0) {
        require(a.renew == (d->epoch != w->config.master[0].epoch));
        d->row_accepted = true;
        d->row_epoch = d->epoch;
        memcpy(d->row_key, key, sizeof d->row_key);
    }
    for (size_t i = 0; a.code == BK_CODE_STALE_NONCE && i < PLACES; i++) {
        struct bk_addr at = place(i);
        if (bk_addr_equal(&at, &l->from)) {
            d->has_nonce[i][way_of(l->local)] = true;
            memcpy(d->nonce[i][way_of(l->local)], a.nonce.p, BK_NONCE_BYTES);
        }
    }
}

/* To where a row points, under the key that it was made with. With a request in it only by datagram, and to whom the store
 * has said yes about. The device is returned, and what it hears. */
static struct device *check_notify(struct world *w, const struct bk_stun *m,
                                   const struct bk_addr *to, bool by_stream, struct bk_notify *n)
{
    struct device *heard = NULL;
    for (size_t i = 0; i < DEVICES && heard == NULL; i++) {
        struct device *d = &w->devices[i];
        struct bk_server_row row;
        if (bk_server_find(w->server, i + 1, &row) && bk_addr_equal(&row.addr, to) &&
            row.by_stream == by_stream && d->row_accepted &&
            bk_notify_read(m, &w->config.mac, BK_SLICE_OF(d->row_key), n) == BK_OK) {
            heard = d;
        }
    }
    require(heard != NULL && m->cls == BK_STUN_REQUEST);
    require(!n->fast || (w->config.fast_form && !by_stream && heard->granted && !heard->revoked));
    return heard;
}

static void hear_notify(struct world *w, const struct bk_stun *m, const struct bk_server_action *a)
{
    struct bk_notify n;
    struct device *d = check_notify(w, m, &a->datagram.to, false, &n);
    require(a->datagram.shard < w->config.shards);
    require(a->datagram.bytes.n <= BK_STUN_DATAGRAM_MAX_BYTES);
    /* A later one of the same call may come without the request: its device may have it all the same. */
    bool again = d->heard.is && memcmp(d->heard.txid, m->txid, sizeof d->heard.txid) == 0;
    if (!again || n.fast) {
        memcpy(d->heard.call_id, n.call_id, sizeof d->heard.call_id);
    }
    d->heard.fast = n.fast || (again && d->heard.fast);
    d->heard.is = true;
    d->heard.at = a->datagram.to;
    d->heard.local = a->datagram.local;
    memcpy(d->heard.txid, m->txid, sizeof d->heard.txid);
    memcpy(d->heard.key, d->row_key, sizeof d->heard.key);
}

/* RESULT is answered for who sent it and for nobody else, whatever became of it. */
static void check_result_answer(const struct world *w, const struct licence *l,
                                const struct bk_stun *m)
{
    uint8_t key[BK_KEY_BYTES];
    require(l->result && l->device < DEVICES);
    require(!w->devices[l->device].revoked && accepted(w, w->devices[l->device].epoch));
    key_of(w, l->device, key);
    require(bk_result_answer_read(m, &w->config.mac, BK_SLICE_OF(key)) == BK_OK);
}

/* True if it is an answer. */
static bool check_datagram(struct world *w, const struct licence *l,
                           const struct bk_server_action *a)
{
    struct bk_stun m;
    require(a->datagram.local < LOCALS);
    require(bk_stun_read(a->datagram.bytes, &m) == BK_OK);
    if (m.method == BK_METHOD_NOTIFY) {
        hear_notify(w, &m, a);
        return false;
    }
    require(l->is_datagram && a->datagram.local == l->local && a->datagram.shard == l->shard);
    if (m.method == BK_METHOD_PROBE) {
        struct bk_addr to = l->from;
        to.port = l->probe_port;
        require(l->probe_port >= 1024 && bk_addr_equal(&a->datagram.to, &to));
        require(l->device < DEVICES && w->devices[l->device].has_row &&
                bk_addr_equal(&w->devices[l->device].row.addr, &l->from));
        require(!l->second && a->datagram.bytes.n <= l->bytes);
        return true;
    }
    require(bk_addr_equal(&a->datagram.to, &l->from));
    require(m.method == BK_METHOD_BINDING || (!l->second && !a->datagram.second));
    if (m.method == BK_METHOD_BINDING) {
        require(a->datagram.bytes.n <= l->bytes + BINDING_GAIN_BYTES);
    } else if (m.method == BK_METHOD_RESULT) {
        require(a->datagram.bytes.n <= l->bytes);
        check_result_answer(w, l, &m);
    } else {
        require(m.method == BK_METHOD_REGISTER && a->datagram.bytes.n <= l->bytes);
        check_register_answer(w, l, &m);
    }
    return true;
}

/* Nobody is told yes who may not, or before the store has said so. */
static void check_lifecycle_success(struct world *w, const struct stream *s,
                                    const struct bk_stun *m)
{
    struct bk_renew_answer a;
    bool device = s->peer.role == BK_ROLE_DEVICE;
    require(!device || !w->devices[s->peer.equipment_id - 1].revoked);
    if (s->purpose == BK_STREAM_WATCH) {
        require(m->method == BK_METHOD_WATCH && w->watch_granted == s);
        return;
    }
    require(m->method == BK_METHOD_RENEW && bk_renew_answer_read(m, &a) == BK_OK);
    require(a.device == device);
    if (device) {
        uint8_t key[BK_KEY_BYTES];
        require(a.epoch == w->config.master[0].epoch);
        require(a.generation >= w->devices[s->peer.equipment_id - 1].lowest);
        bk_registration_key(&w->config.mac, w->config.master[0].key, s->peer.equipment_id,
                            a.generation, key);
        require(bk_slice_equal(a.registration_key, BK_SLICE_OF(key)));
    }
}

/* On a stream of registration. */
static void check_registering(struct world *w, const struct licence *l, const struct stream *s,
                              const struct bk_server_action *a, const struct bk_stun *m)
{
    require(s->peer.role == BK_ROLE_DEVICE);
    struct bk_notify n;
    if (m->method == BK_METHOD_NOTIFY) {
        (void)check_notify(w, m, &s->from, true, &n);
    } else if (m->method == BK_METHOD_REGISTER && l->stream == s->number) {
        require(a->message.bytes.n <= l->bytes);
        require(l->device + 1 == s->peer.equipment_id);
        check_register_answer(w, l, m);
    } else {
        require(m->cls == BK_STUN_ERROR && w->speaker == s); /* and the end of the stream */
    }
}

static void check_message(struct world *w, const struct licence *l,
                          const struct bk_server_action *a)
{
    struct stream *s = stream_of(w, a->message.stream);
    struct bk_stun m;
    struct bk_connect offer;
    struct bk_result result;
    require(s != NULL && !s->closing && !s->gone_quiet);
    require(bk_stun_read(a->message.bytes, &m) == BK_OK);
    if (s->purpose == BK_STREAM_REGISTER) {
        check_registering(w, l, s, a, &m);
    } else if (m.method == BK_METHOD_RESULT && m.cls == BK_STUN_INDICATION) {
        require(s->peer.role == BK_ROLE_USER && bk_result_read(&m, &result) == BK_OK);
        require((s->called & 1u << result.call_id[0]) != 0);
    } else if (m.method == BK_METHOD_CONNECT && m.cls == BK_STUN_REQUEST) {
        require(s->peer.role == BK_ROLE_DEVICE && !s->has_offer);
        require(bk_connect_read(&m, &offer) == BK_OK);
        require(offer.equipment_id == s->peer.equipment_id);
        require(offer.has_observed && bk_addr_equal(&offer.observed, &s->from));
        const struct device *d = &w->devices[offer.equipment_id - 1];
        require(d->granted && !d->revoked);
        s->has_offer = true;
        s->offer_call = offer.call_id[0];
        memcpy(s->offer_txid, m.txid, sizeof s->offer_txid);
    } else {
        require(m.cls == BK_STUN_SUCCESS || m.cls == BK_STUN_ERROR);
        require(s->answered < s->asked);
        s->answered++;
        /* A call is delivered by its device's word only. */
        require(m.method != BK_METHOD_CONNECT || m.cls != BK_STUN_SUCCESS || w->taking ||
                (w->speaker != NULL && w->speaker->peer.role == BK_ROLE_DEVICE));
        if (s->purpose != BK_STREAM_PLAIN && m.cls == BK_STUN_SUCCESS) {
            check_lifecycle_success(w, s, &m);
        }
    }
}

static void check_question(struct world *w, const struct bk_server_action *a)
{
    bool find = a->type == BK_SERVER_FIND_DEVICE;
    uint64_t number = find                         ? a->find.query
                      : a->type == BK_SERVER_ENROL ? a->enrol.query
                                                   : a->renew.query;
    require(w->speaker != NULL && number > w->newest_query);
    w->newest_query = number;
    size_t free = QUERIES;
    for (size_t i = 0; i < QUERIES; i++) {
        if (w->queries[i].number == 0) {
            free = i;
        }
    }
    require(free < QUERIES); /* no more than the core's table holds */
    w->queries[free].number = number;
    w->queries[free].type = a->type;
    w->queries[free].stream = w->speaker->number;
    w->queries[free].equipment_id = find ? a->find.equipment_id : 0;
    if (a->type == BK_SERVER_RENEW) {
        require(w->speaker->purpose == BK_STREAM_RENEW);
        require(memcmp(&a->renew.peer, &w->speaker->peer, sizeof a->renew.peer) == 0);
    } else if (w->speaker->purpose == BK_STREAM_WATCH) {
        require(find && a->find.equipment_id == w->speaker->peer.equipment_id);
    }
    if (find) {
        require(bk_slice_equal(a->find.user, bk_slice_text(server_users[0])) ||
                bk_slice_equal(a->find.user, bk_slice_text(server_users[1])));
    }
}

/* The shell answers it, so it counts as answered. */
static void check_info(struct world *w, const struct bk_server_action *a)
{
    struct stream *s = stream_of(w, a->info.stream);
    require(s != NULL && s == w->speaker && !s->closing && !s->gone_quiet);
    require(bk_addr_equal(&a->info.from, &s->from));
    if (s->peer.role == BK_ROLE_USER) {
        require(s->purpose == BK_STREAM_PLAIN);
        require(bk_slice_equal(a->info.user, bk_slice_text(s->peer.name)));
    } else {
        require(s->peer.role == BK_ROLE_DEVICE && a->info.user.n == 0);
        require(s->purpose == BK_STREAM_WATCH || s->purpose == BK_STREAM_PLAIN);
        require(!w->devices[s->peer.equipment_id - 1].revoked);
    }
    require(s->answered < s->asked);
    s->answered++;
}

/* A row that points at a stream points at one that is there. */
static bool has_way(const struct world *w, const struct bk_server_row *row)
{
    size_t n = 0;
    for (size_t i = 0; i < STREAMS; i++) {
        const struct stream *s = &w->streams[i];
        n += s->number != 0 && !s->closing && s->purpose == BK_STREAM_REGISTER &&
             s->peer.equipment_id == row->equipment_id && bk_addr_equal(&s->from, &row->addr);
    }
    return !row->by_stream || n == 1;
}

static void check_rows(struct world *w, const struct licence *l)
{
    size_t n = 0;
    for (size_t i = 0; i < DEVICES; i++) {
        struct device *d = &w->devices[i];
        struct bk_server_row row;
        bool has_row = bk_server_find(w->server, i + 1, &row);
        n += has_row;
        require(!has_row || (!d->revoked && d->row_accepted && row.epoch == d->row_epoch));
        require(!has_row || has_way(w, &row));
        if (has_row && (!d->has_row || row.by_stream != d->row.by_stream ||
                        !bk_addr_equal(&row.addr, &d->row.addr))) {
            require(l->device == i && l->may_move && bk_addr_equal(&row.addr, &l->from));
        } else if (has_row && row.last_seen != d->row.last_seen) {
            require(l->device == i && bk_addr_equal(&row.addr, &l->from));
        }
        d->has_row = has_row;
        d->row = row;
    }
    /* The limit is each shard's. */
    require(n <= bk_server_rows(w->server) &&
            (bk_server_rows(w->server) <= w->config.max_devices || w->config.shards > 1));
    require(w->in_shard == NO_SHARD);
}

static void check_out(struct world *w, const struct licence *l)
{
    require(out.n <= BK_SERVER_OUT_ACTIONS && out.used <= BK_SERVER_OUT_BYTES);
    size_t answers = 0;
    for (size_t i = 0; i < out.n; i++) {
        const struct bk_server_action *a = &out.actions[i];
        struct stream *s;
        switch (a->type) {
        case BK_SERVER_SEND_DATAGRAM:
            answers += check_datagram(w, l, a);
            break;
        case BK_SERVER_SEND_MESSAGE:
            check_message(w, l, a);
            break;
        case BK_SERVER_CLOSE_STREAM:
            s = stream_of(w, a->close.stream);
            require(s != NULL && !s->closing);
            s->closing = true;
            break;
        case BK_SERVER_FIND_DEVICE:
        case BK_SERVER_ENROL:
        case BK_SERVER_RENEW:
            check_question(w, a);
            break;
        case BK_SERVER_SEND_INFO:
            check_info(w, a);
            break;
        case BK_SERVER_AUDIT:
            break;
        }
    }
    require(answers <= 1);
    check_rows(w, l);
}

const struct licence no_licence = {.device = DEVICES};

static void enter(void *ctx, uint32_t shard)
{
    struct world *w = ctx;
    require(w->in_shard == NO_SHARD && shard < w->config.shards);
    w->in_shard = shard;
}

static void leave(void *ctx, uint32_t shard)
{
    struct world *w = ctx;
    require(w->in_shard == shard);
    w->in_shard = NO_SHARD;
}

struct bk_shard_lock shard_lock(struct world *w)
{
    return (struct bk_shard_lock){w, enter, leave};
}

/* As the shell carries it out. */
static void worker_sends(struct world *w, const struct bk_server_event *event,
                         const struct bk_registrar_reply *reply, const struct licence *l)
{
    struct bk_server_action *a = &out.actions[0];
    out.n = 1;
    out.used = reply->n;
    memcpy(out.bytes, reply->bytes, reply->n);
    *a = (struct bk_server_action){.type = BK_SERVER_SEND_DATAGRAM};
    a->datagram.shard = event->datagram.shard;
    a->datagram.local = event->datagram.local;
    a->datagram.second = reply->second;
    a->datagram.to = event->datagram.from;
    a->datagram.to.port = reply->port;
    a->datagram.bytes = bk_slice(out.bytes, reply->n);
    check_out(w, l);
}

void worker(struct world *w, uint8_t shard, const struct bk_server_event *event,
            const struct licence *l)
{
    struct bk_arrival in = {
        .from = event->datagram.from,
        .bytes = event->datagram.bytes,
        .local = event->datagram.local,
        .second = event->datagram.second,
    };
    struct bk_registrar_reply reply;
    struct bk_registrar *r = bk_server_shard(w->server, shard);
    enter(w, shard);
    bk_registrar_prefetch(r, &in.bytes, 1);
    enum bk_registrar_verdict v = bk_registrar_datagram(r, &w->now, &in, &reply);
    leave(w, shard);
    if (v == BK_REGISTRAR_REPLY) {
        worker_sends(w, event, &reply, l);
    } else {
        check_rows(w, l);
    }
    if (reply.news) {
        struct bk_server_event news = {.type = BK_SERVER_ROW_NEWS};
        news.row_news.equipment_id = reply.equipment_id;
        input(w, &news, &no_licence);
    }
    if (v == BK_REGISTRAR_PASS) {
        input(w, event, l);
    }
}

void input(struct world *w, const struct bk_server_event *event, const struct licence *l)
{
    bk_server_input(w->server, &w->now, event, &out);
    check_out(w, l);
}

/* Theirs, where they are the workers' affair. */
static void shards_timer(struct world *w)
{
    for (uint32_t i = 0; w->config.lock.enter && i < w->config.shards; i++) {
        enter(w, i);
        bk_registrar_timer(bk_server_shard(w->server, i), &w->now);
        require(bk_registrar_deadline(bk_server_shard(w->server, i)) > w->now.mono);
        leave(w, i);
    }
}

void timer(struct world *w)
{
    size_t rounds = 0;
    shards_timer(w);
    do {
        bk_server_timer(w->server, &w->now, &out);
        check_out(w, &no_licence);
        require(rounds++ < 100); /* every round gets something done */
    } while (bk_server_deadline(w->server) <= w->now.mono &&
             (out.n > BK_SERVER_OUT_ACTIONS - 8 || out.used > BK_SERVER_OUT_BYTES - 4096));
    require(bk_server_deadline(w->server) > w->now.mono);
    for (size_t i = 0; i < STREAMS; i++) { /* nobody watches what has changed */
        const struct stream *s = &w->streams[i];
        require(s->number == 0 || s->closing || !s->gone_quiet);
    }
}
