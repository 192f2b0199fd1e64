/* The ENROL exchange. Believes nothing that does not come from the CA which the token pins. */
#include "lib/enrolment.h"

#include <stdlib.h>
#include <string.h>

#include "lib/certs.h"
#include "lib/exchange.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "lib/loop.h"
#include "lib/names.h"

enum {
    ENROL_MESSAGE_BYTES = 4096,
};

struct exchange {
    const struct bk_enrolment *enrolment;
    struct bk_enrolled *out;
    X509 *ca; /* as shown by the server and pinned by the token */
    struct bk_tls *tls;
    uint8_t request[ENROL_MESSAGE_BYTES];
    struct bk_slice message;
};

enum beckon_status bk_token_check(const char *text, enum bk_role role, struct bk_token *out,
                                  struct beckon_error *error)
{
    size_t n = strlen(text);

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' ')) {
        n--;
    }
    if (bk_token_read(bk_slice(text, n), out) != BK_OK) {
        return bk_fail(
            error, BECKON_BAD_TOKEN,
            "this is no join token; copy the whole line that \"beckond token create\" printed");
    }
    if (out->role != role) {
        return bk_fail(error, BECKON_BAD_TOKEN, "this token is for a %s",
                       role == BK_ROLE_DEVICE ? "user; use it with \"beckon join\""
                                              : "device; use it with \"beckon-agent join\"");
    }
    return BECKON_OK;
}

/* The key in DIR/NAME, made if there is none. */
static enum beckon_status join_key(const char *dir, const char *name, EVP_PKEY **out,
                                   struct beckon_error *error)
{
    char path[BK_PATH_BYTES];
    enum bk_err err = bk_dir_make(dir);

    if (err != BK_OK || bk_file_path(dir, name, path) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "%s cannot be made; check the path and its owner",
                       dir);
    }
    err = bk_x509_key_load(path, out);
    if (err == BK_E_NOTFOUND) {
        err = bk_x509_key_make(out);
        if (err == BK_OK && bk_x509_key_save(path, *out, false) != BK_OK) {
            EVP_PKEY_free(*out);
            *out = NULL;
            return bk_fail(error, BECKON_FAILED, "%s cannot be written; check owner and space",
                           path);
        }
    }
    if (err != BK_OK) {
        *out = NULL;
        return bk_fail(error, BECKON_FAILED, "%s cannot be used (%s); remove it and join again",
                       path, bk_err_text(err));
    }
    return BECKON_OK;
}

enum beckon_status bk_join_begin(const char *dir, const char *token, enum bk_role role,
                                 const char *marker, const char *key_name, struct bk_enrolment *out,
                                 struct beckon_error *error)
{
    enum beckon_status status;

    *out = (struct bk_enrolment){.device = role == BK_ROLE_DEVICE};
    if (bk_seal_init() != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "libsodium cannot be used on this machine");
    }
    status = bk_token_check(token, role, &out->token, error);
    if (status != BECKON_OK) {
        return status;
    }
    if (bk_file_exists(dir, marker)) {
        status = bk_fail(error, BECKON_FAILED,
                         "%s is joined already; give another --state, or move %s away to join anew "
                         "with the same key",
                         dir, marker);
    } else {
        status = join_key(dir, key_name, &out->key, error);
    }
    if (status != BECKON_OK) {
        bk_wipe(&out->token, sizeof out->token);
    }
    return status;
}

static enum beckon_status on_refused(void *ctx, uint16_t code, struct beckon_error *error)
{
    (void)ctx;
    switch (code) {
    case BK_CODE_FORBIDDEN:
        return bk_fail(error, BECKON_BAD_TOKEN,
                       "the server does not know this token, or it has expired; ask for a new one");
    case BK_CODE_TOKEN_USED:
        return bk_fail(error, BECKON_USED_TOKEN, "this token was used already; ask for a new one");
    case BK_CODE_PENDING:
        return bk_fail(
            error, BECKON_PENDING,
            "the operator has yet to sign the certificate; join again with the same token");
    case BK_CODE_OVERLOADED:
        return bk_fail(error, BECKON_BUSY, "the server has too much to do; try again later");
    default:
        return bk_fail(error, BECKON_FAILED,
                       "the server refused to enrol us (error %u); see its log", (unsigned)code);
    }
}

