/* The device's password at rest. */
#include "lib/password.h"

#include "lib/fail.h"
#include "lib/files.h"
#include "seal/password.h"
#include "seal/seal.h"
#include "wire/call_request.h"

static const char file_password[] = "password";

enum beckon_status beckon_agent_set_password(const char *state_dir, const char *password,
                                             size_t length, struct beckon_error *error)
{
    char hash[BK_PASSWORD_HASH_BYTES];

    if (length == 0 || length > BK_PASSWORD_MAX_BYTES) {
        return bk_fail(error, BECKON_USAGE, "a password has 1 to %d bytes", BK_PASSWORD_MAX_BYTES);
    }
    if (!bk_file_exists(state_dir, "agent.conf")) {
        return bk_fail(error, BECKON_NOT_JOINED,
                       "%s/agent.conf is not there; run \"beckon-agent join\" first", state_dir);
    }
    if (bk_seal_init() != BK_OK || bk_password_hash(bk_slice(password, length), hash) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory to hash the password (8 MiB are needed)");
    }
    if (bk_file_write(state_dir, file_password, bk_slice_text(hash)) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "%s/%s cannot be written; check owner and space",
                       state_dir, file_password);
    }
    return BECKON_OK;
}

enum bk_err bk_agent_password_check(const char *state_dir, struct bk_slice password)
{
    char hash[BK_PASSWORD_HASH_BYTES] = {0};
    size_t n;
    enum bk_err err = bk_file_read(state_dir, file_password, (uint8_t *)hash, sizeof hash - 1, &n);

    return err == BK_OK ? bk_password_check(password, hash) : err;
}
