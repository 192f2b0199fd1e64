/* Ed25519 keys and PEM files of keys and certificates. Private bytes are wiped wherever they pass. */
#include <assert.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "net/file.h"
#include "net/x509.h"

enum {
    PEM_MAX_BYTES = 3072, /* twice what one of ours takes */
};

enum bk_err bk_x509_key_make(EVP_PKEY **out)
{
    *out = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return *out != NULL ? BK_OK : BK_E_NOMEM;
}

enum bk_err bk_x509_key_from_seed(const uint8_t seed[BK_X509_KEY_BYTES], EVP_PKEY **out)
{
    *out = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, BK_X509_KEY_BYTES);
    return *out != NULL ? BK_OK : BK_E_NOMEM;
}

enum bk_err bk_x509_key_seed(const EVP_PKEY *key, uint8_t seed[BK_X509_KEY_BYTES])
{
    size_t n = BK_X509_KEY_BYTES;
    memset(seed, 0, BK_X509_KEY_BYTES);
    if (EVP_PKEY_get_id(key) != EVP_PKEY_ED25519 ||
        EVP_PKEY_get_raw_private_key(key, seed, &n) != 1 || n != BK_X509_KEY_BYTES) {
        ERR_clear_error();
        return BK_E_MALFORMED;
    }
    return BK_OK;
}

enum bk_err bk_x509_key_raw(const EVP_PKEY *key, uint8_t raw[BK_X509_KEY_BYTES])
{
    size_t n = BK_X509_KEY_BYTES;
    memset(raw, 0, BK_X509_KEY_BYTES);
    if (EVP_PKEY_get_id(key) != EVP_PKEY_ED25519 ||
        EVP_PKEY_get_raw_public_key(key, raw, &n) != 1 || n != BK_X509_KEY_BYTES) {
        ERR_clear_error();
        return BK_E_MALFORMED;
    }
    return BK_OK;
}

void bk_x509_pin(const uint8_t raw[BK_X509_KEY_BYTES], uint8_t pin[BK_X509_PIN_BYTES])
{
    /* SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410, section 4). */
    static const uint8_t head[12] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                     0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
    uint8_t spki[sizeof head + BK_X509_KEY_BYTES];
    size_t n = 0;
    memcpy(spki, head, sizeof head);
    memcpy(spki + sizeof head, raw, BK_X509_KEY_BYTES);
    int ok = EVP_Q_digest(NULL, "SHA256", NULL, spki, sizeof spki, pin, &n);
    assert(ok == 1 && n == BK_X509_PIN_BYTES);
    (void)ok;
}

/* A read-only view of a PEM file in `buf`. */
static enum bk_err open_pem(const char *path, uint8_t buf[PEM_MAX_BYTES], BIO **out)
{
    size_t n = 0;
    enum bk_err err = bk_file_load(path, buf, PEM_MAX_BYTES, &n);
    if (err != BK_OK) {
        return err == BK_E_NOSPACE ? BK_E_MALFORMED : err;
    }
    *out = BIO_new_mem_buf(buf, (int)n);
    return *out != NULL ? BK_OK : BK_E_NOMEM;
}

/* Never ask a person: an encrypted PEM file is not one of ours. */
static int no_passphrase(char *buf, int size, int writing, void *ctx)
{
    (void)buf, (void)size, (void)writing, (void)ctx;
    return -1;
}

enum bk_err bk_x509_key_load(const char *path, EVP_PKEY **out)
{
    uint8_t buf[PEM_MAX_BYTES];
    BIO *bio = NULL;
    *out = NULL;
    enum bk_err err = open_pem(path, buf, &bio);
    if (err == BK_OK) {
        *out = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        if (*out == NULL || EVP_PKEY_get_id(*out) != EVP_PKEY_ED25519) {
            EVP_PKEY_free(*out);
            *out = NULL;
            err = BK_E_MALFORMED;
        }
    }
    BIO_free(bio);
    OPENSSL_cleanse(buf, sizeof buf);
    ERR_clear_error();
    return err;
}

static enum bk_err save_bio(const char *path, BIO *bio, unsigned mode, bool overwrite)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    if (n <= 0) {
        return BK_E_NOMEM;
    }
    return bk_file_save(path, bk_slice(p, (size_t)n), mode, overwrite);
}

enum bk_err bk_x509_key_save(const char *path, const EVP_PKEY *key, bool overwrite)
{
    BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when freed */
    enum bk_err err = BK_E_NOMEM;
    if (bio != NULL && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1) {
        err = save_bio(path, bio, 0600, overwrite);
    }
    BIO_free(bio);
    return err;
}

enum bk_err bk_x509_load(const char *path, X509 **out)
{
    uint8_t buf[PEM_MAX_BYTES];
    BIO *bio = NULL;
    *out = NULL;
    enum bk_err err = open_pem(path, buf, &bio);
    if (err == BK_OK) {
        *out = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
        if (*out == NULL) {
            err = BK_E_MALFORMED;
        }
    }
    BIO_free(bio);
    ERR_clear_error();
    return err;
}

enum bk_err bk_x509_save(const char *path, X509 *cert, bool overwrite)
{
    BIO *bio = BIO_new(BIO_s_mem());
    enum bk_err err = BK_E_NOMEM;
    if (bio != NULL && PEM_write_bio_X509(bio, cert) == 1) {
        err = save_bio(path, bio, 0644, overwrite);
    }
    BIO_free(bio);
    return err;
}
