/* The agent's cores as a whole: registration, renewal, admission, limits on dialling and calls, wired as the
 * agent wires them. The input is a script of what a server, a caller and anyone who can send a datagram may
 * do, of clocks and of time. The server knows the registration key and may lie; callers know the box keys,
 * some the password, and one has a key that the device knows.
 *
 *   nothing is sent but to the server, and every REGISTER has a tag of its own;
 *   registered, revoked, renew: said only upon an answer under the key, unbent, from the server;
 *   one call for one NOTIFY, and only for a tag that was sent;
 *   no box is admitted twice, whatever the clocks do;
 *   a wrong signature leads to no question; passwords and keys are checked after admission;
 *   a key that is known is never made to wait, whatever is guessed;
 *   addresses of the box are dialled after the right password or key, once each, within policy, and only if
 *   the limits let them pass;
 *   after END nothing comes, and no deadline lies in the past. */
#include "core/agent/call.h"
#include "core/agent/dials.h"
#include "core/agent/renewal.h"
#include "feed.h"
#include "seal/caller_key.h"
#include "wire/notify.h"

enum {
    ID = 2133,
    CALLS = 6,  /* more than guesses are free */
    TXIDS = 32, /* fewer than the agent remembers */
    TAGS = 8,
    BOXES = 512,
    KEYS = 3, /* of callers; the device knows the first */
};

struct call {
    struct bk_call *core; /* NULL: none */
    bool asked, waiting, admitted, checking, right, ended, server_closed;
    bool unproven; /* admitted, and its password or key not judged yet */
    struct bk_admission_facts facts;
    uint8_t text[BK_CALL_REQUEST_MAX_BYTES];
    struct bk_call_request said; /* by the caller, in the newest 226; borrows from `text` */
    bool wrongly_signed;
    uint64_t services; /* that he may use */
    bool asked_dials;
    uint32_t unanswered; /* of the candidates in ASK_DIALS */
    uint32_t permitted;  /* by the limits; those dialled are taken out */
};

struct world {
    struct feed f;
    struct feed_memory memory;
    uint64_t seed;
    struct bk_now now;
    struct bk_addr server;
    struct bk_registration registration;
    struct bk_admission admission;
    struct bk_dials dials;
    struct bk_renewal renewal;
    uint8_t seeds[KEYS][BK_SIGN_SEED_BYTES];
    uint8_t keys[KEYS][BK_KEY_BYTES];
    struct bk_registration_config config;
    struct bk_call_config call_config;
    uint8_t txid[BK_STUN_TXID_BYTES]; /* of the newest REGISTER */
    struct bk_tag tags[TAGS];         /* newest sent, a ring */
    size_t n_tags;
    bool called[TXIDS];
    struct call calls[CALLS];
    struct bk_admission_facts admitted[BOXES];
    size_t n_admitted;
};

/* What this event may bring about. */
struct licence {
    bool registered, revoked, call, renew;
};

static struct bk_registration_out out;
static struct bk_call_out call_out;

static struct bk_addr address(size_t i)
{
    static const uint8_t first[] = {130, 130, 4, 127, 0, 10, 192, 239};
    return bk_addr_v4(first[i % 8], 74, 23, 6, i < 8 ? 1200 : (uint16_t)(i * 100));
}

/* ---- registration ---- */

static void check_send(struct world *w, const struct bk_registration_action *a)
{
    struct bk_stun m;
    struct bk_register r;
    require(bk_addr_equal(&a->addr, &w->server) && bk_stun_read(a->bytes, &m) == BK_OK);
    if (m.method == BK_METHOD_NOTIFY) {
        require(m.cls == BK_STUN_SUCCESS);
        return;
    }
    require(bk_register_read(&m, &r) == BK_OK && r.equipment_id == ID);
    require(bk_datagram_check(&m, &w->config.mac, BK_SLICE_OF(w->config.key)) == BK_OK);
    if (w->n_tags > 0) {
        const struct bk_tag *before = &w->tags[(w->n_tags - 1) % TAGS];
        require(r.tag.random != before->random || r.tag.counter > before->counter);
    }
    w->tags[w->n_tags++ % TAGS] = r.tag;
    memcpy(w->txid, m.txid, sizeof w->txid);
}

