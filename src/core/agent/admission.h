/* What the agent remembers from call to call: call IDs for as long as they would be fresh, and the
 * back-off against guessed passwords and unknown keys. It lives in the idle part, since a call's process ends
 * with it. */
#ifndef BK_CORE_AGENT_ADMISSION_H
#define BK_CORE_AGENT_ADMISSION_H

#include "base/clock.h"
#include "core/agent/registration.h"
#include "wire/attrs.h"

enum {
    BK_FRESH_S = 120,      /* a request's time may differ so much from ours; a tag be so old */
    BK_FRESH_ALONE_S = 30, /* without a tag, from the time of this run; */
    BK_FRESH_CLOCK_S = 10, /* and our clock may differ so much from that time, */
    BK_FRESH_AFTER_S = 60, /* and only what was sealed so long after this run began */
    BK_ADMISSION_CALLS_MAX = 512, /* remembered call IDs; when full, calls are "busy" */
    BK_ADMISSION_KEYS_MAX = 64,   /* keys that were wrong, the least recently used one replaced */
    BK_GUESSES_FREE = 4,          /* wrong passwords in a row before the back-off starts */
    BK_GUESS_BACK_OFF_MAX_S = 60, /* 1 s after the fifth, doubling */
};

enum bk_admission_verdict {
    BK_ADMITTED,
    BK_ADMISSION_STALE,    /* the tag is none of ours of late, or the time is wrong */
    BK_ADMISSION_REPEATED, /* this call ID was here before: drop it without a word */
    BK_ADMISSION_BACK_OFF, /* of passwords as a whole, or of this key */
    BK_ADMISSION_BUSY,
};

struct bk_guesses {
    uint32_t wrong_in_a_row;
    bk_time closed_until;
};

/* Fields belong to admission.c. */
struct bk_admission {
    struct {
        uint8_t call_id[BK_CALL_ID_BYTES];
        bk_time until; /* 0: free */
        bool idle;     /* nothing came of it, so that it gives way where there is no other room */
    } calls[BK_ADMISSION_CALLS_MAX];
    struct bk_guesses passwords;
    uint32_t unproven; /* admitted calls whose password is not known to be right or wrong yet */
    struct {
        uint8_t key[BK_KEY_BYTES];
        struct bk_guesses guesses; /* none wrong: free */
        uint64_t used;             /* the higher, the later */
    } keys[BK_ADMISSION_KEYS_MAX];
    uint64_t uses;
};

struct bk_admission_facts {
    uint8_t call_id[BK_CALL_ID_BYTES];
    uint64_t unix_s;
    bool has_tag;
    struct bk_tag tag;
    bool has_key; /* signed by the caller's own key, and the signature is right; else a password */
    uint8_t key[BK_KEY_BYTES];
};

void bk_admission_init(struct bk_admission *a);

/* False while as many calls are being checked as wrong passwords are left before the back-off: further ones
 * wait for a verdict, so that many guesses at one time are no more than as many in a row. Always true for
 * a caller with a key: passwords, right or wrong, never hold one up, and each key has a back-off of its own. */
bool bk_admission_has_room(const struct bk_admission *a, const struct bk_admission_facts *facts);

/* Remembers the call ID when it admits. Fresh is what bears a tag that this agent sent of late (bk_registration_sent_lately) and,
 * where a clock is known (bk_registration_unix_s), a time within BK_FRESH_S of it, either way. Without a tag (a caller who
 * did not ask the server) the time alone counts, on a host that has a clock, and within narrower bounds (admission.c). */
enum bk_admission_verdict bk_admission_check(struct bk_admission *a, const struct bk_now *now,
                                             const struct bk_registration *registration,
                                             const struct bk_admission_facts *facts);
/* How the check of an admitted call's password or key ended; or that the call ended without one. Once each. */
void bk_admission_proof(struct bk_admission *a, const struct bk_now *now,
                        const struct bk_admission_facts *facts, bool right);
void bk_admission_abandoned(struct bk_admission *a, const struct bk_admission_facts *facts);

#endif
