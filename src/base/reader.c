/* The read cursor. Never reads past the slice it was given; after an error it yields zeros only. */
#include "base/reader.h"

#include <string.h>

struct bk_reader bk_reader(struct bk_slice bytes)
{
    return (struct bk_reader){bytes, BK_OK};
}

struct bk_slice bk_read_bytes(struct bk_reader *r, size_t n)
{
    if (r->err == BK_OK && n > r->left.n) {
        r->err = BK_E_TRUNCATED;
    }
    if (r->err != BK_OK || n == 0) { /* n == 0: `p` may be NULL */
        return BK_SLICE_EMPTY;
    }
    struct bk_slice got = {r->left.p, n};
    r->left.p += n;
    r->left.n -= n;
    return got;
}

void bk_read_copy(struct bk_reader *r, uint8_t *out, size_t n)
{
    if (n == 0) {
        return;
    }
    struct bk_slice got = bk_read_bytes(r, n);
    if (got.p == NULL) {
        memset(out, 0, n);
    } else {
        memcpy(out, got.p, n);
    }
}

static uint64_t read_big_endian(struct bk_reader *r, size_t n)
{
    struct bk_slice got = bk_read_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; i < got.n; i++) {
        v = v << 8 | got.p[i];
    }
    return v;
}

uint8_t bk_read_u8(struct bk_reader *r)
{
    return (uint8_t)read_big_endian(r, 1);
}

uint16_t bk_read_u16(struct bk_reader *r)
{
    return (uint16_t)read_big_endian(r, 2);
}

uint32_t bk_read_u32(struct bk_reader *r)
{
    return (uint32_t)read_big_endian(r, 4);
}

uint64_t bk_read_u64(struct bk_reader *r)
{
    return read_big_endian(r, 8);
}

void bk_reader_fail(struct bk_reader *r, enum bk_err err)
{
    if (r->err == BK_OK) {
        r->err = err;
    }
}

enum bk_err bk_reader_end(const struct bk_reader *r)
{
    if (r->err == BK_OK && r->left.n > 0) {
        return BK_E_MALFORMED;
    }
    return r->err;
}
