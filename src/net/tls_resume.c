/* Resumption: tickets of a server, sessions of a client. A ticket is the whole session, sealed, so the server keeps
 * nothing but its keys. Invariant: no session is resumed whose certificate would not pass a handshake now; who
 * fails that goes through a full one, which finds the same and says so. */
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "net/clock.h"
#include "net/tls_private.h"

enum {
    NAME_BYTES = 16,
    IV_BYTES = 16,
    KEY_BYTES = 32,
    CONTEXT_BYTES = 32, /* SSL_MAX_SID_CTX_LENGTH */
    NOTE_VERSION = 1,
    NOTE_HEAD_BYTES = 9,
    NOTE_BYTES = NOTE_HEAD_BYTES + BK_TLS_ALPN_BYTES,
};

_Static_assert(CONTEXT_BYTES <= SSL_MAX_SID_CTX_LENGTH, "OpenSSL takes no longer one");

struct ticket_key {
    bool there;
    uint8_t name[NAME_BYTES], cipher[KEY_BYTES], mac[KEY_BYTES];
};

struct bk_tls_tickets {
    unsigned holders;
    bk_time period, since;
    struct ticket_key now, before;
};

/* ---- Keys ---- */

static void turn(struct bk_tls_tickets *t, bk_time now)
{
    t->before = t->now;
    t->since = now;
    t->now.there = RAND_bytes(t->now.name, sizeof t->now.name) == 1 &&
                   RAND_priv_bytes(t->now.cipher, sizeof t->now.cipher) == 1 &&
                   RAND_priv_bytes(t->now.mac, sizeof t->now.mac) == 1;
}

/* After two periods of silence nothing opens any more that was sealed before. */
static void turn_if_due(struct bk_tls_tickets *t)
{
    bk_time now = bk_clock_mono();
    if (now - t->since >= 2 * t->period) {
        OPENSSL_cleanse(&t->now, sizeof t->now);
    }
    if (!t->now.there || now - t->since >= t->period) {
        turn(t, now);
    }
}

enum bk_err bk_tls_tickets_new(uint32_t period_s, struct bk_tls_tickets **out)
{
    struct bk_tls_tickets *t = calloc(1, sizeof *t);
    *out = t;
    if (t == NULL) {
        return BK_E_NOMEM;
    }
    t->holders = 1;
    t->period = (period_s != 0 ? period_s : (uint64_t)BK_TLS_TICKET_LIFE_S) * BK_SECOND;
    turn_if_due(t);
    return BK_OK;
}

void bk_tls_tickets_turn(struct bk_tls_tickets *t)
{
    turn(t, bk_clock_mono());
}

void bk_tls_tickets_free(struct bk_tls_tickets *t)
{
    if (t == NULL || --t->holders > 0) {
        return;
    }
    OPENSSL_cleanse(t, sizeof *t);
    free(t);
}

static struct ticket_key *key_named(struct bk_tls_tickets *t, const uint8_t *name)
{
    struct ticket_key *const keys[] = {&t->now, &t->before};
    for (size_t i = 0; i < 2; i++) {
        if (keys[i]->there && CRYPTO_memcmp(keys[i]->name, name, NAME_BYTES) == 0) {
            return keys[i];
        }
    }
    return NULL;
}

static bool set_key(struct ticket_key *key, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, int seal)
{
    static char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, seal) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb(3) wants it: 1 goes on, 0 knows no such key, less is a failure. */
static int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int seal)
{
    const struct bk_tls_session *s = bk_tls_session_of(ssl);
    struct bk_tls_tickets *t = s != NULL ? s->tls->tickets : NULL;
    if (t == NULL) {
        return 0;
    }
    turn_if_due(t);
    struct ticket_key *key = seal != 0 ? &t->now : key_named(t, name);
    if (key == NULL) {
        return 0;
    }
    if (seal != 0) {
        if (!key->there || RAND_bytes(iv, IV_BYTES) != 1) {
            return -1;
        }
        memcpy(name, key->name, NAME_BYTES);
    }
    return set_key(key, iv, cipher, mac, seal) ? 1 : -1;
}

/* ---- What a ticket says besides the session: since when the key is proven, and under which name ---- */

