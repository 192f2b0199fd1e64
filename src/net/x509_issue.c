/* Making certificates: the CA's, those it issues, those of calls, and requests for them. What a request
 * says of its subject is ignored; only its key counts, and that its sender holds it. */
#include <string.h>

#include <arpa/inet.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "net/x509.h"

enum {
    SERIAL_BITS = 128,
    COMMON_NAME_MAX_BYTES = 64, /* ub-common-name, RFC 5280 */
    HOST_MAX_BYTES = 253,
    CALL_LIFE_S = 86400,
};

static const uint64_t last_second = UINT64_C(253402300799); /* 9999-12-31, where X.509 ends */

/* ---- Parts of a certificate; each returns OpenSSL's 1 for success ---- */

static int set_serial(X509 *cert)
{
    BIGNUM *bn = BN_new();
    int ok = bn != NULL && BN_rand(bn, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
             BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) != NULL;
    BN_free(bn);
    return ok;
}

static int set_validity(X509 *cert, uint64_t from_s, uint64_t until_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)from_s) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)until_s) != NULL;
}

static int add_common_name(X509_NAME *name, const char *text)
{
    size_t n = strlen(text);
    if (n > COMMON_NAME_MAX_BYTES) {
        n = COMMON_NAME_MAX_BYTES;
    }
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)text,
                                      (int)n, -1, 0);
}

/* Constant texts only: this parses a configuration language. */
static int add_extension(X509 *cert, X509 *issuer, int nid, const char *constant)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, constant);
    int ok = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

static int push_name(GENERAL_NAMES *names, int type, const void *bytes, size_t n)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value =
        ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    if (name != NULL && value != NULL && ASN1_STRING_set(value, bytes, (int)n) == 1) {
        GENERAL_NAME_set0_value(name, type, value);
        value = NULL;
        if (sk_GENERAL_NAME_push(names, name) > 0) {
            return 1;
        }
    }
    ASN1_STRING_free(value);
    GENERAL_NAME_free(name);
    return 0;
}

static int push_host(GENERAL_NAMES *names, const char *host)
{
    uint8_t ip[16];
    if (inet_pton(AF_INET, host, ip) == 1) {
        return push_name(names, GEN_IPADD, ip, 4);
    }
    if (inet_pton(AF_INET6, host, ip) == 1) {
        return push_name(names, GEN_IPADD, ip, 16);
    }
    return push_name(names, GEN_DNS, host, strlen(host));
}

