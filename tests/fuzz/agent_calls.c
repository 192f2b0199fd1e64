/* The agent's admission and calls, for fuzz_agent.c: what callers and the server may do, and what must hold. */
#include "agent_world.h"
#include "seal/caller_key.h"

static struct bk_call_out call_out;

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

static bool is_punched(const struct bk_candidate *c)
{
    return c->kind == BK_CANDIDATE_REFLEXIVE;
}

static void check_ask_dials(const struct world *w, struct call *c, uint32_t dials)
{
    size_t n;
    const struct bk_candidate *list = bk_call_candidates(c->core, &n);
    require(c->admitted && c->right && may_use(w, c) && c->unanswered == 0 && dials != 0);
    require(bk_call_opened(c->core) != NULL);
    require(n == c->n_peer && dials >> n == 0);
    for (size_t i = 0; i < n; i++) {
        const struct bk_addr *addr = &c->peer[i].addr;
        enum bk_addr_scope scope = bk_addr_scope(addr);
        require(list[i].kind == c->peer[i].kind && bk_addr_equal(&list[i].addr, addr));
        if ((dials >> i & 1) == 0) {
            continue;
        }
        require(scope == BK_SCOPE_GLOBAL || scope == BK_SCOPE_PRIVATE);
        require(addr->port >= 1024 || addr->port == 443);
        for (size_t k = 0; k < i; k++) {
            require(!bk_addr_equal(addr, &c->peer[k].addr) ||
                    is_punched(&c->peer[k]) != is_punched(&c->peer[i]));
        }
    }
    c->unanswered = dials;
}

/* True if the limits let it pass this way; once. */
static bool take_permission(struct call *c, const struct bk_addr *addr, bool punched)
{
    for (size_t i = 0; i < c->n_peer; i++) {
        if ((c->permitted >> i & 1) != 0 && is_punched(&c->peer[i]) == punched &&
            bk_addr_equal(&c->peer[i].addr, addr)) {
            c->permitted &= ~(UINT32_C(1) << i);
            return true;
        }
    }
    return false;
}

static void check_dial(struct call *c, const struct bk_call_action *a)
{
    bool punched = a->type == BK_CALL_PUNCH;
    require(c->right && bk_call_opened(c->core) != NULL && a->index < BK_CALL_DIALS_MAX);
    if (take_permission(c, &a->addr, punched)) {
        c->dialled[a->index].addr = a->addr;
        c->dialled[a->index].redials_left = punched ? 0 : BK_CALL_REDIALS_MAX;
    } else { /* a relay that has cut us off, which is tried again a few times */
        require(!punched && bk_addr_equal(&c->dialled[a->index].addr, &a->addr));
        require(c->dialled[a->index].redials_left-- > 0);
    }
    require(!punched || (a->tries <= BK_CALL_PUNCH_TRIES &&
                         a->first_ms <= BK_CALL_PUNCH_FIRST_MAX_MS && c->listens));
}

/* A round: what he said last is what counts now. */
static void check_learn(const struct world *w, struct call *c, bool move)
{
    if (!move) { /* to be met by a caller who came in the fast form */
        require(c->fast && c->admitted && !c->up && !c->met);
        c->met = true;
        return;
    }
    require(c->up && c->newest.round != 0 && w->now.mono >= c->learns_again);
    c->learns_again = w->now.mono + BK_CALL_ROUND_EVERY_MS * BK_MS;
    c->n_peer = c->newest.n_candidates;
    memcpy(c->peer, c->newest.candidates, sizeof c->peer);
    c->permitted = 0;
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

void agent_calls_settle(struct world *w)
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

static void check_action(struct world *w, struct call *c, const struct bk_call_action *a)
{
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
    case BK_CALL_LISTEN:
        require(c->right && !c->listens);
        c->listens = true;
        break;
    case BK_CALL_MAP:
        require(c->right && !c->mapped);
        c->mapped = true;
        break;
    case BK_CALL_DIAL:
    case BK_CALL_PUNCH:
        check_dial(c, a);
        break;
    case BK_CALL_CONNECT_SERVER:
        require(a->result == c->fast && c->server_closed);
        c->server_closed = false;
        break;
    case BK_CALL_SEND_RESULT:
        require(c->fast && (c->asked || c->wrongly_signed) && !c->ended);
        require(c->server_closed);
        require(a->index < BK_CALL_UNTOLD_MAX && (c->untold >> a->index & 1) == 0);
        c->untold |= UINT32_C(1) << a->index;
        break;
    case BK_CALL_SEND_PATHS:
        require(c->up && a->index < BK_CALL_LINKS_MAX && a->bytes.n <= BK_PATHS_MAX_BYTES);
        break;
    case BK_CALL_END:
        require(!c->ended);
        c->ended = true;
        break;
    case BK_CALL_CLOSE_LINK:
        require(a->index < BK_CALL_LINKS_MAX);
        break;
    case BK_CALL_LEARN: /* looked at before all others */
    case BK_CALL_PING:
        break;
    }
}

