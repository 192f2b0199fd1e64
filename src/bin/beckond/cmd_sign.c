/* beckond sign: where the CA's key is, signs what waits in DIR/requests (bin/beckond/requests.h). Needs nothing
 * else of the state directory, so that the one directory may be carried here and back. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/beckond/authority.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/requests.h"
#include "bin/beckond/say.h"

struct work {
    const char *dir;
    bool list; /* only show */
    uint64_t now_s;
    struct bk_authority ca;
    bool failed; /* some request could not be dealt with; it has been said */
    uint8_t request[BK_X509_DER_MAX_BYTES];
    uint8_t certificate[BK_X509_DER_MAX_BYTES];
};

static enum beckon_status load_ca(struct work *w, const char *ca_dir)
{
    const char *which = "";
    uint8_t pin[BK_PIN_BYTES];
    enum bk_err err = bk_authority_load_ca(ca_dir, w->now_s, &w->ca, &which);

    if (err != BK_OK) {
        bk_say("%s in %s: %s; --ca is the directory that holds the CA's key and certificate", which,
               ca_dir, bk_err_text(err));
        return err == BK_E_MALFORMED || err == BK_E_AUTH ? BECKON_BAD_CONFIG : BECKON_FAILED;
    }
    /* Where the server's own copy is at hand: is this its CA? */
    err = bk_authority_pin(w->dir, pin);
    if (err != BK_E_NOTFOUND && (err != BK_OK || memcmp(pin, w->ca.ca_pin, sizeof pin) != 0)) {
        bk_say("%s in %s is not the certificate of the CA in %s; give the CA that this server was "
               "made with",
               BK_STATE_CA_CERTIFICATE, w->dir, ca_dir);
        bk_authority_fini(&w->ca);
        return BECKON_FAILED;
    }
    return BECKON_OK;
}

static void skip(struct work *w, const char *file, const char *why)
{
    char shown[4 * 64 + 8];

    bk_say_escape(bk_slice_text(file), shown, sizeof shown);
    bk_say("%s: %s; passed over", shown, why);
    w->failed = true;
}

static enum bk_err sign(struct work *w, const char *name, const struct bk_identity *holder,
                        struct bk_slice request)
{
    char path[BK_STATE_PATH_BYTES];
    size_t n = 0;
    enum bk_err err = bk_requests_path(w->dir, name, ".crt", path);

    if (err == BK_OK) {
        err = bk_authority_issue(&w->ca, request, holder, w->now_s, w->certificate,
                                 sizeof w->certificate, &n);
    }
    return err == BK_OK
               ? bk_requests_save(path, BK_REQUESTS_PEM_CERTIFICATE, bk_slice(w->certificate, n))
               : err;
}

static void deal_with(struct work *w, const char *file)
{
    struct bk_slice stem = bk_slice(file, strlen(file) - strlen(".req"));
    struct bk_identity holder;
    char name[BK_REQUESTS_NAME_BYTES], path[BK_STATE_PATH_BYTES], fingerprint[BK_PIN_TEXT_BYTES];
    uint8_t pin[BK_PIN_BYTES];
    size_t n = 0, ignored = 0;
    enum bk_err err;

    if (bk_requests_holder(stem, &holder) != BK_OK) {
        skip(w, file, "its name is neither device-ID.req nor user-NAME.req");
        return;
    }
    bk_requests_name(&holder, name);
    err = bk_requests_path(w->dir, name, ".req", path);
    if (err == BK_OK) {
        err = bk_requests_load(path, BK_REQUESTS_PEM_REQUEST, w->request, &n);
    }
    if (err == BK_OK) {
        err = bk_x509_request_key(bk_slice(w->request, n), holder.key);
    }
    if (err != BK_OK) {
        skip(w, file, err == BK_E_IO ? strerror(errno) : "no certificate request of ours");
        return;
    }
    if (bk_requests_take(w->dir, &holder, holder.key, w->ca.ca, w->now_s, w->certificate,
                         &ignored) == BK_OK) {
        return; /* signed already, and not fetched yet */
    }
    if (!w->list) {
        err = sign(w, name, &holder, bk_slice(w->request, n));
    }
    if (err != BK_OK) {
        skip(w, file, err == BK_E_IO ? strerror(errno) : bk_err_text(err));
        return;
    }
    bk_pin_of_key(holder.key, pin);
    bk_pin_format(pin, fingerprint);
    (void)printf("%s %s\n", name, fingerprint);
}

static int is_request(const struct dirent *e)
{
    size_t n = strlen(e->d_name);

    return e->d_name[0] != '.' && n > strlen(".req") && strcmp(e->d_name + n - 4, ".req") == 0;
}

static enum beckon_status deal_with_all(struct work *w)
{
    char path[BK_STATE_PATH_BYTES];
    struct dirent **entries = NULL;
    int n;

    if (bk_state_path(w->dir, BK_STATE_REQUESTS, path) != BK_OK) {
        bk_say("the state directory's name is too long; choose another place");
        return BECKON_FAILED;
    }
    n = scandir(path, &entries, is_request, alphasort);
    if (n < 0) {
        bk_say("%s: %s; beckond init --external-ca makes it", path, strerror(errno));
        return BECKON_FAILED;
    }
    for (int i = 0; i < n; i++) {
        deal_with(w, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return w->failed ? BECKON_FAILED : BECKON_OK;
}

static enum beckon_status run(int argc, char **argv)
{
    const char *dir = NULL, *ca_dir = NULL;
    bool list = false;
    uint64_t now_s = 0;
    struct work *w;
    const struct bk_option options[] = {
        {"--state", &dir, 1, NULL, NULL, true},
        {"--ca", &ca_dir, 1, NULL, NULL, true},
        {"--list", NULL, 0, NULL, &list, false},
    };
    enum beckon_status status = bk_cmd_options(argc, argv, options, 3, NULL, 0);

    if (status == BECKON_OK) {
        status = bk_cmd_clock(&now_s);
    }
    if (status != BECKON_OK) {
        return status;
    }
    w = calloc(1, sizeof *w);
    if (w == NULL) {
        bk_say("out of memory; free some and try again");
        return BECKON_FAILED;
    }
    w->dir = dir;
    w->list = list;
    w->now_s = now_s;
    status = load_ca(w, ca_dir);
    if (status == BECKON_OK) {
        status = deal_with_all(w);
        bk_authority_fini(&w->ca);
    }
    free(w);
    return status;
}

const struct bk_command bk_cmd_sign = {
    .name = "sign",
    .summary = "sign the certificates that wait for an external CA",
    .help =
        "usage: beckond sign --state DIR --ca CADIR [--list]\n\n"
        "Signs every request in DIR/requests with the CA in CADIR (made by beckond init\n"
        "--external-ca), and prints for each whom it is for and the fingerprint of its key. The "
        "server\n"
        "takes the certificates up by itself. Nothing else of DIR is needed: DIR/requests may be\n"
        "carried to another machine, and back.\n\n"
        "  --list   show what waits, and sign nothing\n",
    .run = run,
};
