/* Reading the command line of a subcommand. Says what is wrong, prints no help. */
#include "bin/common/options.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    OPTIONS_MAX = 16,
};

struct parsing {
    const char *program;
    int argc;
    char **argv;
    int at;
    const struct bk_option *options;
    size_t n_options;
    size_t given[OPTIONS_MAX];
};

/* One line, and where help is. */
static enum beckon_status wrong(const struct parsing *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static enum beckon_status wrong(const struct parsing *p, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", p->program);
    va_start(args, format);
    /* The analyzer takes va_start in an attributed function for none. */
    (void)vfprintf(stderr, format, args); // NOLINT(clang-analyzer-valist.Uninitialized)
    va_end(args);
    fprintf(stderr, "; see %s %s --help\n", p->program, p->argv[0]);
    return BECKON_USAGE;
}

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

static enum beckon_status take_value(struct parsing *p, size_t i, const char *value)
{
    const struct bk_option *option = &p->options[i];

    if (value == NULL && p->at + 1 < p->argc) {
        value = p->argv[++p->at];
    }
    if (value == NULL || *value == '\0') {
        return wrong(p, "%s needs a value", option->name);
    }
    if (p->given[i] == option->max) {
        return wrong(p, "%s is given too often; give it %s", option->name,
                     option->max == 1 ? "once" : "fewer times");
    }
    option->values[p->given[i]++] = value;
    if (option->count != NULL) {
        *option->count = p->given[i];
    }
    return BECKON_OK;
}

/* The argument at p->at, which begins with a dash. */
static enum beckon_status take_option(struct parsing *p)
{
    const char *arg = p->argv[p->at], *value;

    for (size_t i = 0; i < p->n_options; i++) {
        const struct bk_option *option = &p->options[i];

        if (!spells(option, arg, &value)) {
            continue;
        }
        if (option->values != NULL) {
            return take_value(p, i, value);
        }
        if (value != NULL) {
            return wrong(p, "%s takes no value", option->name);
        }
        *option->flag = true;
        p->given[i] = 1;
        return BECKON_OK;
    }
    return wrong(p, "there is no option %s", arg);
}

enum beckon_status bk_options_parse(const char *program, int argc, char **argv,
                                    const struct bk_option *options, size_t n_options, int *n_words)
{
    struct parsing p = {
        .program = program, .argc = argc, .argv = argv, .options = options, .n_options = n_options};
    bool ended = false;

    assert(n_options <= OPTIONS_MAX);
    *n_words = 0;
    for (p.at = 1; p.at < argc; p.at++) {
        char *arg = argv[p.at];
        enum beckon_status status;

        if (!ended && strcmp(arg, "--") == 0) {
            ended = true;
        } else if (ended || arg[0] != '-' || arg[1] == '\0') {
            argv[1 + (*n_words)++] = arg;
        } else {
            status = take_option(&p);
            if (status != BECKON_OK) {
                return status;
            }
        }
    }
    for (size_t i = 0; i < n_options; i++) {
        if (options[i].required && p.given[i] == 0) {
            return wrong(&p, "%s is missing", options[i].name);
        }
    }
    return BECKON_OK;
}
