/* The command line of one subcommand, strictly: "--name VALUE", "--name=VALUE", flags, and words. */
#ifndef BK_BIN_COMMON_OPTIONS_H
#define BK_BIN_COMMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "beckon/beckon.h"

struct bk_option {
    const char *name;    /* with its dashes */
    const char **values; /* room for `max` values; NULL for a flag */
    size_t max;
    size_t *count; /* how many were given; may be NULL where max is 1 */
    bool *flag;    /* for a flag */
    bool required;
};

/* Parses argv[1..]; argv[0] is the subcommand. Words (what is no option, "-" among them, and everything after
 * "--") are moved to the front of argv[1..] in order and counted. BECKON_USAGE has been said on standard
 * error. */
enum beckon_status bk_options_parse(const char *program, int argc, char **argv,
                                    const struct bk_option *options, size_t n_options,
                                    int *n_words);

#endif
