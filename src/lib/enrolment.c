/* The ENROL exchange. Believes nothing that does not come from the CA which the token pins. */
#include "lib/enrolment.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fail.h"
#include "lib/files.h"
#include "lib/loop.h"
#include "lib/names.h"
#include "net/conn.h"
#include "net/resolve.h"
#include "seal/seal.h"
#include "seal/subject.h"
#include "wire/enrol.h"

enum {
    ENROL_MESSAGE_BYTES = 4096,
    ENROL_IDLE_MS = 8000,
};

struct exchange {
    const struct bk_enrolment *enrolment;
    struct bk_enrolled *out;
    struct beckon_error *error;
    enum beckon_status status;
    bool finished; /* `status` is settled, whatever the connection still brings */
    struct event_base *base;
    struct bk_resolver *resolver;
    struct bk_tls *tls;
    struct bk_conn *conn;
    X509 *ca; /* as shown by the server and pinned by the token */
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
                         "%s is joined already; give another --state, or remove it first", dir);
    } else {
        status = join_key(dir, key_name, &out->key, error);
    }
    if (status != BECKON_OK) {
        bk_wipe(&out->token, sizeof out->token);
    }
    return status;
}

static void finish(struct exchange *x, enum beckon_status status)
{
    x->finished = true;
    x->status = status;
    event_base_loopbreak(x->base);
}

static void refused(struct exchange *x, uint16_t code)
{
    switch (code) {
    case BK_CODE_FORBIDDEN:
        finish(x, bk_fail(
                      x->error, BECKON_BAD_TOKEN,
                      "the server does not know this token, or it has expired; ask for a new one"));
        break;
    case BK_CODE_TOKEN_USED:
        finish(x, bk_fail(x->error, BECKON_USED_TOKEN,
                          "this token was used already; ask for a new one"));
        break;
    default:
        finish(x,
               bk_fail(x->error, BECKON_FAILED,
                       "the server refused to enrol us (error %u); see its log", (unsigned)code));
        break;
    }
}

/* The certificate must be from the pinned CA, for our key, and name the role we asked for. */
static bool certificate_fits(const struct exchange *x, const struct bk_enrol_answer *answer)
{
    struct bk_x509_facts facts;
    struct bk_identity identity = {0};
    uint8_t raw[BK_X509_KEY_BYTES];
    struct bk_now now = bk_now_sample();

    if (bk_x509_from_der(answer->certificate, &x->out->cert) != BK_OK ||
        bk_x509_facts(x->out->cert, &facts) != BK_OK ||
        bk_x509_key_raw(x->enrolment->key, raw) != BK_OK ||
        bk_x509_read(answer->certificate, x->ca,
                     now.unix_s != 0 ? now.unix_s : facts.not_before_s + 1, &facts) != BK_OK ||
        memcmp(facts.key, raw, sizeof raw) != 0 ||
        bk_subject_read(bk_slice_text(facts.uri), &identity) != BK_OK) {
        return false;
    }
    if (x->enrolment->device) {
        return identity.role == BK_ROLE_DEVICE && identity.equipment_id == answer->equipment_id;
    }
    return identity.role == BK_ROLE_USER &&
           bk_slice_equal(bk_slice_text(identity.name), answer->user);
}

static void accepted(struct exchange *x, const struct bk_stun *m)
{
    struct bk_enrol_answer answer;

    if (bk_enrol_answer_read(m, &answer) != BK_OK || !certificate_fits(x, &answer) ||
        (x->enrolment->device && answer.registration_key.n != BK_KEY_BYTES)) {
        finish(x,
               bk_fail(x->error, BECKON_FAILED,
                       "the server's answer does not fit our request; check clocks and versions"));
        return;
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
    finish(x, BECKON_OK);
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct exchange *x = ctx;

    (void)peer;
    x->ca = bk_tls_take_ca(bk_conn_borrow_ssl(conn));
    if (x->ca == NULL || bk_conn_send(conn, x->message) != BK_OK) {
        finish(x, bk_fail(x->error, BECKON_FAILED, "the enrolment could not be sent"));
    }
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct exchange *x = ctx;
    struct bk_stun m;
    uint16_t code;

    (void)conn;
    if (x->finished) {
        return;
    }
    if (bk_stun_read(frame, &m) != BK_OK || m.method != BK_METHOD_ENROL) {
        finish(x,
               bk_fail(x->error, BECKON_FAILED, "the server answered something else than asked"));
    } else if (m.cls == BK_STUN_SUCCESS) {
        accepted(x, &m);
    } else {
        refused(x, bk_error_read(&m, &code) == BK_OK ? code : 0);
    }
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct exchange *x = ctx;

    (void)conn;
    if (!x->finished) {
        finish(x, bk_fail(x->error, BECKON_SERVER_DOWN,
                          "server %s port %u: %s; check that it runs and is reachable",
                          x->enrolment->token.host, (unsigned)x->enrolment->token.port, why->text));
    }
}

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct exchange *x = ctx;
    struct bk_conn_config config = {
        .tls = x->tls,
        .frame = bk_stun_frame,
        .on = {.ctx = x, .open = on_open, .message = on_message, .closed = on_closed},
        .limits = {.idle_ms = ENROL_IDLE_MS, .frame_max_bytes = BK_STUN_STREAM_MAX_BYTES},
    };

    if (err != BK_OK) {
        finish(x, bk_fail(x->error, BECKON_SERVER_DOWN,
                          "server %s: %s; check the name and this network",
                          x->enrolment->token.host, text));
    } else if (bk_conn_connect(x->base, &config, addrs, n, NULL, &x->conn) != BK_OK) {
        finish(x, bk_fail(x->error, BECKON_FAILED, "no memory for a connection"));
    }
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
    if (err == BK_OK) {
        err = bk_resolver_new(x->base, &x->resolver);
    }
    return err;
}

static void exchange_free(struct exchange *x)
{
    bk_conn_free(x->conn);
    bk_resolver_free(x->resolver);
    bk_tls_free(x->tls);
    X509_free(x->ca);
    if (x->base != NULL) {
        event_base_free(x->base);
    }
    bk_wipe(x->request, sizeof x->request);
    free(x);
}

enum beckon_status bk_enrol_run(const struct bk_enrolment *enrolment, struct bk_enrolled *out,
                                struct beckon_error *error)
{
    struct exchange *x = calloc(1, sizeof *x);
    struct bk_resolve *question;
    enum beckon_status status;

    *out = (struct bk_enrolled){0};
    if (x == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    x->enrolment = enrolment;
    x->out = out;
    x->error = error;
    x->base = event_base_new();
    if (x->base == NULL || prepare(x) != BK_OK ||
        bk_resolve_start(x->resolver, enrolment->token.host, enrolment->token.port, on_resolved, x,
                         &question) != BK_OK) {
        x->status = bk_fail(error, BECKON_FAILED, "the enrolment could not be prepared");
    } else {
        x->status = bk_fail(error, BECKON_FAILED, "the enrolment ended without an answer");
        event_base_dispatch(x->base);
    }
    status = x->status;
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
