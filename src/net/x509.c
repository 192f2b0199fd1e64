/* Reading certificates. Nothing in here trusts a field before the signature over it was checked. */
#include "net/x509.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

enum bk_err bk_x509_from_der(struct bk_slice der, X509 **out)
{
    *out = NULL;
    if (der.n == 0 || der.n > BK_X509_DER_MAX_BYTES) {
        return BK_E_MALFORMED;
    }
    const uint8_t *p = der.p;
    X509 *cert = d2i_X509(NULL, &p, (long)der.n);
    if (cert == NULL || p != der.p + der.n) {
        X509_free(cert);
        ERR_clear_error();
        return BK_E_MALFORMED;
    }
    *out = cert;
    return BK_OK;
}

enum bk_err bk_x509_to_der(X509 *cert, uint8_t *buf, size_t cap, size_t *n)
{
    *n = 0;
    int need = i2d_X509(cert, NULL);
    if (need <= 0 || (size_t)need > cap) {
        ERR_clear_error();
        return BK_E_NOSPACE;
    }
    uint8_t *p = buf;
    *n = (size_t)i2d_X509(cert, &p);
    return BK_OK;
}

enum bk_err bk_x509_raw_key(X509 *cert, uint8_t raw[BK_X509_KEY_BYTES])
{
    EVP_PKEY *key = X509_get0_pubkey(cert);
    memset(raw, 0, BK_X509_KEY_BYTES);
    if (key == NULL) {
        ERR_clear_error();
        return BK_E_MALFORMED;
    }
    return bk_x509_key_raw(key, raw);
}

enum bk_err bk_x509_uri(X509 *cert, char out[BK_X509_URI_BYTES])
{
    out[0] = '\0';
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);
    if (names == NULL) {
        ERR_clear_error();
        return critical == -1 ? BK_E_NOTFOUND : BK_E_MALFORMED; /* -1: no such extension */
    }
    enum bk_err err = BK_E_NOTFOUND;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && err != BK_E_MALFORMED; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI) {
            continue;
        }
        const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
        struct bk_slice text =
            bk_slice(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri));
        if (err == BK_OK || text.n == 0 || !bk_slice_to_text(text, out, BK_X509_URI_BYTES)) {
            err = BK_E_MALFORMED;
        } else {
            err = BK_OK;
        }
    }
    if (err != BK_OK) {
        out[0] = '\0';
    }
    GENERAL_NAMES_free(names);
    return err;
}

static enum bk_err unix_time(const ASN1_TIME *t, uint64_t *out)
{
    static const int64_t day_s = 86400;
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int ok = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, t) == 1;
    ASN1_TIME_free(epoch);
    int64_t s = (int64_t)days * day_s + seconds;
    if (!ok || s < 0) {
        ERR_clear_error();
        return BK_E_MALFORMED;
    }
    *out = (uint64_t)s;
    return BK_OK;
}

enum bk_err bk_x509_not_after(const X509 *cert, uint64_t *unix_s)
{
    return unix_time(X509_get0_notAfter(cert), unix_s);
}

enum bk_err bk_x509_facts(X509 *cert, struct bk_x509_facts *out)
{
    memset(out, 0, sizeof *out);
    if (bk_x509_uri(cert, out->uri) != BK_OK || bk_x509_raw_key(cert, out->key) != BK_OK ||
        unix_time(X509_get0_notBefore(cert), &out->not_before_s) != BK_OK ||
        unix_time(X509_get0_notAfter(cert), &out->not_after_s) != BK_OK) {
        return BK_E_MALFORMED;
    }
    return BK_OK;
}

/* Chain and validity, by OpenSSL's own rules with `ca` as the only thing trusted. */
static enum bk_err verify(X509 *cert, X509 *ca, uint64_t unix_s)
{
    /* A CA certificate, the CA's own above all, would pass as trusted by itself. */
    if (X509_check_ca(cert) != 0) {
        return BK_E_AUTH;
    }
    enum bk_err err = BK_E_NOMEM;
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (store == NULL || ctx == NULL || X509_STORE_add_cert(store, ca) != 1 ||
        X509_STORE_CTX_init(ctx, store, cert, NULL) != 1) {
        goto out;
    }
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), (time_t)unix_s);
    if (X509_verify_cert(ctx) == 1) {
        err = BK_OK;
    } else {
        int why = X509_STORE_CTX_get_error(ctx);
        err = why == X509_V_ERR_CERT_HAS_EXPIRED || why == X509_V_ERR_CERT_NOT_YET_VALID
                  ? BK_E_EXPIRED
                  : BK_E_AUTH;
    }
out:
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
    return err;
}

bool bk_x509_digest_into(const X509 *cert, EVP_MD_CTX *md)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    return X509_digest(cert, EVP_sha256(), digest, &n) == 1 && EVP_DigestUpdate(md, digest, n) == 1;
}

enum bk_err bk_x509_read(struct bk_slice der, X509 *ca, uint64_t unix_s, struct bk_x509_facts *out)
{
    X509 *cert = NULL;
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_x509_from_der(der, &cert);
    if (err == BK_OK) {
        err = verify(cert, ca, unix_s);
    }
    if (err == BK_OK) {
        err = bk_x509_facts(cert, out);
    }
    X509_free(cert);
    return err;
}
