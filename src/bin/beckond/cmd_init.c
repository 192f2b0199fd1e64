/* beckond init: a new state directory, whole or not at all. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bin/beckond/authority.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/relay.h"
#include "bin/beckond/say.h"
#include "bin/beckond/state.h"
#include "net/file.h"
#include "seal/seal.h"

enum {
    CA_NAME_MAX_BYTES = 48, /* a common name holds 64 */
};

/* Everything that init writes; SQLite's side files last. */
static const char *const files[] = {
    BK_STATE_CA_KEY,         BK_STATE_CA_CERTIFICATE,
    BK_STATE_SERVER_KEY,     BK_STATE_SERVER_CERTIFICATE,
    BK_STATE_MASTER_KEYS,    BK_STATE_RELAY_SECRET,
    BK_STATE_CONFIG,         BK_STATE_STORE,
    (BK_STATE_STORE "-wal"), (BK_STATE_STORE "-shm"),
};

enum {
    N_FILES = sizeof files / sizeof files[0],
    NAME_ROOM_BYTES = 112, /* for what is put behind the directory's name */
};

static enum beckon_status check_arguments(const char *dir, const char *ca_dir, const char *name,
                                          const char *const *hosts, size_t n_hosts)
{
    char shown[128];

    if (strlen(dir) + NAME_ROOM_BYTES > BK_STATE_PATH_BYTES ||
        (ca_dir != NULL && strlen(ca_dir) + NAME_ROOM_BYTES > BK_STATE_PATH_BYTES)) {
        bk_say("a directory's name is too long; choose another place");
        return BECKON_USAGE;
    }
    if (strlen(hosts[0]) > BK_CONFIG_HOST_MAX_BYTES) {
        bk_say("the first --host is longer than %d characters; give a shorter name or an address",
               BK_CONFIG_HOST_MAX_BYTES);
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
            bk_say("%s exists already and is not overwritten; choose another directory, or remove "
                   "what an init that was cut off left in this one",
                   path);
            return BECKON_FAILED;
        }
        if (errno != ENOENT) {
            bk_say("%s: %s; --state must be a directory that you may write", path, strerror(errno));
            return BECKON_FAILED;
        }
    }
    return BECKON_OK;
}

/* What has been made so far, and goes again if the rest fails. */
struct made {
    bool dir;
    bool requests;
    bool ca_dir; /* CADIR itself */
    bool ca;     /* the CA in it */
};

static void undo(const char *dir, const char *ca_dir, const struct made *made)
{
    static const char *const ca_files[] = {BK_STATE_CA_KEY, BK_STATE_CA_CERTIFICATE};
    char path[BK_STATE_PATH_BYTES];

    for (size_t i = 0; i < N_FILES; i++) {
        if (bk_state_path(dir, files[i], path) == BK_OK) {
            (void)unlink(path);
        }
    }
    if (made->requests && bk_state_path(dir, BK_STATE_REQUESTS, path) == BK_OK) {
        (void)rmdir(path);
    }
    for (size_t i = 0; made->ca && i < sizeof ca_files / sizeof ca_files[0]; i++) {
        if (bk_state_path(ca_dir, ca_files[i], path) == BK_OK) {
            (void)unlink(path);
        }
    }
    if (made->dir) {
        (void)rmdir(dir);
    }
    if (made->ca_dir) {
        (void)rmdir(ca_dir);
    }
}

/* ---- an external CA ---- */

static bool is_in(const char *dir, const char *name)
{
    char path[BK_STATE_PATH_BYTES];
    struct stat st;

    return bk_state_path(dir, name, path) == BK_OK && lstat(path, &st) == 0;
}

