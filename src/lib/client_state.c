/* The requester's state directory: reading it, joining, which makes it, and the caller's own key. Pins and names
 * are in known_devices.c. */
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
#include "lib/sessions.h"
#include "seal/caller_key.h"
#include "seal/subject.h"

static const char file_config[] = "beckon.conf";
static const char file_key[] = "user.key";
static const char file_cert[] = "user.crt";
static const char file_ca[] = "ca.crt";
static const char file_caller[] = "caller.key";

enum {
    CONFIG_TEXT_BYTES = 512,
};

/* "a.example, b.example": names or addresses, in the order in which they are to be tried. */
static const char *take_servers(struct bk_client_state *state, const char *value)
{
    state->n_servers = 0;
    for (const char *at = value; at != NULL;) {
        size_t n = strcspn(at, ","), lead = strspn(at, " \t");
        struct bk_slice text;

        lead = lead < n ? lead : n;
        text = bk_slice(at + lead, n - lead);
        while (text.n > 0 && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t')) {
            text.n--;
        }
        if (state->n_servers == BK_CLIENT_SERVERS_MAX) {
            return "more than 4 hosts";
        }
        if (text.n == 0 || memchr(text.p, ' ', text.n) != NULL ||
            memchr(text.p, '\t', text.n) != NULL ||
            !bk_slice_to_text(text, state->servers[state->n_servers], sizeof state->servers[0])) {
            return "not a host, or a list of them with commas between";
        }
        state->n_servers++;
        at = at[n] == ',' ? at + n + 1 : NULL;
    }
    return NULL;
}

static const char *take_key(void *ctx, const char *section, const char *key, const char *value)
{
    struct bk_client_state *state = ctx;
    struct bk_slice text = bk_slice_text(value);
    uint64_t v;

    if (strcmp(section, "client") != 0) {
        return "unknown section";
    }
    if (strcmp(key, "server") == 0) {
        return take_servers(state, value);
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

static enum beckon_status caller_key_unusable(const char *path, struct beckon_error *error)
{
    return bk_fail(error, BECKON_BAD_CONFIG,
                   "%s cannot be read or is no Ed25519 key; mend it, or remove it and make another "
                   "with \"beckon key\"",
                   path);
}

static enum beckon_status read_keys(const char *dir, struct bk_client_state *out,
                                    struct beckon_error *error)
{
    char path[BK_PATH_BYTES];
    enum bk_err err;

    if (bk_credentials_load(dir, "user", &out->own, path) != BK_OK) {
        return bk_fail(error, BECKON_BAD_CONFIG,
                       "%s is missing or damaged; remove it and %s/%s, and join again with a new "
                       "token",
                       path, dir, file_config);
    }
    err = bk_file_path(dir, file_caller, path);
    if (err == BK_OK) {
        err = bk_x509_key_load(path, &out->caller);
    }
    return err == BK_OK || err == BK_E_NOTFOUND ? BECKON_OK : caller_key_unusable(path, error);
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
    if (status == BECKON_OK && out->n_servers == 0) {
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
    bk_credentials_fini(&state->own);
    EVP_PKEY_free(state->caller);
    *state = (struct bk_client_state){0};
}

enum bk_err bk_client_state_renewed(const char *dir, struct bk_client_state *state, X509 *cert)
{
    X509_free(state->own.cert);
    state->own.cert = cert;
    return bk_cert_save(dir, file_cert, cert);
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
        bk_sessions_forget(state_dir); /* they stand for the certificate of before */
        bk_enrolled_fini(&enrolled);
    }
    bk_wipe(&enrolment.token, sizeof enrolment.token);
    EVP_PKEY_free(enrolment.key);
    return status;
}

/* The key in `path`; made if there is none. Of two programs that make one at the same moment the first is right. */
static enum beckon_status caller_key(const char *path, EVP_PKEY **out, struct beckon_error *error)
{
    enum bk_err err = bk_x509_key_load(path, out);

    if (err != BK_E_NOTFOUND) {
        return err == BK_OK ? BECKON_OK : caller_key_unusable(path, error);
    }
    if (bk_x509_key_make(out) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no key could be made");
    }
    err = bk_x509_key_save(path, *out, false);
    if (err == BK_E_EXISTS) {
        EVP_PKEY_free(*out);
        err = bk_x509_key_load(path, out);
        return err == BK_OK ? BECKON_OK : caller_key_unusable(path, error);
    }
    if (err != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "%s cannot be written (%s); check owner and space",
                       path, strerror(errno));
    }
    return BECKON_OK;
}

enum beckon_status beckon_client_key(const char *state_dir, char *out, size_t size,
                                     struct beckon_error *error)
{
    struct bk_client_state state;
    struct bk_identity self;
    char path[BK_PATH_BYTES], uri[BK_X509_URI_BYTES], text[BK_CALLER_KEY_TEXT_BYTES];
    uint8_t raw[BK_KEY_BYTES];
    EVP_PKEY *key = NULL;
    enum beckon_status status;
    int n;

    if (bk_seal_init() != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "libsodium cannot be used on this machine");
    }
    status = bk_client_state_read(state_dir, &state, error);
    if (status != BECKON_OK) {
        return status;
    }
    if (bk_file_path(state_dir, file_caller, path) != BK_OK ||
        bk_x509_uri(state.own.cert, uri) != BK_OK ||
        bk_subject_read(bk_slice_text(uri), &self) != BK_OK || self.role != BK_ROLE_USER) {
        status = bk_fail(error, BECKON_BAD_CONFIG,
                         "%s/%s names no user; join again with a new token", state_dir, file_cert);
    } else {
        status = caller_key(path, &key, error);
    }
    if (status == BECKON_OK && bk_x509_key_raw(key, raw) != BK_OK) {
        status = caller_key_unusable(path, error);
    }
    if (status == BECKON_OK) {
        bk_caller_key_format(raw, text);
        n = snprintf(out, size, "%s %s", text, self.name);
        if (n < 0 || (size_t)n >= size) {
            status = bk_fail(error, BECKON_FAILED, "no room for the key's line");
        }
    }
    EVP_PKEY_free(key);
    bk_client_state_fini(&state);
    return status;
}