static void check_out(struct world *w, struct licence l)
{
    size_t calls = 0;
    require(out.used <= sizeof out.bytes);
    for (size_t i = 0; i < out.n; i++) {
        switch (out.actions[i].type) {
        case BK_REGISTRATION_SEND:
            check_send(w, &out.actions[i]);
            break;
        case BK_REGISTRATION_REGISTERED:
            require(l.registered);
            bk_renewal_registered(&w->renewal, &w->now, true);
            break;
        case BK_REGISTRATION_REVOKED:
            require(l.revoked);
            bk_renewal_registered(&w->renewal, &w->now, false);
            break;
        case BK_REGISTRATION_RENEW:
            require(l.renew);
            bk_renewal_hint(&w->renewal, &w->now);
            break;
        case BK_REGISTRATION_CALL:
            require(l.call && calls++ == 0);
            break;
        case BK_REGISTRATION_LOST:
            bk_renewal_registered(&w->renewal, &w->now, false);
            break;
        case BK_REGISTRATION_RESOLVE:
            break;
        }
    }
}

static void registration_input(struct world *w, struct bk_registration_event e, struct licence l)
{
    bk_registration_input(&w->registration, &w->now, &e, &out);
    check_out(w, l);
}

static struct bk_slice register_answer(struct world *w, uint8_t how, uint8_t *buf, size_t cap,
                                       struct licence *l)
{
    static const uint16_t codes[] = {0, 0, BK_CODE_STALE_NONCE, BK_CODE_FORBIDDEN};
    struct bk_register_answer a = {.code = codes[how % 4], .mapped = address(2 + how / 4 % 2)};
    uint8_t txid[BK_STUN_TXID_BYTES] = {0};
    struct bk_slice bytes;
    a.nonce = bk_slice_text("abcdefghijklmnopqrst");
    /* The server's idea of the time: none, right, or a lie. */
    uint64_t right = 1700000000 + w->now.mono / BK_SECOND;
    a.unix_s = how / 16 % 4 == 0 ? 0 : how / 16 % 4 == 3 ? right + 400 * feed_u8(&w->f) : right;
    a.renew = a.code == 0 && (how & 128) != 0;
    if ((how & 64) == 0) {
        memcpy(txid, w->txid, sizeof txid);
        l->renew = a.renew;
        l->registered = a.code == 0;
        l->revoked = a.code == BK_CODE_FORBIDDEN;
    }
    require(bk_register_answer_write(buf, cap, txid, &a, &w->config.mac, BK_SLICE_OF(w->config.key),
                                     &bytes) == BK_OK);
    return bytes;
}

static struct bk_slice notify(struct world *w, uint8_t how, uint8_t *buf, size_t cap,
                              struct licence *l)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {1, how % TXIDS};
    struct bk_slice bytes;
    struct bk_tag tag = w->tags[feed_below(&w->f, TAGS)];
    bool sent = w->n_tags > 0 && tag.counter != 0;
    tag.counter += (how & 64) != 0 ? 100000 : 0;
    l->call = sent && (how & 64) == 0 && !w->called[how % TXIDS];
    require(bk_notify_write(buf, cap, txid, &tag, &w->config.mac, BK_SLICE_OF(w->config.key),
                            &bytes) == BK_OK);
    return bytes;
}

