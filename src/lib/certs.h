/* Certificates as the cores read them (net/x509.h against the operator's CA) and as joining keeps them. */
#ifndef BK_LIB_CERTS_H
#define BK_LIB_CERTS_H

#include "net/x509.h"
#include "seal/identity.h"

/* `ca` is borrowed for as long as the table is used. */
struct bk_cert_ops bk_certs_of(X509 *ca);

/* Writes DIR/NAME, whole or not at all, in place of an older one. BK_E_RANGE, BK_E_IO (errno), BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_cert_save(const char *dir, const char *name, X509 *cert);

#endif
