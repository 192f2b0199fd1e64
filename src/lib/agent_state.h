/* The agent's small state files: what enrolment and renewals left, and the time. No TLS here: the idle part
 * links this. Box keys are in lib/box_keys.h. */
#ifndef BK_LIB_AGENT_STATE_H
#define BK_LIB_AGENT_STATE_H

#include "beckon/beckon.h"
#include "core/agent/renewal.h"
#include "seal/seal.h"

/* What to do where nothing else helps; `device.key`, if it is whole, stays: callers have it pinned. */
#define BK_JOIN_ANEW "move agent.conf away and join again with a new token"

/* DIR/registration.key: what the device registers with. */
struct bk_registration_secret {
    uint32_t generation;
    uint16_t epoch;
    uint8_t key[BK_KEY_BYTES];
};
/* NOT_JOINED, BAD_CONFIG, FAILED. */
enum beckon_status bk_registration_secret_read(const char *state_dir,
                                               struct bk_registration_secret *out,
                                               struct beckon_error *error);
BK_NODISCARD enum bk_err bk_registration_secret_write(const char *state_dir,
                                                      const struct bk_registration_secret *in);

/* DIR/renewal: what there is to renew, written last of all by joining and by renewing. Zeroes where there is no such
 * file or none that can be read: then everything is renewed. */
struct bk_renewal_facts bk_renewal_facts_read(const char *state_dir);
BK_NODISCARD enum bk_err bk_renewal_facts_write(const char *state_dir,
                                                const struct bk_renewal_facts *in);

/* DIR/clock: the newest server time that was authenticated, for devices without a clock of their own; 0 if
 * none was stored. */
uint64_t bk_stored_time_read(const char *state_dir);
BK_NODISCARD enum bk_err bk_stored_time_write(const char *state_dir, uint64_t unix_s);

/* Whether device.key, device.crt and ca.crt are there and not cut short; more than that only TLS can tell, which the
 * idle part has not. BAD_CONFIG, FAILED. */
enum beckon_status bk_identity_check(const char *state_dir, struct beckon_error *error);

#endif
