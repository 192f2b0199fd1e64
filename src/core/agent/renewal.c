/* Decides when to renew; does nothing itself.
 *
 * Invariant: after bk_renewal_due said no, the deadline lies ahead; after it said yes there is none until
 * bk_renewal_ended, and then it lies ahead again, whatever the outcome and the facts. */
#include "core/agent/renewal.h"

#include <string.h>

enum {
    LOOK_S = 3600, /* between two looks at the calendar: clocks are set, and hosts sleep */
    NO_CLOCK_LOOK_S = 60,
    FIRST_LOOK_S = 60, /* a fleet after a power cut does not come in one second */
    PAUSE_S = 30,      /* after a success: a hint may still be about what it has replaced */
    DOUBLINGS_MAX = 8, /* of 600 s: above BK_RENEWAL_RETRY_MAX_S */
    CLOCK_SET_S = 60,  /* by so much the clock leaves our own time: it was set, or the host slept */
};

static uint64_t below(const struct bk_renewal *r, uint64_t bound)
{
    return bk_random_below(&r->config.rng, bound);
}

static bk_time in_seconds(const struct bk_now *now, uint64_t s)
{
    return bk_time_add(now->mono, s < UINT64_MAX / BK_SECOND ? s * BK_SECOND : UINT64_MAX);
}

/* Doubling from `first_s`, never above a day, less up to a fifth of it. */
static uint64_t slower(const struct bk_renewal *r, uint64_t first_s, uint32_t times)
{
    uint64_t s = first_s << (times < DOUBLINGS_MAX ? times : DOUBLINGS_MAX);
    s = s < BK_RENEWAL_RETRY_MAX_S ? s : BK_RENEWAL_RETRY_MAX_S;
    return s - below(r, s / 5 + 1);
}

static bk_time end_of_silence(const struct bk_renewal *r, const struct bk_now *now)
{
    uint64_t s = r->config.silence_s + below(r, (uint64_t)r->config.silence_s + 1);
    return in_seconds(now, r->silences == 0 ? s : slower(r, s, r->silences));
}

/* Since when that clock would have run, had it always gone as our own time does; it may wrap. */
static uint64_t origin_of(const struct bk_now *now, uint64_t unix_s)
{
    return unix_s == 0 ? 0 : unix_s - now->mono / BK_SECOND;
}

void bk_renewal_init(struct bk_renewal *r, const struct bk_now *now,
                     const struct bk_renewal_config *config, const struct bk_renewal_facts *facts)
{
    memset(r, 0, sizeof *r);
    r->config = *config;
    if (r->config.spread_s == 0) {
        r->config.spread_s = BK_RENEWAL_SPREAD_S;
    }
    if (r->config.silence_s == 0) {
        r->config.silence_s = BK_RENEWAL_SILENCE_S;
    }
    uint32_t first_s = r->config.spread_s < FIRST_LOOK_S ? r->config.spread_s : FIRST_LOOK_S;
    r->facts = *facts;
    r->hinted_at = BK_TIME_NEVER;
    r->unopened_at = BK_TIME_NEVER;
    r->silent_at = end_of_silence(r, now);
    r->asked_at = bk_time_add(now->mono, below(r, first_s * BK_SECOND + 1));
    r->jitter_s = below(r, BK_RENEWAL_BOX_S / 10 + 1);
    r->clock_origin = origin_of(now, now->unix_s);
}

void bk_renewal_registered(struct bk_renewal *r, const struct bk_now *now, bool registered)
{
    if (registered) {
        r->silent_at = BK_TIME_NEVER;
        r->silences = 0;
    } else if (r->silent_at == BK_TIME_NEVER) {
        r->silent_at = end_of_silence(r, now);
    }
}

/* Which of two clocks is wrong while they are apart nobody knows, and nothing is hurried. Then: what was not due may be,
 * what was signed meanwhile may be of no use, what failed may have failed for the clock alone. */
void bk_renewal_clock(struct bk_renewal *r, const struct bk_now *now, uint64_t unix_s)
{
    uint64_t origin = origin_of(now, unix_s);
    uint64_t by_s = origin - r->clock_origin;
    if (now->unix_s != 0 && now->unix_s != unix_s) {
        r->clocks_apart = true;
        return;
    }
    if (!r->clocks_apart && (by_s <= CLOCK_SET_S || by_s >= UINT64_MAX - CLOCK_SET_S)) {
        return;
    }
    r->clocks_apart = false;
    r->clock_origin = origin;
    bk_time soon = bk_time_add(now->mono, below(r, BK_RENEWAL_CLOCK_S * BK_SECOND + 1));
    r->asked_at = bk_time_min(r->asked_at, soon);
    r->not_before = bk_time_min(r->not_before, soon);
    r->failures = 0;
}

