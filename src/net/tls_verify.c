/* Judging the peer's certificate within the handshake, and saying afterwards what went wrong. */
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "net/tls_private.h"

/* Refuses with `failure`; `error` decides the alert that the peer gets. */
static int refuse(X509_STORE_CTX *store, struct bk_tls_session *s, enum bk_tls_failure failure,
                  int error)
{
    s->failure = failure;
    X509_STORE_CTX_set_error(store, error);
    return 0;
}

static enum bk_tls_failure failure_of(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return BK_TLS_EXPIRED;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return BK_TLS_WRONG_NAME;
    default:
        return BK_TLS_NOT_OUR_CA;
    }
}

static bool key_has_pin(X509 *cert, const uint8_t pin[BK_X509_PIN_BYTES])
{
    uint8_t raw[BK_X509_KEY_BYTES], have[BK_X509_PIN_BYTES];
    if (bk_x509_raw_key(cert, raw) != BK_OK) {
        return false;
    }
    bk_x509_pin(raw, have);
    return CRYPTO_memcmp(have, pin, sizeof have) == 0;
}

/* Has the client named the protocol under which an expired certificate passes? It named it in its first
 * message and the answer has been sent: both come before any certificate of its (RFC 8446, section 4.4). */
static bool may_be_expired(SSL *ssl, const struct bk_tls *tls)
{
    const unsigned char *alpn = NULL;
    unsigned n = 0;
    if (!tls->is_server || tls->alpn_expired[0] == '\0') {
        return false;
    }
    SSL_get0_alpn_selected(ssl, &alpn, &n);
    return n == strlen(tls->alpn_expired) && memcmp(alpn, tls->alpn_expired, n) == 0;
}

/* Called for each fault of the chain, and for each certificate without one: forgives the two of time alone. One that begins
 * ahead was made while our own clock was wrong: nobody but us could mend that. */
static int forgive_times(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct bk_tls_session *s = bk_tls_session_of(ssl);
    int error = X509_STORE_CTX_get_error(store);
    if (ok == 1 || s == NULL ||
        (error != X509_V_ERR_CERT_HAS_EXPIRED && error != X509_V_ERR_CERT_NOT_YET_VALID) ||
        X509_STORE_CTX_get_error_depth(store) != 0 ||
        X509_STORE_CTX_get_current_cert(store) != X509_STORE_CTX_get0_cert(store)) {
        return ok;
    }
    s->expired = s->expired || error == X509_V_ERR_CERT_HAS_EXPIRED;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static int verify_chain(X509_STORE_CTX *store, struct bk_tls_session *s)
{
    char uri[BK_X509_URI_BYTES];
    const struct bk_tls *tls = s->tls;
    if (X509_verify_cert(store) != 1) {
        int error = X509_STORE_CTX_get_error(store);
        return refuse(store, s, failure_of(error),
                      error != X509_V_OK ? error : X509_V_ERR_UNSPECIFIED);
    }
    X509 *cert = X509_STORE_CTX_get0_cert(store);
    /* A CA certificate is trusted by itself; it is nobody's identity. */
    if (X509_check_ca(cert) != 0) {
        return refuse(store, s, BK_TLS_NOT_OUR_CA, X509_V_ERR_INVALID_PURPOSE);
    }
    bool named = bk_x509_uri(cert, uri) == BK_OK;
    if (!named || (tls->peer_uri[0] != '\0' && strcmp(uri, tls->peer_uri) != 0)) {
        return refuse(store, s, BK_TLS_WRONG_NAME, X509_V_ERR_APPLICATION_VERIFICATION);
    }
    return 1;
}

/* The chain that the server sent must hold the pinned CA; that CA then is the only one trusted. */
static int verify_joining(X509_STORE_CTX *store, struct bk_tls_session *s)
{
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
    X509 *ca = NULL;
    for (int i = 0; ca == NULL && i < sk_X509_num(sent); i++) {
        X509 *cert = sk_X509_value(sent, i);
        if (X509_check_ca(cert) == 1 && key_has_pin(cert, s->tls->pin)) {
            ca = cert;
        }
    }
    if (ca == NULL) {
        return refuse(store, s, BK_TLS_WRONG_KEY, X509_V_ERR_CERT_UNTRUSTED);
    }
    STACK_OF(X509) *trusted = sk_X509_new_null();
    if (trusted == NULL || sk_X509_push(trusted, ca) <= 0) {
        sk_X509_free(trusted);
        return refuse(store, s, BK_TLS_OTHER, X509_V_ERR_OUT_OF_MEM);
    }
    X509_STORE_CTX_set0_trusted_stack(store, trusted);
    /* The pin covers the CA's key; this makes that key vouch for the rest of its certificate. */
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(store), X509_V_FLAG_CHECK_SS_SIGNATURE);
    int ok = verify_chain(store, s);
    sk_X509_free(trusted);
    if (ok == 1 && X509_up_ref(ca) == 1) {
        s->ca = ca;
    }
    return ok;
}

