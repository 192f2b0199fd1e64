/* Between the cores, which know identities, and OpenSSL, which knows certificates. Judges nothing itself. */
#include "lib/certs.h"

#include <stdio.h>
#include <string.h>

#include "core/agent/renewal.h"
#include "seal/subject.h"

_Static_assert((int)BK_X509_KEY_BYTES == (int)BK_KEY_BYTES &&
                   (int)BK_X509_PIN_BYTES == (int)BK_PIN_BYTES,
               "net and seal mean the same keys and pins");

static enum bk_err read_certificate(void *ctx, struct bk_slice der, uint64_t unix_s,
                                    struct bk_identity *out)
{
    struct bk_x509_facts facts;
    enum bk_err err = bk_x509_read(der, ctx, unix_s, &facts);

    if (err != BK_OK) {
        return err;
    }
    err = bk_subject_read(bk_slice_text(facts.uri), out);
    memcpy(out->key, facts.key, sizeof out->key);
    return err;
}

struct bk_cert_ops bk_certs_of(X509 *ca)
{
    return (struct bk_cert_ops){.ctx = ca, .read = read_certificate};
}

enum bk_err bk_cert_save(const char *dir, const char *name, X509 *cert)
{
    char path[BK_PATH_BYTES];
    enum bk_err err = bk_file_path(dir, name, path);

    return err == BK_OK ? bk_x509_save(path, cert, true) : err;
}

static bool same_holder(const struct bk_identity *a, const struct bk_identity *b)
{
    return a->role == b->role && (a->role == BK_ROLE_DEVICE ? a->equipment_id == b->equipment_id
                                                            : strcmp(a->name, b->name) == 0);
}

enum bk_err bk_cert_take(struct bk_slice der, X509 *ca, const EVP_PKEY *key,
                         const struct bk_identity *wanted, uint64_t unix_s, X509 **out)
{
    struct bk_x509_facts facts;
    struct bk_identity named = {0};
    uint8_t raw[BK_X509_KEY_BYTES];
    X509 *cert;
    enum bk_err err = bk_x509_from_der(der, &cert);

    if (err != BK_OK) {
        return err;
    }
    err = bk_x509_facts(cert, &facts);
    if (err == BK_OK) {
        err = bk_x509_read(der, ca, unix_s != 0 ? unix_s : facts.not_before_s + 1, &facts);
    }
    if (err == BK_OK) {
        err = bk_x509_key_raw(key, raw);
    }
    if (err == BK_OK) {
        err = bk_subject_read(bk_slice_text(facts.uri), &named);
    }
    if (err == BK_OK && (memcmp(facts.key, raw, sizeof raw) != 0 || !same_holder(&named, wanted))) {
        err = BK_E_AUTH;
    }
    if (err != BK_OK) {
        X509_free(cert);
        return err;
    }
    *out = cert;
    return BK_OK;
}

uint64_t bk_cert_time(X509 *own, uint64_t unix_s)
{
    struct bk_x509_facts facts;

    return bk_x509_facts(own, &facts) == BK_OK && facts.not_before_s > unix_s ? facts.not_before_s
                                                                              : unix_s;
}

enum bk_err bk_cert_sign_box(const EVP_PKEY *key, const struct bk_box_pair *pair, uint64_t unix_s,
                             uint8_t out[BK_BOX_KEY_BYTES])
{
    struct bk_box_key box_key = {
        .made_s = unix_s, .until_s = unix_s != 0 ? unix_s + BK_RENEWAL_BOX_LIFE_S : UINT64_MAX};
    uint8_t seed[BK_X509_KEY_BYTES];
    enum bk_err err = bk_x509_key_seed(key, seed);

    if (err == BK_OK) {
        memcpy(box_key.key, pair->public_key, sizeof box_key.key);
        bk_box_key_sign(&box_key, seed, out);
        bk_wipe(seed, sizeof seed);
    }
    return err;
}

/* DIR/NAME.ENDING */
static enum bk_err path_of(const char *dir, const char *name, const char *ending,
                           char path[BK_PATH_BYTES])
{
    int n = snprintf(path, BK_PATH_BYTES, "%s/%s.%s", dir, name, ending);

    return n < 0 || n >= BK_PATH_BYTES ? BK_E_NOTFOUND : BK_OK;
}

enum bk_err bk_credentials_load(const char *dir, const char *name, struct bk_credentials *out,
                                char path[BK_PATH_BYTES])
{
    enum bk_err err = path_of(dir, name, "key", path);

    *out = (struct bk_credentials){0};
    if (err == BK_OK) {
        err = bk_x509_key_load(path, &out->key);
    }
    if (err == BK_OK) {
        err = path_of(dir, name, "crt", path);
    }
    if (err == BK_OK) {
        err = bk_x509_load(path, &out->cert);
    }
    if (err == BK_OK) {
        err = path_of(dir, "ca", "crt", path);
    }
    if (err == BK_OK) {
        err = bk_x509_load(path, &out->ca);
    }
    if (err != BK_OK) {
        bk_credentials_fini(out);
    }
    return err;
}

void bk_credentials_fini(struct bk_credentials *credentials)
{
    EVP_PKEY_free(credentials->key);
    X509_free(credentials->cert);
    X509_free(credentials->ca);
    *credentials = (struct bk_credentials){0};
}
