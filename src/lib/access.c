/* Who a caller is, decided from agent.conf, the password files and authorized_users. In doubt nobody. */
#include "lib/access.h"

#include <stdio.h>
#include <string.h>

#include "lib/fail.h"
#include "lib/password.h"

bool bk_caller_is_open(const struct bk_caller *caller, uint64_t unix_s)
{
    return caller->expires_s == 0 || (unix_s != 0 && unix_s < caller->expires_s);
}

static struct bk_caller caller_of(const char *how, const char *name, const struct bk_access *access)
{
    struct bk_caller caller = {.services = access->services, .expires_s = access->expires_s};

    (void)snprintf(caller.label, sizeof caller.label, "%s:%s", how, name);
    return caller;
}

enum bk_err bk_access_by_password(const char *state_dir, const struct bk_agent_config *config,
                                  uint64_t unix_s, struct bk_slice password, beckon_log log,
                                  void *ctx, struct bk_caller *out)
{
    bool any = false, untold = false;

    for (size_t i = 0; i < config->n_accesses; i++) {
        const struct bk_access *access = &config->accesses[i];
        struct bk_caller caller = caller_of("password", access->name, access);
        enum bk_err err;

        if (!bk_caller_is_open(&caller, unix_s)) {
            any = true;
            continue;
        }
        err = bk_agent_password_check(state_dir, access->name, password);
        any = any || err != BK_E_NOTFOUND;
        if (err == BK_OK) {
            *out = caller;
            return BK_OK;
        }
        if (err == BK_E_NOMEM) {
            untold = true;
            bk_log(log, ctx, 0, "no memory to check the password of access %s (8 MiB are needed)",
                   access->name);
        } else if (err != BK_E_AUTH && err != BK_E_NOTFOUND) {
            bk_log(log, ctx, 0,
                   "the password of access %s cannot be used: %s; set it with "
                   "\"beckon-agent passwd\"",
                   access->name, bk_err_text(err));
        }
    }
    if (untold) {
        return BK_E_NOMEM;
    }
    if (!any) { /* callers are told as little as of a wrong one */
        bk_log(log, ctx, 0, "%s has no password; set one with \"beckon-agent passwd\"", state_dir);
    }
    return BK_E_AUTH;
}

enum bk_err bk_access_by_key(const char *state_dir, const struct bk_agent_config *config,
                             uint64_t unix_s, const uint8_t key[BK_KEY_BYTES], beckon_log log,
                             void *ctx, struct bk_caller *out)
{
    struct bk_authorized known;
    struct bk_caller caller;
    const struct bk_access *access;

    if (bk_authorized_find(state_dir, config, key, log, ctx, &known) != BK_OK) {
        return BK_E_AUTH;
    }
    access = bk_access_find(config, bk_slice_text(known.access));
    if (access == NULL) {
        return BK_E_AUTH;
    }
    caller = caller_of("key", known.name, access);
    if (!bk_caller_is_open(&caller, unix_s)) {
        bk_log(log, ctx, 0, "access %s of %s is closed: it has expired, or there is no clock",
               access->name, caller.label);
        return BK_E_AUTH;
    }
    *out = caller;
    return BK_OK;
}
