/* Ed25519 keys and the X.509 certificates around them: made, kept in files, issued and read.
 *
 * Every key here is Ed25519; anything else is refused as BK_E_MALFORMED. Keys and certificates are
 * OpenSSL's own types: free them with EVP_PKEY_free and X509_free. This file knows no role: whom a
 * certificate names is one URI text that the caller gives and gets ("beckon:device:2133"). */
#ifndef BK_NET_X509_H
#define BK_NET_X509_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_X509_KEY_BYTES = 32,       /* seed, and raw public key */
    BK_X509_PIN_BYTES = 32,       /* SHA-256 over SubjectPublicKeyInfo */
    BK_X509_URI_BYTES = 128,      /* with terminator */
    BK_X509_DER_MAX_BYTES = 2048, /* of one certificate or request; larger ones are refused */
    BK_X509_CA_YEARS = 10,
    BK_X509_BACKDATE_S = 3600, /* not-before lies this far back: clocks differ */
};

/* ---- Keys ---- */

/* BK_E_NOMEM */
BK_NODISCARD enum bk_err bk_x509_key_make(EVP_PKEY **out);
BK_NODISCARD enum bk_err bk_x509_key_from_seed(const uint8_t seed[BK_X509_KEY_BYTES],
                                               EVP_PKEY **out);
/* The private seed (wipe it after use) and the raw public key. BK_E_MALFORMED: not Ed25519, or no
 * private half. */
BK_NODISCARD enum bk_err bk_x509_key_seed(const EVP_PKEY *key, uint8_t seed[BK_X509_KEY_BYTES]);
BK_NODISCARD enum bk_err bk_x509_key_raw(const EVP_PKEY *key, uint8_t raw[BK_X509_KEY_BYTES]);
/* The pin of a raw public key; equals seal/identity.h's bk_pin_of_key. */
void bk_x509_pin(const uint8_t raw[BK_X509_KEY_BYTES], uint8_t pin[BK_X509_PIN_BYTES]);

/* PEM files. Load: BK_E_NOTFOUND, BK_E_IO, BK_E_MALFORMED. Save writes a whole file or none (net/file.h);
 * BK_E_EXISTS when it is there and `overwrite` is false; BK_E_IO. Keys are 0600, certificates 0644. */
BK_NODISCARD enum bk_err bk_x509_key_load(const char *path, EVP_PKEY **out);
BK_NODISCARD enum bk_err bk_x509_key_save(const char *path, const EVP_PKEY *key, bool overwrite);
BK_NODISCARD enum bk_err bk_x509_load(const char *path, X509 **out);
BK_NODISCARD enum bk_err bk_x509_save(const char *path, X509 *cert, bool overwrite);

/* ---- Certificates ---- */

/* BK_E_MALFORMED: no certificate, trailing bytes, or above BK_X509_DER_MAX_BYTES. */
BK_NODISCARD enum bk_err bk_x509_from_der(struct bk_slice der, X509 **out);
/* BK_E_NOSPACE */
BK_NODISCARD enum bk_err bk_x509_to_der(X509 *cert, uint8_t *buf, size_t cap, size_t *n);
/* BK_E_MALFORMED if its key is not Ed25519 */
BK_NODISCARD enum bk_err bk_x509_raw_key(X509 *cert, uint8_t raw[BK_X509_KEY_BYTES]);
/* Adds what the certificate is told by, its digest, to what `md` (SHA-256 or the like) has so far. False: OpenSSL had no
 * memory. */
BK_NODISCARD bool bk_x509_digest_into(const X509 *cert, EVP_MD_CTX *md);
/* Seconds since 1970; BK_E_MALFORMED */
BK_NODISCARD enum bk_err bk_x509_not_after(const X509 *cert, uint64_t *unix_s);
/* The one URI of its subjectAltName. BK_E_NOTFOUND: none; BK_E_MALFORMED: several, too long, or not
 * printable ASCII. */
BK_NODISCARD enum bk_err bk_x509_uri(X509 *cert, char out[BK_X509_URI_BYTES]);

/* A self-signed CA certificate for ten years from `unix_s`. BK_E_NOMEM, BK_E_MALFORMED */
BK_NODISCARD enum bk_err bk_x509_make_ca(EVP_PKEY *key, const char *common_name, uint64_t unix_s,
                                         X509 **out);

/* A minimal self-signed certificate around the TLS key of one call; valid for a day. Peers look at its
 * key only. */
BK_NODISCARD enum bk_err bk_x509_make_call(EVP_PKEY *key, uint64_t unix_s, X509 **out);

/* What to put into a certificate. */
struct bk_x509_order {
    const char *uri; /* "beckon:device:2133": in subjectAltName, and the CN (cut to 64 bytes) */
    const char *const *hosts; /* more subjectAltNames: names and IP literals; NULL: none */
    size_t n_hosts;
    bool for_server, for_client; /* extended key usage: serverAuth, clientAuth */
    uint64_t not_before_s, not_after_s;
};

/* A PKCS#10 request, DER. BK_E_NOSPACE, BK_E_NOMEM */
BK_NODISCARD enum bk_err bk_x509_request_make(EVP_PKEY *key, uint8_t *buf, size_t cap, size_t *n);
/* The raw key of a request whose proof of possession holds. BK_E_MALFORMED; BK_E_AUTH: signature. */
BK_NODISCARD enum bk_err bk_x509_request_key(struct bk_slice request,
                                             uint8_t raw[BK_X509_KEY_BYTES]);
/* Checks the request (as above) and issues a certificate for its key and nothing else of it; the
 * serial is 128 random bits. BK_E_MALFORMED, BK_E_AUTH, BK_E_RANGE (an order that makes no sense),
 * BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_x509_issue(X509 *ca, EVP_PKEY *ca_key, struct bk_slice request,
                                       const struct bk_x509_order *order, X509 **out);

/* What a verified certificate says. */
struct bk_x509_facts {
    char uri[BK_X509_URI_BYTES];
    uint8_t key[BK_X509_KEY_BYTES];
    uint64_t not_before_s, not_after_s;
};
/* Reads `der` after checking that `ca` signed it, that it is no CA itself and that `unix_s` lies in its
 * validity. BK_E_AUTH, BK_E_EXPIRED (or not valid yet), BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_x509_read(struct bk_slice der, X509 *ca, uint64_t unix_s,
                                      struct bk_x509_facts *out);
/* The same facts of a certificate that is trusted already (our own). BK_E_MALFORMED */
BK_NODISCARD enum bk_err bk_x509_facts(X509 *cert, struct bk_x509_facts *out);

#endif
