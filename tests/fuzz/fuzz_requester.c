/* The requester's core as a whole: the input is a script of what a server may say, true, bent or forged, of
 * what the person answers, of sessions and of time. The server's certificates may name another key, device
 * or role, its box key be signed by another, its results sealed by another.
 *
 *   217 leaves only for a key that is the pin, or that the person accepted, at most twice for each proof and once more
 *   for each further server, and once more where it was sent in hope (by what is known of the device, or before a relay was
 *   there); it opens with that device's box key alone and holds what the person gave, or a signature that is good for
 *   that device; every 217 has a call ID of its own;
 *   EXPECT names key and call ID and comes before each 217; no password is asked for before, nor, where the
 *   caller has a key, before the device itself has refused that;
 *   ACCEPTED is believed from the device only, for the newest call ID; no address is dialled or met before it, and after
 *   it none but the device named, of a scope and port that it may name, so many and no more;
 *   a session is used or closed, never both; retired only after it was used; few are in use at a time; PATHS go where
 *   HTTP/2 is; rounds have numbers that rise;
 *   FAILED or ENDED comes once and nothing but closing sessions after it, and no deadline lies in the past. */
#include "core/requester/requester.h"

#include <sodium.h>

#include "feed.h"
#include "wire/paths.h"
#include "wire/result.h"

enum {
    ID = 2133,
    KEYS = 2, /* the device's, and somebody else's */
    SERVERS = 3,
    REQUESTS_MAX = 5 + SERVERS,
    SESSIONS = 64,
};

enum known {
    NONE,
    UP,
    USED,
    RETIRED,
    GONE,
};

struct world {
    struct feed f;
    struct feed_memory memory;
    uint64_t seed;
    struct bk_now now;
    struct bk_requester_config config;
    struct bk_requester *r;
    struct bk_box_pair box[KEYS];
    uint8_t sign_seed[KEYS][BK_SIGN_SEED_BYTES];
    uint8_t sign_key[KEYS][BK_KEY_BYTES];
    uint8_t pin[KEYS][BK_PIN_BYTES];
    uint8_t txid[BK_STUN_TXID_BYTES]; /* of the newest message sent */
    uint8_t shown[BK_PIN_BYTES];      /* to the person */
    uint8_t info_txid[BK_STUN_TXID_BYTES];
    bool gathering, was_shown, agreed, asked_password, gave_password;
    bool expected; /* and 217 not sent yet */
    bool failed, accepted;
    uint8_t call_id[REQUESTS_MAX]
                   [BK_CALL_ID_BYTES]; /* as expected; the newest is at `expects_n` - 1 */
    size_t expects_n, signed_n;
    uint8_t expects[BK_PIN_BYTES];
    struct bk_slice password;
    size_t requests, uses, server, dials, permits, in_use;
    bool ended, anew, early;
    uint16_t round;
    uint8_t sessions[SESSIONS];      /* enum known */
    uint8_t reply_key[BK_KEY_BYTES]; /* of the newest 217 */
    bool may_accept;                 /* this event is a genuine ACCEPTED */
    bool may_refuse;                 /* or a genuine REFUSED or BACK_OFF */
};

static struct bk_requester_out out;

/* Stands for a certificate: which key (of KEYS), which role, which device; nothing else is one. */
static enum bk_err read_certificate(void *ctx, struct bk_slice der, uint64_t unix_s,
                                    struct bk_identity *id)
{
    const struct world *w = ctx;
    (void)unix_s;
    if (der.n != 3 || der.p[0] >= KEYS) {
        return BK_E_AUTH;
    }
    *id = (struct bk_identity){.role = der.p[1] == 0 ? BK_ROLE_DEVICE : BK_ROLE_USER};
    id->equipment_id = ID + der.p[2];
    memcpy(id->key, w->sign_key[der.p[0]], sizeof id->key);
    return BK_OK;
}

