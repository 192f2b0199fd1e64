/* beckond init: a new state directory, whole or not at all. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bin/beckond/authority.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/say.h"
#include "bin/beckond/state.h"
#include "net/file.h"
#include "seal/seal.h"

enum {
    CA_NAME_MAX_BYTES = 48, /* a common name holds 64 */
};

/* Everything that init writes; SQLite's side files last. */
static const char *const files[] = {
    BK_STATE_CA_KEY,       BK_STATE_CA_CERTIFICATE,
    BK_STATE_SERVER_KEY,   BK_STATE_SERVER_CERTIFICATE,
    BK_STATE_MASTER_KEYS,  BK_STATE_CONFIG,
    BK_STATE_STORE,        BK_STATE_STORE "-wal",
    BK_STATE_STORE "-shm",
};

enum {
    N_FILES = sizeof files / sizeof files[0],
    NAME_ROOM_BYTES = 64, /* for what is put behind the directory's name */
};

static enum beckon_status check_arguments(const char *dir, const char *name,
                                          const char *const *hosts, size_t n_hosts)
{
    char shown[128];

    if (strlen(dir) + NAME_ROOM_BYTES > BK_STATE_PATH_BYTES) {
        bk_say("the state directory's name is too long; choose another place");
        return BECKON_USAGE;
    }
    for (size_t i = 0; i < n_hosts; i++) {
        if (!bk_config_host_valid(bk_slice_text(hosts[i]))) {
            bk_say_escape(bk_slice_text(hosts[i]), shown, sizeof shown);
            bk_say("--host %s is neither a host name nor an IP address; give one without a port",
                   shown);
            return BECKON_USAGE;
        }
    }
    if (!bk_slice_to_text(bk_slice_text(name), shown, CA_NAME_MAX_BYTES + 1)) {
        bk_say("--name must be plain text of at most %d characters", CA_NAME_MAX_BYTES);
        return BECKON_USAGE;
    }
    return BECKON_OK;
}

/* Makes the directory, or takes one that holds nothing of ours. `made` tells which. */
static enum beckon_status take_directory(const char *dir, bool *made)
{
    char path[BK_STATE_PATH_BYTES];
    struct stat st;

    *made = mkdir(dir, 0700) == 0;
    if (!*made && errno != EEXIST) {
        bk_say("%s: %s; its parent must exist and be writable", dir, strerror(errno));
        return BECKON_FAILED;
    }
    for (size_t i = 0; i < N_FILES; i++) {
        if (bk_state_path(dir, files[i], path) != BK_OK || lstat(path, &st) == 0) {
            bk_say("%s exists already and is not overwritten; choose another directory", path);
            return BECKON_FAILED;
        }
        if (errno != ENOENT) {
            bk_say("%s: %s; --state must be a directory that you may write", path, strerror(errno));
            return BECKON_FAILED;
        }
    }
    return BECKON_OK;
}

static void undo(const char *dir, bool made)
{
    char path[BK_STATE_PATH_BYTES];

    for (size_t i = 0; i < N_FILES; i++) {
        if (bk_state_path(dir, files[i], path) == BK_OK) {
            (void)unlink(path);
        }
    }
    if (made) {
        (void)rmdir(dir);
    }
}

static enum bk_err write_config(const char *dir, const char *host)
{
    char path[BK_STATE_PATH_BYTES];
    char *text = malloc(BK_CONFIG_TEMPLATE_BYTES);
    enum bk_err err = text == NULL ? BK_E_NOMEM : bk_state_path(dir, BK_STATE_CONFIG, path);

    if (err == BK_OK) {
        err = bk_config_template(host, text, BK_CONFIG_TEMPLATE_BYTES);
    }
    if (err == BK_OK) {
        err = bk_file_save(path, bk_slice_text(text), 0600, false);
    }
    free(text);
    return err;
}

static enum bk_err write_store(const char *dir, char why[BK_STORE_WHY_BYTES])
{
    char path[BK_STATE_PATH_BYTES];
    enum bk_err err = bk_state_path(dir, BK_STATE_STORE, path);

    return err == BK_OK ? bk_store_create(path, why) : err;
}

/* Writes all files; on failure whatever there is of them is taken away again. */
static enum beckon_status write_all(const char *dir, bool made, const char *name,
                                    const char *const *hosts, size_t n_hosts, uint64_t now_s)
{
    struct bk_random rng = bk_random_system();
    char why[BK_STORE_WHY_BYTES] = "";
    const char *what = "certificates";
    enum bk_err err;

    errno = 0;
    err = bk_authority_make(dir, name, hosts, n_hosts, now_s);
    if (err == BK_OK) {
        what = BK_STATE_MASTER_KEYS;
        err = bk_state_master_make(dir, &rng);
    }
    if (err == BK_OK) {
        what = BK_STATE_CONFIG;
        err = write_config(dir, hosts[0]);
    }
    if (err == BK_OK) {
        what = BK_STATE_STORE;
        err = write_store(dir, why);
    }
    if (err == BK_OK) {
        return BECKON_OK;
    }
    if (why[0] == '\0') {
        (void)snprintf(why, sizeof why, "%s",
                       err == BK_E_IO && errno != 0 ? strerror(errno) : bk_err_text(err));
    }
    undo(dir, made);
    bk_say("%s in %s: %s; nothing has been left there, correct this and try again", what, dir, why);
    return BECKON_FAILED;
}

static enum beckon_status run(int argc, char **argv)
{
    const char *dir = NULL, *name = "Beckon CA", *hosts[BK_AUTHORITY_HOSTS_MAX];
    size_t n_hosts = 0;
    const struct bk_option options[] = {
        {"--state", &dir, 1, NULL, NULL, true},
        {"--host", hosts, BK_AUTHORITY_HOSTS_MAX, &n_hosts, NULL, true},
        {"--name", &name, 1, NULL, NULL, false},
    };
    uint64_t now_s = 0;
    bool made = false;
    enum beckon_status status = bk_cmd_options(argc, argv, options, 3, NULL, 0);

    if (status == BECKON_OK) {
        status = check_arguments(dir, name, hosts, n_hosts);
    }
    if (status == BECKON_OK) {
        status = bk_cmd_clock(&now_s);
    }
    if (status == BECKON_OK) {
        status = take_directory(dir, &made);
    }
    return status == BECKON_OK ? write_all(dir, made, name, hosts, n_hosts, now_s) : status;
}

const struct bk_command bk_cmd_init = {
    .name = "init",
    .summary = "make a state directory: CA, server certificate, keys, configuration",
    .help =
        "usage: beckond init --state DIR --host NAME_OR_IP [--host ...] [--name TEXT]\n\n"
        "Makes DIR (mode 0700) with a certificate authority, the server's certificate, keys, an\n"
        "empty store and beckond.conf. Refuses to overwrite anything; leaves nothing behind when "
        "it\n"
        "fails.\n\n"
        "  --host   a name or IP address under which agents and users reach this server. All of\n"
        "           them go into its certificate, the first one into join tokens.\n"
        "  --name   the CA's name, as certificate viewers show it (Beckon CA)\n",
    .run = run,
};
