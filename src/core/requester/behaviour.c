/* Questions side by side, each asked until it is answered or has had its tries; conclusions when all are over. What was not
 * answered is taken as "does not come in" only where the same socket did hear something: otherwise it is not known. */
#include "core/requester/behaviour.h"

#include <assert.h>
#include <string.h>

#include "wire/binding.h"

enum {
    CHANGE_IP = 4,
    CHANGE_PORT = 2,
    CHANGE_BYTES = 4,
    /* Places of the questions: MAIN's to each address come first. */
    ASK_QUIET = BK_BEHAVIOUR_ADDRS_MAX, /* plain: does QUIET hear anything at all? */
    ASK_QUIET_PORT,                     /* from the other port */
    ASK_QUIET_BOTH,                     /* from the other address and port */
    ASK_HAIRPIN,
};

static bool same_ip(const struct bk_addr *a, const struct bk_addr *b)
{
    return bk_addr_same_ip(a, b);
}

/* The server's address that differs from the usual one as told; NULL if there is none. */
static const struct bk_addr *other(const struct bk_behaviour *b, bool other_ip, bool other_port)
{
    const struct bk_addr *usual = &b->config.addrs[0];
    for (size_t i = 1; i < b->config.n_addrs; i++) {
        const struct bk_addr *a = &b->config.addrs[i];
        if (same_ip(a, usual) != other_ip && (a->port == usual->port) != other_port) {
            return a;
        }
    }
    return NULL;
}

static struct bk_behaviour_ask *prepare(struct bk_behaviour *b, size_t place,
                                        enum bk_behaviour_socket socket, const struct bk_addr *to,
                                        const struct bk_addr *answer_from)
{
    struct bk_behaviour_ask *ask = &b->asks[place];
    *ask = (struct bk_behaviour_ask){.used = true,
                                     .socket = socket,
                                     .answer_at = socket,
                                     .to = *to,
                                     .answer_from = *answer_from};
    b->config.rng.fill(b->config.rng.ctx, ask->txid, sizeof ask->txid);
    return ask;
}

void bk_behaviour_init(struct bk_behaviour *b, const struct bk_behaviour_config *config)
{
    assert(config->n_addrs >= 1 && config->n_addrs <= BK_BEHAVIOUR_ADDRS_MAX);
    memset(b, 0, sizeof *b);
    b->config = *config;
    b->due = BK_TIME_NEVER;
    const struct bk_addr *usual = &b->config.addrs[0];
    const struct bk_addr *other_port = other(b, false, true);
    const struct bk_addr *both = other(b, true, true);
    for (size_t i = 0; i < config->n_addrs; i++) {
        (void)prepare(b, i, BK_BEHAVIOUR_MAIN, &config->addrs[i], &config->addrs[i]);
    }
    (void)prepare(b, ASK_QUIET, BK_BEHAVIOUR_QUIET, usual, usual);
    if (other_port != NULL) {
        prepare(b, ASK_QUIET_PORT, BK_BEHAVIOUR_QUIET, usual, other_port)->change = CHANGE_PORT;
    }
    if (both != NULL) {
        prepare(b, ASK_QUIET_BOTH, BK_BEHAVIOUR_QUIET, usual, both)->change =
            CHANGE_IP | CHANGE_PORT;
    }
}

static struct bk_behaviour_action *add(struct bk_behaviour_out *out)
{
    assert(out->n < BK_BEHAVIOUR_OUT_ACTIONS);
    struct bk_behaviour_action *a = &out->actions[out->n++];
    memset(a, 0, sizeof *a);
    return a;
}

static void send(struct bk_behaviour_ask *ask, bk_time now, struct bk_behaviour_out *out)
{
    const uint8_t change[CHANGE_BYTES] = {0, 0, 0, ask->change};
    struct bk_stun_writer s = bk_stun_begin(out->bytes + out->used, sizeof out->bytes - out->used,
                                            BK_METHOD_BINDING, BK_STUN_REQUEST, ask->txid);
    if (ask->change != 0) {
        bk_stun_put(&s, BK_ATTR_CHANGE_REQUEST, BK_SLICE_OF(change));
    }
    struct bk_behaviour_action *a = add(out);
    a->type = BK_BEHAVIOUR_SEND;
    a->socket = ask->socket;
    a->to = ask->to;
    enum bk_err err = bk_stun_end(&s, &a->bytes);
    assert(err == BK_OK);
    (void)err;
    out->used += a->bytes.n;
    if (ask->tries++ == 0) {
        ask->sent_first = now;
    }
}