/* The key that 217 may go to, or KEYS. */
static size_t accepted_key(const struct world *w)
{
    const uint8_t *pin = w->config.have_pin ? w->config.pin : w->shown;
    for (size_t i = 0; i < KEYS; i++) {
        if ((w->config.have_pin || w->agreed) && memcmp(pin, w->pin[i], BK_PIN_BYTES) == 0) {
            return i;
        }
    }
    return KEYS;
}

static void check_proof(struct world *w, size_t key, const struct bk_call_request *inside)
{
    uint8_t own[BK_KEY_BYTES];
    if (!inside->has_signature) {
        require(w->gave_password && bk_slice_equal(inside->password, w->password));
        require(w->requests - w->signed_n <= 3 + w->server);
        return;
    }
    bk_caller_key_of(w->config.key_seed, own);
    require(w->config.have_key && !w->asked_password && inside->password.n == 0);
    require(memcmp(inside->caller_key, own, sizeof own) == 0);
    require(bk_caller_check(own, w->pin[key], inside->signed_text, inside->signature) == BK_OK);
    require(bk_caller_check(own, w->pin[1 - key], inside->signed_text, inside->signature) != BK_OK);
    require(++w->signed_n <= 3 + w->server);
}

static void check_request(struct world *w, const struct bk_stun *m)
{
    static uint8_t plain[BK_CALL_REQUEST_MAX_BYTES];
    struct bk_connect outside;
    struct bk_call_request inside;
    struct bk_slice text;
    size_t key = accepted_key(w);
    require(key < KEYS && w->expected && ++w->requests == w->expects_n);
    w->expected = false;
    require(memcmp(w->expects, w->pin[key], BK_PIN_BYTES) == 0);
    require(bk_connect_read(m, &outside) == BK_OK);
    require(bk_open_request(&w->box[1 - key], outside.box, plain, sizeof plain, &text) != BK_OK);
    require(bk_open_request(&w->box[key], outside.box, plain, sizeof plain, &text) == BK_OK);
    require(bk_call_request_read(text, &inside) == BK_OK);
    check_proof(w, key, &inside);
    require(inside.n_candidates >= 1 && inside.n_candidates <= BK_CANDIDATES_MAX);
    require(memcmp(inside.call_key, w->config.call_key, BK_KEY_BYTES) == 0);
    require(memcmp(inside.call_id, w->call_id[w->expects_n - 1], BK_CALL_ID_BYTES) == 0);
    require(memcmp(outside.call_id, inside.call_id, BK_CALL_ID_BYTES) == 0);
    require(inside.equipment_id == outside.equipment_id);
    require(w->config.equipment_id == 0 || inside.equipment_id == w->config.equipment_id);
    memcpy(w->reply_key, inside.reply_key, sizeof w->reply_key);
}

static void check_expect(struct world *w, const struct bk_requester_action *a)
{
    require(accepted_key(w) < KEYS && !w->expected && w->expects_n < REQUESTS_MAX);
    require(memcmp(a->pin, w->pin[accepted_key(w)], BK_PIN_BYTES) == 0);
    for (size_t i = 0; i < w->expects_n; i++) {
        require(memcmp(a->call_id, w->call_id[i], BK_CALL_ID_BYTES) != 0);
    }
    w->expected = true;
    memcpy(w->expects, a->pin, sizeof w->expects);
    memcpy(w->call_id[w->expects_n++], a->call_id, BK_CALL_ID_BYTES);
}

static void check_sent(struct world *w, const struct bk_requester_action *a)
{
    struct bk_stun m;
    require(bk_stun_read(a->bytes, &m) == BK_OK && m.cls == BK_STUN_REQUEST);
    if (m.method == BK_METHOD_INFO) {
        memcpy(w->info_txid, m.txid, sizeof w->info_txid);
        return;
    }
    memcpy(w->txid, m.txid, sizeof w->txid);
    if (m.method == BK_METHOD_CONNECT) {
        check_request(w, &m);
    } else {
        require(m.method == BK_METHOD_LOOKUP);
        if (w->uses == 0) {
            require(!w->accepted || !w->anew); /* nothing came of it, once */
            w->anew = w->anew || w->accepted;
            w->accepted = false;
        }
    }
}

