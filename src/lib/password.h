/* Checking the device's password; setting it is public (beckon_agent_set_password). */
#ifndef BK_LIB_PASSWORD_H
#define BK_LIB_PASSWORD_H

#include "base/err.h"
#include "base/slice.h"

/* BK_E_AUTH: another password; BK_E_NOTFOUND: none was ever set; BK_E_IO: its file cannot be read. Slow by
 * design (Argon2id). */
BK_NODISCARD enum bk_err bk_agent_password_check(const char *state_dir, struct bk_slice password);

#endif
