/* The relay's core against clients that know their secrets, and bend what they send: the input says, step by step, who
 * connects, what is asked, in order or bent, who comes as a peer and what time passes. A shell of our own keeps account of
 * what must hold whatever they do. */
#include "core/relay/relay.h"
#include "feed.h"

enum {
    STEPS_MAX = 400,
    CONNS_MAX = 512,
    ALLOCATIONS_MAX = 4,
    USER_ALLOCATIONS_MAX = 2,
    CORE_CONNS_MAX = 24,
};

enum conn_kind { GONE, CLIENT, PEER, JOINED };

struct lease {
    uint64_t number; /* 0: free */
    uint64_t control;
    bool listens;
    uint8_t user;
};

struct world {
    struct feed feed;
    uint64_t seed;
    struct bk_now now;
    struct bk_relay_core *core;
    struct bk_relay_out out;
    enum conn_kind conns[CONNS_MAX]; /* by number */
    uint64_t lease_of[CONNS_MAX];    /* of joined ones */
    size_t n_conns;
    struct lease leases[ALLOCATIONS_MAX];
    uint64_t listening; /* a LISTEN to be answered */
    uint64_t dialling;
    uint32_t dial_id;
    char nonce[64];
    uint32_t ids[8]; /* told lately */
    size_t n_ids;
};

/* Weak, and enough: both sides use it. */
static void mix(struct bk_slice key, const struct bk_slice *parts, size_t n_parts, uint8_t *out,
                size_t n)
{
    uint32_t h = 1;
    for (size_t i = 0; i < key.n; i++) {
        h = h * 31 + key.p[i];
    }
    for (size_t i = 0; i < n_parts; i++) {
        for (size_t j = 0; j < parts[i].n; j++) {
            h = h * 31 + parts[i].p[j];
        }
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(h >> 8 * (i % 4));
    }
}

static void md5(void *ctx, const struct bk_slice *parts, size_t n, uint8_t out[BK_TURN_KEY_BYTES])
{
    (void)ctx;
    mix(BK_SLICE_EMPTY, parts, n, out, BK_TURN_KEY_BYTES);
}

static void sha1(void *ctx, struct bk_slice key, const struct bk_slice *parts, size_t n,
                 uint8_t out[BK_HMAC_SHA1_BYTES])
{
    (void)ctx;
    mix(key, parts, n, out, BK_HMAC_SHA1_BYTES);
}

static const struct bk_turn_ops ops = {NULL, md5, sha1};
static const char *const users[] = {"alice", "bob", "carol"};
#define ONE "111111111111111111111111111111ff.call.invalid"
static const char *const names[] = {"", ONE, "111111111111111111111111111111FF.CALL.invalid",
                                    "222222222222222222222222222222ff.call.invalid"};

static struct bk_addr some_peer(struct feed *f)
{
    static const uint8_t ips[][4] = {
        {202, 204, 16, 13}, {5, 6, 7, 8}, {127, 0, 0, 1}, {10, 0, 0, 1}, {202, 120, 2, 30}};
    const uint8_t *ip = ips[feed_below(f, sizeof ips / sizeof ips[0])];
    return bk_addr_v4(ip[0], ip[1], ip[2], ip[3], (uint16_t)(50000 + feed_below(f, 4)));
}

static struct lease *lease_of(struct world *w, uint64_t number)
{
    for (size_t i = 0; i < ALLOCATIONS_MAX; i++) {
        if (number != 0 && w->leases[i].number == number) {
            return &w->leases[i];
        }
    }
    return NULL;
}