static void check_address(struct world *w, const struct bk_requester_action *a)
{
    const struct bk_candidate *c = &a->candidate;
    enum bk_addr_scope scope = bk_addr_scope(&c->addr);
    require(w->accepted && w->dials++ < BK_REQUESTER_DIALS_MAX);
    require(c->addr.port == 443 || c->addr.port >= 1024);
    require(scope == BK_SCOPE_GLOBAL || scope == BK_SCOPE_PRIVATE);
    require((c->kind == BK_CANDIDATE_REFLEXIVE) == (a->type == BK_REQUESTER_PUNCH));
    require(c->kind != BK_CANDIDATE_RELAYED);
    require(a->type != BK_REQUESTER_PUNCH || !w->config.no_reflexive);
}

static void check_session(struct world *w, const struct bk_requester_action *a)
{
    struct bk_stun m;
    struct bk_paths paths;
    require(a->session < SESSIONS);
    switch ((int)a->type) {
    case BK_REQUESTER_USE_SESSION:
        require(w->requests > 0 &&
                (w->sessions[a->session] == UP || w->sessions[a->session] == USED));
        w->in_use += w->sessions[a->session] == UP;
        require(w->in_use <= BK_REQUESTER_IN_USE_MAX);
        w->sessions[a->session] = USED;
        w->uses++;
        break;
    case BK_REQUESTER_CLOSE_SESSION:
        require(w->sessions[a->session] == UP);
        w->sessions[a->session] = GONE;
        break;
    case BK_REQUESTER_RETIRE_SESSION:
        require(w->sessions[a->session] == USED);
        w->sessions[a->session] = RETIRED;
        break;
    default:
        require(w->sessions[a->session] == USED);
        require(bk_stun_read(a->bytes, &m) == BK_OK && bk_paths_read(&m, &paths) == BK_OK);
        require(paths.round > w->round);
        w->round = paths.round;
        w->dials = 0;
        break;
    }
}

static void check_action(struct world *w, const struct bk_requester_action *a)
{
    require((!w->failed && !w->ended) || a->type == BK_REQUESTER_CLOSE_SESSION);
    switch (a->type) {
    case BK_REQUESTER_SEND_SERVER:
        check_sent(w, a);
        break;
    case BK_REQUESTER_CONFIRM_PIN:
        require(!w->config.have_pin && !w->was_shown);
        w->was_shown = true;
        memcpy(w->shown, a->pin, sizeof w->shown);
        break;
    case BK_REQUESTER_NEED_PASSWORD:
        require(accepted_key(w) < KEYS && !w->asked_password && !w->accepted);
        require(a->key_refused == w->config.have_key);
        require(!w->config.have_key || (w->may_refuse && w->signed_n > 0));
        w->asked_password = true;
        break;
    case BK_REQUESTER_EXPECT:
        require(!w->accepted && w->uses == 0);
        check_expect(w, a);
        break;
    case BK_REQUESTER_USE_SESSION:
    case BK_REQUESTER_CLOSE_SESSION:
    case BK_REQUESTER_RETIRE_SESSION:
    case BK_REQUESTER_SEND_PATHS:
        check_session(w, a);
        break;
    case BK_REQUESTER_PHASE:
        require(a->phase != BK_PHASE_ACCEPTED || (w->may_accept && !w->accepted));
        w->accepted = w->accepted || a->phase == BK_PHASE_ACCEPTED;
        require(a->phase != BK_PHASE_UP || w->uses > 0);
        /* A session that stands is as good as the word. */
        w->accepted = w->accepted || a->phase == BK_PHASE_UP;
        break;
    case BK_REQUESTER_FAILED:
        require(w->uses == 0);
        w->failed = true;
        break;
    case BK_REQUESTER_ENDED:
        require(w->uses > 0 && w->in_use == 0);
        w->ended = true;
        break;
    case BK_REQUESTER_GATHER:
        w->gathering = true;
        break;
    case BK_REQUESTER_CONNECT_SERVER:
        require(a->server >= w->server && a->server < SERVERS);
        w->server = a->server;
        break;
    case BK_REQUESTER_DIAL:
    case BK_REQUESTER_PUNCH:
        check_address(w, a);
        break;
    case BK_REQUESTER_GATHER_RELAY:
        require(a->info->n_relays > 0 && a->info->n_relays <= BK_INFO_RELAYS_MAX);
        w->permits = 1;
        break;
    case BK_REQUESTER_PERMIT:
        require(w->permits > 0 && w->permits++ < BK_REQUESTER_PERMITS_MAX);
        break;
    case BK_REQUESTER_STOP_DIALS:
        w->dials = 0;
        break;
    case BK_REQUESTER_REMEMBER:
    case BK_REQUESTER_CLOSE_SERVER:
    case BK_REQUESTER_MAPPING_PROVEN:
    case BK_REQUESTER_MAPPING_DOUBTED:
        break;
    }
}

