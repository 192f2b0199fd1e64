/* Certificates as the cores read them (net/x509.h against the operator's CA), as joining and renewing take and
 * keep them, and the three files with which either role shows who it is. */
#ifndef BK_LIB_CERTS_H
#define BK_LIB_CERTS_H

#include "lib/files.h"
#include "net/x509.h"
#include "seal/box_key.h"
#include "seal/identity.h"

/* `ca` is borrowed for as long as the table is used. */
struct bk_cert_ops bk_certs_of(X509 *ca);

/* Writes DIR/NAME, whole or not at all, in place of an older one. BK_E_RANGE, BK_E_IO (errno), BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_cert_save(const char *dir, const char *name, X509 *cert);

/* A certificate that the server issued: it must be from `ca`, for `key`, and name exactly who `wanted` is (role, and
 * ID or name; its key is not looked at). Its times are judged by `unix_s`; with 0 they are not. BK_E_AUTH, BK_E_EXPIRED,
 * BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_cert_take(struct bk_slice der, X509 *ca, const EVP_PKEY *key,
                                      const struct bk_identity *wanted, uint64_t unix_s,
                                      X509 **out);

/* The later of `unix_s` and the beginning of our own certificate: no time before that is right. */
uint64_t bk_cert_time(X509 *own, uint64_t unix_s);

/* A box key as the server hands it on: signed by the device's key, good for three weeks from `unix_s`; for ever where
 * there is no clock (0). BK_E_MALFORMED: `key` cannot sign. */
BK_NODISCARD enum bk_err bk_cert_sign_box(const EVP_PKEY *key, const struct bk_box_pair *pair,
                                          uint64_t unix_s, uint8_t out[BK_BOX_KEY_BYTES]);

/* Our key, our certificate, and the CA that both sides are judged by. */
struct bk_credentials {
    EVP_PKEY *key;
    X509 *cert, *ca;
};
/* Reads DIR/NAME.key, DIR/NAME.crt and DIR/ca.crt. Otherwise `path` is that of the file which cannot be used.
 * BK_E_NOTFOUND, BK_E_IO, BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_credentials_load(const char *dir, const char *name,
                                             struct bk_credentials *out, char path[BK_PATH_BYTES]);
void bk_credentials_fini(struct bk_credentials *credentials);

#endif
