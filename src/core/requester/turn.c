/* The TURN client's transactions: which request is due, what its answer means. Opens and reads nothing itself.
 * Invariant: a SEND is only made where no transaction is under way, so each input leads to one at most. */
#include "core/requester/turn_private.h"

#include <assert.h>
#include <string.h>

#include "base/number.h"
#include "seal/seal.h"

struct bk_turn_client_action *bk_turn_client_act(struct bk_turn_client_out *out,
                                                 enum bk_turn_client_action_type type)
{
    if (out->n == BK_TURN_CLIENT_OUT_ACTIONS) {
        return NULL;
    }
    struct bk_turn_client_action *a = &out->actions[out->n++];
    *a = (struct bk_turn_client_action){.type = type};
    return a;
}

/* The last action of all; whatever else was to be done before it is of no use any more. */
static void fail(struct bk_turn_client *t, const char *why, struct bk_turn_client_out *out)
{
    if (t->state == BK_TURN_CLIENT_OVER) {
        return;
    }
    size_t n = strlen(why);
    n = n < sizeof t->why ? n : sizeof t->why - 1;
    memcpy(t->why, why, n);
    t->why[n] = '\0';
    t->state = BK_TURN_CLIENT_OVER;
    t->method = 0;
    if (out->n == BK_TURN_CLIENT_OUT_ACTIONS) {
        out->n--;
    }
    struct bk_turn_client_action *a = bk_turn_client_act(out, BK_TURN_CLIENT_FAILED);
    assert(a != NULL);
    a->why = t->why;
}

static void fail_code(struct bk_turn_client *t, uint16_t code, struct bk_turn_client_out *out)
{
    static const struct {
        uint16_t code;
        const char *why;
    } phrases[] = {
        {BK_CODE_BAD_REQUEST, "the relay does not understand the request"},
        {BK_CODE_UNAUTHENTICATED, "the relay refuses the credentials"},
        {BK_CODE_FORBIDDEN, "the relay forbids it"},
        {BK_CODE_UNKNOWN_ATTRIBUTE, "the relay does not understand the request"},
        {BK_CODE_ALLOCATION_MISMATCH, "the relay has forgotten the address"},
        {BK_CODE_STALE_NONCE, "the relay takes no nonce"},
        {BK_CODE_ADDRESS_FAMILY, "the relay has no address of this family"},
        {BK_CODE_WRONG_CREDENTIALS, "the relay refuses the credentials"},
        {BK_CODE_UNSUPPORTED_TRANSPORT, "the relay does not relay TCP"},
        {BK_CODE_PEER_ADDRESS_FAMILY, "the relay's address is of another family than the device's"},
        {BK_CODE_QUOTA, "the relay's quota is used up"},
        {BK_CODE_CAPACITY, "the relay is full"},
        {BK_CODE_OVERLOADED, "the relay is overloaded"},
    };
    static const char other[] = "the relay refuses with error ";
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++) {
        if (phrases[i].code == code) {
            fail(t, phrases[i].why, out);
            return;
        }
    }
    char why[sizeof other + 21];
    memcpy(why, other, sizeof other);
    bk_number_format(code, why + sizeof other - 1);
    fail(t, why, out);
}

/* ---- Requests ---- */

struct bk_turn_login bk_turn_client_login(const struct bk_turn_client *t)
{
    if (!t->has_key) {
        return (struct bk_turn_login){0};
    }
    return (struct bk_turn_login){.username = t->config.username,
                                  .realm = bk_slice(t->realm, t->realm_n),
                                  .nonce = bk_slice(t->nonce, t->nonce_n),
                                  .key = t->key};
}