void bk_renewal_hint(struct bk_renewal *r, const struct bk_now *now)
{
    /* What a renewal just done leaves to be said will be said again. */
    bool done_lately = r->failures == 0 && now->mono < r->not_before;
    if (r->hinted_at == BK_TIME_NEVER && !done_lately) {
        r->hinted_at = bk_time_add(now->mono, below(r, r->config.spread_s * BK_SECOND + 1));
    }
}

void bk_renewal_unopened(struct bk_renewal *r, const struct bk_now *now)
{
    if (r->unopened_at != BK_TIME_NEVER) {
        return;
    }
    uint64_t s =
        r->config.spread_s < BK_RENEWAL_UNOPENED_S ? r->config.spread_s : BK_RENEWAL_UNOPENED_S;
    bk_time at = in_seconds(now, s + below(r, s + 1));
    r->unopened_at = at > r->unopened_not_before ? at : r->unopened_not_before;
}

void bk_renewal_opened(struct bk_renewal *r)
{
    r->unopened_at = BK_TIME_NEVER;
}

/* ---- the calendar, in seconds since 1970 ---- */

/* As far before `due` as this device comes early, of a span that began `span` before it. */
static uint64_t early(const struct bk_renewal *r, uint64_t due, uint64_t span)
{
    uint64_t by = span / BK_RENEWAL_BOX_S * r->jitter_s +
                  span % BK_RENEWAL_BOX_S * r->jitter_s / BK_RENEWAL_BOX_S;
    return due - by;
}

/* What begins so far ahead was made by a wrong clock, and counts for nothing until then. */
static bool ahead(uint64_t from_s, uint64_t unix_s)
{
    return from_s > unix_s && from_s - unix_s > BK_CLOCK_OFF_S;
}

static uint64_t certificate_due(const struct bk_renewal *r, uint64_t unix_s)
{
    uint64_t from = r->facts.certificate_from_s;
    uint64_t until = r->facts.certificate_until_s;
    if (ahead(from, unix_s)) {
        return 0;
    }
    uint64_t half = until > from ? (until - from) / 2 : 0;
    return early(r, (until > from ? from : until) + half, half);
}

/* When all is in order with the clock and the certificate. */
static uint64_t box_due(const struct bk_renewal *r, uint64_t unix_s)
{
    uint64_t made = r->facts.box_made_s;
    if (ahead(made, unix_s)) {
        return 0;
    }
    return early(r, made + BK_RENEWAL_BOX_S, BK_RENEWAL_BOX_S);
}

/* True if something is due by the calendar; else says when to look again. */
static bool look(struct bk_renewal *r, const struct bk_now *now, uint64_t unix_s)
{
    if (unix_s == 0) {
        r->asked_at = in_seconds(now, NO_CLOCK_LOOK_S);
        return false;
    }
    uint64_t certificate = certificate_due(r, unix_s);
    uint64_t box = box_due(r, unix_s);
    uint64_t first = certificate < box ? certificate : box;
    if (unix_s >= first) {
        return true;
    }
    r->asked_at = in_seconds(now, first - unix_s < LOOK_S ? first - unix_s : LOOK_S);
    return false;
}

bool bk_renewal_due(struct bk_renewal *r, const struct bk_now *now, uint64_t unix_s,
                    bool *certificate)
{
    *certificate = false;
    if (r->running || now->mono < r->not_before) {
        return false;
    }
    bool by_calendar = r->asked_at <= now->mono && look(r, now, unix_s);
    if (!by_calendar && now->mono < r->hinted_at && now->mono < r->silent_at &&
        now->mono < r->unopened_at) {
        return false;
    }
    r->running = true;
    *certificate = unix_s != 0 && unix_s >= certificate_due(r, unix_s);
    return true;
}

void bk_renewal_ended(struct bk_renewal *r, const struct bk_now *now,
                      const struct bk_renewal_facts *facts)
{
    r->running = false;
    if (facts == NULL) {
        r->not_before = in_seconds(now, slower(r, BK_RENEWAL_RETRY_S, r->failures));
        r->failures += r->failures < UINT32_MAX;
        return;
    }
    r->facts = *facts;
    r->failures = 0;
    r->not_before = in_seconds(now, PAUSE_S);
    r->hinted_at = BK_TIME_NEVER;
    r->unopened_at = BK_TIME_NEVER;
    r->unopened_not_before = in_seconds(now, BK_RENEWAL_UNOPENED_EVERY_S);
    /* Something may be due still: a certificate that the operator has yet to sign. */
    r->asked_at = in_seconds(now, LOOK_S - below(r, LOOK_S / 10 + 1));
    if (r->silent_at != BK_TIME_NEVER) {
        r->silences += r->silences < UINT32_MAX;
        r->silent_at = end_of_silence(r, now);
    }
}

bk_time bk_renewal_deadline(const struct bk_renewal *r)
{
    if (r->running) {
        return BK_TIME_NEVER;
    }
    bk_time first = bk_time_min(r->asked_at, bk_time_min(r->hinted_at, r->silent_at));
    first = bk_time_min(first, r->unopened_at);
    return first > r->not_before ? first : r->not_before;
}