static void check_call_out(struct world *w, struct call *c)
{
    require(call_out.used <= sizeof call_out.bytes && (!c->ended || call_out.n == 0));
    for (size_t i = 0; i < call_out.n; i++) {
        if (call_out.actions[i].type == BK_CALL_LEARN) {
            check_learn(w, c, call_out.actions[i].move);
        }
    }
    for (size_t i = 0; i < call_out.n; i++) {
        check_action(w, c, &call_out.actions[i]);
    }
    require(!c->ended ||
            (bk_call_opened(c->core) == NULL && bk_call_deadline(c->core) == BK_TIME_NEVER));
}

static void call_input(struct world *w, struct call *c, const struct bk_call_event *e)
{
    bk_call_input(c->core, &w->now, e, &call_out);
    check_call_out(w, c);
}

static struct bk_candidate a_candidate(struct world *w)
{
    uint8_t kind = feed_u8(&w->f);
    return (struct bk_candidate){(enum bk_candidate_kind)(BK_CANDIDATE_HOST + kind % 4),
                                 agent_address(feed_u8(&w->f))};
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
        r->candidates[i] = a_candidate(w);
    }
    r->server_ms = (uint16_t)(300 * feed_u8(&w->f));
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
        c->n_peer = said->n_candidates;
        memcpy(c->peer, said->candidates, sizeof c->peer);
    }
}

/* A sealed request, and what it holds in the end. How it was made decides what else is done with it. */
static uint8_t make_outside(struct world *w, struct bk_connect *outside, struct bk_slice *text)
{
    static uint8_t plain[BK_CALL_REQUEST_MAX_BYTES];
    static uint8_t box[BK_BOX_MAX_BYTES];
    struct bk_call_request request;
    *outside = (struct bk_connect){.equipment_id = ID};
    make_request(w, &request);
    uint8_t how = feed_u8(&w->f);
    memcpy(outside->call_id, request.call_id, sizeof outside->call_id);
    outside->call_id[1] = how == 200;
    require(bk_call_request_write(plain, sizeof plain, &request, text) == BK_OK);
    if (request.has_signature) {
        sign(w, plain, *text, &request);
    }
    if (how >= 192 && how < 200) {
        *text = feed_bend(&w->f, plain, text->n);
    }
    require(bk_seal_request(w->call_config.box[how % 2].public_key, *text, box, sizeof box,
                            &outside->box) == BK_OK);
    if (how >= 201 && how < 208) {
        outside->box = feed_bend(&w->f, box, outside->box.n);
    }
    return how;
}

void agent_call_begins(struct world *w)
{
    struct call *c = &w->calls[feed_below(&w->f, CALLS)];
    struct bk_alloc alloc = feed_alloc(&w->memory);
    struct bk_call_event start = {.type = BK_CALL_START};
    struct bk_connect outside;
    struct bk_slice text;
    c->ended = true;
    agent_calls_settle(w);
    bk_call_free(c->core);
    *c = (struct call){.server_closed = true, .fast = feed_bool(&w->f)};
    require(bk_call_new(&alloc, &w->call_config, &c->core) == BK_OK);
    if (c->fast) {
        (void)make_outside(w, &outside, &text);
        note_said(w, c, text);
        start.request = &outside;
    }
    call_input(w, c, &start);
}

static void on_request(struct world *w, struct call *c)
{
    static uint8_t buf[2048];
    static const uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_call_event e = {.type = BK_CALL_SERVER_MESSAGE};
    struct bk_connect outside;
    struct bk_slice text;
    uint8_t how = make_outside(w, &outside, &text);
    if (bk_connect_write(buf, sizeof buf, txid, &outside, &e.bytes) != BK_OK) {
        return;
    }
    if (how >= 208) {
        e.bytes = feed_bend(&w->f, buf, e.bytes.n);
    }
    if (!c->asked && !c->fast) {
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
        for (size_t i = 0; i < c->n_peer; i++) {
            if ((c->unanswered >> i & 1) != 0 &&
                bk_dials_permit(&w->dials, &w->now, &c->peer[i].addr)) {
                e.dials |= UINT32_C(1) << i;
            }
        }
        c->permitted = e.dials;
        e.dials |= ~c->unanswered; /* what nobody asked for is not dialled */
        c->unanswered = 0;
    }
    call_input(w, c, &e);
}