static void on_datagram(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    uint8_t from = feed_u8(&w->f);
    uint8_t what = feed_u8(&w->f);
    uint8_t buf[512];
    struct licence l = {0};
    struct bk_registration_event e = {.type = BK_REGISTRATION_DATAGRAM, .addr = w->server};
    if (from >= 240) {
        e.bytes = feed_bytes(&w->f);
    } else if ((what & 1) != 0) {
        e.bytes = register_answer(w, how, buf, sizeof buf, &l);
    } else {
        e.bytes = notify(w, how, buf, sizeof buf, &l);
    }
    if (from >= 200 && from < 240) {
        e.bytes = feed_bend(&w->f, buf, e.bytes.n);
        l = (struct licence){false, false, false, false};
    } else if (from >= 180 && from < 200) {
        e.addr = address(2);
        l = (struct licence){false, false, false, false};
    }
    registration_input(w, e, l);
    for (size_t i = 0; i < out.n; i++) {
        if (out.actions[i].type == BK_REGISTRATION_CALL) {
            w->called[how % TXIDS] = true;
        }
    }
}

/* ---- calls ---- */

/* The agent's memory must see to it that one box is acted on once. */
static void remember(struct world *w, const struct bk_admission_facts *facts)
{
    for (size_t i = 0; i < w->n_admitted; i++) {
        const struct bk_admission_facts *a = &w->admitted[i];
        require(memcmp(a->call_id, facts->call_id, sizeof a->call_id) != 0 ||
                a->unix_s != facts->unix_s || a->has_tag != facts->has_tag ||
                a->tag.random != facts->tag.random || a->tag.counter != facts->tag.counter);
    }
    if (w->n_admitted < BOXES) {
        w->admitted[w->n_admitted++] = *facts;
    }
}

static bool may_use(const struct world *w, const struct call *c)
{
    bool may = c->said.service.n == 0;
    for (size_t i = 0; i < w->call_config.n_services; i++) {
        may = may || ((c->services >> i & 1) != 0 &&
                      bk_slice_equal(w->call_config.services[i], c->said.service));
    }
    return may;
}

static void check_ask_dials(const struct world *w, struct call *c, uint32_t dials)
{
    require(c->admitted && c->right && may_use(w, c) && !c->asked_dials && dials != 0);
    require(bk_call_opened(c->core) != NULL);
    require(dials >> c->said.n_candidates == 0);
    for (size_t i = 0; i < c->said.n_candidates; i++) {
        const struct bk_addr *addr = &c->said.candidates[i].addr;
        enum bk_addr_scope scope = bk_addr_scope(addr);
        if ((dials >> i & 1) == 0) {
            continue;
        }
        require(scope == BK_SCOPE_GLOBAL || scope == BK_SCOPE_PRIVATE);
        require(addr->port >= 1024 || addr->port == 443);
        for (size_t k = 0; k < i; k++) {
            require(!bk_addr_equal(addr, &c->said.candidates[k].addr));
        }
    }
    c->asked_dials = true;
    c->unanswered = dials;
}

static void check_dial(struct call *c, const struct bk_call_action *a)
{
    require(c->right && bk_call_opened(c->core) != NULL);
    require(a->index < c->said.n_candidates && (c->permitted >> a->index & 1) != 0);
    require(bk_addr_equal(&a->addr, &c->said.candidates[a->index].addr));
    c->permitted &= ~(UINT32_C(1) << a->index);
}

static bool is_known(const struct world *w, const struct bk_admission_facts *facts)
{
    return facts->has_key && memcmp(facts->key, w->keys[0], sizeof facts->key) == 0;
}

static void call_input(struct world *w, struct call *c, const struct bk_call_event *e);

/* As the idle part does it: one more only while there is room for a guess. */
static void admission(struct world *w, struct call *c)
{
    struct bk_call_event e = {.type = BK_CALL_ADMISSION};
    size_t unproven = 0;
    if (!c->waiting || c->ended || !bk_admission_has_room(&w->admission, &c->facts)) {
        require(!c->waiting || !c->facts.has_key || c->ended);
        return;
    }
    c->waiting = false;
    e.verdict = bk_admission_check(&w->admission, &w->now, &w->registration, &c->facts);
    e.tag = w->registration.tag;
    e.unix_s = bk_registration_unix_s(&w->registration, &w->now);
    c->admitted = e.verdict == BK_ADMITTED;
    c->unproven = c->admitted;
    require(e.verdict != BK_ADMISSION_BACK_OFF || !is_known(w, &c->facts));
    if (c->admitted) {
        remember(w, &c->facts);
    }
    for (size_t i = 0; i < CALLS; i++) {
        unproven += w->calls[i].unproven && !w->calls[i].facts.has_key;
    }
    require(unproven <= BK_GUESSES_FREE);
    call_input(w, c, &e);
}

