/* beckond sign: where the CA's key is, signs what waits in DIR/requests (bin/beckond/requests.h). Needs nothing
 * else of the state directory, so that the one directory may be carried here and back. Whoever can write there may
 * change it at any moment: what is looked at is what is signed, read once, and named words bind it to what was seen
 * before. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bin/beckond/authority.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/requests.h"
#include "bin/beckond/say.h"

/* A word NAME=FINGERPRINT. */
struct wanted {
    struct bk_identity holder;
    uint8_t pin[BK_PIN_BYTES];
};

struct work {
    const char *dir;
    int folder; /* DIR/requests */
    bool list;  /* only show */
    uint64_t now_s;
    struct bk_authority ca;
    struct wanted *wanted; /* NULL: all that is there */
    size_t n_wanted;
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

static const char *why_not_read(enum bk_err err)
{
    if (err == BK_E_NOTFOUND) {
        return "there is no such request";
    }
    if (err != BK_E_IO) {
        return "no certificate request of ours";
    }
    return errno == ELOOP ? "a symbolic link, and no certificate request of ours" : strerror(errno);
}

/* Fills in the holder's key as well. */
static enum bk_err read_request(struct work *w, const char *file, struct bk_identity *holder,
                                struct bk_slice *request)
{
    size_t n = 0;
    enum bk_err err = bk_requests_load(w->folder, file, BK_REQUESTS_PEM_REQUEST, w->request, &n);

    *request = bk_slice(w->request, n);
    return err == BK_OK ? bk_x509_request_key(*request, holder->key) : err;
}

static enum bk_err sign(struct work *w, const char *name, const struct bk_identity *holder,
                        struct bk_slice request)
{
    char file[BK_REQUESTS_FILE_BYTES];
    size_t n = 0;
    enum bk_err err = bk_authority_issue(&w->ca, request, holder, w->now_s, w->certificate,
                                         sizeof w->certificate, &n);

    bk_requests_file(name, ".crt", file);
    return err == BK_OK ? bk_requests_save(w->folder, file, BK_REQUESTS_PEM_CERTIFICATE,
                                           bk_slice(w->certificate, n))
                        : err;
}

/* `pin`: the only key to sign for; or NULL. */
static void deal_with(struct work *w, struct bk_identity holder, const uint8_t *pin)
{
    char name[BK_REQUESTS_NAME_BYTES], file[BK_REQUESTS_FILE_BYTES];
    char fingerprint[BK_PIN_TEXT_BYTES];
    uint8_t its_pin[BK_PIN_BYTES];
    struct bk_slice request;
    size_t ignored = 0;
    enum bk_err err;

    bk_requests_name(&holder, name);
    bk_requests_file(name, ".req", file);
    err = read_request(w, file, &holder, &request);
    if (err != BK_OK) {
        skip(w, file, why_not_read(err));
        return;
    }
    bk_pin_of_key(holder.key, its_pin);
    bk_pin_format(its_pin, fingerprint);
    if (pin != NULL && memcmp(pin, its_pin, sizeof its_pin) != 0) {
        bk_say("%s: the request there is for another key, %s; not signed, find out who changed it",
               file, fingerprint);
        w->failed = true;
        return;
    }
    if (bk_requests_take_at(w->folder, &holder, holder.key, w->ca.ca, w->now_s, w->certificate,
                            &ignored) == BK_OK) {
        return; /* signed already, and not fetched yet */
    }
    if (!w->list) {
        err = sign(w, name, &holder, request);
    }
    if (err != BK_OK) {
        skip(w, file, err == BK_E_IO ? strerror(errno) : bk_err_text(err));
        return;
    }
    (void)printf("%s %s\n", name, fingerprint);
}

static void deal_with_file(struct work *w, const char *file)
{
    struct bk_identity holder;

    if (bk_requests_holder(bk_slice(file, strlen(file) - strlen(".req")), &holder) == BK_OK) {
        deal_with(w, holder, NULL);
    } else {
        skip(w, file, "its name is neither device-ID.req nor user-NAME.req");
    }
}

static int is_request(const struct dirent *e)
{
    size_t n = strlen(e->d_name);

    return e->d_name[0] != '.' && n > strlen(".req") && strcmp(e->d_name + n - 4, ".req") == 0;
}

static enum beckon_status deal_with_all(struct work *w)
{
    struct dirent **entries = NULL;
    int n = scandirat(w->folder, ".", &entries, is_request, alphasort);

