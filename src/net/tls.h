/* TLS as Beckon uses it: 1.3 only, AES-128-GCM first, ALPN required, no early data from clients; resumption
 * between a server that has `tickets` and its clients, and nowhere else. A `bk_tls` is one configured role;
 * connections are started from it (net/conn.h does) and keep what they need alive, so it may be freed while they
 * live.
 *
 * OpenSSL writes to sockets in a way that raises SIGPIPE: the program must ignore that signal.
 *
 * The role decides what a peer must show; nobody above can forget to check. Which ALPN name needs which
 * kind of certificate is above this file. With the build option BECKON_KEYLOG the secrets go to the file
 * named by SSLKEYLOGFILE; release builds hold no such code. */
#ifndef BK_NET_TLS_H
#define BK_NET_TLS_H

#include <openssl/ssl.h>

#include "base/err.h"
#include "net/x509.h"

enum {
    BK_TLS_ALPN_BYTES = 32, /* with terminator */
    BK_TLS_ALPN_MAX = 8,    /* names of one server */
    BK_TLS_TEXT_BYTES = 160,
    BK_TLS_CHATTER_MAX = 64, /* messages of TLS itself after the handshake; a ticket is one */
    BK_TLS_SESSION_MAX_BYTES = 3072,
    BK_TLS_TICKET_LIFE_S = 4 * 3600,
    BK_TLS_PROOF_LIFE_S = 24 * 3600, /* a chain of resumptions: then the key must be proven again */
};

struct bk_tls;

/* Who is at the other end, once the handshake is over. */
struct bk_tls_peer {
    bool certified;              /* showed a certificate, and it passed; else only `alpn` counts */
    bool expired;                /* it passed as `alpn_expired` allows, but its time is over */
    bool resumed;                /* it showed that certificate in an earlier connection */
    char uri[BK_X509_URI_BYTES]; /* of the certificate; empty if it has none (call certificates) */
    uint8_t key[BK_X509_KEY_BYTES]; /* raw Ed25519 public key */
    uint8_t pin[BK_X509_PIN_BYTES];
    uint64_t not_after_s; /* until when its certificate is valid, seconds since 1970 */
    char alpn[BK_TLS_ALPN_BYTES];
};

/* Why a handshake failed. */
enum bk_tls_failure {
    BK_TLS_OK = 0,
    BK_TLS_REFUSED_BY_PEER, /* the peer did not accept our certificate, or wants one */
    BK_TLS_NOT_OUR_CA,      /* the peer's certificate is not signed by the CA we know */
    BK_TLS_WRONG_NAME, /* host name, address or URI is not in the certificate; or no such server name */
    BK_TLS_WRONG_KEY, /* the peer's key (or the CA's) is not the pinned one */
    BK_TLS_EXPIRED,   /* the peer's certificate, or it is not valid yet: a clock may be wrong */
    BK_TLS_NO_CERTIFICATE, /* the peer showed none where one is needed */
    BK_TLS_NO_ALPN,        /* no protocol in common */
    BK_TLS_NOT_TLS,        /* the peer speaks something else */
    BK_TLS_CUT,            /* the connection ended during the handshake */
    BK_TLS_OTHER,
};

/* One plain phrase; never NULL. */
const char *bk_tls_failure_text(enum bk_tls_failure failure);

/* Certificates, keys and texts below are borrowed for the call of `new` only.
 * All return BK_E_NOMEM, or BK_E_MALFORMED for a certificate or ALPN name that cannot be used. */

/* A server with a certificate from `ca`, which is sent along. A client may show a certificate: it must
 * then be from `ca`, valid, and name a URI; or none, and is told apart by `certified`. */
struct bk_tls_server {
    X509 *cert;
    EVP_PKEY *key;
    X509 *ca;
    const char *const *alpns; /* in order of preference */
    size_t n_alpns;
    /* One of them, or NULL: who comes by this name may show a certificate that has expired, or is not valid yet (to renew
     * it). Everything else about it is checked as always, and a CA that has expired passes nobody. */
    const char *alpn_expired;
    /* Gives each client with a certificate one ticket a connection, except under `alpn_expired`, and takes
     * them; NULL: neither. Held for as long as the result needs it. */
    struct bk_tls_tickets *tickets;
};
BK_NODISCARD enum bk_err bk_tls_new_server(const struct bk_tls_server *config, struct bk_tls **out);

/* A client of such a server. Its own certificate is shown whether it has expired or not. */
struct bk_tls_client {
    X509 *cert; /* NULL: shows none */
    EVP_PKEY *key;
    X509 *ca; /* or NULL: then `ca_pin` counts */
    /* BK_X509_PIN_BYTES: the chain must hold a CA certificate with this key (joining). */
    const uint8_t *ca_pin;
    /* Name or IP literal that the certificate must hold; sent as server name if a name. */
    const char *host;
    const char *peer_uri; /* that it must hold as well: "beckon:server" */
    const char *alpn;
};
BK_NODISCARD enum bk_err bk_tls_new_client(const struct bk_tls_client *config, struct bk_tls **out);

