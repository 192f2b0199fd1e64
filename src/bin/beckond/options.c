/* Reading the command line of a subcommand. Says what is wrong, prints no help. */
#include "bin/beckond/options.h"

#include <string.h>

#include "bin/beckond/say.h"

enum {
    OPTIONS_MAX = 16,
};

/* Does `arg` spell this option? A value after "=" comes out, else NULL. */
static bool spells(const struct bk_option *option, const char *arg, const char **value)
{
    size_t n = strlen(option->name);

    *value = NULL;
    if (strncmp(arg, option->name, n) != 0) {
        return false;
    }
    if (arg[n] == '=') {
        *value = arg + n + 1;
        return true;
    }
    return arg[n] == '\0';
}

static enum beckon_status take(const char *command, const struct bk_option *option,
                               const char *value, size_t *given)
{
    if (*given == option->max) {
        bk_say("%s is given too often; give it %s; see beckond %s --help", option->name,
               option->max == 1 ? "once" : "fewer times", command);
        return BECKON_USAGE;
    }
    if (*value == '\0') {
        bk_say("%s needs a value; see beckond %s --help", option->name, command);
        return BECKON_USAGE;
    }
    option->values[(*given)++] = value;
    if (option->count != NULL) {
        *option->count = *given;
    }
    return BECKON_OK;
}

/* One argument that begins with a dash; *at moves past a value that is an argument of its own. */
static enum beckon_status take_option(int argc, char **argv, int *at,
                                      const struct bk_option *options, size_t n_options,
                                      size_t *given)
{
    const char *arg = argv[*at], *value;

    for (size_t i = 0; i < n_options; i++) {
        if (!spells(&options[i], arg, &value)) {
            continue;
        }
        if (options[i].values == NULL) {
            if (value != NULL) {
                bk_say("%s takes no value; see beckond %s --help", options[i].name, argv[0]);
                return BECKON_USAGE;
            }
            *options[i].flag = true;
            given[i] = 1;
            return BECKON_OK;
        }
        if (value == NULL) {
            if (*at + 1 >= argc) {
                bk_say("%s needs a value; see beckond %s --help", options[i].name, argv[0]);
                return BECKON_USAGE;
            }
            value = argv[++*at];
        }
        return take(argv[0], &options[i], value, &given[i]);
    }
    bk_say("there is no option %s; see beckond %s --help", arg, argv[0]);
    return BECKON_USAGE;
}

enum beckon_status bk_options_parse(int argc, char **argv, const struct bk_option *options,
                                    size_t n_options, const char **words, size_t n_words)
{
    size_t given[OPTIONS_MAX] = {0};
    size_t got_words = 0;
    enum beckon_status status;

    for (int at = 1; at < argc; at++) {
        if (argv[at][0] == '-') {
            status = take_option(argc, argv, &at, options, n_options, given);
            if (status != BECKON_OK) {
                return status;
            }
        } else if (got_words < n_words) {
            words[got_words++] = argv[at];
        } else {
            bk_say("%s is one word too many; see beckond %s --help", argv[at], argv[0]);
            return BECKON_USAGE;
        }
    }
    if (got_words < n_words) {
        bk_say("a word is missing; see beckond %s --help", argv[0]);
        return BECKON_USAGE;
    }
    for (size_t i = 0; i < n_options; i++) {
        if (options[i].required && given[i] == 0) {
            bk_say("%s is missing; see beckond %s --help", options[i].name, argv[0]);
            return BECKON_USAGE;
        }
    }
    return BECKON_OK;
}