/* A call that is over makes room for another. */
static void settle(struct world *w)
{
    for (size_t i = 0; i < CALLS; i++) {
        if (w->calls[i].unproven && w->calls[i].ended) {
            bk_admission_abandoned(&w->admission, &w->calls[i].facts);
            w->calls[i].unproven = false;
        }
    }
    for (size_t i = 0; i < CALLS; i++) {
        admission(w, &w->calls[i]);
    }
}

static void check_call_out(const struct world *w, struct call *c)
{
    require(call_out.used <= sizeof call_out.bytes && (!c->ended || call_out.n == 0));
    for (size_t i = 0; i < call_out.n; i++) {
        const struct bk_call_action *a = &call_out.actions[i];
        switch (a->type) {
        case BK_CALL_SEND_SERVER:
            require(!c->server_closed && !c->ended);
            break;
        case BK_CALL_CLOSE_SERVER:
            require(!c->server_closed);
            c->server_closed = true;
            break;
        case BK_CALL_ASK_ADMISSION:
            require(!c->asked && !c->wrongly_signed);
            require(a->facts.has_key == c->said.has_signature);
            c->asked = true;
            c->waiting = true;
            c->facts = a->facts;
            break;
        case BK_CALL_CHECK_CALLER:
            require(c->admitted && !c->checking);
            require(bk_slice_equal(a->bytes, c->said.password));
            require(memcmp(&a->facts, &c->facts, sizeof a->facts) == 0);
            c->checking = true;
            break;
        case BK_CALL_ASK_DIALS:
            check_ask_dials(w, c, a->dials);
            break;
        case BK_CALL_DIAL:
            check_dial(c, a);
            break;
        case BK_CALL_END:
            require(!c->ended);
            c->ended = true;
            break;
        case BK_CALL_CONNECT_SERVER:
        case BK_CALL_CLOSE_DIAL:
            break;
        }
    }
    require(!c->ended ||
            (bk_call_opened(c->core) == NULL && bk_call_deadline(c->core) == BK_TIME_NEVER));
}

static void call_input(struct world *w, struct call *c, const struct bk_call_event *e)
{
    bk_call_input(c->core, &w->now, e, &call_out);
    check_call_out(w, c);
}

static void on_call(struct world *w)
{
    struct call *c = &w->calls[feed_below(&w->f, CALLS)];
    struct bk_alloc alloc = feed_alloc(&w->memory);
    struct bk_call_event start = {.type = BK_CALL_START};
    c->ended = true;
    settle(w);
    bk_call_free(c->core);
    *c = (struct call){0};
    require(bk_call_new(&alloc, &w->call_config, &c->core) == BK_OK);
    call_input(w, c, &start);
}

