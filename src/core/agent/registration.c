/* Keeps one registration alive: REGISTER out, answers in, NOTIFY answered.
 *
 * Nothing that a datagram says is believed before its sender's address and its integrity are checked.
 * Invariants: while the server's address is known exactly one send is due at `due`; every REGISTER
 * carries a counter never used before with this random part. */
#include "core/agent/registration.h"

#include <assert.h>
#include <string.h>

#include "core/agent/admission.h"
#include "wire/notify.h"
#include "wire/register.h"

enum {
    FIRST_RETRY_MS = 500,
    RETRY_DOUBLINGS_MAX = 8,
    UNANSWERED_MAX = 3,    /* then the name is resolved again and the registration counts as lost */
    CHALLENGES_MAX = 3,    /* nonces answered at once between two timed sends */
    EASINGS_MAX = 8,       /* challenges since the last success that make us hurry again */
    NONCE_USE_MS = 4000,   /* the server takes a nonce for about 5 s */
    REVOKED_INTERVALS = 4, /* a revoked device asks so many times less often */
    NOTIFY_TAG_INTERVALS = 4, /* a NOTIFY may go to a registration so many intervals old */
    RESOLVE_WAIT_S = 5,       /* a resolver that says nothing for so long is asked again */
    DATAGRAM_BYTES = 256,     /* all that we send is smaller */
    SLOW_CLOCK_S = 10,        /* the server's clock may fall behind ours by so much, */
    SLOW_CLOCK_PART = 1000,   /* and by such a part of the time since its first answer */
};

static uint64_t interval(const struct bk_registration *r)
{
    return r->config.keepalive_s * BK_SECOND;
}

/* The keepalive interval less up to a tenth: never longer, or a NAT could forget us. */
static uint64_t keepalive_delay(const struct bk_registration *r)
{
    uint64_t whole = interval(r);
    return whole - bk_random_below(&r->config.rng, whole / 10 + 1);
}

/* What to wait for an answer after the `attempt`th send: doubling from half a second, ±20 %, never
 * above the interval. */
static uint64_t retry_delay(const struct bk_registration *r)
{
    if (r->told_revoked) {
        return REVOKED_INTERVALS * keepalive_delay(r);
    }
    uint32_t doublings = r->attempt > 0 ? r->attempt - 1 : 0;
    if (doublings > RETRY_DOUBLINGS_MAX) {
        doublings = RETRY_DOUBLINGS_MAX;
    }
    uint64_t base = (FIRST_RETRY_MS * BK_MS) << doublings;
    if (base > interval(r)) {
        base = interval(r);
    }
    uint64_t delay = base - base / 5 + bk_random_below(&r->config.rng, 2 * (base / 5) + 1);
    return delay < interval(r) ? delay : interval(r);
}

