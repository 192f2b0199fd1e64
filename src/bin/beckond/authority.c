/* Keys and certificates of the operator. Private keys never leave this file but into OpenSSL. */
#include "bin/beckond/authority.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/beckond/requests.h"
#include "seal/subject.h"

enum {
    REQUEST_MAX_BYTES = 1024,
};

/* Nobody but agents and users of this CA looks at the server's certificate, and they pin the CA: it lives
 * as long as that does, so that no server falls silent on an anniversary. */
static const uint64_t server_life_s = (uint64_t)(BK_X509_CA_YEARS * 365 - 1) * 24 * 3600;

/* No certificate outlives the CA that vouches for it. */
static enum bk_err end_of_life(const X509 *ca, uint64_t wanted_s, uint64_t *until_s)
{
    uint64_t ca_s = 0;
    enum bk_err err = bk_x509_not_after(ca, &ca_s);

    *until_s = wanted_s < ca_s ? wanted_s : ca_s;
    return err;
}

static enum bk_err issue(X509 *ca, EVP_PKEY *ca_key, struct bk_slice request,
                         const struct bk_identity *holder, const char *const *hosts, size_t n_hosts,
                         uint64_t unix_s, X509 **out)
{
    char uri[BK_SUBJECT_TEXT_BYTES];
    bool server = holder->role == BK_ROLE_SERVER;
    struct bk_x509_order order = {
        .uri = uri,
        .hosts = hosts,
        .n_hosts = n_hosts,
        .for_server = server,
        .for_client = !server,
        .not_before_s = unix_s > BK_X509_BACKDATE_S ? unix_s - BK_X509_BACKDATE_S : 0,
    };
    enum bk_err err = end_of_life(ca, unix_s + (server ? server_life_s : BK_AUTHORITY_LIFE_S),
                                  &order.not_after_s);

    bk_subject_write(holder, uri);
    return err == BK_OK ? bk_x509_issue(ca, ca_key, request, &order, out) : err;
}

static enum bk_err save(const char *dir, const char *key_name, const EVP_PKEY *key,
                        const char *cert_name, X509 *cert)
{
    char path[BK_STATE_PATH_BYTES];
    enum bk_err err = bk_state_path(dir, key_name, path);

    if (err == BK_OK) {
        err = bk_x509_key_save(path, key, false);
    }
    if (err == BK_OK) {
        err = bk_state_path(dir, cert_name, path);
    }
    return err == BK_OK ? bk_x509_save(path, cert, false) : err;
}

enum bk_err bk_authority_make_ca(const char *dir, const char *name, uint64_t unix_s)
{
    EVP_PKEY *key = NULL;
    X509 *ca = NULL;
    enum bk_err err = bk_x509_key_make(&key);

    if (err == BK_OK) {
        err = bk_x509_make_ca(key, name, unix_s, &ca);
    }
    if (err == BK_OK) {
        err = save(dir, BK_STATE_CA_KEY, key, BK_STATE_CA_CERTIFICATE, ca);
    }
    X509_free(ca);
    EVP_PKEY_free(key);
    return err;
}

/* The server's certificate, and the CA's beside it unless that is where the CA is. */
static enum bk_err make_server(const char *dir, const char *ca_dir, const struct bk_authority *ca,
                               const char *const *hosts, size_t n_hosts, uint64_t unix_s)
{
    const struct bk_identity self = {.role = BK_ROLE_SERVER};
    EVP_PKEY *key = NULL;
    X509 *server = NULL;
    char path[BK_STATE_PATH_BYTES];
    uint8_t request[REQUEST_MAX_BYTES];
    size_t n = 0;
    enum bk_err err = bk_x509_key_make(&key);

    if (err == BK_OK) {
        err = bk_x509_request_make(key, request, sizeof request, &n);
    }
    if (err == BK_OK) {
        err =
            issue(ca->ca, ca->ca_key, bk_slice(request, n), &self, hosts, n_hosts, unix_s, &server);
    }
    if (err == BK_OK && strcmp(dir, ca_dir) != 0) {
        err = bk_state_path(dir, BK_STATE_CA_CERTIFICATE, path);
        if (err == BK_OK) {
            err = bk_x509_save(path, ca->ca, false);
        }
    }
    if (err == BK_OK) {
        err = save(dir, BK_STATE_SERVER_KEY, key, BK_STATE_SERVER_CERTIFICATE, server);
    }
    X509_free(server);
    EVP_PKEY_free(key);
    return err;
}

