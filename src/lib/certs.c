#include "lib/certs.h"

#include <string.h>

#include "seal/subject.h"

static enum bk_err read_certificate(void *ctx, struct bk_slice der, uint64_t unix_s,
                                    struct bk_identity *out)
{
    struct bk_x509_facts facts;
    enum bk_err err = bk_x509_read(der, ctx, unix_s, &facts);

    if (err != BK_OK) {
        return err;
    }
    err = bk_subject_read(bk_slice_text(facts.uri), out);
    memcpy(out->key, facts.key, sizeof out->key);
    return err;
}

struct bk_cert_ops bk_certs_of(X509 *ca)
{
    return (struct bk_cert_ops){.ctx = ca, .read = read_certificate};
}
