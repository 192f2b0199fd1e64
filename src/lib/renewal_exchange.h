/* The RENEW exchange that devices and users share: what is enrolled asks for what it has anew, over TLS with its
 * certificate, expired or not. Writes no file. */
#ifndef BK_LIB_RENEWAL_EXCHANGE_H
#define BK_LIB_RENEWAL_EXCHANGE_H

#include "beckon/beckon.h"
#include "lib/certs.h"
#include "wire/enrol.h"

struct bk_renewal_order {
    const char *host;
    uint16_t port;
    const struct bk_credentials *own; /* borrowed */
    bool certificate;                 /* ask for a new one for the same key */
    struct bk_slice box_key;          /* devices: signed (seal/box_key.h), or empty */
    uint64_t unix_s; /* what certificates are judged by where the host's clock is off it; 0: none */
    int stop_fd;     /* once readable, the exchange is given up; -1: none */
};

/* What came back, verified: the certificate is from our CA, for our key, and names whom the old one named. */
struct bk_renewed {
    X509 *cert;   /* owned; NULL: none was asked for, or the operator has yet to sign it */
    bool pending; /* the latter */
    /* devices */
    uint32_t generation;
    uint16_t epoch;
    uint8_t registration_key[BK_KEY_BYTES];
};

/* REVOKED, SERVER_DOWN, BUSY, INTERRUPTED, BAD_CONFIG (our certificate names nobody), FAILED. */
enum beckon_status bk_renewal_exchange(const struct bk_renewal_order *order, struct bk_renewed *out,
                                       struct beckon_error *error);
void bk_renewed_fini(struct bk_renewed *renewed);

/* Is a certificate past half of its life, or from so far ahead that a wrong clock made it? False where no clock is trusted
 * (unix_s 0). */
bool bk_certificate_is_old(X509 *cert, uint64_t unix_s);

#endif