static int add_names(X509 *cert, const struct bk_x509_order *order)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    int ok = names != NULL && push_name(names, GEN_URI, order->uri, strlen(order->uri));
    for (size_t i = 0; ok && i < order->n_hosts; i++) {
        ok = push_host(names, order->hosts[i]);
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

static int add_usage(X509 *cert, const struct bk_x509_order *order)
{
    if (order->for_server && order->for_client) {
        return add_extension(cert, NULL, NID_ext_key_usage, "serverAuth,clientAuth");
    }
    if (order->for_server) {
        return add_extension(cert, NULL, NID_ext_key_usage, "serverAuth");
    }
    if (order->for_client) {
        return add_extension(cert, NULL, NID_ext_key_usage, "clientAuth");
    }
    return 1;
}

/* Ends the making of `cert`: `ok` says whether all parts went in. */
static enum bk_err finish(X509 *cert, int ok, EVP_PKEY *signer, X509 **out)
{
    /* Ed25519 has its hash inside: no digest to name. */
    if (!ok || X509_sign(cert, signer, NULL) <= 0) {
        X509_free(cert);
        ERR_clear_error();
        return BK_E_NOMEM;
    }
    *out = cert;
    return BK_OK;
}

static bool is_ed25519(const EVP_PKEY *key)
{
    return key != NULL && EVP_PKEY_get_id(key) == EVP_PKEY_ED25519;
}

/* ---- Self-signed ---- */

static int begin_self_signed(X509 *cert, EVP_PKEY *key, const char *common_name, uint64_t from_s,
                             uint64_t until_s)
{
    return cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
           set_validity(cert, from_s, until_s) &&
           add_common_name(X509_get_subject_name(cert), common_name) == 1 &&
           X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1 &&
           X509_set_pubkey(cert, key) == 1;
}

static uint64_t backdated(uint64_t unix_s)
{
    return unix_s > BK_X509_BACKDATE_S ? unix_s - BK_X509_BACKDATE_S : 0;
}

enum bk_err bk_x509_make_ca(EVP_PKEY *key, const char *common_name, uint64_t unix_s, X509 **out)
{
    static const uint64_t year_s = 31556952;
    *out = NULL;
    if (!is_ed25519(key)) {
        return BK_E_MALFORMED;
    }
    X509 *cert = X509_new();
    int ok = begin_self_signed(cert, key, common_name, backdated(unix_s),
                               unix_s + BK_X509_CA_YEARS * year_s) &&
             add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
             add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
             add_extension(cert, cert, NID_subject_key_identifier, "hash");
    return finish(cert, ok, key, out);
}

enum bk_err bk_x509_make_call(EVP_PKEY *key, uint64_t unix_s, X509 **out)
{
    *out = NULL;
    if (!is_ed25519(key)) {
        return BK_E_MALFORMED;
    }
    X509 *cert = X509_new();
    int ok = begin_self_signed(cert, key, "call", backdated(unix_s), unix_s + CALL_LIFE_S);
    return finish(cert, ok, key, out);
}

/* ---- Requests, and certificates for them ---- */

enum bk_err bk_x509_request_make(EVP_PKEY *key, uint8_t *buf, size_t cap, size_t *n)
{
    *n = 0;
    enum bk_err err = BK_E_NOMEM;
    X509_REQ *request = X509_REQ_new();
    if (request != NULL && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
        X509_REQ_set_pubkey(request, key) == 1 && X509_REQ_sign(request, key, NULL) > 0) {
        int need = i2d_X509_REQ(request, NULL);
        if (need > 0 && (size_t)need > cap) {
            err = BK_E_NOSPACE;
        } else if (need > 0) {
            uint8_t *p = buf;
            *n = (size_t)i2d_X509_REQ(request, &p);
            err = BK_OK;
        }
    }
    X509_REQ_free(request);
    ERR_clear_error();
    return err;
}

static enum bk_err read_request(struct bk_slice der, X509_REQ **out)
{
    *out = NULL;
    if (der.n == 0 || der.n > BK_X509_DER_MAX_BYTES) {
        return BK_E_MALFORMED;
    }
    const uint8_t *p = der.p;
    X509_REQ *request = d2i_X509_REQ(NULL, &p, (long)der.n);
    EVP_PKEY *key = request != NULL ? X509_REQ_get0_pubkey(request) : NULL;
    enum bk_err err = BK_OK;
    if (p != der.p + der.n || !is_ed25519(key)) {
        err = BK_E_MALFORMED;
    } else if (X509_REQ_verify(request, key) != 1) {
        err = BK_E_AUTH;
    }
    ERR_clear_error();
    if (err != BK_OK) {
        X509_REQ_free(request);
    } else {
        *out = request;
    }
    return err;
}

enum bk_err bk_x509_request_key(struct bk_slice der, uint8_t raw[BK_X509_KEY_BYTES])
{
    X509_REQ *request = NULL;
    memset(raw, 0, BK_X509_KEY_BYTES);
    enum bk_err err = read_request(der, &request);
    if (err == BK_OK) {
        err = bk_x509_key_raw(X509_REQ_get0_pubkey(request), raw);
    }
    X509_REQ_free(request);
    return err;
}

static bool host_makes_sense(const char *host)
{
    uint8_t ip[16];
    if (inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1) {
        return true;
    }
    size_t n = strlen(host);
    if (n == 0 || n > HOST_MAX_BYTES) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        char c = host[i];
        bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_' || (c == '.' && i > 0);
        if (!fits) {
            return false;
        }
    }
    return true;
}

static bool order_makes_sense(const struct bk_x509_order *order)
{
    char uri[BK_X509_URI_BYTES];
    struct bk_slice text = bk_slice_text(order->uri);
    if (text.n == 0 || !bk_slice_to_text(text, uri, sizeof uri)) {
        return false;
    }
    if (order->not_before_s >= order->not_after_s || order->not_after_s > last_second) {
        return false;
    }
    for (size_t i = 0; i < order->n_hosts; i++) {
        if (!host_makes_sense(order->hosts[i])) {
            return false;
        }
    }
    return true;
}

enum bk_err bk_x509_issue(X509 *ca, EVP_PKEY *ca_key, struct bk_slice der,
                          const struct bk_x509_order *order, X509 **out)
{
    *out = NULL;
    if (!order_makes_sense(order)) {
        return BK_E_RANGE;
    }
    X509_REQ *request = NULL;
    enum bk_err err = read_request(der, &request);
    if (err != BK_OK) {
        return err;
    }
    X509 *cert = X509_new();
    int ok = cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
             set_validity(cert, order->not_before_s, order->not_after_s) &&
             X509_set_issuer_name(cert, X509_get_subject_name(ca)) == 1 &&
             add_common_name(X509_get_subject_name(cert), order->uri) == 1 &&
             X509_set_pubkey(cert, X509_REQ_get0_pubkey(request)) == 1 &&
             add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
             add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") &&
             add_usage(cert, order) && add_names(cert, order) &&
             add_extension(cert, ca, NID_authority_key_identifier, "keyid");
    X509_REQ_free(request);
    return finish(cert, ok, ca_key, out);
}
