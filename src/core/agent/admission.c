/* Admits calls and slows guessing.
 *
 * Invariant: no box is acted on twice. Where it bears a tag: a tag is sent once and counts for BK_FRESH_S from
 * then on (twice that where keepalives are far apart, bk_registration_sent_lately), so that a box is fresh during one stretch of time, whatever clocks and servers say, and its call
 * ID is remembered for longer. No agent sends a tag of an earlier start again, so that what was sealed
 * before a restart is stale for good.
 *
 * Where it bears none: its time is held against that of this run, which goes on with the monotonic clock from what a
 * server told at its beginning, and which the host's own clock must agree with. So it, too, is fresh during one stretch,
 * whatever is set back later. What an earlier run took was at most BK_FRESH_ALONE_S + BK_FRESH_CLOCK_S ahead of the host's
 * clock, and that at most BK_FRESH_CLOCK_S ahead of this run's beginning: less than BK_FRESH_AFTER_S in all. (For a box
 * of before to be fresh again, a server must lie and the host's clock agree with the lie.)
 *
 * The memory is not there for whoever fills it: what was signed by an unknown key (anyone can make keys), or
 * ended before it was judged, led to nothing, and gives way to other calls while it is still fresh. */
#include "core/agent/admission.h"

#include <assert.h>
#include <string.h>

enum {
    REMEMBER_S = 2 * BK_FRESH_S + 1, /* longer than any tag counts */
    DOUBLINGS_MAX = 6,               /* 64 s, above BK_GUESS_BACK_OFF_MAX_S */
};

void bk_admission_init(struct bk_admission *a)
{
    memset(a, 0, sizeof *a);
}

