/* Joining as a device, and the beckon:// URI that names it to callers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/agent_config.h"
#include "lib/agent_renew.h"
#include "lib/agent_state.h"
#include "lib/box_keys.h"
#include "lib/enrolment.h"
#include "lib/fail.h"
#include "lib/loop.h"

static const char file_key[] = "device.key";
static const char file_cert[] = "device.crt";
static const char file_ca[] = "ca.crt";
static const char file_config[] = "agent.conf";

enum {
    CONFIG_TEXT_BYTES = 1024,
};

/* The pair to enrol with: that of an earlier try, whose answer may have got lost or is still to come, or a new one.
 * Kept before it is sent. */
static enum bk_err box_pair_of(const char *dir, struct bk_box_pair *pair)
{
    struct bk_random rng = bk_random_system();
    struct bk_box_keys keys = {0};
    struct beckon_error ignored;
    enum bk_err err = BK_OK;

    if (bk_box_keys_read(dir, &keys, &ignored) != BECKON_OK) {
        bk_box_pair_make(&rng, &keys.current);
        err = bk_box_keys_write(dir, &keys);
    }
    *pair = keys.current;
    bk_wipe(&keys, sizeof keys);
    return err;
}

static enum bk_err config_write(const char *dir, const char *server,
                                const struct bk_enrolled *enrolled)
{
    char text[CONFIG_TEXT_BYTES];
    int n =
        snprintf(text, sizeof text,
                 "; beckon-agent: see docs/manual.md for every key\n"
                 "[agent]\n"
                 "id = %llu\n"
                 "server = %s\n"
                 "server_udp_port = %u\n"
                 "server_request_port = %u\n"
                 "server_agent_port = %u\n"
                 "\n"
                 "; What callers may reach, one section each:\n"
                 "[service ssh]\n"
                 "target = tcp:127.0.0.1:22\n",
                 (unsigned long long)enrolled->equipment_id, server, (unsigned)enrolled->ports.udp,
                 (unsigned)enrolled->ports.request, (unsigned)enrolled->ports.agent);

    if (n < 0 || (size_t)n >= sizeof text) {
        return BK_E_NOSPACE;
    }
    return bk_file_write(dir, file_config, bk_slice(text, (size_t)n));
}

/* agent.conf comes last: it is what makes a directory "joined". */
static enum bk_err save(const char *dir, const struct bk_token *token, uint64_t made_s,
                        const struct bk_enrolled *enrolled)
{
    struct bk_registration_secret state = {.generation = enrolled->generation,
                                           .epoch = enrolled->epoch};
    enum bk_err err;

    memcpy(state.key, enrolled->registration_key, sizeof state.key);
    err = bk_registration_secret_write(dir, &state);
    bk_wipe(&state, sizeof state);
    if (err == BK_OK) {
        err = bk_cert_save(dir, file_cert, enrolled->cert);
    }
    if (err == BK_OK) {
        err = bk_cert_save(dir, file_ca, enrolled->ca);
    }
    if (err == BK_OK) {
        err = bk_agent_facts_save(dir, enrolled->cert, made_s);
    }
    return err == BK_OK ? config_write(dir, token->host, enrolled) : err;
}

enum beckon_status beckon_agent_join(const char *state_dir, const char *token,
                                     struct beckon_error *error)
{
    struct bk_enrolment enrolment;
    struct bk_enrolled enrolled = {0};
    struct bk_box_pair pair = {0};
    uint64_t made_s = bk_now_sample().unix_s;
    enum beckon_status status =
        bk_join_begin(state_dir, token, BK_ROLE_DEVICE, file_config, file_key, &enrolment, error);

    if (status != BECKON_OK) {
        return status;
    }
    if (box_pair_of(state_dir, &pair) != BK_OK ||
        bk_cert_sign_box(enrolment.key, &pair, made_s, enrolment.box_key) != BK_OK) {
        status = bk_fail(error, BECKON_FAILED, "%s/box.key cannot be made; check owner and space",
                         state_dir);
    } else {
        status = bk_enrol_run(&enrolment, &enrolled, error);
    }
    if (status == BECKON_OK) {
        if (save(state_dir, &enrolment.token, made_s, &enrolled) != BK_OK) {
            status =
                bk_fail(error, BECKON_FAILED,
                        "%s cannot be written (%s); mend that and join again with the same token",
                        state_dir, strerror(errno));
        }
        bk_enrolled_fini(&enrolled);
    }
    bk_wipe(&pair, sizeof pair);
    bk_wipe(&enrolment.token, sizeof enrolment.token);
    EVP_PKEY_free(enrolment.key);
    return status;
}

/* The pin of the key in DIR/device.key. */
static enum beckon_status own_pin(const char *state_dir, uint8_t pin[BK_PIN_BYTES],
                                  struct beckon_error *error)
{
    char path[BK_PATH_BYTES];
    uint8_t raw[BK_X509_KEY_BYTES];
    EVP_PKEY *key = NULL;
    enum bk_err err = bk_file_path(state_dir, file_key, path);

    if (err == BK_OK) {
        err = bk_x509_key_load(path, &key);
    }
    if (err == BK_OK) {
        err = bk_x509_key_raw(key, raw);
    }
    EVP_PKEY_free(key);
    if (err != BK_OK) {
        return bk_fail(error, err == BK_E_NOTFOUND ? BECKON_NOT_JOINED : BECKON_BAD_CONFIG,
                       "%s/%s cannot be used (%s); join again", state_dir, file_key,
                       bk_err_text(err));
    }
    bk_pin_of_key(raw, pin);
    return BECKON_OK;
}

enum beckon_status beckon_agent_uri(const char *state_dir, char *out, size_t size,
                                    struct beckon_error *error)
{
    struct bk_agent_config *config = malloc(sizeof *config);
    struct bk_uri uri = {0};
    char text[BK_URI_TEXT_BYTES];
    enum beckon_status status;

    if (config == NULL || bk_seal_init() != BK_OK) {
        free(config);
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    status = bk_agent_config_read(state_dir, NULL, config, error);
    memcpy(uri.host, config->server, sizeof uri.host);
    uri.equipment_id = config->equipment_id;
    free(config);
    if (status == BECKON_OK) {
        status = own_pin(state_dir, uri.pin, error);
    }
    if (status != BECKON_OK) {
        return status;
    }
    if (bk_uri_write(&uri, text) != BK_OK || strlen(text) >= size) {
        return bk_fail(error, BECKON_FAILED, "the URI does not fit %zu bytes", size);
    }
    memcpy(out, text, strlen(text) + 1);
    return BECKON_OK;
}