/* ---- conclusions ---- */

static bool answered(const struct bk_behaviour *b, size_t place)
{
    return b->asks[place].used && b->asks[place].answered;
}

/* How MAIN was seen by the address that differs so from the usual one; NULL: it was not asked, or did not answer. */
static const struct bk_addr *seen_by(const struct bk_behaviour *b, bool other_ip, bool other_port)
{
    const struct bk_addr *a = other(b, other_ip, other_port);
    for (size_t i = 0; a != NULL && i < b->config.n_addrs; i++) {
        if (bk_addr_equal(a, &b->config.addrs[i]) && answered(b, i)) {
            return &b->asks[i].mapped;
        }
    }
    return NULL;
}

static enum bk_behaviour_kind mapping(const struct bk_behaviour *b)
{
    const struct bk_addr *usual = &b->asks[0].mapped;
    const struct bk_addr *by_port = seen_by(b, false, true);
    const struct bk_addr *by_ip = seen_by(b, true, false);
    if (by_ip == NULL) {
        by_ip = seen_by(b, true, true);
    }
    if (bk_addr_equal(usual, &b->config.local)) {
        return BK_BEHAVIOUR_NO_NAT;
    }
    if (by_port != NULL && !bk_addr_equal(by_port, usual)) {
        return BK_BEHAVIOUR_ADDRESS_AND_PORT_DEPENDENT;
    }
    if (by_ip != NULL) {
        return bk_addr_equal(by_ip, usual) ? BK_BEHAVIOUR_ENDPOINT_INDEPENDENT
               : by_port != NULL           ? BK_BEHAVIOUR_ADDRESS_DEPENDENT
                                           : BK_BEHAVIOUR_NOT_ENDPOINT_INDEPENDENT;
    }
    return by_port != NULL ? BK_BEHAVIOUR_NOT_PORT_DEPENDENT : BK_BEHAVIOUR_UNKNOWN;
}

static enum bk_behaviour_kind filtering(const struct bk_behaviour *b)
{
    bool other_port = answered(b, ASK_QUIET_PORT);
    if (!answered(b, ASK_QUIET)) {
        return BK_BEHAVIOUR_UNKNOWN;
    }
    if (answered(b, ASK_QUIET_BOTH)) {
        return BK_BEHAVIOUR_ENDPOINT_INDEPENDENT;
    }
    if (b->asks[ASK_QUIET_BOTH].used) {
        return other_port                     ? BK_BEHAVIOUR_ADDRESS_DEPENDENT
               : b->asks[ASK_QUIET_PORT].used ? BK_BEHAVIOUR_ADDRESS_AND_PORT_DEPENDENT
                                              : BK_BEHAVIOUR_NOT_ENDPOINT_INDEPENDENT;
    }
    return !b->asks[ASK_QUIET_PORT].used ? BK_BEHAVIOUR_UNKNOWN
           : other_port                  ? BK_BEHAVIOUR_NOT_PORT_DEPENDENT
                                         : BK_BEHAVIOUR_ADDRESS_AND_PORT_DEPENDENT;
}

static void conclude(struct bk_behaviour *b, struct bk_behaviour_out *out)
{
    struct bk_behaviour_result *r = &b->result;
    b->over = true;
    b->due = BK_TIME_NEVER;
    for (size_t i = 0; i < BK_BEHAVIOUR_ASKS_MAX; i++) {
        r->udp = r->udp || (i != ASK_HAIRPIN && answered(b, i));
    }
    if (answered(b, 0)) {
        r->mapped = b->asks[0].mapped;
        r->port_preserved = r->mapped.port == b->config.local.port;
        r->mapping = mapping(b);
    }
    r->filtering = filtering(b);
    r->hairpin_asked = b->asks[ASK_HAIRPIN].used;
    r->hairpin = answered(b, ASK_HAIRPIN);
    add(out)->type = BK_BEHAVIOUR_OVER;
}