static void send_request(struct bk_turn_client *t, const struct bk_now *now,
                         const struct bk_turn_request *request, struct bk_turn_client_out *out)
{
    struct bk_turn_login login = bk_turn_client_login(t);
    struct bk_slice bytes;
    t->config.rng.fill(t->config.rng.ctx, t->txid, sizeof t->txid);
    if (bk_turn_request_write(out->bytes, sizeof out->bytes, t->txid, request, &login,
                              &t->config.ops, &bytes) != BK_OK) {
        fail(t, "the relay's words are too long", out);
        return;
    }
    struct bk_turn_client_action *a = bk_turn_client_act(out, BK_TURN_CLIENT_SEND);
    if (a == NULL) { /* an input that led to so much else: not one of a relay that means well */
        fail(t, "the relay says too much at once", out);
        return;
    }
    a->bytes = bytes;
    t->method = request->method;
    t->answer_until = bk_time_add(now->mono, BK_TURN_CLIENT_ANSWER_MS * BK_MS);
}

static void send_allocate(struct bk_turn_client *t, const struct bk_now *now,
                          struct bk_turn_client_out *out)
{
    struct bk_turn_request request = {
        .method = BK_METHOD_ALLOCATE,
        .transport = BK_TURN_TRANSPORT_TCP,
        .family = t->config.family == BK_FAMILY_IPV6 ? BK_FAMILY_IPV6 : 0, /* IPv4 is the default */
        .server_name = t->config.server_name,
    };
    t->name_due = false;
    send_request(t, now, &request, out);
}

static void send_permissions(struct bk_turn_client *t, const struct bk_now *now,
                             struct bk_turn_client_out *out)
{
    struct bk_turn_request request = {.method = BK_METHOD_CREATE_PERMISSION};
    for (size_t i = 0; i < t->n_permits; i++) {
        request.peers[request.n_peers++] = t->permits[i].addr;
        t->permits[i].asked = true;
    }
    send_request(t, now, &request, out);
}

static void send_refresh(struct bk_turn_client *t, const struct bk_now *now,
                         struct bk_turn_client_out *out)
{
    const struct bk_turn_request request = {.method = BK_METHOD_REFRESH,
                                            .has_lifetime = true,
                                            .lifetime_s = BK_TURN_LIFETIME_S,
                                            .server_name = t->config.server_name};
    t->name_due = false;
    send_request(t, now, &request, out);
}

static void again(struct bk_turn_client *t, const struct bk_now *now, uint16_t method,
                  struct bk_turn_client_out *out)
{
    if (method == BK_METHOD_ALLOCATE) {
        send_allocate(t, now, out);
    } else if (method == BK_METHOD_CREATE_PERMISSION) {
        send_permissions(t, now, out);
    } else {
        send_refresh(t, now, out);
    }
}

/* Whatever is due next, if nothing is under way. */
static void go_on(struct bk_turn_client *t, const struct bk_now *now,
                  struct bk_turn_client_out *out)
{
    if (t->method != 0 || t->state < BK_TURN_CLIENT_PERMITTING || t->state > BK_TURN_CLIENT_UP) {
        return;
    }
    bool permission_due = t->n_permits > 0 && now->mono >= t->permission_at;
    if (t->state == BK_TURN_CLIENT_PERMITTING && !permission_due) {
        struct bk_turn_client_action *a = bk_turn_client_act(out, BK_TURN_CLIENT_READY);
        if (a == NULL) {
            return;
        }
        t->state = BK_TURN_CLIENT_UP;
        a->addr = t->relayed;
    }
    if (t->state == BK_TURN_CLIENT_UP && t->name_due) { /* first: somebody is about to come by it */
        send_refresh(t, now, out);
    } else if (permission_due) {
        send_permissions(t, now, out);
    } else if (now->mono >= t->refresh_at) {
        send_refresh(t, now, out);
    }
}

/* ---- Answers ---- */

static bool keep_text(uint8_t room[BK_TURN_TEXT_MAX_BYTES], size_t *n, struct bk_slice text)
{
    if (text.n == 0 || text.n > BK_TURN_TEXT_MAX_BYTES) {
        return false;
    }
    memmove(room, text.p, text.n);
    *n = text.n;
    return true;
}

