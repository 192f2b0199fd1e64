/* Strict INI reading on inih: every error is one line with file and line number; nothing unknown is
 * passed over. */
#ifndef BK_LIB_INI_H
#define BK_LIB_INI_H

#include "beckon/beckon.h"

/* Takes one key. Returns NULL, or a phrase for what is wrong with it ("unknown key", "not a port").
 * `section` is the whole text between the brackets. */
typedef const char *(*bk_ini_key)(void *ctx, const char *section, const char *key,
                                  const char *value);

/* BAD_CONFIG for the first error, NOT_JOINED if there is no such file, FAILED if it cannot be read. */
enum beckon_status bk_ini_read(const char *path, bk_ini_key take, void *ctx,
                               struct beckon_error *error);

#endif
