/* The device's passwords at rest. */
#include "lib/password.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/agent_config.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "seal/password.h"
#include "seal/seal.h"
#include "wire/call_request.h"

enum {
    FILE_NAME_BYTES = sizeof "password." + BK_NAME_MAX_BYTES,
};

/* "password", or "password.NAME". */
static void file_of(const char *access, char out[FILE_NAME_BYTES])
{
    bool owner = strcmp(access, BK_ACCESS_OWNER) == 0;

    (void)snprintf(out, FILE_NAME_BYTES, "password%s%s", owner ? "" : ".", owner ? "" : access);
}

/* The access must be one of the configuration: a password that opens nothing would go unnoticed. */
static enum beckon_status access_check(const char *state_dir, const char *config_file,
                                       const char *access, struct beckon_error *error)
{
    struct bk_agent_config *config = malloc(sizeof *config);
    enum beckon_status status;

    if (config == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    status = bk_agent_config_read(state_dir, config_file, config, error);
    if (status == BECKON_OK && bk_access_find(config, bk_slice_text(access)) == NULL) {
        status = bk_fail(error, BECKON_USAGE, "%s%s has no [access %s]; add that section first",
                         config_file != NULL ? config_file : state_dir,
                         config_file != NULL ? "" : "/agent.conf", access);
    }
    free(config);
    return status;
}

enum beckon_status beckon_agent_set_password(const char *state_dir, const char *config_file,
                                             const char *access, const char *password,
                                             size_t length, struct beckon_error *error)
{
    char hash[BK_PASSWORD_HASH_BYTES];
    char file[FILE_NAME_BYTES];

    if (length == 0 || length > BK_PASSWORD_MAX_BYTES) {
        return bk_fail(error, BECKON_USAGE, "a password has 1 to %d bytes", BK_PASSWORD_MAX_BYTES);
    }
    if (config_file == NULL && !bk_file_exists(state_dir, "agent.conf")) {
        return bk_fail(error, BECKON_NOT_JOINED,
                       "%s/agent.conf is not there; run \"beckon-agent join\" first", state_dir);
    }
    if (access == NULL) {
        access = BK_ACCESS_OWNER;
    } else {
        enum beckon_status status = access_check(state_dir, config_file, access, error);

        if (status != BECKON_OK) {
            return status;
        }
    }
    file_of(access, file);
    if (bk_seal_init() != BK_OK || bk_password_hash(bk_slice(password, length), hash) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory to hash the password (8 MiB are needed)");
    }
    if (bk_file_write(state_dir, file, bk_slice_text(hash)) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "%s/%s cannot be written; check owner and space",
                       state_dir, file);
    }
    return BECKON_OK;
}

enum bk_err bk_agent_password_check(const char *state_dir, const char *access,
                                    struct bk_slice password)
{
    char hash[BK_PASSWORD_HASH_BYTES] = {0};
    char file[FILE_NAME_BYTES];
    size_t n;
    enum bk_err err;

    file_of(access, file);
    err = bk_file_read(state_dir, file, (uint8_t *)hash, sizeof hash - 1, &n);
    return err == BK_OK ? bk_password_check(password, hash) : err;
}
