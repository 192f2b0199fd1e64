/* Between the cores, which know identities, and OpenSSL, which knows certificates. Judges nothing itself. */
#include "lib/certs.h"

#include <string.h>

#include "lib/files.h"
#include "seal/subject.h"

_Static_assert((int)BK_X509_KEY_BYTES == (int)BK_KEY_BYTES &&
                   (int)BK_X509_PIN_BYTES == (int)BK_PIN_BYTES,
               "net and seal mean the same keys and pins");

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

enum bk_err bk_cert_save(const char *dir, const char *name, X509 *cert)
{
    char path[BK_PATH_BYTES];
    enum bk_err err = bk_file_path(dir, name, path);

    return err == BK_OK ? bk_x509_save(path, cert, true) : err;
}
