/* Renewing a device. The order of writes is the point: next box key, then the server, then the promotion, certificate,
 * registration key; DIR/renewal last, so that whatever a crash left undone is due again. */
#include "lib/agent_renew.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "core/agent/registration.h"
#include "lib/agent_config.h"
#include "lib/agent_state.h"
#include "lib/fail.h"
#include "lib/loop.h"
#include "net/sandbox.h"

static const char file_cert[] = "device.crt";

/* The host's clock; or, where that cannot be right, the newest time that is proven: what the server last said, our
 * certificate's beginning. */
static uint64_t best_time(const char *state_dir, X509 *cert)
{
    uint64_t unix_s = bk_now_sample().unix_s;

    return bk_clock_off(unix_s, bk_cert_time(cert, unix_s))
               ? bk_cert_time(cert, bk_stored_time_read(state_dir))
               : unix_s;
}

enum beckon_status bk_agent_renewing_begin(const char *state_dir, uint64_t unix_s,
                                           struct bk_agent_renewing *out,
                                           struct beckon_error *error)
{
    struct bk_random rng = bk_random_system();
    char path[BK_PATH_BYTES];
    uint64_t host_s;
    enum beckon_status status;

    *out = (struct bk_agent_renewing){.lock = bk_box_keys_lock(state_dir)};
    if (out->lock < 0) {
        return errno == EWOULDBLOCK
                   ? bk_fail(error, BECKON_BUSY, "another renewal of %s is under way", state_dir)
                   : bk_fail(error, BECKON_NOT_JOINED, "%s: %s; run \"beckon-agent join\" first",
                             state_dir, strerror(errno));
    }
    status = bk_box_keys_read(state_dir, &out->keys, error);
    if (status == BECKON_BAD_CONFIG || status == BECKON_NOT_JOINED) {
        /* One that nobody seals to: it is the next one that callers get. */
        bk_box_pair_make(&rng, &out->keys.current);
    } else if (status != BECKON_OK) {
        return status;
    }
    if (bk_credentials_load(state_dir, "device", &out->own, path) != BK_OK) {
        return bk_fail(error, BECKON_BAD_CONFIG, "%s cannot be used; " BK_JOIN_ANEW, path);
    }
    out->unix_s = unix_s != 0 ? unix_s : best_time(state_dir, out->own.cert);
    host_s = bk_now_sample().unix_s;
    if (bk_box_keys_outdated(&out->keys, host_s != 0 ? host_s : out->unix_s)) {
        out->keys.has_previous = false;
    }
    if (!out->keys.has_next) { /* else: the server may have it from a time when we crashed */
        bk_box_pair_make(&rng, &out->keys.next);
        out->keys.has_next = true;
    }
    if (bk_box_keys_write(state_dir, &out->keys) != BK_OK ||
        bk_cert_sign_box(out->own.key, &out->keys.next, out->unix_s, out->box_key) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "%s/box.key cannot be written; check owner and space",
                       state_dir);
    }
    return BECKON_OK;
}

static enum bk_err promote(const char *state_dir, struct bk_agent_renewing *r)
{
    /* The host's clock or none: the best time known otherwise is of yesterday, and the key would go at once. */
    struct bk_box_keys keys = {.current = r->keys.next,
                               .has_previous = true,
                               .previous = r->keys.current,
                               .replaced_s = bk_now_sample().unix_s};
    enum bk_err err = bk_box_keys_write(state_dir, &keys);

    if (err == BK_OK) {
        r->keys = keys;
    }
    bk_wipe(&keys, sizeof keys);
    return err;
}

enum bk_err bk_agent_facts_save(const char *state_dir, X509 *cert, uint64_t box_made_s)
{
    struct bk_x509_facts facts;
    struct bk_renewal_facts renewal = {.box_made_s = box_made_s};
    enum bk_err err = bk_x509_facts(cert, &facts);

    if (err != BK_OK) {
        return err;
    }
    renewal.certificate_from_s = facts.not_before_s;
    renewal.certificate_until_s = facts.not_after_s;
    return bk_renewal_facts_write(state_dir, &renewal);
}

enum beckon_status bk_agent_renewing_take(const char *state_dir, struct bk_agent_renewing *r,
                                          const struct bk_renewed *renewed,
                                          struct beckon_error *error)
{
    struct bk_registration_secret secret = {.generation = renewed->generation,
                                            .epoch = renewed->epoch};
    enum bk_err err = promote(state_dir, r);

