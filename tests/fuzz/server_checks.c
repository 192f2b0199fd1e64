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

void key_of(const struct world *w, size_t device, uint8_t key[BK_KEY_BYTES])
{
    const struct device *d = &w->devices[device];
    bk_registration_key(&w->config.mac, w->config.master[d->epoch == EPOCH ? 0 : 1].key, device + 1,
                        d->generation, key);
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

static void check_register_answer(struct world *w, const struct licence *l, const struct bk_stun *m)
{
    struct bk_register_answer a;
    uint8_t key[BK_KEY_BYTES];
    require(l->device < DEVICES);
    struct device *d = &w->devices[l->device];
    key_of(w, l->device, key);
    require(bk_register_answer_read(m, &w->config.mac, BK_SLICE_OF(key), &a) == BK_OK);
    bool refused = d->revoked || l->generation < d->lowest;
    require(refused == (a.code == BK_CODE_FORBIDDEN));
    for (size_t i = 0; a.code == BK_CODE_STALE_NONCE && i < PLACES; i++) {
        struct bk_addr at = place(i);
        if (bk_addr_equal(&at, &l->from)) {
            d->has_nonce[i][l->local] = true;
            memcpy(d->nonce[i][l->local], a.nonce.p, BK_NONCE_BYTES);
        }
    }
}

/* True if it is an answer. */
static bool check_datagram(struct world *w, const struct licence *l,
                           const struct bk_server_action *a)
{
    struct bk_stun m;
    require(bk_stun_read(a->datagram.bytes, &m) == BK_OK);
    if (m.method == BK_METHOD_NOTIFY) { /* to where a row points, at some time of this event */
        bool known = false;
        for (size_t i = 0; i < DEVICES; i++) {
            struct bk_server_row row;
            known = known || (bk_server_find(w->server, i + 1, &row) &&
                              bk_addr_equal(&row.addr, &a->datagram.to));
        }
        require(known && m.cls == BK_STUN_REQUEST);
        return false;
    }
    require(l->is_datagram && bk_addr_equal(&a->datagram.to, &l->from) &&
            a->datagram.local == l->local);
    if (m.method == BK_METHOD_BINDING) {
        require(a->datagram.bytes.n <= l->bytes + BINDING_GAIN_BYTES);
    } else {
        require(m.method == BK_METHOD_REGISTER && a->datagram.bytes.n <= l->bytes);
        check_register_answer(w, l, &m);
    }
    return true;
}

static void check_message(struct world *w, const struct bk_server_action *a)
{
    struct stream *s = stream_of(w, a->message.stream);
    struct bk_stun m;
    struct bk_connect offer;
    struct bk_result result;
    require(s != NULL && !s->closing && !s->gone_quiet);
    require(bk_stun_read(a->message.bytes, &m) == BK_OK);
    if (m.method == BK_METHOD_RESULT) {
        require(s->peer.role == BK_ROLE_USER && bk_result_read(&m, &result) == BK_OK);
        require((s->called & 1u << result.call_id[0]) != 0);
    } else if (m.method == BK_METHOD_CONNECT && m.cls == BK_STUN_REQUEST) {
        require(s->peer.role == BK_ROLE_DEVICE && !s->has_offer);
        require(bk_connect_read(&m, &offer) == BK_OK);
        require(offer.equipment_id == s->peer.equipment_id);
        const struct device *d = &w->devices[offer.equipment_id - 1];
        require(d->granted && !d->revoked);
        s->has_offer = true;
        s->offer_call = offer.call_id[0];
        memcpy(s->offer_txid, m.txid, sizeof s->offer_txid);
    } else {
        require(m.cls == BK_STUN_SUCCESS || m.cls == BK_STUN_ERROR);
    }
}

static void check_question(struct world *w, const struct bk_server_action *a, bool enrol)
{
    uint64_t number = enrol ? a->enrol.query : a->find.query;
    require(number > w->newest_query);
    w->newest_query = number;
    size_t free = QUERIES;
    for (size_t i = 0; i < QUERIES; i++) {
        if (w->queries[i].number == 0) {
            free = i;
        }
    }
    require(free < QUERIES); /* no more than the core's table holds */
    w->queries[free].number = number;
    w->queries[free].enrol = enrol;
    w->queries[free].equipment_id = enrol ? 0 : a->find.equipment_id;
    if (!enrol) {
        require(bk_slice_equal(a->find.user, bk_slice_text(server_users[0])) ||
                bk_slice_equal(a->find.user, bk_slice_text(server_users[1])));
    }
}

static void check_rows(struct world *w, const struct licence *l)
{
    size_t n = 0;
    for (size_t i = 0; i < DEVICES; i++) {
        struct device *d = &w->devices[i];
        struct bk_server_row row;
        bool has_row = bk_server_find(w->server, i + 1, &row);
        n += has_row;
        require(!has_row || !d->revoked);
        if (has_row && (!d->has_row || !bk_addr_equal(&row.addr, &d->row.addr))) {
            require(l->device == i && l->may_move && bk_addr_equal(&row.addr, &l->from));
        } else if (has_row && row.last_seen != d->row.last_seen) {
            require(l->device == i && bk_addr_equal(&row.addr, &l->from));
        }
        d->has_row = has_row;
        d->row = row;
    }
    require(n <= bk_server_rows(w->server) && bk_server_rows(w->server) <= w->config.max_devices);
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
            check_message(w, a);
            break;
        case BK_SERVER_CLOSE_STREAM:
            s = stream_of(w, a->close.stream);
            require(s != NULL && !s->closing);
            s->closing = true;
            break;
        case BK_SERVER_FIND_DEVICE:
        case BK_SERVER_ENROL:
            check_question(w, a, a->type == BK_SERVER_ENROL);
            break;
        case BK_SERVER_AUDIT:
            break;
        }
    }
    require(answers <= 1);
    check_rows(w, l);
}

const struct licence no_licence = {.device = DEVICES};

void input(struct world *w, const struct bk_server_event *event, const struct licence *l)
{
    bk_server_input(w->server, &w->now, event, &out);
    check_out(w, l);
}

void timer(struct world *w)
{
    size_t rounds = 0;
    do {
        bk_server_timer(w->server, &w->now, &out);
        check_out(w, &no_licence);
        require(rounds++ < 100); /* every round gets something done */
    } while (bk_server_deadline(w->server) <= w->now.mono &&
             (out.n > BK_SERVER_OUT_ACTIONS - 8 || out.used > BK_SERVER_OUT_BYTES - 4096));
    require(bk_server_deadline(w->server) > w->now.mono);
}
