/* The requester's state directory: reading it, and joining, which makes it. Pins and names are in
 * known_devices.c. */
#include "lib/client_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "lib/certs.h"
#include "lib/enrolment.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "lib/ini.h"

static const char file_config[] = "beckon.conf";
static const char file_key[] = "user.key";
static const char file_cert[] = "user.crt";
static const char file_ca[] = "ca.crt";

enum {
    CONFIG_TEXT_BYTES = 512,
};

static const char *take_key(void *ctx, const char *section, const char *key, const char *value)
{
    struct bk_client_state *state = ctx;
    struct bk_slice text = bk_slice_text(value);
    uint64_t v;

    if (strcmp(section, "client") != 0) {
        return "unknown section";
    }
    if (strcmp(key, "server") == 0) {
        return text.n > 0 && bk_slice_to_text(text, state->server, sizeof state->server)
                   ? NULL
                   : "not a host";
    }
    if (strcmp(key, "port") == 0) {
        if (bk_number_parse(text, UINT16_MAX, &v) != BK_OK || v == 0) {
            return "not a port";
        }
        state->port = (uint16_t)v;
        return NULL;
    }
    return "unknown key";
}

static enum beckon_status read_keys(const char *dir, struct bk_client_state *out,
                                    struct beckon_error *error)
{
    char path[BK_PATH_BYTES];

    if (bk_file_path(dir, file_key, path) != BK_OK || bk_x509_key_load(path, &out->key) != BK_OK ||
        bk_file_path(dir, file_cert, path) != BK_OK || bk_x509_load(path, &out->cert) != BK_OK ||
        bk_file_path(dir, file_ca, path) != BK_OK || bk_x509_load(path, &out->ca) != BK_OK) {
        return bk_fail(error, BECKON_BAD_CONFIG,
                       "%s is missing or damaged; remove %s and join again with a new token", path,
                       dir);
    }
    return BECKON_OK;
}

enum beckon_status bk_client_state_read(const char *dir, struct bk_client_state *out,
                                        struct beckon_error *error)
{
    char path[BK_PATH_BYTES];
    enum beckon_status status;

    *out = (struct bk_client_state){.port = BK_SERVER_REQUEST_PORT};
    if (bk_file_path(dir, file_config, path) != BK_OK) {
        return bk_fail(error, BECKON_USAGE, "the state directory's name is too long");
    }
    status = bk_ini_read(path, take_key, out, error);
    if (status == BECKON_NOT_JOINED) {
        return bk_fail(error, status, "%s is not there; run \"beckon join\" first", path);
    }
    if (status == BECKON_OK && out->server[0] == '\0') {
        status = bk_fail(error, BECKON_BAD_CONFIG, "%s: [client] lacks server; add it", path);
    }
    if (status == BECKON_OK) {
        status = read_keys(dir, out, error);
    }
    if (status != BECKON_OK) {
        bk_client_state_fini(out);
    }
    return status;
}

void bk_client_state_fini(struct bk_client_state *state)
{
    EVP_PKEY_free(state->key);
    X509_free(state->cert);
    X509_free(state->ca);
    *state = (struct bk_client_state){0};
}

/* beckon.conf comes last: it is what makes a directory "joined". */
static enum bk_err save(const char *dir, const struct bk_token *token,
                        const struct bk_enrolled *enrolled)
{
    char text[CONFIG_TEXT_BYTES];
    enum bk_err err = bk_cert_save(dir, file_cert, enrolled->cert);
    int n;

    if (err == BK_OK) {
        err = bk_cert_save(dir, file_ca, enrolled->ca);
    }
    if (err != BK_OK) {
        return err;
    }
    n = snprintf(text, sizeof text, "; beckon: joined as %s\n[client]\nserver = %s\nport = %u\n",
                 enrolled->user, token->host, (unsigned)token->port);
    if (n < 0 || (size_t)n >= sizeof text) {
        return BK_E_NOSPACE;
    }
    return bk_file_write(dir, file_config, bk_slice(text, (size_t)n));
}

enum beckon_status beckon_client_join(const char *state_dir, const char *token,
                                      struct beckon_error *error)
{
    struct bk_enrolment enrolment;
    struct bk_enrolled enrolled;
    enum beckon_status status =
        bk_join_begin(state_dir, token, BK_ROLE_USER, file_config, file_key, &enrolment, error);

    if (status != BECKON_OK) {
        return status;
    }
    status = bk_enrol_run(&enrolment, &enrolled, error);
    if (status == BECKON_OK) {
        if (save(state_dir, &enrolment.token, &enrolled) != BK_OK) {
            status =
                bk_fail(error, BECKON_FAILED,
                        "%s cannot be written (%s); mend that and join again with the same token",
                        state_dir, strerror(errno));
        }
        bk_enrolled_fini(&enrolled);
    }
    bk_wipe(&enrolment.token, sizeof enrolment.token);
    EVP_PKEY_free(enrolment.key);
    return status;
}