enum bk_err bk_authority_make_server(const char *dir, const char *ca_dir, const char *const *hosts,
                                     size_t n_hosts, uint64_t unix_s)
{
    struct bk_authority *ca = calloc(1, sizeof *ca);
    const char *which;
    enum bk_err err = ca == NULL ? BK_E_NOMEM : bk_authority_load_ca(ca_dir, unix_s, ca, &which);

    if (err == BK_OK) {
        err = make_server(dir, ca_dir, ca, hosts, n_hosts, unix_s);
        bk_authority_fini(ca);
    }
    free(ca);
    return err;
}

static enum bk_err load_key(const char *dir, const char *name, EVP_PKEY **out, const char **which)
{
    char path[BK_STATE_PATH_BYTES];
    enum bk_err err = bk_state_path(dir, name, path);

    *which = name;
    return err == BK_OK ? bk_x509_key_load(path, out) : err;
}

static enum bk_err load_cert(const char *dir, const char *name, X509 **out, const char **which)
{
    char path[BK_STATE_PATH_BYTES];
    enum bk_err err = bk_state_path(dir, name, path);

    *which = name;
    return err == BK_OK ? bk_x509_load(path, out) : err;
}

/* BK_E_AUTH unless the private key is that of the certificate. */
static enum bk_err belong(X509 *cert, const EVP_PKEY *key)
{
    uint8_t in_cert[BK_X509_KEY_BYTES], of_key[BK_X509_KEY_BYTES];
    enum bk_err err = bk_x509_raw_key(cert, in_cert);

    if (err == BK_OK) {
        err = bk_x509_key_raw(key, of_key);
    }
    if (err == BK_OK && memcmp(in_cert, of_key, sizeof of_key) != 0) {
        err = BK_E_AUTH;
    }
    return err;
}

/* The CA's DER form and pin. */
static enum bk_err describe_ca(struct bk_authority *a)
{
    uint8_t raw[BK_X509_KEY_BYTES];
    enum bk_err err = bk_x509_to_der(a->ca, a->ca_der, sizeof a->ca_der, &a->ca_der_bytes);

    if (err == BK_OK) {
        err = bk_x509_raw_key(a->ca, raw);
    }
    if (err == BK_OK) {
        bk_pin_of_key(raw, a->ca_pin);
    }
    return err;
}

static enum bk_err check_server(struct bk_authority *a, uint64_t unix_s)
{
    uint8_t der[BK_X509_DER_MAX_BYTES];
    struct bk_x509_facts facts;
    struct bk_identity who;
    size_t n;
    enum bk_err err = bk_x509_to_der(a->server, der, sizeof der, &n);

    if (err == BK_OK) {
        err = bk_x509_read(bk_slice(der, n), a->ca, unix_s, &facts);
    }
    if (err == BK_OK) {
        err = bk_subject_read(bk_slice_text(facts.uri), &who);
    }
    if (err == BK_OK && who.role != BK_ROLE_SERVER) {
        err = BK_E_MALFORMED;
    }
    return err;
}

/* The CA's certificate and key; without a key, BK_OK where `elsewhere` says that this may be. */
static enum bk_err load_ca(const char *dir, bool elsewhere, struct bk_authority *out,
                           const char **which)
{
    enum bk_err err;

    memset(out, 0, sizeof *out);
    err = load_cert(dir, BK_STATE_CA_CERTIFICATE, &out->ca, which);
    if (err == BK_OK) {
        err = describe_ca(out);
    }
    if (err == BK_OK) {
        err = load_key(dir, BK_STATE_CA_KEY, &out->ca_key, which);
        if (err == BK_E_NOTFOUND && elsewhere) {
            return BK_OK;
        }
    }
    return err == BK_OK ? belong(out->ca, out->ca_key) : err;
}

