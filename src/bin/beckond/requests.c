/* The files in DIR/requests: names, PEM, and what makes a certificate the answer to a request. Signs nothing. */
#include "bin/beckond/requests.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "net/file.h"
#include "seal/subject.h"
#include "wire/attrs.h"

enum {
    PEM_MAX_BYTES = 4096, /* BK_X509_DER_MAX_BYTES in base64, and its frame */
};

static const char device_prefix[] = "device-";
static const char user_prefix[] = "user-";

/* ---- names ---- */

void bk_requests_name(const struct bk_identity *holder, char out[BK_REQUESTS_NAME_BYTES])
{
    char digits[21];

    if (holder->role == BK_ROLE_DEVICE) {
        bk_number_format(holder->equipment_id, digits);
        (void)snprintf(out, BK_REQUESTS_NAME_BYTES, "%s%s", device_prefix, digits);
    } else {
        (void)snprintf(out, BK_REQUESTS_NAME_BYTES, "%s%s", user_prefix, holder->name);
    }
}

static bool after(struct bk_slice text, const char *prefix, struct bk_slice *rest)
{
    size_t n = strlen(prefix);

    if (text.n < n || memcmp(text.p, prefix, n) != 0) {
        return false;
    }
    *rest = bk_slice(text.p + n, text.n - n);
    return true;
}

enum bk_err bk_requests_holder(struct bk_slice name, struct bk_identity *out)
{
    struct bk_slice rest;
    char again[BK_REQUESTS_NAME_BYTES];

    memset(out, 0, sizeof *out);
    if (after(name, device_prefix, &rest)) {
        out->role = BK_ROLE_DEVICE;
        if (bk_equipment_id_parse(rest, &out->equipment_id) != BK_OK) {
            return BK_E_MALFORMED;
        }
    } else if (after(name, user_prefix, &rest)) {
        out->role = BK_ROLE_USER;
        if (!bk_name_valid(rest) || !bk_slice_to_text(rest, out->name, sizeof out->name)) {
            return BK_E_MALFORMED;
        }
    } else {
        return BK_E_MALFORMED;
    }
    bk_requests_name(out, again);
    return bk_slice_equal(name, bk_slice_text(again)) ? BK_OK : BK_E_MALFORMED;
}

void bk_requests_file(const char *name, const char *ending, char out[BK_REQUESTS_FILE_BYTES])
{
    (void)snprintf(out, BK_REQUESTS_FILE_BYTES, "%s%s", name, ending);
}

bool bk_requests_used(const char *dir)
{
    char path[BK_STATE_PATH_BYTES];
    struct stat st;

    return bk_state_path(dir, BK_STATE_REQUESTS, path) == BK_OK && lstat(path, &st) == 0 &&
           S_ISDIR(st.st_mode);
}

enum bk_err bk_requests_open(const char *dir, int *folder)
{
    char path[BK_STATE_PATH_BYTES];
    enum bk_err err = bk_state_path(dir, BK_STATE_REQUESTS, path);

    *folder = -1;
    if (err == BK_OK) {
        *folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (*folder < 0) {
            err = errno == ENOENT ? BK_E_NOTFOUND : BK_E_IO;
        }
    }
    return err;
}

/* ---- PEM ---- */

/* The one block of a PEM text. */
static enum bk_err from_pem(struct bk_slice text, const char *label,
                            uint8_t der[BK_X509_DER_MAX_BYTES], size_t *n)
{
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long data_n = 0;
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    enum bk_err err = BK_E_MALFORMED;

    if (bio == NULL) {
        return BK_E_NOMEM;
    }
    if (PEM_read_bio(bio, &name, &header, &data, &data_n) == 1 && strcmp(name, label) == 0 &&
        data_n > 0 && data_n <= BK_X509_DER_MAX_BYTES) {
        memcpy(der, data, (size_t)data_n);
        *n = (size_t)data_n;
        err = BK_OK;
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(data);
    BIO_free(bio);
    ERR_clear_error();
    return err;
}

enum bk_err bk_requests_load(int folder, const char *file, const char *label,
                             uint8_t der[BK_X509_DER_MAX_BYTES], size_t *n)
{
    uint8_t *text = malloc(PEM_MAX_BYTES);
    size_t got = 0;
    enum bk_err err =
        text == NULL ? BK_E_NOMEM : bk_file_load_at(folder, file, text, PEM_MAX_BYTES, &got);

    if (err == BK_OK) {
        err = from_pem(bk_slice(text, got), label, der, n);
    } else if (err == BK_E_NOSPACE) {
        err = BK_E_MALFORMED;
    }
    free(text);
    return err;
}

enum bk_err bk_requests_save(int folder, const char *file, const char *label, struct bk_slice der)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long n;
    enum bk_err err = BK_E_NOMEM;

    if (bio == NULL) {
        return err;
    }
    if (PEM_write_bio(bio, label, "", der.p, (long)der.n) > 0) {
        n = BIO_get_mem_data(bio, &text);
        err = bk_file_save_at(folder, file, bk_slice(text, (size_t)n), 0600);
    }
    BIO_free(bio);
    return err;
}