/* From a caller whose session stands, or who would like that. */
static void on_paths(struct world *w, struct call *c)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES];
    uint8_t buf[512];
    struct bk_paths paths = {.round = feed_u8(&w->f)};
    struct bk_call_event e = {.type = BK_CALL_PATHS, .index = feed_below(&w->f, 32)};
    uint8_t how = feed_u8(&w->f);
    paths.round_trip_ms = (uint16_t)(how * 60);
    paths.n_candidates = how % (BK_CANDIDATES_MAX + 1);
    for (size_t i = 0; i < paths.n_candidates; i++) {
        paths.candidates[i] = a_candidate(w);
    }
    require(bk_paths_write(buf, sizeof buf, txid, &paths, &e.bytes) == BK_OK);
    if (how >= 224) {
        struct bk_stun m;
        e.bytes = feed_bend(&w->f, buf, e.bytes.n);
        if (bk_stun_read(e.bytes, &m) != BK_OK || bk_paths_read(&m, &paths) != BK_OK) {
            paths = (struct bk_paths){0};
        }
    }
    c->newest = paths;
    call_input(w, c, &e);
}

/* What the device's own shell tells. */
static void on_own(struct world *w, struct call *c)
{
    uint8_t how = feed_u8(&w->f);
    struct bk_call_event e = {.type = BK_CALL_OWN, .candidate = a_candidate(w)};
    e.gone = how % 2 == 0;
    if (how >= 192) {
        e.type = BK_CALL_OBSERVED;
        e.addr = e.candidate.addr;
    } else if (how >= 160) {
        e.type = BK_CALL_NETWORK_CHANGED;
    } else if (how >= 156) {
        e.type = BK_CALL_STOP;
    } else if (how >= 128) {
        e.type = BK_CALL_RESULT_TOLD;
        e.index = how / 2 % 16;
        e.right = how % 2 != 0;
        if (e.index < BK_CALL_UNTOLD_MAX) {
            c->untold &= ~(UINT32_C(1) << e.index);
        }
    }
    call_input(w, c, &e);
}

static void on_link(struct world *w, struct call *c, uint8_t how)
{
    static const enum bk_call_event_type types[] = {BK_CALL_SERVER_OPEN,    BK_CALL_SERVER_CLOSED,
                                                    BK_CALL_DIAL_FAILED,    BK_CALL_SESSION_UP,
                                                    BK_CALL_SESSION_PICKED, BK_CALL_SESSION_ENDED};
    struct bk_call_event e = {.type = types[how / 16 % 6], .index = how % 16};
    uint8_t more = feed_u8(&w->f);
    e.cut = more % 2 != 0;
    e.lost = more % 4 >= 2;
    e.ms = more;
    e.index += more >= 128 ? 16 : 0; /* what came in, and what there is not */
    e.addr = agent_address(more);
    e.local = agent_address(more / 2);
    c->server_closed = c->server_closed || e.type == BK_CALL_SERVER_CLOSED;
    c->up = c->up || e.type == BK_CALL_SESSION_PICKED;
    call_input(w, c, &e);
}

void agent_call_event(struct world *w)
{
    struct call *c = &w->calls[feed_below(&w->f, CALLS)];
    uint8_t how = feed_u8(&w->f);
    if (c->core == NULL) {
        return;
    }
    if (how >= 244) {
        struct bk_call_event e = {.type = BK_CALL_SERVER_MESSAGE};
        e.bytes = feed_bytes(&w->f);
        call_input(w, c, &e);
    } else if (how >= 180) {
        on_request(w, c);
    } else if (how >= 150) {
        on_paths(w, c);
    } else if (how >= 128) {
        on_own(w, c);
    } else if (how >= 112) {
        on_dials(w, c);
    } else if (how >= 96) {
        on_caller(w, c);
    } else {
        on_link(w, c, how);
    }
}

void agent_calls_timer(struct world *w)
{
    for (size_t i = 0; i < CALLS; i++) {
        struct call *c = &w->calls[i];
        if (c->core != NULL) {
            bk_call_timer(c->core, &w->now, &call_out);
            check_call_out(w, c);
            require(bk_call_deadline(c->core) > w->now.mono);
        }
    }
}
