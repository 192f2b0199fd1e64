/* Lines for people. Never more than one line a call, and never longer than BK_SAY_LINE_BYTES. */
#include "bin/beckond/say.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    LIMITED_PER_S = 5,
    LIMITED_BURST = 20,
};

static const char own_prefix[] = "beckond: ";

static void line(const char *prefix, const char *format, va_list args, uint64_t dropped)
    __attribute__((format(printf, 2, 0)));

/* One write a line, so that lines of several processes do not mix. */
static void line(const char *prefix, const char *format, va_list args, uint64_t dropped)
{
    char text[BK_SAY_LINE_BYTES];
    size_t used = strlen(prefix);
    int n;

    memcpy(text, prefix, used);
    n = vsnprintf(text + used, sizeof text - used - 1, format, args);
    if (n > 0) {
        size_t room = sizeof text - used - 2;
        used += (size_t)n < room ? (size_t)n : room;
    }
    if (dropped > 0) {
        n = snprintf(text + used, sizeof text - used - 1, " (and %llu more such lines)",
                     (unsigned long long)dropped);
        if (n > 0 && (size_t)n < sizeof text - used - 1) {
            used += (size_t)n;
        }
    }
    text[used] = '\n';
    /* Nobody is left to tell if this fails. */
    ssize_t ignored = write(STDERR_FILENO, text, used + 1);
    (void)ignored;
}

void bk_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line(own_prefix, format, args, 0);
    va_end(args);
}

void bk_say_bare(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line("", format, args, 0);
    va_end(args);
}

void bk_say_limited(struct bk_say_limit *limit, bk_time now, const char *format, ...)
{
    va_list args;

    if (!bk_bucket_take(&limit->bucket, now, LIMITED_PER_S, LIMITED_BURST)) {
        limit->dropped++;
        return;
    }
    va_start(args, format);
    line(own_prefix, format, args, limit->dropped);
    va_end(args);
    limit->dropped = 0;
}

static bool plain(uint8_t c)
{
    return c > 0x20 && c < 0x7F && c != '"' && c != '\'' && c != '=' && c != '\\';
}

void bk_say_escape(struct bk_slice bytes, char *out, size_t cap)
{
    static const char hex[] = "0123456789abcdef";
    size_t used = 0;

    assert(cap >= 8);
    for (size_t i = 0; i < bytes.n; i++) {
        uint8_t c = bytes.p[i];
        size_t need = plain(c) ? 1 : 4;
        if (need + 4 > cap - used) { /* always leaves room for "..." and the terminator */
            out[used++] = '.';
            out[used++] = '.';
            out[used++] = '.';
            break;
        }
        if (plain(c)) {
            out[used++] = (char)c;
        } else {
            out[used++] = '\\';
            out[used++] = 'x';
            out[used++] = hex[c >> 4];
            out[used++] = hex[c & 15];
        }
    }
    out[used] = '\0';
}