static void check_out(struct world *w)
{
    require(out.n <= BK_REQUESTER_OUT_ACTIONS && out.used <= sizeof out.bytes);
    for (size_t i = 0; i < out.n; i++) {
        check_action(w, &out.actions[i]);
    }
    require((!w->failed && !w->ended) || bk_requester_deadline(w->r) == BK_TIME_NEVER);
}

static void input(struct world *w, const struct bk_requester_event *e)
{
    bk_requester_input(w->r, &w->now, e, &out);
    check_out(w);
}

static struct bk_slice found(struct world *w, uint8_t how, uint8_t *buf, size_t cap)
{
    static uint8_t signed_key[BK_BOX_KEY_BYTES];
    size_t key = how & 1;
    uint8_t lie = feed_u8(&w->f); /* mostly none */
    uint8_t der[3] = {(uint8_t)key, lie == 255, lie == 254};
    struct bk_box_key box = {.made_s = 1, .until_s = lie == 253 ? 2 : UINT64_MAX};
    memcpy(box.key, w->box[lie == 252 ? 1 - key : key].public_key, sizeof box.key);
    bk_box_key_sign(&box, w->sign_seed[lie >= 250 && lie <= 252 ? 1 - key : key], signed_key);
    struct bk_lookup_answer a = {
        .equipment_id = ID + (lie == 249),
        .certificate = bk_slice(der, lie == 248 ? 2 : 3),
        .box_key = bk_slice(signed_key, sizeof signed_key),
        .registered = (how & 2) != 0,
        .observed = bk_addr_v4(202, 204, 16, 13, 3400),
    };
    struct bk_slice bytes;
    require(bk_lookup_answer_write(buf, cap, w->txid, &a, &bytes) == BK_OK);
    return bytes;
}

/* Addresses of every kind, as a device or a server may name them. */
static struct bk_addr any_address(struct world *w)
{
    static const struct bk_addr list[] = {
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 202, 204, 17, 1}, 3000},
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1}, 3000},
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1}, 443},
        {{0x20, 1, 0x0d, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 3000},
        {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 3000},
        {{0}, 0},
    };
    uint8_t what = feed_u8(&w->f);
    struct bk_addr a = list[what % 6];
    a.ip[15] = (uint8_t)(a.ip[15] + what / 6);
    if (what % 16 == 15) {
        a.port = (uint16_t)(feed_u8(&w->f) * 64);
    }
    return a;
}

static size_t any_candidates(struct world *w, struct bk_candidate *list)
{
    size_t n = feed_below(&w->f, BK_CANDIDATES_MAX + 1);
    for (size_t i = 0; i < n; i++) {
        list[i].kind = (enum bk_candidate_kind)(1 + feed_below(&w->f, 4));
        list[i].addr = any_address(w);
    }
    return n;
}