/* What clients can learn from what is sent. */
static void overhear(struct world *w, struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_turn_attempt attempt;
    struct bk_turn_answer answer;
    require(bk_stun_read(bytes, &m) == BK_OK && bytes.n <= 512);
    if (m.cls == BK_STUN_INDICATION) {
        require(bk_turn_attempt_read(&m, &attempt) == BK_OK && attempt.connection_id != 0);
        require(bk_addr_scope(&attempt.peer) == BK_SCOPE_GLOBAL);
        w->ids[w->n_ids++ % 8] = attempt.connection_id;
    } else if (m.method != BK_METHOD_BINDING &&
               bk_turn_answer_read(&m, &ops, NULL, &answer) == BK_OK) {
        if (answer.nonce.n > 0) {
            require(bk_slice_to_text(answer.nonce, w->nonce, sizeof w->nonce));
        }
        if (m.method == BK_METHOD_TURN_CONNECT && answer.code == 0) {
            w->ids[w->n_ids++ % 8] = answer.connection_id;
        }
    }
}

static void listen_for(struct world *w, const struct bk_relay_action *a)
{
    struct lease *free_place = NULL;
    unsigned of_user = 0;
    for (size_t i = 0; i < ALLOCATIONS_MAX; i++) {
        if (w->leases[i].number == 0) {
            free_place = &w->leases[i];
        } else {
            of_user += w->leases[i].user == a->listen.user_slot;
            require(w->leases[i].control != a->listen.control);
        }
    }
    require(free_place != NULL && of_user < USER_ALLOCATIONS_MAX && w->listening == 0);
    require(w->conns[a->listen.control] == CLIENT && a->listen.user_slot < ALLOCATIONS_MAX);
    *free_place = (struct lease){.number = a->listen.allocation,
                                 .control = a->listen.control,
                                 .user = (uint8_t)a->listen.user_slot};
    w->listening = a->listen.allocation;
}

static void end_lease(struct world *w, const struct bk_relay_action *a)
{
    struct lease *lease = lease_of(w, a->end.allocation);
    require(lease != NULL);
    for (size_t i = 0; i < w->n_conns; i++) {
        if (w->conns[i] == JOINED && w->lease_of[i] == lease->number) {
            w->conns[i] = GONE;
        }
    }
    if (w->listening == lease->number) {
        w->listening = 0;
    }
    *lease = (struct lease){.number = 0};
}

static void carry_out(struct world *w)
{
    for (size_t i = 0; i < w->out.n; i++) {
        const struct bk_relay_action *a = &w->out.actions[i];
        switch (a->type) {
        case BK_RELAY_SEND:
            require(w->conns[a->send.conn] == CLIENT);
            overhear(w, a->send.bytes);
            break;
        case BK_RELAY_CLOSE:
            require(w->conns[a->close.conn] == CLIENT || w->conns[a->close.conn] == PEER);
            w->conns[a->close.conn] = GONE;
            break;
        case BK_RELAY_LISTEN:
            listen_for(w, a);
            break;
        case BK_RELAY_JOIN:
            require(w->conns[a->join.client] == CLIENT && w->conns[a->join.peer] == PEER);
            require(lease_of(w, a->join.allocation) != NULL);
            require(lease_of(w, a->join.allocation)->control != a->join.client);
            w->conns[a->join.client] = w->conns[a->join.peer] = JOINED;
            w->lease_of[a->join.client] = w->lease_of[a->join.peer] = a->join.allocation;
            break;
        case BK_RELAY_DIAL:
            require(bk_addr_scope(&a->dial.peer) == BK_SCOPE_GLOBAL);
            require(lease_of(w, a->dial.allocation) != NULL);
            w->dialling = a->dial.allocation;
            w->dial_id = a->dial.connection_id;
            break;
        case BK_RELAY_END:
            end_lease(w, a);
            break;
        }
    }
}

static void input(struct world *w, const struct bk_relay_event *event)
{
    bk_relay_core_input(w->core, &w->now, event, &w->out);
    carry_out(w);
    if (w->listening != 0) { /* answered before anything else */
        struct bk_relay_event answer = {.type = BK_RELAY_LISTENING};
        answer.listening.allocation = w->listening;
        w->listening = 0;
        if (feed_below(&w->feed, 8) == 0) {
            answer.listening.code = BK_CODE_CAPACITY;
        }
        answer.listening.relayed = bk_addr_v4(202, 120, 2, 30, 50000);
        bk_relay_core_input(w->core, &w->now, &answer, &w->out);
        carry_out(w);
    }
}

