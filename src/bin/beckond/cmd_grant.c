/* beckond grant and ungrant: whom a user may call. The running server asks the store at every request; it is told
 * of the change so that it has the calls looked at that are up. */
#include <string.h>

#include "bin/beckond/admin_client.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/say.h"

static enum beckon_status prepare(int argc, char **argv, const char **dir, const char **user,
                                  struct bk_store **store, uint64_t *equipment_id)
{
    const char *device = NULL;
    const struct bk_option options[] = {
        {"--state", dir, 1, NULL, NULL, true},
        {"--user", user, 1, NULL, NULL, true},
        {"--device", &device, 1, NULL, NULL, true},
    };
    enum beckon_status status = bk_cmd_options(argc, argv, options, 3, NULL, 0);

    if (status == BECKON_OK) {
        status = bk_cmd_user_name(*user);
    }
    if (status == BECKON_OK) {
        status = bk_cmd_store(*dir, store);
    }
    if (status != BECKON_OK) {
        return status;
    }
    *equipment_id = 0;
    if (strcmp(device, "all") != 0) {
        status = bk_cmd_resolve(*store, device, equipment_id);
    }
    return status;
}

static enum beckon_status unknown_user(const char *user)
{
    bk_say("there is no user %s; beckond token create --user %s makes one", user, user);
    return BECKON_FAILED;
}

static enum beckon_status grant(int argc, char **argv)
{
    const char *dir = NULL, *user = NULL;
    struct bk_store *store = NULL;
    uint64_t id = 0;
    enum beckon_status status = prepare(argc, argv, &dir, &user, &store, &id);

    if (status == BECKON_OK) {
        enum bk_err err = bk_store_grant(store, bk_slice_text(user), id);
        if (err == BK_E_NOTFOUND) {
            status = unknown_user(user);
        } else if (err != BK_OK) {
            status = bk_cmd_store_failed(store);
        } else {
            status = bk_admin_tell(dir, BK_ADMIN_GRANTS_CHANGED, user);
        }
    }
    bk_store_close(store);
    return status;
}

static enum beckon_status ungrant(int argc, char **argv)
{
    const char *dir = NULL, *user = NULL;
    struct bk_store *store = NULL;
    uint64_t id = 0;
    enum beckon_status status = prepare(argc, argv, &dir, &user, &store, &id);

    if (status == BECKON_OK) {
        enum bk_err err = bk_store_ungrant(store, bk_slice_text(user), id);
        if (err == BK_E_NOTFOUND) {
            status = unknown_user(user);
        } else if (err == BK_E_STATE) {
            bk_say("%s may still call every device, by a grant for all; take that back with "
                   "--device all",
                   user);
            status = BECKON_FAILED;
        } else if (err != BK_OK) {
            status = bk_cmd_store_failed(store);
        } else {
            status = bk_admin_tell(dir, BK_ADMIN_GRANTS_CHANGED, user);
        }
    }
    bk_store_close(store);
    return status;
}

const struct bk_command bk_cmd_grant = {
    .name = "grant",
    .summary = "let a user call a device",
    .help = "usage: beckond grant --state DIR --user NAME --device ID|NAME|all\n\n"
            "Lets the user call that device, or every device, from the next request on. At first a "
            "user\n"
            "may call none.\n",
    .run = grant,
};

const struct bk_command bk_cmd_ungrant = {
    .name = "ungrant",
    .summary = "take a grant back",
    .help = "usage: beckond ungrant --state DIR --user NAME --device ID|NAME|all\n\n"
            "Takes the grant back, from the next request on; a call that is up ends within "
            "seconds.\n"
            "\"all\" takes back every grant of the user.\n",
    .run = ungrant,
};