/* ---- requests and answers ---- */

/* What lies in a place where a request is to go. */
enum lies {
    OTHER,    /* nothing, something broken, or another key's request */
    SAME_KEY, /* an answer to it answers ours too */
    SAME,     /* then nothing is written, however often one asks */
};

static enum lies what_lies(int folder, const char *file, struct bk_slice request)
{
    uint8_t der[BK_X509_DER_MAX_BYTES];
    uint8_t there[BK_X509_KEY_BYTES], wanted[BK_X509_KEY_BYTES];
    size_t n = 0;

    if (bk_requests_load(folder, file, BK_REQUESTS_PEM_REQUEST, der, &n) != BK_OK) {
        return OTHER;
    }
    if (bk_slice_equal(bk_slice(der, n), request)) {
        return SAME;
    }
    return bk_x509_request_key(bk_slice(der, n), there) == BK_OK &&
                   bk_x509_request_key(request, wanted) == BK_OK &&
                   memcmp(there, wanted, sizeof there) == 0
               ? SAME_KEY
               : OTHER;
}

static void remove_file(int folder, const char *name, const char *ending)
{
    char file[BK_REQUESTS_FILE_BYTES];

    bk_requests_file(name, ending, file);
    (void)unlinkat(folder, file, 0);
}

static enum bk_err put(int folder, const struct bk_identity *holder, struct bk_slice request,
                       bool *fresh)
{
    char name[BK_REQUESTS_NAME_BYTES], file[BK_REQUESTS_FILE_BYTES];
    enum lies lies;

    bk_requests_name(holder, name);
    bk_requests_file(name, ".req", file);
    lies = what_lies(folder, file, request);
    if (lies == SAME) {
        return BK_OK;
    }
    *fresh = lies == OTHER;
    if (*fresh) {
        remove_file(folder, name, ".crt");
    }
    return bk_requests_save(folder, file, BK_REQUESTS_PEM_REQUEST, request);
}

enum bk_err bk_requests_put(const char *dir, const struct bk_identity *holder,
                            struct bk_slice request, bool *fresh)
{
    int folder;
    enum bk_err err = bk_requests_open(dir, &folder);

    *fresh = false;
    if (err != BK_OK) {
        return err == BK_E_NOTFOUND ? BK_E_IO : err;
    }
    err = put(folder, holder, request, fresh);
    (void)close(folder);
    return err;
}

enum bk_err bk_requests_take_at(int folder, const struct bk_identity *holder,
                                const uint8_t key[BK_KEY_BYTES], X509 *ca, uint64_t unix_s,
                                uint8_t der[BK_X509_DER_MAX_BYTES], size_t *n)
{
    char name[BK_REQUESTS_NAME_BYTES], file[BK_REQUESTS_FILE_BYTES], uri[BK_SUBJECT_TEXT_BYTES];
    struct bk_x509_facts facts;
    enum bk_err err;

    bk_requests_name(holder, name);
    bk_requests_file(name, ".crt", file);
    bk_subject_write(holder, uri);
    err = bk_requests_load(folder, file, BK_REQUESTS_PEM_CERTIFICATE, der, n);
    if (err == BK_OK) {
        err = bk_x509_read(bk_slice(der, *n), ca, unix_s, &facts);
    }
    if (err == BK_OK &&
        (strcmp(facts.uri, uri) != 0 || memcmp(facts.key, key, sizeof facts.key) != 0)) {
        err = BK_E_AUTH;
    }
    return err;
}

enum bk_err bk_requests_take(const char *dir, const struct bk_identity *holder,
                             const uint8_t key[BK_KEY_BYTES], X509 *ca, uint64_t unix_s,
                             uint8_t der[BK_X509_DER_MAX_BYTES], size_t *n)
{
    int folder;
    enum bk_err err = bk_requests_open(dir, &folder);

    if (err == BK_OK) {
        err = bk_requests_take_at(folder, holder, key, ca, unix_s, der, n);
        (void)close(folder);
    }
    return err;
}

void bk_requests_done(const char *dir, const struct bk_identity *holder)
{
    char name[BK_REQUESTS_NAME_BYTES];
    int folder;

    if (bk_requests_open(dir, &folder) == BK_OK) {
        bk_requests_name(holder, name);
        remove_file(folder, name, ".crt");
        remove_file(folder, name, ".req");
        (void)close(folder);
    }
}
