/* What the tests of wire share: keys, transaction IDs, and the trials that every message undergoes. */
#ifndef TESTS_WIRE_SUPPORT_H
#define TESTS_WIRE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "seal/seal.h"
#include "wire/attrs.h"

static const uint8_t txid[BK_STUN_TXID_BYTES] = {0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6,
                                                 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC};
static const uint8_t key_bytes[BK_KEY_BYTES] = {7, 1, 4};

static inline struct bk_slice test_key(void)
{
    return BK_SLICE_OF(key_bytes);
}

static inline struct bk_slice text(const char *s)
{
    return bk_slice_text(s);
}

/* Reads a whole message out of bytes; each test file says how. */
typedef enum bk_err (*message_reader)(struct bk_slice bytes);

/* Runs the reader on a copy that ends where the memory does, so that a sanitizer sees every byte
 * read beyond. */
static inline enum bk_err read_copy(message_reader read, struct bk_slice bytes)
{
    uint8_t *copy = malloc(bytes.n > 0 ? bytes.n : 1);
    assert_non_null(copy);
    if (bytes.n > 0) {
        memcpy(copy, bytes.p, bytes.n);
    }
    enum bk_err err = read(bk_slice(copy, bytes.n));
    free(copy);
    return err;
}

/* Every truncation is refused, and so is anything behind the end. */
static inline void refuses_other_lengths(message_reader read, struct bk_slice message)
{
    assert_int_equal(read_copy(read, message), BK_OK);
    for (size_t n = 0; n < message.n; n++) {
        assert_int_not_equal(read_copy(read, bk_slice(message.p, n)), BK_OK);
    }
    uint8_t longer[2048] = {0};
    assert_true(message.n + 4 <= sizeof longer);
    memcpy(longer, message.p, message.n);
    for (size_t more = 1; more <= 4; more++) {
        assert_int_not_equal(read_copy(read, bk_slice(longer, message.n + more)), BK_OK);
    }
}

static inline void set_length(uint8_t *message, size_t n)
{
    message[2] = (uint8_t)((n - BK_STUN_HEADER_BYTES) >> 8);
    message[3] = (uint8_t)(n - BK_STUN_HEADER_BYTES);
}

/* Cut after each attribute with the length field put right, `optional` of these cuts are messages
 * too; all others are refused. */
static inline void refuses_missing_attributes(message_reader read, struct bk_slice message,
                                              int optional)
{
    uint8_t copy[2048];
    int accepted = 0;
    for (size_t n = BK_STUN_HEADER_BYTES; n < message.n; n += 4) {
        memcpy(copy, message.p, n);
        set_length(copy, n);
        accepted += read_copy(read, bk_slice(copy, n)) == BK_OK;
    }
    assert_int_equal(accepted, optional);
}

/* No bit of an authenticated message may change. */
static inline void refuses_any_changed_bit(message_reader read, struct bk_slice message)
{
    uint8_t copy[2048];
    for (size_t bit = 0; bit < 8 * message.n; bit++) {
        memcpy(copy, message.p, message.n);
        copy[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_not_equal(read_copy(read, bk_slice(copy, message.n)), BK_OK);
    }
}

/* An attribute that nobody knows, first in the message: refused when it must be understood, passed
 * over when it need not be. For messages without integrity. */
static inline void judges_unknown_attributes(message_reader read, struct bk_slice message)
{
    uint8_t copy[2048];
    uint8_t attr[4] = {0x7F, 0xFF, 0, 0};
    memcpy(copy, message.p, BK_STUN_HEADER_BYTES);
    memcpy(copy + BK_STUN_HEADER_BYTES, attr, 4);
    memcpy(copy + BK_STUN_HEADER_BYTES + 4, message.p + BK_STUN_HEADER_BYTES,
           message.n - BK_STUN_HEADER_BYTES);
    set_length(copy, message.n + 4);
    assert_int_equal(read_copy(read, bk_slice(copy, message.n + 4)), BK_E_UNKNOWN_ATTR);
    copy[BK_STUN_HEADER_BYTES] = 0xFF;
    assert_int_equal(read_copy(read, bk_slice(copy, message.n + 4)), BK_OK);
}

/* A message of any other method or class is not this one. */
static inline void refuses_other_types(message_reader read, struct bk_slice message)
{
    uint8_t copy[2048];
    for (unsigned bit = 0; bit < 14; bit++) {
        memcpy(copy, message.p, message.n);
        copy[1 - bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(read_copy(read, bk_slice(copy, message.n)), BK_E_MALFORMED);
    }
}

/* Writing into less room than is needed fails and leaves what is behind alone. */
#define REFUSES_SHORT_BUFFERS(whole, write_into)                                                   \
    do {                                                                                           \
        for (size_t cap = 0; cap < (whole).n; cap++) {                                             \
            uint8_t *buf = malloc(cap > 0 ? cap : 1);                                              \
            struct bk_slice ignored;                                                               \
            assert_non_null(buf);                                                                  \
            assert_int_equal((write_into), BK_E_NOSPACE);                                          \
            assert_int_equal(ignored.n, 0);                                                        \
            free(buf);                                                                             \
        }                                                                                          \
    } while (0)

#endif