static struct bk_slice info(struct world *w, uint8_t how, uint8_t *buf, size_t cap)
{
    struct bk_info a = {.observed = any_address(w), .n_relays = how % 3};
    struct bk_slice bytes;
    for (size_t i = 0; i < a.n_relays; i++) {
        a.relays[i].port = 3478;
        a.relays[i].host = bk_slice_text(i == 0 ? "" : "relay.example");
    }
    if (a.n_relays > 0) {
        a.username = bk_slice_text("1700000600:alice");
        a.password = bk_slice_text("c2VjcmV0");
        a.lifetime_s = 600;
    }
    return bk_info_answer_write(buf, cap, w->info_txid, &a, &bytes) == BK_OK ? bytes
                                                                             : BK_SLICE_EMPTY;
}

static struct bk_slice result(struct world *w, uint8_t how, uint8_t *buf, size_t cap)
{
    static uint8_t plain[BK_CALL_RESULT_MAX_BYTES];
    static uint8_t box[BK_CALL_RESULT_MAX_BYTES + BK_REPLY_OVERHEAD_BYTES];
    struct bk_call_result r = {.status = (enum bk_call_status)(how % 8 % (BK_CALL_BUSY + 1))};
    struct bk_result message = {0};
    struct bk_slice text;
    struct bk_slice bytes;
    size_t key = accepted_key(w);
    bool forged = (how & 16) != 0;
    if (key == KEYS || w->requests == 0) {
        return BK_SLICE_EMPTY;
    }
    r.unix_s = (how & 32) != 0 ? w->now.unix_s + 1000 : 0;
    bool earlier = (how & 128) != 0 && w->expects_n > 1;
    memcpy(r.call_id, w->call_id[earlier ? 0 : w->expects_n - 1], sizeof r.call_id);
    memcpy(message.call_id, r.call_id, sizeof message.call_id);
    r.call_id[0] ^= (how & 64) != 0;
    if (r.status == BK_CALL_ACCEPTED) {
        r.n_candidates = any_candidates(w, r.candidates);
    }
    if (bk_call_result_write(plain, sizeof plain, &r, &text) != BK_OK) {
        return BK_SLICE_EMPTY; /* no device writes such an address */
    }
    if (bk_seal_result(w->box[forged ? 1 - key : key].secret_key, w->reply_key, &w->config.rng,
                       text, box, sizeof box, &message.box) != BK_OK) {
        return BK_SLICE_EMPTY;
    }
    require(bk_result_write(buf, cap, w->txid, &message, &bytes) == BK_OK);
    bool genuine = !forged && !earlier && (how & 64) == 0;
    w->may_accept = genuine && r.status == BK_CALL_ACCEPTED;
    w->may_refuse = genuine && (r.status == BK_CALL_REFUSED || r.status == BK_CALL_BACK_OFF);
    return bytes;
}

static void on_message(struct world *w)
{
    static const uint16_t codes[] = {BK_CODE_FORBIDDEN, BK_CODE_NOT_FOUND,  BK_CODE_REVOKED,
                                     BK_CODE_OFFLINE,   BK_CODE_OVERLOADED, 499};
    static uint8_t buf[2048];
    uint8_t what = feed_u8(&w->f);
    uint8_t how = feed_u8(&w->f);
    struct bk_requester_event e = {.type = BK_REQUESTER_SERVER_MESSAGE};
    if (what < 20) {
        e.bytes = info(w, how, buf, sizeof buf);
    } else if (what < 80) {
        e.bytes = found(w, how, buf, sizeof buf);
    } else if (what < 160) {
        e.bytes = result(w, how, buf, sizeof buf);
    } else if (what < 200) {
        require(bk_success_write(buf, sizeof buf, BK_METHOD_CONNECT, w->txid, &e.bytes) == BK_OK);
    } else if (what < 220) {
        require(bk_error_write(buf, sizeof buf,
                               (how & 1) != 0 ? BK_METHOD_CONNECT : BK_METHOD_LOOKUP, w->txid,
                               codes[how / 2 % 6], "no", &e.bytes) == BK_OK);
    } else {
        e.bytes = feed_bytes(&w->f);
    }
    if (what % 32 == 31 && what < 220) {
        /* A RESULT whose box is left alone is as good as before. */
        e.bytes = feed_bend(&w->f, buf, e.bytes.n);
    }
    input(w, &e);
    w->may_accept = w->may_refuse = false;
}

