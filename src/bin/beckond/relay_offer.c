/* What INFO says of relays, and the secret that our own relay's credentials are made of. */
#include <stdio.h>
#include <string.h>

#include "bin/beckond/relay_private.h"
#include "bin/beckond/state.h"
#include "net/file.h"
#include "net/turn_ops.h"
#include "seal/seal.h"

enum bk_err bk_relay_secret_make(const char *dir)
{
    uint8_t secret[BK_RELAY_SECRET_BYTES];
    char path[BK_STATE_PATH_BYTES];
    struct bk_random rng = bk_random_system();
    enum bk_err err = bk_state_path(dir, BK_STATE_RELAY_SECRET, path);

    rng.fill(rng.ctx, secret, sizeof secret);
    if (err == BK_OK) {
        err = bk_file_save(path, BK_SLICE_OF(secret), 0600, false);
    }
    bk_wipe(secret, sizeof secret);
    return err;
}

static enum bk_err load(const char *dir, uint8_t secret[BK_RELAY_SECRET_BYTES])
{
    char path[BK_STATE_PATH_BYTES];
    size_t n = 0;
    enum bk_err err = bk_state_path(dir, BK_STATE_RELAY_SECRET, path);

    if (err == BK_OK) {
        err = bk_file_load(path, secret, BK_RELAY_SECRET_BYTES, &n);
    }
    if (err == BK_E_NOSPACE || (err == BK_OK && n != BK_RELAY_SECRET_BYTES)) {
        err = BK_E_MALFORMED;
    }
    return err;
}

enum bk_err relay_secret_load(const char *dir, uint8_t secret[BK_RELAY_SECRET_BYTES])
{
    enum bk_err err = load(dir, secret);

    if (err != BK_E_NOTFOUND) {
        return err;
    }
    err = bk_relay_secret_make(dir); /* a directory of before there was a relay */
    return err == BK_OK ? load(dir, secret) : err;
}

static void offer_own(const struct bk_config *config, struct bk_info *info)
{
    info->relays[info->n_relays++] = (struct bk_info_relay){.port = config->request_port};
    if (config->agent_port != config->request_port) {
        info->relays[info->n_relays++] = (struct bk_info_relay){.port = config->agent_port};
    }
}

static bool offer_external(const struct bk_config *config, struct bk_relay_offer *offer,
                           struct bk_info *info)
{
    struct bk_slice host;
    uint16_t port;

    if (!bk_config_host_port(bk_slice_text(config->external_relay), &host, &port) ||
        !bk_slice_to_text(host, offer->host, sizeof offer->host)) {
        return false;
    }
    info->relays[info->n_relays++] =
        (struct bk_info_relay){.port = port, .host = bk_slice_text(offer->host)};
    return true;
}

void bk_relay_offer(const struct bk_relay *r, struct bk_slice user, uint64_t unix_s,
                    struct bk_relay_offer *offer, struct bk_info *info)
{
    const struct bk_config *config = &r->config;
    struct bk_turn_ops ops = bk_turn_openssl();
    bool external = config->external_relay[0] != '\0';
    uint32_t lifetime_s = external ? BK_RELAY_EXTERNAL_CREDENTIAL_S : BK_RELAY_CREDENTIAL_S;
    struct bk_slice secret =
        external ? bk_slice_text(config->external_relay_secret) : BK_SLICE_OF(r->secret);

    memset(offer, 0, sizeof *offer);
    if (user.n == 0 || unix_s == 0 || (!external && !config->relay) ||
        bk_turn_username(unix_s + lifetime_s, user, offer->username) != BK_OK) {
        return;
    }
    if (!external) {
        offer_own(config, info);
    } else if (!offer_external(config, offer, info)) {
        return;
    }
    bk_turn_password(&ops, secret, bk_slice_text(offer->username), offer->password);
    info->username = bk_slice_text(offer->username);
    info->password = bk_slice_text(offer->password);
    info->lifetime_s = lifetime_s;
}
