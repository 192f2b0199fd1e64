/* Roles of TLS: what is offered, shown and demanded. How a peer is judged stands in tls_verify.c, and what is kept from
 * one connection for the next in tls_resume.c. */
#include "net/tls_private.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

enum {
    CHAIN_MAX_BYTES = 4 * BK_X509_DER_MAX_BYTES
}; /* that a peer may show; OpenSSL's own is 100 KB */

/* ---- Memory: the context carries the bk_tls, the SSL its session ---- */

static int ctx_slot = -1, ssl_slot = -1;
static CRYPTO_ONCE slots_once = CRYPTO_ONCE_STATIC_INIT;

static void free_tls(void *parent, void *p, CRYPTO_EX_DATA *data, int i, long argl, void *argp)
{
    (void)parent, (void)data, (void)i, (void)argl, (void)argp;
    struct bk_tls *tls = p;
    if (tls != NULL) {
        bk_tls_resume_fini(tls);
    }
    free(tls);
}

static void free_session(void *parent, void *p, CRYPTO_EX_DATA *data, int i, long argl, void *argp)
{
    (void)parent, (void)data, (void)i, (void)argl, (void)argp;
    struct bk_tls_session *s = p;
    if (s != NULL) {
        X509_free(s->ca);
    }
    free(s);
}

static void make_slots(void)
{
    ctx_slot = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_tls);
    ssl_slot = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_session);
}

struct bk_tls_session *bk_tls_session_of(const SSL *ssl)
{
    return ssl != NULL && ssl_slot >= 0 ? SSL_get_ex_data(ssl, ssl_slot) : NULL;
}

/* ---- Callbacks within the handshake ---- */

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                       const unsigned char *in, unsigned in_n, void *arg)
{
    const struct bk_tls *tls = arg;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_n, tls->alpn, (unsigned)tls->alpn_n, in, in_n) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    if (!bk_tls_ticket_fits(ssl, chosen, *out_n)) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* OpenSSL asks select_alpn only if the client names anything. */
static int demand_alpn(SSL *ssl, int *alert, void *arg)
{
    (void)arg;
    const unsigned char *p = NULL;
    size_t n = 0;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &p,
                                  &n)) {
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    struct bk_tls_session *s = bk_tls_session_of(ssl);
    if (s != NULL) {
        s->failure = BK_TLS_NO_ALPN;
    }
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
}

/* The server name says which call it is, and with it our certificate and the key to expect. */
static int choose_call(SSL *ssl, int *alert, void *arg)
{
    struct bk_tls *tls = arg;
    struct bk_tls_session *s = bk_tls_session_of(ssl);
    struct bk_tls_call call = {0};
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    if (s == NULL || tls->choose == NULL ||
        !tls->choose(tls->choose_ctx, name != NULL ? name : "", &call)) {
        if (s != NULL) {
            s->failure = BK_TLS_WRONG_NAME;
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    if (SSL_use_certificate(ssl, call.cert) != 1 || SSL_use_PrivateKey(ssl, call.key) != 1) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    memcpy(s->pin, call.peer_pin, sizeof s->pin);
    s->have_pin = true;
    return SSL_TLSEXT_ERR_OK;
}

#ifdef BECKON_KEYLOG
/* For the laboratory, which shows what was inside; a release is built without. */
static void log_secret(const SSL *ssl, const char *line)
{
    (void)ssl;
    char text[512];
    const char *path = getenv("SSLKEYLOGFILE");
    size_t n = strlen(line);
    if (path == NULL || n + 1 > sizeof text) {
        return;
    }
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return;
    }
    memcpy(text, line, n);
    text[n] = '\n';
    ssize_t written = write(fd, text, n + 1); /* one write: several processes append */
    (void)written;
    close(fd);
}
#endif

/* ---- Building a role ---- */

/* What every role has. False: OpenSSL had no memory, or lacks something we cannot do without. */
static bool set_common(SSL_CTX *ctx)
{
    static char groups[] = "X25519:P-256",
                signatures[] = "ed25519"; /* the macros cast const away */
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(ctx, CHAIN_MAX_BYTES);
    SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS |
                              SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
#ifdef BECKON_KEYLOG
    SSL_CTX_set_keylog_callback(ctx, log_secret);
#endif
    return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_num_tickets(ctx, 0) == 1 && SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:"
                                         "TLS_AES_256_GCM_SHA384") == 1 &&
           SSL_CTX_set1_groups_list(ctx, groups) == 1 &&
           SSL_CTX_set1_sigalgs_list(ctx, signatures) == 1;
}

