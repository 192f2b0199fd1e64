/* Who a caller is to this device, by a password or a key of his own, and what that opens. */
#ifndef BK_LIB_ACCESS_H
#define BK_LIB_ACCESS_H

#include "beckon/beckon.h"
#include "lib/agent_config.h"
#include "lib/authorized.h"

enum {
    BK_CALLER_LABEL_BYTES = sizeof "password:" + BK_NAME_MAX_BYTES + BK_AUTHORIZED_NAME_BYTES,
};

/* Zeroed: nobody, who may use nothing. */
struct bk_caller {
    char label[BK_CALLER_LABEL_BYTES]; /* for the audit: "password:owner", "key:alice-laptop" */
    uint64_t services;                 /* bit i: services[i] of the configuration */
    uint64_t expires_s;                /* 0: never */
};

/* Asked with the agent's time (seconds since 1970), 0 where there is no clock to trust: an access that expires is
 * closed then. */
bool bk_caller_is_open(const struct bk_caller *caller, uint64_t unix_s);

/* Which access has that password; those that are closed are not tried. Up to eight times Argon2id. BK_E_AUTH: none. */
BK_NODISCARD enum bk_err bk_access_by_password(const char *state_dir,
                                               const struct bk_agent_config *config,
                                               uint64_t unix_s, struct bk_slice password,
                                               beckon_log log, void *ctx, struct bk_caller *out);
/* Whose key it is, by authorized_users. BK_E_AUTH: nobody's, or his access is closed. */
BK_NODISCARD enum bk_err bk_access_by_key(const char *state_dir,
                                          const struct bk_agent_config *config, uint64_t unix_s,
                                          const uint8_t key[BK_KEY_BYTES], beckon_log log,
                                          void *ctx, struct bk_caller *out);

#endif