/* What a caller may put into a box. */
static void make_request(struct world *w, struct bk_call_request *r)
{
    static const char *const passwords[] = {"right", "wrong", "wrong as well"};
    uint8_t how = feed_u8(&w->f);
    uint8_t when = feed_u8(&w->f);
    uint64_t right = 1700000000 + w->now.mono / BK_SECOND;
    *r = (struct bk_call_request){.equipment_id = ID + (how % 16 == 15)};
    r->call_id[0] = (uint8_t)feed_below(&w->f, 4);
    r->unix_s = when < 128 ? right : (right + 64 * (uint64_t)(when - 128)) / 64 * 64;
    r->has_tag = (how & 16) != 0;
    if (r->has_tag) {
        r->tag = w->tags[feed_below(&w->f, TAGS)];
    }
    if (how < 192) {
        r->password = bk_slice_text(passwords[how / 64]);
    } else {
        size_t key = feed_below(&w->f, KEYS);
        r->has_signature = true;
        memcpy(r->caller_key, w->keys[key], sizeof r->caller_key);
    }
    r->service = bk_slice_text(how % 8 == 7 ? "web" : how % 8 == 6 ? "" : "ssh");
    r->n_candidates = 1 + feed_below(&w->f, BK_CANDIDATES_MAX);
    for (size_t i = 0; i < r->n_candidates; i++) {
        r->candidates[i] = (struct bk_candidate){BK_CANDIDATE_HOST, address(feed_u8(&w->f))};
    }
    r->reply_key[0] = 9; /* the curve's base point */
}

/* As the caller whose key it is does it, or with another's key. */
static void sign(struct world *w, uint8_t *plain, struct bk_slice text,
                 const struct bk_call_request *request)
{
    uint8_t signature[BK_SIGNATURE_BYTES];
    size_t by = feed_u8(&w->f) >= 224 ? 1 : 0;
    for (size_t i = 0; i < KEYS; i++) {
        if (memcmp(w->keys[i], request->caller_key, BK_KEY_BYTES) == 0) {
            by = (by + i) % KEYS;
            break;
        }
    }
    bk_caller_sign(w->seeds[by], w->call_config.device_pin, bk_call_request_to_sign(text),
                   signature);
    bk_call_request_set_signature(plain, text, signature);
}

/* What the box holds in the end. */
static void note_said(const struct world *w, struct call *c, struct bk_slice text)
{
    struct bk_call_request *said = &c->said;
    memcpy(c->text, text.p, text.n);
    c->wrongly_signed = true; /* no request at all is as bad: nothing may come of it */
    if (bk_call_request_read(bk_slice(c->text, text.n), said) == BK_OK) {
        c->wrongly_signed =
            said->has_signature && bk_caller_check(said->caller_key, w->call_config.device_pin,
                                                   said->signed_text, said->signature) != BK_OK;
    }
}

static void on_request(struct world *w, struct call *c)
{
    static uint8_t plain[BK_CALL_REQUEST_MAX_BYTES];
    static uint8_t box[BK_BOX_MAX_BYTES];
    static uint8_t buf[2048];
    static const uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_call_event e = {.type = BK_CALL_SERVER_MESSAGE};
    struct bk_connect outside = {.equipment_id = ID};
    struct bk_call_request request;
    struct bk_slice text;
    make_request(w, &request);
    uint8_t how = feed_u8(&w->f);
    memcpy(outside.call_id, request.call_id, sizeof outside.call_id);
    outside.call_id[1] = how == 200;
    require(bk_call_request_write(plain, sizeof plain, &request, &text) == BK_OK);
    if (request.has_signature) {
        sign(w, plain, text, &request);
    }
    if (how >= 192 && how < 200) {
        text = feed_bend(&w->f, plain, text.n);
    }
    require(bk_seal_request(w->call_config.box[how % 2].public_key, text, box, sizeof box,
                            &outside.box) == BK_OK);
    if (how >= 201 && how < 208) {
        outside.box = feed_bend(&w->f, box, outside.box.n);
    }
    if (bk_connect_write(buf, sizeof buf, txid, &outside, &e.bytes) != BK_OK) {
        return;
    }
    if (how >= 208) {
        e.bytes = feed_bend(&w->f, buf, e.bytes.n);
    }
    if (!c->asked) {
        note_said(w, c, text);
    }
    call_input(w, c, &e);
}

