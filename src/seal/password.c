/* Device passwords at rest. Never keeps a password. */
#include "seal/password.h"

#include <sodium.h>
#include <string.h>

enum {
    OPERATIONS = 2, /* Argon2id passes */
    MEMORY_BYTES = 8 * 1024 * 1024,
};

_Static_assert(BK_PASSWORD_HASH_BYTES >= crypto_pwhash_STRBYTES, "libsodium's string form");

enum bk_err bk_password_hash(struct bk_slice password, char out[BK_PASSWORD_HASH_BYTES])
{
    const char *text = password.n > 0 ? (const char *)password.p : "";
    memset(out, 0, BK_PASSWORD_HASH_BYTES);
    if (crypto_pwhash_str_alg(out, text, password.n, OPERATIONS, MEMORY_BYTES,
                              crypto_pwhash_ALG_ARGON2ID13) != 0) {
        return BK_E_NOMEM;
    }
    return BK_OK;
}

enum bk_err bk_password_check(struct bk_slice password, const char *hash)
{
    const char *text = password.n > 0 ? (const char *)password.p : "";
    return crypto_pwhash_str_verify(hash, text, password.n) == 0 ? BK_OK : BK_E_AUTH;
}
