/* One line for people about what failed, or for a log. A line stays one line whatever is put into it. */
#include "lib/fail.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    LOG_LINE_BYTES = 1024,
};

/* One line, whatever was put into it: file names and configuration may hold control characters. */
static void one_line(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7F) {
            *text = '?';
        }
    }
}

enum beckon_status bk_fail(struct beckon_error *error, enum beckon_status status,
                           const char *format, ...)
{
    if (error != NULL) {
        va_list args;

        va_start(args, format);
        (void)vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
        one_line(error->text);
        error->status = status;
    }
    return status;
}

void bk_log(beckon_log log, void *ctx, int level, const char *format, ...)
{
    char line[LOG_LINE_BYTES];
    va_list args;

    if (log == NULL) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    one_line(line);
    log(ctx, level, line);
}

const char *beckon_status_name(enum beckon_status status)
{
    switch (status) {
    case BECKON_OK:
        return "ok";
    case BECKON_FAILED:
        return "failed";
    case BECKON_USAGE:
        return "usage";
    case BECKON_UNKNOWN_DEVICE:
        return "unknown-device";
    case BECKON_OFFLINE:
        return "offline";
    case BECKON_REFUSED:
        return "refused";
    case BECKON_NO_PATH:
        return "no-path";
    case BECKON_NO_MAPPING:
        return "no-mapping";
    case BECKON_SERVER_DOWN:
        return "server-down";
    case BECKON_BAD_TOKEN:
        return "bad-token";
    case BECKON_USED_TOKEN:
        return "used-token";
    case BECKON_KEY_CHANGED:
        return "key-changed";
    case BECKON_BAD_CONFIG:
        return "bad-config";
    case BECKON_REVOKED:
        return "revoked";
    case BECKON_NO_SERVICE:
        return "no-service";
    case BECKON_NOT_JOINED:
        return "not-joined";
    case BECKON_BUSY:
        return "busy";
    case BECKON_INTERRUPTED:
        return "interrupted";
    case BECKON_PENDING:
        return "pending";
    }
    return "unknown";
}
