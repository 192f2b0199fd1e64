/* The cores' way to read certificates: net/x509.h against the operator's CA. */
#ifndef BK_LIB_CERTS_H
#define BK_LIB_CERTS_H

#include "net/x509.h"
#include "seal/identity.h"

/* `ca` is borrowed for as long as the table is used. */
struct bk_cert_ops bk_certs_of(X509 *ca);

#endif
