/* The write cursor. Never writes past the buffer it was given; what does not fit whole is not
 * written at all, and then nothing more is. */
#include "base/writer.h"

#include <assert.h>
#include <string.h>

struct bk_writer bk_writer(uint8_t *buf, size_t cap)
{
    return (struct bk_writer){buf, cap, 0, BK_OK};
}

/* Room for n > 0 bytes more, or NULL with the error set. */
static uint8_t *take_room(struct bk_writer *w, size_t n)
{
    if (w->err == BK_OK && n > w->cap - w->len) {
        w->err = BK_E_NOSPACE;
    }
    if (w->err != BK_OK) {
        return NULL;
    }
    uint8_t *at = w->buf + w->len;
    w->len += n;
    return at;
}

static void write_big_endian(struct bk_writer *w, uint64_t v, size_t n)
{
    uint8_t *at = take_room(w, n);
    if (at == NULL) {
        return;
    }
    for (size_t i = n; i > 0; i--) {
        at[i - 1] = (uint8_t)v;
        v >>= 8;
    }
}

void bk_write_u8(struct bk_writer *w, uint8_t v)
{
    write_big_endian(w, v, 1);
}

void bk_write_u16(struct bk_writer *w, uint16_t v)
{
    write_big_endian(w, v, 2);
}

void bk_write_u32(struct bk_writer *w, uint32_t v)
{
    write_big_endian(w, v, 4);
}

void bk_write_u64(struct bk_writer *w, uint64_t v)
{
    write_big_endian(w, v, 8);
}

void bk_write_bytes(struct bk_writer *w, struct bk_slice bytes)
{
    if (bytes.n == 0) {
        return;
    }
    uint8_t *at = take_room(w, bytes.n);
    if (at != NULL) {
        memcpy(at, bytes.p, bytes.n);
    }
}

void bk_write_zeros(struct bk_writer *w, size_t n)
{
    if (n == 0) {
        return;
    }
    uint8_t *at = take_room(w, n);
    if (at != NULL) {
        memset(at, 0, n);
    }
}

void bk_write_u16_at(struct bk_writer *w, size_t at, uint16_t v)
{
    if (w->err != BK_OK) {
        return;
    }
    assert(w->len >= 2 && at <= w->len - 2);
    w->buf[at] = (uint8_t)(v >> 8);
    w->buf[at + 1] = (uint8_t)v;
}

void bk_writer_fail(struct bk_writer *w, enum bk_err err)
{
    if (w->err == BK_OK) {
        w->err = err;
    }
}

struct bk_slice bk_writer_bytes(const struct bk_writer *w)
{
    return w->err == BK_OK ? bk_slice(w->buf, w->len) : BK_SLICE_EMPTY;
}