static uint64_t new_conn(struct world *w, enum conn_kind kind)
{
    if (w->n_conns == CONNS_MAX) {
        return 0;
    }
    w->conns[w->n_conns] = kind;
    return w->n_conns++;
}

static void accept_one(struct world *w)
{
    struct bk_relay_event event = {.type = BK_RELAY_ACCEPTED};
    event.accepted.conn = new_conn(w, CLIENT);
    event.accepted.from = bk_addr_v4(4, 17, 168, (uint8_t)feed_below(&w->feed, 2), 7000);
    event.accepted.local = bk_addr_v4(202, 120, 2, 30, 1201);
    if (event.accepted.conn != 0) {
        input(w, &event);
    }
}

static uint64_t some_conn(struct world *w, enum conn_kind kind)
{
    size_t from = feed_u8(&w->feed);
    for (size_t i = 0; i < w->n_conns; i++) {
        size_t at = (from + i) % w->n_conns;
        if (w->conns[at] == kind) {
            return at;
        }
    }
    return 0;
}

static struct bk_turn_request some_request(struct world *w)
{
    static const uint16_t methods[] = {BK_METHOD_ALLOCATE, BK_METHOD_REFRESH,
                                       BK_METHOD_CREATE_PERMISSION, BK_METHOD_TURN_CONNECT,
                                       BK_METHOD_CONNECTION_BIND};
    struct feed *f = &w->feed;
    struct bk_turn_request r = {.method = methods[feed_below(f, 5)], .transport = 6};
    r.n_peers = 1;
    r.peers[0] = some_peer(f);
    if (r.method == BK_METHOD_CREATE_PERMISSION && feed_bool(f)) {
        r.n_peers = 2;
        r.peers[1] = some_peer(f);
    }
    r.has_lifetime = feed_bool(f);
    r.lifetime_s = (uint32_t)feed_below(f, 4) * 900;
    r.family = feed_below(f, 16) == 0 ? 2 : 0;
    r.server_name = bk_slice_text(names[feed_below(f, 4)]);
    r.connection_id = w->ids[feed_below(f, 8)];
    return r;
}

static void ask(struct world *w)
{
    uint8_t buf[1024], key[BK_TURN_KEY_BYTES];
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    char username[BK_TURN_USERNAME_TEXT_BYTES], password[BK_TURN_PASSWORD_TEXT_BYTES];
    struct bk_turn_request request = some_request(w);
    struct bk_relay_event event = {.type = BK_RELAY_MESSAGE};
    struct bk_turn_login login = {.realm = bk_slice_text(BK_RELAY_REALM),
                                  .nonce = bk_slice_text(w->nonce),
                                  .key = w->nonce[0] == '\0' ? NULL : key};
    uint64_t expiry_s = w->now.unix_s + 100 - feed_below(&w->feed, 102);
    require(bk_turn_username(expiry_s, bk_slice_text(users[feed_below(&w->feed, 3)]), username) ==
            BK_OK);
    login.username = bk_slice_text(username);
    bk_turn_password(&ops, bk_slice_text("north"), login.username, password);
    bk_turn_key(&ops, login.username, login.realm, bk_slice_text(password), key);
    event.message.conn = some_conn(w, CLIENT);
    require(bk_turn_request_write(buf, sizeof buf, txid, &request, &login, &ops,
                                  &event.message.bytes) == BK_OK);
    if (feed_below(&w->feed, 4) == 0) {
        event.message.bytes = feed_bend(&w->feed, buf, event.message.bytes.n);
    }
    if (event.message.conn != 0) {
        input(w, &event);
    }
}

static void raw(struct world *w)
{
    struct bk_relay_event event = {.type = BK_RELAY_MESSAGE};
    event.message.bytes = feed_bytes(&w->feed);
    event.message.conn = feed_below(&w->feed, w->n_conns); /* gone and joined ones too */
    if (w->conns[event.message.conn] == CLIENT || w->conns[event.message.conn] == GONE) {
        input(w, &event);
    }
}