/* ---- asking ---- */

/* Once it is known how MAIN is seen, it is sent something there. */
static void begin_hairpin(struct bk_behaviour *b)
{
    static const struct bk_addr anybody = {.port = 0};
    if (b->hairpin_begun || !answered(b, 0)) {
        return;
    }
    b->hairpin_begun = true;
    struct bk_behaviour_ask *ask =
        prepare(b, ASK_HAIRPIN, BK_BEHAVIOUR_HAIRPIN, &b->asks[0].mapped, &anybody);
    ask->answer_at = BK_BEHAVIOUR_MAIN;
}

/* Sends what is not answered yet; false: there is nothing more to ask. */
static bool ask_all(struct bk_behaviour *b, bk_time now, struct bk_behaviour_out *out)
{
    bool any = false;
    for (size_t i = 0; i < BK_BEHAVIOUR_ASKS_MAX; i++) {
        struct bk_behaviour_ask *ask = &b->asks[i];
        if (ask->used && !ask->answered && ask->tries < BK_BEHAVIOUR_TRIES) {
            send(ask, now, out);
            any = true;
        }
    }
    return any;
}

static bool all_answered(const struct bk_behaviour *b)
{
    for (size_t i = 0; i < BK_BEHAVIOUR_ASKS_MAX; i++) {
        if (b->asks[i].used && !b->asks[i].answered) {
            return false;
        }
    }
    return b->hairpin_begun;
}

static void go_on(struct bk_behaviour *b, bk_time now, struct bk_behaviour_out *out)
{
    begin_hairpin(b);
    if (ask_all(b, now, out)) {
        b->due = bk_time_add(now, BK_BEHAVIOUR_EVERY_MS * BK_MS);
    } else {
        conclude(b, out);
    }
}

/* The answer to a question, or the question itself where it was led back to us. */
static bool fits(const struct bk_behaviour_ask *ask, const struct bk_behaviour_event *event,
                 const struct bk_stun *m)
{
    return ask->used && !ask->answered && ask->tries > 0 && ask->answer_at == event->socket &&
           memcmp(ask->txid, m->txid, sizeof ask->txid) == 0 &&
           (ask->answer_from.port == 0 || bk_addr_equal(&ask->answer_from, &event->from));
}

static void datagram(struct bk_behaviour *b, const struct bk_now *now,
                     const struct bk_behaviour_event *event, struct bk_behaviour_out *out)
{
    struct bk_stun m;
    if (bk_stun_read(event->bytes, &m) != BK_OK || m.method != BK_METHOD_BINDING) {
        return;
    }
    for (size_t i = 0; i < BK_BEHAVIOUR_ASKS_MAX; i++) {
        struct bk_behaviour_ask *ask = &b->asks[i];
        if (!fits(ask, event, &m)) {
            continue;
        }
        ask->answered = i == ASK_HAIRPIN ? m.cls == BK_STUN_REQUEST
                                         : bk_binding_response_read(&m, &ask->mapped) == BK_OK;
        if (ask->answered && i == 0 && ask->tries == 1) {
            b->result.round_trip_ms = (uint32_t)((now->mono - ask->sent_first) / BK_MS);
        }
    }
    if (all_answered(b)) {
        conclude(b, out);
    }
}

void bk_behaviour_input(struct bk_behaviour *b, const struct bk_now *now,
                        const struct bk_behaviour_event *event, struct bk_behaviour_out *out)
{
    out->n = 0;
    out->used = 0;
    if (b->over) {
        return;
    }
    if (event->type == BK_BEHAVIOUR_START) {
        go_on(b, now->mono, out);
    } else {
        datagram(b, now, event, out);
    }
}

void bk_behaviour_timer(struct bk_behaviour *b, const struct bk_now *now,
                        struct bk_behaviour_out *out)
{
    out->n = 0;
    out->used = 0;
    if (!b->over && now->mono >= b->due) {
        go_on(b, now->mono, out);
    }
}

bk_time bk_behaviour_deadline(const struct bk_behaviour *b)
{
    return b->due;
}