/* The certificate must be from the pinned CA, for our key, and name the role we asked for. */
static bool certificate_fits(const struct exchange *x, const struct bk_enrol_answer *answer)
{
    struct bk_identity wanted = {.role = x->enrolment->device ? BK_ROLE_DEVICE : BK_ROLE_USER,
                                 .equipment_id = answer->equipment_id};

    if (!x->enrolment->device && !bk_slice_to_text(answer->user, wanted.name, sizeof wanted.name)) {
        return false;
    }
    return bk_cert_take(answer->certificate, x->ca, x->enrolment->key, &wanted,
                        bk_now_sample().unix_s, &x->out->cert) == BK_OK;
}

static enum beckon_status on_success(void *ctx, const struct bk_stun *m, struct beckon_error *error)
{
    struct exchange *x = ctx;
    struct bk_enrol_answer answer;

    if (bk_enrol_answer_read(m, &answer) != BK_OK || !certificate_fits(x, &answer) ||
        (x->enrolment->device && answer.registration_key.n != BK_KEY_BYTES)) {
        return bk_fail(error, BECKON_FAILED,
                       "the server's answer does not fit our request; check clocks and versions");
    }
    x->out->ca = x->ca;
    x->ca = NULL;
    x->out->equipment_id = answer.equipment_id;
    x->out->generation = answer.generation;
    x->out->epoch = answer.epoch;
    x->out->ports = answer.ports;
    if (x->enrolment->device) {
        memcpy(x->out->registration_key, answer.registration_key.p, BK_KEY_BYTES);
    } else {
        (void)bk_slice_to_text(answer.user, x->out->user, sizeof x->out->user);
    }
    return BECKON_OK;
}

static bool on_open(void *ctx, SSL *ssl)
{
    struct exchange *x = ctx;

    x->ca = bk_tls_take_ca(ssl);
    return x->ca != NULL;
}

/* Certificate request and message; everything that needs no network. */
static enum bk_err prepare(struct exchange *x)
{
    const struct bk_enrolment *e = x->enrolment;
    uint8_t csr[BK_X509_DER_MAX_BYTES];
    uint8_t txid[BK_STUN_TXID_BYTES];
    size_t csr_n;
    struct bk_enrol message = {.token = BK_SLICE_OF(e->token.secret)};
    struct bk_tls_client client = {.ca_pin = e->token.ca_pin,
                                   .host = e->token.host,
                                   .peer_uri = "beckon:server",
                                   .alpn = BK_ALPN_JOIN};
    struct bk_random rng = bk_random_system();
    enum bk_err err = bk_x509_request_make(e->key, csr, sizeof csr, &csr_n);

    if (err != BK_OK) {
        return err;
    }
    message.csr = bk_slice(csr, csr_n);
    if (e->device) {
        message.box_key = BK_SLICE_OF(e->box_key);
    }
    rng.fill(rng.ctx, txid, sizeof txid);
    err = bk_enrol_write(x->request, sizeof x->request, txid, &message, &x->message);
    if (err == BK_OK) {
        err = bk_tls_new_client(&client, &x->tls);
    }
    return err;
}

static void exchange_free(struct exchange *x)
{
    bk_tls_free(x->tls);
    X509_free(x->ca);
    bk_wipe(x->request, sizeof x->request);
    free(x);
}

enum beckon_status bk_enrol_run(const struct bk_enrolment *enrolment, struct bk_enrolled *out,
                                struct beckon_error *error)
{
    struct exchange *x = calloc(1, sizeof *x);
    struct bk_exchange question = {.host = enrolment->token.host,
                                   .port = enrolment->token.port,
                                   .method = BK_METHOD_ENROL,
                                   .stop_fd = -1,
                                   .ctx = x,
                                   .open = on_open,
                                   .success = on_success,
                                   .refused = on_refused};
    enum beckon_status status;

    *out = (struct bk_enrolled){0};
    if (x == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    x->enrolment = enrolment;
    x->out = out;
    if (prepare(x) != BK_OK) {
        status = bk_fail(error, BECKON_FAILED, "the enrolment could not be prepared");
    } else {
        question.tls = x->tls;
        question.request = x->message;
        status = bk_exchange_run(&question, error);
    }
    exchange_free(x);
    if (status != BECKON_OK) {
        bk_enrolled_fini(out);
    }
    return status;
}

void bk_enrolled_fini(struct bk_enrolled *enrolled)
{
    X509_free(enrolled->cert);
    X509_free(enrolled->ca);
    bk_wipe(enrolled, sizeof *enrolled);
}