static struct bk_tls *make(const SSL_METHOD *method, enum bk_tls_judge judge, bool is_server)
{
    if (CRYPTO_THREAD_run_once(&slots_once, make_slots) != 1 || ctx_slot < 0 || ssl_slot < 0) {
        return NULL;
    }
    struct bk_tls *tls = calloc(1, sizeof *tls);
    SSL_CTX *ctx = tls != NULL ? SSL_CTX_new(method) : NULL;
    if (ctx == NULL || SSL_CTX_set_ex_data(ctx, ctx_slot, tls) != 1) {
        SSL_CTX_free(ctx);
        free(tls);
        return NULL;
    }
    /* From here on the context owns tls. */
    tls->ctx = ctx;
    tls->judge = judge;
    tls->is_server = is_server;
    SSL_CTX_set_cert_verify_callback(ctx, bk_tls_verify, NULL);
    if (!set_common(ctx)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return tls;
}

static bool add_alpn(struct bk_tls *tls, const char *name)
{
    size_t n = name != NULL ? strlen(name) : 0;
    if (n == 0 || n >= BK_TLS_ALPN_BYTES || n + 1 > sizeof tls->alpn - tls->alpn_n) {
        return false;
    }
    tls->alpn[tls->alpn_n] = (uint8_t)n;
    memcpy(tls->alpn + tls->alpn_n + 1, name, n);
    tls->alpn_n += n + 1;
    return true;
}

static bool copy_text(char *out, size_t cap, const char *text)
{
    size_t n = text != NULL ? strlen(text) : 0;
    if (n == 0 || n >= cap) {
        return false;
    }
    memcpy(out, text, n + 1);
    return true;
}

static bool use_own(struct bk_tls *tls, X509 *cert, EVP_PKEY *key)
{
    return SSL_CTX_use_certificate(tls->ctx, cert) == 1 &&
           SSL_CTX_use_PrivateKey(tls->ctx, key) == 1 && SSL_CTX_check_private_key(tls->ctx) == 1;
}

static enum bk_err finish(struct bk_tls *tls, bool ok, struct bk_tls **out)
{
    ERR_clear_error();
    if (!ok) {
        bk_tls_free(tls);
        return BK_E_MALFORMED;
    }
    *out = tls;
    return BK_OK;
}

enum bk_err bk_tls_new_server(const struct bk_tls_server *config, struct bk_tls **out)
{
    *out = NULL;
    struct bk_tls *tls = make(TLS_server_method(), BK_TLS_JUDGE_CLIENT, true);
    if (tls == NULL) {
        return BK_E_NOMEM;
    }
    bool ok = config->n_alpns >= 1 && config->n_alpns <= BK_TLS_ALPN_MAX &&
              use_own(tls, config->cert, config->key) &&
              SSL_CTX_add1_chain_cert(tls->ctx, config->ca) == 1 &&
              X509_STORE_add_cert(SSL_CTX_get_cert_store(tls->ctx), config->ca) == 1 &&
              SSL_CTX_add_client_CA(tls->ctx, config->ca) == 1;
    bool known = config->alpn_expired == NULL;
    for (size_t i = 0; ok && i < config->n_alpns; i++) {
        ok = add_alpn(tls, config->alpns[i]);
        known = known || (ok && strcmp(config->alpns[i], config->alpn_expired) == 0);
    }
    ok = ok && known &&
         (config->alpn_expired == NULL ||
          copy_text(tls->alpn_expired, sizeof tls->alpn_expired, config->alpn_expired)) &&
         (config->tickets == NULL || bk_tls_use_tickets(tls, config));
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_alpn_select_cb(tls->ctx, select_alpn, tls);
    SSL_CTX_set_client_hello_cb(tls->ctx, demand_alpn, NULL);
    return finish(tls, ok, out);
}

/* The certificate must hold it; a name is sent as server name too (RFC 6066 allows no addresses there). */
static bool expect_host(struct bk_tls *tls, const char *host)
{
    uint8_t ip[16];
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(tls->ctx);
    if (host == NULL || host[0] == '\0') {
        return false;
    }
    if (inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1) {
        return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    }
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                               X509_CHECK_FLAG_NO_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 &&
           copy_text(tls->server_name, sizeof tls->server_name, host);
}

enum bk_err bk_tls_new_client(const struct bk_tls_client *config, struct bk_tls **out)
{
    *out = NULL;
    assert((config->ca != NULL) != (config->ca_pin != NULL));
    struct bk_tls *tls = make(TLS_client_method(),
                              config->ca != NULL ? BK_TLS_JUDGE_SERVER : BK_TLS_JUDGE_JOIN, false);
    if (tls == NULL) {
        return BK_E_NOMEM;
    }
    bool ok = expect_host(tls, config->host) && add_alpn(tls, config->alpn) &&
              copy_text(tls->peer_uri, sizeof tls->peer_uri, config->peer_uri) &&
              (config->cert == NULL || use_own(tls, config->cert, config->key)) &&
              (config->ca == NULL ||
               X509_STORE_add_cert(SSL_CTX_get_cert_store(tls->ctx), config->ca) == 1);
    if (config->ca_pin != NULL) {
        memcpy(tls->pin, config->ca_pin, sizeof tls->pin);
    }
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
    return finish(tls, ok, out);
}

enum bk_err bk_tls_new_call_client(const struct bk_tls_call_client *config, struct bk_tls **out)
{
    *out = NULL;
    struct bk_tls *tls = make(TLS_client_method(), BK_TLS_JUDGE_KEY, false);
    if (tls == NULL) {
        return BK_E_NOMEM;
    }
    bool ok = add_alpn(tls, config->alpn) && use_own(tls, config->cert, config->key) &&
              copy_text(tls->server_name, sizeof tls->server_name, config->server_name);
    memcpy(tls->pin, config->peer_pin, sizeof tls->pin);
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
    return finish(tls, ok, out);
}

enum bk_err bk_tls_new_call_server(const char *alpn, bk_tls_choose_fn choose, void *ctx,
                                   struct bk_tls **out)
{
    *out = NULL;
    struct bk_tls *tls = make(TLS_server_method(), BK_TLS_JUDGE_KEY, true);
    if (tls == NULL) {
        return BK_E_NOMEM;
    }
    tls->choose = choose;
    tls->choose_ctx = ctx;
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_alpn_select_cb(tls->ctx, select_alpn, tls);
    SSL_CTX_set_client_hello_cb(tls->ctx, demand_alpn, NULL);
    SSL_CTX_set_tlsext_servername_callback(tls->ctx, choose_call);
    SSL_CTX_set_tlsext_servername_arg(tls->ctx, tls);
    return finish(tls, add_alpn(tls, alpn), out);
}

void bk_tls_free(struct bk_tls *tls)
{
    if (tls == NULL) {
        return;
    }
    tls->choose = NULL;
    SSL_CTX_free(tls->ctx);
}

void bk_tls_set_time(struct bk_tls *tls, uint64_t unix_s)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(tls->ctx);
    if (unix_s != 0) {
        X509_VERIFY_PARAM_set_time(param, (time_t)unix_s);
    } else {
        X509_VERIFY_PARAM_clear_flags(param, X509_V_FLAG_USE_CHECK_TIME);
    }
}