/* After 401 or 438: true if the request is worth another try, with what the answer told. */
bool bk_turn_client_challenged(struct bk_turn_client *t, const struct bk_turn_answer *answer,
                               unsigned *stale)
{
    bool first = answer->code == BK_CODE_UNAUTHENTICATED && !t->has_key;
    bool renewed = answer->code == BK_CODE_STALE_NONCE && t->has_key;
    if ((!first && !renewed) || *stale >= BK_TURN_CLIENT_STALE_MAX ||
        !keep_text(t->nonce, &t->nonce_n, answer->nonce)) {
        return false;
    }
    if (first || answer->realm.n != 0) {
        if (!keep_text(t->realm, &t->realm_n, answer->realm)) {
            return false;
        }
        bk_turn_key(&t->config.ops, t->config.username, bk_slice(t->realm, t->realm_n),
                    t->config.password, t->key);
        t->has_key = true;
    }
    (*stale)++;
    return true;
}

static bk_time refresh_time(const struct bk_now *now, uint32_t lifetime_s)
{
    uint32_t s = lifetime_s < BK_TURN_LIFETIME_MAX_S ? lifetime_s / 2 : BK_TURN_LIFETIME_MAX_S / 2;
    s = s < BK_TURN_CLIENT_REFRESH_MIN_S ? BK_TURN_CLIENT_REFRESH_MIN_S : s;
    return bk_time_add(now->mono, s * BK_SECOND);
}

static bool same_family(const struct bk_turn_client *t, const struct bk_addr *addr)
{
    return bk_addr_is_v4(addr) == (t->config.family != BK_FAMILY_IPV6);
}

static void allocated(struct bk_turn_client *t, const struct bk_now *now,
                      const struct bk_turn_answer *answer, struct bk_turn_client_out *out)
{
    if (!same_family(t, &answer->relayed) || answer->relayed.port == 0) {
        fail(t, "the relay gave an address that is none", out);
        return;
    }
    t->relayed = answer->relayed;
    t->state = BK_TURN_CLIENT_PERMITTING;
    t->refresh_at = refresh_time(now, answer->lifetime_s);
    t->permission_at = now->mono;
}

/* One that came later and is refused is given up; the others stay as they are. */
static bool give_up_new_permits(struct bk_turn_client *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n_permits; i++) {
        if (t->permits[i].granted || !t->permits[i].asked) {
            t->permits[kept++] = t->permits[i];
        }
    }
    bool any = kept < t->n_permits;
    t->n_permits = kept;
    return any;
}

static void permitted(struct bk_turn_client *t, const struct bk_now *now)
{
    t->permission_at = bk_time_add(now->mono, BK_TURN_CLIENT_PERMISSION_S * BK_SECOND);
    for (size_t i = 0; i < t->n_permits; i++) {
        t->permits[i].granted = t->permits[i].granted || t->permits[i].asked;
        if (!t->permits[i].granted) {
            t->permission_at = now->mono; /* given while the request was under way */
        }
    }
}

static void refused(struct bk_turn_client *t, const struct bk_now *now, uint16_t method,
                    uint16_t code, struct bk_turn_client_out *out)
{
    if (method == BK_METHOD_CREATE_PERMISSION && t->state == BK_TURN_CLIENT_UP &&
        give_up_new_permits(t)) {
        t->permission_at = t->n_permits == 0 ? BK_TIME_NEVER : now->mono;
        return;
    }
    fail_code(t, code, out);
}

static void take_answer(struct bk_turn_client *t, const struct bk_now *now, const struct bk_stun *m,
                        struct bk_turn_client_out *out)
{
    struct bk_turn_answer answer;
    if (t->method == 0 || m->method != t->method || memcmp(m->txid, t->txid, sizeof t->txid) != 0) {
        return; /* to a request that is not ours, or no more */
    }
    if (bk_turn_answer_read(m, &t->config.ops, t->has_key ? t->key : NULL, &answer) != BK_OK) {
        fail(t, "the relay's answer is wrong", out);
        return;
    }
    uint16_t method = t->method;
    t->method = 0;
    if (answer.code == BK_CODE_UNAUTHENTICATED || answer.code == BK_CODE_STALE_NONCE) {
        if (bk_turn_client_challenged(t, &answer, &t->stale)) {
            again(t, now, method, out);
        } else {
            fail_code(t, answer.code, out);
        }
        return;
    }
    t->stale = 0;
    if (answer.code != 0) {
        refused(t, now, method, answer.code, out);
    } else if (!t->has_key) {
        fail(t, "the relay asks for no credentials", out);
    } else if (method == BK_METHOD_ALLOCATE) {
        allocated(t, now, &answer, out);
    } else if (method == BK_METHOD_REFRESH) {
        t->refresh_at = refresh_time(now, answer.lifetime_s);
    } else {
        permitted(t, now);
    }
}

