/* When the agent renews what it has from the server: its box key weekly, its certificate from half of its life on,
 * its registration key when the server says that the epoch is old, and everything when the server has not
 * answered for so long that the key may be worth nothing (a year in a drawer), or callers seal to a box key that we
 * do not have (the server's store came from a backup). Spread at random, so that no fleet comes at one moment; a
 * failure is tried again, ever more slowly.
 *
 * Held by value; decides times only. The shell carries a renewal out (TLS, RENEW) and says how it ended. */
#ifndef BK_CORE_AGENT_RENEWAL_H
#define BK_CORE_AGENT_RENEWAL_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/random.h"

enum {
    BK_RENEWAL_BOX_S = 7 * 86400, /* age of a box key at which it is renewed */
    BK_RENEWAL_BOX_LIFE_S =
        21 * 86400, /* until_s of a new one: an agent that cannot renew is not cut off at once */
    BK_RENEWAL_BOX_KEPT_S =
        600, /* the one before still opens requests under way; then it is destroyed */
    BK_RENEWAL_SPREAD_S =
        86400, /* a hint is followed at a random moment within, unless configured */
    BK_RENEWAL_SILENCE_S = 600, /* no answer for so long, and up to twice that: try TLS */
    BK_RENEWAL_UNOPENED_S =
        30, /* a request did not open, nor any for so long, and up to twice that */
    BK_RENEWAL_UNOPENED_EVERY_S = 3600, /* no sooner for that reason: callers must not drive us */
    BK_RENEWAL_RETRY_S = 900,           /* after a failure, doubling */
    BK_RENEWAL_RETRY_MAX_S = 86400,
    BK_RENEWAL_CLOCK_S =
        300, /* after a clock was set: the server's may be it, and there are many of us */
};

/* What there is, as the last enrolment or renewal left it; seconds since 1970. */
struct bk_renewal_facts {
    uint64_t certificate_from_s, certificate_until_s;
    uint64_t box_made_s;
};

struct bk_renewal_config {
    struct bk_random rng;
    uint32_t spread_s;  /* 0: BK_RENEWAL_SPREAD_S */
    uint32_t silence_s; /* 0: BK_RENEWAL_SILENCE_S */
};

/* Fields belong to renewal.c. */
struct bk_renewal {
    struct bk_renewal_config config;
    struct bk_renewal_facts facts;
    bool running;
    uint32_t failures; /* since the last success */
    uint32_t
        silences; /* renewals that succeeded and brought no registration about, since it last stood */
    bk_time not_before;    /* after a failure; briefly after a success too */
    bk_time hinted_at;     /* when to follow the server's hint; BK_TIME_NEVER: none */
    bk_time silent_at;     /* when silence has lasted too long; BK_TIME_NEVER: registered */
    bk_time asked_at;      /* the next look at the calendar */
    uint64_t clock_origin; /* the clock less our own time when last seen; 0: none to trust */
    bool clocks_apart;     /* the host's from the server's, when last seen */
    bk_time unopened_at;   /* when to renew for requests that do not open; BK_TIME_NEVER: none */
    bk_time unopened_not_before; /* BK_RENEWAL_UNOPENED_EVERY_S */
    uint64_t
        jitter_s; /* drawn once: how much earlier than at BK_RENEWAL_BOX_S this device is; elsewhere in
                         * proportion */
};

void bk_renewal_init(struct bk_renewal *r, const struct bk_now *now,
                     const struct bk_renewal_config *config, const struct bk_renewal_facts *facts);
/* The registration stands, or no longer does. Told again and again it changes nothing. */
void bk_renewal_registered(struct bk_renewal *r, const struct bk_now *now, bool registered);
/* The server said RENEW. Told again and again it changes nothing. */
void bk_renewal_hint(struct bk_renewal *r, const struct bk_now *now);
/* No box key of ours opens a request. A caller may have gone by a key from an earlier call: he asks anew, and the next
 * request opens. Told again and again it changes nothing. */
void bk_renewal_unopened(struct bk_renewal *r, const struct bk_now *now);
/* One was opened: the server hands on what we have. */
void bk_renewal_opened(struct bk_renewal *r);
/* To be told now and then, with the calendar (bk_registration_calendar_s): once the clock has been set, or the host has
 * slept, or the host's clock and the server's agree again, what is due is looked at within BK_RENEWAL_CLOCK_S, and a pause
 * after failures ends. */
void bk_renewal_clock(struct bk_renewal *r, const struct bk_now *now, uint64_t unix_s);
/* True: carry one out now, and say how it ended. `unix_s` is the time that certificates are judged by
 * (bk_registration_calendar_s), 0 if there is none: then the calendar is not looked at. `certificate`: from half of its
 * life on, a new one is wanted too. */
bool bk_renewal_due(struct bk_renewal *r, const struct bk_now *now, uint64_t unix_s,
                    bool *certificate);
/* `facts`: what there is now; NULL: it failed. */
void bk_renewal_ended(struct bk_renewal *r, const struct bk_now *now,
                      const struct bk_renewal_facts *facts);
/* When to ask bk_renewal_due again. */
bk_time bk_renewal_deadline(const struct bk_renewal *r);

#endif