static uint64_t apart(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static bool fresh_alone(const struct bk_now *now, const struct bk_registration *registration,
                        uint64_t unix_s)
{
    uint64_t began_s, run_s;
    return now->unix_s != 0 && bk_registration_run_s(registration, now, &began_s, &run_s) &&
           apart(now->unix_s, run_s) <= BK_FRESH_CLOCK_S &&
           apart(unix_s, run_s) <= BK_FRESH_ALONE_S && unix_s > began_s &&
           unix_s - began_s >= BK_FRESH_AFTER_S;
}

static bool fresh(const struct bk_now *now, const struct bk_registration *registration,
                  const struct bk_admission_facts *facts)
{
    uint64_t time_s = bk_registration_unix_s(registration, now);
    if (!facts->has_tag) {
        return fresh_alone(now, registration, facts->unix_s);
    }
    if (time_s != 0 && apart(facts->unix_s, time_s) > BK_FRESH_S) {
        return false;
    }
    return bk_registration_sent_lately(registration, now, &facts->tag);
}

/* ---- guesses ---- */

static uint64_t back_off(uint32_t wrong)
{
    uint32_t doublings = wrong - BK_GUESSES_FREE - 1;
    uint64_t s = UINT64_C(1) << (doublings < DOUBLINGS_MAX ? doublings : DOUBLINGS_MAX);
    return (s < BK_GUESS_BACK_OFF_MAX_S ? s : BK_GUESS_BACK_OFF_MAX_S) * BK_SECOND;
}

/* Closes the door behind a guess until it is judged: guesses made at the same time would otherwise all be
 * let in before the first of them counts. */
static void guess_begins(struct bk_guesses *g, const struct bk_now *now)
{
    if (g->wrong_in_a_row >= BK_GUESSES_FREE) {
        g->closed_until = bk_time_add(now->mono, back_off(g->wrong_in_a_row + 1));
    }
}

static void guess_was_wrong(struct bk_guesses *g, const struct bk_now *now)
{
    if (g->wrong_in_a_row < BK_GUESSES_FREE + 1 + DOUBLINGS_MAX) {
        g->wrong_in_a_row++;
    }
    if (g->wrong_in_a_row > BK_GUESSES_FREE) {
        g->closed_until = bk_time_add(now->mono, back_off(g->wrong_in_a_row));
    }
}

/* What is held against this key; NULL: nothing. */
static struct bk_guesses *find_key(struct bk_admission *a, const uint8_t key[BK_KEY_BYTES])
{
    for (size_t i = 0; i < BK_ADMISSION_KEYS_MAX; i++) {
        if (a->keys[i].guesses.wrong_in_a_row > 0 &&
            memcmp(a->keys[i].key, key, BK_KEY_BYTES) == 0) {
            a->keys[i].used = ++a->uses;
            return &a->keys[i].guesses;
        }
    }
    return NULL;
}

/* Its place in the table, where it is wrong for the first time a new one: a free one has never been used, or
 * was given back, and comes before all others. */
static struct bk_guesses *take_key(struct bk_admission *a, const uint8_t key[BK_KEY_BYTES])
{
    struct bk_guesses *known = find_key(a, key);
    if (known != NULL) {
        return known;
    }
    size_t oldest = 0;
    for (size_t i = 1; i < BK_ADMISSION_KEYS_MAX; i++) {
        if (a->keys[i].used < a->keys[oldest].used) {
            oldest = i;
        }
    }
    memset(&a->keys[oldest], 0, sizeof a->keys[oldest]);
    memcpy(a->keys[oldest].key, key, BK_KEY_BYTES);
    a->keys[oldest].used = ++a->uses;
    return &a->keys[oldest].guesses;
}

static void key_was_right(struct bk_admission *a, const uint8_t key[BK_KEY_BYTES])
{
    for (size_t i = 0; i < BK_ADMISSION_KEYS_MAX; i++) {
        if (memcmp(a->keys[i].key, key, BK_KEY_BYTES) == 0) {
            memset(&a->keys[i], 0, sizeof a->keys[i]);
        }
    }
}

/* ---- call IDs ---- */

enum { NO_SLOT = BK_ADMISSION_CALLS_MAX };

static size_t find_call(const struct bk_admission *a, const struct bk_now *now,
                        const struct bk_admission_facts *facts)
{
    for (size_t i = 0; i < BK_ADMISSION_CALLS_MAX; i++) {
        if (a->calls[i].until > now->mono &&
            memcmp(a->calls[i].call_id, facts->call_id, BK_CALL_ID_BYTES) == 0) {
            return i;
        }
    }
    return NO_SLOT;
}

/* A free place, or else that of the oldest call of which nothing came. */
static size_t room_for_call(const struct bk_admission *a, const struct bk_now *now)
{
    size_t slot = NO_SLOT;
    for (size_t i = 0; i < BK_ADMISSION_CALLS_MAX; i++) {
        if (a->calls[i].until <= now->mono) {
            return i;
        }
        if (a->calls[i].idle && (slot == NO_SLOT || a->calls[i].until < a->calls[slot].until)) {
            slot = i;
        }
    }
    return slot;
}

static void nothing_came_of(struct bk_admission *a, const struct bk_admission_facts *facts)
{
    for (size_t i = 0; i < BK_ADMISSION_CALLS_MAX; i++) {
        if (memcmp(a->calls[i].call_id, facts->call_id, BK_CALL_ID_BYTES) == 0) {
            a->calls[i].idle = true;
        }
    }
}

enum bk_admission_verdict bk_admission_check(struct bk_admission *a, const struct bk_now *now,
                                             const struct bk_registration *registration,
                                             const struct bk_admission_facts *facts)
{
    if (find_call(a, now, facts) != NO_SLOT) {
        return BK_ADMISSION_REPEATED;
    }
    if (!fresh(now, registration, facts)) {
        return BK_ADMISSION_STALE;
    }
    struct bk_guesses *guesses = facts->has_key ? find_key(a, facts->key) : &a->passwords;
    assert(a != NULL); /* for the analyzer, which takes &a->passwords for a null pointer */
    if (guesses != NULL && now->mono < guesses->closed_until) {
        return BK_ADMISSION_BACK_OFF;
    }
    size_t slot = room_for_call(a, now);
    if (slot == NO_SLOT) {
        return BK_ADMISSION_BUSY;
    }
    memcpy(a->calls[slot].call_id, facts->call_id, BK_CALL_ID_BYTES);
    a->calls[slot].until = bk_time_add(now->mono, REMEMBER_S * BK_SECOND);
    a->calls[slot].idle = false;
    if (!facts->has_key) {
        a->unproven++;
    }
    if (guesses != NULL) {
        guess_begins(guesses, now);
    }
    return BK_ADMITTED;
}

bool bk_admission_has_room(const struct bk_admission *a, const struct bk_admission_facts *facts)
{
    uint32_t wrong = a->passwords.wrong_in_a_row;
    uint32_t left = wrong < BK_GUESSES_FREE ? BK_GUESSES_FREE - wrong : 1;
    return facts->has_key || a->unproven < left;
}

static void judged(struct bk_admission *a, const struct bk_admission_facts *facts)
{
    if (!facts->has_key && a->unproven > 0) {
        a->unproven--;
    }
}

void bk_admission_abandoned(struct bk_admission *a, const struct bk_admission_facts *facts)
{
    judged(a, facts);
    nothing_came_of(a, facts);
}

void bk_admission_proof(struct bk_admission *a, const struct bk_now *now,
                        const struct bk_admission_facts *facts, bool right)
{
    judged(a, facts);
    if (facts->has_key) {
        if (right) {
            key_was_right(a, facts->key);
        } else {
            guess_was_wrong(take_key(a, facts->key), now);
            nothing_came_of(a, facts);
        }
    } else if (right) {
        memset(&a->passwords, 0, sizeof a->passwords);
    } else {
        guess_was_wrong(&a->passwords, now);
    }
}
