/* The RENEW exchange. Believes nothing that does not come from the CA it joined. */
#include "lib/renewal_exchange.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exchange.h"
#include "lib/fail.h"
#include "lib/loop.h"
#include "lib/names.h"
#include "seal/seal.h"
#include "seal/subject.h"
#include "wire/renew.h"

enum {
    RENEW_MESSAGE_BYTES = 4096,
};

struct exchange {
    const struct bk_renewal_order *order;
    struct bk_renewed *out;
    struct bk_identity self; /* whom our certificate names */
    struct bk_tls *tls;
    uint8_t request[RENEW_MESSAGE_BYTES];
    struct bk_slice message;
};

static enum beckon_status on_refused(void *ctx, uint16_t code, struct beckon_error *error)
{
    const struct exchange *x = ctx;

    switch (code) {
    case BK_CODE_FORBIDDEN:
    case BK_CODE_REVOKED:
        return bk_fail(error, BECKON_REVOKED,
                       "the server has revoked this %s, or another took its place; join again "
                       "with a new token",
                       x->self.role == BK_ROLE_DEVICE ? "device" : "user");
    case BK_CODE_OVERLOADED:
        return bk_fail(error, BECKON_BUSY, "the server has too much to do; try again later");
    default:
        return bk_fail(error, BECKON_FAILED, "the server refused to renew (error %u); see its log",
                       (unsigned)code);
    }
}

/* This host's clock, if there is one and it is not known to be wrong; else 0. */
static uint64_t clock_for(const struct bk_renewal_order *order)
{
    uint64_t host_s = bk_now_sample().unix_s;

    return order->unix_s != 0 && bk_clock_off(host_s, order->unix_s) ? 0 : host_s;
}

static enum beckon_status on_success(void *ctx, const struct bk_stun *m, struct beckon_error *error)
{
    struct exchange *x = ctx;
    const struct bk_renewal_order *order = x->order;
    struct bk_renew_answer answer;
    bool device = x->self.role == BK_ROLE_DEVICE;
    bool fits = bk_renew_answer_read(m, &answer) == BK_OK && answer.device == device &&
                (!device || answer.registration_key.n == BK_KEY_BYTES);

    if (fits && answer.certificate.n > 0) {
        fits =
            order->certificate && bk_cert_take(answer.certificate, order->own->ca, order->own->key,
                                               &x->self, clock_for(order), &x->out->cert) == BK_OK;
    }
    if (!fits) {
        return bk_fail(error, BECKON_FAILED,
                       "the server's answer does not fit our request; check clocks and versions");
    }
    x->out->pending = order->certificate && answer.certificate.n == 0;
    if (device) {
        x->out->generation = answer.generation;
        x->out->epoch = answer.epoch;
        memcpy(x->out->registration_key, answer.registration_key.p, BK_KEY_BYTES);
    }
    return BECKON_OK;
}

/* Certificate request and message; everything that needs no network. */
static enum bk_err prepare(struct exchange *x)
{
    const struct bk_renewal_order *order = x->order;
    struct bk_tls_client client = {.cert = order->own->cert,
                                   .key = order->own->key,
                                   .ca = order->own->ca,
                                   .host = order->host,
                                   .peer_uri = "beckon:server",
                                   .alpn = BK_ALPN_RENEW};
    struct bk_renew message = {.box_key = order->box_key};
    struct bk_random rng = bk_random_system();
    uint8_t csr[BK_X509_DER_MAX_BYTES];
    uint8_t txid[BK_STUN_TXID_BYTES];
    size_t csr_n;
    enum bk_err err = BK_OK;

    if (order->certificate) {
        err = bk_x509_request_make(order->own->key, csr, sizeof csr, &csr_n);
        if (err != BK_OK) {
            return err;
        }
        message.csr = bk_slice(csr, csr_n);
    }
    rng.fill(rng.ctx, txid, sizeof txid);
    err = bk_renew_write(x->request, sizeof x->request, txid, &message, &x->message);
    if (err == BK_OK) {
        err = bk_tls_new_client(&client, &x->tls);
    }
    if (err == BK_OK && clock_for(order) == 0) {
        bk_tls_set_time(x->tls, order->unix_s);
    }
    return err;
}

/* Role and name in our own certificate. */
static bool self_of(X509 *cert, struct bk_identity *out)
{
    char uri[BK_X509_URI_BYTES];

    return bk_x509_uri(cert, uri) == BK_OK && bk_subject_read(bk_slice_text(uri), out) == BK_OK &&
           (out->role == BK_ROLE_DEVICE || out->role == BK_ROLE_USER);
}

enum beckon_status bk_renewal_exchange(const struct bk_renewal_order *order, struct bk_renewed *out,
                                       struct beckon_error *error)
{
    struct exchange *x = calloc(1, sizeof *x);
    struct bk_exchange question = {.host = order->host,
                                   .port = order->port,
                                   .method = BK_METHOD_RENEW,
                                   .stop_fd = order->stop_fd,
                                   .ctx = x,
                                   .success = on_success,
                                   .refused = on_refused};
    enum beckon_status status;

    *out = (struct bk_renewed){0};
    if (x == NULL || bk_seal_init() != BK_OK) {
        free(x);
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    x->order = order;
    x->out = out;
    if (!self_of(order->own->cert, &x->self)) {
        status = bk_fail(error, BECKON_BAD_CONFIG,
                         "our certificate names neither a device nor a user; join again");
    } else if (prepare(x) != BK_OK) {
        status = bk_fail(error, BECKON_FAILED, "the renewal could not be prepared");
    } else {
        question.tls = x->tls;
        question.request = x->message;
        status = bk_exchange_run(&question, error);
    }
    bk_tls_free(x->tls);
    free(x);
    if (status != BECKON_OK) {
        bk_renewed_fini(out);
    }
    return status;
}

void bk_renewed_fini(struct bk_renewed *renewed)
{
    X509_free(renewed->cert);
    bk_wipe(renewed, sizeof *renewed);
}

bool bk_certificate_is_old(X509 *cert, uint64_t unix_s)
{
    struct bk_x509_facts facts;

    return unix_s != 0 && bk_x509_facts(cert, &facts) == BK_OK &&
           (unix_s >= facts.not_before_s + (facts.not_after_s - facts.not_before_s) / 2 ||
            (facts.not_before_s > unix_s && facts.not_before_s - unix_s > BK_CLOCK_OFF_S));
}
