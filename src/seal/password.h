/* Device passwords at rest: Argon2id in libsodium's string form. Slow by design (about 10 ms, 8 MiB):
 * never on a loop that others wait for. */
#ifndef BK_SEAL_PASSWORD_H
#define BK_SEAL_PASSWORD_H

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_PASSWORD_HASH_BYTES = 128, /* with terminator */
};

/* BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_password_hash(struct bk_slice password,
                                          char out[BK_PASSWORD_HASH_BYTES]);
/* BK_E_AUTH if it is another password; BK_E_NOMEM: it cannot be told now. */
BK_NODISCARD enum bk_err bk_password_check(struct bk_slice password, const char *hash);

#endif
