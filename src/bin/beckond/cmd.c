/* Steps that several subcommands share; each says on standard error what is wrong. */
#include "bin/beckond/cmd.h"

#include "bin/beckond/say.h"
#include "bin/beckond/state.h"
#include "net/clock.h"

/* 2020-01-01: before it certificates and token times would be nonsense. */
#define EARLIEST_UNIX_S UINT64_C(1577836800)

enum beckon_status bk_cmd_options(int argc, char **argv, const struct bk_option *options,
                                  size_t n_options, const char **words, size_t n_words)
{
    int got;
    enum beckon_status status = bk_options_parse("beckond", argc, argv, options, n_options, &got);

    if (status != BECKON_OK) {
        return status;
    }
    if ((size_t)got > n_words) {
        bk_say("%s is one word too many; see beckond %s --help", argv[1 + n_words], argv[0]);
        return BECKON_USAGE;
    }
    if ((size_t)got < n_words) {
        bk_say("a word is missing; see beckond %s --help", argv[0]);
        return BECKON_USAGE;
    }
    for (size_t i = 0; i < n_words; i++) {
        words[i] = argv[1 + i];
    }
    return BECKON_OK;
}

enum beckon_status bk_cmd_config(const char *dir, const char *file, struct bk_config *out)
{
    char path[BK_STATE_PATH_BYTES];
    char why[BK_CONFIG_WHY_BYTES];
    bool named = file != NULL;

    if (file == NULL) {
        if (bk_state_path(dir, BK_STATE_CONFIG, path) != BK_OK) {
            bk_say("the state directory's name is too long; choose another place");
            return BECKON_FAILED;
        }
        file = path;
    }
    switch ((int)bk_config_load(file, out, why)) {
    case BK_OK:
        return BECKON_OK;
    case BK_E_MALFORMED:
        bk_say("%s", why);
        return BECKON_BAD_CONFIG;
    case BK_E_NOTFOUND:
        bk_say("%s; %s", why,
               named ? "check --config" : "make the state directory with beckond init");
        return BECKON_FAILED;
    default:
        bk_say("%s; it must be readable by the user that beckond runs as", why);
        return BECKON_FAILED;
    }
}

enum beckon_status bk_cmd_store(const char *dir, struct bk_store **out)
{
    char path[BK_STATE_PATH_BYTES];
    char why[BK_STORE_WHY_BYTES];

    if (bk_state_path(dir, BK_STATE_STORE, path) != BK_OK) {
        bk_say("the state directory's name is too long; choose another place");
        return BECKON_FAILED;
    }
    switch ((int)bk_store_open(path, out, why)) {
    case BK_OK:
        return BECKON_OK;
    case BK_E_NOTFOUND:
        bk_say("%s: %s; is this a state directory made by beckond init?", path, why);
        return BECKON_FAILED;
    case BK_E_MALFORMED:
        bk_say("%s: %s; restore it from a backup", path, why);
        return BECKON_BAD_CONFIG;
    default:
        bk_say("%s: %s; is there space, and is it writable for the user that beckond runs as?",
               path, why);
        return BECKON_FAILED;
    }
}

enum beckon_status bk_cmd_store_failed(const struct bk_store *s)
{
    bk_say("the store: %s; nothing has been changed, try again", bk_store_why(s));
    return BECKON_FAILED;
}

enum beckon_status bk_cmd_resolve(struct bk_store *s, const char *device, uint64_t *equipment_id)
{
    char shown[128];

    switch ((int)bk_store_resolve(s, bk_slice_text(device), equipment_id)) {
    case BK_OK:
        return BECKON_OK;
    case BK_E_NOTFOUND:
        bk_say_escape(bk_slice_text(device), shown, sizeof shown);
        bk_say("there is no device %s; beckond devices lists them, beckond token create makes one",
               shown);
        return BECKON_FAILED;
    default:
        return bk_cmd_store_failed(s);
    }
}

enum beckon_status bk_cmd_user_name(const char *user)
{
    char shown[128];

    if (bk_name_valid(bk_slice_text(user))) {
        return BECKON_OK;
    }
    bk_say_escape(bk_slice_text(user), shown, sizeof shown);
    bk_say(
        "%s is no user name; use a-z, 0-9, '.', '_' and '-', beginning with a letter or digit, not "
        "only digits, at most %d",
        shown, BK_NAME_MAX_BYTES);
    return BECKON_USAGE;
}

enum beckon_status bk_cmd_clock(uint64_t *unix_s)
{
    uint64_t now_s = bk_clock_unix_s();

    if (now_s < EARLIEST_UNIX_S) {
        bk_say("the clock stands before 2020; set it first, certificates depend on it");
        return BECKON_FAILED;
    }
    *unix_s = now_s;
    return BECKON_OK;
}