static void on_caller(struct world *w, struct call *c)
{
    struct bk_call_event e = {.type = BK_CALL_CALLER,
                              .right = true, /* out of turn it opens nothing */
                              .services = UINT64_MAX};
    if (c->checking && !c->ended && c->unproven) { /* the shell answers when asked, and truly */
        e.right = c->facts.has_key ? is_known(w, &c->facts)
                                   : bk_slice_equal(c->said.password, bk_slice_text("right"));
        e.services = !e.right ? 0 : c->facts.has_key ? 1 : 3;
        c->right = e.right;
        c->services = e.services;
        c->unproven = false;
        bk_admission_proof(&w->admission, &w->now, &c->facts, e.right);
    }
    call_input(w, c, &e);
}

static void on_dials(struct world *w, struct call *c)
{
    struct bk_call_event e = {.type = BK_CALL_DIALS, .dials = UINT32_MAX};
    if (c->unanswered != 0 && !c->ended) {
        e.dials = 0;
        for (size_t i = 0; i < c->said.n_candidates; i++) {
            if ((c->unanswered >> i & 1) != 0 &&
                bk_dials_permit(&w->dials, &w->now, &c->said.candidates[i].addr)) {
                e.dials |= UINT32_C(1) << i;
            }
        }
        c->permitted = e.dials;
        e.dials |= ~c->unanswered; /* what nobody asked for is not dialled */
        c->unanswered = 0;
    }
    call_input(w, c, &e);
}

static void on_call_event(struct world *w)
{
    static const enum bk_call_event_type types[] = {BK_CALL_SERVER_OPEN,    BK_CALL_SERVER_CLOSED,
                                                    BK_CALL_DIAL_FAILED,    BK_CALL_SESSION_UP,
                                                    BK_CALL_SESSION_PICKED, BK_CALL_SESSION_ENDED};
    struct call *c = &w->calls[feed_below(&w->f, CALLS)];
    uint8_t how = feed_u8(&w->f);
    struct bk_call_event e = {.type = types[how / 16 % 6], .index = how % 16};
    if (c->core == NULL) {
        return;
    }
    if (how >= 240) {
        e.type = BK_CALL_SERVER_MESSAGE;
        e.bytes = feed_bytes(&w->f);
    } else if (how >= 128) {
        on_request(w, c);
        return;
    } else if (how >= 112) {
        on_dials(w, c);
        return;
    } else if (how >= 96) {
        on_caller(w, c);
        return;
    }
    c->server_closed = c->server_closed || e.type == BK_CALL_SERVER_CLOSED;
    call_input(w, c, &e);
}

/* ---- time ---- */

/* A new registration key, as the answer to a renewal brings one. */
static void rekey(struct world *w)
{
    w->config.key[0] = feed_u8(&w->f);
    w->config.epoch++;
    bk_registration_rekey(&w->registration, &w->now, w->config.generation, w->config.epoch,
                          w->config.key);
}

static void on_renewal(struct world *w)
{
    bool was_running = w->renewal.running;
    bool certificate;
    uint64_t unix_s = bk_registration_unix_s(&w->registration, &w->now);
    if (bk_renewal_due(&w->renewal, &w->now, unix_s, &certificate)) {
        require(!was_running && bk_renewal_deadline(&w->renewal) == BK_TIME_NEVER);
    } else {
        require(!certificate && bk_renewal_deadline(&w->renewal) > w->now.mono);
    }
    if (!w->renewal.running || feed_bool(&w->f)) {
        return; /* nothing to end, or not yet */
    }
    struct bk_renewal_facts facts = {.certificate_from_s = unix_s,
                                     .certificate_until_s = unix_s + 86400 * feed_u8(&w->f),
                                     .box_made_s = unix_s};
    if (facts.certificate_until_s % 7 == 0) {
        bk_renewal_ended(&w->renewal, &w->now, NULL);
    } else {
        bk_renewal_ended(&w->renewal, &w->now, &facts);
        rekey(w);
    }
    require(bk_renewal_deadline(&w->renewal) > w->now.mono);
}