/* ---- The control connection ---- */

static void take_message(struct bk_turn_client *t, const struct bk_now *now, struct bk_slice bytes,
                         struct bk_turn_client_out *out)
{
    struct bk_stun m;
    if (bk_stun_read(bytes, &m) != BK_OK) {
        fail(t, "what the relay says is not TURN", out);
    } else if (m.cls == BK_STUN_SUCCESS || m.cls == BK_STUN_ERROR) {
        take_answer(t, now, &m, out);
    } else if (m.cls == BK_STUN_INDICATION && m.method == BK_METHOD_CONNECTION_ATTEMPT) {
        bk_turn_client_attempt(t, now, &m, out);
    }
}

/* The first whole message in `in`: true, and its length. */
static bool whole(struct bk_turn_client *t, size_t *n, struct bk_turn_client_out *out)
{
    enum bk_err err = bk_stun_frame(bk_slice(t->in, t->in_n), n);
    if (err == BK_E_TRUNCATED) {
        return false;
    }
    if (err != BK_OK || *n > sizeof t->in) {
        fail(t, "what the relay says is not TURN", out);
        return false;
    }
    return *n <= t->in_n;
}

static void take_bytes(struct bk_turn_client *t, const struct bk_now *now, struct bk_slice bytes,
                       struct bk_turn_client_out *out)
{
    while (bytes.n > 0 && t->state != BK_TURN_CLIENT_OVER) {
        size_t room = sizeof t->in - t->in_n, n;
        size_t take = bytes.n < room ? bytes.n : room;
        memcpy(t->in + t->in_n, bytes.p, take);
        t->in_n += take;
        bytes = bk_slice(bytes.p + take, bytes.n - take);
        while (t->state != BK_TURN_CLIENT_OVER && whole(t, &n, out)) {
            take_message(t, now, bk_slice(t->in, n), out);
            memmove(t->in, t->in + n, t->in_n - n);
            t->in_n -= n;
        }
    }
}

static void permit(struct bk_turn_client *t, const struct bk_now *now, const struct bk_addr *addr)
{
    for (size_t i = 0; i < t->n_permits; i++) {
        if (bk_addr_same_ip(&t->permits[i].addr, addr)) {
            return;
        }
    }
    if (t->n_permits == BK_TURN_CLIENT_PERMITS_MAX || !same_family(t, addr)) {
        return;
    }
    memset(&t->permits[t->n_permits], 0, sizeof t->permits[0]);
    t->permits[t->n_permits++].addr = *addr;
    t->permission_at = now->mono;
}

static void take_name(struct bk_turn_client *t, struct bk_slice name)
{
    if (name.n == 0 || name.n > sizeof t->server_name ||
        bk_slice_equal(name, t->config.server_name)) {
        return;
    }
    memcpy(t->server_name, name.p, name.n);
    t->config.server_name.n = name.n;
    t->name_due = true;
}

enum bk_err bk_turn_client_init(struct bk_turn_client *t,
                                const struct bk_turn_client_config *config)
{
    static const struct bk_now start = {0};
    memset(t, 0, sizeof *t);
    if (config->username.n > sizeof t->username || config->password.n > sizeof t->password ||
        config->server_name.n > sizeof t->server_name) {
        return BK_E_RANGE;
    }
    t->config = *config;
    if (config->username.n > 0) {
        memcpy(t->username, config->username.p, config->username.n);
    }
    if (config->password.n > 0) {
        memcpy(t->password, config->password.p, config->password.n);
    }
    if (config->server_name.n > 0) {
        memcpy(t->server_name, config->server_name.p, config->server_name.n);
    }
    t->config.username.p = t->username;
    t->config.password.p = t->password;
    t->config.server_name.p = t->server_name;
    t->config.permits = NULL;
    t->refresh_at = BK_TIME_NEVER;
    for (size_t i = 0; i < config->n_permits; i++) {
        permit(t, &start, &config->permits[i]);
    }
    t->ready_until = BK_TIME_NEVER;
    return BK_OK;
}

