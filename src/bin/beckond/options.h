/* The command line of one subcommand, strictly: "--name VALUE", "--name=VALUE", flags, and words. */
#ifndef BK_BECKOND_OPTIONS_H
#define BK_BECKOND_OPTIONS_H

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

/* Parses argv[1..]. `words` takes what is no option, exactly `n_words` of it. BECKON_USAGE has been said
 * on standard error. */
enum beckon_status bk_options_parse(int argc, char **argv, const struct bk_option *options,
                                    size_t n_options, const char **words, size_t n_words);

#endif
