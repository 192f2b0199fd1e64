/* beckond revoke: shuts a device or user out, in the store and then in the running server. What waits to be signed for
 * that one goes as well: it shall not be signed by the way, and the token that could have taken it up is void. */
#include "base/number.h"
#include "bin/beckond/admin_client.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/requests.h"
#include "bin/beckond/say.h"

static enum beckon_status revoke_device(const char *dir, struct bk_store *store, const char *device)
{
    struct bk_identity holder = {.role = BK_ROLE_DEVICE};
    char id_text[21];
    uint64_t id = 0;
    enum beckon_status status = bk_cmd_resolve(store, device, &id);

    if (status != BECKON_OK) {
        return status;
    }
    if (bk_store_revoke_device(store, id) != BK_OK) {
        return bk_cmd_store_failed(store);
    }
    holder.equipment_id = id;
    bk_requests_done(dir, &holder);
    bk_number_format(id, id_text);
    return bk_admin_tell(dir, BK_ADMIN_DEVICE_CHANGED, id_text);
}

static enum beckon_status revoke_user(const char *dir, struct bk_store *store, const char *user)
{
    struct bk_identity holder = {.role = BK_ROLE_USER};

    switch ((int)bk_store_revoke_user(store, bk_slice_text(user))) {
    case BK_OK:
        if (bk_slice_to_text(bk_slice_text(user), holder.name, sizeof holder.name)) {
            bk_requests_done(dir, &holder);
        }
        return bk_admin_tell(dir, BK_ADMIN_USER_CHANGED, user);
    case BK_E_NOTFOUND:
        bk_say("there is no user %s; check the spelling", user);
        return BECKON_FAILED;
    default:
        return bk_cmd_store_failed(store);
    }
}

static enum beckon_status run(int argc, char **argv)
{
    const char *dir = NULL, *device = NULL, *user = NULL;
    const struct bk_option options[] = {
        {"--state", &dir, 1, NULL, NULL, true},
        {"--device", &device, 1, NULL, NULL, false},
        {"--user", &user, 1, NULL, NULL, false},
    };
    struct bk_store *store = NULL;
    enum beckon_status status = bk_cmd_options(argc, argv, options, 3, NULL, 0);

    if (status == BECKON_OK && (device == NULL) == (user == NULL)) {
        bk_say("give either --device ID or --user NAME; see beckond revoke --help");
        status = BECKON_USAGE;
    }
    if (status == BECKON_OK && user != NULL) {
        status = bk_cmd_user_name(user);
    }
    if (status == BECKON_OK) {
        status = bk_cmd_store(dir, &store);
    }
    if (status != BECKON_OK) {
        return status;
    }
    status = device != NULL ? revoke_device(dir, store, device) : revoke_user(dir, store, user);
    bk_store_close(store);
    return status;
}

const struct bk_command bk_cmd_revoke = {
    .name = "revoke",
    .summary = "shut out a device or a user",
    .help =
        "usage: beckond revoke --state DIR --device ID|NAME\n"
        "       beckond revoke --state DIR --user NAME\n\n"
        "Shuts the device or user out at once: its certificate and registration key are no longer\n"
        "accepted, its connections to the server are closed, its unused tokens are void, what\n"
        "waited in DIR/requests is removed, calls that are up end within seconds. Joining with a\n"
        "new token lifts the revocation.\n",
    .run = run,
};
