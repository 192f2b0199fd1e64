/* A read cursor with a sticky error: after the first failed read every further one yields zero
 * and `err` keeps its first value, so a decoder reads a whole structure and checks once. */
#ifndef BK_BASE_READER_H
#define BK_BASE_READER_H

#include "base/err.h"
#include "base/slice.h"

struct bk_reader {
    struct bk_slice left; /* what has not been read yet */
    enum bk_err err;      /* BK_OK or BK_E_TRUNCATED, or what bk_reader_fail was told */
};

struct bk_reader bk_reader(struct bk_slice bytes);

/* Integers in network byte order. */
uint8_t bk_read_u8(struct bk_reader *r);
uint16_t bk_read_u16(struct bk_reader *r);
uint32_t bk_read_u32(struct bk_reader *r);
uint64_t bk_read_u64(struct bk_reader *r);

/* The next n bytes, borrowed from the input; empty on error. */
struct bk_slice bk_read_bytes(struct bk_reader *r, size_t n);

/* Copies the next n bytes; zeroes `out` on error. */
void bk_read_copy(struct bk_reader *r, uint8_t *out, size_t n);

/* Keeps the first error told. */
void bk_reader_fail(struct bk_reader *r, enum bk_err err);

/* BK_OK only if nothing failed and nothing is left; BK_E_MALFORMED for trailing bytes. */
BK_NODISCARD enum bk_err bk_reader_end(const struct bk_reader *r);

#endif
