/* Filling struct beckon_error: one line for people, with the status that goes with it. */
#ifndef BK_LIB_FAIL_H
#define BK_LIB_FAIL_H

#include "beckon/beckon.h"

/* Formats the line and returns `status`. `error` may be NULL. */
enum beckon_status bk_fail(struct beckon_error *error, enum beckon_status status,
                           const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Formats a log line for `log`, which may be NULL. */
void bk_log(beckon_log log, void *ctx, int level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
