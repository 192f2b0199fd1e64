/* Capsules, byte by byte as they come. Invariant: `n` never exceeds the size of `value`; what is longer than any datagram
 * is passed over without being kept. */
#include "lib/capsule.h"

#include <string.h>

enum {
    TYPE_DATAGRAM = 0,
    ONE_BYTE_BELOW = 1 << 6, /* variable-length integers: one byte, two, four */
    TWO_BYTES_BELOW = 1 << 14,
};

static size_t put_number(uint32_t v, uint8_t *out)
{
    if (v < ONE_BYTE_BELOW) {
        out[0] = (uint8_t)v;
        return 1;
    }
    if (v < TWO_BYTES_BELOW) {
        out[0] = (uint8_t)(0x40 | v >> 8);
        out[1] = (uint8_t)v;
        return 2;
    }
    out[0] = (uint8_t)(0x80 | v >> 24);
    out[1] = (uint8_t)(v >> 16);
    out[2] = (uint8_t)(v >> 8);
    out[3] = (uint8_t)v;
    return 4;
}

size_t bk_capsule_head(size_t n, uint8_t out[BK_CAPSULE_HEAD_BYTES])
{
    size_t at = put_number(TYPE_DATAGRAM, out);
    at += put_number((uint32_t)n + 1, out + at); /* with the context ID */
    out[at++] = 0;
    return at;
}

/* Reads one integer at the start of `bytes`; 0 bytes: more are needed. */
static size_t get_number(const uint8_t *bytes, size_t n, uint64_t *out)
{
    if (n == 0) {
        return 0;
    }
    size_t size = (size_t)1 << (bytes[0] >> 6);
    if (n < size) {
        return 0;
    }
    uint64_t v = bytes[0] & 0x3F;
    for (size_t i = 1; i < size; i++) {
        v = v << 8 | bytes[i];
    }
    *out = v;
    return size;
}

/* One byte of an integer; true: it is whole. */
static bool number_byte(struct bk_capsules *c, uint8_t byte, uint64_t *out)
{
    c->number[c->number_n++] = byte;
    if (get_number(c->number, c->number_n, out) == 0) {
        return false;
    }
    c->number_n = 0;
    return true;
}

static void head_byte(struct bk_capsules *c, uint8_t byte)
{
    if (c->at == BK_CAPSULE_TYPE && number_byte(c, byte, &c->type)) {
        c->at = BK_CAPSULE_LENGTH;
    } else if (c->at == BK_CAPSULE_LENGTH && number_byte(c, byte, &c->left)) {
        c->at = BK_CAPSULE_VALUE;
        c->n = 0;
    }
}

static bool fits(const struct bk_capsules *c)
{
    return c->left <= sizeof c->value - c->n;
}

static void value_bytes(struct bk_capsules *c, struct bk_slice *bytes)
{
    size_t n = c->left < bytes->n ? (size_t)c->left : bytes->n;
    if (c->type == TYPE_DATAGRAM && n > 0) {
        memcpy(c->value + c->n, bytes->p, n);
        c->n += n;
    }
    c->left -= n;
    *bytes = bk_slice(bytes->p + n, bytes->n - n);
}

/* The capsule at hand is whole: a datagram of ours? BK_E_MALFORMED: it should be one, and has no context ID. */
static bool is_datagram(struct bk_capsules *c, struct bk_slice *payload, enum bk_err *err)
{
    uint64_t context;
    c->at = BK_CAPSULE_TYPE;
    if (c->type != TYPE_DATAGRAM) {
        return false;
    }
    size_t head = get_number(c->value, c->n, &context);
    if (head == 0) {
        *err = BK_E_MALFORMED;
        return false;
    }
    *payload = bk_slice(c->value + head, c->n - head);
    return context == 0 && payload->n <= BK_CAPSULE_UDP_MAX_BYTES;
}

bool bk_capsules_take(struct bk_capsules *c, struct bk_slice *bytes, struct bk_slice *payload,
                      enum bk_err *err)
{
    *err = BK_OK;
    *payload = BK_SLICE_EMPTY;
    while (*err == BK_OK) {
        if (c->at == BK_CAPSULE_VALUE) {
            if (c->type == TYPE_DATAGRAM && !fits(c)) {
                *err = BK_E_MALFORMED; /* no datagram is so long */
                return false;
            }
            value_bytes(c, bytes);
            if (c->left > 0) {
                return false;
            }
            if (is_datagram(c, payload, err)) {
                return true;
            }
        } else if (bytes->n > 0) {
            head_byte(c, bytes->p[0]);
            *bytes = bk_slice(bytes->p + 1, bytes->n - 1);
        } else {
            return false;
        }
    }
    return false;
}
