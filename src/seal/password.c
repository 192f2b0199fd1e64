/* Device passwords at rest. Never keeps a password. */
#include "seal/password.h"

#include <sodium.h>
#include <string.h>

#include "base/number.h"

enum {
    OPERATIONS = 2, /* Argon2id passes */
    MEMORY_BYTES = 8 * 1024 * 1024,
    SUM_BYTES = 32, /* in the string form */
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

/* The hash in its string form, taken apart. */
struct parts {
    uint64_t kibibytes, passes;
    uint8_t salt[crypto_pwhash_SALTBYTES];
    uint8_t sum[SUM_BYTES];
};

/* What stands before the next `end`, which is left out; false if there is none. */
static bool before(struct bk_slice *text, char end, struct bk_slice *out)
{
    const uint8_t *at = text->n > 0 ? memchr(text->p, end, text->n) : NULL;
    if (at == NULL) {
        return false;
    }
    *out = bk_slice(text->p, (size_t)(at - text->p));
    *text = bk_slice(at + 1, text->n - out->n - 1);
    return true;
}

static bool from_base64(struct bk_slice text, uint8_t *out, size_t n)
{
    size_t got;
    return sodium_base642bin(out, n, (const char *)text.p, text.n, NULL, &got, NULL,
                             sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0 &&
           got == n;
}

static bool take_apart(const char *hash, struct parts *out)
{
    static const char form[] = "$argon2id$v=19$m=", lanes[] = "p=1", times[] = "t=";
    struct bk_slice text = bk_slice_text(hash), memory, passes, rest, salt;
    if (strncmp(hash, form, sizeof form - 1) != 0) {
        return false;
    }
    text = bk_slice(text.p + sizeof form - 1, text.n - (sizeof form - 1));
    if (!before(&text, ',', &memory) || !before(&text, ',', &passes) ||
        !before(&text, '$', &rest) || !before(&text, '$', &salt) || passes.n < sizeof times ||
        memcmp(passes.p, times, sizeof times - 1) != 0 ||
        !bk_slice_equal(rest, bk_slice_text(lanes))) {
        return false;
    }
    passes = bk_slice(passes.p + 2, passes.n - 2);
    return bk_number_parse(memory, crypto_pwhash_MEMLIMIT_MAX / 1024, &out->kibibytes) == BK_OK &&
           out->kibibytes >= crypto_pwhash_MEMLIMIT_MIN / 1024 &&
           bk_number_parse(passes, crypto_pwhash_OPSLIMIT_MAX, &out->passes) == BK_OK &&
           out->passes >= crypto_pwhash_OPSLIMIT_MIN &&
           from_base64(salt, out->salt, sizeof out->salt) &&
           from_base64(text, out->sum, sizeof out->sum);
}

/* crypto_pwhash_str_verify says the same of another password as of too little memory. */
enum bk_err bk_password_check(struct bk_slice password, const char *hash)
{
    const char *text = password.n > 0 ? (const char *)password.p : "";
    struct parts parts;
    uint8_t sum[SUM_BYTES];
    if (!take_apart(hash, &parts)) {
        return BK_E_AUTH;
    }
    if (crypto_pwhash(sum, sizeof sum, text, password.n, parts.salt, parts.passes,
                      (size_t)parts.kibibytes * 1024, crypto_pwhash_ALG_ARGON2ID13) != 0) {
        return BK_E_NOMEM;
    }
    bool same = sodium_memcmp(sum, parts.sum, sizeof sum) == 0;
    sodium_memzero(sum, sizeof sum);
    return same ? BK_OK : BK_E_AUTH;
}
