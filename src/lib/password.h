/* Checking passwords of the device; setting them is public (beckon_agent_set_password). DIR/password is that of the
 * access "owner", DIR/password.NAME that of another. */
#ifndef BK_LIB_PASSWORD_H
#define BK_LIB_PASSWORD_H

#include "base/err.h"
#include "base/slice.h"

/* `access` is the name of an access of agent.conf. BK_E_AUTH: another password; BK_E_NOTFOUND: none was ever set;
 * BK_E_IO: its file cannot be read; BK_E_NOMEM: it cannot be told now. Slow by design (Argon2id). */
BK_NODISCARD enum bk_err bk_agent_password_check(const char *state_dir, const char *access,
                                                 struct bk_slice password);

#endif