    if (n < 0) {
        bk_say("%s in %s: %s", BK_STATE_REQUESTS, w->dir, strerror(errno));
        return BECKON_FAILED;
    }
    for (int i = 0; i < n; i++) {
        deal_with_file(w, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return w->failed ? BECKON_FAILED : BECKON_OK;
}

static enum beckon_status deal_with_wanted(struct work *w)
{
    for (size_t i = 0; i < w->n_wanted; i++) {
        deal_with(w, w->wanted[i].holder, w->wanted[i].pin);
    }
    return w->failed ? BECKON_FAILED : BECKON_OK;
}

static enum beckon_status open_requests(struct work *w)
{
    enum bk_err err = bk_requests_open(w->dir, &w->folder);

    if (err == BK_OK) {
        return BECKON_OK;
    }
    if (err == BK_E_NOSPACE) {
        bk_say("the state directory's name is too long; choose another place");
    } else if (err == BK_E_IO && (errno == ELOOP || errno == ENOTDIR)) {
        bk_say("%s in %s is a symbolic link or no directory; it must be the directory itself",
               BK_STATE_REQUESTS, w->dir);
    } else {
        bk_say("%s in %s: %s; beckond init --external-ca makes it", BK_STATE_REQUESTS, w->dir,
               strerror(errno));
    }
    return BECKON_FAILED;
}

static enum beckon_status parse_word(const char *word, struct wanted *out)
{
    char shown[4 * 64 + 8];
    const char *equals = strchr(word, '=');

    if (equals != NULL &&
        bk_requests_holder(bk_slice(word, (size_t)(equals - word)), &out->holder) == BK_OK &&
        bk_pin_parse(bk_slice_text(equals + 1), out->pin) == BK_OK) {
        return BECKON_OK;
    }
    bk_say_escape(bk_slice_text(word), shown, sizeof shown);
    bk_say("%s is not NAME=FINGERPRINT, both as --list shows them; see beckond sign --help", shown);
    return BECKON_USAGE;
}

static enum beckon_status parse_words(struct work *w, char **words, size_t n)
{
    enum beckon_status status = BECKON_OK;

    if (n == 0) {
        return BECKON_OK;
    }
    if (w->list) {
        bk_say("--list takes no words; see beckond sign --help");
        return BECKON_USAGE;
    }
    w->wanted = calloc(n, sizeof *w->wanted);
    if (w->wanted == NULL) {
        bk_say("out of memory; free some and try again");
        return BECKON_FAILED;
    }
    for (w->n_wanted = 0; status == BECKON_OK && w->n_wanted < n; w->n_wanted++) {
        status = parse_word(words[w->n_wanted], &w->wanted[w->n_wanted]);
    }
    return status;
}

static enum beckon_status work(struct work *w, const char *ca_dir)
{
    enum beckon_status status = open_requests(w);

    if (status != BECKON_OK) {
        return status;
    }
    status = load_ca(w, ca_dir);
    if (status == BECKON_OK) {
        status = w->wanted != NULL ? deal_with_wanted(w) : deal_with_all(w);
        bk_authority_fini(&w->ca);
    }
    (void)close(w->folder);
    return status;
}

static enum beckon_status run(int argc, char **argv)
{
    const char *dir = NULL, *ca_dir = NULL;
    bool list = false;
    uint64_t now_s = 0;
    int n_words = 0;
    struct work *w;
    const struct bk_option options[] = {
        {"--state", &dir, 1, NULL, NULL, true},
        {"--ca", &ca_dir, 1, NULL, NULL, true},
        {"--list", NULL, 0, NULL, &list, false},
    };
    enum beckon_status status = bk_options_parse("beckond", argc, argv, options, 3, &n_words);

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
    status = parse_words(w, argv + 1, (size_t)n_words);
    if (status == BECKON_OK) {
        status = work(w, ca_dir);
    }
    free(w->wanted);
    free(w);
    return status;
}

const struct bk_command bk_cmd_sign = {
    .name = "sign",
    .summary = "sign the certificates that wait for an external CA",
    .help =
        "usage: beckond sign --state DIR --ca CADIR [--list | NAME=FINGERPRINT ...]\n\n"
        "Signs requests in DIR/requests with the CA in CADIR (made by beckond init "
        "--external-ca),\n"
        "and prints for each whom it is for and the fingerprint of its key. The server takes the\n"
        "certificates up by itself. Nothing else of DIR is needed: DIR/requests may be carried to\n"
        "another machine, and back.\n\n"
        "With words, NAME and FINGERPRINT as --list shows them, only these requests are signed, "
        "and\n"
        "one for another key is refused. Without words all are signed: safe only where nobody can\n"
        "have changed DIR/requests since you looked, as in a copy of your own.\n\n"
        "  --list   show what waits, and sign nothing\n",
    .run = run,
};