/* ---- After the handshake ---- */

static void on_tls_message(int sent, int version, int type, const void *bytes, size_t n, SSL *ssl,
                           void *arg)
{
    (void)version, (void)bytes, (void)n;
    unsigned *messages = arg;
    if (sent == 0 && type == SSL3_RT_HANDSHAKE && ++*messages > BK_TLS_CHATTER_MAX) {
        (void)SSL_clear_mode(ssl, SSL_MODE_AUTO_RETRY); /* else it would not come back to us */
    }
}

void bk_tls_count_chatter(SSL *ssl, unsigned *messages)
{
    SSL_set_msg_callback(ssl, messages != NULL ? on_tls_message : NULL);
    SSL_set_msg_callback_arg(ssl, messages);
}

/* ---- One connection ---- */

enum bk_err bk_tls_start(struct bk_tls *tls, int fd, SSL **out)
{
    *out = NULL;
    SSL *ssl = SSL_new(tls->ctx);
    struct bk_tls_session *s = calloc(1, sizeof *s);
    if (ssl == NULL || s == NULL || SSL_set_ex_data(ssl, ssl_slot, s) != 1) {
        free(s);
        SSL_free(ssl);
        return BK_E_NOMEM;
    }
    s->tls = tls;
    if (tls->judge == BK_TLS_JUDGE_KEY && !tls->is_server) {
        memcpy(s->pin, tls->pin, sizeof s->pin);
        s->have_pin = true;
    }
    bool ok = fd < 0 || SSL_set_fd(ssl, fd) == 1;
    if (tls->is_server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
        ok = ok && SSL_set_alpn_protos(ssl, tls->alpn, (unsigned)tls->alpn_n) == 0;
        if (tls->server_name[0] != '\0') {
            ok = ok && SSL_set_tlsext_host_name(ssl, tls->server_name) == 1;
        }
        bk_tls_offer(tls, ssl);
    }
    if (!ok) {
        SSL_free(ssl);
        ERR_clear_error();
        return BK_E_NOMEM;
    }
    *out = ssl;
    return BK_OK;
}

