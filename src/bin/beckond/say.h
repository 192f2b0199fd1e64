/* What beckond says to people: one line at a time on standard error, "beckond: ...".
 *
 * Peer bytes reach a line only through bk_say_escape; what a peer can trigger goes through
 * bk_say_limited, so that nobody fills a log from outside. */
#ifndef BK_BECKOND_SAY_H
#define BK_BECKOND_SAY_H

#include "base/bucket.h"
#include "base/slice.h"

enum {
    BK_SAY_LINE_BYTES = 1024, /* longer lines are cut */
};

void bk_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same without "beckond: " before it: lines for programs to read. */
void bk_say_bare(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line that peers can cause: one bucket per kind of line. What was dropped is counted and told with
 * the next line that is let through. */
struct bk_say_limit {
    struct bk_bucket bucket;
    uint64_t dropped;
};
void bk_say_limited(struct bk_say_limit *limit, bk_time now, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Printable ASCII without space, quote, '=' and backslash as it is, every other byte as \xHH; cut with
 * "..." if it does not fit. `cap` is at least 8. */
void bk_say_escape(struct bk_slice bytes, char *out, size_t cap);

#endif