int bk_tls_verify(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct bk_tls_session *s = bk_tls_session_of(ssl);
    int n = 0;
    if (s == NULL) {
        return 0;
    }
    X509 *cert = X509_STORE_CTX_get0_cert(store);
    n = i2d_X509(cert, NULL);
    if (n <= 0 || n > BK_X509_DER_MAX_BYTES) {
        return refuse(store, s, BK_TLS_OTHER, X509_V_ERR_CERT_REJECTED);
    }
    switch (s->tls->judge) {
    case BK_TLS_JUDGE_CLIENT:
        if (may_be_expired(ssl, s->tls)) {
            X509_STORE_CTX_set_verify_cb(store, forgive_times);
            return verify_chain(store, s);
        }
        if (verify_chain(store, s) != 1) {
            return 0;
        }
        bk_tls_grant_ticket(ssl);
        return 1;
    case BK_TLS_JUDGE_SERVER:
        return verify_chain(store, s);
    case BK_TLS_JUDGE_JOIN:
        return verify_joining(store, s);
    case BK_TLS_JUDGE_KEY:
        if (s->have_pin && key_has_pin(cert, s->pin)) {
            return 1;
        }
        return refuse(store, s, BK_TLS_WRONG_KEY, X509_V_ERR_CERT_UNTRUSTED);
    }
    return 0;
}

/* As OpenSSL judges a certificate that has just been shown. */
bool bk_tls_verify_again(SSL *ssl, X509 *cert)
{
    struct bk_tls_session *s = bk_tls_session_of(ssl);
    X509_STORE_CTX *store = s != NULL && cert != NULL ? X509_STORE_CTX_new() : NULL;
    bool ok = false;
    if (store != NULL &&
        X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl)), cert, NULL) == 1 &&
        X509_STORE_CTX_set_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx(), ssl) == 1 &&
        X509_STORE_CTX_set_default(store, s->tls->is_server ? "ssl_client" : "ssl_server") == 1) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(store);
        X509_VERIFY_PARAM_set_auth_level(param, SSL_get_security_level(ssl));
        ok = X509_VERIFY_PARAM_set1(param, SSL_get0_param(ssl)) == 1 &&
             bk_tls_verify(store, NULL) == 1;
        s->failure = BK_TLS_OK; /* the handshake is a full one then, and says what is wrong */
        s->expired = false;
    }
    X509_STORE_CTX_free(store);
    ERR_clear_error();
    return ok;
}

/* ---- What went wrong ---- */

/* What an alert from the peer means. */
static enum bk_tls_failure failure_of_alert(int alert)
{
    switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return BK_TLS_REFUSED_BY_PEER;
    case SSL_AD_UNRECOGNIZED_NAME:
        return BK_TLS_WRONG_NAME;
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return BK_TLS_NO_ALPN;
    default:
        return BK_TLS_OTHER;
    }
}

static enum bk_tls_failure failure_of_reason(int reason)
{
    switch (reason) {
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return BK_TLS_NO_ALPN;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return BK_TLS_NO_CERTIFICATE;
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return BK_TLS_CUT;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
    case SSL_R_BAD_RECORD_TYPE:
        return BK_TLS_NOT_TLS;
    default:
        if (reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255) {
            return failure_of_alert(reason - SSL_AD_REASON_OFFSET);
        }
        return BK_TLS_OTHER;
    }
}

enum bk_tls_failure bk_tls_why(SSL *ssl, int ret)
{
    const struct bk_tls_session *s = bk_tls_session_of(ssl);
    enum bk_tls_failure failure = BK_TLS_OTHER;
    int kind = SSL_get_error(ssl, ret);
    if (s != NULL && s->failure != BK_TLS_OK) {
        failure = s->failure;
    } else if (kind == SSL_ERROR_SYSCALL || kind == SSL_ERROR_ZERO_RETURN) {
        failure = BK_TLS_CUT;
    } else {
        unsigned long error = ERR_peek_error();
        if (error != 0 && ERR_GET_LIB(error) == ERR_LIB_SSL) {
            failure = failure_of_reason(ERR_GET_REASON(error));
        }
    }
    ERR_clear_error();
    return failure;
}

const char *bk_tls_failure_text(enum bk_tls_failure failure)
{
    switch (failure) {
    case BK_TLS_OK:
        return "no failure";
    case BK_TLS_REFUSED_BY_PEER:
        return "the other side did not accept our certificate";
    case BK_TLS_NOT_OUR_CA:
        return "its certificate is not from the authority we trust";
    case BK_TLS_WRONG_NAME:
        return "its certificate is for another name";
    case BK_TLS_WRONG_KEY:
        return "its key is not the pinned one";
    case BK_TLS_EXPIRED:
        return "its certificate is expired or not valid yet, or a clock is wrong";
    case BK_TLS_NO_CERTIFICATE:
        return "it showed no certificate";
    case BK_TLS_NO_ALPN:
        return "it does not offer this protocol";
    case BK_TLS_NOT_TLS:
        return "it does not speak TLS 1.3";
    case BK_TLS_CUT:
        return "the connection ended during the handshake";
    case BK_TLS_OTHER:
        break;
    }
    return "the TLS handshake failed";
}