enum bk_err bk_tls_start_again(const SSL *ssl, SSL **out)
{
    const struct bk_tls_session *s = bk_tls_session_of(ssl);
    *out = NULL;
    return s != NULL ? bk_tls_start(s->tls, -1, out) : BK_E_STATE;
}

enum bk_err bk_tls_peer_of(SSL *ssl, struct bk_tls_peer *out)
{
    const unsigned char *alpn = NULL;
    unsigned alpn_n = 0;
    memset(out, 0, sizeof *out);
    if (!SSL_is_init_finished(ssl)) {
        return BK_E_STATE;
    }
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_n);
    if (alpn_n == 0 || alpn_n >= sizeof out->alpn) {
        return BK_E_NOTFOUND;
    }
    memcpy(out->alpn, alpn, alpn_n);
    X509 *cert = SSL_get0_peer_certificate(ssl);
    if (cert == NULL) {
        return BK_OK;
    }
    if (bk_x509_raw_key(cert, out->key) != BK_OK ||
        bk_x509_not_after(cert, &out->not_after_s) != BK_OK) {
        return BK_E_MALFORMED;
    }
    bk_x509_pin(out->key, out->pin);
    /* A call's certificate names nobody: its key is all there is. */
    enum bk_err err = bk_x509_uri(cert, out->uri);
    if (err != BK_OK && err != BK_E_NOTFOUND) {
        return BK_E_MALFORMED;
    }
    const struct bk_tls_session *s = bk_tls_session_of(ssl);
    out->expired = s != NULL && s->expired;
    out->resumed = SSL_session_reused(ssl) == 1;
    out->certified = true;
    return BK_OK;
}

X509 *bk_tls_take_ca(const SSL *ssl)
{
    struct bk_tls_session *s = bk_tls_session_of(ssl);
    if (s == NULL || s->ca == NULL || X509_up_ref(s->ca) != 1) {
        return NULL;
    }
    return s->ca;
}
