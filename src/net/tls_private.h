/* What tls.c (roles), tls_verify.c (judging the peer) and tls_resume.c (tickets and sessions) share. Included by nothing
 * else. */
#ifndef BK_NET_TLS_PRIVATE_H
#define BK_NET_TLS_PRIVATE_H

#include "net/tls.h"

/* How a peer is judged. */
enum bk_tls_judge {
    BK_TLS_JUDGE_CLIENT, /* we are server: from our CA, with a URI, or none at all */
    BK_TLS_JUDGE_SERVER, /* from our CA, with host and URI */
    BK_TLS_JUDGE_JOIN,   /* the same, with a CA known by its pin alone */
    BK_TLS_JUDGE_KEY,    /* by the pin of its key alone */
};

struct bk_tls {
    SSL_CTX *ctx; /* owns this structure: the last SSL of the context takes both along */
    enum bk_tls_judge judge;
    bool is_server;
    char peer_uri[BK_X509_URI_BYTES];
    char server_name[256];          /* that a client sends; empty: none */
    uint8_t pin[BK_X509_PIN_BYTES]; /* of the CA (JOIN), of the peer (KEY, client) */
    bk_tls_choose_fn choose;        /* KEY, server */
    void *choose_ctx;
    size_t alpn_n;
    uint8_t alpn[BK_TLS_ALPN_MAX * BK_TLS_ALPN_BYTES]; /* length-prefixed names */
    char alpn_expired[BK_TLS_ALPN_BYTES];              /* empty: none */
    struct bk_tls_tickets *tickets;                    /* of a server that resumes */
    struct bk_tls_keeper keeper;                       /* of a client that does */
    SSL_SESSION *offered;
};

/* What one connection carries besides its SSL. */
struct bk_tls_session {
    struct bk_tls *tls; /* lives as long as the SSL's context */
    uint8_t pin[BK_X509_PIN_BYTES];
    bool have_pin;
    bool expired;                /* the peer's certificate, and that is allowed here */
    enum bk_tls_failure failure; /* what we found wrong with the peer */
    X509 *ca;                    /* JOIN: found in the peer's chain */
    bool kept;                   /* the ticket of this connection */
};

struct bk_tls_session *bk_tls_session_of(const SSL *ssl); /* NULL on an SSL that is not ours */

/* For SSL_CTX_set_cert_verify_callback; `arg` is not used. */
int bk_tls_verify(X509_STORE_CTX *store, void *arg);
/* Would `cert`, which the peer showed in an earlier connection, pass now? Leaves no trace in the SSL. */
bool bk_tls_verify_again(SSL *ssl, X509 *cert);

/* tls_resume.c. A server begins to give and take tickets, a client to use them. False: OpenSSL had no memory. */
BK_NODISCARD bool bk_tls_use_tickets(struct bk_tls *tls, const struct bk_tls_server *config);
/* The client has shown a certificate that passed: it gets a ticket, if this is a connection for one. */
void bk_tls_grant_ticket(SSL *ssl);
/* Is the session that is being resumed one of this protocol name? True where none is. */
bool bk_tls_ticket_fits(SSL *ssl, const unsigned char *alpn, size_t n);
/* An SSL of a client begins. */
void bk_tls_offer(const struct bk_tls *tls, SSL *ssl);
/* Gives back what the above hold. */
void bk_tls_resume_fini(struct bk_tls *tls);

#endif