static void on_password(struct world *w)
{
    struct bk_requester_event e = {.type = BK_REQUESTER_PASSWORD, .bytes = feed_bytes(&w->f)};
    if (w->asked_password && !w->gave_password) {
        w->gave_password = true;
        w->password = e.bytes; /* the script outlives the world */
    }
    input(w, &e);
}

static void on_candidates(struct world *w)
{
    struct bk_requester_event e = {.type = BK_REQUESTER_CANDIDATE};
    uint8_t how = feed_u8(&w->f);
    e.source = (enum bk_requester_source)(how % BK_SOURCES);
    if (how % 8 >= 4) {
        e.type = BK_REQUESTER_GATHERED;
    } else {
        e.candidate.kind = e.source == BK_SOURCE_HOST      ? BK_CANDIDATE_HOST
                           : e.source == BK_SOURCE_MAPPING ? BK_CANDIDATE_MAPPED
                                                           : BK_CANDIDATE_RELAYED;
        e.candidate.addr = bk_addr_v4(4, 17, 168, how / 8, 20000);
    }
    if (w->gathering) {
        input(w, &e);
    }
}

/* A session comes, ends, is measured, or says something. */
static void on_session(struct world *w)
{
    static uint8_t buf[BK_PATHS_MAX_BYTES];
    static const uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_requester_event e = {.type = BK_REQUESTER_SESSION_UP};
    struct bk_paths paths = {0};
    uint8_t how = feed_u8(&w->f);
    e.session = feed_below(&w->f, SESSIONS);
    uint8_t *session = &w->sessions[e.session];
    if (how < 100) {
        if (*session != NONE) {
            return; /* the shell gives no number twice */
        }
        e.kind = (enum bk_candidate_kind)(1 + how % 4);
        e.ours = how % 8 >= 4;
        e.early = w->early && how % 16 >= 8;
        w->early = w->early && !e.early;
        if (how >= 90 && bk_requester_may_be_early(w->r, e.kind)) {
            w->early = true;
            input(w, &(struct bk_requester_event){.type = BK_REQUESTER_EARLY});
            require(out.n == 0 && !bk_requester_may_be_early(w->r, BK_CANDIDATE_HOST));
            return;
        }
        *session = UP;
    } else if (how < 150) {
        if (*session == NONE || *session == GONE) {
            return;
        }
        w->in_use -= *session == USED || *session == RETIRED;
        *session = GONE;
        e.type = BK_REQUESTER_SESSION_ENDED;
        e.lost = how % 2 == 0;
    } else if (how < 155) {
        e.type = BK_REQUESTER_EARLY_LOST;
        w->early = false;
    } else if (how < 160) {
        e.type = BK_REQUESTER_ROUND_TRIP;
        e.ms = how;
    } else if (how < 170) {
        e.type = BK_REQUESTER_NETWORK_CHANGED;
    } else {
        e.type = BK_REQUESTER_PATHS;
        paths.round = how % 4 == 0 ? 0 : w->round;
        paths.n_candidates = any_candidates(w, paths.candidates);
        if (bk_paths_write(buf, sizeof buf, txid, &paths, &e.bytes) != BK_OK) {
            return;
        }
        if (how % 16 == 15) {
            e.bytes = feed_bend(&w->f, buf, e.bytes.n);
        }
    }
    input(w, &e);
}

