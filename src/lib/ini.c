#include "lib/ini.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#include "lib/fail.h"

enum {
    WRONG_BYTES = 160,
};

struct reading {
    bk_ini_key take;
    void *ctx;
    char wrong[WRONG_BYTES]; /* what is wrong with the first bad key; empty: nothing yet */
};

/* inih calls this per key and keeps the number of the first line for which it returns 0. */
static int on_key(void *user, const char *section, const char *key, const char *value)
{
    struct reading *reading = user;
    const char *wrong;

    if (reading->wrong[0] != '\0') {
        return 0;
    }
    wrong = reading->take(reading->ctx, section, key, value == NULL ? "" : value);
    if (wrong == NULL) {
        return 1;
    }
    snprintf(reading->wrong, sizeof reading->wrong, "\"%.40s\" in [%.40s]: %.60s", key, section, wrong);
    return 0;
}

enum beckon_status bk_ini_read(const char *path, bk_ini_key take, void *ctx,
                               struct beckon_error *error)
{
    struct reading reading = {.take = take, .ctx = ctx};
    FILE *file = fopen(path, "re");
    int line;

    if (file == NULL) {
        return bk_fail(error, errno == ENOENT ? BECKON_NOT_JOINED : BECKON_FAILED, "%s: %s", path,
                       strerror(errno));
    }
    line = ini_parse_file(file, on_key, &reading);
    fclose(file);
    if (line == 0) {
        return BECKON_OK;
    }
    return bk_fail(error, BECKON_BAD_CONFIG, "%s:%d: %s; correct that line", path, line,
                   reading.wrong[0] != '\0' ? reading.wrong
                                            : "neither [section], nor key = value, nor comment");
}