static void on_time(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    feed_pass(&w->f, &w->now);
    if (how >= 224) { /* the host's clock is set, or not to be trusted any more */
        uint64_t right = 1700000000 + w->now.mono / BK_SECOND;
        w->now.unix_s = how % 4 == 0 ? 0 : right + 100 * (uint64_t)(how % 32) - 1500;
    }
    bk_registration_timer(&w->registration, &w->now, &out);
    check_out(w, (struct licence){false, false, false, false});
    require(bk_registration_deadline(&w->registration) > w->now.mono);
    for (size_t i = 0; i < CALLS; i++) {
        struct call *c = &w->calls[i];
        if (c->core != NULL) {
            bk_call_timer(c->core, &w->now, &call_out);
            check_call_out(w, c);
            require(bk_call_deadline(c->core) > w->now.mono);
        }
    }
    on_renewal(w);
}

static void one_event(struct world *w)
{
    const struct licence none = {false, false, false, false};
    uint8_t how = feed_u8(&w->f);
    if (how < 80) {
        on_datagram(w);
    } else if (how < 100) {
        on_call(w);
    } else if (how < 180) {
        on_call_event(w);
    } else if (how < 230) {
        on_time(w);
    } else if (how < 240) {
        w->server = address(how % 2);
        registration_input(
            w, (struct bk_registration_event){BK_REGISTRATION_RESOLVED, w->server, BK_SLICE_EMPTY},
            none);
    } else {
        static const enum bk_registration_event_type types[] = {
            BK_REGISTRATION_START, BK_REGISTRATION_UNRESOLVED, BK_REGISTRATION_NETWORK_CHANGED};
        registration_input(w, (struct bk_registration_event){.type = types[how % 3]}, none);
    }
}

static void init(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    w->now = (struct bk_now){.mono = 1000 * BK_SECOND};
    w->now.unix_s = (how & 1) != 0 ? 0 : 1700000000 + 1000;
    w->config = (struct bk_registration_config){
        .rng = feed_random(&w->seed),
        .mac = bk_mac_sodium(),
        .equipment_id = ID,
        .generation = 1,
        .keepalive_s = (how & 2) != 0 ? 60 : 0,
    };
    bk_registration_init(&w->registration, &w->config);
    bk_admission_init(&w->admission);
    bk_dials_init(&w->dials, &w->now);
    struct bk_renewal_config renewal = {.rng = w->config.rng, .spread_s = (how & 8) != 0 ? 10 : 0};
    struct bk_renewal_facts facts = {.certificate_until_s = (how & 16) != 0 ? UINT64_MAX : 0};
    bk_renewal_init(&w->renewal, &w->now, &renewal, &facts);
    w->call_config = (struct bk_call_config){
        .rng = w->config.rng,
        .equipment_id = ID,
        .n_boxes = BK_CALL_BOXES_MAX,
        .services = {bk_slice_text("ssh"), bk_slice_text("web")},
        .n_services = 2,
        .policy = {.own = {address(2)}, .n_own = 1, .servers = {address(0)}, .n_servers = 1},
    };
    for (size_t i = 0; i < BK_CALL_BOXES_MAX; i++) {
        bk_box_pair_make(&w->config.rng, &w->call_config.box[i]);
    }
    for (size_t i = 0; i < KEYS; i++) {
        w->seeds[i][0] = (uint8_t)(i + 1);
        bk_caller_key_of(w->seeds[i], w->keys[i]);
    }
    if ((how & 4) != 0) { /* its owner's lists */
        struct bk_policy *p = &w->call_config.policy;
        const struct bk_addr listed[] = {address(6), address(1)};
        for (size_t i = 0; i < 2; i++) {
            p->allow[i].bits = 104;
            memcpy(p->allow[i].ip, listed[i].ip, sizeof p->allow[i].ip);
        }
        p->n_allow = 2;
        p->deny[0] = p->allow[0];
        p->deny[0].bits = 128;
        p->n_deny = 1;
    }
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
        settle(&w);
    }
    for (size_t i = 0; i < CALLS; i++) {
        bk_call_free(w.calls[i].core);
    }
    require(w.memory.alive == 0);
    return 0;
}