void bk_turn_client_fini(struct bk_turn_client *t)
{
    bk_wipe(t->password, sizeof t->password);
    bk_wipe(t->key, sizeof t->key);
}

void bk_turn_client_input(struct bk_turn_client *t, const struct bk_now *now,
                          const struct bk_turn_client_event *event, struct bk_turn_client_out *out)
{
    out->n = 0;
    if (t->state == BK_TURN_CLIENT_OVER) {
        return;
    }
    switch (event->type) {
    case BK_TURN_CLIENT_START:
        t->ready_until = bk_time_add(now->mono, BK_TURN_CLIENT_READY_MS * BK_MS);
        break;
    case BK_TURN_CLIENT_OPEN:
        if (t->state == BK_TURN_CLIENT_NEW) {
            t->state = BK_TURN_CLIENT_ALLOCATING;
            send_allocate(t, now, out);
        }
        break;
    case BK_TURN_CLIENT_BYTES:
        if (t->state != BK_TURN_CLIENT_NEW) {
            take_bytes(t, now, event->bytes, out);
        }
        break;
    case BK_TURN_CLIENT_CLOSED:
        fail(t, "the relay hung up", out);
        break;
    case BK_TURN_CLIENT_PERMIT:
        permit(t, now, &event->addr);
        break;
    case BK_TURN_CLIENT_NAME:
        take_name(t, event->bytes);
        break;
    case BK_TURN_CLIENT_BIND_OPEN:
    case BK_TURN_CLIENT_BIND_MESSAGE:
    case BK_TURN_CLIENT_BIND_CLOSED:
        bk_turn_client_bind_event(t, event, out);
        return; /* a due request waits for its own turn */
    }
    go_on(t, now, out);
}

void bk_turn_client_timer(struct bk_turn_client *t, const struct bk_now *now,
                          struct bk_turn_client_out *out)
{
    out->n = 0;
    if (t->state == BK_TURN_CLIENT_OVER) {
        return;
    }
    if (t->state < BK_TURN_CLIENT_UP && now->mono >= t->ready_until) {
        fail(t,
             t->state == BK_TURN_CLIENT_NEW ? "the relay cannot be reached"
                                            : "the relay does not answer",
             out);
        return;
    }
    if (t->method != 0 && now->mono >= t->answer_until) {
        fail(t, "the relay does not answer", out);
        return;
    }
    for (size_t i = 0; i < BK_TURN_CLIENT_BINDS_MAX; i++) {
        if (t->binds[i].used && now->mono >= t->binds[i].until) {
            bk_turn_client_end_bind(t, i, BK_TURN_CLIENT_BIND_CLOSE, out);
        }
    }
    go_on(t, now, out);
}

bk_time bk_turn_client_deadline(const struct bk_turn_client *t)
{
    if (t->state == BK_TURN_CLIENT_OVER) {
        return BK_TIME_NEVER;
    }
    bk_time d = t->state < BK_TURN_CLIENT_UP ? t->ready_until : t->refresh_at;
    if (t->method != 0) {
        d = t->state < BK_TURN_CLIENT_UP ? bk_time_min(d, t->answer_until) : t->answer_until;
    } else if (t->state == BK_TURN_CLIENT_UP && t->n_permits > 0) {
        d = bk_time_min(d, t->permission_at);
    }
    for (size_t i = 0; i < BK_TURN_CLIENT_BINDS_MAX; i++) {
        if (t->binds[i].used) {
            d = bk_time_min(d, t->binds[i].until);
        }
    }
    return d;
}
