/* The operator's certificate authority, as the server holds it: makes the CA and the server's own
 * certificate, and issues those of devices and users. Decides nothing about who may have one. */
#ifndef BK_BECKOND_AUTHORITY_H
#define BK_BECKOND_AUTHORITY_H

#include "net/x509.h"
#include "seal/identity.h"

enum {
    BK_AUTHORITY_HOSTS_MAX = 16,
    BK_AUTHORITY_LIFE_S = 365 * 24 * 3600, /* of a device's or user's certificate */
};

struct bk_authority {
    EVP_PKEY *ca_key;
    X509 *ca;
    EVP_PKEY *server_key;
    X509 *server;
    size_t ca_der_bytes;
    uint8_t ca_der[BK_X509_DER_MAX_BYTES];
    uint8_t ca_pin[BK_PIN_BYTES];
};

/* Writes ca.key, ca.crt, server.key and server.crt into `dir`, for a server found under these names and
 * addresses; whatever it wrote before failing is left to the caller. BK_E_EXISTS, BK_E_IO, BK_E_NOMEM,
 * BK_E_RANGE (a host that a certificate cannot hold). */
BK_NODISCARD enum bk_err bk_authority_make(const char *dir, const char *name,
                                           const char *const *hosts, size_t n_hosts,
                                           uint64_t unix_s);

/* Reads those four and checks that they belong together and are valid. `which` names the file at fault.
 * BK_E_NOTFOUND, BK_E_IO, BK_E_MALFORMED, BK_E_AUTH, BK_E_EXPIRED. */
BK_NODISCARD enum bk_err bk_authority_load(const char *dir, uint64_t unix_s,
                                           struct bk_authority *out, const char **which);
/* Only the CA's pin, for tokens. Errors as above. */
BK_NODISCARD enum bk_err bk_authority_pin(const char *dir, uint8_t pin[BK_PIN_BYTES]);
void bk_authority_fini(struct bk_authority *a);

/* A certificate for the key of a PKCS#10 request, whose signature is checked, naming `holder` (role and
 * name; its key is not looked at). BK_E_MALFORMED, BK_E_AUTH, BK_E_NOSPACE, BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_authority_issue(const struct bk_authority *a, struct bk_slice request,
                                            const struct bk_identity *holder, uint64_t unix_s,
                                            uint8_t *buf, size_t cap, size_t *n);

#endif
