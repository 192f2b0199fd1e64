/* A write cursor with a sticky error over a buffer of fixed size: after the first write that does
 * not fit nothing more is written and `err` keeps its first value. */
#ifndef BK_BASE_WRITER_H
#define BK_BASE_WRITER_H

#include "base/err.h"
#include "base/slice.h"

struct bk_writer {
    uint8_t *buf;
    size_t cap;
    size_t len;
    enum bk_err err; /* BK_OK or BK_E_NOSPACE, or what bk_writer_fail was told */
};

struct bk_writer bk_writer(uint8_t *buf, size_t cap);

/* Integers in network byte order. */
void bk_write_u8(struct bk_writer *w, uint8_t v);
void bk_write_u16(struct bk_writer *w, uint16_t v);
void bk_write_u32(struct bk_writer *w, uint32_t v);
void bk_write_u64(struct bk_writer *w, uint64_t v);
void bk_write_bytes(struct bk_writer *w, struct bk_slice bytes);
void bk_write_zeros(struct bk_writer *w, size_t n);

/* Overwrites two bytes written before, at offset `at`; an offset beyond what was written is our own
 * mistake and asserts, unless an error is already set. */
void bk_write_u16_at(struct bk_writer *w, size_t at, uint16_t v);

/* Keeps the first error told. */
void bk_writer_fail(struct bk_writer *w, enum bk_err err);

/* What has been written so far; empty on error. */
struct bk_slice bk_writer_bytes(const struct bk_writer *w);

#endif
