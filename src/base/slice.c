/* Borrowed runs of bytes. Owns nothing, allocates nothing. */
#include "base/slice.h"

#include <string.h>

struct bk_slice bk_slice(const void *p, size_t n)
{
    return (struct bk_slice){p, n};
}

struct bk_slice bk_slice_text(const char *text)
{
    return text == NULL ? BK_SLICE_EMPTY : bk_slice(text, strlen(text));
}

bool bk_slice_equal(struct bk_slice a, struct bk_slice b)
{
    /* memcmp must not see NULL, which an empty slice may hold. */
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool bk_slice_to_text(struct bk_slice s, char *out, size_t cap)
{
    if (cap == 0) {
        return false;
    }
    out[0] = '\0';
    if (s.n >= cap) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] > 0x7E) {
            return false;
        }
    }
    if (s.n > 0) {
        memcpy(out, s.p, s.n);
    }
    out[s.n] = '\0';
    return true;
}
