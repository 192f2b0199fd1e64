/* The operator's certificate authority, as the server holds it: makes the CA and the server's own
 * certificate, and issues those of devices and users. Decides nothing about who may have one. */
#ifndef BK_BECKOND_AUTHORITY_H
#define BK_BECKOND_AUTHORITY_H

#include "bin/beckond/state.h"
#include "net/x509.h"
#include "seal/identity.h"

enum {
    BK_AUTHORITY_HOSTS_MAX = 16,
    BK_AUTHORITY_LIFE_S = 365 * 24 * 3600, /* of a device's or user's certificate */
};

struct bk_authority {
    EVP_PKEY *ca_key; /* NULL: kept elsewhere, certificates come by way of bin/beckond/requests.h */
    X509 *ca;
    EVP_PKEY *server_key;
    X509 *server;
    size_t ca_der_bytes;
    uint8_t ca_der[BK_X509_DER_MAX_BYTES];
    uint8_t ca_pin[BK_PIN_BYTES];
    char dir[BK_STATE_PATH_BYTES];
};

/* What there is to say about a certificate that is signed elsewhere. */
struct bk_authority_note {
    bool asked;    /* a new request has been laid down */
    bool unusable; /* what lies there as an answer is none */
};

/* Whatever these wrote before failing is left to the caller.
 * A new CA: ca.key and ca.crt. BK_E_EXISTS, BK_E_IO, BK_E_NOMEM, BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_authority_make_ca(const char *dir, const char *name, uint64_t unix_s);
/* server.key and server.crt, for a server found under these names and addresses, from the CA in `ca_dir`; where
 * that is another directory, its ca.crt as well. Besides those above BK_E_RANGE (a host that a certificate
 * cannot hold), and what _load_ca returns. */
BK_NODISCARD enum bk_err bk_authority_make_server(const char *dir, const char *ca_dir,
                                                  const char *const *hosts, size_t n_hosts,
                                                  uint64_t unix_s);

/* The CA alone, key and certificate: for signing. Errors as _load. */
BK_NODISCARD enum bk_err bk_authority_load_ca(const char *dir, uint64_t unix_s,
                                              struct bk_authority *out, const char **which);
/* Reads all four (ca.key may be missing where there is a directory for requests) and checks that they belong together and are valid. `which` names the file at fault.
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
/* The same, from the CA's key where there is one, else from what was signed elsewhere for the key of this request.
 * BK_E_STATE: that has yet to be done, and the request lies there for it. `note` is always filled. After the
 * certificate is safe in the store, call _issued. */
BK_NODISCARD enum bk_err bk_authority_obtain(const struct bk_authority *a, struct bk_slice request,
                                             const struct bk_identity *holder, uint64_t unix_s,
                                             uint8_t *buf, size_t cap, size_t *n,
                                             struct bk_authority_note *note);
void bk_authority_issued(const struct bk_authority *a, const struct bk_identity *holder);

#endif
