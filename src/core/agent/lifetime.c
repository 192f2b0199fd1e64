/* Measures the lifetime of a NAT's mappings. One question is open at any time.
 * Invariant: the registration is never touched: what goes wrong here leaves it at short intervals. */
#include "core/agent/lifetime.h"

#include <assert.h>
#include <string.h>

#include "wire/binding.h"
#include "wire/probe.h"

enum {
    BEGIN_S = 10, /* after the registration stands: first things first */
    AGAIN_S = 86400,
    UNKNOWN_AGAIN_S = 3600, /* no answer to Binding: sooner */
    AGAIN_SPREAD_S = 3600,
    WARM_UP_S = 3,
    ANSWER_MS = 1000,
    SENDS_MAX = 3,
    FAILURES_MAX = 2, /* of one T: what was lost on the way is no proof */
};

static const uint16_t times_s[] = {40, 75, 110, 170, BK_LIFETIME_MAX_S};

enum { TIMES = sizeof times_s / sizeof times_s[0] };

static struct bk_lifetime_action *add(struct bk_lifetime_out *out,
                                      enum bk_lifetime_action_type type)
{
    assert(out->n < BK_LIFETIME_OUT_ACTIONS);
    struct bk_lifetime_action *a = &out->actions[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

static void tell(struct bk_lifetime *l, uint32_t kept_s, struct bk_lifetime_out *out)
{
    if (kept_s != l->told_s) {
        l->told_s = kept_s;
        add(out, BK_LIFETIME_KEPT)->kept_s = kept_s;
    }
}

static void close_second(struct bk_lifetime *l, struct bk_lifetime_out *out)
{
    if (l->open) {
        l->open = false;
        add(out, BK_LIFETIME_CLOSE);
    }
}

static void rest(struct bk_lifetime *l, bk_time now, uint64_t s, struct bk_lifetime_out *out)
{
    close_second(l, out);
    l->state = BK_LIFETIME_RESTING;
    l->due = bk_time_add(now, (s + bk_random_below(&l->rng, AGAIN_SPREAD_S)) * BK_SECOND);
}

static void ended(struct bk_lifetime *l, bk_time now, struct bk_lifetime_out *out)
{
    tell(l, l->kept_s, out);
    rest(l, now, AGAIN_S, out);
}

/* The message of this state, again under the same transaction ID. */
static void send(struct bk_lifetime *l, bk_time now, const struct bk_registration *r,
                 struct bk_lifetime_out *out)
{
    struct bk_slice bytes;
    enum bk_err err;
    struct bk_lifetime_action *a;
    if (l->state == BK_LIFETIME_PROBING) {
        const struct bk_probe probe = {.equipment_id = r->config.equipment_id,
                                       .generation = r->config.generation,
                                       .epoch = r->config.epoch,
                                       .tag = r->tag,
                                       .port = l->port};
        err = bk_probe_write(out->bytes, sizeof out->bytes, l->txid, &probe, &r->config.mac,
                             bk_slice(r->config.key, sizeof r->config.key), &bytes);
        a = add(out, BK_LIFETIME_SEND_MAIN);
    } else {
        err = bk_binding_request_write(out->bytes, sizeof out->bytes, l->txid, &bytes);
        a = add(out, BK_LIFETIME_SEND_SECOND);
        l->open = true;
    }
    assert(err == BK_OK);
    (void)err;
    a->addr = l->server;
    a->bytes = bytes;
    l->sends++;
    l->due = bk_time_add(now, ANSWER_MS * BK_MS);
}

static void ask(struct bk_lifetime *l, enum bk_lifetime_state state, bk_time now,
                const struct bk_registration *r, struct bk_lifetime_out *out)
{
    l->state = state;
    l->sends = 0;
    l->rng.fill(l->rng.ctx, l->txid, sizeof l->txid);
    send(l, now, r, out);
}

static void begin(struct bk_lifetime *l, bk_time now, const struct bk_registration *r,
                  struct bk_lifetime_out *out)
{
    l->step = 0;
    l->failures = 0;
    l->kept_s = 0;
    ask(l, BK_LIFETIME_WARMING, now, r, out);
}

static void failed(struct bk_lifetime *l, bk_time now, const struct bk_registration *r,
                   struct bk_lifetime_out *out)
{
    l->failures++;
    if (l->failures == FAILURES_MAX) {
        ended(l, now, out);
    } else {
        ask(l, BK_LIFETIME_WARMING, now, r, out);
    }
}

static void worked(struct bk_lifetime *l, bk_time now, const struct bk_registration *r,
                   struct bk_lifetime_out *out)
{
    l->kept_s = times_s[l->step];
    if (l->kept_s > l->told_s) {
        tell(l, l->kept_s, out);
    }
    l->step++;
    l->failures = 0;
    if (l->step == TIMES) {
        ended(l, now, out);
    } else {
        ask(l, BK_LIFETIME_WARMING, now, r, out);
    }
}

static void unanswered(struct bk_lifetime *l, bk_time now, const struct bk_registration *r,
                       struct bk_lifetime_out *out)
{
    if (l->sends < SENDS_MAX) {
        send(l, now, r, out);
    } else if (l->state == BK_LIFETIME_PROBING) {
        failed(l, now, r, out);
    } else { /* no Binding here, or none now: what we know stays true */
        rest(l, now, UNKNOWN_AGAIN_S, out);
    }
}

static void bound(struct bk_lifetime *l, bk_time now, const struct bk_stun *m,
                  struct bk_lifetime_out *out)
{
    struct bk_addr mapped;
    if (bk_binding_response_read(m, &mapped) != BK_OK) {
        return;
    }
    if (l->state == BK_LIFETIME_WARMING) {
        l->state = BK_LIFETIME_PAUSING;
        l->due = bk_time_add(now, WARM_UP_S * BK_SECOND);
    } else if (!bk_addr_same_ip(&mapped, &l->observed) || mapped.port == 0) {
        ended(l, now, out); /* PROBE would reach somebody else's port */
    } else {
        l->port = mapped.port;
        l->state = BK_LIFETIME_SILENT;
        l->due = bk_time_add(now, times_s[l->step] * BK_SECOND);
    }
}

static void datagram(struct bk_lifetime *l, bk_time now, const struct bk_registration *r,
                     const struct bk_lifetime_event *event, struct bk_lifetime_out *out)
{
    struct bk_stun m;
    if (!bk_addr_equal(&event->addr, &l->server) || bk_stun_read(event->bytes, &m) != BK_OK ||
        memcmp(m.txid, l->txid, sizeof l->txid) != 0) {
        return;
    }
    if (l->state == BK_LIFETIME_WARMING || l->state == BK_LIFETIME_WARM) {
        bound(l, now, &m, out);
    } else if (l->state == BK_LIFETIME_PROBING &&
               bk_probe_echo_read(&m, &r->config.mac,
                                  bk_slice(r->config.key, sizeof r->config.key)) == BK_OK) {
        worked(l, now, r, out);
    }
}

void bk_lifetime_init(struct bk_lifetime *l, const struct bk_random *rng)
{
    memset(l, 0, sizeof *l);
    l->rng = *rng;
    l->due = BK_TIME_NEVER;
}

void bk_lifetime_input(struct bk_lifetime *l, const struct bk_now *now,
                       const struct bk_registration *r, const struct bk_lifetime_event *event,
                       struct bk_lifetime_out *out)
{
    out->n = 0;
    switch (event->type) {
    case BK_LIFETIME_REGISTERED: /* the registration has fallen back by itself */
        close_second(l, out);
        l->server = event->server;
        l->observed = event->addr;
        l->told_s = 0;
        l->state = BK_LIFETIME_RESTING;
        l->due = bk_time_add(now->mono, BEGIN_S * BK_SECOND);
        break;
    case BK_LIFETIME_LOST:
        close_second(l, out);
        l->told_s = 0;
        l->state = BK_LIFETIME_OFF;
        l->due = BK_TIME_NEVER;
        break;
    case BK_LIFETIME_DATAGRAM:
        datagram(l, now->mono, r, event, out);
        break;
    }
}

void bk_lifetime_timer(struct bk_lifetime *l, const struct bk_now *now,
                       const struct bk_registration *r, struct bk_lifetime_out *out)
{
    out->n = 0;
    if (now->mono < l->due) {
        return;
    }
    switch (l->state) {
    case BK_LIFETIME_OFF:
        break;
    case BK_LIFETIME_RESTING:
        begin(l, now->mono, r, out);
        break;
    case BK_LIFETIME_PAUSING:
        ask(l, BK_LIFETIME_WARM, now->mono, r, out);
        break;
    case BK_LIFETIME_SILENT:
        ask(l, BK_LIFETIME_PROBING, now->mono, r, out);
        break;
    case BK_LIFETIME_WARMING:
    case BK_LIFETIME_WARM:
    case BK_LIFETIME_PROBING:
        unanswered(l, now->mono, r, out);
        break;
    }
}

bk_time bk_lifetime_deadline(const struct bk_lifetime *l)
{
    return l->due;
}