static size_t write_note(uint64_t proven_s, const uint8_t *alpn, size_t n, uint8_t out[NOTE_BYTES])
{
    out[0] = NOTE_VERSION;
    for (unsigned i = 0; i < 8; i++) {
        out[1 + i] = (uint8_t)(proven_s >> (56 - 8 * i));
    }
    memcpy(out + NOTE_HEAD_BYTES, alpn, n);
    return NOTE_HEAD_BYTES + n;
}

static bool read_note(SSL_SESSION *session, uint64_t *proven_s, struct bk_slice *alpn)
{
    void *data = NULL;
    size_t n = 0;
    if (SSL_SESSION_get0_ticket_appdata(session, &data, &n) != 1 || data == NULL ||
        n <= NOTE_HEAD_BYTES || n > NOTE_BYTES) {
        return false;
    }
    const uint8_t *p = data;
    *proven_s = 0;
    for (unsigned i = 0; i < 8; i++) {
        *proven_s = *proven_s << 8 | p[1 + i];
    }
    *alpn = bk_slice(p + NOTE_HEAD_BYTES, n - NOTE_HEAD_BYTES);
    return p[0] == NOTE_VERSION;
}

/* By the clock that certificates are judged by. */
static uint64_t unix_of(SSL *ssl)
{
    const X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    bool told = (X509_VERIFY_PARAM_get_flags(param) & X509_V_FLAG_USE_CHECK_TIME) != 0;
    return told ? (uint64_t)X509_VERIFY_PARAM_get_time(param) : bk_clock_unix_s();
}

static int on_ticket_made(SSL *ssl, void *arg)
{
    (void)arg;
    SSL_SESSION *session = SSL_get_session(ssl);
    const unsigned char *alpn = NULL;
    unsigned n = 0;
    uint64_t proven_s = unix_of(ssl), before_s = 0;
    struct bk_slice ignored;
    uint8_t note[NOTE_BYTES];
    SSL_get0_alpn_selected(ssl, &alpn, &n);
    if (n == 0 || n >= BK_TLS_ALPN_BYTES) {
        return 0;
    }
    if (SSL_session_reused(ssl) == 1 && read_note(session, &before_s, &ignored)) {
        proven_s = before_s;
    }
    n = (unsigned)write_note(proven_s, alpn, n, note);
    return SSL_SESSION_set1_ticket_appdata(session, note, n);
}

/* ---- Server ---- */

/* Opened by one of our keys, so it is as we made it; what has changed since is the time, and perhaps we. */
static bool is_good(SSL *ssl, SSL_SESSION *session)
{
    uint64_t proven_s = 0, now_s = unix_of(ssl);
    struct bk_slice alpn;
    return session != NULL && read_note(session, &proven_s, &alpn) &&
           now_s - proven_s <
               BK_TLS_PROOF_LIFE_S && /* nor if it lies ahead: the clock was set back */
           bk_tls_verify_again(ssl, SSL_SESSION_get0_peer(session));
}

static SSL_TICKET_RETURN on_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                          size_t n, SSL_TICKET_STATUS status, void *arg)
{
    (void)name, (void)n, (void)arg;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) {
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
    return is_good(ssl, session) ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_IGNORE_RENEW;
}

void bk_tls_grant_ticket(SSL *ssl)
{
    const struct bk_tls_session *s = bk_tls_session_of(ssl);
    if (s != NULL && s->tls->tickets != NULL) {
        (void)SSL_set_num_tickets(ssl, 1);
    }
}

bool bk_tls_ticket_fits(SSL *ssl, const unsigned char *alpn, size_t n)
{
    uint64_t ignored;
    struct bk_slice was;
    return SSL_session_reused(ssl) != 1 || (read_note(SSL_get_session(ssl), &ignored, &was) &&
                                            was.n == n && memcmp(was.p, alpn, n) == 0);
}

/* A ticket of another authority, another certificate of ours or another set of names is none of ours. */
static bool name_context(const struct bk_tls *tls, const struct bk_tls_server *config,
                         uint8_t out[CONTEXT_BYTES])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned n = 0;
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              bk_x509_digest_into(config->ca, md) && bk_x509_digest_into(config->cert, md) &&
              EVP_DigestUpdate(md, tls->alpn, tls->alpn_n) == 1 &&
              EVP_DigestFinal_ex(md, out, &n) == 1 && n == CONTEXT_BYTES;
    EVP_MD_CTX_free(md);
    return ok;
}