enum bk_err bk_authority_load_ca(const char *dir, uint64_t unix_s, struct bk_authority *out,
                                 const char **which)
{
    uint64_t until_s = 0;
    enum bk_err err = load_ca(dir, false, out, which);

    if (err == BK_OK) {
        *which = BK_STATE_CA_CERTIFICATE;
        err = bk_x509_not_after(out->ca, &until_s);
    }
    if (err == BK_OK && unix_s >= until_s) {
        err = BK_E_EXPIRED;
    }
    if (err != BK_OK) {
        bk_authority_fini(out);
    }
    return err;
}

enum bk_err bk_authority_load(const char *dir, uint64_t unix_s, struct bk_authority *out,
                              const char **which)
{
    enum bk_err err = load_ca(dir, bk_requests_used(dir), out, which);

    if (err == BK_OK) {
        int n = snprintf(out->dir, sizeof out->dir, "%s", dir);
        err = n < 0 || (size_t)n >= sizeof out->dir ? BK_E_NOSPACE : BK_OK;
    }
    if (err == BK_OK) {
        err = load_cert(dir, BK_STATE_SERVER_CERTIFICATE, &out->server, which);
    }
    if (err == BK_OK) {
        err = check_server(out, unix_s);
    }
    if (err == BK_OK) {
        err = load_key(dir, BK_STATE_SERVER_KEY, &out->server_key, which);
    }
    if (err == BK_OK) {
        err = belong(out->server, out->server_key);
    }
    if (err != BK_OK) {
        bk_authority_fini(out);
    }
    return err;
}

enum bk_err bk_authority_pin(const char *dir, uint8_t pin[BK_PIN_BYTES])
{
    const char *which;
    uint8_t raw[BK_X509_KEY_BYTES];
    X509 *ca = NULL;
    enum bk_err err = load_cert(dir, BK_STATE_CA_CERTIFICATE, &ca, &which);

    if (err == BK_OK) {
        err = bk_x509_raw_key(ca, raw);
    }
    if (err == BK_OK) {
        bk_pin_of_key(raw, pin);
    }
    X509_free(ca);
    return err;
}

void bk_authority_fini(struct bk_authority *a)
{
    X509_free(a->server);
    X509_free(a->ca);
    EVP_PKEY_free(a->server_key);
    EVP_PKEY_free(a->ca_key);
    memset(a, 0, sizeof *a);
}

enum bk_err bk_authority_issue(const struct bk_authority *a, struct bk_slice request,
                               const struct bk_identity *holder, uint64_t unix_s, uint8_t *buf,
                               size_t cap, size_t *n)
{
    X509 *cert = NULL;
    enum bk_err err = issue(a->ca, a->ca_key, request, holder, NULL, 0, unix_s, &cert);

    if (err == BK_OK) {
        err = bk_x509_to_der(cert, buf, cap, n);
    }
    X509_free(cert);
    return err;
}

enum bk_err bk_authority_obtain(const struct bk_authority *a, struct bk_slice request,
                                const struct bk_identity *holder, uint64_t unix_s, uint8_t *buf,
                                size_t cap, size_t *n, struct bk_authority_note *note)
{
    uint8_t key[BK_X509_KEY_BYTES], der[BK_X509_DER_MAX_BYTES];
    enum bk_err err;

    *note = (struct bk_authority_note){.asked = false};
    if (a->ca_key != NULL) {
        return bk_authority_issue(a, request, holder, unix_s, buf, cap, n);
    }
    err = bk_x509_request_key(request, key);
    if (err != BK_OK) {
        return err;
    }
    err = bk_requests_take(a->dir, holder, key, a->ca, unix_s, der, n);
    if (err == BK_OK && *n <= cap) {
        memcpy(buf, der, *n);
        return BK_OK;
    }
    *n = 0;
    note->unusable = err != BK_E_NOTFOUND;
    err = bk_requests_put(a->dir, holder, request, &note->asked);
    return err == BK_OK ? BK_E_STATE : err;
}

void bk_authority_issued(const struct bk_authority *a, const struct bk_identity *holder)
{
    if (a->ca_key == NULL) {
        bk_requests_done(a->dir, holder);
    }
}
