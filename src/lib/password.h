/* Checking the device's password; setting it is public (beckon_agent_set_password). */
#ifndef BK_LIB_PASSWORD_H
#define BK_LIB_PASSWORD_H

#include "base/slice.h"

/* False too where none was ever set. Slow by design (Argon2id). */
bool bk_agent_password_right(const char *state_dir, struct bk_slice password);

#endif