static struct bk_registration_action *add(struct bk_registration_out *out,
                                          enum bk_registration_action_type type)
{
    assert(out->n < BK_AGENT_OUT_ACTIONS);
    struct bk_registration_action *a = &out->actions[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

static uint8_t *room(struct bk_registration_out *out)
{
    assert(sizeof out->bytes - out->used >= DATAGRAM_BYTES);
    return out->bytes + out->used;
}

static void add_send(const struct bk_registration *r, struct bk_slice bytes,
                     struct bk_registration_out *out)
{
    struct bk_registration_action *a = add(out, BK_REGISTRATION_SEND);
    a->addr = r->server;
    a->bytes = bytes;
    out->used += bytes.n;
}

static struct bk_slice key_of(const struct bk_registration *r)
{
    return bk_slice(r->config.key, sizeof r->config.key);
}

static void draw_tag(struct bk_registration *r)
{
    r->tag.random = bk_random_u64(&r->config.rng);
    r->tag.counter = 0;
    memset(r->sent, 0, sizeof r->sent);
    r->sent_next = 0;
}

static void raise_counter(struct bk_registration *r, bk_time now)
{
    if (r->tag.counter == UINT32_MAX) {
        draw_tag(r); /* as if the agent had been restarted: the server asks for one proof */
    }
    r->tag.counter++;
    size_t slots = sizeof r->sent / sizeof r->sent[0];
    r->sent[r->sent_next % slots].counter = r->tag.counter;
    r->sent[r->sent_next % slots].at = now;
    r->sent_next++;
}

static void send_register(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    raise_counter(r, now);
    struct bk_register message = {
        .equipment_id = r->config.equipment_id,
        .generation = r->config.generation,
        .epoch = r->config.epoch,
        .tag = r->tag,
    };
    if (r->have_nonce && now < r->nonce_until) {
        message.nonce = bk_slice(r->nonce, sizeof r->nonce);
    }
    struct bk_slice bytes;
    enum bk_err err = bk_register_write(room(out), DATAGRAM_BYTES, r->txid, &message,
                                        &r->config.mac, key_of(r), &bytes);
    assert(err == BK_OK);
    (void)err;
    add_send(r, bytes, out);
    r->waiting = true;
    r->due = bk_time_add(now, retry_delay(r));
}

/* A new exchange: answers to older ones are no longer listened to. */
static void begin_exchange(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    r->config.rng.fill(r->config.rng.ctx, r->txid, sizeof r->txid);
    r->attempt = 1;
    r->challenges = 0;
    r->have_nonce = false;
    send_register(r, now, out);
}

static void ask_for_address(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    add(out, BK_REGISTRATION_RESOLVE);
    if (r->attempt < UINT32_MAX) {
        r->attempt++;
    }
    r->due = bk_time_add(now, RESOLVE_WAIT_S * BK_SECOND);
}

static void resolved(struct bk_registration *r, bk_time now, const struct bk_addr *server,
                     struct bk_registration_out *out)
{
    bool moved = !r->have_server || !bk_addr_equal(&r->server, server);
    r->server = *server;
    r->have_server = true;
    if (moved) {
        begin_exchange(r, now, out);
    }
}

static void unresolved(struct bk_registration *r, bk_time now)
{
    if (!r->have_server) {
        r->due = bk_time_add(now, retry_delay(r)); /* the timer asks again */
    }
}

/* Never of the next century, nor older than what was believed before, nor much slower than our own time runs: a server cannot stop the
 * clock of a device that has no other. */
static void take_time(struct bk_registration *r, bk_time now, uint64_t unix_s)
{
    if (unix_s >= BK_TIME_BELIEVED_BELOW_S) {
        return;
    }
    if (r->first_unix_s == 0) {
        if (unix_s < r->config.newest_unix_s) {
            return;
        }
        r->first_unix_s = unix_s;
        r->first_time_at = now;
    }
    uint64_t passed_s = (now - r->first_time_at) / BK_SECOND;
    uint64_t behind_s = passed_s / SLOW_CLOCK_PART + SLOW_CLOCK_S;
    if (unix_s >= r->server_unix_s && unix_s - r->first_unix_s + behind_s >= passed_s) {
        r->server_unix_s = unix_s;
        r->server_time_at = now;
    }
}

static void registered(struct bk_registration *r, const struct bk_now *now,
                       const struct bk_register_answer *answer, struct bk_registration_out *out)
{
    bool news = !r->told_up || !bk_addr_equal(&r->observed, &answer->mapped);
    r->state = BK_REGISTRATION_UP;
    r->observed = answer->mapped;
    r->told_up = true;
    r->told_revoked = false;
    r->waiting = false;
    r->easings = 0;
    r->attempt = 0;
    r->have_nonce = false;
    r->due = bk_time_add(now->mono, keepalive_delay(r));
    take_time(r, now->mono, answer->unix_s);
    if (news) {
        add(out, BK_REGISTRATION_REGISTERED)->addr = answer->mapped;
    }
    if (answer->renew) { /* each time: when to follow it is core/agent/renewal.h's to say */
        add(out, BK_REGISTRATION_RENEW);
    }
}

static void challenged(struct bk_registration *r, bk_time now, struct bk_slice nonce,
                       struct bk_registration_out *out)
{
    if (r->challenges == CHALLENGES_MAX) {
        return; /* something is turning in circles: leave it to the timer, which slows down */
    }
    r->challenges++;
    if (r->easings < EASINGS_MAX) {
        r->easings++;
        r->attempt = 1; /* the server is there: what gets lost now is worth repeating soon */
    }
    assert(nonce.n == sizeof r->nonce); /* bk_register_answer_read saw to it */
    memcpy(r->nonce, nonce.p, sizeof r->nonce);
    r->have_nonce = true;
    r->nonce_until = bk_time_add(now, NONCE_USE_MS * BK_MS);
    /* Under a new transaction ID a duplicate of this challenge is no answer any more. */
    r->config.rng.fill(r->config.rng.ctx, r->txid, sizeof r->txid);
    send_register(r, now, out);
}

static void revoked(struct bk_registration *r, bk_time now, struct bk_registration_out *out)
{
    if (!r->told_revoked) {
        add(out, BK_REGISTRATION_REVOKED);
    }
    r->told_revoked = true;
    r->told_up = false;
    r->state = BK_REGISTRATION_TRYING;
    r->waiting = false;
    r->attempt = 0;
    r->due = bk_time_add(now, retry_delay(r));
}

static void answered(struct bk_registration *r, const struct bk_now *now, const struct bk_stun *m,
                     struct bk_registration_out *out)
{
    struct bk_register_answer answer;
    if (!r->waiting || memcmp(m->txid, r->txid, sizeof r->txid) != 0 ||
        bk_register_answer_read(m, &r->config.mac, key_of(r), &answer) != BK_OK) {
        return;
    }
    if (answer.code == 0) {
        registered(r, now, &answer, out);
    } else if (answer.code == BK_CODE_STALE_NONCE) {
        challenged(r, now->mono, answer.nonce, out);
    } else if (answer.code == BK_CODE_FORBIDDEN) {
        revoked(r, now->mono, out);
    } /* anything else is as good as no answer */
}

static bool sent_within(const struct bk_registration *r, bk_time now, const struct bk_tag *tag,
                        uint64_t window)
{
    size_t slots = sizeof r->sent / sizeof r->sent[0];
    size_t used = r->sent_next < slots ? r->sent_next : slots;
    if (tag->random != r->tag.random) {
        return false;
    }
    for (size_t i = 0; i < used; i++) {
        if (r->sent[i].counter == tag->counter) {
            return now - r->sent[i].at <= window;
        }
    }
    return false;
}

static bool seen_before(const struct bk_registration *r, const uint8_t txid[BK_STUN_TXID_BYTES])
{
    size_t used = r->seen_next < BK_AGENT_SEEN_MAX ? r->seen_next : BK_AGENT_SEEN_MAX;
    for (size_t i = 0; i < used; i++) {
        if (memcmp(r->seen[i], txid, BK_STUN_TXID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static void notified(struct bk_registration *r, bk_time now, const struct bk_stun *m,
                     struct bk_registration_out *out)
{
    struct bk_tag tag;
    uint64_t window = NOTIFY_TAG_INTERVALS * interval(r);
    if (window < BK_FRESH_S * BK_SECOND) {
        window = BK_FRESH_S * BK_SECOND;
    }
    if (bk_notify_read(m, &r->config.mac, key_of(r), &tag) != BK_OK ||
        !sent_within(r, now, &tag, window)) {
        return;
    }
    struct bk_slice bytes;
    enum bk_err err = bk_notify_answer_write(room(out), DATAGRAM_BYTES, m->txid, &r->config.mac,
                                             key_of(r), &bytes);
    assert(err == BK_OK);
    (void)err;
    add_send(r, bytes, out);
    if (!seen_before(r, m->txid)) {
        memcpy(r->seen[r->seen_next % BK_AGENT_SEEN_MAX], m->txid, BK_STUN_TXID_BYTES);
        r->seen_next++;
        add(out, BK_REGISTRATION_CALL);
    }
}

static void datagram(struct bk_registration *r, const struct bk_now *now,
                     const struct bk_registration_event *event, struct bk_registration_out *out)
{
    struct bk_stun m;
    if (!r->have_server || !bk_addr_equal(&event->addr, &r->server) ||
        bk_stun_read(event->bytes, &m) != BK_OK) {
        return;
    }
    if (m.method == BK_METHOD_REGISTER && (m.cls == BK_STUN_SUCCESS || m.cls == BK_STUN_ERROR)) {
        answered(r, now, &m, out);
    } else if (m.method == BK_METHOD_NOTIFY && m.cls == BK_STUN_REQUEST) {
        notified(r, now->mono, &m, out);
    }
}

void bk_registration_init(struct bk_registration *r, const struct bk_registration_config *config)
{
    memset(r, 0, sizeof *r);
    r->config = *config;
    if (r->config.keepalive_s == 0) {
        r->config.keepalive_s = BK_AGENT_KEEPALIVE_S;
    }
    r->due = BK_TIME_NEVER;
    draw_tag(r);
}

void bk_registration_input(struct bk_registration *r, const struct bk_now *now,
                           const struct bk_registration_event *event,
                           struct bk_registration_out *out)
{
    out->n = 0;
    out->used = 0;
    switch (event->type) {
    case BK_REGISTRATION_START:
        r->state = BK_REGISTRATION_TRYING;
        ask_for_address(r, now->mono, out);
        break;
    case BK_REGISTRATION_RESOLVED:
        resolved(r, now->mono, &event->addr, out);
        break;
    case BK_REGISTRATION_UNRESOLVED:
        unresolved(r, now->mono);
        break;
    case BK_REGISTRATION_DATAGRAM:
        datagram(r, now, event, out);
        break;
    case BK_REGISTRATION_NETWORK_CHANGED:
        if (r->have_server) {
            begin_exchange(r, now->mono, out);
        } else if (r->state != BK_REGISTRATION_IDLE) {
            r->attempt = 0;
            ask_for_address(r, now->mono, out);
        }
        break;
    }
}

void bk_registration_timer(struct bk_registration *r, const struct bk_now *now,
                           struct bk_registration_out *out)
{
    out->n = 0;
    out->used = 0;
    if (now->mono < r->due) {
        return;
    }
    if (!r->have_server) {
        ask_for_address(r, now->mono, out);
        return;
    }
    if (!r->waiting) {
        begin_exchange(r, now->mono, out);
        return;
    }
    if (r->attempt >= UNANSWERED_MAX) {
        r->state = BK_REGISTRATION_TRYING;
        if (r->told_up || r->attempt == UNANSWERED_MAX) { /* once, also where it never stood */
            r->told_up = false;
            add(out, BK_REGISTRATION_LOST);
        }
        if (r->attempt % UNANSWERED_MAX == 0) {
            add(out, BK_REGISTRATION_RESOLVE);
        }
    }
    if (r->attempt < UINT32_MAX) {
        r->attempt++;
    }
    r->challenges = 0;
    send_register(r, now->mono, out);
}

bk_time bk_registration_deadline(const struct bk_registration *r)
{
    return r->due;
}

void bk_registration_rekey(struct bk_registration *r, const struct bk_now *now, uint32_t generation,
                           uint16_t epoch, const uint8_t key[BK_KEY_BYTES])
{
    r->config.generation = generation;
    r->config.epoch = epoch;
    memcpy(r->config.key, key, sizeof r->config.key);
    r->told_revoked = false;
    r->attempt = 0;
    r->waiting = false; /* what was sent under the old key has no answer any more */
    if (r->have_server) {
        r->due = now->mono;
    }
}

bool bk_registration_sent_lately(const struct bk_registration *r, const struct bk_now *now,
                                 const struct bk_tag *tag)
{
    return sent_within(r, now->mono, tag, BK_FRESH_S * BK_SECOND);
}

uint64_t bk_registration_unix_s(const struct bk_registration *r, const struct bk_now *now)
{
    if (now->unix_s != 0 || r->server_unix_s == 0) {
        return now->unix_s;
    }
    return r->server_unix_s + (now->mono - r->server_time_at) / BK_SECOND;
}

uint64_t bk_registration_server_unix_s(const struct bk_registration *r)
{
    return r->server_unix_s;
}