static void peer(struct world *w)
{
    struct bk_relay_event event = {.type = BK_RELAY_PEER};
    const struct lease *lease = &w->leases[feed_below(&w->feed, ALLOCATIONS_MAX)];
    event.peer.allocation = lease->number;
    event.peer.from = some_peer(&w->feed);
    event.peer.conn = new_conn(w, PEER);
    if (event.peer.conn != 0) {
        input(w, &event);
    }
}

static void named(struct world *w)
{
    struct bk_relay_event event = {.type = BK_RELAY_NAMED};
    event.named.name = bk_slice_text(names[1 + feed_below(&w->feed, 3)]);
    event.named.from = bk_addr_v4(202, 204, 16, 13, 1);
    if (bk_relay_core_knows(w->core, event.named.name) &&
        (event.named.conn = new_conn(w, PEER)) != 0) {
        input(w, &event);
    }
}

static void dialled(struct world *w)
{
    struct bk_relay_event event = {.type = BK_RELAY_DIALLED};
    if (w->dialling == 0) {
        return;
    }
    event.dialled.allocation = w->dialling;
    event.dialled.connection_id = w->dial_id;
    event.dialled.connected = feed_bool(&w->feed);
    if (event.dialled.connected && (event.dialled.conn = new_conn(w, PEER)) == 0) {
        event.dialled.connected = false;
    }
    w->dialling = 0;
    input(w, &event);
}

static void close_one(struct world *w)
{
    struct bk_relay_event event = {.type = BK_RELAY_CLOSED};
    event.closed.conn = some_conn(w, feed_bool(&w->feed) ? CLIENT : JOINED);
    if (event.closed.conn != 0) {
        w->conns[event.closed.conn] = GONE;
        input(w, &event);
    }
}

static void end_user(struct world *w)
{
    struct bk_relay_event event = {.type = BK_RELAY_END_USER};
    event.end_user.user = bk_slice_text(users[feed_below(&w->feed, 3)]);
    input(w, &event);
}

static void pass(struct world *w)
{
    feed_pass(&w->feed, &w->now);
    while (bk_relay_core_deadline(w->core) <= w->now.mono) {
        bk_relay_core_timer(w->core, &w->now, &w->out);
        require(w->out.n > 0);
        carry_out(w);
    }
}

static void step(struct world *w)
{
    static void (*const steps[])(struct world *) = {ask,   ask,     ask,        ask,        ask,
                                                    peer,  peer,    accept_one, accept_one, raw,
                                                    named, dialled, close_one,  end_user,   pass};
    steps[feed_below(&w->feed, sizeof steps / sizeof steps[0])](w);
    size_t allocations = 0, alive = 0;
    for (size_t i = 0; i < ALLOCATIONS_MAX; i++) {
        allocations += w->leases[i].number != 0;
        require(w->leases[i].number == 0 || w->conns[w->leases[i].control] == CLIENT);
    }
    for (size_t i = 1; i < w->n_conns; i++) {
        alive += w->conns[i] != GONE;
    }
    require(allocations == bk_relay_core_allocations(w->core) && alive <= CORE_CONNS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct feed_memory memory = {.alive = 0};
    w = (struct world){.feed = {data, size},
                       .seed = 1,
                       .n_conns = 1,
                       .now = {.mono = 1000 * BK_SECOND, .unix_s = 1800000000}};
    struct bk_relay_core_config config = {
        .alloc = feed_alloc(&memory),
        .rng = feed_random(&w.seed),
        .ops = ops,
        .secret = bk_slice_text("north"),
        .max_connections = CORE_CONNS_MAX,
        .max_fresh = 6,
        .max_allocations = ALLOCATIONS_MAX,
        .max_user_allocations = USER_ALLOCATIONS_MAX,
        .allow_connect = feed_bool(&w.feed),
        .first_port = 50000,
        .last_port = 50001,
    };
    require(bk_relay_core_new(&config, &w.core) == BK_OK);
    for (int i = 0; i < STEPS_MAX && w.feed.left > 0; i++) {
        step(&w);
    }
    bk_relay_core_free(w.core);
    require(memory.alive == 0);
    return 0;
}
