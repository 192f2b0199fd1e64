/* Certificates that are signed elsewhere (an external CA): DIR/requests, mode 0700, holds for each that wants one
 *
 *   device-2133.req, user-alice.req   its PKCS#10 request, PEM
 *   device-2133.crt, user-alice.crt   the answer, put there by `beckond sign`
 *
 * The directory can be carried to where the CA's key is and back. Nothing in it is believed: a certificate
 * counts if it is for the key that asks, names the holder and comes from our CA. Nor does it lead anywhere: it is opened
 * once, neither it nor anything in it may be a symbolic link, and what is written replaces one. */
#ifndef BK_BECKOND_REQUESTS_H
#define BK_BECKOND_REQUESTS_H

#include "bin/beckond/state.h"
#include "net/x509.h"
#include "seal/identity.h"

enum {
    BK_REQUESTS_NAME_BYTES = 96, /* "device-2133", "user-alice" */
    BK_REQUESTS_FILE_BYTES = BK_REQUESTS_NAME_BYTES + 8,
};

/* Role and ID or name as the files are called; and back, BK_E_MALFORMED. */
void bk_requests_name(const struct bk_identity *holder, char out[BK_REQUESTS_NAME_BYTES]);
BK_NODISCARD enum bk_err bk_requests_holder(struct bk_slice name, struct bk_identity *out);
/* NAME + `ending` (".req", ".crt"). */
void bk_requests_file(const char *name, const char *ending, char out[BK_REQUESTS_FILE_BYTES]);
/* Whether DIR/requests is there: then certificates may have to be signed elsewhere. */
bool bk_requests_used(const char *dir);

/* DIR/requests, for the functions that take a `folder`; close() it. BK_E_NOTFOUND, BK_E_IO, BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_requests_open(const char *dir, int *folder);

/* PEM files of one block, mode 0600. BK_E_NOTFOUND, BK_E_IO, BK_E_MALFORMED; BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_requests_load(int folder, const char *file, const char *label,
                                          uint8_t der[BK_X509_DER_MAX_BYTES], size_t *n);
BK_NODISCARD enum bk_err bk_requests_save(int folder, const char *file, const char *label,
                                          struct bk_slice der);
#define BK_REQUESTS_PEM_REQUEST "CERTIFICATE REQUEST"
#define BK_REQUESTS_PEM_CERTIFICATE "CERTIFICATE"

/* Lays the request there for signing; `fresh` tells whether it was not there yet. An answer to an older
 * request with another key goes. BK_E_IO, BK_E_NOMEM, BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_requests_put(const char *dir, const struct bk_identity *holder,
                                         struct bk_slice request, bool *fresh);
/* The signed certificate, DER, once it is there. BK_E_NOTFOUND: not yet; otherwise what is there is no answer:
 * BK_E_AUTH another CA, key or holder; BK_E_EXPIRED; BK_E_MALFORMED; BK_E_IO; BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_requests_take(const char *dir, const struct bk_identity *holder,
                                          const uint8_t key[BK_KEY_BYTES], X509 *ca,
                                          uint64_t unix_s, uint8_t der[BK_X509_DER_MAX_BYTES],
                                          size_t *n);
BK_NODISCARD enum bk_err bk_requests_take_at(int folder, const struct bk_identity *holder,
                                             const uint8_t key[BK_KEY_BYTES], X509 *ca,
                                             uint64_t unix_s, uint8_t der[BK_X509_DER_MAX_BYTES],
                                             size_t *n);
/* Both files have done their work, or their holder is shut out. */
void bk_requests_done(const char *dir, const struct bk_identity *holder);

#endif
