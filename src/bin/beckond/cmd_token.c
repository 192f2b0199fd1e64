/* beckond token create: one join token on standard output, and nothing else. */
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "bin/beckond/authority.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/duration.h"
#include "bin/beckond/enrol.h"
#include "bin/beckond/say.h"
#include "seal/seal.h"

/* Whom the token is for. */
static enum beckon_status holder(const char *device, const char *name, const char *user,
                                 struct bk_store_token *out)
{
    char shown[128];

    if ((device == NULL) == (user == NULL) || (name != NULL && device == NULL)) {
        bk_say("give either --device ID (and perhaps --name) or --user NAME; see beckond token "
               "--help");
        return BECKON_USAGE;
    }
    if (user != NULL) {
        enum beckon_status status = bk_cmd_user_name(user);
        if (status != BECKON_OK) {
            return status;
        }
        out->role = BK_ROLE_USER;
        (void)snprintf(out->name, sizeof out->name, "%s", user);
        return BECKON_OK;
    }
    out->role = BK_ROLE_DEVICE;
    if (bk_equipment_id_parse(bk_slice_text(device), &out->equipment_id) != BK_OK) {
        bk_say_escape(bk_slice_text(device), shown, sizeof shown);
        bk_say(
            "--device %s is no equipment ID; give a decimal number from 1 to 9223372036854775807",
            shown);
        return BECKON_USAGE;
    }
    /* "all" means every device where devices are granted. */
    if (name != NULL && (!bk_name_valid(bk_slice_text(name)) || strcmp(name, "all") == 0)) {
        bk_say_escape(bk_slice_text(name), shown, sizeof shown);
        bk_say(
            "--name %s is no device name; use a-z, 0-9, '.', '_' and '-', beginning with a letter "
            "or digit, not only digits, not \"all\", at most %d",
            shown, BK_NAME_MAX_BYTES);
        return BECKON_USAGE;
    }
    if (name != NULL) {
        (void)snprintf(out->name, sizeof out->name, "%s", name);
    }
    return BECKON_OK;
}

/* What the token says besides its secret. */
static enum beckon_status describe(const char *dir, struct bk_token *token)
{
    struct bk_config config;
    enum bk_err err;
    enum beckon_status status = bk_cmd_config(dir, NULL, &config);

    if (status != BECKON_OK) {
        return status;
    }
    err = bk_authority_pin(dir, token->ca_pin);
    if (err != BK_OK) {
        bk_say("ca.crt in %s: %s; restore it from a backup", dir, bk_err_text(err));
        return err == BK_E_MALFORMED ? BECKON_BAD_CONFIG : BECKON_FAILED;
    }
    token->port = config.request_port;
    (void)snprintf(token->host, sizeof token->host, "%s", config.host);
    return BECKON_OK;
}

static enum beckon_status keep(const char *dir, const struct bk_token *token,
                               const struct bk_store_token *what, uint64_t now_s)
{
    struct bk_store *store = NULL;
    uint8_t hash[BK_STORE_HASH_BYTES];
    enum beckon_status status = bk_cmd_store(dir, &store);

    if (status != BECKON_OK) {
        return status;
    }
    bk_enrol_hash(BK_SLICE_OF(token->secret), hash);
    switch ((int)bk_store_token_add(store, hash, what, now_s)) {
    case BK_OK:
        break;
    case BK_E_EXISTS:
        bk_say("the name %s belongs to another device; choose another", what->name);
        status = BECKON_FAILED;
        break;
    default:
        status = bk_cmd_store_failed(store);
        break;
    }
    bk_store_close(store);
    return status;
}

static enum beckon_status create(const char *dir, const struct bk_store_token *what, uint64_t now_s)
{
    struct bk_token token = {.role = what->role};
    struct bk_random rng = bk_random_system();
    char text[BK_TOKEN_TEXT_BYTES];
    enum beckon_status status;

    rng.fill(rng.ctx, token.secret, sizeof token.secret);
    status = describe(dir, &token);
    if (status == BECKON_OK && bk_token_write(&token, text) != BK_OK) {
        bk_say("host in beckond.conf is too long for a token; shorten it");
        status = BECKON_FAILED;
    }
    if (status == BECKON_OK) {
        status = keep(dir, &token, what, now_s);
    }
    if (status == BECKON_OK) {
        (void)printf("%s\n", text);
    }
    bk_wipe(&token, sizeof token);
    bk_wipe(text, sizeof text);
    return status;
}

static enum beckon_status run(int argc, char **argv)
{
    const char *dir = NULL, *device = NULL, *name = NULL, *user = NULL, *expires = "24h";
    const char *word = NULL;
    const struct bk_option options[] = {
        {"--state", &dir, 1, NULL, NULL, true},        {"--device", &device, 1, NULL, NULL, false},
        {"--name", &name, 1, NULL, NULL, false},       {"--user", &user, 1, NULL, NULL, false},
        {"--expires", &expires, 1, NULL, NULL, false},
    };
    struct bk_store_token what = {.role = BK_ROLE_NONE};
    uint64_t now_s = 0, life_s = 0;
    enum beckon_status status = bk_cmd_options(argc, argv, options, 5, &word, 1);

    if (status == BECKON_OK && strcmp(word, "create") != 0) {
        bk_say("beckond token knows only create; see beckond token --help");
        status = BECKON_USAGE;
    }
    if (status == BECKON_OK) {
        status = holder(device, name, user, &what);
    }
    if (status == BECKON_OK && bk_duration_parse(bk_slice_text(expires), &life_s) != BK_OK) {
        bk_say("--expires is a number with s, m, h or d behind it, such as 30m, 24h or 7d, at most "
               "366d");
        status = BECKON_USAGE;
    }
    if (status == BECKON_OK) {
        status = bk_cmd_clock(&now_s);
    }
    if (status != BECKON_OK) {
        return status;
    }
    what.expires_s = now_s + life_s;
    return create(dir, &what, now_s);
}

const struct bk_command bk_cmd_token = {
    .name = "token",
    .summary = "make a join token for a device or a user",
    .help =
        "usage: beckond token create --state DIR --device ID [--name NAME] [--expires 24h]\n"
        "       beckond token create --state DIR --user NAME [--expires 24h]\n\n"
        "Prints one join token, for beckon-agent join or beckon join. It works once, until it\n"
        "expires (30m, 24h, 7d; at most 366d). Joining with it replaces whoever held that ID or\n"
        "name before, and lifts a revocation.\n\n"
        "  --device   the equipment ID, a decimal number\n"
        "  --name     a name for the device, unique on this server, which works like its ID\n",
    .run = run,
};
