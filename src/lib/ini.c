/* INI, strictly: inih reads, and what it would let pass is refused here. */
#include "lib/ini.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#include "lib/fail.h"

enum {
    WRONG_BYTES = 240,
    LINE_BYTES = 199, /* inih's buffer holds no more, and it takes the rest for a line of its own */
    SECTION_BYTES =
        49, /* as much of a section's name; it cuts the rest: two names would become one */
};

struct reading {
    bk_ini_key take;
    void *ctx;
    char wrong[WRONG_BYTES]; /* what is wrong with the first bad key; empty: nothing yet */
    FILE *file;
    int lines;
    bool cut;      /* line number `lines` was too long */
    bool indented; /* or began with blanks */
};

/* fgets for inih, which ends at a line that does not fit. */
static char *next_line(char *out, int cap, void *user)
{
    struct reading *reading = user;
    size_t n, blanks;

    if (reading->cut || reading->indented || fgets(out, cap, reading->file) == NULL) {
        return NULL;
    }
    reading->lines++;
    n = strlen(out);
    reading->cut = n + 1 == (size_t)cap && out[n - 1] != '\n';
    /* inih would take an indented line for more of the value above. */
    blanks = strspn(out, " \t\v\f\r\n");
    reading->indented =
        blanks > 0 && out[blanks] != '\0' && out[blanks] != '#' && out[blanks] != ';';
    return reading->cut || reading->indented ? NULL : out;
}

/* inih calls this per key and keeps the number of the first line for which it returns 0. */
static int on_key(void *user, const char *section, const char *key, const char *value)
{
    struct reading *reading = user;
    const char *wrong;

    if (reading->wrong[0] != '\0') {
        return 0;
    }
    wrong = strlen(section) < SECTION_BYTES
                ? reading->take(reading->ctx, section, key, value == NULL ? "" : value)
                : "the section's name is longer than 48 bytes";
    if (wrong == NULL) {
        return 1;
    }
    snprintf(reading->wrong, sizeof reading->wrong, "\"%.40s\" in [%.40s]: %.100s", key, section,
             wrong);
    return 0;
}

enum beckon_status bk_ini_read(const char *path, bk_ini_key take, void *ctx,
                               struct beckon_error *error)
{
    struct reading reading = {.take = take, .ctx = ctx, .file = fopen(path, "re")};
    bool unreadable;
    int line;

    if (reading.file == NULL) {
        return bk_fail(error, errno == ENOENT ? BECKON_NOT_JOINED : BECKON_FAILED,
                       "%s: %s; check its owner and mode", path, strerror(errno));
    }
    line = ini_parse_stream(next_line, &reading, on_key, &reading);
    unreadable = ferror(reading.file) != 0;
    (void)fclose(reading.file);
    if (unreadable || line < 0) {
        return bk_fail(error, BECKON_FAILED, "%s cannot be read; is it a file?", path);
    }
    if (line == 0 && reading.cut) {
        return bk_fail(error, BECKON_BAD_CONFIG,
                       "%s:%d: the line is longer than %d bytes; shorten it", path, reading.lines,
                       LINE_BYTES - 1);
    }
    if (line == 0 && reading.indented) {
        return bk_fail(error, BECKON_BAD_CONFIG,
                       "%s:%d: the line is indented; begin it in the first column", path,
                       reading.lines);
    }
    if (line == 0) {
        return BECKON_OK;
    }
    return bk_fail(error, BECKON_BAD_CONFIG, "%s:%d: %s; correct that line", path, line,
                   reading.wrong[0] != '\0' ? reading.wrong
                                            : "neither [section], nor key = value, nor comment");
}
