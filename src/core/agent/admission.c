/* Admits calls and slows guessing.
 *
 * Invariant: no box is acted on twice. Each bears a tag; a tag is sent once and counts for BK_FRESH_S from
 * then on, so that a box is fresh during one stretch of time, whatever clocks and servers say, and its call
 * ID is remembered for longer. No agent sends a tag of an earlier start again, so that what was sealed
 * before a restart is stale for good. */
#include "core/agent/admission.h"

#include <string.h>

enum {
    REMEMBER_S = 2 * BK_FRESH_S + 1, /* a tag counts for half of that */
    DOUBLINGS_MAX = 6,               /* 64 s, above BK_GUESS_BACK_OFF_MAX_S */
};

void bk_admission_init(struct bk_admission *a)
{
    memset(a, 0, sizeof *a);
}

static bool fresh(const struct bk_now *now, const struct bk_registration *registration,
                  const struct bk_admission_facts *facts)
{
    uint64_t time_s = bk_registration_unix_s(registration, now);
    uint64_t apart = facts->unix_s > time_s ? facts->unix_s - time_s : time_s - facts->unix_s;
    if (time_s != 0 && apart > BK_FRESH_S) {
        return false;
    }
    return facts->has_tag && bk_registration_sent_lately(registration, now, &facts->tag);
}

static uint64_t back_off(uint32_t wrong)
{
    uint32_t doublings = wrong - BK_GUESSES_FREE - 1;
    uint64_t s = UINT64_C(1) << (doublings < DOUBLINGS_MAX ? doublings : DOUBLINGS_MAX);
    return (s < BK_GUESS_BACK_OFF_MAX_S ? s : BK_GUESS_BACK_OFF_MAX_S) * BK_SECOND;
}

enum bk_admission_verdict bk_admission_check(struct bk_admission *a, const struct bk_now *now,
                                             const struct bk_registration *registration,
                                             const struct bk_admission_facts *facts)
{
    size_t slot = BK_ADMISSION_CALLS_MAX;
    for (size_t i = 0; i < BK_ADMISSION_CALLS_MAX; i++) {
        if (a->calls[i].until <= now->mono) {
            slot = i;
        } else if (memcmp(a->calls[i].call_id, facts->call_id, BK_CALL_ID_BYTES) == 0) {
            return BK_ADMISSION_REPEATED;
        }
    }
    if (!fresh(now, registration, facts)) {
        return BK_ADMISSION_STALE;
    }
    if (now->mono < a->closed_until) {
        return BK_ADMISSION_BACK_OFF;
    }
    if (slot == BK_ADMISSION_CALLS_MAX) {
        return BK_ADMISSION_BUSY;
    }
    memcpy(a->calls[slot].call_id, facts->call_id, BK_CALL_ID_BYTES);
    a->calls[slot].until = bk_time_add(now->mono, REMEMBER_S * BK_SECOND);
    a->unproven++;
    if (a->wrong_in_a_row >= BK_GUESSES_FREE) {
        /* Close the door behind it until its password is known: guesses made at the same time would
         * otherwise all be let in before the first of them counts. */
        a->closed_until = bk_time_add(now->mono, back_off(a->wrong_in_a_row + 1));
    }
    return BK_ADMITTED;
}

bool bk_admission_has_room(const struct bk_admission *a)
{
    uint32_t left = a->wrong_in_a_row < BK_GUESSES_FREE ? BK_GUESSES_FREE - a->wrong_in_a_row : 1;
    return a->unproven < left;
}

void bk_admission_abandoned(struct bk_admission *a)
{
    if (a->unproven > 0) {
        a->unproven--;
    }
}

void bk_admission_password(struct bk_admission *a, const struct bk_now *now, bool right)
{
    bk_admission_abandoned(a); /* it is unproven no more */
    if (right) {
        a->wrong_in_a_row = 0;
        a->closed_until = 0;
        return;
    }
    if (a->wrong_in_a_row < BK_GUESSES_FREE + 1 + DOUBLINGS_MAX) {
        a->wrong_in_a_row++;
    }
    if (a->wrong_in_a_row > BK_GUESSES_FREE) {
        a->closed_until = bk_time_add(now->mono, back_off(a->wrong_in_a_row));
    }
}