static void one_event(struct world *w)
{
    static const enum bk_requester_event_type plain[] = {
        BK_REQUESTER_START, BK_REQUESTER_SERVER_OPEN, BK_REQUESTER_SERVER_OPEN,
        BK_REQUESTER_SERVER_CLOSED};
    uint8_t what = feed_u8(&w->f);
    struct bk_requester_event e = {.type = plain[what % 4]};
    switch (what / 4 % 8) {
    case 0:
    case 1:
        on_message(w);
        break;
    case 2:
        e.type = BK_REQUESTER_NO_PASSWORD;
        if (what % 4 == 3) {
            input(w, &e);
        } else {
            on_password(w);
        }
        break;
    case 3:
        on_candidates(w);
        break;
    case 4:
        e.type = what % 4 == 0 ? BK_REQUESTER_PIN_REFUSED : BK_REQUESTER_PIN_ACCEPTED;
        w->agreed = w->agreed || (w->was_shown && what % 4 != 0);
        input(w, &e);
        break;
    case 5:
        on_session(w);
        break;
    case 6:
        feed_pass(&w->f, &w->now);
        bk_requester_timer(w->r, &w->now, &out);
        check_out(w);
        require(bk_requester_deadline(w->r) > w->now.mono);
        break;
    default:
        input(w, &e);
        break;
    }
}

/* What an earlier call may have kept, true or not. */
static void know(struct world *w, bool of_another)
{
    struct bk_requester_known *known = &w->config.known;
    struct bk_box_key box = {.made_s = w->now.unix_s, .until_s = UINT64_MAX};
    uint8_t lie = of_another ? feed_u8(&w->f) : 0;
    memcpy(box.key, w->box[lie & 1].public_key, sizeof box.key);
    bk_box_key_sign(&box, w->sign_seed[lie >> 1 & 1], known->box_key);
    known->certificate_n = 3;
    known->certificate[0] = lie >> 2 & 1;
    known->certificate[1] = lie >> 3 & 1;
    known->certificate[2] = lie >> 4 & 1;
    known->came_to = bk_addr_v4(4, 17, 168, lie >> 5 & 3, 1);
}

static void init(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    uint8_t secret[64];
    struct bk_alloc alloc = feed_alloc(&w->memory);
    w->now = (struct bk_now){.mono = 1000 * BK_SECOND, .unix_s = 1700000000};
    w->config = (struct bk_requester_config){
        .rng = feed_random(&w->seed),
        .certs = {w, read_certificate},
        .equipment_id = (how & 1) != 0 ? 0 : ID,
        .device_name = "kiosk",
        .service = "ssh",
        .have_pin = (how & 2) == 0,
        .call_key = {1},
        .have_key = (how & 4) != 0,
        .n_servers = (how & 8) != 0 ? SERVERS : 0,
        .no_reflexive = (how & 16) != 0,
        .key_seed = {3},
    };
    for (size_t i = 0; i < KEYS; i++) {
        memset(w->sign_seed[i], (int)i + 1, BK_SIGN_SEED_BYTES);
        require(crypto_sign_seed_keypair(w->sign_key[i], secret, w->sign_seed[i]) == 0);
        bk_pin_of_key(w->sign_key[i], w->pin[i]);
        bk_box_pair_make(&w->config.rng, &w->box[i]);
    }
    memcpy(w->config.pin, w->pin[0], BK_PIN_BYTES);
    if ((how & 32) != 0) {
        know(w, (how & 64) != 0);
    }
    require(bk_requester_new(&alloc, &w->config, &w->r) == BK_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    require(bk_seal_init() == BK_OK);
    w.f = (struct feed){data, size};
    init(&w);
    while (w.f.left > 0) {
        one_event(&w);
    }
    bk_requester_free(w.r);
    require(w.memory.alive == 0);
    return 0;
}