bool bk_tls_use_tickets(struct bk_tls *tls, const struct bk_tls_server *config)
{
    uint8_t context[CONTEXT_BYTES];
    if (!name_context(tls, config, context) ||
        SSL_CTX_set_session_id_context(tls->ctx, context, sizeof context) != 1 ||
        SSL_CTX_set_tlsext_ticket_key_evp_cb(tls->ctx, on_ticket_key) != 1 ||
        SSL_CTX_set_session_ticket_cb(tls->ctx, on_ticket_made, on_ticket_opened, NULL) != 1) {
        return false;
    }
    SSL_CTX_set_timeout(tls->ctx, BK_TLS_TICKET_LIFE_S);
    SSL_CTX_clear_options(tls->ctx, SSL_OP_NO_TICKET);
    tls->tickets = config->tickets;
    tls->tickets->holders++;
    return true;
}

/* ---- Client ---- */

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct bk_tls_session *s = bk_tls_session_of(ssl);
    uint8_t bytes[BK_TLS_SESSION_MAX_BYTES], *p = bytes;
    int n = i2d_SSL_SESSION(session, NULL);
    if (s == NULL || s->kept || s->tls->keeper.keep == NULL || n <= 0 || (size_t)n > sizeof bytes) {
        return 0;
    }
    n = i2d_SSL_SESSION(session, &p);
    if (n > 0) {
        s->kept = true;
        s->tls->keeper.keep(s->tls->keeper.ctx, bk_slice(bytes, (size_t)n));
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    return 0; /* no reference is kept */
}

void bk_tls_set_keeper(struct bk_tls *tls, const struct bk_tls_keeper *keeper)
{
    tls->keeper = *keeper;
    SSL_CTX_clear_options(tls->ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(tls->ctx, on_session);
}

static bool is_ours(const struct bk_tls *tls, const SSL_SESSION *session)
{
    const unsigned char *alpn = NULL;
    size_t n = 0;
    SSL_SESSION_get0_alpn_selected(session, &alpn, &n);
    return SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION &&
           SSL_SESSION_is_resumable(session) == 1 && SSL_SESSION_get_max_early_data(session) == 0 &&
           tls->judge == BK_TLS_JUDGE_SERVER && n + 1 == tls->alpn_n &&
           memcmp(alpn, tls->alpn + 1, n) == 0;
}

enum bk_err bk_tls_offer_session(struct bk_tls *tls, struct bk_slice bytes)
{
    const unsigned char *p = bytes.p;
    SSL_SESSION *session = NULL;
    if (bytes.n > 0 && bytes.n <= BK_TLS_SESSION_MAX_BYTES) {
        session = d2i_SSL_SESSION(NULL, &p, (long)bytes.n);
    }
    ERR_clear_error();
    if (session == NULL || p != bytes.p + bytes.n || !is_ours(tls, session) ||
        SSL_SESSION_get0_peer(session) == NULL) {
        SSL_SESSION_free(session);
        return BK_E_MALFORMED;
    }
    long now_s = (long)bk_clock_unix_s(), age_s = now_s - SSL_SESSION_get_time(session);
    if (age_s < 0 || age_s >= SSL_SESSION_get_timeout(session) || age_s >= BK_TLS_TICKET_LIFE_S) {
        SSL_SESSION_free(session);
        return BK_E_EXPIRED;
    }
    SSL_SESSION_free(tls->offered);
    tls->offered = session;
    SSL_CTX_clear_options(tls->ctx, SSL_OP_NO_TICKET);
    return BK_OK;
}

void bk_tls_offer_none(struct bk_tls *tls)
{
    SSL_SESSION_free(tls->offered);
    tls->offered = NULL;
}

/* Its server's certificate would not be shown again: so it is judged before. */
void bk_tls_offer(const struct bk_tls *tls, SSL *ssl)
{
    if (tls->offered != NULL && bk_tls_verify_again(ssl, SSL_SESSION_get0_peer(tls->offered))) {
        (void)SSL_set_session(ssl, tls->offered);
    }
    ERR_clear_error();
}

void bk_tls_resume_fini(struct bk_tls *tls)
{
    bk_tls_tickets_free(tls->tickets);
    SSL_SESSION_free(tls->offered);
    if (tls->keeper.drop != NULL) {
        tls->keeper.drop(tls->keeper.ctx);
    }
}
