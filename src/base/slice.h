/* A borrowed run of bytes. Protocol data is always a slice, never a C string; whoever holds the
 * memory behind `p` keeps it alive for as long as the slice is used. */
#ifndef BK_BASE_SLICE_H
#define BK_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bk_slice {
    const uint8_t *p;
    size_t n;
};

#define BK_SLICE_EMPTY ((struct bk_slice){NULL, 0})

/* The bytes of an array object (not of a pointer). */
#define BK_SLICE_OF(array) ((struct bk_slice){(const uint8_t *)(array), sizeof(array)})

/* The bytes of a C string without its terminator; `text` may be NULL (empty). */
struct bk_slice bk_slice_text(const char *text);

struct bk_slice bk_slice(const void *p, size_t n);

/* Byte-wise comparison; not constant-time, so never for secrets. */
bool bk_slice_equal(struct bk_slice a, struct bk_slice b);

/* Copies into a C string of at most `cap` bytes, terminator included. False, and an empty string,
 * if the slice does not fit or holds a byte outside printable ASCII (0x20..0x7E). */
bool bk_slice_to_text(struct bk_slice s, char *out, size_t cap);

#endif