static bool same_directory(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* Makes the CA in CADIR unless one is there, and the directory for requests to it. */
static enum beckon_status prepare_external(const char *dir, const char *ca_dir, const char *name,
                                           uint64_t now_s, struct made *made)
{
    char path[BK_STATE_PATH_BYTES];
    enum bk_err err = BK_OK;

    made->ca_dir = mkdir(ca_dir, 0700) == 0;
    if (!made->ca_dir && errno != EEXIST) {
        bk_say("%s: %s; its parent must exist and be writable", ca_dir, strerror(errno));
        return BECKON_FAILED;
    }
    if (same_directory(dir, ca_dir)) {
        bk_say("--external-ca is there to keep the CA's key out of %s; give another directory",
               dir);
        return BECKON_USAGE;
    }
    if (!is_in(ca_dir, BK_STATE_CA_KEY) && !is_in(ca_dir, BK_STATE_CA_CERTIFICATE)) {
        made->ca = true;
        errno = 0;
        err = bk_authority_make_ca(ca_dir, name, now_s);
    }
    if (err != BK_OK) {
        bk_say("the CA in %s: %s; correct this and try again", ca_dir,
               err == BK_E_IO && errno != 0 ? strerror(errno) : bk_err_text(err));
        return BECKON_FAILED;
    }
    if (bk_state_path(dir, BK_STATE_REQUESTS, path) != BK_OK || mkdir(path, 0700) != 0) {
        bk_say("%s: %s; choose another state directory", path, strerror(errno));
        return BECKON_FAILED;
    }
    made->requests = true;
    return BECKON_OK;
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

/* Certificates from the CA in `ca_dir`, which is `dir` itself unless the CA is external. */
static enum bk_err write_certificates(const char *dir, const char *ca_dir, const char *name,
                                      const char *const *hosts, size_t n_hosts, uint64_t now_s)
{
    enum bk_err err = BK_OK;

    if (strcmp(dir, ca_dir) == 0) {
        err = bk_authority_make_ca(dir, name, now_s);
    }
    return err == BK_OK ? bk_authority_make_server(dir, ca_dir, hosts, n_hosts, now_s) : err;
}

/* Writes all files; what failed has been said. */
static enum beckon_status write_all(const char *dir, const char *ca_dir, const char *name,
                                    const char *const *hosts, size_t n_hosts, uint64_t now_s)
{
    struct bk_random rng = bk_random_system();
    char why[BK_STORE_WHY_BYTES] = "";
    const char *what = "certificates";
    enum bk_err err;

    errno = 0;
    err = write_certificates(dir, ca_dir, name, hosts, n_hosts, now_s);
    if (err == BK_OK) {
        what = BK_STATE_MASTER_KEYS;
        err = bk_state_master_make(dir, &rng);
    }
    if (err == BK_OK) {
        what = BK_STATE_RELAY_SECRET;
        err = bk_relay_secret_make(dir);
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
    bk_say("%s in %s: %s; nothing has been left there, correct this and try again", what, dir, why);
    return BECKON_FAILED;
}

static enum beckon_status run(int argc, char **argv)
{
    const char *dir = NULL, *name = "Beckon CA", *hosts[BK_AUTHORITY_HOSTS_MAX], *ca_dir = NULL;
    size_t n_hosts = 0;
    const struct bk_option options[] = {
        {"--state", &dir, 1, NULL, NULL, true},
        {"--host", hosts, BK_AUTHORITY_HOSTS_MAX, &n_hosts, NULL, true},
        {"--name", &name, 1, NULL, NULL, false},
        {"--external-ca", &ca_dir, 1, NULL, NULL, false},
    };
    uint64_t now_s = 0;
    struct made made = {.dir = false};
    enum beckon_status status = bk_cmd_options(argc, argv, options, 4, NULL, 0);

    if (status == BECKON_OK) {
        status = check_arguments(dir, ca_dir, name, hosts, n_hosts);
    }
    if (status == BECKON_OK) {
        status = bk_cmd_clock(&now_s);
    }
    if (status == BECKON_OK) {
        status = take_directory(dir, &made.dir);
    }
    if (status != BECKON_OK) {
        return status;
    }
    if (ca_dir != NULL) {
        status = prepare_external(dir, ca_dir, name, now_s, &made);
    }
    if (status == BECKON_OK) {
        status = write_all(dir, ca_dir == NULL ? dir : ca_dir, name, hosts, n_hosts, now_s);
    }
    if (status != BECKON_OK) {
        undo(dir, ca_dir, &made);
    }
    return status;
}

const struct bk_command bk_cmd_init = {
    .name = "init",
    .summary = "make a state directory: CA, server certificate, keys, configuration",
    .help =
        "usage: beckond init --state DIR --host NAME_OR_IP [--host ...] [--name TEXT]\n"
        "                    [--external-ca CADIR]\n\n"
        "Makes DIR (mode 0700) with a certificate authority, the server's certificate, keys, an\n"
        "empty store and beckond.conf. Refuses to overwrite anything; leaves nothing behind when "
        "it\n"
        "fails.\n\n"
        "  --host   a name or IP address under which agents and users reach this server. All of\n"
        "           them go into its certificate, the first one into join tokens.\n"
        "  --name   the CA's name, as certificate viewers show it (Beckon CA)\n"
        "  --external-ca\n"
        "           keep the CA's key out of DIR: the CA is made in CADIR, or is the one there. "
        "What\n"
        "           needs a certificate then waits for beckond sign\n",
    .run = run,
};