/* ---- Resumption ----
 *
 * A ticket is good for the server, the authority and the protocol name it was given under, during the run of the
 * server that gave it. Key exchange is always made anew, and the certificate that the session began with is judged
 * again on both sides as if it had just been shown: by chain, time, host and URI. Where anything is amiss the handshake
 * is a full one, and ends as that does. */

/* Keys of tickets, in memory only. */
struct bk_tls_tickets;
/* A new key every `period_s` (0: BK_TLS_TICKET_LIFE_S); the one before still opens tickets. BK_E_NOMEM */
BK_NODISCARD enum bk_err bk_tls_tickets_new(uint32_t period_s, struct bk_tls_tickets **out);
/* As if the period were over. */
void bk_tls_tickets_turn(struct bk_tls_tickets *tickets);
/* Servers that hold it go on with it. NULL is fine. */
void bk_tls_tickets_free(struct bk_tls_tickets *tickets);

/* What becomes of a session that a server gave: at most one a connection, told from within SSL_read. The bytes are
 * secret. `keep` may not touch the connection. `drop` comes once, when the last connection of the client is gone. */
struct bk_tls_keeper {
    void *ctx;
    void (*keep)(void *ctx, struct bk_slice session);
    void (*drop)(void *ctx); /* or NULL */
};
/* Before the first connection of a client with a certificate (bk_tls_new_client, with `ca`). */
void bk_tls_set_keeper(struct bk_tls *tls, const struct bk_tls_keeper *keeper);
/* Connections started from now on offer it, if its certificate still passes. BK_E_MALFORMED: no session of ours, or of
 * another protocol; BK_E_EXPIRED. Then connections are as without. */
BK_NODISCARD enum bk_err bk_tls_offer_session(struct bk_tls *tls, struct bk_slice session);
void bk_tls_offer_none(struct bk_tls *tls); /* from now on */

/* After a handshake with `ca_pin`: the CA certificate that was pinned, a reference of the caller's own.
 * NULL otherwise. */
X509 *bk_tls_take_ca(const SSL *ssl);

/* End to end, the agent's side: shows its certificate, and the server's key must have this pin; nothing
 * else of the server's certificate counts. */
struct bk_tls_call_client {
    X509 *cert;
    EVP_PKEY *key;
    const uint8_t *peer_pin; /* BK_X509_PIN_BYTES */
    const char *server_name; /* the call's, a name as DNS takes it */
    const char *alpn;
};
BK_NODISCARD enum bk_err bk_tls_new_call_client(const struct bk_tls_call_client *config,
                                                struct bk_tls **out);

/* End to end, the requester's side: the server name says which call this is. */
struct bk_tls_call {
    X509 *cert; /* both borrowed until the callback's caller has used them */
    EVP_PKEY *key;
    uint8_t peer_pin[BK_X509_PIN_BYTES]; /* the client must show a certificate with this key */
};
/* Fills `out` for a call that is expected now; false refuses the handshake. `server_name` is "" where the
 * client sent none. Called within the handshake: must not free connections. */
typedef bool (*bk_tls_choose_fn)(void *ctx, const char *server_name, struct bk_tls_call *out);
BK_NODISCARD enum bk_err bk_tls_new_call_server(const char *alpn, bk_tls_choose_fn choose,
                                                void *ctx, struct bk_tls **out);

/* free(NULL) is fine. Connections live on, but a call server's `choose` is no longer asked. */
void bk_tls_free(struct bk_tls *tls);

/* Judge certificates by this time instead of the host's clock (a device without one); 0: the clock. */
void bk_tls_set_time(struct bk_tls *tls, uint64_t unix_s);

/* ---- For net/conn.h and whoever drives an SSL itself ---- */

/* An SSL for a connected socket, ready for SSL_do_handshake; it does not own `fd`, which may be -1 and set
 * later by SSL_set_fd. BK_E_NOMEM */
BK_NODISCARD enum bk_err bk_tls_start(struct bk_tls *tls, int fd, SSL **out);
/* Another one as `ssl`, whose handshake has not begun to be answered: from the same role, which may have been freed since.
 * BK_E_NOMEM */
BK_NODISCARD enum bk_err bk_tls_start_again(const SSL *ssl, SSL **out);
/* After SSL_do_handshake or SSL_read returned `ret` <= 0 for good: why. Empties OpenSSL's error queue. */
enum bk_tls_failure bk_tls_why(SSL *ssl, int ret);
/* Counts in `*messages`, which must live as long as the SSL does, what the peer says within TLS from now on (key
 * updates, tickets): handshake messages that cost us work and bring nothing. OpenSSL answers and reads on
 * for as long as they come; beyond `*messages` = BK_TLS_CHATTER_MAX its SSL_read returns after each, as if
 * there were nothing to read: the caller looks at the count and ends the connection, or forgives some.
 * NULL: counts no more. */
void bk_tls_count_chatter(SSL *ssl, unsigned *messages);
/* After the handshake. BK_E_STATE: not over; BK_E_NOTFOUND: no ALPN name was agreed, which is a failure;
 * BK_E_MALFORMED: a certificate that cannot be described. */
BK_NODISCARD enum bk_err bk_tls_peer_of(SSL *ssl, struct bk_tls_peer *out);

#endif