    if (err == BK_OK && renewed->cert != NULL) {
        err = bk_cert_save(state_dir, file_cert, renewed->cert);
    }
    if (err == BK_OK) {
        memcpy(secret.key, renewed->registration_key, sizeof secret.key);
        err = bk_registration_secret_write(state_dir, &secret);
        bk_wipe(&secret, sizeof secret);
    }
    if (err == BK_OK) {
        err = bk_agent_facts_save(state_dir, renewed->cert != NULL ? renewed->cert : r->own.cert,
                                  r->unix_s);
    }
    return err == BK_OK ? BECKON_OK
                        : bk_fail(error, BECKON_FAILED,
                                  "%s cannot be written (%s); what the server gave is asked for "
                                  "again later",
                                  state_dir, strerror(errno));
}

void bk_agent_renewing_fini(struct bk_agent_renewing *r)
{
    bk_credentials_fini(&r->own);
    bk_box_keys_unlock(r->lock);
    bk_wipe(r, sizeof *r);
    r->lock = -1;
}

/* Where the server is. */
static enum beckon_status order_of(const char *state_dir, const char *config_file,
                                   struct bk_agent_config *config, struct bk_renewal_order *order,
                                   struct beckon_error *error)
{
    enum beckon_status status = bk_agent_config_read(state_dir, config_file, config, error);

    order->host = config->server;
    order->port = config->server_agent_port;
    order->stop_fd = -1;
    return status;
}

/* The server has not been heard yet. Where the kernel has no such filters we go on without. */
static void confine(void)
{
    char why[BK_SANDBOX_WHY_BYTES];
    enum bk_err err;

    OPENSSL_init_ssl(0, NULL); /* what openssl.cnf may name is loaded before */
    err = bk_sandbox_agent_renew(why, sizeof why);
    (void)err;
}

/* 0: none is told. */
static enum beckon_status time_told(const char *seconds, uint64_t *unix_s,
                                    struct beckon_error *error)
{
    *unix_s = 0;
    if (seconds != NULL &&
        bk_number_parse(bk_slice_text(seconds), BK_TIME_BELIEVED_BELOW_S - 1, unix_s) != BK_OK) {
        return bk_fail(error, BECKON_USAGE, "\"%.30s\" is no time; give seconds since 1970",
                       seconds);
    }
    return BECKON_OK;
}

/* From the first server that can be reached. */
static enum beckon_status exchange(const struct bk_agent_config *config,
                                   struct bk_renewal_order *order, struct bk_renewed *out,
                                   struct beckon_error *error)
{
    enum beckon_status status = BECKON_SERVER_DOWN;

    for (size_t i = 0; i < config->n_servers && status == BECKON_SERVER_DOWN; i++) {
        order->host = config->servers[i];
        status = bk_renewal_exchange(order, out, error);
    }
    return status;
}

enum beckon_status beckon_agent_renew(const char *state_dir, const char *config_file,
                                      int certificate, const char *seconds,
                                      struct beckon_error *error)
{
    struct bk_agent_config *config;
    struct bk_agent_renewing renewing = {.lock = -1};
    struct bk_renewal_order order = {0};
    struct bk_renewed renewed;
    uint64_t unix_s;
    enum beckon_status status = time_told(seconds, &unix_s, error);

    if (status != BECKON_OK) {
        return status;
    }
    config = malloc(sizeof *config);
    if (config == NULL || bk_seal_init() != BK_OK) {
        free(config);
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    status = order_of(state_dir, config_file, config, &order, error);
    if (status == BECKON_OK) {
        status = bk_agent_renewing_begin(state_dir, unix_s, &renewing, error);
    }
    if (status == BECKON_OK) {
        confine();
        order.own = &renewing.own;
        order.certificate =
            certificate != 0 || bk_certificate_is_old(renewing.own.cert, renewing.unix_s);
        order.box_key = BK_SLICE_OF(renewing.box_key);
        order.unix_s = renewing.unix_s;
        status = exchange(config, &order, &renewed, error);
    }
    if (status == BECKON_OK) {
        status = bk_agent_renewing_take(state_dir, &renewing, &renewed, error);
        bk_renewed_fini(&renewed);
    }
    bk_agent_renewing_fini(&renewing);
    free(config);
    return status;
}
